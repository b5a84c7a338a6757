"""Whose tables a database has, and whether this version of the program can use them."""

import contextlib
import math
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text

from monitor.errors import StartError
from monitor.store.file import is_too_short
from monitor.store.migrations import COPYING, REVISIONS, upgrade
from monitor.store.tables import metadata

BUSY_TIMEOUT_S = 5
"""How long SQLite waits for a lock."""

_VERSIONS = "alembic_version"
_REVISION = f"SELECT version_num FROM {_VERSIONS}"  # noqa: S608 - all of it is ours


def look_into(file: Path, *, quietly: bool = False) -> str | None:
    """Return the revision of the store in a SQLite file; None if there is nothing in it yet.

    Nothing is written: what is no store stays as it is, down to the mode of its journal. It blocks, and does
    without the driver, whose thread outlives a failure and prints it.

    Args:
        file: Where it is.
        quietly: Leave no -wal and -shm files behind, which would belong to the user who looks.

    Raises:
        StartError: It is another version's, another program's, or not complete.
        sqlite3.Error: It cannot be read.
    """
    if file.exists() and not (file.is_file() or file.is_dir()):  # SQLite would wait for ever at a pipe
        raise StartError(f"cannot open the store {file}: it is not a regular file")
    if is_too_short(file):
        exc = sqlite3.DatabaseError("file is not a database")
        exc.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise exc
    uri, options = file.absolute().as_uri(), ""
    if quietly:
        # A database without these files has nothing in its log.
        is_open = all(file.with_name(file.name + end).exists() for end in ("-wal", "-shm"))
        options = "?mode=ro" if is_open else "?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri + options, timeout=BUSY_TIMEOUT_S, uri=True)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        row = connection.execute(_REVISION).fetchone() if _VERSIONS in tables else None
    return _require_ours(tables, row[0] if row else None, shared=False)


def usable_revision(connection: Connection) -> str | None:
    """Return the revision of a store that this program can use; None if there is none yet.

    Raises:
        StartError: It is another version's, another program's, or not complete.
    """
    tables, revision = inspect(connection).get_table_names(), recorded_revision(connection)
    return _require_ours(tables, revision, shared=connection.dialect.name != "sqlite")


def recorded_revision(connection: Connection) -> str | None:
    """Return the revision of the schema as Alembic recorded it, whatever it is; None if it did not."""
    if not inspect(connection).has_table(_VERSIONS):
        return None
    revision: str | None = connection.execute(text(_REVISION)).scalar()
    return revision


def bring_up_to_date(connection: Connection) -> None:
    """Create the schema, or run the missing migrations.

    Raises:
        StartError: It is another version's, another program's, or not complete.
    """
    with _unhurried(connection) if connection.dialect.name == "postgresql" else contextlib.nullcontext():
        if usable_revision(connection) != REVISIONS[-1]:
            upgrade(connection)


@contextlib.contextmanager
def _unhurried(connection: Connection) -> Iterator[None]:
    """Let statements, and what is between them, take as long as they need; let no other replica migrate.

    Waiting for locks keeps its limit: a table that is in use is not waited for with all others behind.
    """
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
    link: Any = connection.connection.driver_connection
    silent_s, link.silent_s = link.silent_s, math.inf
    try:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7466951)")
        yield
    finally:
        link.silent_s = silent_s


def _require_ours(tables: Collection[str], revision: str | None, *, shared: bool) -> str | None:
    """Return the revision of a database with these tables; other programs may keep theirs in a shared one."""
    ours = metadata.tables.keys() & set(tables)
    strangers = set(tables) - ours - {_VERSIONS, "sqlite_sequence"}
    problem = None
    if revision in REVISIONS:
        if revision == REVISIONS[-1] and len(ours) < len(metadata.tables):
            problem = "the store is incomplete: tables are missing; restore a backup"
    elif revision == COPYING:
        problem = "the store is an incomplete copy: run `voicelink-monitor store copy` again"
    elif revision is not None and (not strangers or len(ours) > len(strangers)):
        problem = (
            f"the store is from a newer version of this program (schema {revision}): "
            "run that version, or give this one its own store.url"
        )
    elif ours or revision is not None or (tables and not shared):
        problem = "the store belongs to another program: give this one its own store.url"
    if problem is not None:
        raise StartError(problem)
    return revision
