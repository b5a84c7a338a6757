"""What is due, and the jobs that keep the house.

`next_due_at` of each connection lives in the store. One APScheduler job, the tick, writes down how finished
syncs went, claims what is due, and is run again when the next connection is. A tick is one transaction
however many connections it is about.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.store.claims import (
    Claim,
    SyncResult,
    claim_due,
    claim_one,
    flush,
    flush_singly,
    next_due_at,
    release,
    renew,
)
from monitor.store.database import Database
from monitor.sync.announce import Announcer
from monitor.sync.cycle import Done
from monitor.sync.failures import FleetWatch

_LEASE = timedelta(minutes=2)
_SHORTEST_REST = timedelta(milliseconds=100)
_LONGEST_REST = timedelta(seconds=1)
"""Commands write into the store too; nobody tells the daemon, so it looks."""
_AFTER_FAILURE = timedelta(seconds=2)
_TICK_LATE = timedelta(seconds=10)
_TICK = "tick"
_TICKS = 16


class Cycle(Protocol):
    """What the schedule sets to work."""

    async def run(self, claim: Claim) -> Done:
        """Carry out one claim; never raises."""
        ...


class Schedule:
    """Claims what is due and sees it through.

    Args:
        scheduler: Runs the jobs; started and shut down by `app.py`.
        database: Where what is due is kept.
        cycle: Carries out a claim.
        fleet: The policy of failures.
        clock: The time.
        metrics: For the delay between due and claimed.
        announcer: Says when the store fails.
        wake_drain: Called when somebody has to be told.
        log_internal: Told of mistakes of ours.
        batch: How many connections one tick claims at the most.
    """

    def __init__(
        self,
        *,
        scheduler: AsyncIOScheduler,
        database: Database,
        cycle: Cycle,
        fleet: FleetWatch,
        clock: Clock,
        metrics: Metrics,
        announcer: Announcer,
        wake_drain: Callable[[], None],
        log_internal: Callable[[str, BaseException], None],
        batch: int = 256,
    ) -> None:
        self._scheduler = scheduler
        self._database = database
        self._cycle = cycle
        self._fleet = fleet
        self._clock = clock
        self._metrics = metrics
        self._announcer = announcer
        self._wake_drain = wake_drain
        self._log_internal = log_internal
        self._batch = batch
        self._tasks: dict[str, tuple[Claim, asyncio.Task[Done]]] = {}
        self._fresh: list[SyncResult] = []
        self._moved = False
        self._due_at: datetime | None = None
        self._singly = False
        self._lost: list[tuple[Claim, datetime | None]] = []
        self._renewed_at = self._started_at = clock.now()
        self._failing = False
        self._ticking = False
        self._still = asyncio.Event()
        self._still.set()
        self._again = False
        self._resting_until: datetime | None = None
        self._soonest: datetime | None = None
        self._closing = False
        self.ticked_at: datetime | None = None
        """When a tick last succeeded; None before the first."""

    def start(self) -> None:
        """Begin to tick."""
        self._tick_at(self._clock.now())

    def once(self, at: datetime, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run a housekeeping job at an instant, instead of whenever it was to run before."""
        self._scheduler.add_job(
            self._housekeeping(name, job),
            "date",
            run_date=at,
            id=name,
            misfire_grace_time=None,
            replace_existing=True,
        )

    def every(
        self, interval: timedelta, name: str, job: Callable[[], Awaitable[None]], *, at_once: bool = False
    ) -> None:
        """Run a housekeeping job at an interval, one run at a time, late rather than never."""
        first = {"next_run_time": self._clock.now()} if at_once else {}
        self._scheduler.add_job(
            self._housekeeping(name, job),
            "interval",
            seconds=interval.total_seconds(),
            id=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
            replace_existing=True,
            **first,
        )

    def _housekeeping(self, name: str, job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Return the job as APScheduler may run it: it takes an end of the daemon for a mistake otherwise."""

        async def run() -> None:
            try:
                await job()
            except asyncio.CancelledError:
                return
            except Exception as exc:  # noqa: BLE001 - a task's root: it runs again at its time
                self._log_internal(name, exc)

        return run

    def failures_moved(self) -> None:
        """Have the policy of failures look at the next tick."""
        self._fleet.moved = True

    def stuck_since(self) -> datetime | None:
        """Return since when nothing is claimed any more; None while all is well."""
        if self.ticked_at is None or self._clock.now() - self.ticked_at > _TICK_LATE:
            return self.ticked_at or self._started_at
        return None

    def look_now(self) -> None:
        """Tick at once: the watchlist changed, or somebody asked for a sync."""
        if self._ticking:
            self._again = True
        else:
            self._tick_at(self._clock.now())

    async def sync_now(self, identity: str) -> bool:
        """Sync one connection whether or not it is due; return False if it is at work already."""
        if self._closing:
            return False
        now = self._clock.now()
        # One that only waits to be written down is not at work: it would be for a second after every sync.
        waiting = [fresh for fresh in self._fresh if fresh.claim.identity == identity]
        self._fresh = [fresh for fresh in self._fresh if fresh.claim.identity != identity]
        try:
            async with self._database.write() as tx:
                if waiting:
                    await self._flush(tx, waiting)
                claim = await claim_one(tx, identity, now, lease=_LEASE)
        except Exception:
            self._fresh[:0] = waiting
            raise
        if claim is None:
            return False
        self._begin(claim, now)
        return True

    async def tick(self) -> None:
        """Write down what is finished, claim what is due, and rest until there is more."""
        if self._closing:
            return  # it was on its way already; `close` writes down what there is
        if self._ticking:
            self._again = True
            return
        now = self._clock.now()
        self._ticking = True
        self._still.clear()
        try:
            rest_until = await self._turn(now)
            self._failing = False
            self.ticked_at = now
        except StoreUnavailable as exc:
            rest_until = now + _AFTER_FAILURE
            if not self._failing:
                self._announcer.store_failed(exc, "claiming what is due")
            self._failing = True
        except Exception as exc:  # noqa: BLE001 - a task's root: a tick that raised would be the last one
            rest_until = now + _AFTER_FAILURE
            self._log_internal("tick", exc)
        self._ticking = False
        self._still.set()
        soonest, self._soonest = self._soonest, None
        if not self._closing:
            self._tick_at(now if self._again else min(rest_until, soonest or rest_until))
        self._again = False

    async def close(self, grace_s: float) -> None:
        """Finish what is in flight, give the rest back, and write everything down."""
        self._closing = True
        await self._still.wait()  # a tick may be claiming right now
        tasks = [task for _, task in self._tasks.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lost.extend((claim, None) for claim, _ in self._tasks.values())
        self._tasks.clear()
        try:
            await self._write_down(self._clock.now(), claiming=False)
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "writing down the last syncs")

    async def _turn(self, now: datetime) -> datetime:
        claims, due_at = await self._write_down(now, claiming=not self._closing)
        for claim in claims:
            self._begin(claim, now)
        fleet_at = self._fleet.due_at(now)
        if fleet_at is not None and fleet_at <= now:
            if await self._fleet.run():
                self._wake_drain()
            fleet_at = self._fleet.due_at(now)
        earliest = min((at for at in (due_at, fleet_at) if at is not None), default=now + _LONGEST_REST)
        return min(max(earliest, now + _SHORTEST_REST), now + _LONGEST_REST)

    async def _write_down(self, now: datetime, *, claiming: bool) -> tuple[Sequence[Claim], datetime | None]:
        fresh, lost = self._fresh, self._lost
        held = [claim for claim, _ in self._tasks.values()]
        renewing = bool(held) and now - self._renewed_at > _LEASE / 4
        if not (fresh or lost or renewing or self._moved or self._expects(now)):
            due_at = await self._look()
            if not self._expects(now):
                return (), due_at
        self._fresh, self._lost = [], []
        moved, self._moved = self._moved, False
        try:
            async with self._database.write() as tx:
                if fresh:
                    await self._flush(tx, fresh)
                await self._release(tx, lost, now + _AFTER_FAILURE)
                if renewing:
                    await renew(tx, held, now + _LEASE)
                claims = await claim_due(tx, now, limit=self._batch, lease=_LEASE) if claiming else []
                self._due_at = due_at = await next_due_at(tx)
        except Exception:
            self._fresh[:0], self._lost[:0] = fresh, lost
            self._moved = self._moved or moved
            self._singly = True  # one row that is never taken must not hold up all the others
            raise
        self._singly = False
        # Not earlier: the policy of failures sees what is written down only.
        self._fleet.moved = self._fleet.moved or moved
        if renewing:
            self._renewed_at = now
        return claims, due_at

    async def _flush(self, tx: AsyncConnection, fresh: Sequence[SyncResult]) -> None:
        if not self._singly:
            await flush(tx, fresh)
            return
        for refused in await flush_singly(tx, fresh):
            await release(tx, [refused.claim], refused.due_at)
            self._announcer.store_failed(
                StoreUnavailable("the store does not take what this sync left"), "writing down a sync"
            )

    async def _release(
        self, tx: AsyncConnection, lost: Sequence[tuple[Claim, datetime | None]], soon: datetime
    ) -> None:
        for due_at in dict.fromkeys(due_at for _, due_at in lost):
            await release(tx, [claim for claim, at in lost if at == due_at], due_at or soon)

    def _expects(self, now: datetime) -> bool:
        """Whether something is due now, as far as was seen when last looked."""
        return self._due_at is not None and self._due_at <= now

    async def _look(self) -> datetime | None:
        async with self._database.read() as tx:
            self._due_at = await next_due_at(tx)
        return self._due_at

    def _begin(self, claim: Claim, now: datetime) -> None:
        if claim.sync_due:
            self._metrics.schedule_delay(max((now - claim.due_at).total_seconds(), 0.0))
        task = asyncio.create_task(self._cycle.run(claim), name=f"sync {claim.identity}")
        self._tasks[claim.identity] = claim, task
        task.add_done_callback(lambda task: self._ended(claim, task))

    def _ended(self, claim: Claim, task: asyncio.Task[Done]) -> None:
        if self._tasks.get(claim.identity, (None, None))[1] is not task or task.cancelled():
            return
        del self._tasks[claim.identity]
        done = task.result()
        if done.fresh is not None:
            self._fresh.append(done.fresh)
        if done.lost:
            self._lost.append((claim, done.due_at))
        self._moved = self._moved or done.failures_moved
        if done.due_at is not None:
            self._be_back_at(done.due_at)

    def _be_back_at(self, due_at: datetime) -> None:
        """Tick in time for a connection that the last tick could not see: it was at work then."""
        at = max(due_at, self._clock.now() + _SHORTEST_REST)
        if self._ticking:
            self._soonest = min(at, self._soonest or at)
        elif not self._closing and (self._resting_until is None or at < self._resting_until):
            self._tick_at(at)

    def _tick_at(self, at: datetime) -> None:
        self._resting_until = at
        self._scheduler.add_job(
            self.tick,
            "date",
            run_date=at,
            id=_TICK,
            misfire_grace_time=None,
            # A tick counts as running until it has returned, and it asks for the next one before: with one
            # instance, a next one that is due at once would be skipped, and with it all that follow.
            max_instances=_TICKS,
            replace_existing=True,
        )
