"""Replicas of one database: who runs, what each wants, and how they take turns.

Each writes down every few seconds that it is there. What one that is gone has held becomes free; what it
wanted is still wanted for some time, for it may be restarting. Whatever is decided for all of them is decided
in a transaction that holds the fleet's row, from what the store says, and not by one with an older config.
SQLite has one daemon: it is always its turn.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, column, delete, func, insert, select, table, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import __version__
from monitor.store.migrations import REVISIONS
from monitor.store.tables import (
    connections,
    deliveries,
    discoveries,
    fleet,
    from_row,
    posters,
    replicas,
    watchlists,
)

GONE_AFTER = timedelta(seconds=15)
"""A replica that was not seen for so long holds nothing any more; epochs keep that safe if it comes back."""
FORGOTTEN_AFTER = timedelta(minutes=10)
"""What a replica wants is wanted for so long after it was last seen."""

_ROW = 1
_LOOK = select(
    func.clock_timestamp().label("at"),
    select(column("version_num")).select_from(table("alembic_version")).scalar_subquery().label("revision"),
    select(fleet.c.oldest).scalar_subquery().label("oldest"),
)


class Wanted(StrEnum):
    """What a config can want."""

    CONNECTION = "connection"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process: its id, and its config by a digest, active since `config_at`."""

    id: str
    digest: str
    config_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveReplica:
    """A process that was seen lately: its version, and its config by a digest, active since `config_at`."""

    id: str
    started_at: datetime
    version: str
    digest: str
    config_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Who is there, the oldest first.

    `wants` changes with what the others want, `version` with what is watched, and the digests of `live` with
    who decides. `freed`: what replicas held that are gone is free now.
    """

    live: tuple[LiveReplica, ...]
    wants: frozenset[str]
    version: int
    freed: bool

    def is_like(self, other: "Presence | None") -> bool:
        """Whether there is nothing to look at since the other one."""
        return other is not None and self.moves_with == other.moves_with

    @property
    def moves_with(self) -> tuple[frozenset[str], frozenset[str], int]:
        """What a replica has to look at anew when it moves."""
        return self.wants, frozenset(each.digest for each in self.live), self.version


async def store_time(tx: AsyncConnection) -> tuple[datetime, bool]:
    """Return what the database's clock shows, and whether this program can use its schema.

    PostgreSQL only.
    """
    row = (await tx.execute(_LOOK)).one()
    return row.at, row.revision == REVISIONS[-1] or (
        row.revision not in REVISIONS and row.oldest in REVISIONS
    )


async def lock_fleet(tx: AsyncConnection) -> None:
    """Wait until no other replica decides anything for all, and let none until the transaction ends."""
    if tx.dialect.name == "postgresql":
        row = select(fleet.c.id).where(fleet.c.id == _ROW).with_for_update()
        if (await tx.execute(row)).first() is None:
            await tx.execute(postgresql.insert(fleet).values(id=_ROW, version=0).on_conflict_do_nothing())
            await tx.execute(row)


async def take_turn(tx: AsyncConnection, me: Replica, now: datetime) -> bool:
    """Lock the fleet and return whether this replica is to decide: none with a newer config is there."""
    if tx.dialect.name != "postgresql":
        return True
    await lock_fleet(tx)
    return (await tx.execute(_newer(me, now).limit(1))).first() is None


async def watching_since(tx: AsyncConnection) -> datetime | None:
    """Return since when some replica has been watching; None on SQLite, whose one daemon knows."""
    found: datetime | None = await tx.scalar(select(fleet.c.since))
    return found


async def fleet_version(tx: AsyncConnection) -> int:
    """Return the number that moves whenever what is watched does."""
    return await tx.scalar(select(fleet.c.version)) or 0


async def report(
    tx: AsyncConnection,
    me: Replica,
    wants: Mapping[Wanted, Collection[str]],
    now: datetime,
    *,
    anew: bool = False,
    dropped: Collection[str] = (),
) -> Presence:
    """Write down that a replica is there and what it wants, and free what replicas hold that are gone.

    Args:
        tx: A writing transaction.
        me: The replica.
        wants: What it wants.
        now: The current instant.
        anew: Whether that may be more than it wanted before.
        dropped: Connections that discovery has told it to want no longer. Whatever else is missing from its
            wants stays wanted: another replica with this config may have found it just now.
    """
    await lock_fleet(tx)
    rows = list(await tx.execute(select(replicas)))
    if all(row.seen_at <= now - GONE_AFTER for row in rows):
        # Nobody watched: what looks stale now was not looked at.
        await tx.execute(update(fleet).values(since=now))
    is_new = (me.id, me.digest) not in {(row.id, row.digest) for row in rows}
    if anew or is_new:
        await _want(tx, me, wants, dropped)
    this = {"seen_at": now, "config_at": me.config_at, "digest": me.digest, "gone": False}
    upsert = postgresql.insert(replicas).values(id=me.id, started_at=now, version=__version__, **this)
    await tx.execute(upsert.on_conflict_do_update(index_elements=[replicas.c.id], set_=this))
    mine = next((row for row in rows if row.id == me.id), None)
    others = [row for row in rows if row.id != me.id]
    gone = [row.id for row in others if not row.gone and row.seen_at <= now - GONE_AFTER]
    if gone:
        await tx.execute(update(replicas).where(replicas.c.id.in_(gone)).values(gone=True))
        await free_what_they_held(tx, gone, now)
    forgotten = [row.id for row in others if row.seen_at <= now - FORGOTTEN_AFTER]
    if forgotten or is_new:
        await _forget(tx, forgotten)
    this_one = LiveReplica(
        id=me.id,
        started_at=mine.started_at if mine is not None else now,
        version=__version__,
        digest=me.digest,
        config_at=me.config_at,
    )
    seen = [from_row(LiveReplica, row) for row in others if row.seen_at > now - GONE_AFTER]
    return Presence(
        live=tuple(sorted([this_one, *seen], key=lambda each: (each.started_at, each.id))),
        wants=frozenset({me.digest, *(row.digest for row in others if row.id not in forgotten)}),
        version=await fleet_version(tx),
        freed=bool(gone),
    )


async def leave(tx: AsyncConnection, me: str, now: datetime) -> None:
    """Say that a replica ends: it holds and wants nothing any more."""
    await lock_fleet(tx)
    await free_what_they_held(tx, [me], now)
    await _forget(tx, [me])


async def free_what_they_held(
    tx: AsyncConnection, holders: Collection[str], now: datetime, *, until: Collection[datetime] | None = None
) -> None:
    """Free every lease of these replicas, or those that end at these instants.

    The next holder raises the epoch, so that a late commit fails.
    """
    for each in (connections, deliveries, discoveries, posters):
        ends = each.c.lease_until
        held = each.c.holder.in_(holders), ends.is_not(None) if until is None else ends.in_(until)
        free: dict[str, Any] = {"lease_until": None}
        if each is deliveries:
            free["due_at"] = now  # a lease moved it on
        await tx.execute(update(each).where(*held).values(**free))


async def wanted_by_others(tx: AsyncConnection, me: str, kind: Wanted) -> set[str]:
    """Return what any other replica wants that was seen lately."""
    digests = select(replicas.c.digest).where(replicas.c.id != me)
    found = await tx.execute(
        select(watchlists.c.name).where(watchlists.c.kind == kind, watchlists.c.digest.in_(digests))
    )
    return set(found.scalars())


async def wanted_by_newer(tx: AsyncConnection, me: Replica, kind: Wanted, now: datetime) -> set[str]:
    """Return what the newer configs of replicas want that are there."""
    newer = watchlists.c.digest.in_(_newer(me, now))
    found = await tx.execute(select(watchlists.c.name).where(watchlists.c.kind == kind, newer))
    return set(found.scalars())


def _newer(me: Replica, now: datetime) -> Select[tuple[str]]:
    return select(replicas.c.digest).where(
        replicas.c.id != me.id,
        replicas.c.digest != me.digest,
        replicas.c.config_at > me.config_at,
        replicas.c.seen_at > now - GONE_AFTER,
    )


async def watch_moved(tx: AsyncConnection) -> int:
    """Let every replica look at what is watched; return the fleet's new version."""
    moved = update(fleet).values(version=fleet.c.version + 1).returning(fleet.c.version)
    return (await tx.execute(moved)).scalar() or 0


async def _want(
    tx: AsyncConnection, me: Replica, wants: Mapping[Wanted, Collection[str]], dropped: Collection[str]
) -> None:
    """Add what a config wants to what is known of it: it grows with what discovery finds."""
    mine = watchlists.c.digest == me.digest
    if dropped:
        unwanted = watchlists.c.kind == Wanted.CONNECTION, watchlists.c.name.in_(dropped)
        await tx.execute(delete(watchlists).where(mine, *unwanted))
    rows = await tx.execute(select(watchlists.c.kind, watchlists.c.name).where(mine))
    known = {(row.kind, row.name) for row in rows}
    missing = [
        {"digest": me.digest, "kind": kind, "name": name}
        for kind, names in wants.items()
        for name in names
        if (kind, name) not in known
    ]
    if missing:
        await tx.execute(insert(watchlists), missing)


async def _forget(tx: AsyncConnection, ids: Collection[str]) -> None:
    await tx.execute(delete(replicas).where(replicas.c.id.in_(ids)))
    await tx.execute(delete(watchlists).where(watchlists.c.digest.not_in(select(replicas.c.digest))))
