"""Claims due connections and runs their syncs.

When each connection is due stands in the store. One APScheduler job, the tick, writes down how finished syncs
ended and claims what is due within the next second, in one transaction however many connections it is about.
What it claims begins when it is due. Its trigger fires when the next connection that nobody claimed is due as
far as is known, and at least every second. Whatever makes something due earlier moves its next run forward;
every tick works out for itself what there is to do, so that one too many does nothing and one that is skipped
is made good by the next.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock, shown_by
from monitor.errors import StoreUnavailable
from monitor.metrics import Metrics
from monitor.store.claims import (
    Claim,
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
from monitor.sync.failures import FailureWatch
from monitor.watch.watchlist import ActiveState

TICK = "tick"

LEASE = timedelta(minutes=2)
_SHORTEST_REST = timedelta(milliseconds=100)
_AHEAD = timedelta(seconds=1)
"""What is due so soon is claimed with what is due."""
_LONGEST_REST = timedelta(seconds=1)
"""Commands write into the store too, without a word to the daemon."""
_AFTER_FAILURE = timedelta(seconds=2)
_TICK_LATE_S = 10.0


class Cycle(Protocol):
    """What the schedule runs."""

    async def run(self, claim: Claim) -> Done:
        """Carry out one claim; never raises."""
        ...


@dataclass(kw_only=True, eq=False)
class Schedule:
    """Claims what is due and sees it through.

    Args:
        scheduler: Runs the tick; started and shut down by its owner.
        active: What is watched, and this replica.
        database: Where what is due is stored.
        cycle: Carries out a claim.
        failures: The policy of failures.
        clock: The time, which the replicas of a database share.
        machine: The time that the scheduler goes by.
        metrics: For the delay between due and claimed.
        announcer: Says when the store fails.
        wake_drain: Called when there are messages to deliver.
        batch: How many syncs and policies one tick claims at most; of syncs, less the requests that are
            queued: what this process cannot do yet, another one may.
    """

    scheduler: BaseScheduler
    active: ActiveState
    database: Database
    cycle: Cycle
    failures: FailureWatch
    clock: Clock
    machine: Clock
    metrics: Metrics
    announcer: Announcer
    wake_drain: Callable[[], None]
    batch: int = 256
    _running: dict[str, tuple[Claim, asyncio.Task[Done]]] = field(init=False, default_factory=dict)
    _ahead: dict[str, Claim] = field(init=False, default_factory=dict)
    """Claimed, and not due yet."""
    _starts: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _ended: list[tuple[Claim, Done]] = field(init=False, default_factory=list)
    """Not written down yet."""
    _due_at: datetime | None = field(init=False, default=None)
    """When the next connection is due, as the store said last."""
    _singly: bool = field(init=False, default=False)
    """Whether to flush one by one, after a batch that the store refused."""
    _started_s: float = field(init=False)
    _renewed: tuple[datetime, float] = field(init=False)
    """When leases were last renewed, by either clock."""
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _closing: bool = field(init=False, default=False)
    _ticked_s: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started_s = self.clock.monotonic()
        self._renewed = self.clock.now(), self._started_s

    def start(self) -> None:
        """Begin to tick."""
        self.scheduler.add_job(
            self.tick,
            _WhenDue(self),
            id=TICK,
            next_run_time=self.machine.now(),
            misfire_grace_time=None,
            coalesce=True,
            max_instances=3,  # one that runs, and those that see that and leave
            replace_existing=True,
        )

    @property
    def has_ticked(self) -> bool:
        """Whether a tick has ever succeeded."""
        return self._ticked_s is not None

    def stuck_for_s(self) -> float | None:
        """Return for how many seconds nothing has been claimed; None while all is well."""
        ticked_s = self._started_s if self._ticked_s is None else self._ticked_s
        waited_s = self.clock.monotonic() - ticked_s
        return waited_s if waited_s > _TICK_LATE_S or not self.has_ticked else None

    def look_now(self) -> None:
        """Tick at once: the watchlist changed, or a user asked for something; nothing while closing."""
        if self._closing:
            return
        self._due_at = self.clock.now()
        self._tick_at(self._due_at)

    def next_tick_at(self, now: datetime, *, overdue: bool) -> datetime:
        """Return when something is due as far as is known, a second after now at most.

        Args:
            now: The current instant.
            overdue: Whether that may be at once, for what is due already.
        """
        instants = [self._due_at, self.failures.due_at(now), *(done.due_at for _, done in self._ended)]
        soonest = min((at for at in instants if at is not None and (overdue or at > now)), default=None)
        latest = now + _LONGEST_REST
        return max(min(soonest or latest, latest), now + self._shortest_rest)

    @property
    def _shortest_rest(self) -> timedelta:
        """How soon a tick may follow another: replicas together tick no more often than one would."""
        return min(_SHORTEST_REST * self.active.live, _LONGEST_REST)

    def rest(self) -> timedelta:
        """Return how long after a tick that begins now the next one is to come."""
        now = self.clock.now()
        return self.next_tick_at(now, overdue=False) - now

    async def sync_now(self, identity: str) -> bool:
        """Sync one connection whether or not it is due; return False if it is being synced already."""
        if self._closing or identity in self._running:
            return False
        now = self.clock.now()
        if (claimed := self._ahead.pop(identity, None)) is not None:
            self._begin(replace(claimed, sync_due=True), now)
            return True
        # One whose last sync only waits to be written down can be synced: it would have to wait for a second.
        waiting = [entry for entry in self._ended if entry[0].identity == identity]
        self._ended = [entry for entry in self._ended if entry[0].identity != identity]

        async def write(tx: AsyncConnection) -> Claim | None:
            await self._write_ended(tx, waiting, now)
            return await claim_one(tx, identity, now, lease=LEASE, holder=self.active.replica.id)

        try:
            claim = await self.database.transact(write, leases_until=now + LEASE)
        except Exception:
            self._ended[:0] = waiting
            raise
        if any(done.failures_moved for _, done in waiting):
            self.failures.moved = True
        if claim is None:
            return False
        self._begin(claim, now)
        return True

    async def tick(self) -> None:
        """Write down what has ended, claim what is due, and say when there is more to do."""
        if self._turn.locked():
            return  # one tick is under way and sees what this one would
        async with self._turn:
            if self._closing:
                return  # it was on its way already; `close` writes down what there is
            now, worked = self.clock.now(), False
            try:
                await self._work(now)
            except StoreUnavailable as exc:
                self.announcer.store.keeps_nothing(exc, "claiming what is due")
            except Exception as exc:  # noqa: BLE001 - a task's root: the next tick must come all the same
                self.announcer.internal_error("tick", exc)
            else:
                worked = True
                self._ticked_s = self.clock.monotonic()
                self.announcer.store.keeps()
            if not self._closing:
                now = self.clock.now()
                self._tick_at(self.next_tick_at(now, overdue=True) if worked else now + _AFTER_FAILURE)

    async def close(self, grace_s: float) -> None:
        """Finish what is in flight, give the rest back, and write everything down."""
        self._closing = True
        async with self._turn:  # a tick may be claiming right now
            for start in self._starts:
                start.cancel()
            unbegun = [(claim, Done(lost=True, due_at=claim.due_at)) for claim in self._ahead.values()]
            self._ahead.clear()
            self._ended.extend(unbegun)
            tasks = [task for _, task in self._running.values()]
            if tasks:
                await asyncio.wait(tasks, timeout=grace_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ended.extend((claim, Done(lost=True)) for claim, _ in self._running.values())
            self._running.clear()
            try:
                await self._write_down(self.clock.now())
            except StoreUnavailable as exc:
                self.announcer.store.failed(exc, "writing down the last syncs")

    async def _work(self, now: datetime) -> None:
        self._begin_on_time(await self._write_down(now), now)
        failures_at = self.failures.due_at(now)
        if failures_at is not None and failures_at <= now and await self.failures.run():
            self.wake_drain()

    async def _write_down(self, now: datetime) -> Sequence[Claim]:
        """Write down what has ended, and claim what is due unless closing; one transaction, if any."""
        ended, self._ended = self._ended, []
        held = [*(claim for claim, _ in self._running.values()), *self._ahead.values()]
        now_s, (renewed_at, renewed_s) = self.clock.monotonic(), self._renewed
        since_renewed = max(now - renewed_at, timedelta(seconds=now_s - renewed_s))
        renewing = bool(held) and since_renewed > LEASE / 4
        moved = any(done.failures_moved for _, done in ended)
        if not (renewing or moved or any(done.result or done.lost for _, done in ended) or self._is_due(now)):
            self._due_at = await self.database.query(partial(next_due_at, leaving=self.active.foreign))
            if not self._is_due(now):
                return ()

        async def write(tx: AsyncConnection) -> tuple[Sequence[Claim], datetime | None]:
            await self._write_ended(tx, ended, now)
            if renewing:
                await renew(tx, held, now + LEASE, holder=self.active.replica.id)
            claims: Sequence[Claim] = ()
            if not self._closing:
                claims = await claim_due(
                    tx,
                    now,
                    ahead=_AHEAD,
                    limit=max(self.batch - self.active.watchlist.client.queued, 0),
                    policies=self.batch,
                    lease=LEASE,
                    holder=self.active.replica.id,
                    leaving=self.active.foreign,
                )
            return claims, await next_due_at(tx, leaving=self.active.foreign)

        try:
            claims, self._due_at = await self.database.transact(write, moves=False, leases_until=now + LEASE)
        except Exception:
            self._ended[:0] = ended
            self._singly = True  # one row that is never accepted must not hold up all the others
            raise
        self._singly = False
        self.announcer.store.kept(*(claim.identity for claim, done in ended if done.result is not None))
        # Not earlier: the policy of failures only sees what is written down.
        self.failures.moved = self.failures.moved or moved
        if renewing:
            self._renewed = now, now_s
        return claims

    async def _write_ended(
        self, tx: AsyncConnection, ended: Sequence[tuple[Claim, Done]], now: datetime
    ) -> None:
        results = [done.result for _, done in ended if done.result is not None]
        if results and not self._singly:
            await flush(tx, results)
        elif results:
            for refused in await flush_singly(tx, results):
                await release(tx, [(refused.claim, refused.due_at)])
                error = StoreUnavailable("the store does not accept what this sync left")
                self.announcer.store.failed(error, "writing down a sync")
        lost = [(claim, done.due_at or now + _AFTER_FAILURE) for claim, done in ended if done.lost]
        await release(tx, lost)

    def _is_due(self, now: datetime) -> bool:
        return self._due_at is not None and self._due_at <= now

    def _begin_on_time(self, claims: Sequence[Claim], now: datetime) -> None:
        """Begin what is due, and the rest when it is: together what is due within the shortest rest."""
        turns = defaultdict[int, list[Claim]](list)
        for claim in claims:
            turns[max(math.ceil((claim.starts_at - now) / _SHORTEST_REST), 0)].append(claim)
        for claim in turns.pop(0, ()):
            self._begin(claim, now)
        for turn, later in turns.items():
            self._ahead |= {claim.identity: claim for claim in later}
            start = asyncio.create_task(self._begin_at(now + turn * _SHORTEST_REST, later))
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)

    async def _begin_at(self, at: datetime, claims: Sequence[Claim]) -> None:
        await self.clock.sleep((at - self.clock.now()).total_seconds())
        for claim in claims:
            if self._ahead.get(claim.identity) is claim:
                del self._ahead[claim.identity]
                self._begin(claim.as_of(at), self.clock.now())

    def _begin(self, claim: Claim, now: datetime) -> None:
        if claim.sync_due:
            self.metrics.schedule_delay(max((now - claim.due_at).total_seconds(), 0.0))
        task = asyncio.create_task(self.cycle.run(claim), name=f"sync {claim.identity}")
        self._running[claim.identity] = claim, task
        task.add_done_callback(lambda task: self._end(claim, task))

    def _end(self, claim: Claim, task: asyncio.Task[Done]) -> None:
        if self._running.get(claim.identity, (None, None))[1] is not task:
            return
        if task.cancelled() and self._closing:
            return  # `close` gives it back
        del self._running[claim.identity]
        # A library may let a cancellation of its own escape: that claim must not be held for ever.
        done = Done(lost=True) if task.cancelled() else task.result()
        self._ended.append((claim, done))
        if done.due_at is None or self._closing or self._turn.locked():
            return  # a tick that runs looks at what has ended before it says when the next is to come
        at = max(done.due_at, self.clock.now() + self._shortest_rest)
        if shown_by(self.machine, self.clock, at) < self.scheduler.get_job(TICK).next_run_time:
            self._tick_at(at)

    def _tick_at(self, at: datetime) -> None:
        self.scheduler.modify_job(TICK, next_run_time=shown_by(self.machine, self.clock, at))


class _WhenDue(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires when the schedule has something to do."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """Return when to tick after the run that begins now, to which all that is due is left.

        Always later than `now`: APScheduler would ask again and again.
        """
        return now + self._schedule.rest()
