"""The connections: which are watched, the state of each, and its records."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import Streak
from monitor.drift.policy import Records
from monitor.drift.snapshot import Counts
from monitor.store.claims import streak_of
from monitor.store.codec import Codec
from monitor.store.inventory import all_gone
from monitor.store.naming import named
from monitor.store.tables import UtcDateTime, acceptances, connections, from_row, silenced, snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A connection to watch.

    `first_due_at` is for one that is new or overdue, `next_due_at` the latest for one that is known.
    `rules_digest` differs when its rules do.
    """

    identity: str
    name: str
    account: str
    connection_id: str | None
    first_due_at: datetime
    next_due_at: datetime
    rules_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionState:
    """A connection's row, without its lease."""

    identity: str
    name: str
    account: str
    connection_id: str | None
    watched_since: datetime
    vanished_at: datetime | None
    due_at: datetime
    epoch: int
    digest: str | None
    held: int
    held_reason: str | None
    applied_at: datetime | None
    counts: Counts | None
    streak: Streak
    error: str | None
    synced_at: datetime | None
    succeeded_at: datetime | None
    duration_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionName:
    """What a connection is called, for records that outlive it."""

    identity: str
    name: str
    account: str


async def watched(
    tx: AsyncConnection, codec: Codec, *, connection: str | None = None, moved_since: datetime | None = None
) -> list[ConnectionState]:
    """Return every connection that is watched, by name.

    Args:
        tx: A transaction.
        codec: Unpacks counts.
        connection: Only those whose name matches this glob.
        moved_since: Only those whose rows moved then or later.
    """
    asked = select(connections).order_by(connections.c.name)
    if connection is not None:
        asked = asked.where(await named(tx, connections.c.name, connection))
    if moved_since is not None:
        asked = asked.where(connections.c.moved_at >= moved_since)
    return [_state(row, codec) for row in await tx.execute(asked)]


async def names_of_watched(tx: AsyncConnection) -> dict[str, str]:
    """Return the name of every connection that is watched, by identity."""
    rows = await tx.execute(select(connections.c.identity, connections.c.name))
    return {row.identity: row.name for row in rows}


async def connection_states(
    tx: AsyncConnection, identities: Collection[str], codec: Codec
) -> dict[str, ConnectionState]:
    """Return those of these connections that are watched, by identity."""
    rows = await tx.execute(select(connections).where(connections.c.identity.in_(identities)))
    return {row.identity: _state(row, codec) for row in rows}


async def begin_watching(
    tx: AsyncConnection,
    watches: Sequence[Watch],
    now: datetime,
    *,
    alone: bool = True,
    left: Collection[str] = (),
) -> bool:
    """Add new connections and bring known ones up to date; return whether what is watched changed.

    Where the rules or the name differ from those that its policy last ran with, it runs at once. Other rows
    stay: `stop_watching` deletes those.

    Args:
        tx: A writing transaction.
        watches: The connections.
        now: The current instant.
        alone: Whether no other replica syncs what is overdue: it is then spread, so that starts cannot burst.
        left: Known ones that follow the config of another replica, not this one.
    """
    columns = [connections.c[name] for name in ("identity", "due_at", "lease_until", "moved_at", *_WATCHED)]
    known = {row.identity: row for row in await tx.execute(select(*columns))}
    new, other, moved = [], [], []
    for watch in sorted(watches, key=lambda watch: watch.identity):
        values = {name: getattr(watch, name) for name in _WATCHED}
        row = known.get(watch.identity)
        if row is None:
            begun = {"identity": watch.identity, "watched_since": now, "due_at": watch.first_due_at}
            new.append(begun | values)
            continue
        if watch.identity in left:
            continue
        if any(getattr(row, name) != value for name, value in values.items()):
            # Silences go by the name, too.
            judged = row.rules_digest == watch.rules_digest and row.name == watch.name
            looks_at = None if judged else now
            other.append({"which": watch.identity, "looks_at": looks_at} | values)
        due_at = _due_at(watch, row, now, alone=alone)
        if due_at != row.due_at:
            moved.append({"which": watch.identity, "known_due_at": row.due_at, "due_at": due_at})
    for statement, rows in ((insert(connections), new), (_BRING_UP_TO_DATE, other), (_MOVE_DUE, moved)):
        if rows:
            await tx.execute(statement, rows)
    return bool(new or other)


def _due_at(watch: Watch, row: Row[Any], now: datetime, *, alone: bool) -> datetime:
    """Return when a known connection is due, though its interval may have changed."""
    due_at: datetime = row.due_at
    if row.moved_at is not None and row.moved_at > now:
        return due_at  # a sync has planned it since
    if due_at > now:
        return min(due_at, watch.next_due_at)
    is_held = row.lease_until is not None and row.lease_until > now
    return watch.first_due_at if alone and not is_held else due_at


_WATCHED = ("name", "account", "connection_id", "rules_digest")
"""What the config says of a connection, as far as it is stored."""

# What a sync may write meanwhile stays as that says.
_BRING_UP_TO_DATE = (
    update(connections)
    .where(connections.c.identity == bindparam("which"))
    .values(
        {name: bindparam(name) for name in _WATCHED}
        | {
            "wakes_at": case(
                # Without records there is nothing to look at.
                (
                    select(snapshots.c.identity).where(snapshots.c.identity == bindparam("which")).exists(),
                    func.coalesce(bindparam("looks_at", type_=UtcDateTime()), connections.c.wakes_at),
                ),
                else_=connections.c.wakes_at,
            )
        }
    )
)
_MOVE_DUE = (
    update(connections)
    .where(connections.c.identity == bindparam("which"), connections.c.due_at == bindparam("known_due_at"))
    .values(due_at=bindparam("due_at"))
)


async def stop_watching(tx: AsyncConnection, identities: Collection[str], now: datetime) -> None:
    """Delete these connections' rows, snapshots, acceptances and silenced numbers; their history stays."""
    await all_gone(tx, identities, now)
    for table in (acceptances, connections, silenced, snapshots):
        await tx.execute(delete(table).where(table.c.identity.in_(identities)))


async def mark_vanished(
    tx: AsyncConnection, *, vanished: Collection[str], listed: Collection[str], now: datetime
) -> bool:
    """Record which connections the provider no longer lists, and which it lists again; whether any moved."""
    gone = update(connections).where(
        connections.c.identity.in_(vanished), connections.c.vanished_at.is_(None)
    )
    back = update(connections).where(
        connections.c.identity.in_(listed), connections.c.vanished_at.is_not(None)
    )
    moved = (await tx.execute(gone.values(vanished_at=now))).rowcount
    return bool(moved + (await tx.execute(back.values(vanished_at=None))).rowcount)


async def take_away(tx: AsyncConnection, identities: Collection[str]) -> None:
    """Raise the epochs of connections that are to end: whoever syncs one records nothing more of it."""
    for identity in sorted(identities):
        await tx.execute(
            update(connections)
            .where(connections.c.identity == identity)
            .values(epoch=connections.c.epoch + 1, lease_until=None)
        )


async def load_records(tx: AsyncConnection, identity: str, codec: Codec) -> Records:
    """Return a connection's records, empty ones for a new connection."""
    found = await tx.execute(select(snapshots.c.records).where(snapshots.c.identity == identity))
    blob = found.scalar()
    return codec.unpack_records(blob) if blob is not None else Records()


def _state(row: Row[Any], codec: Codec) -> ConnectionState:
    counts = codec.unpack_counts(row.counts) if row.counts is not None else None
    return from_row(ConnectionState, row, counts=counts, streak=streak_of(row))
