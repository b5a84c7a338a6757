"""A write that nobody reads: it shows that the store commits."""

from datetime import datetime

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.tables import pulse

_ROW = 1


async def commit_pulse(tx: AsyncConnection, at: datetime) -> None:
    """Write the instant down."""
    done = await tx.execute(update(pulse).where(pulse.c.id == _ROW).values(at=at))
    if done.rowcount == 0:
        await tx.execute(insert(pulse).values(id=_ROW, at=at))
