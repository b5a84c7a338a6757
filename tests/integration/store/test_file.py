"""The store's file: who may have it, what is said about one that cannot be used, and what becomes of it."""

import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.errors import StartError, StoreUnavailable
from monitor.store.database import Database
from monitor.store.file import DaemonLock, exposure
from monitor.store.trouble import Trouble
from tests.integration.store.test_database import fill, filled, mount, sqlite
from tests.servers.require import require_root

Way = Callable[[Path, Path], Path]
"""Given the store and an empty folder, makes another path to the store."""


def _symlink(file: Path, other: Path) -> Path:
    (other / "link.db").symlink_to(file)
    return other / "link.db"


def _symlinked_folder(file: Path, other: Path) -> Path:
    (other / "folder").symlink_to(file.parent)
    return other / "folder" / file.name


def _dots(file: Path, other: Path) -> Path:
    return other / ".." / file.parent.name / file.name


def _hard_link(file: Path, other: Path) -> Path:
    (other / "hard.db").hardlink_to(file)
    return other / "hard.db"


def _mounted_folder(file: Path, other: Path) -> Path:
    mount("--bind", file.parent, other)
    return other / file.name


def _mounted_file(file: Path, other: Path) -> Path:
    (other / "mounted.db").touch()
    mount("--bind", file, other / "mounted.db")
    return other / "mounted.db"


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return a folder for the store and another one; what is mounted there goes with the test."""
    (tmp_path / "store").mkdir()
    (tmp_path / "other").mkdir()
    yield tmp_path / "store", tmp_path / "other"
    for mounted in (tmp_path / "other" / "mounted.db", tmp_path / "other"):
        if os.geteuid() == 0:
            subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)


@pytest.mark.parametrize(
    "way", [_symlink, _symlinked_folder, _dots, _hard_link, _mounted_folder, _mounted_file]
)
async def test_second_daemon_is_refused_by_whatever_path(folders: tuple[Path, Path], way: Way) -> None:
    """The file is what is locked, not its name; once it is free, the other path may have it."""
    file = folders[0] / "store.db"
    if way in (_mounted_folder, _mounted_file):
        require_root("mount a folder")
    first = DaemonLock(file)
    path = way(file, folders[1])
    with pytest.raises(StartError, match="in use by another daemon"):
        DaemonLock(path)
    first.close()
    DaemonLock(path).close()


async def test_lock_leaves_the_locks_of_sqlite_alone(tmp_path: Path) -> None:
    """Taking, refusing and holding it costs SQLite none of its own locks: another writer still waits."""
    async with sqlite(tmp_path / "store.db") as database:
        lock = database.lock()
        assert lock is not None
        await database.migrate()
        script = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0); "
            "c.execute('PRAGMA locking_mode=EXCLUSIVE'); c.execute('PRAGMA journal_mode=DELETE')"
        )
        async with database.write() as tx:
            await tx.execute(text("SELECT 1"))
            with pytest.raises(StartError, match="in use"):
                DaemonLock(tmp_path / "store.db")
            command = ["python3", "-c", script, str(tmp_path / "store.db")]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert "database is locked" in done.stderr
    lock.close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
async def test_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The database, its log, its index and the lock are for their owner alone."""
    before = os.umask(umask)
    try:
        async with sqlite(tmp_path / "store.db") as database:
            lock = database.lock()
            assert lock is not None
            await database.migrate()
            await fill(database)
            modes = {each.name: each.stat().st_mode & 0o777 for each in os.scandir(tmp_path)}
        assert exposure(tmp_path / "store.db") is None
        lock.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600)


async def test_mode_that_somebody_set_is_warned_about_and_kept(tmp_path: Path) -> None:
    """A group that may read the store may be meant to."""
    file = tmp_path / "store.db"
    file.touch()
    file.chmod(0o640)
    warning = exposure(file)
    DaemonLock(file).close()
    assert warning is not None
    assert "mode 0640" in warning
    assert str(file) in warning
    assert file.stat().st_mode & 0o777 == 0o640


@contextlib.contextmanager
def running_as(user: int) -> Iterator[None]:
    """Be another user of the group 0, as containers are that get a user by chance."""
    require_root("become another user")
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder in which the group may write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o770)
        yield Path(folder)


