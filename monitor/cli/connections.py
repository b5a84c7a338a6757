"""`connections`: which connections are watched, and their state."""

import asyncio
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import typer

from monitor.cli.check_config import spoken
from monitor.cli.shell import ConnectionOption, FormatOption, config_of, shell_of, store_of, unseen
from monitor.cli.terminal import Format, Terminal
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.errors import StartError
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.rows import ConnectionRow, connection_row

_STATE = (
    "numbers",
    "drifting",
    "ignored",
    "outcome",
    "consecutive_failures",
    "held",
    "held_reason",
    "vanished",
    "last_sync",
    "last_success",
    "next_sync",
    "error",
)
"""What the store adds to what is configured, named as in `ConnectionRow`."""
_COLUMNS = {
    "connection": "name",
    "account": "account",
    "synced": "synced",
    "numbers": "numbers",
    "drifting": "drifting",
    "last success": "last_success",
    "failed": "consecutive_failures",
    "outcome": "outcome",
}
"""The table's columns, and what a row calls them."""
_UNKNOWN = dict.fromkeys(_STATE) | {"consecutive_failures": 0, "held": 0, "vanished": False}


def connections(
    ctx: typer.Context,
    connection: ConnectionOption = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """List the connections, configured and discovered, with their state.

    Also works before the store exists; then only the configured connections are listed, without their state.

    Exit codes:
      0  done
      2  the config cannot be used

    Examples:
      voicelink-monitor connections
      voicelink-monitor connections --connection 'acme-*' --format json
    """
    shell = shell_of(ctx)
    config = config_of(shell)
    known = asyncio.run(_states(config, shell.terminal))
    rows = [row for row in _rows(config, known) if connection is None or fnmatchcase(row["name"], connection)]
    if not rows:
        nothing = (
            "no connections are known yet" if connection is None else f'no connection matches "{connection}"'
        )
        shell.terminal.note(nothing)
    if format is Format.JSON:
        shell.terminal.json(rows)
    elif rows:
        shown = [[row[key] for key in _COLUMNS.values()] for row in rows]
        shell.terminal.table(tuple(_COLUMNS), shown, spare=("account", "synced"))
    shown_names = {row["name"] for row in rows}
    for line in unseen([row for row in known.values() if row.name in shown_names], SystemClock().now()):
        shell.terminal.note(line)


async def _states(config: Config, terminal: Terminal) -> dict[str, ConnectionRow]:
    """Return what the store knows of connections, by identity."""
    try:
        async with store_of(config) as database, database.read() as tx:
            states = await watched(tx, Codec())
            return {state.identity: connection_row(state, maintenance=None) for state in states}
    except StartError as exc:
        terminal.note(f"showing only what is configured: {exc}")
        return {}


def _rows(config: Config, stored: Mapping[str, ConnectionRow]) -> list[dict[str, Any]]:
    known = dict(stored)
    rows = [
        _row(
            account.name,
            each.name,
            each.id,
            spoken(config.schedule.timing(each)),
            known.pop(each.identity, None),
        )
        for account in config.accounts
        for each in account.connections
    ]
    discovering = {account.name for account in config.accounts if account.discover}
    rows += [
        _row(state.account, state.name, state.connection_id, None, state)
        for state in known.values()
        if state.account in discovering
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def _row(
    account: str, name: str, connection_id: str | None, synced: str | None, stored: ConnectionRow | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "account": account, "connection_id": connection_id}
    row |= {"synced": synced, "discovered": synced is None}
    if stored is None:
        return row | _UNKNOWN
    return row | {key: getattr(stored, key) for key in _STATE}
