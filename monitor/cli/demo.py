"""`demo`: the provider's double and the daemon in one process, and what happens in plain words."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from monitor.cli.narrator import Narrator
from monitor.cli.shell import shell_of
from monitor.cli.simulate import ended_by_signal
from monitor.cli.terminal import Terminal
from monitor.clock import Clock, SystemClock
from monitor.config import Config, load_config, parse_duration
from monitor.daemon.app import run_daemon
from monitor.simulator import Simulator, World, shipped_scenario

_PORT = 8790
_LAST_WORDS_S = 5.0
"""After the last step of the story, for what the monitor has to say to it."""

_CONFIG = """\
instance = "demo"

[api]
base_url = {url}
timeout = "5s"

[schedule]                 # in earnest: every 60s, the provider allows no more
interval = "1s"
recheck_interval = "500ms"

[drift]
keep_firing_for = "3s"     # in earnest: 5m
stale_after = "30s"

[alerts]
update_interval = "5s"

[store]
url = {store}

[web]
listen = {listen}
"""

_ACCOUNT = """
[[accounts]]
name = {name}
api_key = {key}
requests_per_minute = 6000
"""

_CONNECTION = """
[[accounts.connections]]
name = {name}
id = {id}
"""


def demo(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help=f"Of the status page; else {_PORT}, or a free one."),
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="How long, like 5m; else until the story is over.")
    ] = None,
) -> None:
    """Show the monitor at work: no config, no account, nothing left behind.

    A simulated provider and the whole daemon run in one process, on 127.0.0.1. In a minute of story a bot is
    deactivated, a routing removed, the API fails, and all is mended; the page shows it live. The daemon looks
    every second here and forgives quickly; in earnest it is the config that says how patient it is.
    """
    asyncio.run(_demo(port, _seconds(duration), shell_of(ctx).terminal, SystemClock()))


async def _demo(port: int | None, length_s: float | None, terminal: Terminal, clock: Clock) -> None:
    scenario = shipped_scenario("demo")
    narrator = Narrator(terminal.line, clock)
    simulator = Simulator(scenario, clock=clock, on_step=narrator.happened)
    with tempfile.TemporaryDirectory(prefix="voicelink-monitor-demo-") as folder:
        async with ended_by_signal() as stop, simulator.serve() as url:
            text = _config(Path(folder), simulator.world, url, _listen(port, terminal))
            config = await asyncio.to_thread(_loaded, Path(folder) / "config.toml", text)
            async with _daemon(config, narrator, stop) as page:
                for line in _greeting(page, scenario.length_s):
                    terminal.line(line)
                narrator.begin()
                await _until(stop, clock, length_s or scenario.length_s + _LAST_WORDS_S)
    for line in _farewell(narrator):
        terminal.line(line)


@asynccontextmanager
async def _daemon(config: Config, narrator: Narrator, stop: asyncio.Event) -> AsyncIterator[str]:
    """Run the daemon and give its page's address; `stop` is set when it ends, however it ends."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        run_daemon(config, stop=stop, on_ready=ready.set_result, log_stream=narrator), name="daemon"
    )
    task.add_done_callback(lambda _: stop.set())
    task.add_done_callback(lambda _: ready.cancel())
    try:
        yield await ready
    except asyncio.CancelledError:
        if not task.done():
            raise
    finally:
        stop.set()
        await task


async def _until(stop: asyncio.Event, clock: Clock, seconds: float) -> None:
    waits = {asyncio.create_task(stop.wait()), asyncio.create_task(clock.sleep(seconds))}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


def _seconds(duration: str | None) -> float | None:
    if duration is None:
        return None
    try:
        return parse_duration(duration).total_seconds()
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--duration") from None


def _listen(port: int | None, terminal: Terminal) -> str:
    """Return where the page is served: at the port asked for, else at ours, else at a free one."""
    if port is None and not _free(_PORT):
        terminal.note(f"port {_PORT} is taken, so the page is at another one; --port chooses")
        port = 0
    return f"127.0.0.1:{_PORT if port is None else port}"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def _config(folder: Path, world: World, url: str, listen: str) -> str:
    text = _CONFIG.format(
        url=_quoted(url), store=_quoted(f"sqlite:///{folder / 'demo.db'}"), listen=_quoted(listen)
    )
    for account in world.accounts:
        text += _ACCOUNT.format(name=_quoted(account.name), key=_quoted(account.key))
        for connection in account.active():
            text += _CONNECTION.format(name=_quoted(connection.name), id=_quoted(connection.id))
    return text


def _quoted(text: str) -> str:
    """Return a text as TOML quotes it, which is as JSON does."""
    return msgspec.json.encode(text).decode()


def _loaded(file: Path, text: str) -> Config:
    """Return the config of this text alone: whatever the environment says is not meant for a demo."""
    file.write_text(text, encoding="utf-8")
    return load_config(file, {})


def _greeting(page: str, length_s: float) -> list[str]:
    return [
        "",
        f"  Status page   {page}",
        f"  Metrics       {page}metrics",
        "",
        "Two connections with 28 numbers at a simulated provider, checked every second. The story takes",
        f"{length_s:.0f} seconds; watch it here, or open the page. Ctrl-C ends it at any time.",
        "",
    ]


def _farewell(narrator: Narrator) -> list[str]:
    return [
        "",
        f"That was the demo: {narrator.alerts} alerts opened, {narrator.open} of them still open.",
        "Next: `voicelink-monitor simulate` for a provider to try your own config on, or",
        "VOICELINK_API_KEY=rg_live_… voicelink-monitor sync   for one read-only look at the real one.",
        "README.md says how to run it for good.",
    ]
