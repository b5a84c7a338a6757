"""The records of failures, in one row that one replica at a time may change."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import FailureRecords
from monitor.store.codec import Codec
from monitor.store.tables import fleet

_ROW = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The records of failures, and when time alone changes them."""

    records: FailureRecords
    wakes_at: datetime | None


async def load_fleet(tx: AsyncConnection, codec: Codec) -> Fleet:
    """Return the records of failures, in a writing transaction locked until its end."""
    found = await tx.execute(select(fleet).where(fleet.c.id == _ROW).with_for_update())
    row = found.first()
    if row is None:
        return Fleet(records=FailureRecords(), wakes_at=None)
    return Fleet(records=codec.unpack_fleet(row.records), wakes_at=row.wakes_at)


async def save_fleet(tx: AsyncConnection, kept: Fleet, codec: Codec) -> None:
    """Record them."""
    values = {"records": codec.pack_fleet(kept.records), "wakes_at": kept.wakes_at}
    done = await tx.execute(update(fleet).where(fleet.c.id == _ROW).values(**values))
    if done.rowcount == 0:
        await tx.execute(insert(fleet).values(id=_ROW, **values))
