"""Tasks that must not end by accident, and the watch over the clock."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.daemon.jobs import Discovery, Housekeeping
from monitor.daemon.reload import ActiveConfig
from monitor.errors import MonitorError
from monitor.metrics import Metrics
from monitor.sync.announce import Announcer
from monitor.sync.schedule import Schedule

_RESTART_AFTER_S = 1.0
_LAG_PROBE_S = 0.5
_SET_BACK = timedelta(seconds=5)


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
        metrics: Metrics,
        housekeeping: Housekeeping,
        discovery: Discovery,
        active: ActiveConfig,
        schedule: Schedule,
        log: FilteringBoundLogger,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._housekeeping = housekeeping
        self._discovery = discovery
        self._active = active
        self._schedule = schedule
        self._log = log

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            before_at, before_s = self._clock.now(), self._clock.monotonic()
            await self._clock.sleep(_LAG_PROBE_S)
            passed_s = self._clock.monotonic() - before_s
            self._metrics.loop_lag(max(passed_s - _LAG_PROBE_S, 0.0))
            if self._clock.now() - before_at < timedelta(seconds=passed_s) - _SET_BACK:
                await self._plan_anew()

    async def _plan_anew(self) -> None:
        self._log.warning("clock.set_back")
        self._housekeeping.start()
        self._discovery.soon()
        try:
            await self._active.install(self._active.config)
        except MonitorError as exc:
            self._log.error("clock.not_followed", error=str(exc))
        self._schedule.look_now()
