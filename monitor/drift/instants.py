"""Keeps the instants of records out of the future, where a clock that was set back leaves them.

Whatever compares instants would wait for them: for as long as the clock was set back, besides its own delay.
"""

import functools
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar, get_args

import msgspec

T = TypeVar("T")


def as_of(record: T, now: datetime) -> T:
    """Return a record with no instant in it later than now; the same one if none is."""
    return _pulled_in(record, now) if _is_ahead(record, now) else record


def _is_ahead(value: object, now: datetime) -> bool:
    """Whether an instant in a value is later than now: hardly ever."""
    parts: Iterable[object] = ()
    if isinstance(value, datetime):
        return value > now
    if isinstance(value, msgspec.Struct):
        parts = [getattr(value, name) for name in _with_instants(type(value))]
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, tuple):
        parts = value
    return any(_is_ahead(part, now) for part in parts if part is not None)


def _pulled_in(value: Any, now: datetime) -> Any:
    match value:
        case datetime():
            return min(value, now)
        case msgspec.Struct():
            fields = {name: getattr(value, name) for name in _with_instants(type(value))}
            return msgspec.structs.replace(value, **_pulled_in(fields, now))
        case dict():
            return {key: _pulled_in(each, now) for key, each in value.items()}
        case tuple():
            return tuple(_pulled_in(each, now) for each in value)
        case _:
            return value


@functools.cache
def _with_instants(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields in which an instant may be: a snapshot of 10,000 numbers has none in those."""
    return tuple(field.name for field in msgspec.structs.fields(kind) if _may_hold_instants(field.type))


def _may_hold_instants(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return bool(_with_instants(hint))
    return hint is datetime or any(map(_may_hold_instants, get_args(hint)))
