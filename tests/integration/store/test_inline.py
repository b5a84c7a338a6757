"""On SQLite, a transaction is carried out in a thread, whole, and ends as any other does."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StoreUnavailable
from monitor.store.database import Database
from monitor.store.tables import acceptances, pulse
from tests.fakes.stored import NOW

ROW = {"identity": "i", "key": "k", "asked_at": NOW}


@pytest.fixture
async def database(sqlite_store: str) -> AsyncIterator[Database]:
    """Return an empty store."""
    async with Database(sqlite_store) as opened:
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


@pytest.fixture
async def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the functions that go to a thread from now on."""
    gone: list[str] = []
    loop = asyncio.get_running_loop()
    go = loop.run_in_executor

    def note(executor: Executor | None, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        gone.append(function.__name__)
        return go(executor, function, *args)

    monkeypatch.setattr(loop, "run_in_executor", note)
    return gone


async def test_transaction_is_one_trip_to_a_thread(database: Database, trips: list[str]) -> None:
    """From its beginning to its commit it returns to nobody; what it returns comes back."""

    async def work(tx: AsyncConnection) -> tuple[set[int], int]:
        threads = set()
        for _ in range(3):
            await add(tx)
            threads.add(threading.get_ident())
        return threads, await count(tx)

    threads, seen = await database.transact(work)
    assert (trips, len(threads), seen, await kept(database)) == (["_carry_out"], 1, 3, 3)
    assert threads != {threading.get_ident()}


async def test_query_is_one_trip_too_and_waits_for_no_writer(database: Database, trips: list[str]) -> None:
    """It sees what was committed, while another transaction goes on."""
    await database.transact(add)
    trips.clear()
    async with database.write() as tx:
        await add(tx)
        assert await database.query(count) == 1
    assert trips == ["_carry_out"]
    assert await database.query(count) == 2


async def test_database_that_was_closed_opens_again(database: Database) -> None:
    """Its threads end with it, and come back with it."""
    await database.transact(add)
    await database.close()
    assert await database.query(count) == 1


async def test_failed_transaction_leaves_nothing(database: Database) -> None:
    """A mistake in its midst comes out as it is, and what was written before is not kept."""

    async def work(tx: AsyncConnection) -> None:
        await add(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transact(work)
    await database.transact(add)
    assert await kept(database) == 1


async def test_commit_that_fails_leaves_nothing(database: Database) -> None:
    """Not to be kept by the next one, which finds the connection free."""

    def refuse(_: Connection) -> None:
        raise OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

    await database.transact(add)
    event.listen(Engine, "commit", refuse)
    with pytest.raises(StoreUnavailable, match="disk I/O"):
        await database.transact(add)
    event.remove(Engine, "commit", refuse)
    assert await kept(database) == 1
    await database.transact(add)
    assert await kept(database) == 2


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
