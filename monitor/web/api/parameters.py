"""The parameters of the JSON API, which FastAPI checks and describes."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

from monitor.drift.alert import Kind, Severity, Status
from monitor.drift.snapshot import ChangeKind
from monitor.errors import Refused
from monitor.store.actions import Action
from monitor.store.history import period
from monitor.store.paging import CURSOR_LENGTH
from monitor.store.rows import SyncStatus
from monitor.store.tables import CLOSED, DEAD, DELIVERED, PENDING
from monitor.units import parse_since
from monitor.web.replays import SINCE

_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]+$"
"""No name has any, and a database need not take them."""


class DeliveryStatus(StrEnum):
    """What becomes of a delivery; `closed`: there is no need to send it any more."""

    PENDING = PENDING
    DELIVERED = DELIVERED
    DEAD = DEAD
    CLOSED = CLOSED


def _digits(text: str) -> str:
    if not re.fullmatch("0|[1-9][0-9]*", text):
        raise ValueError("should be a valid integer, in digits")
    return text


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("should be true or false")
    return text == "true"


def _instant(text: str) -> datetime:
    try:
        at: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
        return at.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as exc:
        example = "2026-01-31T09:15:00Z (a + is written %2B)"
        raise ValueError(f"should be an instant with its offset, like {example}") from exc


# A parameter can be left out, but not written as null: the OpenAPI does not mention it.
_Absent = SkipJsonSchema[None]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_CONTROL_CHARACTERS)]


class Format(StrEnum):
    """How a list is answered: a page of it as JSON, or all of it as a file of CSV."""

    JSON = "json"
    CSV = "csv"


Text = _Text | _Absent
Limit = Annotated[int, BeforeValidator(_digits)]
Flag = Annotated[bool, BeforeValidator(_flag)] | _Absent
Instant = Annotated[datetime, BeforeValidator(_instant)] | _Absent
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=CURSOR_LENGTH)] | _Absent

ConnectionName = Annotated[_Text, Path(description="The connection's name.", examples=["acme-sales"])]
AlertId = Annotated[
    _Text,
    Path(
        description="The alert's id, or the beginning of it, if no other one begins so.",
        examples=["5f0c2b7a"],
    ),
]
ReceiverName = Annotated[_Text, Path(description="The receiver's name.", examples=["hook"])]
NumberText = Annotated[
    _Text,
    Path(
        description="The phone number in any form, or its last digits, if no other number ends with them.",
        examples=["918011223344"],
    ),
]
SilenceId = Annotated[_Text, Path(description="The id of the silence.", examples=["606e12f8fe"])]
_GLOB = "Only connections whose name matches this glob (`*`, `?`, `[…]`)."
_LIMIT = "Maximum number of items on a page."
_CURSOR = "The `next_cursor` of the page before; filters stay the same from page to page."
_SINCE = "Only {what} then or later: RFC 3339 with an offset (a `+` is written `%2B`)."
_AN_INSTANT = "2026-01-31T09:15:00Z"


AsFormat = Annotated[
    Format,
    Field(description="`csv`: all rows as one file (with `limit`: at most that many), RFC 4180, UTF-8."),
]


class Parameters(BaseModel):
    """A question without parameters, and the base of those that have some.

    Those of lists are named like the parameters of the store's queries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def filters(self) -> dict[str, Any]:
        """Return what was given."""
        return self.model_dump(exclude_none=True, exclude={"format"})


Nothing = Annotated[Parameters, Query()]


class ListParameters(Parameters):
    """What every list about connections can be asked."""

    connection: Text = Field(None, description=_GLOB, examples=["acme-*"])
    limit: Limit = Field(100, ge=1, le=1000, description=_LIMIT)
    after: Cursor = Field(None, alias="cursor", description=_CURSOR)


class ActionsParameters(Parameters):
    """Which actions."""

    limit: Limit = Field(100, ge=1, le=1000, description=_LIMIT)
    after: Cursor = Field(None, alias="cursor", description=_CURSOR)
    action: Action | _Absent = Field(None, description="Only actions of this kind.")
    user: Text = Field(None, description="Only actions of this user.", examples=["ops"])
    since: Instant = Field(None, description=_SINCE.format(what="what was done"), examples=[_AN_INSTANT])


class SilencesParameters(Parameters):
    """Which silences."""

    limit: Limit = Field(100, ge=1, le=1000, description=_LIMIT)
    after: Cursor = Field(None, alias="cursor", description=_CURSOR)
    ended: Flag = Field(None, alias="all", description="Also silences that have ended.")


class ConnectionsParameters(ListParameters):
    """Which connections."""

    account: Text = Field(None, description="Only connections of this account.", examples=["acme"])
    status: SyncStatus | _Absent = Field(None, description="Only connections with this sync status.")


