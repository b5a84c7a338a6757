"""Readiness: what the monitor says of itself."""

from typing import Any

from monitor.daemon.status import Readiness
from monitor.errors import StoreUnavailable
from tests.fakes.announcer import health_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage


class Ticking:
    """A schedule that runs."""

    has_ticked = True
    stands_still_s: float | None = None

    def stuck_for_s(self) -> float | None:
        """Say that all is well, or what the test says."""
        return self.stands_still_s


async def test_store_that_does_not_answer_is_away_though_nothing_failed() -> None:
    """After 15 seconds it is not ready, after 30 its gauges are too old; an answer ends both."""
    clock, schedule = FakeClock(), Ticking()
    anything: Any = schedule
    readiness = Readiness(anything, no_shortage(), health_on(FakeLog()), clock)
    await clock.advance(60)
    assert readiness.not_ready() == "starting"
    readiness.started.set()
    readiness.store_answered()
    seen = []
    for _ in range(4):
        seen.append((readiness.not_ready() is None, readiness.store_lost))
        await clock.advance(14.9)
    assert seen == [(True, False), (True, False), (False, False), (False, True)]
    assert readiness.not_ready() == "the store is unavailable: there is no connection to the database"
    readiness.store_answered()
    assert (readiness.not_ready(), readiness.store_lost) == (None, False)


async def test_store_that_fails_is_away_at_once() -> None:
    """With its reason, until it answers; what was read from it is shown for a while."""
    clock = FakeClock()
    anything: Any = Ticking()
    readiness = Readiness(anything, no_shortage(), health_on(FakeLog()), clock)
    readiness.started.set()
    readiness.store_failed("the disk is full")
    said = "the store is unavailable: the disk is full"
    assert (readiness.not_ready(), readiness.store_lost) == (said, False)
    await clock.advance(30)
    assert (readiness.not_ready(), readiness.store_lost) == (said, True)
    readiness.store_answered()
    assert (readiness.not_ready(), readiness.store_lost) == (None, False)


async def test_schedule_that_stands_still_is_stuck_unless_the_store_is_why() -> None:
    """A minute of it while the store answers and keeps what it is given; else a restart would not help."""
    schedule = Ticking()
    anything: Any = schedule
    health = health_on(FakeLog())
    readiness = Readiness(anything, no_shortage(), health, FakeClock())
    schedule.stands_still_s = 3600.0
    assert readiness.stuck() is None, "while it starts, a migration may take long"
    readiness.started.set()
    assert readiness.stuck() == "the schedule has not run for 3600 s"
    schedule.stands_still_s = 59.0
    assert readiness.stuck() is None
    schedule.stands_still_s = 60.0
    readiness.store_failed("there is no connection to the database")
    assert readiness.stuck() is None
    readiness.store_answered()
    health.keeps_nothing(StoreUnavailable("locked", "locked"), "claiming what is due")
    assert readiness.stuck() is None
