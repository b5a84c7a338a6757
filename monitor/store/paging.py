"""Pages of rows and the cursors between them; a cursor that no page gave is refused."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

LIMIT = 100
"""Rows on a page by default."""

CURSOR_LENGTH = 2_000
"""Characters of the longest cursor that is read."""

T = TypeVar("T")
Parts = TypeVar("Parts", bound=tuple[Any, ...])

Text = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z")]
"""A text in a cursor: PostgreSQL refuses NUL."""

RowId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The number of a row in a cursor."""

Instant = Annotated[datetime, Meta(tz=True)]
"""An aware instant in a cursor."""


class BadCursor(ValueError):  # noqa: N818 - named for what it is
    """A cursor that no page gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some rows, and the cursor of those that follow; None on the last page."""

    rows: list[T]
    next: str | None = None


def page_of(found: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """Return the page of the rows found by a query for one more than `limit`."""
    rows = list(found[:limit])
    return Page(rows=rows, next=cursor(rows[-1]) if len(found) > limit and rows else None)


def cursor_of(*parts: str | int | datetime) -> str:
    """Return the cursor that holds these parts, as URL-safe text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def parts_of(cursor: str, kind: type[Parts]) -> Parts:
    """Return the parts of a cursor.

    Args:
        cursor: What `cursor_of` returned.
        kind: The tuple of their types: `Text`, `RowId` or `Instant`.

    Raises:
        BadCursor: It holds anything else.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts: Parts = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=kind)
        for part in parts:
            if isinstance(part, datetime):
                part.astimezone(UTC)  # some instants with an offset have no UTC form
    except (UnicodeError, binascii.Error, msgspec.DecodeError, OverflowError) as exc:
        raise BadCursor("this cursor is not valid; start from the first page") from exc
    return parts