class NumbersParameters(ListParameters):
    """Which numbers."""

    state: Text = Field(None, description="Only this state or issue code, in any case.", examples=["NO_BOT"])
    drifting: Flag = Field(None, description="Only drifting numbers, or only ready ones.")
    number: Text = Field(
        None,
        description="Only numbers that match this glob, with or without `+`, spaces and dashes.",
        examples=["9180*"],
    )
    format: AsFormat = Format.JSON


class ChangesParameters(ListParameters):
    """Which changes."""

    state: Text = Field(
        None, description="Only changes from or to this state or issue code.", examples=["NO_BOT"]
    )
    change: ChangeKind | _Absent = Field(None, description="Only changes of this kind.")
    since: Instant = Field(None, description=_SINCE.format(what="what was found"), examples=[_AN_INSTANT])
    start: Instant = Field(
        None,
        alias="from",
        description="Like `since`, to go with `to`; of both, the later counts.",
        examples=[_AN_INSTANT],
    )
    until: Instant = Field(
        None, alias="to", description="Only what was found then or earlier.", examples=[_AN_INSTANT]
    )
    net: Flag = Field(
        None,
        description="Each number once at most, by connection: how it was at `from`, and how it is at `to`, or"
        " now. What was not watched at `from` is compared with its first answer. A page may hold fewer than"
        " `limit`.",
    )
    format: AsFormat = Format.JSON

    def filters(self) -> dict[str, Any]:
        """Return what was given, but for `net`.

        Raises:
            Refused: The end is before the beginning, or the net difference has no beginning.
        """
        given = super().filters()
        if given.pop("net", False) and not given.keys() & {"since", "start"}:
            raise Refused("net needs from, the instant to compare with")
        bounds = {name: given.pop(name) for name in ("since", "start", "until") if name in given}
        return given | period(**bounds)


class AlertsParameters(ListParameters):
    """Which alerts; they are large, so that a page holds fewer."""

    limit: Limit = Field(50, ge=1, le=200, description=_LIMIT)
    state: Text = Field(None, description="Only alerts of this state, in any case.", examples=["NO_BOT"])
    kind: Kind | _Absent = Field(None, description="Only alerts of this kind.")
    status: Status | _Absent = Field(None, description="Only firing alerts, or only resolved ones.")
    severity: Severity | _Absent = Field(None, description="Only alerts of this severity.")
    widespread: Flag = Field(None, description="Only widespread alerts, or only the others.")
    part_of: Text = Field(None, description="Only the parts of the widespread alert with this id.")
    since: Instant = Field(None, description=_SINCE.format(what="what was firing"), examples=[_AN_INSTANT])
    format: AsFormat = Format.JSON


def _since(text: str) -> str:
    parse_since(text, datetime(2026, 1, 1, tzinfo=UTC))
    return text


class ReplayParameters(Parameters):
    """Which part of the history."""

    since: Annotated[
        str,
        AfterValidator(_since),
        StringConstraints(max_length=50),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": "^[1-9][0-9]{0,3}[smhd]$"},
                    {"type": "string", "format": "date-time"},
                ]
            }
        ),
    ] = Field(
        SINCE,
        description="A duration like `7d` or `12h`, or an instant: RFC 3339 with an offset.",
        examples=[SINCE],
    )
    connection: Text = Field(None, description=_GLOB, examples=["acme-*"])


_IN_PLACE = "Replays by the active config, with this in place of its `{key}`."


def _rule(key: str, example: str) -> Any:
    return Field(None, alias=key, description=_IN_PLACE.format(key=key), examples=[example])


class RuleParameters(ReplayParameters):
    """Also by which rules; the aliases are `RULES`."""

    confirm_syncs: Text = _rule("drift.confirm_syncs", "3")
    resolve_syncs: Text = _rule("drift.resolve_syncs", "2")
    keep_firing_for: Text = _rule("drift.keep_firing_for", "10m")
    failing_after: Text = _rule("drift.failing_after", "3")
    stale_after: Text = _rule("drift.stale_after", "15m")
    update_interval: Text = _rule("alerts.update_interval", "10m")
    widespread_connections: Text = _rule("alerts.widespread_connections", "5")

    def rules(self) -> dict[str, str]:
        """Return the rules that were given, by key."""
        return self.model_dump(
            exclude_none=True,
            by_alias=True,
            include=set(RuleParameters.model_fields) - set(ReplayParameters.model_fields),
        )


class DeliveriesParameters(ListParameters):
    """Which deliveries."""

    receiver: Text = Field(None, description="Only deliveries to this receiver.", examples=["hook"])
    status: DeliveryStatus | _Absent = Field(None, description="Only deliveries of this status.")
    alert_id: Text = Field(None, description="Only messages about this alert.", examples=["5f0c2b7a"])
    since: Instant = Field(None, description=_SINCE.format(what="what was queued"), examples=[_AN_INSTANT])


ExportParameters = NumbersParameters | ChangesParameters | AlertsParameters
"""Of the lists that are also to be had as files."""
