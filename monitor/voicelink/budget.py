"""The request budget of one account: evenly paced, first come first served, paused by a 429.

Why not a bucket: one of 30 tokens per minute lets 59 requests through in its first minute, and the
provider's 60 are shared with everything else the partner does with that key.
"""

import asyncio
from collections.abc import Callable

from monitor.clock import Clock

WINDOW_S = 60.0
"""The provider counts requests per minute; a minute after a 429 its window has surely reset."""
LONGEST_PAUSE_S = 3600.0
"""A Retry-After of days is more likely a mistake than an order."""

_GRAIN_S = 1e-6
"""Less than this before a slot is rounding."""
_NOTICEABLE_S = 1e-3
"""Less than this is the program's own pace, not waiting."""


class AccountBudget:
    """Hands out one request per `60 / requests_per_minute` seconds.

    Args:
        requests_per_minute: More than 0.
        clock: The time the slots are measured by.
        on_wait: Told the seconds each request waited, when it did.
    """

    def __init__(self, *, requests_per_minute: float, clock: Clock, on_wait: Callable[[float], None]) -> None:
        self.requests_per_minute = requests_per_minute
        self._spacing_s = WINDOW_S / requests_per_minute
        self._clock = clock
        self._on_wait = on_wait
        self._turn = asyncio.Lock()
        self._next_s = clock.monotonic()
        self._paused_until_s = clock.monotonic()

    async def acquire(self) -> None:
        """Wait for the next slot. A caller that is cancelled while waiting takes none."""
        came_s = self._clock.monotonic()
        try:
            # The lock queues in order of arrival; only its holder watches the clock.
            async with self._turn:
                slot_s = max(self._next_s, self._paused_until_s)
                while (wait_s := slot_s - self._clock.monotonic()) > _GRAIN_S:
                    await self._clock.sleep(wait_s)
                    slot_s = max(slot_s, self._paused_until_s)  # a pause may have come meanwhile
                # Counted from the slot, not from the waking, so that timers that fire late do not add up.
                self._next_s = max(max(slot_s, came_s) + self._spacing_s, self._clock.monotonic())
        finally:
            waited_s = self._clock.monotonic() - came_s
            if waited_s >= _NOTICEABLE_S:
                self._on_wait(waited_s)

    def pause(self, retry_after_s: float | None) -> None:
        """Hand out nothing for `retry_after_s` seconds; None: for a whole window, whose start is unknown."""
        seconds = WINDOW_S if retry_after_s is None else min(max(retry_after_s, 0.0), LONGEST_PAUSE_S)
        self._paused_until_s = max(self._paused_until_s, self._clock.monotonic() + seconds)
