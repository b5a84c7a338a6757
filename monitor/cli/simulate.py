"""`simulate`: a simulated API, for trying things out."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from monitor.cli.shell import shell_of
from monitor.cli.terminal import Terminal
from monitor.clock import Clock, SystemClock
from monitor.simulator import Scenario, Simulator, World, load_scenario, shipped_scenario


def simulate(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any free one.")] = 9000,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="TOML file with a world and its story.")
    ] = None,
) -> None:
    """Run a simulated VoiceLink API on 127.0.0.1 until Ctrl-C.

    Without a scenario all its numbers are ready and nothing happens; drive it from outside with
    POST /_sim/do and a step like {"do": "deactivate_bot", "bot": 93}. It refuses every request that is not
    read-only.

    Exit codes:
      0  stopped by Ctrl-C or SIGTERM
      2  the scenario is invalid, or the port is taken

    Examples:
      voicelink-monitor simulate
      voicelink-monitor simulate --port 9001 --scenario outage.toml
    """
    chosen = load_scenario(scenario) if scenario is not None else shipped_scenario("quiet")
    asyncio.run(_serve(chosen, port, shell_of(ctx).terminal, SystemClock()))


async def _serve(scenario: Scenario, port: int, terminal: Terminal, clock: Clock) -> None:
    started_s = clock.monotonic()
    async with until_stopped(terminal) as (stop, told):

        def tell(text: str) -> None:
            told.line(f"{clock.monotonic() - started_s:6.1f}s  {text}")

        simulator = Simulator(scenario, clock=clock, on_step=tell)
        async with simulator.serve(port=port) as url:
            for line in _introduction(simulator.world, url):
                told.line(line)
            await stop.wait()


@contextlib.asynccontextmanager
async def until_stopped(terminal: Terminal) -> AsyncIterator[tuple[asyncio.Event, Terminal]]:
    """Give an event that SIGINT and SIGTERM set, and a terminal that no reader holds up.

    The event is set, too, when there is no one to write for any more.

    Raises:
        OutputFailed: Something could not be written.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_lost() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        with terminal.unhurried(on_lost) as told:
            yield stop, told
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def config_for(world: World, url: str, budget: int | None = None) -> str:
    """Return a config, as TOML, that watches a world; `budget` is each account's requests a minute."""
    lines = ["[api]", f"base_url = {_quoted(url)}"]
    for account in world.accounts:
        lines += ["", "[[accounts]]", f"name = {_quoted(account.name)}", f"api_key = {_quoted(account.key)}"]
        lines += [] if budget is None else [f"requests_per_minute = {budget}"]
        for each in account.active():
            lines += ["[[accounts.connections]]", f"name = {_quoted(each.name)}", f"id = {_quoted(each.id)}"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a text as TOML quotes it, which is as JSON does."""
    return msgspec.json.encode(text).decode()


def _introduction(world: World, url: str) -> list[str]:
    config = [f"    {line}".rstrip() for line in config_for(world, url).splitlines()]
    key = next((account.key for account in world.accounts), "")
    look = f"VOICELINK_MONITOR_API__BASE_URL={url} VOICELINK_API_KEY={key} voicelink-monitor sync"
    return [
        *(f"The VoiceLink API is simulated at {url}", "", "A config for it:", "", *config),
        *("", "Check it once, without a config:", "", f"  {look}", "", "Ctrl-C stops it.", ""),
    ]
