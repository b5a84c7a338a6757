"""Says that this replica is there, and notices which others are: PostgreSQL only."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, StoreClock
from monitor.daemon.jobs import JobRunner
from monitor.daemon.reload import ActiveConfig
from monitor.metrics import Metrics
from monitor.store import replicas as store
from monitor.store.database import Database
from monitor.store.enrol import wants_of
from monitor.store.replicas import free_what_they_held, leave, report, store_time

INTERVAL = timedelta(seconds=3)
"""A replica counts as gone when it missed five of these."""


@dataclass(kw_only=True, eq=False)
class Presence:
    """Reports this replica, follows the database's clock and what other replicas change.

    Args:
        database: Shared.
        active: What this replica wants; told what moved.
        clock: The database's, carried on between two reports.
        runner: Runs the report.
        metrics: Show how many there are, and how far the machine's clock is off.
        on_moved: Called when something may be free, due or decided that was not.
    """

    database: Database
    active: ActiveConfig
    clock: Clock
    runner: JobRunner
    metrics: Metrics
    on_moved: Callable[[], None]

    async def follow_clock(self) -> None:
        """Take over the database's clock; use a database for as long as this version can.

        Raises:
            StoreUnavailable: The database did not answer, or only a newer version can use it.
        """
        if not self.database.is_sqlite:
            async with self.database.read(looks=True) as tx:
                await self._take_over_clock(tx)

    def start(self) -> None:
        """Begin to report."""
        if not self.database.is_sqlite:
            self.runner.every(INTERVAL, "reporting this replica", self._report, at_once=True)

    async def leave(self) -> None:
        """Say that this replica ends.

        Raises:
            StoreUnavailable: The database did not answer; the others find out by themselves.
        """
        if not self.database.is_sqlite:
            me = self.active.state.replica.id
            await self.database.transact(lambda tx: leave(tx, me, self.clock.now()))

    async def _take_over_clock(self, tx: AsyncConnection) -> None:
        if isinstance(self.clock, StoreClock):
            now, is_ours = await store_time(tx)
            self.database.use(usable=is_ours)
            self.clock.seen(now)
            self.metrics.clock_offset(self.clock.offset_s)

    async def _report(self) -> None:
        if self.database.is_lost:
            await self.follow_clock()
            self.active.presence = None  # what it was may have been restored from a backup
        state = self.active.state
        wants = wants_of(state.watchlist.connections, state.watchlist.discovering, self.active.receivers)

        doubtful = frozenset(self.database.doubtful)

        async def write(tx: AsyncConnection) -> store.Presence:
            await self._take_over_clock(tx)
            found = await report(tx, state.replica, wants, self.clock.now())
            if doubtful:
                await free_what_they_held(tx, [state.replica.id], self.clock.now(), until=doubtful)
            return found

        found = await self.database.transact(write)
        state.live, state.replicas = len(found.live), found.live
        self.database.doubtful -= doubtful
        self.metrics.replicas({(each.id, each.version, each.digest): each.started_at for each in found.live})
        if found.freed or doubtful or len(found.wants) > 1:
            self.on_moved()
        if not found.is_like(self.active.presence):
            await self.active.follow()
            self.on_moved()
