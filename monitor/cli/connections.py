"""`connections`: who is watched, and how that goes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

import typer

from monitor.cli.check_config import spoken
from monitor.cli.options import ConnectionOption, FormatOption
from monitor.cli.shell import config_of, shell_of, store_of
from monitor.cli.terminal import Format, Terminal
from monitor.config import Config
from monitor.errors import Outcome, StartError
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A connection as the config and the store know it; None where nothing is known yet."""

    name: str
    account: str
    connection_id: str | None
    synced: str | None
    discovered: bool
    numbers: int | None
    drifting: int | None
    ignored: int | None
    outcome: Outcome | None
    consecutive_failures: int
    held: int
    held_reason: str | None
    vanished: bool
    last_sync: datetime | None
    last_success: datetime | None
    next_sync: datetime | None
    error: str | None


def connections(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the connections, configured and discovered, and how they do.

    Works without a store too: then only the configured ones are known, and nothing of how they do.
    """
    shell = shell_of(ctx)
    config = config_of(shell)
    known = asyncio.run(_standings(config, shell.terminal))
    rows = [row for row in _rows(config, known) if connection is None or fnmatchcase(row.name, connection)]
    if format is Format.JSON:
        shell.terminal.json(rows)
        return
    columns = (
        "connection",
        "account",
        "synced",
        "numbers",
        "drifting",
        "last success",
        "failed",
        "outcome",
    )
    shell.terminal.table(
        columns,
        [
            (
                row.name,
                row.account,
                row.synced or "discovered",
                row.numbers,
                row.drifting,
                row.last_success,
                row.consecutive_failures,
                row.outcome,
            )
            for row in rows
        ],
        spare=("account", "synced"),
    )
    for row in rows:
        if row.error:
            shell.terminal.note(f"{row.name}: {row.error}")


async def _standings(config: Config, terminal: Terminal) -> list[ConnectionState]:
    try:
        async with store_of(config) as database, database.read() as tx:
            return await watched(tx, Codec())
    except StartError as exc:
        terminal.note(f"only what the config says: {exc}")
        return []


def _rows(config: Config, standings: Iterable[ConnectionState]) -> list[Row]:
    known = {standing.identity: standing for standing in standings}
    configured = {
        connection.identity: (account.name, connection.name, connection.id, spoken(timing))
        for account in config.accounts
        for connection in account.connections
        for timing in [config.schedule.timing(connection)]
    }
    rows = [_row(*about, known.get(identity)) for identity, about in configured.items()]
    rows += [
        _row(standing.account, standing.name, standing.connection_id, None, standing)
        for identity, standing in known.items()
        if identity not in configured and _discovering(config).get(standing.account)
    ]
    return sorted(rows, key=lambda row: row.name)


def _discovering(config: Config) -> Mapping[str, bool]:
    return {account.name: account.discover for account in config.accounts}


def _row(
    account: str, name: str, connection_id: str | None, synced: str | None, standing: ConnectionState | None
) -> Row:
    counts = standing.counts if standing else None
    return Row(
        name=name,
        account=account,
        connection_id=connection_id,
        synced=synced,
        discovered=synced is None,
        numbers=counts.total if counts else None,
        drifting=counts.total_drifting if counts else None,
        ignored=counts.ignored if counts else None,
        outcome=standing.streak.outcome if standing else None,
        consecutive_failures=standing.streak.failures if standing else 0,
        held=standing.held if standing else 0,
        held_reason=standing.held_reason if standing else None,
        vanished=bool(standing and standing.vanished_at),
        last_sync=standing.synced_at if standing else None,
        last_success=standing.succeeded_at if standing else None,
        next_sync=standing.due_at if standing else None,
        error=standing.error if standing else None,
    )
