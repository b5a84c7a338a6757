"""The tick on a real scheduler: whatever happens, there is a next one."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.metrics import Metrics
from monitor.store.claims import Claim
from monitor.store.connections import Watch, begin_watching
from monitor.store.database import Database
from monitor.sync.cycle import Done
from monitor.sync.schedule import TICK, Schedule
from tests.fakes.announcer import announcer_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.stored import ME

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


class _Quick:
    """Ends each claim at once, to be due again soon."""

    def __init__(self, due_at: datetime) -> None:
        self._due_at = due_at

    async def run(self, claim: Claim) -> Done:
        """End it."""
        return Done(due_at=self._due_at)


def _never(*_: Any) -> None:
    raise AssertionError("nobody has a reason to call this")


async def test_sync_that_wants_a_recheck_brings_the_next_tick_forward(tmp_path: Path) -> None:
    """The tick that claimed it could not know when it is due again; nobody waits for the longest rest."""
    clock = FakeClock()
    soon = clock.now() + timedelta(milliseconds=100)
    metrics, scheduler = Metrics(version="0"), AsyncIOScheduler()
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        later = clock.now() + timedelta(hours=1)
        watch = Watch(
            identity="a", name="a", account="a", connection_id=None, first_due_at=later, next_due_at=later
        )
        async with database.write() as tx:
            await begin_watching(tx, [watch], clock.now())
        schedule = Schedule(
            scheduler=scheduler,
            active=cast("Any", SimpleNamespace(replica=ME, live=1, foreign=())),
            database=database,
            cycle=_Quick(soon),
            failures=cast("Any", _CountedFleet()),
            clock=clock,
            machine=clock,
            metrics=metrics,
            announcer=announcer_on(FakeLog(), metrics),
            wake_drain=_never,
        )
        scheduler.start(paused=True)
        schedule.start()
        await schedule.tick()
        assert scheduler.get_job(TICK).next_run_time == clock.now() + timedelta(seconds=1)
        await schedule.sync_now("a")
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "sync a"))
        await asyncio.sleep(0)  # the task's callbacks
        assert scheduler.get_job(TICK).next_run_time == soon
        await schedule.close(1.0)
        scheduler.shutdown(wait=False)


async def test_tick_that_took_longer_than_its_rest_is_followed_by_the_next(tmp_path: Path) -> None:
    """The next tick is due at once, before this one has returned: it still comes, and so do all after it."""
    clock = FakeClock()  # far behind the scheduler's clock, so that each next tick is late already
    fleet, metrics = _CountedFleet(), Metrics(version="0")
    scheduler = AsyncIOScheduler()
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        schedule = Schedule(
            scheduler=scheduler,
            active=cast("Any", SimpleNamespace(replica=ME, live=1, foreign=())),
            database=database,
            cycle=cast("Any", None),
            failures=cast("Any", fleet),
            clock=clock,
            machine=clock,
            metrics=metrics,
            announcer=announcer_on(FakeLog(), metrics),
            wake_drain=_never,
        )
        scheduler.start()
        schedule.start()
        await asyncio.wait_for(fleet.asked.wait(), timeout=30)
        await schedule.close(1.0)
        scheduler.shutdown(wait=False)


async def test_tick_that_comes_while_closing_does_nothing(tmp_path: Path) -> None:
    """One that was on its way when the end began would be cut off in the middle of a write."""
    clock = FakeClock()
    fleet = _CountedFleet()
    metrics = Metrics(version="0")
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        schedule = Schedule(
            scheduler=AsyncIOScheduler(),
            active=cast("Any", SimpleNamespace(replica=ME, live=1, foreign=())),
            database=database,
            cycle=_Quick(clock.now()),
            failures=cast("Any", fleet),
            clock=clock,
            machine=clock,
            metrics=metrics,
            announcer=announcer_on(FakeLog(), metrics),
            wake_drain=_never,
        )
        await schedule.close(0.0)
        await schedule.tick()
        assert not schedule.has_ticked
