"""Recorded changes of numbers, and how drift came and went by them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import xxhash
from sqlalchemy import Row, Table, bindparam, func, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.moves import depended
from monitor.drift.naming import Value
from monitor.drift.snapshot import Change, ChangeKind
from monitor.store.claims import sync_id
from monitor.store.connections import ConnectionName
from monitor.store.rows import ChangeRow
from monitor.store.tables import UtcDateTime, changes, from_row, patterns


async def add_changes(
    tx: AsyncConnection,
    named: ConnectionName,
    epoch: int,
    found: Sequence[Change],
    at: datetime,
    known: Mapping[int, datetime] = MappingProxyType({}),
) -> dict[int, datetime]:
    """Record the differences that a sync found.

    Args:
        tx: A writing transaction.
        named: Their connection.
        epoch: Of the sync's claim.
        found: The differences.
        at: When they were found.
        known: Patterns that are in the store, and when they were last written.

    Returns:
        The patterns that are in the store too once this is committed.
    """
    met: dict[int, dict[str, Any]] = {}
    rows = []
    for change in found:
        pattern = _pattern(named, change)
        made_of = xxhash.xxh3_64_intdigest(msgspec.json.encode(list(pattern.values()))) >> 1
        met.setdefault(made_of, {"id": made_of, **pattern, "words": words_of(change), "used_at": at})
        rows.append({"pattern": made_of, "at": at, "epoch": epoch, **_own(change)})
    old = at - PATTERN_WRITTEN
    new = [row | {"old": old} for made_of, row in met.items() if made_of not in known or known[made_of] < old]
    if new:
        await tx.execute(_MEET[tx.dialect.name], new)
    if rows:
        await tx.execute(_ADD, rows)
    return {row["id"]: at for row in new}


PATTERN_WRITTEN = timedelta(days=1)
"""For so long a pattern that is met again is not written again, by this process or any other."""
PATTERN_KEPT = 2 * PATTERN_WRITTEN
"""For so long it is kept beyond what it says of its last use."""


def _pattern(named: ConnectionName, change: Change) -> dict[str, Any]:
    """Return what a change may have in common with others of its connection."""
    before, after = change.before, change.after
    return {
        "identity": named.identity,
        "connection": named.name,
        "account": named.account,
        "change": change.kind,
        "state": after.state if after else None,
        "previous_state": before.state if before else None,
        "was_drifting": before is not None and before.drifting,
        "issues": after.issues if after else (),
        "previous_issues": before.issues if before else (),
        "action_items": [{"code": item.code, "label": item.label} for item in change.number.action_items],
    }


def _own(change: Change) -> dict[str, Any]:
    """Return what is of the change alone, as its row has it."""
    was, now = depended(change)
    number = change.number
    return {
        "key": change.key,
        "phone_number": number.phone_number if number.phone_number != f"+{change.key}" else None,
        "did_id": number.did_id,
        "client_id": number.dependencies.client_id,
        "moved": {name: (was[name], now[name]) for name in was},
    }


def words_of(change: Change) -> list[str]:
    """Return the states and issues that a change is found by."""
    sides = [side for side in (change.before, change.after) if side is not None]
    return sorted({word.casefold() for side in sides for word in (side.state, *side.issues)})


def _meet(insert_into: Callable[[Table], Any]) -> Any:
    statement = insert_into(patterns)
    return statement.on_conflict_do_update(
        index_elements=[patterns.c.id],
        set_={"used_at": statement.excluded.used_at},
        where=patterns.c.used_at < bindparam("old", type_=UtcDateTime),
    )


# Built once: building one takes longer than running it.
_MEET = {"sqlite": _meet(sqlite.insert), "postgresql": _meet(postgresql.insert)}
_ADD = insert(changes)

WITH_PATTERN = changes.join(patterns, patterns.c.id == changes.c.pattern)
"""Changes with all that is known of them."""
PHONE_NUMBER = func.coalesce(changes.c.phone_number, literal("+") + changes.c.key).label("phone_number")
"""The phone number of a change."""
_OWN = ("id", "at", "epoch", "key", "did_id", "client_id", "moved")
_SHARED = ("identity", "connection", "account", "change", "state", "previous_state")
_LISTS = ("issues", "previous_issues", "action_items")
RECORDED = (
    *(changes.c[name] for name in _OWN),
    PHONE_NUMBER,
    *(patterns.c[name] for name in (*_SHARED, *_LISTS)),
)
"""The columns of which `change_row` makes a row."""


async def patterns_of(
    tx: AsyncConnection, identity: str, kinds: Collection[ChangeKind | str]
) -> Sequence[int]:
    """Return the ids of a connection's patterns; with these PostgreSQL looks at no other changes."""
    these = patterns.c.identity == identity, patterns.c.change.in_(kinds)
    return (await tx.scalars(select(patterns.c.id).where(*these))).all()


def row_of(named: ConnectionName, change: Change, *, id: int, at: datetime, epoch: int) -> ChangeRow:  # noqa: A002 - the name of the field
    """Return a change as people see it, recorded or not."""
    found = _pattern(named, change) | _own(change) | {"id": id, "at": at}
    found["phone_number"] = change.number.phone_number
    found["depended_on"], found["depends_on"] = sides(found["moved"])
    found["sync_id"] = sync_id(named.identity, epoch)
    return msgspec.convert({name: found[name] for name in ChangeRow.__annotations__}, ChangeRow)


def change_row(row: Row[Any]) -> ChangeRow:
    """Return a change as people see it."""
    was, now = sides(row.moved)
    name = sync_id(row.identity, row.epoch)
    return from_row(ChangeRow, row, sync_id=name, depended_on=was, depends_on=now)


def sides(moved: Mapping[str, tuple[Value, Value]]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return what a number depended on and what it depends on, of what a row says of both."""
    return {name: was for name, (was, _) in moved.items()}, {name: now for name, (_, now) in moved.items()}


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
    these = await patterns_of(tx, identity, _PROBLEM)
    newest = (
        select(changes.c.at, changes.c.pattern)
        .where(changes.c.pattern.in_(these), changes.c.at >= since)
        .order_by(changes.c.at.desc(), changes.c.id.desc())
        .limit(limit)
        .subquery()
    )
    together = (newest.c.at, newest.c.pattern)
    counted = select(*together, func.count().label("numbers")).group_by(*together).subquery()
    told = (patterns.c[name] for name in ("change", "state", "previous_state", "was_drifting"))
    asked = select(counted.c.at, counted.c.numbers, *told).join(patterns, patterns.c.id == counted.c.pattern)
    asked = asked.order_by(counted.c.at.desc())
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
