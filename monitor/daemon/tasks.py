"""Tasks that must not end by accident, and the watch over the clock."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, Uptime
from monitor.daemon.discovery import Discovery
from monitor.daemon.jobs import Housekeeping
from monitor.daemon.reload import ActiveConfig
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.sync.announce import Announcer
from monitor.sync.failures import FailureWatch
from monitor.sync.schedule import Schedule

_RESTART_AFTER_S = 1.0
_LAG_PROBE_S = 0.5
_IN_FLIGHT_S = 10.0
"""After so long everything is written down that was computed before a clock was set back."""


@dataclass(eq=False)
class Tasks:
    """The background tasks of a daemon, ended together."""

    clock: Clock
    announcer: Announcer
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def keep_running(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run what must never end; if a bug ends it, log that and start it again."""

        async def supervise() -> None:
            while True:
                try:
                    await run()
                except Exception as exc:  # noqa: BLE001 - a task's root: without it no message would go out again
                    self.announcer.internal_error(name, exc)
                    await self.clock.sleep(_RESTART_AFTER_S)
                else:
                    return

        self.start(name, supervise())

    async def close(self) -> None:
        """End all of them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class ClockWatch:
    """Measures how late the event loop wakes it, and plans everything anew after a clock was set back.

    What was due by the old clock would otherwise wait for as long as the clock was set back.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        uptime: Uptime,
        metrics: Metrics,
        housekeeping: Housekeeping,
        discovery: Discovery,
        active: ActiveConfig,
        failures: FailureWatch,
        schedule: Schedule,
        announcer: Announcer,
        log: FilteringBoundLogger,
    ) -> None:
        self._clock = clock
        self._uptime = uptime
        self._metrics = metrics
        self._housekeeping = housekeeping
        self._discovery = discovery
        self._active = active
        self._failures = failures
        self._schedule = schedule
        self._announcer = announcer
        self._log = log
        self._follow_at_s: float | None = None
        self._follow_again = False

    async def run(self) -> None:
        """Watch until cancelled."""
        seen = self._uptime.set_backs
        while True:
            before_s = self._clock.monotonic()
            await self._clock.sleep(_LAG_PROBE_S)
            now_s = self._clock.monotonic()
            self._metrics.loop_lag(max(now_s - before_s - _LAG_PROBE_S, 0.0))
            self._uptime.look()
            if self._uptime.set_backs != seen:
                seen = self._uptime.set_backs
                self._log.warning("clock.set_back")
                self._housekeeping.start()
                self._discovery.soon()
                self._schedule.look_now()
                self._follow_at_s, self._follow_again = now_s, True
            if self._follow_at_s is not None and now_s >= self._follow_at_s:
                await self._follow()

    async def _follow(self) -> None:
        """Pull in what is stored, and plan anew; while the store is away, try again."""
        try:
            await self._active.follow_clock()
        except StoreUnavailable as exc:
            self._announcer.store.failed(exc, "following a clock that was set back")
            return
        # Once more for what was computed before and is written down after the first time.
        self._follow_at_s = self._clock.monotonic() + _IN_FLIGHT_S if self._follow_again else None
        self._follow_again = False
        self._failures.moved = True
        self._schedule.look_now()
