"""The differences that syncs found, one row each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.snapshot import Change, ChangeKind
from monitor.store.connections import ConnectionName
from monitor.store.tables import changes


async def add_changes(
    tx: AsyncConnection, named: ConnectionName, sync_id: str, found: Sequence[Change], at: datetime
) -> None:
    """Record the differences that a sync found."""
    if found:
        await tx.execute(insert(changes), [_change_values(named, sync_id, change, at) for change in found])


def _change_values(named: ConnectionName, sync_id: str, change: Change, at: datetime) -> dict[str, Any]:
    number, before, after = change.number, change.before, change.after
    return {
        "at": at,
        "identity": named.identity,
        "connection": named.name,
        "account": named.account,
        "sync_id": sync_id,
        "change": change.kind,
        "key": change.key,
        "phone_number": number.phone_number,
        "state": after.state if after else None,
        "previous_state": before.state if before else None,
        "issues": _json(after.issues if after else ()),
        "previous_issues": _json(before.issues if before else ()),
        "action_items": _json([{"code": item.code, "label": item.label} for item in number.action_items]),
        "did_id": _json(number.did_id),
        "client_id": _json(number.dependencies.client_id),
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


MOST_CHANGES = 50_000
"""Changes that are read for one history, newest first: a bound for a connection that flaps without end."""

_TROUBLE = (ChangeKind.APPEARED, ChangeKind.CHANGED, ChangeKind.RESOLVED, ChangeKind.REMOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMove:
    """So many numbers that one sync saw move between states in which they drift.

    `before` and `after` are None where they did not drift.
    """

    at: datetime
    before: str | None
    after: str | None
    numbers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMoves:
    """The moves since an instant, newest first; `since` is later than asked if there were too many."""

    moves: list[DriftMove]
    since: datetime


async def drift_moves(
    tx: AsyncConnection, identity: str, since: datetime, *, limit: int = MOST_CHANGES
) -> DriftMoves:
    """Return how numbers of a connection began and ceased to drift since an instant.

    Of a removed number only its issues tell whether it drifted; one that had none counts as ready.
    """
    newest = (
        select(
            changes.c.at,
            changes.c.change,
            changes.c.state,
            changes.c.previous_state,
            (changes.c.previous_issues != "[]").label("had_issues"),
        )
        .where(changes.c.identity == identity, changes.c.at >= since, changes.c.change.in_(_TROUBLE))
        .order_by(changes.c.id.desc())
        .limit(limit)
        .subquery()
    )
    columns = (newest.c.at, newest.c.change, newest.c.state, newest.c.previous_state, newest.c.had_issues)
    asked = select(*columns, func.count().label("numbers")).group_by(*columns).order_by(newest.c.at.desc())
    rows = list(await tx.execute(asked))
    if sum(row.numbers for row in rows) >= limit:
        since = rows[-1].at  # of that sync only a part may have been read
        rows = [row for row in rows if row.at > since]
    return DriftMoves(moves=[move for row in rows if (move := _move(row)) is not None], since=since)


def _move(row: Row[Any]) -> DriftMove | None:
    before, after = row.previous_state, row.state
    match ChangeKind(row.change):
        case ChangeKind.APPEARED:
            before = None
        case ChangeKind.RESOLVED:
            after = None
        case ChangeKind.REMOVED if not row.had_issues:
            return None
        case _:
            pass
    return DriftMove(at=row.at, before=before, after=after, numbers=row.numbers)
