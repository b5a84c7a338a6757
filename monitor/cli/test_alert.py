"""`test-alert`: do the receivers accept what the monitor sends, and what do they answer."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

import httpx
import msgspec
import typer

from monitor.cli.network import network_of
from monitor.cli.shell import FormatOption, config_of, shell_of, unknown_name
from monitor.cli.terminal import Format, Terminal
from monitor.clock import SystemClock
from monitor.config import Config, secrets_of
from monitor.daemon.receivers import ReceiverSet
from monitor.daemon.watchlist import wording_of
from monitor.drift.alert import AlertBody, Kind, Notice, Resolution, Severity, encode_body
from monitor.drift.alerts import Alert, Report, new_id
from monitor.drift.episodes import Ended, Track
from monitor.drift.text import Wording, body
from monitor.errors import ConfigError, DeliveryError, OutOfResources, Refusal
from monitor.http.client import Network
from monitor.log import build_logger
from monitor.notify.alertmanager import PosterParts
from monitor.notify.delivery import Delivery, Receiver
from monitor.notify.log import LogReceiver
from monitor.shortage import Shortage
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.level import StoredLevel

NOT_DELIVERED = 3

Send = Callable[[], Awaitable[str | None]]
"""Sends one message, and returns the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverTest:
    """How one receiver took the test alert. `answers` are what it said, in order; `error` why it did not."""

    receiver: str
    delivered: bool
    answers: tuple[str, ...]
    error: str | None


def send_test_alert(
    ctx: typer.Context,
    receiver: Annotated[
        str | None,
        typer.Option("--receiver", metavar="NAME", help="Name of a receiver; default: all."),
    ] = None,
    format: FormatOption = Format.TABLE,  # noqa: A002 - the name of the option
) -> None:
    """Send a test alert, fired and resolved, to the configured receivers.

    It is rendered and posted like a real alert, whatever the receiver's filters, and says that it is a test.
    The daemon need not be running, and its store is not touched.

    Exit codes:
      0  every receiver accepted it
      2  the config cannot be used
      3  at least one receiver did not

    Examples:
      voicelink-monitor test-alert
      voicelink-monitor test-alert --receiver pd
    """
    shell = shell_of(ctx)
    config = config_of(shell)
    names = [each.name for each in config.receivers]
    if receiver is not None and receiver not in names:
        raise ConfigError([unknown_name("receiver", receiver, names)])
    tests = asyncio.run(_test(config, network_of(shell), names if receiver is None else [receiver]))
    if format is Format.JSON:
        shell.terminal.json(tests)
    else:
        _show(tests, shell.terminal)
    if not all(test.delivered for test in tests):
        raise typer.Exit(NOT_DELIVERED)


async def _test(config: Config, network: Network, names: Sequence[str]) -> list[ReceiverTest]:
    clock = SystemClock()
    network.redactor.learn(secrets_of(config))
    log = build_logger("console", "error", sys.stderr, redactor=network.redactor)
    shortage = Shortage(clock=clock, log=log, count=lambda: None)
    async with Database(config.store.secret.reveal()) as database:

        def parts(http: httpx.AsyncClient) -> PosterParts:
            level = StoredLevel(database, Codec(), clock, holder="test-alert")
            return PosterParts(
                level=level,
                http=http,
                redactor=network.redactor,
                clock=clock,
                rng=random.Random(),
                metrics=_Uncounted(),
                log=log,
                shortage=shortage,
            )

        made = ReceiverSet(config, network=network, clock=clock, log=LogReceiver(log), parts=parts)
        now = clock.now()
        bodies = _opened_and_resolved(wording_of(config), now)

        sends: dict[str, list[Send]] = {
            each.name: [partial(_send, each, told, now) for told in bodies] for each in made.receivers
        }
        sends |= {each.name: [partial(each.send_test, bodies[0])] for each in made.alertmanagers}
        try:
            return [await _tested(name, sends[name]) for name in sends if name in names]
        finally:
            await made.close()


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


class _Uncounted:
    """Takes the place of the daemon's metrics."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count nothing."""

    def store_error(self) -> None:
        """Count nothing."""


def _show(tests: Sequence[ReceiverTest], terminal: Terminal) -> None:
    if not tests:
        terminal.line("no receivers are configured: alerts go only to the log")
        return
    rows = [
        (
            test.receiver,
            "delivered" if test.delivered else "not delivered",
            test.error or "; ".join(dict.fromkeys(answer for answer in test.answers if answer)),
        )
        for test in tests
    ]
    terminal.table(("receiver", "test alert", "answer"), rows)
