"""The watch over the clock: what it does once the clock was set back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from monitor.clock import Uptime
from monitor.daemon.tasks import ClockWatch
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from tests.fakes.announcer import announcer_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog


class Parts:
    """Stands for every part that plans something, and writes down when it is to plan anew."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.began_s = clock.monotonic()
        self.called: list[tuple[str, float]] = []
        self.store_away = False
        self.moved = False

    def _call(self, name: str) -> None:
        self.called.append((name, self.clock.monotonic() - self.began_s))

    def start(self) -> None:
        """As the housekeeping."""
        self._call("jobs")

    def soon(self) -> None:
        """As the discovery."""
        self._call("discovery")

    def look_now(self) -> None:
        """As the schedule."""
        self._call("tick")

    async def follow_clock(self) -> None:
        """As the active config."""
        if self.store_away:
            raise StoreUnavailable("the disk is full")
        self._call("store")


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock."""
    return FakeClock()


@pytest.fixture
def log() -> FakeLog:
    """Return a log."""
    return FakeLog()


@pytest.fixture
async def parts(clock: FakeClock, log: FakeLog) -> AsyncIterator[Parts]:
    """Return parts that a watch over the clock has been running with for a minute."""
    made = Parts(clock)
    any_part = cast("Any", made)
    metrics = Metrics(version="1")
    watch = ClockWatch(
        clock=clock,
        uptime=Uptime(clock),
        metrics=metrics,
        housekeeping=any_part,
        discovery=any_part,
        active=any_part,
        failures=any_part,
        schedule=any_part,
        announcer=announcer_on(log, metrics),
        log=log.logger,
    )
    running = asyncio.create_task(watch.run())
    await clock.advance(60)
    made.began_s = clock.monotonic()
    yield made
    running.cancel()


@pytest.mark.parametrize("jump_s", [0, -4, 3600])
async def test_clock_that_is_not_set_back_changes_no_plans(
    parts: Parts, clock: FakeClock, jump_s: float
) -> None:
    """Nor does a small correction, or one ahead: what is late is due."""
    clock.jump(jump_s)
    await clock.advance(60)
    assert parts.called == []


async def test_set_back_is_followed_at_once_and_once_more(
    parts: Parts, clock: FakeClock, log: FakeLog
) -> None:
    """Everything is planned anew within a second; what was in flight is pulled in later."""
    clock.jump(-6)
    await clock.advance(60)
    assert parts.called == [
        ("jobs", 0.5),
        ("discovery", 0.5),
        ("tick", 0.5),
        ("store", 0.5),
        ("tick", 0.5),
        ("store", 10.5),
        ("tick", 10.5),
    ]
    assert parts.moved
    assert log.events == ["clock.set_back"]


async def test_correction_of_a_clock_that_ran_ahead_is_a_set_back(parts: Parts, clock: FakeClock) -> None:
    """What was planned while it was ahead would wait."""
    clock.jump(3600)
    await clock.advance(60)
    assert parts.called == []
    clock.jump(-3600)
    await clock.advance(1)
    assert ("store", 60.5) in parts.called


async def test_set_back_while_the_store_is_away_is_followed_when_it_is_back(
    parts: Parts, clock: FakeClock, log: FakeLog
) -> None:
    """It is said once, and tried until it worked."""
    parts.store_away = True
    clock.jump(-3600)
    await clock.advance(30)
    assert log.events == ["clock.set_back", "store.failed"]
    parts.store_away = False
    await clock.advance(30)
    assert [after_s for name, after_s in parts.called if name == "store"] == [30.5, 40.5]
