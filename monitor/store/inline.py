"""Transactions of SQLite, each carried out in a thread in one trip.

An asynchronous driver makes several trips for every statement, each of which costs more than to run it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.statements import Statements

T = TypeVar("T")

BEGIN = {True: "BEGIN IMMEDIATE", False: "BEGIN"}
"""How a transaction begins that writes, and one that does not."""


class Courier:
    """Carries work to a thread with a connection of its own.

    Args:
        engine: Connects; used in that thread only.
        writes: Whether what is done is kept.
    """

    def __init__(self, engine: Engine, *, writes: bool) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._writes = writes
        self._thread = _thread()
        self._statements = Statements()

    async def carry(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Return what work returns, done in a transaction of its own; it waits for nothing but the database.

        Cancelled, it leaves nothing behind, unless it was being committed already.
        """
        trip = _Trip(work)
        trip.result = asyncio.get_running_loop().run_in_executor(self._thread, self._carry_out, trip)
        return await trip.result

    def _carry_out(self, trip: "_Trip[T]") -> T:
        async def call(connection: Connection) -> T:
            return await trip.work(inline(connection, self._statements))

        connection, self._connection = self._connection or self._engine.connect(), None
        try:
            with connection.begin() as transaction:
                # Not by an event: an engine that has any looks for some around every statement.
                cast("Any", connection.connection.driver_connection).execute(BEGIN[self._writes])
                done = at_once(call(connection))
                if trip.result is not None and trip.result.cancelled():
                    raise asyncio.CancelledError
                if not self._writes:
                    transaction.rollback()
            self._connection = connection
            return done
        finally:
            if self._connection is None:
                connection.close()  # and roll back what could not be committed

    async def close(self) -> None:
        """Close the connection once nothing uses it any more; what is carried next opens another one."""
        thread, self._thread = self._thread, _thread()
        await asyncio.get_running_loop().run_in_executor(thread, self._hang_up)
        thread.shutdown(wait=False)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()


@dataclass(eq=False)
class _Trip(Generic[T]):
    """Work on its way; its result is known to both threads before anybody can cancel it."""

    work: Callable[[AsyncConnection], Awaitable[T]]
    result: asyncio.Future[T] | None = None


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that waits for nothing but an `inline` connection.

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


def inline(connection: Connection, statements: Statements) -> AsyncConnection:
    """Return a connection that does what this one does, without anything to wait for."""
    return cast("AsyncConnection", _Inline(connection, statements))


class _Inline:
    """What is used of an `AsyncConnection`, without anything to wait for."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    @property
    def dialect(self) -> Dialect:
        return self._connection.dialect

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        done: CursorResult[Any] = self._statements.execute(self._connection, statement, parameters)
        return done

    async def scalar(self, statement: Executable, parameters: Any = None) -> Any:
        return (await self.execute(statement, parameters)).scalar()

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
