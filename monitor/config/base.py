"""What all tables of the config have in common."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from monitor.secret import Secret


class Section(BaseModel):
    """One table: frozen, unknown keys refused, every key described by the text below it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def chosen(value: Secret | None, file: Secret | None) -> Secret:
    """Return the one of two twins that was given; validation saw to it that one was.

    Raises:
        ValueError: Neither was given.
    """
    secret = value or file
    if secret is None:
        raise ValueError("this secret was not given")
    return secret


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
