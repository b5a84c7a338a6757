"""`run`: the daemon."""

import asyncio
from typing import Annotated

import typer

from monitor.cli.shell import shell_of
from monitor.clock import SystemClock
from monitor.config import Config, find_config_file, process_environment
from monitor.daemon.app import run_daemon
from monitor.daemon.preconditions import examine
from monitor.daemon.service import ServiceManager
from monitor.daemon.signals import Signals
from monitor.http.client import Network


def run(
    ctx: typer.Context,
    revision: Annotated[
        str, typer.Option("--revision", hidden=True, envvar="VOICELINK_MONITOR_REVISION")
    ] = "",
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    It syncs every connection on schedule, read-only, keeps its findings in the store, sends alerts to the
    receivers, and serves the status page and the metrics. It logs to standard output. SIGHUP reloads the
    config; if that cannot be used, an error is logged and the old config stays.

    Exit codes:
      0  stopped by SIGTERM or SIGINT
      2  it cannot start: bad config, port taken, store in use

    Examples:
      voicelink-monitor run
      voicelink-monitor --config /etc/voicelink-monitor/config.toml run
    """
    shell = shell_of(ctx)
    signals = Signals()
    signals.listen()

    def show_page(address: str) -> None:
        if shell.terminal.watched:
            shell.terminal.note(f"status page: {address}")

    def startable() -> Config:
        return examine(shell.config_file or find_config_file()).valid()

    config = startable()
    asyncio.run(
        run_daemon(
            config,
            network=Network(process_environment()),
            reread=startable,
            signals=signals,
            manager=ServiceManager(process_environment(), SystemClock()),
            on_ready=show_page,
            revision=revision,
        )
    )
