"""Statements that are made ready for the driver do what they do through SQLAlchemy."""

import gc
import importlib
import pkgutil
import random
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    Insert,
    Label,
    SelectBase,
    StaticPool,
    Update,
    UpdateBase,
    create_engine,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.types import NullType

import monitor
from monitor.store.claims import _setting
from monitor.store.statements import Statements
from monitor.store.tables import Json, Packed, UtcDateTime, metadata, pulse

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_TRIES = 8
_EXAMPLES: Mapping[type, tuple[Any, ...]] = {
    UtcDateTime: (NOW, NOW + timedelta(seconds=1), NOW.astimezone(timezone(timedelta(hours=2)))),
    Json: (None, [], ["a"], {"a": 1}),
    Packed: (b"{}", b"body" * 50),
    NullType: (1, 2),
    list: ([],),  # an array, which SQLite has not
    str: ("a", "b", "c", "d"),
    bytes: (b"", b"a"),
    bool: (False, True),
    int: (1, 2, 3, 4),
    float: (0.5, 1.0),
}
"""Few, so that they meet."""


def _constants() -> Iterator[tuple[str, Any]]:
    for found in pkgutil.walk_packages(monitor.__path__, "monitor."):
        if "__main__" not in found.name and ".migrations" not in found.name:
            for name, value in vars(importlib.import_module(found.name)).items():
                for key, each in value.items() if isinstance(value, Mapping) else [("", value)]:
                    if isinstance(each, SelectBase | UpdateBase):
                        yield f"{found.name}.{name} {key}".strip(), each
    yield "setting", _setting(frozenset({"which", "held_epoch", "outcome", "one_more", "new_digest", "held"}))


STATEMENTS = dict(_constants())
"""Every statement of a module."""
_ORDINARY = {"monitor.store.alert_lists._ABOUT"}
"""Has a literal, which SQLAlchemy writes into it each time."""


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Connection, Connection]]:
    """Give two databases with the same rows."""
    engines = [create_engine("sqlite://", poolclass=StaticPool) for _ in range(2)]
    for engine in engines:
        metadata.create_all(engine)
        rng = random.Random(0)
        with engine.begin() as connection:
            for table in metadata.sorted_tables:
                row = insert(table).prefix_with("OR IGNORE")
                connection.execute(row, [_row(rng, table.c.values()) for _ in range(6)])
    with engines[0].connect() as first, engines[1].connect() as second:
        yield first, second
    for engine in engines:
        engine.dispose()


@pytest.fixture
def databases(filled: tuple[Connection, Connection]) -> Iterator[tuple[Connection, Connection]]:
    """Give them as they were, in a transaction."""
    drivers: list[Any] = [connection.connection.driver_connection for connection in filled]
    for driver in drivers:
        driver.isolation_level = None
        driver.execute("BEGIN")
    yield filled
    for driver in drivers:
        driver.rollback()


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_does_what_it_does_through_sqlalchemy(
    databases: tuple[Connection, Connection], name: str
) -> None:
    """The same rows of the same types, as many rows changed, the same errors, and the same left behind."""
    statement, statements = STATEMENTS[name], Statements()
    plain, other = databases
    rng, works = random.Random(name), False
    for _ in range(_TRIES):
        given = _given(rng, statement)
        expected = _outcome(plain.execute, statement, given)
        assert _outcome(partial(statements.execute, other), statement, given) == expected
        works |= not isinstance(expected, str)
    assert any(statements._met[statement].values()) or not works or name in _ORDINARY
    assert _content(other) == _content(plain)


def _given(rng: random.Random, statement: Any) -> Any:
    """Return what a statement may be given; of one without rows, maybe several times."""
    compiled = statement.compile(dialect=sqlite.dialect())
    needed = {bind.key: bind for bind in compiled.binds.values() if bind.required}
    columns = statement.table.c if isinstance(statement, Insert | Update) else ()
    spare = [column.key for column in columns if column.nullable]
    for key in [*spare, *(column.key for column in columns if column.default is not None)]:
        if key in needed and len(needed) > 1 and rng.random() < 0.3:
            del needed[key]
    several = not any(bind.expanding for bind in needed.values()) and not _has_rows(statement)
    rows = [_row(rng, needed.values(), spare) for _ in range(rng.randint(1, 3) if several else 1)]
    return rows if len(rows) > 1 else rows[0]


def _row(rng: random.Random, parts: Any, spare: Any = ()) -> dict[str, Any]:
    row = {}
    for part in parts:
        kind = type(part.type)
        examples = _EXAMPLES[kind if kind in _EXAMPLES else part.type.python_type]
        value = rng.choice(examples)
        if isinstance(part, BindParameter) and part.expanding:
            value = [rng.choice(examples) for _ in range(rng.randint(0, 3))]
        elif part.key in spare and rng.random() < 0.2:
            value = None
        row[part.key] = value
    return row


def _has_rows(statement: Any) -> bool:
    return isinstance(statement, SelectBase) or bool(statement.exported_columns)


def _outcome(execute: Callable[[Any, Any], Any], statement: Any, given: Any) -> Any:
    try:
        result = execute(statement, given)
    except DBAPIError as exc:
        return f"{type(exc)} {exc.orig}"
    except SQLAlchemyError as exc:
        return f"{type(exc)}"
    if not _has_rows(statement):
        return result.rowcount
    named = [isinstance(column, Column | Label) for column in statement.exported_columns]
    return [
        [(has and name, type(each), each) for has, name, each in zip(named, row._fields, row, strict=True)]
        for row in result
    ]


def _content(connection: Connection) -> list[Any]:
    return [connection.execute(select(table)).all() for table in metadata.sorted_tables]


def test_result_gives_its_rows_in_every_way(databases: tuple[Connection, Connection]) -> None:
    """By name, by position, one, first, all, or a value alone."""
    connection, statements = databases[0], Statements()
    asked = select(pulse)

    def result() -> Any:
        return statements.execute(connection, asked)

    result()
    connection.execute(pulse.delete())
    assert (result().first(), result().scalar(), result().all()) == (None, None, [])
    connection.execute(insert(pulse), {"id": 1, "at": NOW})
    assert (result().one().at, result().scalar(), result().scalars().all()) == (NOW, 1, [1])
    assert [tuple(row) for row in result()] == [(1, NOW)]
    assert statements._met[asked]


def test_refused_row_is_told_as_ever(databases: tuple[Connection, Connection]) -> None:
    """A driver's error comes translated, also the second time."""
    connection, statements, add = databases[0], Statements(), insert(pulse)
    statements.execute(connection, add, {"id": 5, "at": NOW})
    for _ in range(2):
        with pytest.raises(IntegrityError, match="UNIQUE"):
            statements.execute(connection, add, {"id": 5, "at": NOW})


def test_statement_that_nobody_keeps_is_forgotten(databases: tuple[Connection, Connection]) -> None:
    """What is built each time leaves nothing."""
    connection, statements, asked = databases[0], Statements(), select(pulse)
    for _ in range(2):
        statements.execute(connection, asked)
    kept = weakref.ref(asked)
    del asked
    gc.collect()
    assert kept() is None
