"""Values as JSON says them, for everything that answers machines."""

from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from monitor.clock import rfc3339


def plain(value: Any) -> Any:
    """Return dataclasses and structs as objects, instants like the log's, durations as seconds."""
    match value:
        case datetime():
            return rfc3339(value)
        case timedelta():
            return value.total_seconds()
        case dict():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple() | frozenset():
            return [plain(each) for each in value]
        case _:
            names = _fields(value)
            return {name: plain(getattr(value, name)) for name in names} if names else value


def _fields(value: Any) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    return tuple(field.name for field in fields(value)) if is_dataclass(value) else ()
