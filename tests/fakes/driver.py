"""What the drivers of databases are given to execute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

_EXECUTIONS = ("do_execute", "do_executemany", "do_execute_no_params")


@contextmanager
def executions(tell: Callable[[DefaultDialect, str], None]) -> Iterator[None]:
    """Tell of every statement before its driver executes it, whoever gives it that."""
    before = {name: getattr(DefaultDialect, name) for name in _EXECUTIONS}

    def telling(execute: Callable[..., None]) -> Callable[..., None]:
        def told(dialect: DefaultDialect, cursor: Any, statement: str, *more: Any) -> None:
            tell(dialect, statement)
            execute(dialect, cursor, statement, *more)

        return told

    for name, execute in before.items():
        setattr(DefaultDialect, name, telling(execute))
    try:
        yield
    finally:
        for name, execute in before.items():
            setattr(DefaultDialect, name, execute)
