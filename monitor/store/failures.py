"""The records of failures, in one row that one replica at a time may change."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Kind
from monitor.drift.failures import FailureRecords, FailureRules, ends_at
from monitor.store.codec import Codec
from monitor.store.tables import connections, failures

_ROW = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureState:
    """The records of failures, and when time alone changes them."""

    records: FailureRecords
    wakes_at: datetime | None


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


async def load_failures(tx: AsyncConnection, codec: Codec) -> FailureState:
    """Return the records of failures, in a writing transaction locked until its end."""
    found = await tx.execute(select(failures).where(failures.c.id == _ROW).with_for_update())
    row = found.first()
    if row is None:
        return FailureState(records=FailureRecords(), wakes_at=None)
    return FailureState(records=codec.unpack_failures(row.records), wakes_at=row.wakes_at)


async def save_failures(tx: AsyncConnection, state: FailureState, codec: Codec) -> None:
    """Record the records of failures."""
    values = {"records": codec.pack_failures(state.records), "wakes_at": state.wakes_at}
    done = await tx.execute(update(failures).where(failures.c.id == _ROW).values(**values))
    if done.rowcount == 0:
        await tx.execute(insert(failures).values(id=_ROW, **values))


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
