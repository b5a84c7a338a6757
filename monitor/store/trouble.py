"""Why a database does not work, from what its driver says."""

import sqlite3
from enum import StrEnum

from sqlalchemy.exc import DBAPIError, OperationalError

from monitor.errors import out_of_resources


class Trouble(StrEnum):
    """Why the store cannot be used, in words for everybody: without paths, hosts, users or statements."""

    FULL = "the disk is full"
    QUOTA = "the disk quota is used up"
    TOO_LARGE = "a file has reached the size that is allowed"
    READ_ONLY = "it is read-only"
    BUSY = "another program keeps it locked"
    DAMAGED = "its file is damaged"
    NO_DATABASE = "its file is not a database"
    DISK = "the disk reports an error"
    UNOPENED = "its file cannot be opened"
    UNREACHABLE = "there is no connection to the database"
    CROWDED = "the database accepts no more connections"
    NOT_SERVING = "the database is starting, recovering or shutting down"
    FORBIDDEN = "the database does not permit it"
    SLOW = "the database takes too long"
    CONFLICT = "another program changes the same rows"
    OTHER = "see store.failed in the log"

    REMOVED = "the store file was removed while running: put it back, or restart the monitor"
    REPLACED = "the store file was replaced while running: restart the monitor to use the new one"
    OVERWRITTEN = "the store file was overwritten while running: stop the monitor, restore a backup, start it"
    LOG_REMOVED = "the store's write-ahead log was removed while running: restart the monitor"
    SUPERSEDED = "the store was upgraded by a newer version of this program: run that version"
    LOCK_REMOVED = "the store's lock file was removed or replaced while running"


_SQLITE = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: Trouble.NO_DATABASE,
    sqlite3.SQLITE_IOERR: Trouble.DISK,
    sqlite3.SQLITE_CANTOPEN: Trouble.UNOPENED,
    sqlite3.SQLITE_PERM: Trouble.UNOPENED,
}
"""By result code. Source: https://www.sqlite.org/rescode.html"""

_POSTGRESQL = {
    "08": Trouble.UNREACHABLE,
    "25006": Trouble.READ_ONLY,
    "28": Trouble.FORBIDDEN,
    "40": Trouble.CONFLICT,
    "42501": Trouble.FORBIDDEN,
    "53100": Trouble.FULL,
    "53300": Trouble.CROWDED,
    "55P03": Trouble.BUSY,
    "57014": Trouble.SLOW,
    "57P": Trouble.NOT_SERVING,
    "58030": Trouble.DISK,
    "XX001": Trouble.DAMAGED,
    "XX002": Trouble.DAMAGED,
}
"""By the beginning of the SQLSTATE. Source: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_ADVICE = {
    Trouble.FULL: "free some space",
    Trouble.READ_ONLY: "the file or its folder cannot be written",
    Trouble.BUSY: "another program is using it",
    Trouble.DAMAGED: "restore a backup",
    Trouble.NO_DATABASE: "set store.url to another file",
    Trouble.UNOPENED: "this user must be able to write the file and its folder",
}
"""What to do at a start, after the driver's own words."""


def trouble_of(exc: BaseException) -> str:
    """Return the trouble that an exception of SQLAlchemy, of a driver or of the system tells of.

    A `Trouble`, or what this process lacks itself.
    """
    lack = out_of_resources(exc)
    if lack is not None:
        return str(lack)
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    if isinstance(cause, sqlite3.Error):
        return _SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, Trouble.OTHER)
    state: str | None = getattr(cause, "sqlstate", None)
    if state is not None:
        known = (trouble for begin, trouble in _POSTGRESQL.items() if state.startswith(begin))
        return next(known, Trouble.OTHER)
    # A connection that was not made, or that broke, has no SQLSTATE.
    lost = isinstance(exc, OperationalError) or (isinstance(exc, DBAPIError) and exc.connection_invalidated)
    return Trouble.UNREACHABLE if lost or isinstance(cause, OSError) else Trouble.OTHER


def is_broken(exc: BaseException) -> bool:
    """Whether an open connection broke, and not by falling silent: a new one may work at once."""
    return (
        isinstance(exc, DBAPIError) and exc.connection_invalidated and not isinstance(exc.orig, TimeoutError)
    )


def told_by(exc: BaseException) -> str:
    """Return the driver's message only: statements and parameters may hold phone numbers."""
    lack = out_of_resources(exc)
    if lack is not None:
        return str(lack)  # without descriptors, SQLite only says that it cannot open the file
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    told = isinstance(exc, (DBAPIError, sqlite3.Error, OSError))
    lines = str(cause).splitlines() if told else []
    return lines[0] if lines else type(exc).__name__


def advised(exc: BaseException) -> str:
    """Return the driver's message, and what to do about it."""
    trouble = trouble_of(exc)
    advice = next((words for known, words in _ADVICE.items() if known == trouble), None)
    return f"{told_by(exc)}; {advice}" if advice else told_by(exc)
