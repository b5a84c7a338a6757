"""The connections: which are watched, the state of each, and its records."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import Streak
from monitor.drift.policy import Records
from monitor.drift.snapshot import Counts
from monitor.store.claims import streak_of
from monitor.store.codec import Codec
from monitor.store.tables import acceptances, connections, from_row, snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A connection to watch.

    `first_due_at` is for one that is new or overdue, `next_due_at` the latest for one that is known.
    """

    identity: str
    name: str
    account: str
    connection_id: str | None
    first_due_at: datetime
    next_due_at: datetime


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


async def watched(tx: AsyncConnection, codec: Codec) -> list[ConnectionState]:
    """Return every connection that is watched, by name."""
    rows = await tx.execute(select(connections).order_by(connections.c.name))
    return [_state(row, codec) for row in rows]


async def connection_states(
    tx: AsyncConnection, identities: Collection[str], codec: Codec
) -> dict[str, ConnectionState]:
    """Return those of these connections that are watched, by identity."""
    rows = await tx.execute(select(connections).where(connections.c.identity.in_(identities)))
    return {row.identity: _state(row, codec) for row in rows}


async def begin_watching(tx: AsyncConnection, watches: Sequence[Watch], now: datetime) -> None:
    """Add new connections, rename known ones, and spread overdue ones so that a start does not burst.

    Other rows stay: `stop_watching` deletes those.
    """
    rows = await tx.execute(select(connections.c.identity, connections.c.due_at))
    known = {row.identity: row.due_at for row in rows}
    new, old = [], []
    for watch in watches:
        names = {"name": watch.name, "account": watch.account, "connection_id": watch.connection_id}
        due_at = known.get(watch.identity)
        if due_at is None:
            row = {"identity": watch.identity, "watched_since": now, "due_at": watch.first_due_at}
            new.append(row | names)
        else:
            row = {
                "which": watch.identity,
                "due_at": watch.first_due_at if due_at <= now else min(due_at, watch.next_due_at),
            }
            old.append(row | names)
    if new:
        await tx.execute(insert(connections), new)
    if old:
        await tx.execute(update(connections).where(connections.c.identity == bindparam("which")), old)


async def stop_watching(tx: AsyncConnection, identities: Collection[str]) -> None:
    """Delete these connections' rows, snapshots and open acceptances; their history stays."""
    for table in (acceptances, connections, snapshots):
        await tx.execute(delete(table).where(table.c.identity.in_(identities)))


async def look_again(tx: AsyncConnection, now: datetime) -> None:
    """Make the policy of every connection with records due at once: the rules have changed."""
    has_records = connections.c.identity.in_(select(snapshots.c.identity))
    await tx.execute(update(connections).where(has_records).values(wakes_at=now))


async def mark_vanished(
    tx: AsyncConnection, *, vanished: Collection[str], listed: Collection[str], now: datetime
) -> None:
    """Record which connections the provider no longer lists, and which it lists (again)."""
    await tx.execute(
        update(connections)
        .where(connections.c.identity.in_(vanished), connections.c.vanished_at.is_(None))
        .values(vanished_at=now)
    )
    await tx.execute(update(connections).where(connections.c.identity.in_(listed)).values(vanished_at=None))


async def load_records(tx: AsyncConnection, identity: str, codec: Codec) -> Records:
    """Return a connection's records, empty ones for a new connection."""
    found = await tx.execute(select(snapshots.c.records).where(snapshots.c.identity == identity))
    blob = found.scalar()
    return codec.unpack_records(blob) if blob is not None else Records()


def _state(row: Row[Any], codec: Codec) -> ConnectionState:
    counts = codec.unpack_counts(row.counts) if row.counts is not None else None
    return from_row(ConnectionState, row, counts=counts, streak=streak_of(row))
