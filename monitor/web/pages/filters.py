"""What a page is asked to show: the parameters behind the `?` of its address."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import TypeVar

from starlette.exceptions import HTTPException

from monitor.drift.snapshot import ChangeKind

_LONGEST = 200
_LONGEST_CURSOR = 2_000

SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""How far back the timeline can be asked to go."""

E = TypeVar("E", bound=StrEnum)


class Show(StrEnum):
    """Which numbers of a connection a page lists."""

    TROUBLE = "trouble"
    IGNORED = "ignored"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFilter:
    """Which changes; None: all of them."""

    connection: str | None
    state: str | None
    change: ChangeKind | None
    span: str | None

    def since(self, now: datetime) -> datetime | None:
        """Return the instant before which changes are left out."""
        return now - SPANS[self.span] if self.span else None


def change_filter(query: Mapping[str, str]) -> ChangeFilter:
    """Return which changes are asked for.

    Raises:
        HTTPException: A parameter cannot be read.
    """
    span = text(query, "since")
    if span is not None and span not in SPANS:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"since: one of {', '.join(SPANS)}")
    return ChangeFilter(
        connection=text(query, "connection"),
        state=text(query, "state"),
        change=choice(query, "change", ChangeKind),
        span=span,
    )


def text(query: Mapping[str, str], name: str) -> str | None:
    """Return a parameter, None if it is empty: a form sends its empty fields too.

    Raises:
        HTTPException: It is too long, or no text.
    """
    value = query.get(name, "").strip()
    if len(value) > _LONGEST or any(not each.isprintable() for each in value):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: text of at most {_LONGEST} characters")
    return value or None


def choice(query: Mapping[str, str], name: str, kind: type[E]) -> E | None:
    """Return a parameter that is one of a few words.

    Raises:
        HTTPException: It is another.
    """
    value = text(query, name)
    try:
        return kind(value) if value else None
    except ValueError:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: one of {', '.join(kind)}") from None


def cursor(query: Mapping[str, str], name: str = "after") -> str | None:
    """Return where the page before ended.

    Raises:
        HTTPException: It is too long.
    """
    value = query.get(name, "")
    if len(value) > _LONGEST_CURSOR:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name}: no page ends there")
    return value or None


def page_number(query: Mapping[str, str]) -> int:
    """Return which page is asked for, from 1.

    Raises:
        HTTPException: It is no number of a page.
    """
    value = text(query, "page") or "1"
    if not (value.isascii() and value.isdigit() and 0 < len(value) <= 6 and int(value) > 0):  # noqa: PLR2004 - enough pages
        raise HTTPException(HTTPStatus.BAD_REQUEST, "page: a number from 1")
    return int(value)
