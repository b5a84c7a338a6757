"""Recorded changes of numbers, and how drift came and went by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.moves import depended
from monitor.drift.snapshot import Change, ChangeKind
from monitor.store.connections import ConnectionName
from monitor.store.tables import changes


async def add_changes(
    tx: AsyncConnection, named: ConnectionName, sync_id: str, found: Sequence[Change], at: datetime
) -> None:
    """Record the differences that a sync found."""
    rows = [
        {
            "at": at,
            "identity": named.identity,
            "connection": named.name,
            "account": named.account,
            "sync_id": sync_id,
            "change": change.kind,
            "key": change.key,
            "phone_number": change.number.phone_number,
            "state": change.after.state if change.after else None,
            "previous_state": change.before.state if change.before else None,
            "issues": change.after.issues if change.after else (),
            "previous_issues": change.before.issues if change.before else (),
            "action_items": [{"code": item.code, "label": item.label} for item in change.number.action_items],
            "did_id": change.number.did_id,
            "client_id": change.number.dependencies.client_id,
            "was_drifting": change.before is not None and change.before.drifting,
            "depended_on": was,
            "depends_on": now,
        }
        for change in found
        for was, now in [depended(change)]
    ]
    if rows:
        await tx.execute(insert(changes), rows)


MOST_CHANGES = 50_000
"""The most changes read for one history, newest first: a connection may flap without end."""

_PROBLEM = (ChangeKind.APPEARED, ChangeKind.CHANGED, ChangeKind.RESOLVED, ChangeKind.REMOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMove:
    """How many numbers moved from one drifting state to another in one sync.

    `before` and `after` are None where the numbers were not drifting.
    """

    at: datetime
    before: str | None
    after: str | None
    numbers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMoves:
    """Moves since an instant, newest first; `since` is later than asked for if there were too many."""

    moves: list[DriftMove]
    since: datetime


async def drift_moves(
    tx: AsyncConnection, identity: str, since: datetime, *, limit: int = MOST_CHANGES
) -> DriftMoves:
    """Return how numbers of a connection started and stopped drifting since an instant."""
    newest = (
        select(
            changes.c.at,
            changes.c.change,
            changes.c.state,
            changes.c.previous_state,
            changes.c.was_drifting,
        )
        .where(changes.c.identity == identity, changes.c.at >= since, changes.c.change.in_(_PROBLEM))
        .order_by(changes.c.id.desc())
        .limit(limit)
        .subquery()
    )
    columns = (newest.c.at, newest.c.change, newest.c.state, newest.c.previous_state, newest.c.was_drifting)
    asked = select(*columns, func.count().label("numbers")).group_by(*columns).order_by(newest.c.at.desc())
    rows = list(await tx.execute(asked))
    if sum(row.numbers for row in rows) >= limit:
        since = rows[-1].at  # that sync may have been read in part only
        rows = [row for row in rows if row.at > since]
    moves = []
    for row in rows:
        change = ChangeKind(row.change)
        if change is not ChangeKind.REMOVED or row.was_drifting:
            before = row.previous_state if change is not ChangeKind.APPEARED else None
            after = row.state if change is not ChangeKind.RESOLVED else None
            moves.append(DriftMove(at=row.at, before=before, after=after, numbers=row.numbers))
    return DriftMoves(moves=moves, since=since)
