"""The answers of the JSON API, and their encoding."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

import msgspec

from monitor.clock import rfc3339
from monitor.drift.alert import AlertBody, Kind, Severity
from monitor.store.availability import Availability, Span
from monitor.store.failures import FailingRow
from monitor.store.net import NetPage
from monitor.store.paging import Page
from monitor.store.reach import Reached
from monitor.store.requests import MAX_NOTE
from monitor.store.rows import ChangeRow, ConnectionRow, SyncStatus
from monitor.web.status import MonitorStatus, ReceiverStatus, ReplicaStatus, sync_status

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """One page. `next_cursor` is the `cursor` of the following one; null: there are no more."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """What there is to know of a net difference beside its rows.

    `returned` counts numbers that changed in between and are again as they were, of the connections that
    begin on this page: the sum over all pages is that of all. `notes` say which connections were not watched
    at one of the instants.
    """

    returned: int
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesListing(Listing[ChangeRow]):
    """One page of changes; `net` is null unless the net difference was asked for.

    A net change has the `id`, `at` and `sync_id` of the last change of its number in between.
    """

    net: Net | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTotals:
    """How many connections there are, and how their syncs go. `maintenance` counts open windows."""

    total: int
    waiting: int
    ok: int
    held: int
    failing: int
    maintenance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberTotals:
    """How many numbers the applied snapshots hold; `ignored` are drifting ones that rules keep silent."""

    total: int
    drifting: int
    ignored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAnswer:
    """The state of the whole monitor.

    `not_ready` says why the daemon is not doing its work, null if it is. While `store_ok` is false, the
    rest is what was known before. `config_error` says why the config on disk was rejected, if it was;
    `config_file_digest` is the SHA-256 of the file that is active, null without a file.
    `alerts_firing` counts by severity. `replicas` share a PostgreSQL database; on SQLite there are none.
    """

    instance: str
    version: str
    not_ready: str | None
    store_ok: bool
    config_error: str | None
    config_file_digest: str | None
    connections: ConnectionTotals
    numbers: NumberTotals
    alerts_firing: dict[Severity, int]
    receivers: list[ReceiverStatus]
    replicas: list[ReplicaStatus]


class FiringAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in short; `/api/v1/alerts` has all of it. `part_of` is the widespread alert it belongs to."""

    alert_id: str
    kind: str
    state: str | None
    severity: Severity
    summary: str
    started_at: str
    part_of: str | None


class EndedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that has ended, in short; `duration_s` is how long it fired."""

    alert_id: str
    kind: str
    state: str | None
    severity: Severity
    summary: str
    started_at: str
    resolved_at: str
    duration_s: float
    resolution: str
    part_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDetail:
    """One connection: its firing alerts, those that ended last, its failures, and how available it was.

    `failing` is how it stands in alerts about failures, `ended_alerts` are those of 30 days, newest first.
    `availability` is by span: over 24 hours, 7 days and 30 days.
    """

    connection: ConnectionRow
    alerts: list[FiringAlert]
    ended_alerts: list[EndedAlert]
    failing: list[FailingRow]
    availability: dict[Span, Availability]


class AlertDetail(AlertBody, frozen=True, kw_only=True):
    """An alert as it is now, what each receiver knows of it, and why it paged or did not, in sentences."""

    receivers: list[Reached]
    explanation: list[str]


class AcknowledgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user says about the alert."""

    note: Annotated[str, msgspec.Meta(max_length=MAX_NOTE)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncStarted:
    """A sync of this connection has begun; the connection itself says how it went."""

    connection: str


def status_of(status: MonitorStatus, not_ready: str | None) -> StatusAnswer:
    """Return the state of the monitor in numbers."""
    views = status.connections
    counts = [view.counts for view in views if view.counts is not None]
    syncs = [sync_status(view) for view in views]
    return StatusAnswer(
        instance=status.instance,
        version=status.version,
        not_ready=not_ready,
        store_ok=status.store_ok,
        config_error=status.config_error,
        config_file_digest=status.config_file_digest,
        connections=ConnectionTotals(
            total=len(views),
            waiting=syncs.count(SyncStatus.WAITING),
            ok=syncs.count(SyncStatus.OK),
            held=syncs.count(SyncStatus.HELD),
            failing=syncs.count(SyncStatus.FAILING),
            maintenance=sum(view.maintenance for view in views),
        ),
        numbers=NumberTotals(
            total=sum(each.total for each in counts),
            drifting=sum(each.total_drifting for each in counts),
            ignored=sum(each.total_ignored for each in counts),
        ),
        alerts_firing={severity: status.firing.counts.get(severity, 0) for severity in Severity},
        receivers=list(status.receivers),
        replicas=list(status.replicas),
    )


def detail_of(
    row: ConnectionRow,
    alerts: Sequence[AlertBody],
    ended: Sequence[AlertBody],
    failing: Sequence[FailingRow],
    availability: dict[Span, Availability],
) -> ConnectionDetail:
    """Return a connection with its alerts in short."""
    return ConnectionDetail(
        connection=row,
        alerts=msgspec.convert(alerts, list[FiringAlert], from_attributes=True),
        ended_alerts=msgspec.convert(ended, list[EndedAlert], from_attributes=True),
        failing=failing_of(row.name, failing),
        availability=availability,
    )


def failing_of(name: str, failing: Sequence[FailingRow]) -> list[FailingRow]:
    """Return how a connection stands in failure alerts."""
    return [each for each in failing if each.name == name and each.kind is not Kind.RECEIVER_FAILING]


def listing_of(page: Page[T]) -> Listing[T]:
    """Return a page as the API shows it."""
    return Listing(items=page.rows, next_cursor=page.next)


def changes_of(page: Page[ChangeRow]) -> ChangesListing:
    """Return a page of changes, net or not."""
    net = Net(returned=page.returned, notes=page.notes) if isinstance(page, NetPage) else None
    return ChangesListing(items=page.rows, next_cursor=page.next, net=net)


def encode(value: object) -> bytes:
    """Return an answer as JSON; instants as the log and the alert body write them."""
    return msgspec.json.encode(_plain(value))


def _plain(value: Any) -> Any:
    """Return a value with its instants as text."""
    match value:
        case AlertDetail():
            receivers = [_plain(each) for each in value.receivers]
            return msgspec.structs.asdict(value) | {"receivers": receivers}
        case datetime():
            return rfc3339(value)
        # What holds no instants stays as it is: msgspec writes it ten times faster than this takes it apart.
        case [first, *_] if _holds_instants(first):
            return [_plain(item) for item in value]
        case dict() if _holds_instants(next(iter(value.values()), None)):
            return {name: _plain(item) for name, item in value.items()}
        case _ if is_dataclass(value) or _holds_instants(value):
            names = getattr(value, "__struct_fields__", None) or [field.name for field in fields(value)]
            return {name: _plain(getattr(value, name)) for name in names}
        case _:
            return value


def _holds_instants(row: Any) -> bool:
    kind: type[Any] = type(row)
    return (is_dataclass(kind) or issubclass(kind, msgspec.Struct)) and _has_instants(kind)


@functools.cache
def _has_instants(kind: type[Any]) -> bool:
    hints = get_type_hints(kind).values()
    return any(hint is datetime or datetime in get_args(hint) for hint in hints)
