"""The records of failures, in one row that one replica at a time may change, and what they are made of."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Kind
from monitor.drift.failures import FailureRecords, FailureRules, Streak, ends_at
from monitor.store.claims import streak_of
from monitor.store.codec import Codec
from monitor.store.tables import connections, failures

_ROW = 1
_CHUNK = 1000
"""Identities that one query asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """How syncs of a connection have been going."""

    identity: str
    account: str
    watched_since: datetime
    vanished: bool
    applied_at: datetime | None
    streak: Streak


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingRow:
    """One connection or receiver in a failure alert, by its name.

    `since` is when it began to fail, `cause` why. `good_since`: it has been answering, or accepting messages,
    again since then. `ends_at` is when its part of the alert is over if it goes on like that; None until it
    has been good often enough.
    """

    alert_id: str
    kind: Kind
    name: str
    since: datetime
    cause: str
    flaps: int
    good_since: datetime | None
    ends_at: datetime | None


async def load_failures(tx: AsyncConnection, codec: Codec) -> FailureRecords:
    """Return the records of failures, in a writing transaction locked until its end."""
    found = await tx.execute(select(failures.c.records).where(failures.c.id == _ROW).with_for_update())
    records = found.scalar()
    return codec.unpack_failures(records) if records is not None else FailureRecords()


async def save_failures(tx: AsyncConnection, records: FailureRecords, codec: Codec) -> None:
    """Record the records of failures."""
    packed = codec.pack_failures(records)
    done = await tx.execute(update(failures).where(failures.c.id == _ROW).values(records=packed))
    if done.rowcount == 0:
        await tx.execute(insert(failures).values(id=_ROW, records=packed))


async def troubled(
    tx: AsyncConnection, tracked: Collection[str], *, fresh_since: datetime, now: datetime
) -> list[SyncState]:
    """Return the connections of which something may have to be said: mostly few of many.

    Those whose last sync failed, that the provider does not list, that have had no snapshot since
    `fresh_since`, or that have one from the future; and those that are `tracked`, by identity.
    """
    fresh_at = func.coalesce(connections.c.applied_at, connections.c.watched_since)
    found = await _sync_states(
        tx,
        or_(
            connections.c.failures > 0,
            connections.c.vanished_at.is_not(None),
            fresh_at <= fresh_since,
            fresh_at > now,
        ),
    )
    others = sorted(set(tracked).difference(state.identity for state in found))
    for start in range(0, len(others), _CHUNK):
        found += await _sync_states(tx, connections.c.identity.in_(others[start : start + _CHUNK]))
    return found


async def _sync_states(tx: AsyncConnection, which: ColumnElement[bool]) -> list[SyncState]:
    columns = ("identity", "account", "watched_since", "vanished_at", "applied_at")
    streak = ("outcome", "failures", "same_kind", "answers")
    rows = await tx.execute(select(*(connections.c[name] for name in (*columns, *streak))).where(which))
    return [
        SyncState(
            identity=row.identity,
            account=row.account,
            watched_since=row.watched_since,
            vanished=row.vanished_at is not None,
            applied_at=row.applied_at,
            streak=streak_of(row),
        )
        for row in rows
    ]


async def failing(tx: AsyncConnection, codec: Codec, rules: FailureRules) -> list[FailingRow]:
    """Return every connection and receiver in a failure alert, by name."""
    records = (await tx.execute(select(failures.c.records).where(failures.c.id == _ROW))).scalar()
    tracks = codec.unpack_failures(records).tracks.values() if records is not None else ()
    if not tracks:
        return []
    names = {
        row.identity: row.name for row in await tx.execute(select(connections.c.identity, connections.c.name))
    }
    rows = [
        FailingRow(
            alert_id=track.episode.alert_id,
            kind=track.kind,
            name=track.key if track.kind is Kind.RECEIVER_FAILING else names.get(track.key, track.key),
            since=track.since,
            cause=track.detail,
            flaps=track.episode.flaps,
            good_since=track.good_since,
            ends_at=ends_at(track, rules),
        )
        for track in tracks
        if track.episode is not None
    ]
    return sorted(rows, key=lambda row: (row.name, row.kind))
