"""What people ask of the store while daemons use it: silences and acknowledgements."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sqlalchemy import select

from monitor.drift.silences import NewSilence
from monitor.errors import MonitorError, StoreUnavailable
from monitor.store.actions import COMMAND, Actor
from monitor.store.codec import Codec
from monitor.store.requests import acknowledge
from monitor.store.silencing import set_silence, stop_silence
from monitor.store.tables import silences
from tests.world.events import Acknowledge, Silence
from tests.world.process import Process
from tests.world.receivers import Inbox

_SOMEBODY = Actor(user=None, address=COMMAND)

Work = Callable[[Process], Awaitable[Any]]


class Command:
    """Something asked for, until the store has kept it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._process: Process | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a process that lives is doing it."""
        return not (self._task is None or self._process is None or self._process.dead or self._task.done())

    @property
    def is_done(self) -> bool:
        """Whether it is done, or cannot be."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return False
        failed = self._task.exception()
        if failed is not None and not isinstance(failed, MonitorError):
            raise failed
        return not isinstance(failed, StoreUnavailable)

    def run_in(self, process: Process) -> None:
        """Use what a process has open of the store."""

        async def run() -> None:
            await self._work(process)

        self._process, self._task = process, process.loop.create_task(run())


def begun(event: Silence | Acknowledge, told: Inbox) -> Work | None:
    """Return what somebody asks for when an event begins; None where there is nothing to ask."""
    if isinstance(event, Silence):
        return partial(_silence, event)
    firing = dict.fromkeys(message.alert_id for message in told.messages)
    over = {message.alert_id for message in told.messages if message.change == "resolved"}
    oldest = next((alert_id for alert_id in firing if alert_id not in over), None)
    return partial(_acknowledge, oldest) if oldest is not None else None


def ended(event: Silence) -> Work:
    """Return what somebody asks for when a silence is over."""
    return partial(_end, _reason(event))


async def _silence(event: Silence, process: Process) -> None:
    asked = NewSilence(
        connection=f"c{event.connection}",
        issue=event.issue or None,
        until_ready=event.until_ready or None,
        for_=None if event.until_ready else "10d",
        reason=_reason(event),
    )
    await set_silence(process.store, Codec(), asked, _SOMEBODY, process.clock.now(), logged=False)


async def _end(reason: str, process: Process) -> None:
    async with process.store.read() as tx:
        which = select(silences.c.id).where(silences.c.reason == reason, silences.c.ended_at.is_(None))
        found = (await tx.execute(which)).scalars().all()
    for silence_id in found:
        await stop_silence(process.store, silence_id, _SOMEBODY, process.clock.now(), logged=False)


async def _acknowledge(alert_id: str, process: Process) -> None:
    now = process.clock.now()
    await process.store.transact(lambda tx: acknowledge(tx, alert_id, by="somebody", note=None, now=now))


def _reason(event: Silence) -> str:
    return f"from {event.at_s} s on"
