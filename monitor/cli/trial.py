"""`test-alert`: do the receivers take what we send, and what do they say."""

import asyncio
import difflib
import random
import sys
from collections.abc import Sequence
from typing import Annotated

import httpx
import typer

from monitor.cli.options import FormatOption
from monitor.cli.setup import config_of
from monitor.cli.shell import shell_of
from monitor.cli.terminal import Format, Terminal
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.daemon.build import wording_of
from monitor.daemon.receivers import ReceiverSet
from monitor.errors import ConfigError
from monitor.log import build_logger
from monitor.notify.alertmanager import Parts
from monitor.notify.log import LogReceiver
from monitor.plain import plain
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.level import StoredLevel
from monitor.trial import Trial, try_receivers

DELIVERED, NOT_DELIVERED = 0, 3


def try_alert(
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
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none but the log'}"
    raise ConfigError([f"no receiver is named {name}; {hint}"])


async def _try(config: Config, name: str | None) -> list[Trial]:
    clock = SystemClock()
    log = build_logger("console", "error", sys.stderr)
    async with Database(config.store.secret.reveal()) as database:

        def parts(http: httpx.AsyncClient) -> Parts:
            level = StoredLevel(database, Codec(), clock, holder="test-alert")
            return Parts(
                level=level, http=http, clock=clock, rng=random.Random(), metrics=_Uncounted(), log=log
            )

        made = ReceiverSet(config, clock=clock, log=LogReceiver(log), parts=parts)
        try:
            return await try_receivers(
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


def _show(trials: Sequence[Trial], terminal: Terminal) -> None:
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
