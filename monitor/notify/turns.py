"""The loop that brings messages out: take a turn, wait for a change or the time, take the next.

A lane of the drain is one, and so is the poster of an Alertmanager's URL.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable

from monitor.clock import Clock

POLL_S = 5.0
"""Other processes write too: the store is looked at this often without being woken."""


class Turns(ABC):
    """Takes turns in a task of its own.

    Args:
        name: Of its task.
        clock: Time, also for waiting.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.turned_at_s = clock.monotonic()
        self.stopping = False
        self._name = name
        self._clock = clock
        self._woken = False
        self._looks = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @abstractmethod
    async def turn(self, *, woken: bool) -> float:
        """Do what is to be done now; return the seconds after which to look again unless woken."""

    @abstractmethod
    async def leave(self) -> None:
        """Clean up after the last turn, also when cancelled."""

    @property
    def is_done(self) -> bool:
        """Whether there is no need for another turn."""
        return self.stopping

    @property
    def has_ended(self) -> bool:
        """Whether its task was started and is over."""
        return self.task is not None and self.task.done()

    def start(self) -> None:
        """Begin to take turns."""
        self.task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Have it look at once."""
        self._woken = True
        self._looks.set()

    def stop(self) -> None:
        """Have it end after the turn that is under way, or once it is done."""
        self.stopping = True
        self.wake()

    async def _run(self) -> None:
        try:
            while not self.is_done:
                self.turned_at_s = self._clock.monotonic()
                woken, self._woken = self._woken, False
                self._looks.clear()
                wait_s = await self.turn(woken=woken)
                if not self.is_done:
                    await self._wait(wait_s)
        finally:
            await self.leave()

    async def _wait(self, seconds: float) -> None:
        timer = asyncio.create_task(self._look_after(seconds))
        try:
            await self._looks.wait()
        finally:
            timer.cancel()

    async def _look_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._looks.set()


async def end(loops: Iterable[Turns], grace_s: float | None = 0.0) -> None:
    """Wait for loops to end, for at most `grace_s` seconds (None: for ever); then cancel them."""
    tasks = [each.task for each in loops if each.task is not None and not each.has_ended]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
