"""Keeps the instants of records out of the future, where a clock that was set back leaves them.

Whatever compares instants would wait for them: for as long as the clock was set back, besides its own delay.
"""

import functools
from datetime import datetime
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def as_of(record: T, now: datetime) -> T:
    """Return a record with none of its own instants later than now."""
    late = {name: now for name in _instants(type(record)) if (at := getattr(record, name)) and at > now}
    return msgspec.structs.replace(record, **late) if late else record


@functools.cache
def _instants(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields that hold an instant."""
    return tuple(
        field.name for field in msgspec.structs.fields(kind) if field.type in (datetime, datetime | None)
    )
