"""What a start with a SQLite file would stumble over, found out without leaving a trace."""

import os
import sqlite3
from pathlib import Path

from monitor.errors import StartError
from monitor.store.file import require_folder
from monitor.store.schema import look_into
from monitor.store.trouble import advised

_BESIDE = ("", "-wal", "-shm", ".lock")
"""What the files that SQLite and the daemon keep are called, after the name of the database."""


def obstacle(file: Path) -> str | None:
    """Return why a daemon could not open this store, or None; that another one has it open is no reason.

    Blocks on the file system: call it from a thread.
    """
    real = Path(os.path.realpath(file))
    try:
        require_folder(real)
        if real.is_dir():
            return f"unable to open the store {file}: it is a folder"
        problem = _unwritable(real)
        if problem is None and real.exists():
            look_into(real, quietly=True)
    except StartError as exc:
        return str(exc)
    except OSError as exc:
        return f"unable to open the store {file}: {exc.strerror}"
    except sqlite3.Error as exc:
        return f"cannot open the store {file}: {advised(exc)}"
    return problem


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
