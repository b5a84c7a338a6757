"""Keeps the instants of records out of the future, where a clock that was set back leaves them.

Whatever compares instants would wait for them: for as long as the clock was set back, besides its own delay.
"""

import functools
from datetime import datetime
from typing import Any, TypeVar, get_args

import msgspec

T = TypeVar("T")


def as_of(record: T, now: datetime) -> T:
    """Return a record with no instant in it later than now; the same one if none is."""
    made: Any
    match record:
        case datetime():
            made = now
            return record if record <= now else made
        case msgspec.Struct():
            fields = {name: getattr(record, name) for name in _with_instants(type(record))}
            made = as_of(fields, now)
            return record if made is fields else msgspec.structs.replace(record, **made)
        case dict():
            made = {key: as_of(value, now) for key, value in record.items()}
            return record if all(made[key] is value for key, value in record.items()) else made
        case tuple():
            made = tuple(as_of(each, now) for each in record)
            return record if all(new is old for new, old in zip(made, record, strict=True)) else made
        case _:
            return record


@functools.cache
def _with_instants(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields in which an instant may be: a snapshot of 10,000 numbers has none in those."""
    return tuple(field.name for field in msgspec.structs.fields(kind) if _may_hold_instants(field.type))


def _may_hold_instants(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return bool(_with_instants(hint))
    return hint is datetime or any(map(_may_hold_instants, get_args(hint)))
