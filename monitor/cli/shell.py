"""What commands share: where they write, the common options, the config and the store."""

import os
import pwd
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.terminal import Format, ListFormat, Terminal, instant
from monitor.config import Config, find_config_file, load_config, secrets_of
from monitor.store.actions import COMMAND, Actor
from monitor.store.database import Database
from monitor.store.rows import ConnectionRow, SyncStatus, unknown_since
from monitor.units import parse_since

DEFAULT_LIMIT = 100

FormatOption = Annotated[Format, typer.Option("--format", help="A table for people, or JSON only.")]
ConnectionOption = Annotated[
    str | None,
    typer.Option("--connection", metavar="GLOB", help="Only connections whose name matches this glob."),
]
StateOption = Annotated[
    str | None, typer.Option("--state", metavar="STATE", help="Only this state or issue; case is ignored.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help='A duration like "2h", or a time like 2026-01-31T09:00:00Z.'
    ),
]
ListFormatOption = Annotated[
    ListFormat, typer.Option("--format", help="A table for people, JSON only, or all rows as CSV.")
]
_ROWS = f"Maximum number of rows (default: {DEFAULT_LIMIT}"
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, max=1_000_000_000, help=f"{_ROWS}).")]
ListLimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, max=1_000_000_000, help=f"{_ROWS}, in CSV all).")
]


@dataclass(slots=True, kw_only=True)
class Shell:
    """What one command runs with. `config_file` is None unless one was named."""

    terminal: Terminal
    config_file: Path | None = None
    debug: bool = False


def shell_of(ctx: typer.Context) -> Shell:
    """Return the shell of a command's context."""
    shell = ctx.find_root().obj
    if not isinstance(shell, Shell):
        raise TypeError("commands run from `main` alone")
    return shell


def config_of(shell: Shell, *, secrets: bool = False) -> Config:
    """Return the config, and write its warnings to standard error.

    Args:
        shell: Of the command.
        secrets: Whether it needs more of them than the store's URL: their files may be there for the daemon
            alone, or only while it runs.

    Raises:
        ConfigError: It cannot be used.
    """
    config = load_config(shell.config_file or find_config_file(), secrets=secrets)
    shell.terminal.redactor.learn(secrets_of(config))
    for warning in config.warnings:
        shell.terminal.warning(warning)
    return config


def this_user() -> Actor:
    """Return who uses a command: the user of the operating system, whatever the environment says."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number only
        name = str(os.getuid())
    return Actor(user=name, address=COMMAND)


@asynccontextmanager
async def store_of(config: Config) -> AsyncIterator[Database]:
    """Open the store that the daemon made.

    Raises:
        StartError: There is none, or it is of another version.
    """
    async with Database(config.store.secret.reveal()) as database:
        await database.check()
        yield database


def since_at(value: str | None, now: datetime, option: str = "--since") -> datetime | None:
    """Return the instant that `--since`, or another option like it, means.

    Raises:
        typer.BadParameter: It is neither a duration nor a time.
    """
    if value is None:
        return None
    try:
        return parse_since(value, now)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint=option) from None


_MOST_UNSEEN = 20


def unseen(rows: Sequence[ConnectionRow], now: datetime) -> list[str]:
    """Return a line for each connection of which the store says how it was, not how it is."""
    lines = []
    for row in rows:
        since = unknown_since(row, now)
        if since is not None:
            held = f"held: {row.held_reason}" if row.held else "no sync was made since"
            lines.append(f"{row.name}: unknown since {instant(since)}: {row.error or held}")
        elif row.status is SyncStatus.WAITING:
            lines.append(f"{row.name}: unknown: not synced yet")
    more = len(lines) - _MOST_UNSEEN
    return [*lines[:_MOST_UNSEEN], f"and {more} more connections are unknown"] if more > 0 else lines
