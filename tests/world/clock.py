"""The world's wall clock, which can be set, and the same one for APScheduler, which reads its own."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.date
import apscheduler.triggers.interval

from tests.world.loop import Elapsed

BEGIN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class WorldClock:
    """What the daemon takes for its clock."""

    def __init__(self, elapsed: Elapsed) -> None:
        self._elapsed = elapsed
        self.ahead_s = 0.0
        """How far the wall clock was set ahead; negative: back."""

    def now(self) -> datetime:
        """Return what the wall clock shows."""
        return BEGIN + timedelta(seconds=self._elapsed.s + self.ahead_s)

    def monotonic(self) -> float:
        """Return the seconds since the world began, and 1,000 more."""
        return 1000.0 + self._elapsed.s

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds."""
        await asyncio.sleep(seconds)


@contextlib.contextmanager
def scheduled_by_its_own() -> Iterator[None]:
    """Have APScheduler go by the clock of the process that runs it."""

    class _Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class _Datetime(metaclass=_Meta):
        @staticmethod
        def now(zone: tzinfo | None = None) -> datetime:
            loop: Any = asyncio.get_running_loop()
            shown: datetime = loop.clock.now()
            return shown.astimezone(zone)

        @staticmethod
        def fromtimestamp(*args: Any, **named: Any) -> datetime:
            return datetime.fromtimestamp(*args, **named)  # noqa: DTZ006 - the caller's zone

    modules: list[Any] = [
        apscheduler.schedulers.base,
        apscheduler.executors.base,
        apscheduler.triggers.interval,
        apscheduler.triggers.date,
    ]
    for module in modules:
        module.datetime = _Datetime
    try:
        yield
    finally:
        for module in modules:
            module.datetime = datetime
