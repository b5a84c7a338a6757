"""Copying a SQLite store to PostgreSQL: whole, resumable, verified."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from monitor.errors import StartError, StoreUnavailable
from monitor.store.copy import copy_rows, count_rows, finish, prepare
from monitor.store.database import Database
from monitor.store.tables import Json, Packed, UtcDateTime, changes, connections, metadata
from tests.fakes.stored import NOW

TABLES = {table.name: table for table in metadata.sorted_tables}
ROWS = 7
MANY = 1_200
KEYS = ("a", "B", "_", "é", "Z z", "😀", "~")
"""In another order for a language than for their bytes."""


def value(column: Column[Any], row: int) -> object:
    """Return a value of the column's type that no other row has in its key."""
    values: dict[type[Any], object] = {
        UtcDateTime: NOW + timedelta(seconds=row, microseconds=row),
        Json: {"é": [row, None, 0.5]},
        LargeBinary: bytes([row % 256, 0, 255]),
        Packed: bytes([row % 256, 0, 255]),
        Boolean: row % 2 == 0,
        Float: row / 3,
        Integer: row + 1,
        BigInteger: row + 1,
        Text: f"{KEYS[row % len(KEYS)]}{row}",
    }
    return None if column.nullable and row % 3 == 0 else values[type(column.type)]


def rows_of(table: Table, count: int = ROWS) -> list[dict[str, Any]]:
    """Return rows that have a value of each kind in each column."""
    return [{column.name: value(column, row) for column in table.columns} for row in range(count)]


async def fill(database: Database, table: Table, count: int = ROWS) -> None:
    """Write such rows."""
    async with database.write() as tx:
        await tx.execute(insert(table), rows_of(table, count))


async def content(database: Database, table: Table) -> list[dict[str, Any]]:
    """Return all rows but their leases, in an order that does not depend on the database."""
    async with database.read() as tx:
        rows = [dict(row._mapping) for row in await tx.execute(select(table))]
    for row in rows:
        row.pop("lease_until", None)
    return sorted(rows, key=lambda row: [str(row[column.name]) for column in table.primary_key])


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Database]:
    """Return a SQLite store that has something in every table."""
    async with Database(f"sqlite:///{tmp_path / 'source.db'}") as database:
        await database.migrate()
        for table in TABLES.values():
            await fill(database, table)
        yield database


@pytest.fixture
async def target(postgres: str) -> AsyncIterator[Database]:
    """Return an empty PostgreSQL database."""
    async with Database(postgres) as database:
        yield database


class Steps:
    """Counts the rows that are done, and ends the copy after some."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.rows = 0

    def __call__(self, rows: int) -> None:
        """Count."""
        self.rows += rows
        if self.most is not None and self.rows > self.most:
            raise StoreUnavailable("interrupted")


async def copied(source: Database, target: Database) -> Steps:
    """Copy and verify; return what was counted."""
    steps = Steps()
    await prepare(target)
    await copy_rows(source, target, steps)
    await finish(source, target, steps)
    return steps


async def test_copy_has_every_row_of_every_table(source: Database, target: Database) -> None:
    """All values come along, whatever their type; the progress counts each row once and once more."""
    steps = await copied(source, target)
    assert steps.rows == 2 * await count_rows(source) == 2 * ROWS * len(TABLES)
    for table in TABLES.values():
        assert await content(target, table) == await content(source, table)


async def test_copy_is_a_store(source: Database, target: Database) -> None:
    """A daemon takes it, and new rows are numbered after those that came along."""
    await copied(source, target)
    await target.migrate()
    await target.check()
    row = rows_of(changes, 1)[0]
    del row["id"]
    async with target.write() as tx:
        new = await tx.scalar(insert(changes).values(row).returning(changes.c.id))
    assert new == ROWS + 1


async def test_copy_has_no_leases(source: Database, target: Database) -> None:
    """Whoever held a connection there does not hold it here."""
    await copied(source, target)
    async with target.read() as tx:
        assert await tx.scalar(select(func.count(connections.c.lease_until))) == 0


@pytest.mark.parametrize("after", [0, 500, 1_000])
async def test_interrupted_copy_resumes(source: Database, target: Database, after: int) -> None:
    """What was copied is not copied again, and what is there at the end is whole."""
    async with source.write() as tx:
        await tx.execute(changes.delete())
    await fill(source, changes, MANY)
    await prepare(target)
    with pytest.raises(StoreUnavailable):
        await copy_rows(source, target, Steps(after))
    for opening in (target.migrate(), target.check()):
        with pytest.raises(StartError, match="incomplete copy"):
            await opening
    before = await count_rows(target)
    await copied(source, target)
    assert before > after
    assert await content(target, changes) == await content(source, changes)


async def test_source_that_moved_on_is_copied_as_it_is_now(source: Database, target: Database) -> None:
    """Rows that were changed or deleted since the first try do not survive."""
    await prepare(target)
    await copy_rows(source, target, Steps())
    async with source.write() as tx:
        await tx.execute(update(changes).where(changes.c.id == 1).values(key="moved"))
        await tx.execute(connections.delete().where(connections.c.identity == "a0"))
    await copied(source, target)
    for table in (changes, connections):
        assert await content(target, table) == await content(source, table)


@pytest.mark.parametrize("name", TABLES)
async def test_difference_is_found(source: Database, target: Database, name: str) -> None:
    """A copy that lacks a row of any table is not handed to a daemon."""
    await prepare(target)
    await copy_rows(source, target, Steps())
    table = TABLES[name]
    key = next(iter(table.primary_key))
    async with target.write() as tx:
        await tx.execute(table.delete().where(key == select(func.max(key)).scalar_subquery()))
    with pytest.raises(StoreUnavailable, match=rf"table {name} differs: 6 rows of 7"):
        await finish(source, target, Steps())
    with pytest.raises(StartError, match="incomplete copy"):
        await target.check()


async def test_store_in_use_is_not_overwritten(source: Database, target: Database) -> None:
    """A database that holds a store, of whatever version, is left alone."""
    await target.migrate()
    await fill(target, changes)
    kept = await content(target, changes)
    with pytest.raises(StartError, match="already holds a store"):
        await prepare(target)
    assert await content(target, changes) == kept
    del source


async def test_store_without_rows_may_be_filled(source: Database, target: Database) -> None:
    """A try that ended right after it had made the tables is no store yet."""
    await target.migrate()
    assert (await copied(source, target)).rows


def test_instants_are_compared_with_their_fractions() -> None:
    """The rows of these tests have microseconds, which a database may lose."""
    column = changes.c.at
    found = value(column, 1)
    assert isinstance(found, datetime)
    assert found.microsecond
