"""What a start with a SQLite file would stumble over, found out without leaving a trace."""

import contextlib
import os
import sqlite3
from pathlib import Path

from monitor.store.migrations import COPYING, REVISIONS

_BESIDE = ("", "-wal", "-shm", ".lock")
"""What the files that SQLite and the daemon keep are called, after the name of the database."""


def obstacle(file: Path) -> str | None:
    """Return why a daemon could not open this store, or None; that another one has it open is no reason.

    Blocks on the file system: call it from a thread.
    """
    real = Path(os.path.realpath(file))
    try:
        if not real.parent.is_dir():
            return f"the store's folder does not exist: {file.parent}: create it"
        if real.is_dir():
            return f"unable to open the store {file}: it is a folder"
        return _unwritable(real) or (_foreign(real) if real.exists() else None)
    except OSError as exc:
        return f"unable to open the store {file}: {exc.strerror}"


def _unwritable(file: Path) -> str | None:
    """SQLite makes files beside the database, so that the folder must be writable too."""
    needed = [file.parent, *(each for end in _BESIDE if (each := file.with_name(file.name + end)).exists())]
    for path in needed:
        mode = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
        if os.access(path, mode, effective_ids=os.access in os.supports_effective_ids):
            continue
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return f"cannot write to the store: {path} is on a read-only file system"
        return (
            f"cannot write to the store: {path} belongs to user {path.stat().st_uid}, this process is user "
            f"{os.geteuid()}: give it to this user, or run as the user that owns it"
        )
    return None


def _foreign(file: Path) -> str | None:
    # Without `immutable`, SQLite would make -wal and -shm where there are none, and they would belong to the
    # user who looks. A database without them has nothing in its log.
    is_open = all(file.with_name(file.name + end).exists() for end in ("-wal", "-shm"))
    uri = f"{file.as_uri()}?mode=ro{'' if is_open else '&immutable=1'}"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
            row = (
                connection.execute("SELECT version_num FROM alembic_version").fetchone()
                if tables.fetchone()
                else None
            )
    except sqlite3.Error as exc:
        return f"cannot open the store {file}: {exc}"
    revision = row[0] if row else None
    if revision in (None, *REVISIONS):
        return None
    if revision == COPYING:
        return "the store is an incomplete copy: run `voicelink-monitor store copy` again"
    return (
        f"the store is from a newer version of this program (schema {revision}): run that version, or give "
        "this one its own store.url"
    )
