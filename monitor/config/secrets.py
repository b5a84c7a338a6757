"""Finding every secret of a config, to read its file again when it changes."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from monitor.secret import Secret


def secrets_of(value: Any) -> Iterator[Secret]:
    """Yield every secret anywhere below a value of the config."""
    match value:
        case Secret():
            yield value
        case BaseModel():
            for _, part in value:
                yield from secrets_of(part)
        case dict():
            for part in value.values():
                yield from secrets_of(part)
        case tuple() | list():
            for part in value:
                yield from secrets_of(part)
        case _:
            return
