"""`test-alert`: do the receivers take what we send, and what do they say."""

import asyncio
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol

import httpx
import msgspec
import typer

from monitor.cli.options import FormatOption
from monitor.cli.shell import config_of, shell_of
from monitor.cli.terminal import Format, Terminal, plain
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.daemon.build import wording_of
from monitor.daemon.receivers import ReceiverSet
from monitor.drift.alert import AlertBody, Kind, Notice, Resolution, Severity, encode_body
from monitor.drift.alerts import Alert, Report, new_id
from monitor.drift.episodes import Ended, Track
from monitor.drift.text import Wording, body
from monitor.errors import ConfigError, DeliveryError, nearest
from monitor.log import build_logger
from monitor.notify.alertmanager import PosterParts
from monitor.notify.delivery import Delivery, Receiver
from monitor.notify.log import LogReceiver
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.level import StoredLevel

DELIVERED, NOT_DELIVERED = 0, 3


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
class ReceiverTest:
    """How one receiver took the test alert. `answers` are what it said, in order; `error` why it did not."""

    receiver: str
    delivered: bool
    answers: tuple[str, ...]
    error: str | None


async def send_test_alerts(
    receivers: Iterable[Receiver], levelled: Iterable[Tested], *, wording: Wording, clock: Clock
) -> list[ReceiverTest]:
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
        notified_at=now,
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


async def _try_messages(receiver: Receiver, bodies: Iterable[AlertBody], now: datetime) -> ReceiverTest:
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
        return ReceiverTest(receiver=receiver.name, delivered=False, answers=tuple(answers), error=str(exc))
    except TimeoutError:
        late = f"no answer within {receiver.timeout_s:g} s"
        return ReceiverTest(receiver=receiver.name, delivered=False, answers=tuple(answers), error=late)
    return ReceiverTest(receiver=receiver.name, delivered=True, answers=tuple(answers), error=None)


async def _try_level(receiver: Tested, opened: AlertBody) -> ReceiverTest:
    try:
        answer = await receiver.send_test(opened)
    except DeliveryError as exc:
        return ReceiverTest(receiver=receiver.name, delivered=False, answers=(), error=str(exc))
    return ReceiverTest(receiver=receiver.name, delivered=True, answers=(answer,), error=None)


def send_test_alert(
    ctx: typer.Context,
    receiver: Annotated[
        str | None, typer.Option("--receiver", metavar="NAME", help="Only this one; all of them without.")
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Send a test alert, fired and resolved, to the configured receivers.

    It is rendered, posted and judged as a real one, whatever the receiver's filters say, and it says itself
    that nothing is wrong. The daemon need not run, and its store is left alone.
    """
    shell = shell_of(ctx)
    config = config_of(shell)
    _known(config, receiver)
    trials = asyncio.run(_try(config, receiver))
    if format is Format.JSON:
        shell.terminal.json([plain(trial) for trial in trials])
    else:
        _show(trials, shell.terminal)
    raise typer.Exit(DELIVERED if all(trial.delivered for trial in trials) else NOT_DELIVERED)


def _known(config: Config, name: str | None) -> None:
    names = [receiver.name for receiver in config.receivers]
    if name is None or name in names:
        return
    near = nearest(name, names)
    hint = f"did you mean {near}?" if near else f"there are: {', '.join(names) or 'none but the log'}"
    raise ConfigError([f"no receiver is named {name}; {hint}"])


async def _try(config: Config, name: str | None) -> list[ReceiverTest]:
    clock = SystemClock()
    log = build_logger("console", "error", sys.stderr)
    async with Database(config.store.secret.reveal()) as database:

        def parts(http: httpx.AsyncClient) -> PosterParts:
            level = StoredLevel(database, Codec(), clock, holder="test-alert")
            return PosterParts(
                level=level, http=http, clock=clock, rng=random.Random(), metrics=_Uncounted(), log=log
            )

        made = ReceiverSet(config, clock=clock, log=LogReceiver(log), parts=parts)
        try:
            return await send_test_alerts(
                [one for one in made.receivers if _wanted(one.name, name)],
                [one for one in made.alertmanagers if _wanted(one.name, name)],
                wording=wording_of(config),
                clock=clock,
            )
        finally:
            await made.close()


def _wanted(name: str, wanted: str | None) -> bool:
    """Whether a receiver is to be tried; the log of this command is nobody's."""
    return name == wanted if wanted is not None else name != "log"


class _Uncounted:
    """Takes the place of the daemon's metrics."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count nothing."""

    def store_error(self) -> None:
        """Count nothing."""


def _show(trials: Sequence[ReceiverTest], terminal: Terminal) -> None:
    if not trials:
        terminal.line("no receivers are configured: alerts go to the log alone")
        return
    rows = [
        (
            trial.receiver,
            "delivered" if trial.delivered else "not delivered",
            trial.error or "; ".join(dict.fromkeys(answer for answer in trial.answers if answer)),
        )
        for trial in trials
    ]
    terminal.table(("receiver", "test alert", "it answered"), rows)
