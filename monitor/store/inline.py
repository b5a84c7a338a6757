"""A transaction's work, carried out in the thread of SQLite's connection.

Sent there statement by statement, most of what a transaction costs is the way; sent whole, it is one trip.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable, Row, StaticPool, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


class Courier:
    """Carries work to the thread of an aiosqlite connection."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._driver: sqlite3.Connection | None = None

    async def carry(self, tx: AsyncConnection, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return what work returns that waits for nothing but the database.

        Args:
            tx: A transaction that has begun, on SQLite. It remains for the caller to end.
            work: Given a connection that does what `tx` does.
        """
        lent = (await tx.get_raw_connection()).driver_connection
        # aiosqlite has no public way to run a function in its thread.
        done: T = await cast("Any", lent)._execute(self._carry_out, cast("Any", lent)._conn, work)  # noqa: SLF001
        return done

    def _carry_out(self, driver: sqlite3.Connection, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        if self._engine is None or driver is not self._driver:
            self._driver = driver
            # The transaction is the caller's: nothing here begins or ends one.
            self._engine = create_engine(
                "sqlite://", creator=lambda: _Lent(driver), poolclass=StaticPool, pool_reset_on_return=None
            )

        async def call(connection: Connection) -> T:
            return await work(inline(connection))

        with self._engine.connect() as connection:
            return at_once(call(connection))


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing but an `Inline` connection.

    Raises:
        RuntimeError: It waits for something else.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        done: T = ended.value
        return done
    coroutine.close()
    raise RuntimeError("the work of a transaction must wait for nothing but the database")


class _Lent:
    """A driver's connection whose transaction belongs to somebody else."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def commit(self) -> None:
        """Leave it to the owner."""

    rollback = close = commit


def inline(connection: Connection) -> AsyncConnection:
    """Return a connection that does what this one does, without anything to wait for."""
    return cast("AsyncConnection", _Inline(connection))


class _Inline:
    """What is used of an `AsyncConnection`, without anything to wait for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        return self._connection.dialect

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Executable, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)

    @asynccontextmanager
    async def stream(self, statement: Executable) -> AsyncIterator[AsyncIterator[Row[Any]]]:
        yield _each(self._connection.execute(statement))

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        with self._connection.begin_nested():
            yield


async def _each(result: CursorResult[Any]) -> AsyncIterator[Row[Any]]:
    for row in result:
        yield row
