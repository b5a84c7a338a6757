"""Opening, upgrading, locking and losing the database."""

import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, insert, select, text

from monitor.errors import StartError, StoreUnavailable
from monitor.store import migrations
from monitor.store.database import Database
from monitor.store.migrations import REVISIONS
from monitor.store.tables import acceptances, metadata
from tests.fakes.stored import NOW
from tests.servers.require import require_root


async def fill(database: Database, rows: int = 1, size: int = 10, at: datetime = NOW) -> None:
    """Write some rows in one transaction."""
    async with database.write() as tx:
        await tx.execute(
            insert(acceptances), [{"identity": "i", "key": "k" * size, "asked_at": at} for _ in range(rows)]
        )


async def filled(database: Database) -> int:
    """Return how many of them are there."""
    async with database.read() as tx:
        found = (await tx.execute(select(func.count()).select_from(acceptances))).scalar_one()
    return int(found)


def sqlite(path: Path) -> Database:
    """Return a SQLite database in this file."""
    return Database(f"sqlite:///{path}")


def mount(*arguments: str | Path) -> None:
    """Mount a file system."""
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    require_root("mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_migrations_make_the_tables(database: Database) -> None:
    """What the migrations leave is exactly what `tables.py` says."""

    def difference(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with database.read() as tx:
        assert await tx.run_sync(difference) == []


async def test_migrate_twice_changes_nothing(database: Database) -> None:
    """A second start finds everything in place, and the rows as they were."""
    await fill(database)
    await database.migrate()
    await database.check()
    assert await filled(database) == 1


async def test_newer_schema_is_refused(database: Database) -> None:
    """A database from a newer program is neither upgraded nor read."""
    async with database.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for opening in (database.migrate(), database.check()):
        with pytest.raises(StartError, match=r"newer version of this program \(schema 9999\)"):
            await opening


async def test_older_schema_is_no_store_for_commands(url: str) -> None:
    """A command never upgrades: it says that the daemon does."""
    async with Database(url) as database:
        if database.file is not None:
            with pytest.raises(StartError, match=r"no store at .*: the daemon creates it"):
                await database.check()
            database.file.touch()
        with pytest.raises(StartError, match="start the daemon once"):
            await database.check()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))], ids=["utc", "kolkata"])
async def test_instants_come_back_aware_and_in_utc(database: Database, zone: timezone) -> None:
    """Whatever offset goes in, and whatever zone the server is in, UTC comes out, to the microsecond."""
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=zone)
    async with database.write() as tx:
        if not database.is_sqlite:
            await tx.execute(text("SET LOCAL TIME ZONE 'Asia/Kolkata'"))
        await tx.execute(insert(acceptances).values(identity="i", asked_at=at))
        found = (await tx.execute(select(acceptances.c.asked_at))).scalar_one()
    assert found == at
    assert found.utcoffset() == timedelta(0)


async def test_naive_instants_are_refused(database: Database) -> None:
    """An instant without an offset is a mistake, and nothing is written."""
    with pytest.raises(StoreUnavailable):
        await fill(database, at=NOW.replace(tzinfo=None))
    assert await filled(database) == 0


async def test_block_that_raises_is_not_kept(database: Database) -> None:
    """A transaction is all or nothing, whatever is raised in it."""

    async def fail() -> None:
        async with database.write() as tx:
            await tx.execute(insert(acceptances).values(identity="i", asked_at=NOW))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await filled(database) == 0


async def test_commands_read_while_the_daemon_writes(url: str, database: Database) -> None:
    """An open writing transaction stops no reader, who sees the state before it."""
    await fill(database)
    async with Database(url) as command, database.write() as tx:
        await tx.execute(insert(acceptances).values(identity="i", asked_at=NOW))
        await command.check()
        assert await filled(command) == 1
    assert await filled(database) == 2


async def test_error_says_no_parameters(database: Database) -> None:
    """What a failed statement was about may be a phone number: it is not in the message."""
    with pytest.raises(StoreUnavailable) as caught:
        async with database.write() as tx:
            await tx.execute(text("SELECT :number FROM nowhere"), {"number": "+918011223344"})
    assert "918011223344" not in str(caught.value)
    assert "nowhere" in str(caught.value)


async def test_password_is_not_shown() -> None:
    """The URL is logged; its password is not."""
    database = Database("postgresql://monitor:hunter2@db.example.com/store")
    assert "hunter2" not in database.shown
    assert "db.example.com" in database.shown


async def test_second_daemon_is_refused(tmp_path: Path) -> None:
    """One daemon at a time; the next one may start once the first has gone."""
    first, second = sqlite(tmp_path / "store.db"), sqlite(tmp_path / "store.db")
    held = first.lock()
    assert held is not None
    with pytest.raises(StartError, match="in use by another daemon"):
        second.lock()
    held.close()
    again = second.lock()
    assert again is not None
    again.close()


