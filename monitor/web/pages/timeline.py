"""Changes as people tell them: what one sync found of one kind is one thing, however many numbers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from monitor.store.rows import ChangeRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """The same difference in some numbers of a connection, found by one sync."""

    first: ChangeRow
    rows: tuple[ChangeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What happened on one day of UTC, newest first."""

    date: str
    happened: tuple[Happened, ...]


def timeline(rows: Sequence[ChangeRow]) -> list[Day]:
    """Return changes by day and sync; `rows` are newest first."""
    return [
        Day(date=date, happened=tuple(_happened(list(found))))
        for date, found in groupby(rows, key=lambda row: row.at.strftime("%Y-%m-%d"))
    ]


def _happened(rows: Sequence[ChangeRow]) -> list[Happened]:
    groups: dict[tuple[str | None, ...], list[ChangeRow]] = {}
    for row in rows:
        alike = (row.sync_id, row.at.isoformat(), row.connection, row.change, row.state, row.previous_state)
        groups.setdefault(alike, []).append(row)
    return [Happened(first=group[0], rows=tuple(reversed(group))) for group in groups.values()]
