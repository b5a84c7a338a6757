"""`run`: the daemon."""

import asyncio
from functools import partial
from typing import Annotated

import typer

from monitor.cli.shell import Shell, config_of, reread, shell_of
from monitor.daemon.app import run_daemon


def run(
    ctx: typer.Context,
    revision: Annotated[
        str, typer.Option("--revision", hidden=True, envvar="VOICELINK_MONITOR_REVISION")
    ] = "",
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    It syncs every connection at its times, read-only, keeps what it finds in the store, tells the receivers,
    and serves the status page and the metrics. The log goes to standard output. SIGHUP reads the config
    again; one that cannot be used is told about, and the old one stays.

    Exit codes:
      0  stopped by SIGTERM or SIGINT
      2  it cannot start: bad config, port taken, store in use

    Examples:
      voicelink-monitor run
      voicelink-monitor --config /etc/voicelink-monitor/config.toml run
    """
    shell = shell_of(ctx)
    config = config_of(shell)
    asyncio.run(
        run_daemon(
            config,
            reread=partial(reread, shell),
            on_ready=partial(_show_page, shell),
            revision=revision,
        )
    )


def _show_page(shell: Shell, address: str) -> None:
    if shell.terminal.watched:
        shell.terminal.note(f"status page: {address}")
