"""The SQLite file under the daemon: the real one, without the driver's thread, on a disk that may be full.

Every call of the driver is one step of the event loop, so that a process can be killed between any two of
them. What was not committed then is gone, as it is when a process dies. A transaction that is carried out in
a thread is one call; its statements are seen, and fail, one by one.
"""

import asyncio
import contextlib
import gc
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import aiosqlite.core
from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.exc import OperationalError

from tests.fakes.driver import executions

_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "COMMIT")

_AT_ONCE = frozenset({"cursor", "close", "fetchone", "fetchall", "fetchmany"})
"""Calls that leave nothing behind, so that a death before or after them is the same."""

Watch = Callable[[str], None]


class Disk:
    """One file and everybody who has it open.

    Attributes:
        full: No write succeeds.
        watch: Told every statement before it runs.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.full = False
        self.watch: Watch = lambda _: None
        self.statements = 0
        self._open: list[sqlite3.Connection] = []

    def opened(self, connection: sqlite3.Connection) -> None:
        """Note who must be cut off when the process dies."""
        self._open.append(connection)

    def connected(self, connection: Any, _record: object) -> None:
        """Hear of a connection that a thread would use."""
        if isinstance(connection, sqlite3.Connection):
            self.opened(connection)

    def executing(self, dialect: Dialect, statement: str) -> None:
        """Hear of a statement; what goes through the driver's queue is told there."""
        if dialect.driver == "pysqlite":
            self.told(statement)

    def committing(self, connection: Connection) -> None:
        """Hear of the end of a transaction that is carried out as a whole."""
        if connection.dialect.driver == "pysqlite":
            try:
                self.told("COMMIT")
            except sqlite3.Error as exc:
                raise OperationalError("COMMIT", None, exc) from exc

    @staticmethod
    def forget() -> None:
        """Let what dead processes still hold of the driver be: its connections are closed."""
        for held in gc.get_objects():
            if isinstance(held, aiosqlite.Connection) and isinstance(held._tx, _Calls):
                held._connection = None

    def cut(self) -> None:
        """Close everything, as the death of a process does."""
        for connection in self._open:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")  # a cursor that is still held would keep it open
                connection.close()
        self._open.clear()

    def told(self, text: str) -> None:
        """Look at a statement, or at another call of the driver by its name, before it is made.

        Raises:
            sqlite3.OperationalError: It writes, and the disk is full.
        """
        self.statements += 1
        self.watch(text)
        if self.full and text.lstrip().upper().startswith(_WRITES):
            raise sqlite3.OperationalError("database or disk is full")


class _NoThread:
    """Takes the place of the driver's thread."""

    daemon = True

    def __init__(self, **_: Any) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""


class _Calls:
    """Takes the place of the queue to that thread: a call is made by the event loop, in its turn."""

    disk: Disk

    def put_nowait(self, item: tuple["asyncio.Future[Any] | None", Callable[[], Any]]) -> None:
        """Make a call soon."""
        future, function = item
        if future is None or future.get_loop().is_closed():
            return
        if _name(function) in _AT_ONCE:
            self._call(future, function)
        else:
            future.get_loop().call_soon(self._call, future, function)

    def _call(self, future: "asyncio.Future[Any]", function: Callable[[], Any]) -> None:
        try:
            args = getattr(function, "args", ())
            self.disk.told(args[0] if args and isinstance(args[0], str) else _name(function))
            result = function()
        except BaseException as exc:  # noqa: BLE001 - whoever waits for it gets it
            if not future.done():
                future.set_exception(exc)
            return
        if isinstance(result, sqlite3.Connection):
            self.disk.opened(result)
        if not future.done():
            future.set_result(result)


@contextlib.contextmanager
def one_thread(disk: Disk) -> Iterator[None]:
    """Have the driver work in the event loop, on this disk."""
    # A transaction that goes to a thread as a whole is carried out by the loop anyway.
    listeners: list[tuple[str, Callable[..., None]]] = [
        ("connect", disk.connected),
        ("commit", disk.committing),
    ]
    core: Any = aiosqlite.core
    before = core.Thread, core.SimpleQueue
    core.Thread, core.SimpleQueue = _NoThread, type("Calls", (_Calls,), {"disk": disk})
    try:
        for name, listener in listeners:
            event.listen(Engine, name, listener)
        with executions(disk.executing):
            yield
    finally:
        core.Thread, core.SimpleQueue = before
        for name, listener in listeners:
            event.remove(Engine, name, listener)


def _name(function: Callable[..., Any]) -> str:
    name: str = getattr(getattr(function, "func", function), "__name__", "")
    return name
