"""The request budget of one account: evenly paced, first come first served, paused by a 429.

Why not a bucket: one of 30 tokens per minute lets 59 requests through in its first minute, and the
provider's 60 are shared with everything else the partner does with that key.

Processes that watch with the same keys share the slots. Each takes one for the head of its queue, or as many
as fall into a second where the pace is quick; so one that ends wastes no more than those.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from monitor.clock import Clock
from monitor.errors import StoreUnavailable

WINDOW_S = 60.0
"""The provider counts requests per minute; a minute after a 429 its window has surely reset."""
LONGEST_PAUSE_S = 3600.0
"""A Retry-After of days is more likely a mistake than an order."""

_GRAIN_S = 1e-6
"""Less than this before a slot is rounding."""
_NOTICEABLE_S = 1e-3
"""Less than this is the program's own pace, not waiting."""
_AHEAD_S = 1.0
"""Shared slots are taken for no longer than this, but for one."""
_KNOWN_S = 0.5
"""Whoever has waited for a slot for longer asks whether another process has paused the account meanwhile."""
_PASSED_S = 0.1
"""A shared slot that nobody used in time is not saved up."""


class SharedSlots(Protocol):
    """The slots of one account for all processes that share it."""

    async def take(self, count: int, spacing_s: float) -> float:
        """Take `count` slots in a row and return the seconds until the first of them.

        Raises:
            StoreUnavailable: None was taken, as far as is known.
        """
        ...

    async def are_paused(self) -> bool:
        """Return whether a process has paused the account, as of half a second ago at most.

        Raises:
            StoreUnavailable: That is not known.
        """
        ...

    async def pause(self, seconds: float) -> None:
        """Let no process have a slot for so long.

        Raises:
            StoreUnavailable: The others do not know.
        """
        ...


class AccountBudget:
    """Hands out one request per `60 / requests_per_minute` seconds.

    Args:
        requests_per_minute: More than 0.
        clock: The time the slots are measured by.
        on_wait: Told the seconds each request waited, when it did.
        shared: Where the slots come from; None: no other process asks.
    """

    def __init__(
        self,
        *,
        requests_per_minute: float,
        clock: Clock,
        on_wait: Callable[[float], None],
        shared: SharedSlots | None = None,
    ) -> None:
        self.requests_per_minute = requests_per_minute
        self._spacing_s = WINDOW_S / requests_per_minute
        self._clock = clock
        self._on_wait = on_wait
        self._shared = shared
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._next_s = clock.monotonic()
        self._paused_until_s = clock.monotonic()
        self._taken: deque[float] = deque()
        """Shared slots that nobody has used yet."""
        self._looked_s = clock.monotonic()
        """When the shared slots last said whether they are paused."""

    async def acquire(self) -> None:
        """Wait for the next slot. A caller that is cancelled while waiting takes none.

        Raises:
            StoreUnavailable: The slots are shared, and cannot be taken.
        """
        came_s = self._clock.monotonic()
        self._waiting += 1
        try:
            # The lock queues in order of arrival; only its holder watches the clock.
            async with self._turn:
                if self._shared is None:
                    await self._wait_alone(came_s)
                else:
                    await self._wait_shared(self._shared)
        finally:
            self._waiting -= 1
            waited_s = self._clock.monotonic() - came_s
            if waited_s >= _NOTICEABLE_S:
                self._on_wait(waited_s)

    async def pause(self, retry_after_s: float | None) -> None:
        """Hand out nothing for `retry_after_s` seconds; None: for a whole window, whose start is unknown."""
        seconds = WINDOW_S if retry_after_s is None else min(max(retry_after_s, 0.0), LONGEST_PAUSE_S)
        self._paused_until_s = max(self._paused_until_s, self._clock.monotonic() + seconds)
        self._taken.clear()
        if self._shared is not None:
            with suppress(StoreUnavailable):  # the others hear it from the provider
                await self._shared.pause(seconds)

    async def _wait_alone(self, came_s: float) -> None:
        slot_s = max(self._next_s, self._paused_until_s)
        while (wait_s := slot_s - self._clock.monotonic()) > _GRAIN_S:
            await self._clock.sleep(wait_s)
            slot_s = max(slot_s, self._paused_until_s)  # a pause may have come meanwhile
        # Counted from the slot, not from the waking, so that timers that fire late do not add up.
        self._next_s = max(max(slot_s, came_s) + self._spacing_s, self._clock.monotonic())

    async def _wait_shared(self, shared: SharedSlots) -> None:
        while self._taken and self._taken[0] < self._clock.monotonic() - _PASSED_S:
            self._taken.popleft()
        while True:
            if not self._taken:
                await self._take(shared)
            wait_s = max(self._taken[0], self._paused_until_s) - self._clock.monotonic()
            if wait_s > _GRAIN_S:
                await self._clock.sleep(wait_s)
            elif self._clock.monotonic() - self._looked_s > _KNOWN_S:
                if await shared.are_paused():
                    self._taken.clear()
                self._looked_s = self._clock.monotonic()
            else:
                self._taken.popleft()
                return

    async def _take(self, shared: SharedSlots) -> None:
        count = max(1, min(self._waiting, int(_AHEAD_S / self._spacing_s)))
        first_s = await shared.take(count, self._spacing_s)
        self._looked_s = self._clock.monotonic()
        self._taken.extend(self._looked_s + first_s + index * self._spacing_s for index in range(count))
