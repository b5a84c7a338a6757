"""`store copy`: move to another database without losing what is open."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.shell import FormatOption, Shell, config_of, shell_of
from monitor.cli.terminal import Format
from monitor.errors import StartError, StoreUnavailable
from monitor.postgres import PostgresUrl
from monitor.secret import Secret
from monitor.store.copy import TableCopy, copy_rows, count_rows, finish, prepare
from monitor.store.database import Database

INCOMPLETE = 3


def copy(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URL", help="An empty database: postgresql://USER:PASSWORD@HOST/NAME."),
    ] = None,
    to_file: Annotated[
        Path | None,
        typer.Option(
            "--to-file", metavar="FILE", help="A file that holds the URL, to keep its password out of sight."
        ),
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Copy the SQLite store to PostgreSQL, so that several replicas can share it.

    Stop the daemon first. Open alerts keep their ids, pending messages are still sent, history comes along.
    An interrupted copy resumes when the command is run again. At the end every table is compared, row by row;
    no daemon starts on a copy that is not complete. The SQLite store stays as it is: set store.url to the new
    database, and start the daemon.

    Exit codes:
      0  copied and verified
      2  it cannot begin: no store, a daemon is running on it, or the database is not empty
      3  not complete; run it again to resume

    Examples:
      voicelink-monitor store copy --to postgresql://monitor@db.example.com/monitor
      voicelink-monitor store copy --to-file /run/secrets/database-url
    """
    shell = shell_of(ctx)
    if (to is None) == (to_file is None):
        raise typer.BadParameter("give either --to or --to-file")
    url = Secret(to, file=to_file).reveal()
    try:
        PostgresUrl.of(url)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--to" if to_file is None else "--to-file") from None
    try:
        tables = asyncio.run(_copy(shell, url))
    except StoreUnavailable as exc:
        shell.terminal.error(f"{exc}; run the same command again to resume")
        raise typer.Exit(INCOMPLETE) from None
    if format is Format.JSON:
        shell.terminal.json(tables)
    else:
        shell.terminal.table(
            ("table", "rows", "digest"), [(each.table, each.rows, each.digest) for each in tables]
        )
    shell.terminal.note("copied and verified: set store.url to the new database and start the daemon")


async def _copy(shell: Shell, url: str) -> list[TableCopy]:
    config = config_of(shell)
    async with Database(config.store.secret.reveal()) as source, Database(url) as target:
        if not source.is_sqlite:
            raise StartError("a store is copied from SQLite (store.url) to PostgreSQL (--to)")
        await source.check()
        lock = source.lock()  # also against a daemon that would write meanwhile
        try:
            await prepare(target)
            rows = await count_rows(source)
            with shell.terminal.progress("copying", rows) as advance:
                await copy_rows(source, target, advance)
            with shell.terminal.progress("verifying", rows) as advance:
                return await finish(source, target, advance)
        finally:
            if lock is not None:
                lock.close()