async def test_user_by_chance_in_the_group_of_the_folder_works(shared: Path) -> None:
    """The files are its own, and it finds them again at the next start."""
    for rows in (1, 2):
        with running_as(12345):
            async with sqlite(shared / "store.db") as database:
                lock = database.lock()
                assert lock is not None
                await database.migrate()
                await fill(database)
                assert await filled(database) == rows
            lock.close()
    assert (shared / "store.db").stat().st_uid == 12345


@pytest.mark.parametrize("name", ["store.db", "store.db.lock"])
def test_file_of_another_user_is_said_to_be_that(shared: Path, name: str) -> None:
    """Whose it is, and who wants it."""
    (shared / name).touch(0o600)
    with running_as(12345), pytest.raises(StartError) as caught:
        DaemonLock(shared / "store.db")
    assert f"{shared / name} belongs to user 0, this process is user 12345" in str(caught.value)


def test_folder_that_cannot_be_written_is_said_to_be_that(shared: Path) -> None:
    """Whose it is, and who wants it."""
    shared.chmod(0o755)
    with running_as(12345), pytest.raises(StartError) as caught:
        DaemonLock(shared / "store.db")
    assert f"{shared} belongs to user 0, this process is user 12345" in str(caught.value)


# What is said about a file that cannot be used


def _nothing(_: Path) -> None:
    """Leave the place empty."""


def _empty(file: Path) -> None:
    file.touch()


