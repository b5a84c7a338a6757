"""`demo`: the provider's double and the daemon in one process, and what happens in plain words."""

import asyncio
import contextlib
import io
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from monitor.cli.shell import shell_of
from monitor.cli.simulate import config_for, until_stopped
from monitor.cli.terminal import Terminal
from monitor.clock import Clock, SystemClock
from monitor.config import Config, parse_duration
from monitor.daemon.app import run_daemon
from monitor.daemon.preconditions import examine
from monitor.simulator import Simulator, shipped_scenario

_PORT = 8790
_LAST_WORDS_S = 5.0
"""After the last step of the story, so that the monitor can react to it."""

_CONFIG = """\
instance = "demo"

[schedule]                 # in production: every 60s
interval = "1s"
recheck_interval = "500ms"

[drift]
keep_firing_for = "3s"     # in production: 5m
stale_after = "30s"

[alerts]
update_interval = "5s"

[store]
url = "sqlite:///{folder}/demo.db"

[web]
listen = "127.0.0.1:{port}"
enable_lifecycle = true    # for buttons on the page: silence, acknowledge

"""

_GREETING = """
  Status page   {page}
  Metrics       {page}metrics

Two connections with 28 numbers at a simulated provider, checked every second. The story takes
{length_s:.0f} seconds; watch it here, or open the page, where alerts are acknowledged and silenced. Ctrl-C
ends it at any time.

"""

_FAREWELL = """
That was the demo: {opened} alerts opened, {still_open} of them still open.
Next: `voicelink-monitor simulate` for a provider to try your own config on, or
VOICELINK_API_KEY=rg_live_… voicelink-monitor sync   for one read-only look at the real one.
README.md explains how to run it for real.
"""

_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_GOOD = "green"


class Narrator(io.StringIO):
    """Tells a story as it happens; the daemon writes its log into it, a JSON object a line.

    Args:
        say: Writes a line, in a style.
        clock: For the seconds since the beginning.
    """

    def __init__(self, say: Callable[[str, str], None], clock: Clock) -> None:
        super().__init__()
        self._say = say
        self._clock = clock
        self._began_s = clock.monotonic()
        self._kept: list[tuple[str, str]] | None = []
        self._rest = ""
        self.alerts = 0
        self.open = 0

    def begin(self) -> None:
        """Say what was kept until now, and from now on everything at once."""
        kept, self._kept = self._kept or [], None
        for text, style in kept:
            self._say(text, style)

    def happened(self, text: str) -> None:
        """Tell what happens at the provider."""
        self._tell("provider", text, "bold")

    def write(self, piece: str) -> int:
        """Take a piece of the daemon's log; nothing is kept but the end of an unfinished line."""
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            self._hear(line)
        return len(piece)

    def _hear(self, line: str) -> None:
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            return
        match event.get("event"):
            case "alert.opened" | "alert.updated" | "alert.acknowledged" | "alert.resolved":
                self._alert(event)
            case "sync.held":
                self._tell("monitor", f"held back an answer about {event.get('connection')}", "yellow")
            case name if event.get("level") in ("error", "critical"):
                self._tell("monitor", f"{name}: {event.get('error', '')}", "red")

    def _alert(self, body: dict[str, Any]) -> None:
        change, severity = str(body.get("change")), str(body.get("severity"))
        over = change == "resolved"
        self.alerts += change == "opened"
        self.open += (change == "opened") - over
        word = "alert over" if over else f"alert {change}, {severity}"
        self._tell("monitor", f"{word}: {body.get('summary')}", _GOOD if over else _STYLES.get(severity, ""))
        if change == "opened":
            self._tell("", f"to do: {body.get('first_step')}", "")

    def _tell(self, who: str, text: str, style: str) -> None:
        line = f"{self._clock.monotonic() - self._began_s:5.1f}s  {who:<8}  {text}"
        if self._kept is None:
            self._say(line, style)
        else:
            self._kept.append((line, style))


def demo(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help=f"Port of the status page; default: {_PORT} or a free one."
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option("--duration", help="How long to run, like 5m; default: to the end of the story."),
    ] = None,
) -> None:
    """Show the monitor at work: no config, no account, nothing left behind.

    A simulated provider and the whole daemon run in one process, on 127.0.0.1. Within a minute a bot is
    deactivated, a routing is removed, the API fails, and everything is fixed again; the page shows it live.
    The demo syncs every second and resolves quickly; in production the config decides how patient it is.

    Exit codes:
      0  the demo is over
      2  the port is taken

    Examples:
      voicelink-monitor demo
      voicelink-monitor demo --port 9000 --duration 5m
    """
    length_s = None
    if duration is not None:
        try:
            length_s = parse_duration(duration).total_seconds()
        except ValueError as exc:
            raise typer.BadParameter(str(exc), param_hint="--duration") from None
        if not length_s:
            raise typer.BadParameter('must be longer than zero, like "1m"', param_hint="--duration")
    terminal = shell_of(ctx).terminal
    if port is None and not _free(_PORT):
        terminal.note(f"port {_PORT} is taken, so the page uses another one; --port chooses")
        port = 0
    asyncio.run(_demo(_PORT if port is None else port, length_s, terminal, SystemClock()))


async def _demo(port: int, length_s: float | None, terminal: Terminal, clock: Clock) -> None:
    scenario = shipped_scenario("demo")
    with tempfile.TemporaryDirectory(prefix="voicelink-monitor-demo-") as folder:
        async with until_stopped(terminal) as (stop, told):
            narrator = Narrator(told.line, clock)
            simulator = Simulator(scenario, clock=clock, on_step=narrator.happened)
            async with simulator.serve() as url:
                text = _CONFIG.format(folder=folder, port=port)
                text += config_for(simulator.world, url, budget=6000)
                file = Path(folder) / "config.toml"
                await asyncio.to_thread(file.write_text, text, encoding="utf-8")
                # Of this text alone: whatever the environment says is not meant for a demo.
                config = (await asyncio.to_thread(examine, file, {})).valid()
                async with _daemon(config, narrator, stop) as page:
                    for line in _GREETING.format(page=page, length_s=scenario.length_s).splitlines():
                        told.line(line)
                    narrator.begin()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(length_s or scenario.length_s + _LAST_WORDS_S):
                            await stop.wait()
            for line in _FAREWELL.format(opened=narrator.alerts, still_open=narrator.open).splitlines():
                told.line(line)


@contextlib.asynccontextmanager
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


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True
