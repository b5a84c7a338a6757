"""`simulate`: the double of the API, for trying things on."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.shell import shell_of
from monitor.cli.terminal import Terminal
from monitor.clock import Clock, SystemClock
from monitor.simulator import Scenario, Simulator, World, load_scenario, shipped_scenario


def simulate(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 9000,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="A world and its story, in TOML.")
    ] = None,
) -> None:
    """Run a double of the VoiceLink API on 127.0.0.1 until Ctrl-C.

    Without a scenario all its numbers are ready and nothing happens; drive it from outside by
    POST /_sim/do with a step like {"do": "deactivate_bot", "bot": 93}. It refuses whatever is not read-only.

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

    def told(text: str) -> None:
        terminal.line(f"{clock.monotonic() - started_s:6.1f}s  {text}")

    simulator = Simulator(scenario, clock=clock, on_step=told)
    async with ended_by_signal() as stop, simulator.serve(port=port) as url:
        for line in _introduction(simulator.world, url):
            terminal.line(line)
        await stop.wait()


@contextlib.asynccontextmanager
async def ended_by_signal() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _introduction(world: World, url: str) -> list[str]:
    lines = [f"The VoiceLink API is simulated at {url}", "", "A config for it:", "", "    [api]"]
    lines += [f'    base_url = "{url}"']
    for account in world.accounts:
        lines += ["", "    [[accounts]]", f'    name = "{account.name}"', f'    api_key = "{account.key}"']
        for connection in account.active():
            lines += ["    [[accounts.connections]]", f'    name = "{connection.name}"']
            lines += [f'    id = "{connection.id}"']
    key = next((account.key for account in world.accounts), "")
    look = f"VOICELINK_MONITOR_API__BASE_URL={url} VOICELINK_API_KEY={key} voicelink-monitor sync"
    return [*lines, "", "One look at it, without a config:", "", f"  {look}", "", "Ctrl-C ends it.", ""]
