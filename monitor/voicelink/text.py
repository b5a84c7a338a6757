"""Values of the provider's, made fit to keep and show: short, printable, of one type."""

from typing import Any

from monitor.http.text import clean

NAME_LIMIT = 100
"""Characters of a state, an issue, a code, an id."""
LABEL_LIMIT = 500
"""Characters of a sentence that says what to do."""
WARNING_LIMIT = 200
"""Characters of a warning."""

_INT64_DIGITS = 18
_INT64 = range(-(2**63), 2**63)
_TRUE_WORDS = frozenset({"1", "true"})
_OFF_WORDS = frozenset({"0", "false", "inactive", "disabled", "deactivated", "suspended", "off"})


def as_text(value: Any) -> str:
    """Return a string or number as text; an empty string for anything else."""
    if isinstance(value, str):
        return value
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def clean_any(value: Any, limit: int) -> str:
    """Return a string or number as one short line; an empty string for anything else."""
    return clean(as_text(value), limit)


def clean_id(value: Any) -> int | str | None:
    """Return an id; digit strings become integers, so that `"812"` and `812` are the same id.

    What does not fit 64 bits stays a string: the stored blobs could not hold it otherwise.
    """
    if type(value) is int:
        return value if value in _INT64 else str(value)[:NAME_LIMIT]
    if type(value) is str:
        value = clean(value, NAME_LIMIT)
        if value.isdecimal() and value.isascii() and len(value) <= _INT64_DIGITS and str(int(value)) == value:
            return int(value)
        return value or None
    if isinstance(value, float) and value.is_integer():
        return clean_id(int(value))
    return None


def is_true(value: Any) -> bool:
    """Whether a flag is set, however it is written: `true`, `"true"`, `1`, `"1"`."""
    if isinstance(value, str):
        return value.strip().casefold() in _TRUE_WORDS
    return value is True or (type(value) is int and value == 1)


def is_active(status: Any) -> bool | None:
    """Whether a status says anything but off (`0`, `"0"`, `false`, `"INACTIVE"`); None if it says nothing."""
    if isinstance(status, str):
        word = status.strip().casefold()
        return word not in _OFF_WORDS if word else None
    return bool(status) if isinstance(status, bool | int | float) else None