async def test_file_that_is_no_database_is_a_start_error(tmp_path: Path) -> None:
    """Whatever lies there is left as it is."""
    path = tmp_path / "store.db"
    path.write_text("this is no database, but a long enough text to look like a page " * 100)
    before = path.read_bytes()
    async with sqlite(path) as database:
        with pytest.raises(StartError, match=r"cannot open the store .*: file is not a database"):
            await database.migrate()
        with pytest.raises(StartError, match=r"cannot open the store .*: file is not a database"):
            await database.check()
    assert path.read_bytes() == before


def test_revisions_are_those_of_the_scripts() -> None:
    """A migration that is not in the list would never run; a start asks only the list."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == REVISIONS


async def test_missing_folder_is_a_start_error(tmp_path: Path) -> None:
    """The folder is not made silently: a typing error would lose the state."""
    async with sqlite(tmp_path / "nowhere" / "store.db") as database:
        with pytest.raises(StartError, match=f"the store's folder does not exist: {tmp_path / 'nowhere'}"):
            await database.migrate()
        with pytest.raises(StartError, match="the store's folder does not exist"):
            database.lock()


async def test_folder_instead_of_a_file_is_a_start_error(tmp_path: Path) -> None:
    """A folder of that name is said to be unusable."""
    async with sqlite(tmp_path) as database:
        with pytest.raises(StartError, match=r"cannot open the store .*: unable to open database file"):
            await database.migrate()


async def test_read_only_disk_is_a_start_error(small_disk: Path) -> None:
    """Neither the lock nor the database can be made there."""
    mount("-o", "remount,ro", small_disk)
    async with sqlite(small_disk / "store.db") as database:
        with pytest.raises(StartError, match=r"cannot lock the store: .*: Read-only file system"):
            database.lock()
        with pytest.raises(StartError, match=r"cannot open the store .*: unable to open database file"):
            await database.migrate()


async def test_full_disk_loses_nothing_and_goes_on_later(small_disk: Path) -> None:
    """A transaction that does not fit is gone as a whole; once there is room, the same one is taken."""
    async with sqlite(small_disk / "store.db") as database:
        await database.migrate()
        await fill(database)
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(b"x" * 2**20)
        with pytest.raises(StoreUnavailable, match=r"(database or disk is full|disk I/O)"):
            await fill(database, rows=50, size=2000)
        assert await filled(database) == 1
        ballast.unlink()
        await fill(database, rows=50, size=2000)
        assert await filled(database) == 51


async def test_locked_database_is_unavailable_then_goes_on(tmp_path: Path) -> None:
    """Another program's long transaction is waited for in vain, said, and forgotten."""
    async with sqlite(tmp_path / "store.db") as database:
        await database.migrate()
        async with database.write() as tx:
            await tx.execute(text("PRAGMA busy_timeout=0"))
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="database is locked"):
            await fill(database)
        other.close()
        await fill(database)
        assert await filled(database) == 1


async def test_sqlite_survives_a_power_cut_and_waits_for_locks(tmp_path: Path) -> None:
    """Readers and the writer use the write-ahead log, sync it at each commit, and wait for a lock."""
    async with sqlite(tmp_path / "store.db") as database:
        await database.migrate()
        for transaction in (database.read, database.write):
            async with transaction() as tx:
                pragmas = {
                    name: (await tx.execute(text(f"PRAGMA {name}"))).scalar_one()
                    for name in ("journal_mode", "synchronous", "busy_timeout")
                }
            assert pragmas.pop("busy_timeout") > 0
            assert pragmas == {"journal_mode": "wal", "synchronous": 2}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://drift:c4n4ry-1@127.0.0.1:1/d?sslpassword=c4n4ry-2", "Connection refused"),
        (
            "postgresql://drift:c4n4ry-1@127.0.0.1:1/d?connect_timeout=1&password=c4n4ry-3",
            "Connection refused",
        ),
        ("postgresql://drift@127.0.0.1:1/d?connect_timeout=c4n4ry-2&passfile=c4n4ry-2", "whole number"),
        ("postgresql://drift:c4n4ry-1@127.0.0.1:1/d?port=c4n4ry-1", "cannot be used"),
    ],
)
async def test_database_error_quotes_no_secret_of_its_url(url: str, said: str) -> None:
    """Neither its own words, nor what the driver quotes; nor does the log show what the URL holds."""
    with pytest.raises(StartError, match=said) as caught:
        async with Database(url) as database:
            await database.check()
    shown = str(caught.value)
    assert "127.0.0.1" in shown
    assert "c4n4ry" not in shown
    assert "drift" not in shown
