"""`run`: the daemon."""

import asyncio
from functools import partial
from typing import Annotated

import typer

from monitor.cli.network import network_of
from monitor.cli.shell import config_of, reread, shell_of
from monitor.daemon.app import run_daemon


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

    def show_page(address: str) -> None:
        if shell.terminal.watched:
            shell.terminal.note(f"status page: {address}")

    config, network = config_of(shell), network_of(shell)
    asyncio.run(
        run_daemon(
            config, network=network, reread=partial(reread, shell), on_ready=show_page, revision=revision
        )
    )
