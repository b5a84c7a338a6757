"""The request budget of an account."""

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.voicelink.budget import LONGEST_PAUSE_S, WINDOW_S, AccountBudget, SharedSlots
from tests.fakes.clock import FakeClock


class Line:
    """Callers of one budget, and the instants at which each got its slot."""

    def __init__(
        self,
        requests_per_minute: float = 30,
        *,
        clock: FakeClock | None = None,
        shared: SharedSlots | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.waits: list[float] = []
        self.budget = AccountBudget(
            requests_per_minute=requests_per_minute,
            clock=self.clock,
            on_wait=self.waits.append,
            shared=shared,
        )
        self.served: list[tuple[str, float]] = []
        self._began_s = self.clock.monotonic()

    def join(self, name: str) -> asyncio.Task[None]:
        """Start a caller."""
        return asyncio.create_task(self._ask(name))

    async def _ask(self, name: str) -> None:
        await self.budget.acquire()
        self.served.append((name, self.clock.monotonic() - self._began_s))


class Slots:
    """Slots that several lines share."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._next_s = self._paused_until_s = clock.monotonic()
        self.asked = 0

    async def take(self, count: int, spacing_s: float) -> float:
        """Move the next one on."""
        self.asked += 1
        first_s = max(self._next_s, self._paused_until_s, self._clock.monotonic())
        self._next_s = first_s + count * spacing_s
        return first_s - self._clock.monotonic()

    async def are_paused(self) -> bool:
        """Return whether one line has paused."""
        self.asked += 1
        return self._paused_until_s > self._clock.monotonic()

    async def pause(self, seconds: float) -> None:
        """Pause all lines."""
        self._paused_until_s = max(self._paused_until_s, self._clock.monotonic() + seconds)


def lines_of(count: int, requests_per_minute: float) -> tuple[FakeClock, Slots, list[Line]]:
    """Return lines that share their slots."""
    clock = FakeClock()
    slots = Slots(clock)
    return clock, slots, [Line(requests_per_minute, clock=clock, shared=slots) for _ in range(count)]


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
    await line.budget.pause(retry_after_s)
    await line.clock.advance(pause_s - 0.5)
    assert [name for name, _ in line.served] == ["a"]
    await line.clock.advance(0.5)
    assert line.served == [("a", 0), ("b", 1 + pause_s)]
    await asyncio.gather(*tasks)


async def test_shorter_pause_does_not_end_a_longer_one() -> None:
    """The latest end of all pauses counts."""
    line = Line()
    await line.budget.pause(30)
    await line.budget.pause(1)
    task = line.join("a")
    await line.clock.advance(60)
    assert line.served == [("a", 30)]
    await task


@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([1, 7, 30, 60, 600]),
    lines=st.integers(1, 4),
)
async def test_lines_that_share_slots_never_exceed_the_rate_together(
    seed: int, rate: float, lines: int
) -> None:
    """Whoever comes, gives up or is paused: slots lie a spacing apart, none in a pause."""
    clock, _, members = lines_of(lines, rate)
    rng, tasks = random.Random(seed), []
    pauses: list[tuple[float, float]] = []
    began_s = clock.monotonic()
    for _ in range(12):
        match rng.choice(["come", "come", "come", "cancel", "pause", "pass"]):
            case "come":
                member = rng.choice(members)
                tasks += [member.join("") for _ in range(rng.randint(1, 6))]
            case "cancel" if tasks:
                rng.choice(tasks).cancel()
            case "pause" if rng.random() < 0.3:
                seconds, since_s = rng.uniform(1, 90), clock.monotonic() - began_s
                await rng.choice(members).budget.pause(seconds)
                pauses.append((since_s, since_s + seconds))
            case _:
                await clock.advance(rng.expovariate(rate / 60))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    served = sorted(at for member in members for _, at in member.served)
    spacing_s = 60 / rate
    # A slot may be taken up a tenth of a second late.
    assert all(after - before >= spacing_s - 0.11 for before, after in pairwise(served))
    assert all(not since_s + 1.01 < at < until_s - 0.01 for at in served for since_s, until_s in pauses)


async def test_lines_that_share_slots_use_all_of_them() -> None:
    """Three lines that always wait have the whole rate between them, each its share."""
    clock, _, members = lines_of(3, 60)
    tasks = [member.join("") for member in members for _ in range(30)]
    await clock.advance(59.5)
    counts = [len(member.served) for member in members]
    assert sum(counts) == 60
    assert min(counts) >= 19
    await clock.advance(30)
    await asyncio.gather(*tasks)


async def test_quick_pace_takes_the_slots_of_a_second_at_once() -> None:
    """A thousand requests are not a thousand statements."""
    clock, slots, [line] = lines_of(1, 6000)
    tasks = [line.join("") for _ in range(1000)]
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert slots.asked <= 30


async def test_pause_by_one_line_holds_those_that_wait_in_others() -> None:
    """A slot that another line has taken already lapses, and the rate holds when the pause is over."""
    clock, _, [first, second] = lines_of(2, 30)
    tasks = [first.join("a"), second.join("b"), first.join("c")]
    await clock.advance(0.5)
    await first.budget.pause(30)
    await clock.advance(29.9)
    assert [name for name, _ in first.served + second.served] == ["a"]
    await clock.advance(10)
    served = sorted(at for _, at in first.served + second.served)
    assert served[1] >= 30.5
    assert served[2] - served[1] >= 2
    await asyncio.gather(*tasks)
