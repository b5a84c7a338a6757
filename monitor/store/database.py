"""The database: opening and migrating it, its one writer, and its errors in plain words."""

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

from monitor.errors import StartError, StoreUnavailable, out_of_resources
from monitor.store.migrations import COPYING, REVISIONS, upgrade
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
            raise StartError(f"cannot lock the store: {path}: {exc.strerror}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._fd)
            raise StartError(
                f"the store {database} is in use by another daemon: stop it, or give this one "
                "its own store.url"
            ) from exc

    def close(self) -> None:
        """Let the next daemon in."""
        os.close(self._fd)


class Database:
    """One database: a single writer, and readers that it never blocks.

    Args:
        url: `sqlite:///path` or `postgresql://…`.

    Raises:
        StartError: The driver is an extra that is not installed.
    """

    def __init__(self, url: str) -> None:
        plain = make_url(url)
        driver = "sqlite+aiosqlite" if plain.get_backend_name() == "sqlite" else "postgresql+psycopg"
        self._url = plain.set(drivername=driver)
        try:
            self._writer = _engine(self._url, pool_size=1, immediate=True)
        except ImportError as exc:
            wanted = "pip install 'voicelink-drift-monitor[postgres]'"
            raise StartError(f"PostgreSQL needs an extra; run: {wanted}") from exc
        self._readers = _engine(self._url, pool_size=4, immediate=False)
        self._turn = asyncio.Lock()
        self.writes = 0
        """How many transactions this process has written."""

    @property
    def shown(self) -> str:
        """The URL as configured, with its password hidden."""
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
        """Lock a database that daemons cannot share; None for one that they can."""
        return DaemonLock(self.file) if self.file is not None else None

    async def migrate(self) -> None:
        """Create the schema, or upgrade it to this program's version.

        Raises:
            StartError: The database cannot be opened or written, is no database, or is from a newer program.
        """
        if self.file is not None and not self.file.parent.is_dir():
            raise StartError(f"the store's folder does not exist: {self.file.parent}")
        async with self._opening(), self._writer.begin() as connection:
            await connection.run_sync(_upgrade)

    async def schema(self) -> str | None:
        """Return the revision of the schema; None for an empty database.

        Raises:
            StartError: The database cannot be opened.
        """
        async with self._opening(), self._readers.connect() as connection:
            return await connection.run_sync(_current)

    async def check(self) -> None:
        """Check that the schema is of this program's version; for commands that only read.

        Raises:
            StartError: The store does not exist or has another version.
        """
        if self.file is not None and not self.file.exists():
            raise StartError(f"no store at {self.file}: the daemon creates it when it first starts")
        async with self._opening(), self._readers.connect() as connection:
            current = await connection.run_sync(_current)
        _refuse_newer(current)
        if current != REVISIONS[-1]:
            raise StartError("the store is from an older version: start the daemon once to upgrade it")

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        """Translate the errors of opening the database."""
        try:
            if self.file is not None:
                # Tried first without the driver, whose thread outlives a failure and prints it.
                await asyncio.to_thread(_try_file, self.file)
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            raise StartError(f"cannot open the store {self.shown}: {_reason(exc)}") from exc

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Run a block in one transaction, one at a time.

        Raises:
            StoreUnavailable: The write failed; nothing of the block is kept.
        """
        async with self._turn:
            try:
                async with self._writer.begin() as connection:
                    yield connection
                self.writes += 1
            except (SQLAlchemyError, OSError) as exc:
                raise StoreUnavailable(f"cannot write to the store: {_reason(exc)}") from exc

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Run a block of queries that sees one state of the database.

        Raises:
            StoreUnavailable: The read failed.
        """
        try:
            async with self._readers.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as exc:
            raise StoreUnavailable(f"cannot read from the store: {_reason(exc)}") from exc

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


def _try_file(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA schema_version")


def _current(connection: Connection) -> str | None:
    """Return the revision of the schema as Alembic recorded it; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _refuse_newer(current: str | None) -> None:
    if current == COPYING:
        raise StartError("the store is an incomplete copy: run `voicelink-monitor store copy` again")
    if current is not None and current not in REVISIONS:
        raise StartError(
            f"the store is from a newer version of this program (schema {current}): "
            "run that version, or give this one its own store.url"
        )


def _upgrade(connection: Connection) -> None:
    _refuse_newer(_current(connection))
    if connection.dialect.name == "postgresql":
        # Replicas that start together must not migrate together.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7466951)")
    if _current(connection) != REVISIONS[-1]:
        upgrade(connection)


def _reason(exc: BaseException) -> str:
    """Return the driver's message only: statements and parameters may hold phone numbers."""
    lack = out_of_resources(exc)
    if lack is not None:
        return str(lack)  # without descriptors, SQLite only says that it cannot open the file
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    told = isinstance(exc, (DBAPIError, sqlite3.Error, OSError))
    return str(cause).splitlines()[0] if told else type(exc).__name__


async def commit_pulse(tx: AsyncConnection, at: datetime) -> None:
    """Record the instant of a heartbeat, in the table's one row."""
    done = await tx.execute(update(pulse).values(at=at))
    if done.rowcount == 0:
        await tx.execute(insert(pulse).values(id=1, at=at))
