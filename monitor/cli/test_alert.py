"""`test-alert`: do the receivers accept what the monitor sends, and what do they answer."""

import asyncio
import random
import sys
from collections.abc import Sequence
from typing import Annotated

import httpx
import typer

from monitor.cli.network import network_of
from monitor.cli.shell import FormatOption, config_of, shell_of
from monitor.cli.terminal import Format, Terminal
from monitor.clock import SystemClock
from monitor.config import Config, secrets_of
from monitor.daemon.receivers import ReceiverSet
from monitor.errors import ConfigError, unknown_name
from monitor.http.client import Network
from monitor.log import build_logger
from monitor.notify.alertmanager import PosterParts
from monitor.notify.log import LogReceiver
from monitor.notify.test_alert import ReceiverTest
from monitor.shortage import Shortage
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.level import StoredLevel

NOT_DELIVERED = 3


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
    config = config_of(shell, secrets=True)
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
        try:
            return [await made.test(name, clock.now()) for name in names]
        finally:
            await made.close()


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
