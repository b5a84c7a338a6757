"""Query parameters of the pages: filters, cursors and page numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import TypeVar

from starlette.exceptions import HTTPException

from monitor.drift.snapshot import ChangeKind
from monitor.store.paging import CURSOR_LENGTH

_LONGEST = 200

E = TypeVar("E", bound=StrEnum)


class Show(StrEnum):
    """Which numbers of a connection a page lists."""

    TROUBLE = "trouble"
    IGNORED = "ignored"
    ALL = "all"


class Span(StrEnum):
    """How far back the timeline goes."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def length(self) -> timedelta:
        """How long that is."""
        amount = int(self[:-1])
        return timedelta(hours=amount) if self.endswith("h") else timedelta(days=amount)


def text(query: Mapping[str, str], name: str) -> str | None:
    """Return a parameter, None if it is empty: a form sends its empty fields too.

    Raises:
        HTTPException: It is too long, or no text.
    """
    value = query.get(name, "").strip()
    if len(value) > _LONGEST or any(not each.isprintable() for each in value):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: must be at most {_LONGEST} characters")
    return value or None


def choice(query: Mapping[str, str], name: str, kind: type[E]) -> E | None:
    """Return a parameter that is one of a few words.

    Raises:
        HTTPException: It is a different one.
    """
    value = text(query, name)
    try:
        return kind(value) if value else None
    except ValueError:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: must be one of {', '.join(kind)}") from None


def instant_of(name: str, value: str) -> datetime:
    """Return the instant that a parameter names; without an offset, as a form sends it, in UTC.

    Raises:
        HTTPException: It names none.
    """
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: must be a time") from None


def change_filters(query: Mapping[str, str]) -> dict[str, str | None]:
    """Return the filters of the changes, by parameter; None: not filtered.

    Raises:
        HTTPException: A parameter cannot be read.
    """
    return {
        "connection": text(query, "connection"),
        "state": text(query, "state"),
        "change": choice(query, "change", ChangeKind),
        "since": choice(query, "since", Span),
        "from": text(query, "from"),
        "to": text(query, "to"),
        "net": text(query, "net"),
        "at": text(query, "at"),
    }


def cursor(query: Mapping[str, str], name: str = "after") -> str | None:
    """Return the cursor of the page.

    Raises:
        HTTPException: It is too long.
    """
    value = query.get(name, "")
    if len(value) > CURSOR_LENGTH:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, f"{name}: this cursor is not valid; start from the first page"
        )
    return value or None


def page_number(query: Mapping[str, str]) -> int:
    """Return the number of the page, from 1.

    Raises:
        HTTPException: It is not the number of a page.
    """
    value = text(query, "page") or "1"
    if not (value.isascii() and value.isdigit() and 0 < len(value) <= 6 and int(value) > 0):  # noqa: PLR2004 - enough pages
        raise HTTPException(HTTPStatus.BAD_REQUEST, "page: must be 1 or more")
    return int(value)
