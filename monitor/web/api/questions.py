"""What can be asked: the parameters of each question, and how a request becomes one.

The types here are what is checked, and what the OpenAPI says.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from monitor.drift.alert import Kind, Severity, Status
from monitor.drift.snapshot import ChangeKind
from monitor.store.outbox import CLOSED, DEAD, DELIVERED, PENDING
from monitor.store.paging import CURSOR_LENGTH
from monitor.store.rows import SyncStatus
from monitor.web.problems import BadRequest

# No control characters: no name has any, and a database need not take them.
_TEXT = r"^[^\x00-\x1f\x7f]+$"


def _text(description: str, example: str) -> Meta:
    return Meta(min_length=1, max_length=200, pattern=_TEXT, description=description, examples=[example])


class DeliveryStatus(StrEnum):
    """What becomes of a delivery; `closed`: its receiver is no longer configured."""

    PENDING = PENDING
    DELIVERED = DELIVERED
    DEAD = DEAD
    CLOSED = CLOSED


ConnectionGlob = Annotated[
    str, _text("Only connections whose name matches this glob (`*`, `?`, `[…]`).", "acme-*")
]
State = Annotated[str, _text("Only this state or issue code, in any case.", "NO_BOT")]
Limit = Annotated[int, Meta(ge=1, le=1000, description="Items of a page, at the most.")]
AlertLimit = Annotated[int, Meta(ge=1, le=200, description="Items of a page, at the most.")]
Cursor = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=CURSOR_LENGTH,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The `next_cursor` of the page before; filters stay the same from page to page.",
    ),
]


def _since(what: str) -> Meta:
    return Meta(
        tz=True,
        description=f"Only {what} then or later: RFC 3339, with its offset (a `+` is written `%2B`).",
        examples=["2026-01-31T09:15:00Z"],
    )


class StatusQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class ConnectionQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which connection."""

    name: Annotated[str, _text("The connection's name.", "acme-sales")]


class ConnectionsQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which connections."""

    connection: ConnectionGlob | UnsetType = UNSET
    account: Annotated[str, _text("Only connections of this account.", "acme")] | UnsetType = UNSET
    status: Annotated[SyncStatus, Meta(description="Only those whose syncs go so.")] | UnsetType = UNSET
    limit: Limit = 100
    cursor: Cursor | UnsetType = UNSET


class NumbersQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which numbers."""

    connection: ConnectionGlob | UnsetType = UNSET
    state: State | UnsetType = UNSET
    drifting: Annotated[bool, Meta(description="Only drifting, or only ready ones.")] | UnsetType = UNSET
    limit: Limit = 100
    cursor: Cursor | UnsetType = UNSET


class ChangesQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which changes."""

    connection: ConnectionGlob | UnsetType = UNSET
    state: (
        Annotated[str, _text("Only those that had or got this state or issue code.", "NO_BOT")] | UnsetType
    ) = UNSET
    change: Annotated[ChangeKind, Meta(description="Only changes of this kind.")] | UnsetType = UNSET
    since: Annotated[datetime, _since("what was found")] | UnsetType = UNSET
    limit: Limit = 100
    cursor: Cursor | UnsetType = UNSET


class AlertsQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alerts."""

    connection: ConnectionGlob | UnsetType = UNSET
    state: Annotated[str, _text("Only those of this state, in any case.", "NO_BOT")] | UnsetType = UNSET
    kind: Annotated[Kind, Meta(description="Only alerts of this kind.")] | UnsetType = UNSET
    status: Annotated[Status, Meta(description="Only firing, or only resolved ones.")] | UnsetType = UNSET
    severity: Annotated[Severity, Meta(description="Only those of this severity.")] | UnsetType = UNSET
    since: Annotated[datetime, _since("what was firing")] | UnsetType = UNSET
    limit: AlertLimit = 50
    cursor: Cursor | UnsetType = UNSET


class DeliveriesQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries."""

    connection: ConnectionGlob | UnsetType = UNSET
    receiver: Annotated[str, _text("Only those to this receiver.", "hook")] | UnsetType = UNSET
    status: Annotated[DeliveryStatus, Meta(description="Only those of this status.")] | UnsetType = UNSET
    alert_id: Annotated[str, _text("Only messages about this alert.", "5f0c2b7a")] | UnsetType = UNSET
    since: Annotated[datetime, _since("what was queued")] | UnsetType = UNSET
    limit: Limit = 100
    cursor: Cursor | UnsetType = UNSET


Q = TypeVar("Q", bound=msgspec.Struct)

_SHOWN = 50
"""Characters of a name that is not ours, in an answer."""


def read(question: type[Q], query: Iterable[tuple[str, str]], path: Mapping[str, str]) -> Q:
    """Return what a request asks.

    Args:
        question: Its type.
        query: The parameters behind the `?`, as they were given.
        path: Those in the path.

    Raises:
        BadRequest: A parameter is unknown, given twice, or cannot be read.
    """
    types = get_type_hints(question, include_extras=True)
    known = [name for name in types if name not in path]
    given = dict(path)
    for name, value in query:
        if name not in known:
            raise BadRequest(_unknown(name[:_SHOWN], known), parameter=name[:_SHOWN])
        if name in given:
            raise BadRequest(f"{name}: given more than once", parameter=name)
        given[name] = value
    return question(**{name: _value(name, value, types[name]) for name, value in given.items()})


def _value(name: str, text: str, kind: Any) -> Any:
    """Return a parameter's value; only the one way to write it that the OpenAPI describes."""
    value: Any = text
    if name == "limit" and text.isascii() and text.isdigit() and not text.startswith("0"):
        value = int(text[:10])
    elif name == "drifting":
        value = {"true": True, "false": False}.get(text, text)
    try:
        value = msgspec.convert(value, kind)
        return value.astimezone(UTC) if isinstance(value, datetime) else value
    except (msgspec.ValidationError, OverflowError) as exc:
        raise BadRequest(f"{name}: {_expected(name, kind)}", parameter=name) from exc


def _unknown(name: str, known: Sequence[str]) -> str:
    if not known:
        return f"unknown parameter {name!r}: there are none here"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return f"unknown parameter {name!r}: {hint}"


def _expected(name: str, kind: Any) -> str:
    """Return what a value should have been."""
    [schema], kinds = msgspec.json.schema_components([kind])
    choices = schema.get("enum") or next((each["enum"] for each in kinds.values() if "enum" in each), None)
    if choices:
        return f"one of {', '.join(choices)}"
    match name:
        case "limit":
            return f"a whole number from {schema['minimum']} to {schema['maximum']}"
        case "since":
            return "an instant with its offset, like 2026-01-31T09:15:00Z (a + is written %2B)"
        case "drifting":
            return "true or false"
        case "cursor":
            return "the next_cursor of the page before"
        case _:
            return f"text of 1 to {schema['maxLength']} characters, none of them a control character"
