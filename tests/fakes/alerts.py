"""Alert bodies and deliveries to tell receivers about."""

from collections import Counter
from datetime import UTC, datetime

import msgspec

from monitor.drift.alert import (
    Action,
    AlertBody,
    AlertNumber,
    Kind,
    Notice,
    NumberAction,
    Severity,
    Status,
    encode_body,
)
from monitor.notify.delivery import Delivery
from monitor.store.alert_lists import Firing

AT = "2026-03-01T12:00:00.000Z"

NUMBER = AlertNumber(
    key="918011223344",
    phone_number="+918011223344",
    state="NO_BOT",
    previous_state="READY",
    issues=["NO_BOT"],
    action_items=[NumberAction(code="NO_BOT", label="Assign a bot")],
    did_id=812,
    client_id=415,
    since=AT,
    flaps=0,
)

BODY = AlertBody(
    alert_id="a1",
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
    started_at=AT,
    updated_at=AT,
    resolved_at=None,
    version=1,
    numbers_total=1,
    numbers_listed=1,
    numbers=[NUMBER],
    numbers_added=1,
    numbers_ended=0,
    connections=["acme-sales"],
    common={"client_id": 415},
    common_names={},
    changes_total=0,
    changes=[],
    first_step="Assign a bot.",
    widespread=False,
    part_of=None,
    acknowledged=None,
    acknowledgement_ended=None,
    actions=[Action(code="NO_BOT", label="Assign a bot", numbers=1)],
    labels={"team": "voice"},
    url="https://monitor.example.com/alerts",
    runbook_url=None,
)


def delivery_of(body: AlertBody = BODY, *, id: str = "d1", receiver: str = "hook") -> Delivery:  # noqa: A002 - the field's name
    """Return the first try of a message that tells a body."""
    return Delivery(
        id=id,
        receiver=receiver,
        alert_id=body.alert_id,
        change=body.change,
        body=encode_body(body),
        attempts=0,
        created_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        first_failed_at=None,
        superseded=False,
    )


def resolved(body: AlertBody = BODY) -> AlertBody:
    """Return how a body tells its end."""
    return msgspec.structs.replace(body, change=Notice.RESOLVED, status=Status.RESOLVED, resolved_at=AT)


def all_firing(*bodies: AlertBody) -> Firing:
    """Return what the store says of these alerts if they fire."""
    by_rank = sorted(bodies, key=lambda body: body.severity.rank)
    severities = {name: body.severity for body in by_rank for name in body.connections}
    return Firing(counts=Counter(body.severity for body in bodies), worst=bodies, severities=severities)
