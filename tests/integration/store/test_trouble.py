"""What is said when a store that was fine a moment ago does not work."""

import asyncio
import contextlib
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.errors import StartError, StoreUnavailable
from monitor.store.database import Database
from monitor.store.trouble import Trouble
from tests.integration.store.test_database import fill, filled, sqlite
from tests.servers.disk import fill_up, tmpfs


async def reason_of_write(database: Database, rows: int = 500) -> str:
    """Return why nothing can be written."""
    with pytest.raises(StoreUnavailable) as caught:
        await fill(database, rows=rows, size=2000)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Database]:
    """A store as a daemon has it."""
    async with contextlib.AsyncExitStack() as stack:
        database = sqlite(tmp_path / "store.db")
        lock = database.lock()
        assert lock is not None
        stack.callback(lock.close)
        await stack.enter_async_context(database)
        await database.migrate()
        yield database


async def test_full_disk_is_named(tmp_path: Path) -> None:
    """And it is the same store as before once there is room again."""
    with tmpfs(tmp_path / "small", "size=2m"):
        async with sqlite(tmp_path / "small" / "store.db") as database:
            lock = database.lock()
            assert lock is not None
            await database.migrate()
            fill_up(tmp_path / "small" / "ballast")
            assert await reason_of_write(database) == Trouble.FULL
            (tmp_path / "small" / "ballast").unlink()
            await fill(database)
            assert await filled(database) == 1
        lock.close()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_limit_on_the_size_of_files_is_named(held: Database) -> None:
    """SQLite says "disk I/O error"; the disk is fine."""
    with largest_file(200_000):
        assert await reason_of_write(held) == Trouble.TOO_LARGE
    await fill(held)
    assert await filled(held) == 1


async def test_read_only_store_is_named(held: Database) -> None:
    """Whoever made it so."""
    async with held.write() as tx:
        await tx.execute(text("PRAGMA query_only=1"))
    assert await reason_of_write(held) == Trouble.READ_ONLY


async def test_lock_of_another_program_is_named(held: Database) -> None:
    """A shell that somebody left open in a transaction."""
    async with held.write() as tx:
        await tx.execute(text("PRAGMA busy_timeout=0"))
    assert held.file is not None
    with contextlib.closing(sqlite3.connect(held.file, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        assert await reason_of_write(held) == Trouble.BUSY


async def test_damaged_page_is_named(tmp_path: Path) -> None:
    """Found while it runs, on a page that was not read before."""
    async with sqlite(tmp_path / "store.db") as database:
        await database.migrate()
        await fill(database, rows=2000, size=100)
    with (tmp_path / "store.db").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))
    async with sqlite(tmp_path / "store.db") as database:
        with pytest.raises(StoreUnavailable) as caught:
            async with database.read() as tx:
                await tx.execute(text("SELECT max(length(key)) FROM acceptances"))
        assert caught.value.reason == Trouble.DAMAGED


async def test_database_that_does_not_answer_is_named() -> None:
    """The reason names no host; the message for the log does."""
    async with Database("postgresql://monitor@127.0.0.1:1/store") as database:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as caught:
            async with database.read():
                raise AssertionError
        assert caught.value.reason == Trouble.UNREACHABLE
        with pytest.raises(StartError, match="cannot open the store"):
            await database.check()


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["SET TRANSACTION READ ONLY", "DELETE FROM acceptances"], Trouble.READ_ONLY),
        (["DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$"], Trouble.FULL),
        (["DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P03'; END $$"], Trouble.NOT_SERVING),
        (["SELECT pg_terminate_backend(pg_backend_pid())"], Trouble.NOT_SERVING),
        (["SELECT nothing"], Trouble.OTHER),
    ],
)
async def test_words_for_postgresql_are_the_same(
    postgres: str, statements: list[str], reason: Trouble
) -> None:
    """A standby or a read-only server, a full disk, a server that restarts."""

    async def run() -> None:
        async with database.write() as tx:
            for statement in statements:
                await tx.execute(text(statement))

    async with Database(postgres) as database:
        await database.migrate()
        with pytest.raises(StoreUnavailable) as caught:
            await run()
        assert caught.value.reason == reason
        await database.check()


async def test_replicas_that_start_together_find_one_whole_store(postgres: str) -> None:
    """None of them takes what another has half made for another program's."""
    async with contextlib.AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Database(postgres)) for _ in range(4)]
        await asyncio.gather(*(replica.migrate() for replica in replicas))
