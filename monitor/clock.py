"""The clock, which everything else is given; nothing else reads the time."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Interface of a clock; tests have one that they move by hand."""

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await asyncio.sleep(seconds)


class StoreClock:
    """The clock of the database that replicas share, carried on between two looks at it.

    Until the first look, and where no one looks, it is the machine's.

    Args:
        machine: Measures the time between two looks.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._seen: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """Return the current instant by the database's clock."""
        if self._seen is None:
            return self._machine.now()
        seen_at, seen_s = self._seen
        return seen_at + timedelta(seconds=self._machine.monotonic() - seen_s)

    def monotonic(self) -> float:
        """Return seconds of the machine's clock that never goes back."""
        return self._machine.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await self._machine.sleep(seconds)

    def seen(self, at: datetime) -> None:
        """Take over what the database's clock shows right now."""
        self._seen = at, self._machine.monotonic()

    @property
    def offset_s(self) -> float:
        """How many seconds the machine's clock is ahead of this one."""
        return (self._machine.now() - self.now()).total_seconds()


def shown_by(machine: Clock, clock: Clock, at: datetime) -> datetime:
    """Return what the machine's clock shows at an instant of another clock."""
    return at if machine is clock else at + (machine.now() - clock.now())


_STOPPED = timedelta(seconds=10)
SET_BACK = timedelta(seconds=5)
"""Less than this is the clock's own correction."""


class Uptime:
    """Knows since when this process has been running, whatever becomes of the clock.

    A process that was stopped (SIGSTOP, a laptop's lid, a paused VM) has been running since it woke: while it
    slept it could not watch anything. `look` is called several times a second, and before its answer is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_at = self.since = clock.now()
        self._looked_s = self.since_s = clock.monotonic()
        self.set_backs = 0
        """How often the clock was set back by more than a few seconds."""

    def look(self) -> None:
        """Compare both clocks with what they showed when this was last called."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        passed = timedelta(seconds=now_s - self._looked_s)
        set_back = passed - (now - self._looked_at)
        if max(passed, now - self._looked_at) > _STOPPED:
            self.since, self.since_s = now, now_s
        elif set_back > SET_BACK:
            self.since -= set_back
        if set_back > SET_BACK:
            self.set_backs += 1
        self._looked_at, self._looked_s = now, now_s


def rfc3339(at: datetime) -> str:
    """Return an instant as logs, alert bodies and the API write it: `2026-01-31T09:15:00.123Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
