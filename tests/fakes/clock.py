"""A clock that tests move by hand."""

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Stands still until `advance`; whoever sleeps on it wakes in the order of their instants.

    Args:
        start: The first instant, aware.
        turns: How many turns of the event loop `settle` gives the woken; raise it for long chains of awaits.
    """

    def __init__(self, start: datetime = START, *, turns: int = 50) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._ahead = timedelta(0)
        self._turns = turns
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""
        return self._start + timedelta(seconds=self._elapsed_s) + self._ahead

    def monotonic(self) -> float:
        """Return the seconds that were advanced so far, and 1,000 more."""
        return 1_000.0 + self._elapsed_s

    def jump(self, seconds: float) -> None:
        """Set the clock, ahead or (negative) back; what is monotonic stays so."""
        self._ahead += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced so far; not positive: give way once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), woken))
        await woken

    @property
    def sleeping(self) -> list[float]:
        """Seconds until each sleeper wakes, the next one first."""
        return [at - self._elapsed_s for at, _, woken in sorted(self._sleepers) if not woken.done()]

    async def settle(self) -> None:
        """Let everybody run until they wait again (for this clock, or for something outside)."""
        for _ in range(self._turns):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its own instant and letting it run before the next wakes."""
        await self.settle()
        target = self._elapsed_s + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            at, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_s = at
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._elapsed_s = target
        await self.settle()

    async def advance_to_next(self) -> float:
        """Move on to the instant at which the next sleeper wakes; return the seconds that took.

        Raises:
            AssertionError: Nobody sleeps.
        """
        await self.settle()
        assert self.sleeping, "nobody sleeps on this clock"
        seconds = self.sleeping[0]
        await self.advance(seconds)
        return seconds
