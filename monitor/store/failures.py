"""The records of failures, in one row that one replica at a time may change."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import FailureRecords
from monitor.store.codec import Codec
from monitor.store.tables import failures

_ROW = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureState:
    """The records of failures, and when time alone changes them."""

    records: FailureRecords
    wakes_at: datetime | None


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
