"""Copies a store into an empty database: resumable, and verified before a daemon may use it.

Tables are copied one after the other, rows in the order of their keys, each batch in its own transaction.
Until all of it is verified, `COPYING` stands in the place of the schema's revision, so that no daemon starts
on half of a store. What an earlier try has copied is kept as far as it is still the same.
"""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import xxhash
from sqlalchemy import (
    ColumnElement,
    Executable,
    Table,
    Text,
    collate,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StartError, StoreUnavailable
from monitor.store.database import Database
from monitor.store.migrations import COPYING, REVISIONS
from monitor.store.tables import metadata

_BATCH = 500
"""Rows of a transaction: a few thousand a second, and the progress moves."""

OnRows = Callable[[int], object]
"""Told how many more rows are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCopy:
    """One table of a verified copy. `digest` is over all values of all its rows, in hexadecimal."""

    table: str
    rows: int
    digest: str


async def count_rows(source: Database) -> int:
    """Return how many rows a copy has to go through.

    Raises:
        StoreUnavailable: It cannot be read.
    """
    async with source.read() as tx:
        counts = [await tx.scalar(select(func.count()).select_from(table)) for table in _tables()]
    return sum(count or 0 for count in counts)


async def prepare(target: Database) -> None:
    """Make the schema of a copy, or find the one that an earlier try has made.

    Raises:
        StartError: The database cannot be opened, or holds a store already.
    """
    found = await target.schema()
    if found == COPYING:
        return
    if found is not None and (found != REVISIONS[-1] or await count_rows(target)):
        raise StartError(
            f"{target.shown} already holds a store: give an empty database, or set store.url to use this one"
        )
    await target.migrate()
    await _call_itself(target, COPYING)


async def copy_rows(source: Database, target: Database, on_rows: OnRows) -> None:
    """Copy what is not there yet.

    Raises:
        StoreUnavailable: One of the two failed; what was copied so far stays.
    """
    for table in _tables():
        last = await _last_key(target, table)
        if last is not None:
            theirs, ours = await _digest(target, table), await _digest(source, table, until=last)
            if theirs == ours:
                on_rows(ours.rows)
            else:  # the source has moved on since
                await _execute(target, delete(table))
                last = None
        async for rows in _batches(source, table, after=last):
            await _execute(target, insert(table), rows)
            on_rows(len(rows))


async def finish(source: Database, target: Database, on_rows: OnRows) -> list[TableCopy]:
    """Verify a copy, table by table, and let daemons use it.

    Raises:
        StoreUnavailable: One of the two failed, or they are not equal; the copy is not to be used yet.
    """
    copies = []
    for table in _tables():
        ours, theirs = await _digest(source, table), await _digest(target, table)
        if ours != theirs:
            raise StoreUnavailable(
                f"the copy of table {table.name} differs: {theirs.rows} rows of {ours.rows}, or other values"
            )
        copies.append(ours)
        on_rows(ours.rows)
    await target.transact(_number_on)
    await _call_itself(target, REVISIONS[-1])
    return copies


def _tables() -> Sequence[Table]:
    return metadata.sorted_tables


async def _execute(target: Database, statement: Executable, parameters: Any = None) -> None:
    await target.transact(lambda tx: tx.execute(statement, parameters))


async def _call_itself(target: Database, revision: str) -> None:
    renamed = text("UPDATE alembic_version SET version_num = :revision")
    await _execute(target, renamed, {"revision": revision})


async def _number_on(tx: AsyncConnection) -> None:
    """Let PostgreSQL number new rows after the copied ones; SQLite does so by itself."""
    if tx.dialect.name != "postgresql":
        return
    for table in _tables():
        column = table.autoincrement_column
        if column is not None:
            number = func.pg_get_serial_sequence(table.name, column.name)
            last = select(func.coalesce(func.max(column), 0)).scalar_subquery()
            await tx.execute(select(func.setval(number, last + 1, False)))


@functools.cache
def _key(table: Table) -> tuple[ColumnElement[Any], ...]:
    """Return the key's columns in the order of their bytes, which both databases agree on."""
    return tuple(
        collate(column, "C") if isinstance(column.type, Text) else column for column in table.primary_key
    )


def _order(database: Database, table: Table) -> tuple[ColumnElement[Any], ...]:
    return tuple(table.primary_key) if database.is_sqlite else _key(table)


async def _last_key(database: Database, table: Table) -> tuple[Any, ...] | None:
    columns = _order(database, table)
    last = select(*table.primary_key).order_by(*(column.desc() for column in columns)).limit(1)
    async with database.read() as tx:
        row = (await tx.execute(last)).first()
    return tuple(row) if row is not None else None


async def _batches(
    database: Database,
    table: Table,
    *,
    after: tuple[Any, ...] | None = None,
    until: tuple[Any, ...] | None = None,
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield rows in the order of their keys. Leases are left out: their holders do not come along."""
    columns = _order(database, table)
    query = select(table).order_by(*columns).limit(_BATCH)
    if until is not None:
        query = query.where(tuple_(*columns) <= until)
    while True:
        async with database.read() as tx:
            part = query.where(tuple_(*columns) > after) if after is not None else query
            rows = [dict(row._mapping) for row in await tx.execute(part)]  # noqa: SLF001 - its documented name
        if not rows:
            return
        after = tuple(rows[-1][column.name] for column in table.primary_key)
        yield [row | {"lease_until": None} if "lease_until" in row else row for row in rows]


async def _digest(database: Database, table: Table, *, until: tuple[Any, ...] | None = None) -> TableCopy:
    seen, rows = xxhash.xxh3_128(), 0
    async for batch in _batches(database, table, until=until):
        rows += len(batch)
        for row in batch:
            seen.update(msgspec.msgpack.encode(list(row.values())))
    # A plain text: what SQLAlchemy quotes is of a class of its own, which JSON does not know.
    return TableCopy(table=str(table.name), rows=rows, digest=seen.hexdigest())
