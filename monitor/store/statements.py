"""Statements on SQLite, made ready for the driver once if they are built once.

What SQLAlchemy does around each of them costs several times what the database does.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Dialect, Executable, SelectBase, UpdateBase
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

Given = Mapping[str, Any]
Convert = Callable[[Any], Any] | None

_MOST_SHAPES = 64
"""Ways to give a statement its parameters that are told apart: a list of values may have any length."""


class Statements:
    """Executes statements; one that is met again is made ready, once for each shape of its parameters."""

    def __init__(self) -> None:
        self._met: WeakKeyDictionary[Executable, dict[tuple[Any, ...], _Ready | None]] = WeakKeyDictionary()

    def execute(self, connection: Connection, statement: Executable, parameters: Any = None) -> Any:
        """Return what the connection would; of a statement without rows, no more than its `rowcount`."""
        shapes = self._met.get(statement)
        if shapes is None:
            self._met[statement] = {}
            return connection.execute(statement, parameters)
        rows = parameters if parameters and isinstance(parameters, list) else [parameters or {}]
        lengths = [len(value) for value in rows[0].values() if type(value) is list]
        shape = (len(rows) > 1, *rows[0], *lengths)
        if shape not in shapes and len(shapes) < _MOST_SHAPES:
            shapes[shape] = _made_ready(connection.dialect, statement, rows[0], many=len(rows) > 1)
        ready = shapes.get(shape)
        return connection.execute(statement, parameters) if ready is None else ready.execute(connection, rows)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A statement as the driver takes it.

    `sent` names the value of each placeholder, beside how its type is sent. `constants` are values that are
    part of the statement, `lists` the names of the values in each list. Without rows, `columns` is None.
    """

    sql: str
    sent: Sequence[tuple[str, Convert]]
    constants: Given
    lists: Mapping[str, Sequence[str]]
    columns: SimpleResultMetaData | None
    received: Sequence[Convert]

    def execute(self, connection: Connection, rows: Sequence[Given]) -> Any:
        dialect, cursor = connection.dialect, connection.connection.cursor()
        try:
            if len(rows) > 1:
                dialect.do_executemany(cursor, self.sql, [self._values(row) for row in rows])
            else:
                dialect.do_execute(cursor, self.sql, self._values(rows[0]))
            if self.columns is None:
                return cursor
            return IteratorResult(self.columns, map(self._row, cursor.fetchall()))
        except sqlite3.Error as exc:
            raise DBAPIError.instance(self.sql, None, exc, sqlite3.Error) from exc

    def _values(self, given: Given) -> list[Any]:
        values = {**self.constants, **given}
        for name, parts in self.lists.items():
            values |= zip(parts, given[name], strict=True)
        return [values[name] if convert is None else convert(values[name]) for name, convert in self.sent]

    def _row(self, row: Sequence[Any]) -> tuple[Any, ...]:
        pairs = zip(self.received, row, strict=True)
        return tuple([value if convert is None else convert(value) for convert, value in pairs])


def _made_ready(dialect: Dialect, statement: Executable, given: Given, *, many: bool) -> _Ready | None:
    """Return a statement that is ready for the driver; None if it takes SQLAlchemy to execute it."""
    if statement.get_execution_options() or not isinstance(statement, SelectBase | UpdateBase):
        return None
    try:
        compiled: Any = statement.compile(dialect=dialect, column_keys=list(given), for_executemany=many)
        state, columns = compiled.construct_expanded_state(given), statement.exported_columns
    except SQLAlchemyError:  # a parameter is missing, or has no place
        return None
    lists = {name: parts for name, parts in state.parameter_expansion.items() if name in given}
    defaults = {column.key: column.default for column in compiled.insert_prefetch}
    plain = all(default.is_scalar for default in defaults.values()) and not compiled.update_prefetch
    plain &= all(isinstance(given[name], list) for name in lists) and not compiled.literal_execute_params
    if not plain or (many and (columns or lists)):
        return None
    own = given.keys() | {part for parts in lists.values() for part in parts}
    constants = state.parameters | {name: default.arg for name, default in defaults.items()}
    sends = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
    } | state.processors
    return _Ready(
        sql=state.statement,
        sent=[(name, sends.get(name)) for name in state.positiontup],
        constants={name: value for name, value in constants.items() if name not in own},
        lists=lists,
        columns=SimpleResultMetaData([str(name) for name, _ in columns.items()]) if columns else None,
        received=[column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns],
    )
