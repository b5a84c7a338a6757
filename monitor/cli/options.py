"""The options that several commands have, and how their values are read."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from monitor.cli.terminal import Format
from monitor.config import parse_duration

FormatOption = Annotated[Format, typer.Option("--format", help="A table for people, or JSON alone.")]
ConnectionOption = Annotated[
    str | None, typer.Option("--connection", metavar="GLOB", help="Only connections with such a name.")
]
StateOption = Annotated[
    str | None, typer.Option("--state", metavar="STATE", help="Only this state or issue, in any case.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help='A duration like "2h", or a time like 2026-01-31T09:00:00Z.'
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Rows at the most.")]

DEFAULT_LIMIT = 100


def since_at(value: str | None, now: datetime) -> datetime | None:
    """Return the instant that `--since` means.

    Raises:
        typer.BadParameter: It is neither a duration nor a time.
    """
    if value is None:
        return None
    try:
        return now - parse_duration(value)
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(
            'write a duration like "2h", or a time like 2026-01-31T09:00:00Z', param_hint="--since"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
