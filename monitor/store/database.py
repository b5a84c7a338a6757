"""The database: opening and migrating it, its one writer, and its errors in plain words."""

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import AsyncAdaptedQueuePool, Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from monitor.errors import InDoubt, StartError, StoreUnavailable, Superseded, Undone
from monitor.http.address import safe_url
from monitor.http.redactor import Redactor
from monitor.postgres import SCHEMES, PostgresUrl
from monitor.secret import Secret
from monitor.store.file import DaemonLock, log_of, make_private, require_file, require_folder
from monitor.store.inline import BEGIN, Courier
from monitor.store.migrations import REVISIONS
from monitor.store.schema import (
    BUSY_TIMEOUT_S,
    bring_up_to_date,
    look_into,
    recorded_revision,
    usable_revision,
)
from monitor.store.tables import pulse
from monitor.store.trouble import Trouble, advised, is_broken, told_by, trouble_of

T = TypeVar("T")

IN_MEMORY = "sqlite://"
"""The URL of a database that is gone when it is closed."""
_READERS = 4
_TRIES = 4
"""How often a transaction is begun that others get in the way of."""
_LOG_SIZE = 4 * 2**20
"""Bytes that SQLite's write-ahead log keeps once what is in it has reached the database."""
_EMPTYING_S = 0.5
"""How long readers are waited for, to empty a log that has grown beyond that."""