def _no_tables(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.execute("PRAGMA user_version=1")


def _letter(file: Path) -> None:
    file.write_text("this is a letter, not a database; " * 100)


def _note(file: Path) -> None:
    file.write_text("too short for a database")


def _of_another_program(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.execute("CREATE TABLE dashboards (id)")


def _of_another_program_with_alembic(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.executescript(
            "CREATE TABLE alerts (id); CREATE TABLE dashboards (id);"
            "CREATE TABLE alembic_version (version_num);"
            "INSERT INTO alembic_version VALUES ('bc3f5a2')"
        )


def _store(file: Path) -> None:
    async def make() -> None:
        async with sqlite(file) as database:
            await database.migrate()
            await fill(database, rows=2000, size=100)

    asyncio.run(make())


def _newer(file: Path) -> None:
    _store(file)
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.execute("UPDATE alembic_version SET version_num = '9999'")
        made.commit()


def _tables_lost(file: Path) -> None:
    _store(file)
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.execute("DROP TABLE snapshots")


def _truncated(file: Path) -> None:
    _store(file)
    os.truncate(file, file.stat().st_size // 2)


def _garbled(file: Path) -> None:
    _store(file)
    with file.open("r+b") as damaged:
        damaged.seek(100)
        damaged.write(b"\xff" * 4000)


def _without_its_log(file: Path) -> None:
    """Copy what `cp` of a live database gets: the file without what its log holds."""
    live = file.with_name("live.db")
    with contextlib.closing(sqlite3.connect(live)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE alembic_version (version_num)")
        shutil.copy(live, file)


def _folder(file: Path) -> None:
    file.mkdir()


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _loop(file: Path) -> None:
    file.symlink_to(file)


def _locked(file: Path) -> None:
    _store(file)
    held = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    held.execute("BEGIN EXCLUSIVE")
    HELD.append(held)


HELD: list[sqlite3.Connection] = []


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for locks only briefly, and free what a test has locked."""
    monkeypatch.setattr("monitor.store.schema.BUSY_TIMEOUT_S", 0.1)
    yield
    while HELD:
        HELD.pop().close()


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("spoil", "daemon", "command"),
    [
        (_nothing, None, "no store at .*: the daemon creates it when it first starts"),
        (_empty, None, "the store is empty: start the daemon once"),
        (_no_tables, None, "the store is empty: .*; if it held data, its -wal file is missing"),
        (_without_its_log, None, "the store is empty: .*; if it held data, its -wal file is missing"),
        (_letter, "file is not a database; set store.url", "file is not a database; set store.url"),
        (_note, "file is not a database; set store.url", "file is not a database; set store.url"),
        (_of_another_program, "belongs to another program", "belongs to another program"),
        (_of_another_program_with_alembic, "belongs to another program", "belongs to another program"),
        (_store, None, None),
        (_newer, r"newer version of this program \(schema 9999\)", "newer version of this program"),
        (_tables_lost, "incomplete: tables are missing; restore", "incomplete: tables are missing; restore"),
        (_truncated, "malformed; restore a backup", "malformed; restore a backup"),
        (_garbled, "malformed; restore a backup", "malformed; restore a backup"),
        (_folder, "unable to open database file: it is a folder", "it is a folder"),
        (_pipe, "it is not a regular file", "it is not a regular file"),
        (_device, "it is not a regular file", "it is not a regular file"),
        (_loop, "unable to open database file", "no store at"),
        (_locked, "database is locked; another program", None),
    ],
)
def test_words_fit_what_lies_there(
    tmp_path: Path, spoil: Callable[[Path], None], daemon: str | None, command: str | None
) -> None:
    """For the daemon and for a command: what is wrong, and what to do; what lies there is left as it is."""
    file = tmp_path / "store.db"
    spoil(file)
    before = file.read_bytes() if file.is_file() else None

    async def open_it(opening: Callable[[Database], object]) -> str | None:
        async with sqlite(file) as database:
            try:
                await opening(database)  # type: ignore[misc]
            except StartError as exc:
                return str(exc)
        return None

    for opening, said in ((Database.check, command), (Database.migrate, daemon)):
        told = asyncio.run(open_it(opening))
        if said is None:
            assert told is None
        else:
            assert told is not None
            assert len(told.splitlines()) == 1
            assert re.search(said, told)
            assert before is None or file.read_bytes() == before


# What becomes of it while it is open


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Database]:
    """A store as a daemon has it: locked, open, and looked at once, with a row in it."""
    (tmp_path / "store").mkdir()
    async with contextlib.AsyncExitStack() as stack:
        database = sqlite(tmp_path / "store" / "store.db")
        lock = database.lock()
        assert lock is not None
        stack.callback(lock.close)
        await stack.enter_async_context(database)
        await database.migrate()
        await database.look()
        await fill(database)
        yield database


def _remove(file: Path) -> None:
    file.unlink()


def _replace(file: Path) -> None:
    shutil.copy(file, file.with_name("copy.db"))
    file.with_name("copy.db").rename(file)


def _move_away(file: Path) -> None:
    file.rename(file.with_name("moved.db"))


def _overwrite_with_a_backup(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as live:
        live.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what a busy writer does by itself
        live.execute("PRAGMA user_version")
    backup = bytearray(file.read_bytes())
    backup[60:64] = bytes(4)  # as it was a moment before
    file.write_bytes(backup)


def _overwrite_with_another(file: Path) -> None:
    other = file.with_name("other.db")
    with contextlib.closing(sqlite3.connect(other)) as made:
        made.execute("CREATE TABLE dashboards (id)")
    shutil.copyfile(other, file)


def _truncate(file: Path) -> None:
    os.truncate(file, 0)


def _lose_the_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))


def _replace_the_folder(file: Path) -> None:
    _lose_the_folder(file)
    shutil.copytree(file.parent.with_name("moved"), file.parent)


def _unlink_the_log(file: Path) -> None:
    file.with_name("store.db-wal").unlink()


def _replace_the_log(file: Path) -> None:
    log = file.with_name("store.db-wal")
    content = log.read_bytes()
    log.unlink()
    log.write_bytes(content)


def _move_the_log(file: Path) -> None:
    file.with_name("store.db-wal").rename(file.with_name("moved-wal"))


def _unlink_the_index(file: Path) -> None:
    file.with_name("store.db-shm").unlink()


def _unlink_the_lock(file: Path) -> None:
    file.with_name("store.db.lock").unlink()


@pytest.mark.parametrize(
    ("spoil", "trouble"),
    [
        (_remove, Trouble.REMOVED),
        (_move_away, Trouble.REMOVED),
        (_lose_the_folder, Trouble.REMOVED),
        (_replace, Trouble.REPLACED),
        (_replace_the_folder, Trouble.REPLACED),
        (_overwrite_with_a_backup, Trouble.OVERWRITTEN),
        (_overwrite_with_another, Trouble.OVERWRITTEN),
        (_truncate, Trouble.OVERWRITTEN),
        (_unlink_the_log, Trouble.LOG_REMOVED),
        (_replace_the_log, Trouble.LOG_REMOVED),
        (_move_the_log, Trouble.LOG_REMOVED),
        (_unlink_the_index, Trouble.LOG_REMOVED),
        (_unlink_the_lock, Trouble.LOCK_REMOVED),
    ],
)
async def test_file_that_is_no_longer_the_open_one_is_neither_read_nor_written(
    held: Database, spoil: Callable[[Path], None], trouble: Trouble
) -> None:
    """Whatever becomes of it, the next look finds it, and says the same to whoever wants to use it."""
    assert held.file is not None
    await held.look()
    spoil(held.file)
    for use in (held.look, lambda: fill(held), lambda: filled(held)):
        with pytest.raises(StoreUnavailable) as caught:
            await use()
        assert caught.value.reason == trouble


async def test_file_that_comes_back_is_used_again(held: Database) -> None:
    """The same file is put back: nothing is lost, and the monitor goes on."""
    assert held.file is not None
    moved = held.file.with_name("moved.db")
    held.file.rename(moved)
    with pytest.raises(StoreUnavailable):
        await held.look()
    moved.rename(held.file)
    await held.look()
    await fill(held)
    assert await filled(held) == 2


async def test_lock_that_was_removed_is_taken_again(held: Database) -> None:
    """A second daemon is still refused, and the first one goes on after the next look."""
    assert held.file is not None
    _unlink_the_lock(held.file)
    with pytest.raises(StoreUnavailable):
        await held.look()
    with pytest.raises(StartError, match="in use by another daemon"):
        DaemonLock(held.file)
    await held.look()
    await fill(held)


@pytest.mark.parametrize("replaced", [False, True], ids=["moved", "replaced"])
async def test_file_that_was_moved_away_is_complete_and_takes_its_log_along(
    held: Database, replaced: bool
) -> None:
    """What was in the log is in the moved file; the one that takes its place is not given any of it."""
    assert held.file is not None
    await fill(held, rows=100)
    moved = held.file.with_name("moved.db")
    held.file.rename(moved)
    if replaced:
        async with sqlite(moved.with_name("other.db")) as other:
            await other.migrate()
        moved.with_name("other.db").rename(held.file)
    with pytest.raises(StoreUnavailable):
        await held.look()
    await held.close()
    async with sqlite(moved) as database:
        assert await filled(database) == 101
    if replaced:
        async with sqlite(held.file) as database:
            assert await filled(database) == 0


async def test_nothing_is_lost_with_the_log(held: Database) -> None:
    """A log that is removed while it is open is moved into the database when the monitor ends."""
    assert held.file is not None
    await fill(held, rows=100)
    _unlink_the_log(held.file)
    with pytest.raises(StoreUnavailable):
        await held.look()
    await held.close()
    async with sqlite(held.file) as database:
        assert await filled(database) == 101


async def test_work_of_others_is_no_replacement(held: Database) -> None:
    """Commands write, a backup is made, another program moves the log: the file is still the same."""
    assert held.file is not None
    for _ in range(3):
        async with sqlite(held.file) as command:
            await command.check()
            await fill(command)
        with contextlib.closing(sqlite3.connect(held.file)) as other:
            other.execute("INSERT INTO acceptances (identity, asked_at) VALUES ('i', '2026-01-01')")
            other.commit()
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.closing(sqlite3.connect(held.file.with_name("backup.db"))) as backup:
                other.backup(backup)
        held.file.touch()
        await held.look()
        await fill(held)
        await held.look()
    async with sqlite(held.file.with_name("backup.db")) as database:
        await database.check()


async def test_file_whose_log_an_earlier_process_has_filled_is_the_same_file(held: Database) -> None:
    """A reader keeps what is in the log from reaching the file, at the next start too."""
    assert held.file is not None
    path = held.file.with_name("another.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        for start in range(3):
            async with sqlite(path) as database:
                lock = database.lock()
                assert lock is not None
                await database.migrate()
                for _ in range(3):
                    await fill(database)
                    await database.look()
                    reader.execute("ROLLBACK" if reader.in_transaction else "BEGIN")
                    reader.execute("SELECT count(*) FROM acceptances").fetchone()
                assert await filled(database) == 3 * (start + 1)
            lock.close()


async def test_log_shrinks_after_a_storm(held: Database) -> None:
    """It grows under a long reader; once that is gone, it is emptied, also while short ones come and go."""
    assert held.file is not None
    log = held.file.with_name("store.db-wal")
    async with held.read() as tx:
        await tx.execute(text("SELECT count(*) FROM acceptances"))
        for _ in range(20):
            await fill(held, rows=500, size=2000)
        await held.look()
        assert log.stat().st_size > 16 * 2**20
        assert await filled(held) == 10_001
    await fill(held)
    await held.look()
    assert log.stat().st_size <= 4 * 2**20
