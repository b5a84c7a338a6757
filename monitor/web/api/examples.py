"""One answer to each question, as the OpenAPI shows it; typed, so that it cannot be out of date."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from monitor.drift.alert import (
    Action,
    AlertBody,
    AlertNumber,
    Kind,
    Notice,
    NumberAction,
    Severity,
    Status,
)
from monitor.drift.snapshot import ChangeKind
from monitor.errors import Outcome
from monitor.store.paging import cursor_of
from monitor.store.rows import ChangeRow, ConnectionRow, DeliveryRow, NumberRow, SyncStatus
from monitor.web.api.answers import (
    ConnectionDetail,
    ConnectionTotals,
    Listing,
    NumberTotals,
    StatusAnswer,
    detail_of,
)
from monitor.web.status import ReceiverStatus

_AT = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)
_KEY = "918011223344"
_LABEL = "Assign a bot to this number"


def examples() -> Mapping[str, object]:
    """Return an answer to each question, by the question's name."""
    return {
        "getStatus": _status(),
        "listConnections": Listing[ConnectionRow](items=[_connection()], next_cursor=cursor_of("acme-sales")),
        "getConnection": _detail(),
        "listNumbers": Listing[NumberRow](items=[_number()], next_cursor=cursor_of("acme-sales", _KEY)),
        "listChanges": Listing[ChangeRow](items=[_change()], next_cursor=cursor_of(1042)),
        "listAlerts": Listing[AlertBody](items=[_alert()], next_cursor=None),
        "listDeliveries": Listing[DeliveryRow](items=[_delivery()], next_cursor=None),
    }


def _status() -> StatusAnswer:
    return StatusAnswer(
        instance="prod",
        version="0.1.0",
        not_ready=None,
        store_ok=True,
        config_error=None,
        connections=ConnectionTotals(total=3, waiting=0, ok=2, held=0, failing=1, maintenance=0),
        numbers=NumberTotals(total=240, drifting=3, ignored=1),
        alerts_firing={Severity.INFO: 0, Severity.WARNING: 0, Severity.CRITICAL: 1},
        receivers=[ReceiverStatus(name="hook", pending=0, dead=0, failing_since=None, error=None)],
    )


def _connection() -> ConnectionRow:
    return ConnectionRow(
        name="acme-sales",
        account="acme",
        connection_id="9b7f1c44-c87f-4f0c-9124-3c802a9c1a20",
        status=SyncStatus.OK,
        numbers=120,
        drifting=3,
        ignored=0,
        states={"READY": 117, "NO_BOT": 3},
        drifting_states={"NO_BOT": 3},
        issues={"NO_BOT": 3},
        inventory={"clients": 4, "dids": 120, "bots": 6},
        warnings=0,
        skipped=0,
        outcome=Outcome.OK,
        consecutive_failures=0,
        held=0,
        held_reason=None,
        vanished=False,
        maintenance=False,
        watched_since=_AT - timedelta(days=30),
        last_sync=_AT,
        last_success=_AT,
        last_duration_s=0.412,
        next_sync=_AT + timedelta(minutes=1),
        error=None,
    )


def _detail() -> ConnectionDetail:
    return detail_of(_connection(), [_alert()])


def _number() -> NumberRow:
    return NumberRow(
        connection="acme-sales",
        account="acme",
        key=_KEY,
        phone_number=f"+{_KEY}",
        state="NO_BOT",
        drifting=True,
        issues=("NO_BOT",),
        action_items=({"code": "NO_BOT", "label": _LABEL},),
        did_id=812,
        client_id=415,
        bot_id=None,
        agent_id="agt_31",
    )


def _change() -> ChangeRow:
    return ChangeRow(
        id=1042,
        at=_AT,
        connection="acme-sales",
        account="acme",
        change=ChangeKind.APPEARED,
        key=_KEY,
        phone_number=f"+{_KEY}",
        state="NO_BOT",
        previous_state="READY",
        issues=["NO_BOT"],
        previous_issues=[],
        action_items=[{"code": "NO_BOT", "label": _LABEL}],
        did_id=812,
        client_id=415,
        sync_id="9b7f1c44-c87f-4f0c-9124-3c802a9c1a20/318",
    )


def _alert() -> AlertBody:
    return AlertBody(
        alert_id="5f0c2b7a9d1e",
        kind=Kind.DRIFT,
        change=Notice.OPENED,
        status=Status.FIRING,
        resolution=None,
        severity=Severity.CRITICAL,
        summary="acme-sales: 1 number NO_BOT",
        instance="prod",
        connection="acme-sales",
        account="acme",
        state="NO_BOT",
        started_at="2026-01-31T09:15:00.000Z",
        updated_at="2026-01-31T09:15:00.000Z",
        resolved_at=None,
        version=1,
        numbers_total=1,
        numbers_listed=1,
        numbers=[_alert_number()],
        numbers_added=1,
        numbers_ended=0,
        connections=["acme-sales"],
        common={"client_id": 415},
        actions=[Action(code="NO_BOT", label=_LABEL, numbers=1)],
        labels={"team": "voice"},
        url="https://monitor.example.com/alerts",
        runbook_url=None,
    )


def _alert_number() -> AlertNumber:
    return AlertNumber(
        key=_KEY,
        phone_number=f"+{_KEY}",
        state="NO_BOT",
        previous_state="READY",
        issues=["NO_BOT"],
        action_items=[NumberAction(code="NO_BOT", label=_LABEL)],
        did_id=812,
        client_id=415,
        since="2026-01-31T09:14:00.000Z",
        flaps=0,
    )


def _delivery() -> DeliveryRow:
    return DeliveryRow(
        id="d41c9f2e7b60",
        receiver="hook",
        alert_id="5f0c2b7a9d1e",
        change=Notice.OPENED,
        version=1,
        status="delivered",
        kind=Kind.DRIFT,
        connections=["acme-sales"],
        summary="acme-sales: 1 number NO_BOT",
        attempts=1,
        created_at=_AT,
        due_at=_AT,
        first_failed_at=None,
        finished_at=_AT + timedelta(seconds=1),
        answer=None,
    )
