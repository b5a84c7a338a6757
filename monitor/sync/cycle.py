"""One sync, top to bottom.

    fetch -> same body as applied? -> decode -> plausible? -> diff, policy -> one transaction -> metrics, log

A sync that changed nothing and has nothing pending writes nothing of its own: what it leaves is its
`SyncResult`, which the schedule flushes in batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import xxhash
from msgspec.structs import replace

from monitor.clock import Clock
from monitor.drift.policy import Judgement, Records, Step, judge, step
from monitor.drift.snapshot import Counts, count
from monitor.drift.text import body
from monitor.errors import LeaseLost, Outcome, StoreUnavailable, SyncError
from monitor.notify.routing import plan
from monitor.store.alerts import AlertMessage, Plan
from monitor.store.claims import Claim, SyncResult
from monitor.store.ledger import StepRecord, StoredState
from monitor.sync.announce import Announcer
from monitor.voicelink.client import SyncAnswer
from monitor.voicelink.decode import decode_sync
from monitor.watch.watchlist import ActiveState, Connection, Watchlist


class Ledger(Protocol):
    """What a sync needs of the store."""

    async def load(self, claim: Claim) -> StoredState:
        """Return what is kept of a connection."""
        ...

    async def keep(self, work: StepRecord, plan: Plan) -> None:
        """Record the work, all of it or nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a claim ended.

    `fresh` still has to be flushed; None: it is in the store. `lost`: nothing could be recorded and the claim
    must be given back, soon where there is no `due_at`. `failures_moved`: the policy of failures has
    something to look at. `due_at`: when the connection is to be synced next, where that was decided.
    """

    fresh: SyncResult | None = None
    lost: bool = False
    failures_moved: bool = False
    due_at: datetime | None = None


class Cycle:
    """Carries out what the schedule claimed."""

    def __init__(
        self,
        *,
        live: ActiveState,
        ledger: Ledger,
        announcer: Announcer,
        clock: Clock,
        wake_drain: Callable[[], None],
        log_internal: Callable[[str, BaseException], None],
    ) -> None:
        self._live = live
        self._ledger = ledger
        self._announcer = announcer
        self._clock = clock
        self._wake_drain = wake_drain
        self._log_internal = log_internal

    async def run(self, claim: Claim) -> Done:
        """Carry out one claim: a sync, or the policy alone where only that is due."""
        watchlist = self._live.watchlist
        connection = watchlist.connections.get(claim.identity)
        if connection is None:
            return Done(lost=True)
        try:
            if not claim.sync_due:
                await self._policy(watchlist, connection, claim)
                return Done()
            return await self._sync(watchlist, connection, claim)
        except LeaseLost:
            # Another replica has it and does the same work; what we found, it finds.
            return Done()
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "keeping a sync")
            return Done(lost=True)
        except Exception as exc:  # noqa: BLE001 - a task's root: one connection must not take the others along
            self._log_internal("sync", exc)
            # Not at once: what fails in itself would use up the account's budget, and the others wait for it.
            return Done(lost=True, due_at=connection.next_due_at(self._clock.now(), recheck=True))

    async def _sync(self, watchlist: Watchlist, connection: Connection, claim: Claim) -> Done:
        started_s = self._clock.monotonic()
        try:
            answer = await watchlist.client.sync(
                key=connection.key.reveal(), connection_id=connection.connection_id, budget=connection.budget
            )
            digest = xxhash.xxh3_128_hexdigest(answer.body)
            if digest == claim.digest and _quiet(claim):
                return self._unchanged(connection, claim, answer, digest)
            # Decoded before anything else is fetched, while the body is in the processor's cache.
            snapshot = await decode_sync(answer.body) if digest != claim.digest else None
            kept = await self._ledger.load(claim)
            if snapshot is None and kept.records.snapshot is None:
                snapshot = await decode_sync(answer.body)
        except SyncError as exc:
            return self._failed(connection, claim, exc, self._clock.monotonic() - started_s)
        verdict = _same(kept.records) if snapshot is None else judge(kept.records, snapshot, connection.guard)
        if verdict.reason is not None:
            return await self._hold(connection, claim, verdict, answer)
        return await self._apply(watchlist, connection, claim, verdict, kept, answer, digest)

    def _unchanged(self, connection: Connection, claim: Claim, answer: SyncAnswer, digest: str) -> Done:
        fresh = self._freshness(connection, claim, Outcome.OK, answer.duration_s, digest=digest)
        self._announcer.synced(connection, fresh)
        self._announcer.sync_completed(connection.named, claim, fresh, 0, None)
        return Done(fresh=fresh, failures_moved=self._healing(claim), due_at=fresh.due_at)

    def _failed(self, connection: Connection, claim: Claim, error: SyncError, duration_s: float) -> Done:
        fresh = self._freshness(
            connection, claim, error.outcome, duration_s, digest=None, error=str(error), recheck=True
        )
        self._announcer.synced(connection, fresh)
        self._announcer.sync_failed(connection.named, claim, fresh.streak, error)
        return Done(fresh=fresh, failures_moved=True, due_at=fresh.due_at)

    async def _hold(
        self, connection: Connection, claim: Claim, verdict: Judgement, answer: SyncAnswer
    ) -> Done:
        fresh = self._freshness(
            connection,
            claim,
            Outcome.HELD,
            answer.duration_s,
            digest=None,
            error=verdict.reason,
            recheck=True,
        )
        held = verdict.records.hold
        work = StepRecord(
            claim=claim,
            named=connection.named,
            records=verdict.records,
            counts=self._announcer.counts(claim.identity) or Counts(),
            at=fresh.at,
            fresh=fresh,
        )
        await self._ledger.keep(work, self._plan)
        self._announcer.synced(connection, fresh, held=True)
        self._announcer.sync_held(
            connection.named, claim, verdict.reason or "", held.count if held is not None else 0
        )
        return Done(failures_moved=self._healing(claim), due_at=fresh.due_at)

    async def _apply(
        self,
        watchlist: Watchlist,
        connection: Connection,
        claim: Claim,
        verdict: Judgement,
        kept: StoredState,
        answer: SyncAnswer,
        digest: str,
    ) -> Done:
        now = self._clock.now()
        done = step(
            kept.records,
            connection.rules(now),
            now,
            scope=claim.identity,
            verdict=verdict,
            accepted=kept.accepted,
            accept_all=kept.accept_all,
        )
        fresh = self._freshness(
            connection, claim, Outcome.OK, answer.duration_s, digest=digest, recheck=not done.settled
        )
        if _quiet(claim) and not kept.asked and not done.changes and done.records == kept.records:
            self._announcer.synced(connection, fresh)
            self._announcer.sync_completed(connection.named, claim, fresh, 0, None)
            return Done(fresh=fresh, failures_moved=self._healing(claim), due_at=fresh.due_at)
        seen = self._announcer.counts(claim.identity)
        counts = count(verdict.snapshot, seen, ignored=done.ignored)
        await self._keep(watchlist, connection, claim, done, kept, counts, fresh)
        self._announcer.synced(connection, fresh, counts=counts)
        self._announcer.numbers(claim.identity, verdict.snapshot.numbers.values())
        self._announcer.changes(connection.named, claim.sync_id, done.changes)
        self._announcer.sync_completed(connection.named, claim, fresh, len(done.changes), counts)
        return Done(failures_moved=self._healing(claim), due_at=fresh.due_at)

    async def _policy(self, watchlist: Watchlist, connection: Connection, claim: Claim) -> None:
        """Run the policy with no answer: a window ended, an update is due, something was accepted."""
        kept = await self._ledger.load(claim)
        now = self._clock.now()
        done = step(
            kept.records,
            connection.rules(now),
            now,
            scope=claim.identity,
            accepted=kept.accepted,
            accept_all=kept.accept_all,
        )
        counts = replace(self._announcer.counts(claim.identity) or Counts(), ignored=done.ignored)
        await self._keep(watchlist, connection, claim, done, kept, counts, None)
        self._announcer.recounted(claim.identity, counts)

    async def _keep(
        self,
        watchlist: Watchlist,
        connection: Connection,
        claim: Claim,
        done: Step,
        kept: StoredState,
        counts: Counts,
        fresh: SyncResult | None,
    ) -> None:
        now = fresh.at if fresh is not None else self._clock.now()
        work = StepRecord(
            claim=claim,
            named=connection.named,
            records=done.records,
            counts=counts,
            at=now,
            fresh=fresh,
            step=done,
            told=self._told(watchlist, claim, done, now),
            asked=kept.asked,
            same=done.records == kept.records,
        )
        await self._ledger.keep(work, self._plan)
        self._announcer.episodes_ended(done.ended)
        if work.told:
            self._wake_drain()

    def _told(self, watchlist: Watchlist, claim: Claim, done: Step, now: datetime) -> Sequence[AlertMessage]:
        return [
            AlertMessage(
                report=made,
                body=body(
                    made, scope=claim.identity, watched=watchlist.watched, wording=watchlist.wording, now=now
                ),
            )
            for made in done.reports
        ]

    @property
    def _plan(self) -> Plan:
        routes = self._live.watchlist.routes
        return lambda alert, already: plan(alert, routes, already)

    def _healing(self, claim: Claim) -> bool:
        """Whether the connection was failing until just now, so that some alert may be over."""
        return claim.streak.failures > 0 or claim.identity in self._live.troubled

    def _freshness(
        self,
        connection: Connection,
        claim: Claim,
        outcome: Outcome,
        duration_s: float,
        *,
        digest: str | None,
        error: str | None = None,
        recheck: bool = False,
    ) -> SyncResult:
        now = self._clock.now()
        streak = claim.streak.after(outcome)
        return SyncResult(
            claim=claim,
            due_at=connection.next_due_at(now, recheck=recheck or claim.identity in self._live.troubled),
            streak=streak,
            digest=digest,
            applied=outcome is Outcome.OK,
            error=error,
            at=now,
            duration_s=duration_s,
        )


def _quiet(claim: Claim) -> bool:
    """Whether nothing is pending that the applied answer, seen once more, would move."""
    return claim.settled and not claim.policy_due and not claim.held


def _same(records: Records) -> Judgement:
    """Return the verdict on the applied body seen once more: it ends a hold and goes on with the streaks."""
    if records.snapshot is None:
        raise ValueError("there is no applied body without a snapshot")
    return Judgement(
        records=Records(snapshot=records.snapshot, tracks=records.tracks, alerts=records.alerts),
        snapshot=records.snapshot,
        changes=(),
    )
