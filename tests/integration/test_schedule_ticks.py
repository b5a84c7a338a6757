"""The tick on a real scheduler: whatever happens, there is a next one."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.announce import Announcer
from monitor.metrics import Metrics
from monitor.schedule import Schedule
from monitor.store.database import Database
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog

_ENOUGH = 20


class _CountedFleet:
    """Has nothing to do; `asked` is set once it was asked often."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._times = 0

    def due_at(self, now: datetime) -> None:
        """Count; every tick asks."""
        self._times += 1
        if self._times >= _ENOUGH:
            self.asked.set()


def _never(*_: Any) -> None:
    raise AssertionError("nobody has a reason to call this")


async def test_tick_that_took_longer_than_its_rest_is_followed_by_the_next(tmp_path: Path) -> None:
    """The next tick is due at once, before this one has returned: it still comes, and so do all after it."""
    clock = FakeClock()  # far behind the scheduler's clock, so that each next tick is late already
    fleet, metrics = _CountedFleet(), Metrics(version="0")
    scheduler = AsyncIOScheduler()
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        schedule = Schedule(
            scheduler=scheduler,
            database=database,
            cycle=cast("Any", None),
            fleet=cast("Any", fleet),
            clock=clock,
            metrics=metrics,
            announcer=Announcer(metrics=metrics, log=FakeLog().logger),
            wake_drain=_never,
            log_internal=_never,
        )
        scheduler.start()
        schedule.start()
        await asyncio.wait_for(fleet.asked.wait(), timeout=30)
        await schedule.close(1.0)
        scheduler.shutdown(wait=False)
