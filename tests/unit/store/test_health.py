"""When a store that does not keep what it is given matters, and how often that is said."""

import pytest

from monitor.errors import StoreUnavailable
from monitor.store.health import StoreHealth
from monitor.store.trouble import Trouble
from tests.fakes.announcer import health_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog

FULL = StoreUnavailable("cannot write to the store: the disk is full", Trouble.FULL)
STRANGE = StoreUnavailable("cannot write to the store: no such column", Trouble.OTHER)
NOTHING = "no snapshot could be kept for 15 s: the disk is full"
SOME = "not every snapshot could be kept for 15 s: the disk is full"


@pytest.fixture
def clock() -> FakeClock:
    """A clock moved by hand."""
    return FakeClock()


@pytest.fixture
def log() -> FakeLog:
    """What is said."""
    return FakeLog()


@pytest.fixture
def health(clock: FakeClock, log: FakeLog) -> StoreHealth:
    """The health of a store that nothing has happened to yet."""
    return health_on(log, clock)


async def test_store_that_keeps_nothing_matters_after_fifteen_seconds(
    health: StoreHealth, clock: FakeClock, log: FakeLog
) -> None:
    """Not before, and no longer than it lasts."""
    health.keeps_nothing(FULL, "claiming what is due")
    assert (health.reason(), health.is_well) == (None, False)
    await clock.advance(14)
    health.keeps_nothing(FULL, "claiming what is due")
    assert health.reason() is None
    await clock.advance(1)
    assert health.reason() == NOTHING
    health.keeps()
    assert (health.reason(), health.is_well) == (None, True)
    assert log.events == ["store.failed", "store.recovered"]


async def test_claims_that_fit_do_not_hide_snapshots_that_do_not(
    health: StoreHealth, clock: FakeClock
) -> None:
    """On a disk that is nearly full small writes succeed."""
    for _ in range(4):
        health.keeps()
        health.not_kept(FULL, "keeping a sync", "a")
        await clock.advance(5)
    assert health.reason() == NOTHING


async def test_some_snapshots_are_told_from_all(health: StoreHealth, clock: FakeClock) -> None:
    """Where others are kept, it is not said that none is; a connection that is gone is forgotten."""
    health.not_kept(FULL, "keeping a sync", "a")
    await clock.advance(16)
    health.kept("b")
    assert health.reason() == SOME
    health.forget("a")
    assert health.reason() is None


async def test_what_is_never_accepted_of_one_connection_is_no_fault_of_the_store(
    health: StoreHealth, clock: FakeClock
) -> None:
    """It is logged, and its snapshot grows stale; if it concerns all, it matters all the same."""
    health.not_kept(STRANGE, "keeping a sync", "a")
    await clock.advance(60)
    assert health.reason() is None
    health.keeps_nothing(STRANGE, "claiming what is due")
    await clock.advance(15)
    assert health.reason() == "no snapshot could be kept for 15 s: see store.failed in the log"


async def test_failures_are_logged_once_a_minute_and_all_counted(
    health: StoreHealth, clock: FakeClock, log: FakeLog
) -> None:
    """For each operation and reason; the next line tells how many there were."""
    for _ in range(120):
        health.failed(FULL, "reading the gauges")
        await clock.advance(1)
    health.failed(FULL, "keeping a sync")
    health.failed(STRANGE, "keeping a sync")
    assert [line["times"] for line in log.of("store.failed")] == [1, 60, 1, 1]
