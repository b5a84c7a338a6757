"""Opening the database, its one writer, its migrations, and its errors in our words."""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, event, insert, inspect, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from monitor.errors import StartError, StoreUnavailable
from monitor.store.migrations import REVISIONS, upgrade
from monitor.store.tables import pulse

_BUSY_TIMEOUT_S = 10


class DaemonLock:
    """Holds a SQLite database for one daemon, by a lock on a file beside it, until closed.

    Raises:
        StartError: Another daemon holds it, or the file cannot be written.
    """

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        if not path.parent.is_dir():
            raise StartError(f"the store's folder does not exist: {path.parent}")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StartError(f"the store cannot be locked: {path}: {exc.strerror}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._fd)
            raise StartError(
                f"the store {database} is in use by another daemon: stop that one, or give this one "
                "a store.url of its own"
            ) from exc

    def close(self) -> None:
        """Let the next daemon in."""
        os.close(self._fd)


class Database:
    """One database: a single writer, and readers that it never blocks.

    Args:
        url: `sqlite:///path` or `postgresql://…`.
    """

    def __init__(self, url: str) -> None:
        self._url = _with_driver(make_url(url))
        self._writer = _engine(self._url, pool_size=1, immediate=True)
        self._readers = _engine(self._url, pool_size=4, immediate=False)
        self._turn = asyncio.Lock()
        self.writes = 0
        """Transactions that this process has written; while it stays, only others changed anything."""

    @property
    def shown(self) -> str:
        """The URL as people write it, without its password."""
        plain = self._url.set(drivername=self._url.get_backend_name())
        return plain.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        return Path(self._url.database) if self.is_sqlite and self._url.database else None

    def lock(self) -> DaemonLock | None:
        """Take the database for one daemon where it cannot be shared; None where it can."""
        return DaemonLock(self.file) if self.file is not None else None

    async def migrate(self) -> None:
        """Bring the schema to this program's version.

        Raises:
            StartError: The database cannot be opened or written, is no database, or is from a newer program.
        """
        if self.file is not None and not self.file.parent.is_dir():
            raise StartError(f"the store's folder does not exist: {self.file.parent}")
        try:
            await self._try_file()
            async with self._writer.begin() as connection:
                await connection.run_sync(_upgrade)
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            raise StartError(f"the store {self.shown} cannot be opened: {_reason(exc)}") from exc

    async def check(self) -> None:
        """See that the schema is this program's, without changing it; for commands that only read.

        Raises:
            StartError: There is no store there, or it is of another version.
        """
        if self.file is not None and not self.file.exists():
            raise StartError(f"there is no store at {self.file}: the daemon makes it when it first runs")
        try:
            await self._try_file()
            async with self._readers.connect() as connection:
                current = await connection.run_sync(_current)
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            raise StartError(f"the store {self.shown} cannot be opened: {_reason(exc)}") from exc
        _refuse_newer(current)
        if current != REVISIONS[-1]:
            raise StartError("the store is from an older version: start the daemon once to upgrade it")

    async def _try_file(self) -> None:
        """Open the file before the driver does: its thread outlives a failed opening, and prints that."""
        if self.file is not None:
            await asyncio.to_thread(_open_once, self.file)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Run a block in one transaction, alone.

        Raises:
            StoreUnavailable: The database did not take it; nothing of the block is kept.
        """
        async with self._turn:
            try:
                async with self._writer.begin() as connection:
                    yield connection
                self.writes += 1
            except (SQLAlchemyError, OSError) as exc:
                raise StoreUnavailable(f"the store did not take a write: {_reason(exc)}") from exc

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Run a block that sees one state of the database.

        Raises:
            StoreUnavailable: The database did not answer.
        """
        try:
            async with self._readers.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as exc:
            raise StoreUnavailable(f"the store did not answer: {_reason(exc)}") from exc

    async def close(self) -> None:
        """Close every connection, once the writer is done."""
        async with self._turn:
            await self._writer.dispose()
        await self._readers.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _with_driver(url: URL) -> URL:
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite+aiosqlite")
    return url.set(drivername="postgresql+psycopg")


def _engine(url: URL, *, pool_size: int, immediate: bool) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0)
    if url.get_backend_name() == "sqlite":
        _tune_sqlite(engine.sync_engine, immediate=immediate)
    return engine


def _tune_sqlite(engine: Engine, *, immediate: bool) -> None:
    """Set up SQLite's journal, and take over its transactions.

    The driver would begin a transaction at the first write only, which lets two writers fail each other.
    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (transactions with aiosqlite).
    """

    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={_BUSY_TIMEOUT_S * 1000}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        # Straight to the driver: through the engine, this one word costs three trips to the driver's thread.
        begin = "BEGIN IMMEDIATE" if immediate else "BEGIN"
        driver: Any = connection.connection.driver_connection
        try:
            await_only(driver.execute(begin))
        except sqlite3.Error as exc:
            raise OperationalError(begin, None, exc) from exc

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


def _open_once(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA schema_version")


def _current(connection: Connection) -> str | None:
    """Return the revision of the schema, as Alembic notes it; None for a database that is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _refuse_newer(current: str | None) -> None:
    if current is not None and current not in REVISIONS:
        raise StartError(
            f"the store is from a newer version of this program (schema {current}): "
            "run that version, or give this one another store.url"
        )


def _upgrade(connection: Connection) -> None:
    _refuse_newer(_current(connection))
    if connection.dialect.name == "postgresql":
        # Replicas that start together must not migrate together.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7466951)")
    if _current(connection) != REVISIONS[-1]:
        upgrade(connection)


def _reason(exc: BaseException) -> str:
    """Return the driver's words alone: statements and parameters may hold phone numbers."""
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    told = isinstance(exc, (DBAPIError, sqlite3.Error, OSError))
    return str(cause).splitlines()[0] if told else type(exc).__name__


_ROW = 1


async def commit_pulse(tx: AsyncConnection, at: datetime) -> None:
    """Write the instant down."""
    done = await tx.execute(update(pulse).where(pulse.c.id == _ROW).values(at=at))
    if done.rowcount == 0:
        await tx.execute(insert(pulse).values(id=_ROW, at=at))
