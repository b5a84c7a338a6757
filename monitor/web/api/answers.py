"""What the JSON API answers with, and how that becomes JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, get_args

import msgspec

from monitor.clock import rfc3339
from monitor.drift.alert import AlertBody, Severity
from monitor.store.paging import Page
from monitor.store.rows import ConnectionRow, SyncStatus
from monitor.web.status import MonitorStatus, ReceiverStatus

T = TypeVar("T")


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page. `next_cursor` is the `cursor` of the following one; null: there are no more."""

    items: list[T]
    next_cursor: str | None


class ConnectionTotals(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections there are, and how their syncs go. `maintenance` counts open windows."""

    total: int
    waiting: int
    ok: int
    held: int
    failing: int
    maintenance: int


class NumberTotals(msgspec.Struct, frozen=True, kw_only=True):
    """How many numbers the applied snapshots hold; `ignored` are drifting ones that rules keep silent."""

    total: int
    drifting: int
    ignored: int


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the whole monitor.

    `not_ready` says why the daemon does not do its work, null if it does. While `store_ok` is false, the rest
    is what was known before. `config_error` says why the config on disk was refused, if it was.
    `alerts_firing` counts by severity.
    """

    instance: str
    version: str
    not_ready: str | None
    store_ok: bool
    config_error: str | None
    connections: ConnectionTotals
    numbers: NumberTotals
    alerts_firing: dict[Severity, int]
    receivers: list[ReceiverStatus]


class FiringAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in short; `/api/v1/alerts` has all of it."""

    alert_id: str
    kind: str
    state: str | None
    severity: Severity
    summary: str
    started_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDetail:
    """One connection, with the alerts about it that are firing."""

    connection: ConnectionRow
    alerts: list[FiringAlert]


class SyncStarted(msgspec.Struct, frozen=True):
    """A sync of this connection has begun; the connection itself says how it went."""

    connection: str


def status_of(status: MonitorStatus, not_ready: str | None) -> StatusAnswer:
    """Return the state of the monitor in numbers."""
    views = status.connections
    counts = [view.counts for view in views if view.counts is not None]
    syncs = [_sync_status(view.up, view.consecutive_failures, held=view.held) for view in views]
    severities = [alert.severity for alert in status.alerts]
    return StatusAnswer(
        instance=status.instance,
        version=status.version,
        not_ready=not_ready,
        store_ok=status.store_ok,
        config_error=status.config_error,
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
            ignored=sum(each.ignored for each in counts),
        ),
        alerts_firing={severity: severities.count(severity) for severity in Severity},
        receivers=list(status.receivers),
    )


def _sync_status(up: bool | None, failures: int, *, held: bool) -> SyncStatus:
    if up is None:
        return SyncStatus.WAITING
    if failures:
        return SyncStatus.FAILING
    return SyncStatus.HELD if held else SyncStatus.OK


def detail_of(row: ConnectionRow, alerts: Sequence[AlertBody]) -> ConnectionDetail:
    """Return a connection with its alerts in short."""
    return ConnectionDetail(
        connection=row,
        alerts=[
            FiringAlert(
                alert_id=body.alert_id,
                kind=body.kind,
                state=body.state,
                severity=body.severity,
                summary=body.summary,
                started_at=body.started_at,
            )
            for body in alerts
        ],
    )


def listing_of(page: Page[T]) -> Listing[T]:
    """Return a page as the API shows it."""
    return Listing(items=page.rows, next_cursor=page.next)


def encode(value: object) -> bytes:
    """Return an answer as JSON; instants as the log and the alert body write them."""
    return msgspec.json.encode(_plain(value))


def _holds_instants(row: Any) -> bool:
    """Return whether rows of this type have instants of their own."""
    types = [field.type for field in fields(row)] if is_dataclass(row) else []
    return any(kind is datetime or datetime in get_args(kind) for kind in types)


def _plain(value: Any) -> Any:
    """Return what holds no instant as it is: msgspec writes that ten times faster than we take it apart."""
    match value:
        case datetime():
            return rfc3339(value)
        case Listing(items=[first, *_]) if _holds_instants(first):
            return {"items": [_plain(item) for item in value.items], "next_cursor": value.next_cursor}
        case StatusAnswer():
            shown = {name: getattr(value, name) for name in value.__struct_fields__}
            return shown | {"receivers": [_plain(each) for each in value.receivers]}
        case msgspec.Struct():
            return value
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value
