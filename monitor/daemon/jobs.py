"""What must be done from time to time: gauges, reminders, secrets, the heartbeat, discovery, forgetting."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from monitor.clock import Clock
from monitor.config import secrets_of
from monitor.daemon import heartbeat
from monitor.daemon.receivers import repeat_intervals
from monitor.daemon.reload import DISCOVERY_INTERVAL, Installation
from monitor.drift.alert import Kind, Severity
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.notify.drain import Drain
from monitor.store.alerts import firing_by_kind
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.outbox import backlogs, remind
from monitor.store.retention import BATCH, prune
from monitor.sync.announce import Announcer
from monitor.sync.schedule import Schedule

_STORE_LOST = timedelta(seconds=30)
_OTHERS_WRITE = timedelta(seconds=5)
"""Commands and other replicas change the store too; nobody tells us."""


class Housekeeping:
    """The jobs that run at intervals.

    Args:
        installation: What is in force.
        schedule: Runs the jobs.
        drain: Woken for reminders.
        heartbeat: Sent once a minute.
        database: The store.
        codec: Reads it.
        metrics: Get what only the store knows.
        announcer: Gets the maintenance windows, and says when the store fails.
        refresh_certificate: Reads the certificate of the page again if it changed.
        clock: The time.
    """

    def __init__(
        self,
        *,
        installation: Installation,
        schedule: Schedule,
        drain: Drain,
        heartbeat: heartbeat.Heartbeat,
        database: Database,
        codec: Codec,
        metrics: Metrics,
        announcer: Announcer,
        refresh_certificate: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._installation = installation
        self._schedule = schedule
        self._drain = drain
        self._heartbeat = heartbeat
        self._database = database
        self._codec = codec
        self._metrics = metrics
        self._announcer = announcer
        self._refresh_certificate = refresh_certificate
        self._clock = clock
        self._troubles: set[tuple[str, datetime | None, bool]] = set()
        self._read_at = clock.now()
        self._seen_writes = -1
        self.store_is_away = False

    def start(self) -> None:
        """Begin."""
        every = self._schedule.every
        every(timedelta(seconds=1), "gauges and reminders", self._look_around)
        every(timedelta(seconds=5), "secrets", self._refresh_secrets)
        every(timedelta(hours=1), "retention", self._prune)
        if not self._database.is_sqlite:
            every(timedelta(seconds=5), "replicas", self._follow_replicas)
        every(heartbeat.INTERVAL, "heartbeat", self._beat, at_once=True)
        self.discover_soon()

    def discover_soon(self, delay: timedelta = timedelta(0)) -> None:
        """Ask for the connections of accounts that want it, instead of whenever that was to be."""
        if any(account.discover for account in self._installation.config.accounts):
            self._schedule.once(self._clock.now() + delay, "discovery", self._discover)

    async def _look_around(self) -> None:
        # One job, not two: an idle monitor does little else than to wake up.
        await self._refresh_gauges()
        await self._remind()

    async def _refresh_gauges(self) -> None:
        now = self._clock.now()
        for connection in self._installation.live.watchlist.connections.values():
            self._announcer.maintenance(connection.identity, is_open=connection.maintenance(now).open)
        writes = self._database.writes
        if not self.store_is_away and writes == self._seen_writes and now - self._read_at < _OTHERS_WRITE:
            return
        try:
            async with self._database.read() as tx:
                counted = await firing_by_kind(tx)
                waiting = await backlogs(tx)
        except StoreUnavailable as exc:
            if not self.store_is_away:
                self._announcer.store_failed(exc, "reading the gauges")
            self.store_is_away = True
            self._metrics.show_connections(shown=now - self._read_at < _STORE_LOST)
            return
        self.store_is_away, self._read_at, self._seen_writes = False, now, writes
        self._metrics.show_connections(shown=True)
        self._metrics.set_alerts_firing(
            {(kind, severity): counted.get((kind, severity), 0) for kind in Kind for severity in Severity}
        )
        for backlog in waiting:
            self._metrics.set_backlog(backlog.receiver, backlog.pending, backlog.dead, backlog.oldest_at)
        troubles = {(each.receiver, each.troubled_since, each.refused) for each in waiting}
        if troubles != self._troubles:
            self._troubles = troubles
            self._schedule.failures_moved()

    async def _follow_replicas(self) -> None:
        """Show what other replicas found: every one exports every connection, so a lost one makes no gap."""
        connections = self._installation.live.watchlist.connections
        try:
            async with self._database.read() as tx:
                standings = await watched(tx, self._codec)
        except StoreUnavailable:
            return  # the gauges' own job counts and says it
        now = self._clock.now()
        for standing in standings:
            connection = connections.get(standing.identity)
            if connection is not None:
                self._announcer.follow(standing, connection, now)

    async def _remind(self) -> None:
        repeats = repeat_intervals(self._installation.config)
        if not repeats:
            return
        try:
            async with self._database.write() as tx:
                reminded = await remind(tx, repeats, self._clock.now())
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "queueing reminders")
            return
        if reminded:
            self._drain.wake()

    async def _refresh_secrets(self) -> None:
        secrets = list(secrets_of(self._installation.config))
        await asyncio.to_thread(lambda: [secret.refresh() for secret in secrets])
        await self._refresh_certificate()

    async def _beat(self) -> None:
        url = self._installation.config.heartbeat.secret
        if url is not None:
            await self._heartbeat.beat(url)

    async def _discover(self) -> None:
        settled = False
        try:
            settled = await self._installation.discover()
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "recording what discovery found")
        finally:  # whatever happens: there is no other that asks again
            self._schedule.failures_moved()
            self._schedule.look_now()
            recheck = self._installation.config.schedule.recheck_interval
            self.discover_soon(DISCOVERY_INTERVAL if settled else recheck)

    async def _prune(self) -> None:
        before = self._clock.now() - self._installation.config.store.retention
        try:
            deleted = BATCH
            while deleted >= BATCH:
                async with self._database.write() as tx:
                    deleted = await prune(tx, before)
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "forgetting what is old")
