"""A test alert, fired and resolved, sent to receivers the way real ones are: rendered, posted, judged."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from monitor.clock import Clock
from monitor.drift.alert import AlertBody, Kind, Notice, Resolution, Severity, encode_body
from monitor.drift.alerts import Alert, Report, new_id
from monitor.drift.episodes import Ended, Track
from monitor.drift.text import Wording, body
from monitor.errors import DeliveryError
from monitor.notify.delivery import Delivery, Receiver


class Tested(Protocol):
    """A receiver that makes a test alert of its own of a body."""

    @property
    def name(self) -> str:
        """Return its name in the config."""
        ...

    async def send_test(self, body: AlertBody) -> str:
        """Send it; return what was answered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one receiver took the test alert. `answers` are what it said, in order; `error` why it did not."""

    receiver: str
    delivered: bool
    answers: tuple[str, ...]
    error: str | None


async def try_receivers(
    receivers: Iterable[Receiver], levelled: Iterable[Tested], *, wording: Wording, clock: Clock
) -> list[Trial]:
    """Send each receiver a test alert and its end; return how they took it, in order."""
    opened, resolved = test_bodies(wording, clock.now())
    trials = [await _try_messages(receiver, (opened, resolved), clock.now()) for receiver in receivers]
    return [*trials, *[await _try_level(receiver, opened) for receiver in levelled]]


def test_bodies(wording: Wording, now: datetime) -> tuple[AlertBody, AlertBody]:
    """Return the bodies of a test alert that opens and is over at once."""
    alert = Alert(
        id=new_id("test", wording.instance, now.isoformat()),
        kind=Kind.TEST,
        group="",
        started_at=now,
        updated_at=now,
        told_at=now,
        severity=Severity.INFO,
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


async def _try_messages(receiver: Receiver, bodies: Iterable[AlertBody], now: datetime) -> Trial:
    answers: list[str] = []
    try:
        for told in bodies:
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
            async with asyncio.timeout(receiver.timeout_s):
                answers.append(await receiver.send(delivery) or "")
    except DeliveryError as exc:
        return Trial(receiver=receiver.name, delivered=False, answers=tuple(answers), error=str(exc))
    except TimeoutError:
        late = f"no answer within {receiver.timeout_s:g} s"
        return Trial(receiver=receiver.name, delivered=False, answers=tuple(answers), error=late)
    return Trial(receiver=receiver.name, delivered=True, answers=tuple(answers), error=None)


async def _try_level(receiver: Tested, opened: AlertBody) -> Trial:
    try:
        answer = await receiver.send_test(opened)
    except DeliveryError as exc:
        return Trial(receiver=receiver.name, delivered=False, answers=(), error=str(exc))
    return Trial(receiver=receiver.name, delivered=True, answers=(answer,), error=None)
