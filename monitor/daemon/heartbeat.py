"""The heartbeat: tells a watchdog elsewhere that the monitor works, so that silence means it does not.

It is sent while syncs advance, the store commits and the drain runs, whether or not the provider answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import httpx
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, Uptime
from monitor.errors import StoreUnavailable
from monitor.http.errors import NoAnswer
from monitor.http.redactor import Redactor
from monitor.http.request import request
from monitor.secret import Secret
from monitor.store.database import Database, commit_pulse
from monitor.store.health import StoreHealth

INTERVAL = timedelta(minutes=1)
_SYNCS_LATE_S = 120.0
_WAKING_S = 10.0
"""A process that was stopped for long has had no time yet to show that it works."""


class Syncs(Protocol):
    """What the heartbeat asks of the schedule."""

    def stuck_for_s(self) -> float | None:
        """Return for how many seconds nothing has been claimed; None while all is well."""
        ...


class Deliveries(Protocol):
    """What the heartbeat asks of the drain."""

    @property
    def alive(self) -> bool:
        """Whether it runs and turns."""
        ...


@dataclass(kw_only=True, eq=False)
class Heartbeat:
    """Sends one GET a minute while all is well.

    Args:
        http: Returns the client of the active config.
        redactor: Hides secrets in answers.
        database: Must commit.
        syncs: Must advance.
        deliveries: Must run.
        store: Must keep what syncs find.
        clock: The time.
        uptime: Tells a process that has just woken.
        log: Gets `heartbeat.withheld` and `heartbeat.failed`, once a streak.
    """

    http: Callable[[], httpx.AsyncClient]
    redactor: Redactor
    database: Database
    syncs: Syncs
    deliveries: Deliveries
    store: StoreHealth
    clock: Clock
    uptime: Uptime
    log: FilteringBoundLogger
    _trouble: str | None = field(init=False, default=None)

    async def beat(self, url: Secret) -> None:
        """Send it, unless the monitor does not work."""
        reason = await self._unwell()
        if reason is not None:
            self._say("heartbeat.withheld", reason)
            return
        try:
            answer = await request(
                self.http(), "GET", url.reveal(), redactor=self.redactor, now=self.clock.now()
            )
        except NoAnswer as exc:
            self._say("heartbeat.failed", str(exc))
            return
        if answer.is_success:
            self._trouble = None
        else:
            self._say("heartbeat.failed", answer.describe())

    async def _unwell(self) -> str | None:
        self.uptime.look()
        if self.clock.monotonic() - self.uptime.since_s > _WAKING_S:
            if (self.syncs.stuck_for_s() or 0.0) > _SYNCS_LATE_S:
                return "syncs are making no progress"
            if not self.deliveries.alive:
                return "delivery has stopped"
        try:
            await self.database.transact(lambda tx: commit_pulse(tx, self.clock.now()))
        except StoreUnavailable as exc:
            return f"the store is not accepting writes: {exc.reason}"
        return self.store.reason()

    def _say(self, event: str, reason: str) -> None:
        if self._trouble != reason:
            self.log.warning(event, reason=reason)
        self._trouble = reason
