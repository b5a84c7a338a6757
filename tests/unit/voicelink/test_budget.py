"""The request budget of an account."""

import asyncio

import pytest

from monitor.voicelink.budget import LONGEST_PAUSE_S, WINDOW_S, AccountBudget
from tests.fakes.clock import FakeClock


class Line:
    """Callers of one budget, and the instants at which each got its slot."""

    def __init__(self, requests_per_minute: float = 30) -> None:
        self.clock = FakeClock()
        self.waits: list[float] = []
        self.budget = AccountBudget(
            requests_per_minute=requests_per_minute, clock=self.clock, on_wait=self.waits.append
        )
        self.served: list[tuple[str, float]] = []
        self._began_s = self.clock.monotonic()

    def join(self, name: str) -> asyncio.Task[None]:
        """Start a caller."""
        return asyncio.create_task(self._ask(name))

    async def _ask(self, name: str) -> None:
        await self.budget.acquire()
        self.served.append((name, self.clock.monotonic() - self._began_s))


async def test_budget_paces_evenly_in_order_of_arrival() -> None:
    """Thirty a minute is one each two seconds, first come first served."""
    line = Line()
    tasks = [line.join(name) for name in "abc"]
    await line.clock.advance(10)
    assert line.served == [("a", 0), ("b", 2), ("c", 4)]
    assert line.waits == [2, 4]
    await asyncio.gather(*tasks)


async def test_budget_lets_no_burst_through_after_idling() -> None:
    """Unused slots are not saved up: the provider counts per minute, and others share the key."""
    line = Line()
    await line.clock.advance(600)
    tasks = [line.join(name) for name in "ab"]
    await line.clock.advance(2)
    assert line.served == [("a", 600), ("b", 602)]
    await asyncio.gather(*tasks)


async def test_budget_never_lets_more_through_than_its_rate() -> None:
    """Any window of a minute holds at most the budget."""
    line = Line(requests_per_minute=20)
    tasks = [line.join(str(i)) for i in range(50)]
    await line.clock.advance(200)
    instants = [at for _, at in line.served]
    assert len(instants) == 50
    assert max(sum(start <= at < start + 60 for at in instants) for start in instants) == 20
    await asyncio.gather(*tasks)


async def test_cancelled_waiter_takes_no_slot() -> None:
    """A caller that gives up waiting, at the head or in the queue, delays no one."""
    line = Line()
    tasks = [line.join(name) for name in "abcd"]
    await line.clock.advance(1)
    tasks[1].cancel()
    tasks[2].cancel()
    await line.clock.advance(1)
    assert line.served == [("a", 0), ("d", 2)]
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("retry_after_s", "pause_s"),
    [
        pytest.param(7.0, 7.0, id="as told"),
        pytest.param(None, WINDOW_S, id="not told: a whole window"),
        pytest.param(1e9, LONGEST_PAUSE_S, id="absurd: an hour"),
        pytest.param(float("inf"), LONGEST_PAUSE_S, id="endless: an hour"),
    ],
)
async def test_pause_holds_the_whole_account(retry_after_s: float | None, pause_s: float) -> None:
    """After a 429 no caller of the account asks before the pause is over, not even one that already waits."""
    line = Line()
    tasks = [line.join(name) for name in "ab"]
    await line.clock.advance(1)
    line.budget.pause(retry_after_s)
    await line.clock.advance(pause_s - 0.5)
    assert [name for name, _ in line.served] == ["a"]
    await line.clock.advance(0.5)
    assert line.served == [("a", 0), ("b", 1 + pause_s)]
    await asyncio.gather(*tasks)


async def test_shorter_pause_does_not_end_a_longer_one() -> None:
    """The latest end of all pauses counts."""
    line = Line()
    line.budget.pause(30)
    line.budget.pause(1)
    task = line.join("a")
    await line.clock.advance(60)
    assert line.served == [("a", 30)]
    await task
