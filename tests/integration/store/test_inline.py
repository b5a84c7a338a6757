"""On SQLite, a transaction is carried out in the connection's thread, whole, and ends as any other does."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StoreUnavailable
from monitor.store.database import Database
from monitor.store.tables import acceptances, pulse
from tests.fakes.stored import NOW

ROW = {"identity": "i", "key": "k", "asked_at": NOW}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Return an empty store."""
    async with Database(f"sqlite:///{tmp_path}/store.db") as opened:
        await opened.migrate()
        yield opened


async def add(tx: AsyncConnection) -> None:
    """Add a row."""
    await tx.execute(insert(acceptances), [ROW])


async def count(tx: AsyncConnection) -> int:
    """Return how many rows there are."""
    return int((await tx.execute(select(func.count()).select_from(acceptances))).scalar_one())


async def kept(database: Database) -> int:
    """Return how many rows a reader sees."""
    async with database.read() as tx:
        return await count(tx)


async def test_transaction_is_one_trip_to_the_thread(database: Database) -> None:
    """Between its first and its last statement it returns to nobody; what it returns comes back."""

    async def work(tx: AsyncConnection) -> tuple[set[int], int]:
        threads = set()
        for _ in range(3):
            await add(tx)
            threads.add(threading.get_ident())
        return threads, await count(tx)

    threads, seen = await database.transact(work)
    assert (len(threads), seen, await kept(database)) == (1, 3, 3)
    assert threads != {threading.get_ident()}


async def test_failed_transaction_leaves_nothing(database: Database) -> None:
    """A mistake in its midst comes out as it is, and what was written before is not kept."""

    async def work(tx: AsyncConnection) -> None:
        await add(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transact(work)
    await database.transact(add)
    assert await kept(database) == 1


async def test_refused_statement_is_told_as_ever(database: Database) -> None:
    """The driver's errors are translated, and those within a savepoint end only that."""

    async def twice(tx: AsyncConnection) -> None:
        await tx.execute(insert(pulse), [{"id": 1, "at": NOW}, {"id": 1, "at": NOW}])

    async def within(tx: AsyncConnection) -> None:
        async with tx.begin_nested():
            await add(tx)
            await twice(tx)

    async def work(tx: AsyncConnection) -> None:
        await add(tx)
        with pytest.raises(IntegrityError):
            await within(tx)

    await database.transact(work)
    assert await kept(database) == 1
    with pytest.raises(StoreUnavailable, match="UNIQUE"):
        await database.transact(twice)


async def test_transaction_that_waits_for_something_else_is_refused(database: Database) -> None:
    """It would hold up every other one; nothing of it is kept."""

    async def work(tx: AsyncConnection) -> None:
        await add(tx)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="nothing but the database"):
        await database.transact(work)
    assert await kept(database) == 0


async def test_cancelled_transaction_leaves_nothing(database: Database) -> None:
    """Who is cancelled meanwhile keeps nothing, and the next transaction finds the connection free."""
    loop, begun, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    async def work(tx: AsyncConnection) -> Any:
        await add(tx)
        loop.call_soon_threadsafe(begun.set)
        go.wait(30)

    task = asyncio.create_task(database.transact(work))
    await begun.wait()
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await kept(database) == 0
    await database.transact(add)
    assert await kept(database) == 1


async def test_streamed_rows_are_all_there(database: Database) -> None:
    """Rows are read one after the other."""

    async def work(tx: AsyncConnection) -> list[str]:
        for _ in range(3):
            await add(tx)
        async with tx.stream(select(acceptances.c.key)) as rows:
            return [row.key async for row in rows]

    assert await database.transact(work) == ["k"] * 3
