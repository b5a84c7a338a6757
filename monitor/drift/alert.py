"""Defines the alert body: one shape for the log, the webhook, the page and the API.

The order of the fields is their order on the wire.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from monitor.drift.snapshot import ChangeKind


class Kind(StrEnum):
    """What an alert is about; also the `kind` label."""

    DRIFT = "drift"
    NUMBER_REMOVED = "number_removed"
    RECONFIGURED = "reconfigured"
    API_UNAVAILABLE = "api_unavailable"
    ACCOUNT_REJECTED = "account_rejected"
    CONNECTION_REJECTED = "connection_rejected"
    ANSWER_UNREADABLE = "answer_unreadable"
    SYNC_STALE = "sync_stale"
    RECEIVER_FAILING = "receiver_failing"
    TEST = "test"

    @property
    def about_numbers(self) -> bool:
        """Whether its members are numbers; else they are connections or receivers."""
        return self in (Kind.DRIFT, Kind.NUMBER_REMOVED, Kind.RECONFIGURED)


GONE = "gone"
"""The state of a number that the inventory no longer holds; the provider's own are in capitals."""


class Notice(StrEnum):
    """Why a message is sent: the `change` of an alert body."""

    OPENED = "opened"
    UPDATED = "updated"
    RESOLVED = "resolved"
    REMINDER = "reminder"
    ACKNOWLEDGED = "acknowledged"


class Status(StrEnum):
    """Whether an alert is still open."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How bad, least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Resolution(StrEnum):
    """How an episode or an alert ended."""

    RECOVERED = "recovered"
    REMOVED = "removed"
    ACCEPTED = "accepted"
    IGNORED = "ignored"
    SILENCED = "silenced"
    UNCONFIGURED = "unconfigured"
    MIXED = "mixed"


class NumberAction(msgspec.Struct, frozen=True):
    """What to do about one issue of a number."""

    code: str
    label: str


class AlertNumber(msgspec.Struct, frozen=True):
    """One number in an alert body. `since` is RFC 3339 UTC: when a sync first saw it this way."""

    key: str
    phone_number: str
    state: str
    previous_state: str | None
    issues: list[str]
    action_items: list[NumberAction]
    did_id: int | str | None
    client_id: int | str | None
    since: str
    flaps: int


class Action(msgspec.Struct, frozen=True):
    """One thing to do, and for how many of the alert's numbers."""

    code: str
    label: str
    numbers: int


class AlertChange(msgspec.Struct, frozen=True, kw_only=True):
    """One move of a number in an alert since the previous message.

    `state` is null for a number that is gone, `previous_state` for one that is new. `was` and `is_` (`is` on
    the wire) hold what the number depended on and depends on now, and only what differs.
    """

    key: str
    phone_number: str
    change: ChangeKind
    previous_state: str | None
    state: str | None
    previous_issues: list[str]
    issues: list[str]
    was: dict[str, bool | int | str | None]
    is_: dict[str, bool | int | str | None] = msgspec.field(name="is")


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Who took on a firing alert, None if no one had to say it. `at` is RFC 3339 UTC."""

    by: str | None
    at: str
    note: str | None


class AlertBody(msgspec.Struct, frozen=True, kw_only=True):
    """The alert body of the contract. Instants are RFC 3339 UTC strings with a `Z`.

    `acknowledgement_ended` is the acknowledgement that a rise of the severity ended since the last message.
    """

    alert_id: str
    kind: Kind
    change: Notice
    status: Status
    resolution: Resolution | None
    severity: Severity
    summary: str
    instance: str
    connection: str | None
    account: str | None
    state: str | None
    started_at: str
    updated_at: str
    resolved_at: str | None
    version: int
    numbers_total: int
    numbers_listed: int
    numbers: list[AlertNumber]
    numbers_added: int
    numbers_ended: int
    connections: list[str]
    common: dict[str, int | str]
    common_names: dict[str, str]
    changes_total: int
    changes: list[AlertChange]
    first_step: str
    widespread: bool
    part_of: str | None
    acknowledged: Acknowledgement | None
    acknowledgement_ended: Acknowledgement | None
    actions: list[Action]
    labels: dict[str, str]
    url: str | None
    runbook_url: str | None

    @property
    def duration_s(self) -> float | None:
        """How long it fired, in seconds; None while it does."""
        if self.resolved_at is None:
            return None
        length = datetime.fromisoformat(self.resolved_at) - datetime.fromisoformat(self.started_at)
        return length.total_seconds()


def encode_body(body: AlertBody) -> bytes:
    """Return the body as JSON, UTF-8."""
    return msgspec.json.encode(body)


def decode_body(raw: bytes) -> AlertBody:
    """Return the body that `encode_body` wrote."""
    return msgspec.json.decode(raw, type=AlertBody)


def merged(newer: AlertBody, older: AlertBody, *, most: int = 50) -> AlertBody:
    """Return the newer message with what an older one, which nobody got, would have said had moved.

    Args:
        newer: The message to send.
        older: The message about the same alert that it replaces.
        most: How many changes it lists at most; `changes_total` counts all.
    """
    return msgspec.structs.replace(
        newer,
        numbers_added=newer.numbers_added + older.numbers_added,
        numbers_ended=newer.numbers_ended + older.numbers_ended,
        changes_total=newer.changes_total + older.changes_total,
        changes=[*newer.changes, *older.changes][:most],
        acknowledgement_ended=newer.acknowledgement_ended
        or (older.acknowledgement_ended if newer.acknowledged is None else None),
    )


def without_news(body: AlertBody) -> AlertBody:
    """Return what is so now; what moved since the last message is told by updates alone."""
    return msgspec.structs.replace(
        body, changes=[], changes_total=0, numbers_added=0, numbers_ended=0, acknowledgement_ended=None
    )


def with_acknowledgement(body: AlertBody, known: Acknowledgement | None, before: Severity) -> AlertBody:
    """Return a body that says who has taken its alert on. An acknowledgement ends when the severity rises.

    Args:
        body: The alert after a step.
        known: Its acknowledgement before that.
        before: Its severity before that.
    """
    if known is None:
        return body
    if body.severity.rank > before.rank:
        return msgspec.structs.replace(body, acknowledged=None, acknowledgement_ended=known)
    return msgspec.structs.replace(body, acknowledged=known, updated_at=max(body.updated_at, known.at))