class Database:
    """One database: a single writer, and readers that it never blocks.

    Args:
        url: `sqlite:///path`, `IN_MEMORY`, or `postgresql://…`.

    Raises:
        StartError: The driver is an extra that is not installed, or the URL cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.shown = safe_url(url)
        """The URL without user, password and options."""
        self._redactor = Redactor([Secret(url)])
        self._file = None if url.startswith(SCHEMES) else make_url(url).set(drivername="sqlite+aiosqlite")
        self._writing: Courier | None = None
        self._reading: Courier | None = None
        if self._file is not None:
            self._writer = self._readers = _embedded(self._file, pool_size=1, immediate=True)
            if url != IN_MEMORY:  # which each connection would have another of
                self._readers = _embedded(self._file, pool_size=_READERS, immediate=False)
                self._writing = Courier(_threaded(self._file), writes=True)
                self._reading = Courier(_threaded(self._file), writes=False)
        else:
            self._writer, self._readers = _postgres(url, self.shown)
        self._turn = asyncio.Lock()
        self._lock: DaemonLock | None = None
        self._trouble: Trouble | None = None
        self._kept_writes = -1
        self.writes = 0
        """How many transactions this process has written."""
        self.moves = 0
        """How many times it has tried to change more than when syncs are due."""
        self.doubtful: set[datetime] = set()
        """When leases end that this process may hold without knowing of them."""

    @property
    def is_lost(self) -> bool:
        """Whether nothing is read or written: the open file is not the one at its path, or see `use`."""
        return self._trouble is not None

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self._file is not None

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        return Path(self._file.database) if self._file is not None and self._file.database else None

    def lock(self) -> DaemonLock | None:
        """Lock a database that daemons cannot share; None for one that they can.

        Raises:
            StartError: Another daemon holds it, or its file cannot be opened.
        """
        self._lock = DaemonLock(self.file) if self.file is not None else None
        return self._lock

    async def migrate(self) -> None:
        """Create the schema, or upgrade it to this program's version.

        Raises:
            StartError: The database cannot be opened or written, is no database, or is from a newer program.
        """
        if self.file is not None:
            require_folder(self.file)
            await asyncio.to_thread(make_private, self.file)
        async with self._opening():
            await self._revision()
            try:
                async with self._writer.begin() as connection:
                    await connection.run_sync(bring_up_to_date)
            except DBAPIError as exc:
                if self.is_sqlite or trouble_of(exc) != Trouble.BUSY:
                    raise
                holder = "another replica is upgrading it, or another program keeps its tables locked"
                raise StartError(f"cannot upgrade the store {self.shown}: {holder}; try again later") from exc

    async def schema(self) -> str | None:
        """Return the revision of the schema; None for an empty database.

        Raises:
            StartError: The database cannot be opened.
        """
        async with self._opening(), self._readers.connect() as connection:
            return await connection.run_sync(recorded_revision)

    async def check(self) -> None:
        """Check that the schema is of this program's version; for commands that only read.

        Raises:
            StartError: The store does not exist or has another version.
        """
        if self.file is not None:
            require_file(self.file)
        lost = ""
        if self.file is not None and not log_of(self.file).exists():
            lost = "; if it held data, its -wal file is missing"
        async with self._opening():
            current = await self._revision()
        if current is None:
            raise StartError(f"the store is empty: start the daemon once to set it up{lost}")
        if current != REVISIONS[-1]:
            raise StartError("the store is from an older version: start the daemon once to upgrade it")

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        """Translate the errors of opening the database."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            is_folder = False
            with contextlib.suppress(OSError):  # not for this user to know
                is_folder = self.file is not None and self.file.is_dir()
            said = f"{told_by(exc)}: it is a folder" if is_folder else advised(exc)
            said = self._redactor.hide_foreign(said)
            raise StartError(f"cannot open the store {self.shown}: {said}") from exc

    async def _revision(self) -> str | None:
        """Return the revision of a store that this program can use; None for an empty database.

        Raises:
            StartError: It is another version's, another program's, or not complete.
        """
        if self.file is not None:
            return await asyncio.to_thread(look_into, self.file)
        async with self._readers.connect() as connection:
            return await connection.run_sync(usable_revision)

    async def look(self) -> None:
        """Look whether the open SQLite file is still the one at its path, and move its log into it.

        While it is not, nothing is read or written: what goes into a file without a name is lost at the next
        start. Does nothing for PostgreSQL, or without the lock.

        Raises:
            StoreUnavailable: It is not; or the log could not be moved.
        """
        lock = self._lock
        if lock is None:
            return
        before, self._trouble = self._trouble, await asyncio.to_thread(lock.look)
        if self._trouble is not None:
            if before is None and self._trouble in (Trouble.REMOVED, Trouble.REPLACED):
                # The log stays at the path: whatever file comes there next must not be given what is in it.
                with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                    async with self._alone() as driver:
                        await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise StoreUnavailable(self._trouble, self._trouble)
        if self.writes == self._kept_writes:
            return
        # Whoever overwrites the file brings back an older mark, or none of ours.
        mark, writes = secrets.randbits(31), self.writes
        lock.expect(mark)
        try:
            async with self._alone() as driver:
                await driver.execute(f"PRAGMA user_version={mark}")
                await driver.execute("PRAGMA wal_checkpoint(PASSIVE)")
                if lock.log_size() > _LOG_SIZE:
                    await driver.execute(f"PRAGMA busy_timeout={int(_EMPTYING_S * 1000)}")
                    await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    await driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        except (SQLAlchemyError, sqlite3.Error) as exc:
            raise await self._unavailable("write to", exc) from exc
        await asyncio.to_thread(lock.confirm, mark)
        self._kept_writes = writes

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Any]:
        """Give the writer's driver connection, outside of transactions."""
        async with self._turn, self._writer.connect() as connection:
            yield (await connection.get_raw_connection()).driver_connection

    @asynccontextmanager
    async def write(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        """Run a block in one transaction, one at a time.

        Args:
            autocommit: Each statement is a transaction by itself, and costs no `BEGIN` and `COMMIT`.
                PostgreSQL only.

        Raises:
            StoreUnavailable: The write failed; nothing of the block is kept.
        """
        commits = False
        engine = self._writer.execution_options(isolation_level="AUTOCOMMIT") if autocommit else self._writer
        async with self._turn:
            self._require_usable()
            try:
                async with engine.begin() as connection:
                    yield connection
                    commits = True
                self.writes += 1
            except (SQLAlchemyError, OSError) as exc:
                failed = await self._unavailable("write to", exc)
                if is_broken(exc) and not commits:
                    failed = Undone(str(failed), failed.reason)
                elif failed.reason == Trouble.UNREACHABLE and commits:
                    failed = InDoubt(str(failed), failed.reason)
                raise failed from exc

    async def transact(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        autocommit: bool = False,
        moves: bool = True,
        leases_until: datetime | None = None,
    ) -> T:
        """Run what writes in one transaction; again if it got in another one's way, or lost its connection.

        All that the program writes goes through here: it cannot tell what another replica writes meanwhile.

        Args:
            work: Leaves nothing behind but what it writes, and what it returns; waits for nothing else. On
                SQLite it runs in a thread.
            autocommit: As of `write`. What was written may then be written twice.
            moves: Whether it changes more than when syncs are due and how they ended.
            leases_until: When leases end that it takes. If it remains in doubt whether it took them, they are
                `doubtful`.

        Raises:
            StoreUnavailable: The write failed; as far as is known, nothing of it is kept.
        """
        try:
            for _ in range(_TRIES - 1):
                with contextlib.suppress(Undone):
                    return await self._try(work, autocommit=autocommit)
            return await self._try(work, autocommit=autocommit)
        except InDoubt:
            if leases_until is not None:
                self.doubtful.add(leases_until)
            raise
        finally:
            self.moves += moves

    async def _try(self, work: Callable[[AsyncConnection], Awaitable[T]], *, autocommit: bool) -> T:
        if self._writing is None:
            async with self.write(autocommit=autocommit) as tx:
                return await work(tx)
        async with self._turn:
            self._require_usable()
            try:
                done = await self._writing.carry(work)
            except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
                raise await self._unavailable("write to", exc) from exc
            self.writes += 1
            return done

    @asynccontextmanager
    async def read(self, *, looks: bool = False) -> AsyncIterator[AsyncConnection]:
        """Run a block of queries that sees one state of the database.

        Args:
            looks: Whether it is to find out if the database can be used, and for this need not be.

        Raises:
            StoreUnavailable: The read failed.
        """
        if not looks:
            self._require_usable()
        try:
            async with self._readers.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as exc:
            raise await self._unavailable("read from", exc) from exc

    async def query(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run short work that only reads, at a fourth of the cost of `read` on SQLite; there in a thread.

        Raises:
            StoreUnavailable: The read failed.
        """
        if self._reading is None:
            async with self.read() as tx:
                return await work(tx)
        self._require_usable()
        try:
            return await self._reading.carry(work)
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            raise await self._unavailable("read from", exc) from exc

    def use(self, *, usable: bool) -> None:
        """Use the database; or, while only a newer version of this program can, read and write nothing.

        Raises:
            Superseded: Only a newer one can, which from now on whatever is asked of it raises.
        """
        self._trouble = None if usable else Trouble.SUPERSEDED
        self._require_usable()

    def _require_usable(self) -> None:
        if self._trouble is Trouble.SUPERSEDED:
            raise Superseded(self._trouble, self._trouble)
        if self._trouble is not None:
            raise StoreUnavailable(self._trouble, self._trouble)

    async def _unavailable(self, doing: str, exc: BaseException) -> StoreUnavailable:
        """Return the error for what a driver says, with the reason that the disk gives where there is one."""
        trouble: str = trouble_of(exc)
        if self._lock is not None and trouble in (Trouble.FULL, Trouble.DISK, Trouble.UNOPENED):
            refusal = await asyncio.to_thread(self._lock.refusal)
            trouble = refusal or trouble
        words = self._redactor.hide_foreign(told_by(exc))
        said = words if trouble == Trouble.OTHER else f"{trouble} ({words})"
        failed = Undone if trouble == Trouble.CONFLICT else StoreUnavailable
        return failed(f"cannot {doing} the store: {said}", trouble)

    async def close(self) -> None:
        """Close every connection, once the writer is done."""
        async with self._turn:
            if self._writing is not None:
                await self._writing.close()
            await self._writer.dispose()
        if self._reading is not None:
            await self._reading.close()
        await self._readers.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _embedded(url: URL, *, pool_size: int, immediate: bool) -> AsyncEngine:
    pool = AsyncAdaptedQueuePool
    engine = create_async_engine(url, poolclass=pool, pool_size=pool_size, max_overflow=0)
    begin = BEGIN[immediate]

    def on_begin(connection: Connection) -> None:
        # Straight to the driver: through the engine, this one word costs three trips to the driver's thread.
        driver: Any = connection.connection.driver_connection
        try:
            await_only(driver.execute(begin))
        except sqlite3.Error as exc:
            raise OperationalError(begin, None, exc) from exc

    event.listen(engine.sync_engine, "connect", _tune_sqlite)
    event.listen(engine.sync_engine, "begin", on_begin)
    return engine


def _threaded(url: URL) -> Engine:
    engine = create_engine(url.set(drivername="sqlite"), pool_size=1, max_overflow=0)
    event.listen(engine, "connect", _tune_sqlite)
    return engine


def _postgres(url: str, shown: str) -> tuple[AsyncEngine, AsyncEngine]:
    """Return the engine that writes, and the one that reads."""
    try:
        from monitor.store.postgresql import Postgres  # noqa: PLC0415 - an extra, and slow to import

        parsed = PostgresUrl.of(url)
        return Postgres(parsed, writes=True).engine(1), Postgres(parsed, writes=False).engine(_READERS)
    except ImportError as exc:
        wanted = "pip install 'voicelink-drift-monitor[postgres]'"
        raise StartError(f"PostgreSQL needs an extra; run: {wanted}") from exc
    except ValueError as exc:
        raise StartError(f"the store {shown} cannot be used: {exc}") from exc


def _tune_sqlite(connection: Any, _record: object) -> None:
    """Set up SQLite's journal, and take over its transactions.

    The driver would begin a transaction at the first write only, which lets two writers fail each other.
    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html (transactions with aiosqlite).
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        f"journal_size_limit={_LOG_SIZE}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def commit_pulse(tx: AsyncConnection, at: datetime) -> None:
    """Record the instant of a heartbeat, in the table's one row."""
    insert_into: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[tx.dialect.name]
    row = insert_into(pulse).values(id=1, at=at)
    await tx.execute(row.on_conflict_do_update(index_elements=[pulse.c.id], set_={"at": at}))
