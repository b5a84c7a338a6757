"""What must be done from time to time: gauges, reminders, secrets, the heartbeat, retention."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from apscheduler.schedulers.base import BaseScheduler
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, shown_by
from monitor.config import secrets_of
from monitor.daemon import heartbeat
from monitor.daemon.reload import ActiveConfig
from monitor.daemon.status import Readiness
from monitor.drift.alert import Kind, Severity
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.notify.drain import Drain
from monitor.secret import Secret
from monitor.store import widespread
from monitor.store.actions import any_unlogged
from monitor.store.alerts import firing_by_kind
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.outbox import (
    Backlog,
    ReceiverRow,
    backlogs,
    due_reminders,
    receiver_rows,
    remind,
    try_again,
)
from monitor.store.replicas import take_turn
from monitor.store.retention import BATCH, prune
from monitor.store.silences import any_to_log
from monitor.sync.announce import Announcer
from monitor.sync.failures import FailureWatch

_LOOK_AT_STORE_S = 10.0
_OTHERS_WRITE_S = 5.0
"""Commands and other replicas change the store too, without a word to this process."""
_LATE = 0.02
_MOST_LATE_S = 30.0
"""How late a reminder may be: a part of its interval."""
_LONGEST_COMMIT = timedelta(seconds=5)
"""What a replica wrote is seen so much later than it says, at most; nearly always."""
_EVERY_ROW_S = 60.0
"""Now and then replicas read every row, for what was seen later than that."""


@dataclass(eq=False)
class JobRunner:
    """Runs jobs at their times, on APScheduler: one run at a time, late rather than never.

    A job's name says what it does, for the log line of a store that fails it. Instants are those of `clock`;
    the scheduler goes by `machine`.
    """

    scheduler: BaseScheduler
    clock: Clock
    machine: Clock
    announcer: Announcer

    def once(self, at: datetime, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job at an instant, instead of whenever it was to run before."""
        self._add(name, job, "date", run_date=shown_by(self.machine, self.clock, at))

    def every(
        self, interval: timedelta, name: str, job: Callable[[], Awaitable[None]], *, at_once: bool = False
    ) -> None:
        """Run a job at an interval."""
        first = {"next_run_time": self.machine.now()} if at_once else {}
        self._add(name, job, "interval", seconds=interval.total_seconds(), **first)

    def _add(self, name: str, job: Callable[[], Awaitable[None]], trigger: str, **times: Any) -> None:
        async def run() -> None:
            try:
                await job()
            except asyncio.CancelledError:
                return  # APScheduler would take the end of the daemon for a bug
            except StoreUnavailable as exc:
                self.announcer.store.failed(exc, name)
            except Exception as exc:  # noqa: BLE001 - a task's root: it runs again at its time
                self.announcer.internal_error(name, exc)

        self.scheduler.add_job(
            run,
            trigger,
            id=name,
            coalesce=True,
            misfire_grace_time=None,
            replace_existing=True,
            **times,
        )


