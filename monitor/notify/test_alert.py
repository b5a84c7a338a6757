"""A test alert: fired and resolved, rendered and posted like a real one, whatever the receiver's filters."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from monitor.drift.alert import AlertBody, Kind, Notice, Resolution, Severity, encode_body
from monitor.drift.alerts import Alert, Report, new_id
from monitor.drift.episodes import Ended, Track
from monitor.drift.text import Wording, body
from monitor.errors import DeliveryError, OutOfResources, Refusal
from monitor.notify.alertmanager import AlertmanagerReceiver
from monitor.notify.delivery import Delivery, Receiver

Send = Callable[[], Awaitable[str | None]]
"""Sends one message, and returns the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverTest:
    """How one receiver took the test alert. `answers` are what it said, in order; `error` why it did not."""

    receiver: str
    delivered: bool
    answers: tuple[str, ...]
    error: str | None


async def send_test_alert(
    receiver: Receiver | AlertmanagerReceiver, wording: Wording, now: datetime
) -> ReceiverTest:
    """Send a test alert to a receiver; return how it took it, and what it answered.

    Args:
        receiver: Any receiver.
        wording: What the config adds to every alert.
        now: The current instant.
    """
    bodies = _opened_and_resolved(wording, now)
    if isinstance(receiver, AlertmanagerReceiver):
        # Which carries its own end.
        return await _tested(receiver.name, [partial(receiver.send_test, bodies[0])])
    return await _tested(receiver.name, [partial(_send, receiver, told, now) for told in bodies])


async def _tested(receiver: str, sends: Iterable[Send]) -> ReceiverTest:
    """Send all of it, and return how the receiver took it."""
    heard: list[str] = []
    error = None
    try:
        for send in sends:
            heard.append(await send() or "")  # noqa: PERF401 - an error later must not lose earlier answers
    except (DeliveryError, OutOfResources) as exc:
        error = str(exc)
    return ReceiverTest(receiver=receiver, delivered=error is None, answers=tuple(heard), error=error)


async def _send(receiver: Receiver, told: AlertBody, now: datetime) -> str | None:
    delivery = Delivery(
        id=new_id(told.alert_id, receiver.name, told.change),
        receiver=receiver.name,
        alert_id=told.alert_id,
        change=told.change,
        body=encode_body(told),
        attempts=0,
        created_at=now,
        first_failed_at=None,
        superseded=False,
    )
    try:
        async with asyncio.timeout(receiver.timeout_s):
            return await receiver.send(delivery)
    except TimeoutError:
        raise DeliveryError(Refusal.RETRY, f"no answer within {receiver.timeout_s:g} s") from None


def _opened_and_resolved(wording: Wording, now: datetime) -> tuple[AlertBody, AlertBody]:
    """Return the bodies of a test alert that opens and is over at once."""
    alert = Alert(
        id=new_id("test", wording.instance, now.isoformat()),
        kind=Kind.TEST,
        group="",
        started_at=now,
        updated_at=now,
        notified_at=now,
        severity=Severity.INFO,
        grown_at=now,
        version=1,
    )
    track = Track(kind=Kind.TEST, key="test", since=now)
    opened = Report(alert=alert, notice=Notice.OPENED, members=(track,), ended=(), added=0)
    resolved = Report(
        alert=msgspec.structs.replace(alert, version=2, resolutions=(Resolution.RECOVERED,)),
        notice=Notice.RESOLVED,
        members=(),
        ended=(Ended(track=track, at=now, resolution=Resolution.RECOVERED),),
        added=0,
    )
    made = [body(report, scope="test", watched={}, wording=wording, now=now) for report in (opened, resolved)]
    return made[0], made[1]
