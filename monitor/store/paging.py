"""Pages of rows, and the cursors between them: what a cursor holds, and what happens to a wrong one."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

LIMIT = 100
"""Rows of a page, unless told."""

_ROW_ID_DIGITS = 18
"""What fits 64 bits, whatever the digits are."""

T = TypeVar("T")


class BadCursor(ValueError):  # noqa: N818 - named for what it is
    """An `after` that no page gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some rows, and the `after` of those behind them; None: there are no more."""

    rows: list[T]
    next: str | None = None


def page_of(found: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """Return the page of what was found, of which one more than `limit` was asked for."""
    rows = list(found[:limit])
    return Page(rows=rows, next=cursor(rows[-1]) if len(found) > limit and rows else None)


def join(*parts: str) -> str:
    """Return a cursor that holds these parts."""
    return msgspec.json.encode(parts).decode()


def split(after: str, parts: int) -> tuple[str, ...]:
    """Return the parts of a cursor.

    Raises:
        BadCursor: It does not hold so many.
    """
    try:
        found = msgspec.json.decode(after, type=tuple[str, ...])
    except msgspec.DecodeError as exc:
        raise BadCursor("no page ends there") from exc
    if len(found) != parts or any("\x00" in part for part in found):
        raise BadCursor("no page ends there")
    return found


def number_in(after: str) -> int:
    """Return the row's number that a cursor holds.

    Raises:
        BadCursor: It holds none.
    """
    if not (after.isascii() and after.isdigit() and len(after) <= _ROW_ID_DIGITS):
        raise BadCursor("no page ends there")
    return int(after)


def instant_in(text: str) -> datetime:
    """Return the instant in a part of a cursor.

    Raises:
        BadCursor: It holds none.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise BadCursor("no page ends there") from exc


CURSOR_LENGTH = 2_000


def wrap(after: str) -> str:
    """Return a cursor that stands for the end of a page."""
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def unwrap(cursor: str) -> str:
    """Return what `wrap` was given.

    Raises:
        BadCursor: It never was.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error) as exc:
        raise BadCursor("no page ends there") from exc