@dataclass(kw_only=True, eq=False)
class Housekeeping:
    """The jobs that run at intervals.

    Args:
        runner: Runs them.
        active: The active config.
        failures: Told when receivers begin or cease to fail.
        drain: Woken for reminders.
        heartbeat: Sent once a minute.
        database: The store.
        codec: Reads it.
        metrics: Get what only the store knows.
        announcer: Gets the maintenance windows, and says when the store fails.
        readiness: Told whether the store is available.
        refresh_certificate: Reads the certificate of the page again if it changed.
        log_commands: Logs what commands have done, and silences that have begun and ended.
        clock: The time.
    """

    runner: JobRunner
    active: ActiveConfig
    failures: FailureWatch
    drain: Drain
    heartbeat: heartbeat.Heartbeat
    database: Database
    codec: Codec
    metrics: Metrics
    announcer: Announcer
    readiness: Readiness
    refresh_certificate: Callable[[], Awaitable[None]]
    log_commands: Callable[[], Awaitable[None]]
    clock: Clock
    _troubles: set[tuple[str, datetime | None, bool, int]] = field(init=False, default_factory=set)
    _widespread_at: datetime | None = field(init=False, default=None)
    _commanded: bool = field(init=False, default=False)
    _counted_s: float = field(init=False, default=-math.inf)
    _reminded_s: float = field(init=False, default=-math.inf)
    _seen_moves: int = field(init=False, default=-1)
    _mended: set[str] = field(init=False, default_factory=set)
    _followed_at: datetime | None = field(init=False, default=None)
    _followed_all_s: float = field(init=False, default=-math.inf)

    def start(self) -> None:
        """Begin; once more after a clock was set back."""
        every = self.runner.every
        every(timedelta(seconds=1), "reading gauges and queueing what is due", self._look_around)
        every(timedelta(seconds=5), "reading secrets again", self._refresh_secrets)
        every(timedelta(seconds=_LOOK_AT_STORE_S), "looking at the store's file", self._look_at_store)
        every(timedelta(hours=1), "deleting what is past its retention", self._prune)
        if not self.database.is_sqlite:
            every(timedelta(seconds=5), "following other replicas", self._follow_replicas)
        every(heartbeat.INTERVAL, "sending the heartbeat", self._beat, at_once=True)

    async def _look_around(self) -> None:
        # One job, not two: an idle monitor does little else than wake up.
        await self._refresh_gauges()
        await self._tell_widespread()
        await self._remind()
        if self._commanded:
            await self.log_commands()
            self._commanded = False

    async def _refresh_gauges(self) -> None:
        now, now_s = self.clock.now(), self.clock.monotonic()
        for connection in self.active.state.watchlist.connections.values():
            if connection.windows:
                self.announcer.maintenance(connection.identity, is_open=connection.maintenance(now).open)
        moves = self.database.moves
        quiet = moves == self._seen_moves and self.readiness.unread_for_s < _OTHERS_WRITE_S
        counts = now_s - self._counted_s >= _OTHERS_WRITE_S
        try:
            if quiet and self.readiness.store_away is None:
                # Whoever used a command waits for what it does.
                self._commanded = await self.database.query(any_unlogged)
                return
            read = partial(_gauges, backlog=counts, now=now)
            counted, receivers, queues, self._widespread_at, self._commanded = await self.database.query(read)
        except StoreUnavailable as exc:
            self.announcer.store.failed(exc, "reading the gauges")
            self.readiness.store_failed(exc.reason)
            return
        self.readiness.store_answered()
        self._seen_moves = moves
        self.metrics.set_alerts_firing(
            {(kind, severity): counted.get((kind, severity), 0) for kind in Kind for severity in Severity}
        )
        if counts:
            self._counted_s = now_s
        for queue in queues:
            self.metrics.set_backlog(queue.receiver, queue.pending, queue.dead, queue.oldest_at)
        troubles = {(each.name, each.troubled_since, each.refused, each.refused_in_row) for each in receivers}
        if troubles != self._troubles:
            self._troubles = troubles
            self.failures.moved = True

    async def _tell_widespread(self) -> None:
        """Look at the widespread alerts whose parts have moved, each in a transaction of its own."""
        if self._widespread_at is None or self._widespread_at > self.clock.now():
            return
        watchlist = self.active.state.watchlist
        async with self.database.read() as tx:
            ids = await widespread.due(tx, self.clock.now())
        for alert_id in ids:
            look = partial(
                widespread.look_at,
                alert_id=alert_id,
                spread=watchlist.spread,
                now=self.clock.now(),
            )
            if await self.database.transact(look):
                self.drain.wake()

    async def _look_at_store(self) -> None:
        """See that the store's file is still the one at its path; while it is not, nothing uses it."""
        try:
            await self.database.look()
        except StoreUnavailable as exc:
            if self.database.is_lost:
                self.readiness.store_failed(exc.reason)
            raise

    async def _remind(self) -> None:
        repeats = self.active.state.watchlist.repeats
        now_s = self.clock.monotonic()
        if not repeats or now_s - self._reminded_s < min(
            _MOST_LATE_S, _LATE * min(repeats.values()).total_seconds()
        ):
            return
        self._reminded_s = now_s
        async with self.database.read() as tx:  # mostly for nothing: wait for no writer
            if not await due_reminders(tx, repeats, self.clock.now()):
                return

        async def queue(tx: AsyncConnection) -> int:
            now = self.clock.now()
            decides = await take_turn(tx, self.active.state.replica, now)
            return await remind(tx, repeats, now) if decides else 0

        if await self.database.transact(queue):
            self.drain.wake()

    async def _follow_replicas(self) -> None:
        """Show what other replicas found: every one exports every connection, so a lost one makes no gap."""
        connections = self.active.state.watchlist.connections
        now, now_s, since = self.clock.now(), self.clock.monotonic(), self._followed_at
        every_row = now_s - self._followed_all_s >= _EVERY_ROW_S
        moved_since = None if since is None or every_row else since - _LONGEST_COMMIT
        try:
            async with self.database.read() as tx:
                states = await watched(tx, self.codec, moved_since=moved_since)
        except StoreUnavailable:
            return  # the job of the gauges counts and logs it
        self._followed_at = now
        if moved_since is None:
            self._followed_all_s = now_s
        for state in states:
            connection = connections.get(state.identity)
            if connection is not None:
                self.announcer.follow(state, connection, now)
        await self.active.show_numbers(states)

    async def _refresh_secrets(self) -> None:
        secrets, redactor = self.active.secrets, self.active.network.redactor

        def refresh() -> tuple[list[Secret], list[Secret]]:
            before = [secret.refused for secret in secrets]
            changed = [secret for secret in secrets if secret.refresh(redactor.add)]
            if changed:
                redactor.learn(secrets)
            told = zip(secrets, before, strict=True)
            return changed, [secret for secret, known in told if secret.refused not in (None, known)]

        changed, refused = await asyncio.to_thread(refresh)
        for secret in refused:
            self.active.log.warning("secret.rejected", file=str(secret.file), error=secret.refused)
        await self.refresh_certificate()
        if changed:
            receivers = self.active.config.receivers
            self._mended |= {each.name for each in receivers if not set(changed).isdisjoint(secrets_of(each))}
        if self._mended:
            # A new URL, or another credential, is reason enough to try a receiver that is gone.
            await self.database.transact(partial(try_again, names=self._mended))
            self._mended.clear()
            self.drain.wake()

    async def _beat(self) -> None:
        url = self.active.config.heartbeat.secret
        if url is not None:
            await self.heartbeat.beat(url)

    async def _prune(self) -> None:
        before = self.clock.now() - self.active.config.store.retention
        deleted = BATCH
        while deleted >= BATCH:
            deleted = await self.database.transact(partial(prune, before=before))


async def _gauges(
    tx: AsyncConnection, *, backlog: bool, now: datetime
) -> tuple[dict[tuple[Kind, Severity], int], Sequence[ReceiverRow], Sequence[Backlog], datetime | None, bool]:
    return (
        await firing_by_kind(tx),
        await receiver_rows(tx),
        await backlogs(tx) if backlog else (),
        await widespread.next_look_at(tx),
        await any_unlogged(tx) or await any_to_log(tx, now),
    )
