"""What is said and remembered of a lack of resources."""

from monitor.errors import OutOfResources, Resource
from monitor.shortage import LASTS_S, Shortage
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog

DESCRIPTORS, MEMORY = OutOfResources(Resource.DESCRIPTORS), OutOfResources(Resource.MEMORY)


async def test_shortage_counts_everything_and_says_little() -> None:
    """A flood of failures is a line a minute for each resource, with how many there were."""
    clock, log, counted = FakeClock(), FakeLog(), []
    shortage = Shortage(clock=clock, log=log.logger, count=lambda: counted.append(1))
    for _ in range(120):
        for _ in range(10):
            shortage.met(DESCRIPTORS, "sync")
        await clock.advance(1)
    shortage.met(MEMORY, "sync")
    assert len(counted) == 1201
    assert [(line["error"], line["doing"], line["times"]) for line in log.of("resources.exhausted")] == [
        ("out of file descriptors", "sync", 1),
        ("out of file descriptors", "sync", 600),
        ("out of memory", "sync", 1),
    ]


async def test_shortage_is_over_half_a_minute_after_it_was_last_met() -> None:
    """The reason lasts as long as the lack, and goes by itself."""
    clock = FakeClock()
    shortage = Shortage(clock=clock, log=FakeLog().logger, count=lambda: None)
    assert shortage.reason() is None
    shortage.met(DESCRIPTORS, "sync")
    await clock.advance(LASTS_S - 1)
    assert shortage.reason() == "out of file descriptors"
    shortage.met(DESCRIPTORS, "sync")
    await clock.advance(LASTS_S - 1)
    assert shortage.reason() == "out of file descriptors"
    await clock.advance(1)
    assert shortage.reason() is None
