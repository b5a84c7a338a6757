"""One sync, top to bottom.

    fetch -> same body as applied? -> decode -> plausible? -> diff, policy -> one transaction -> metrics, log

A sync that changed nothing and has nothing pending writes nothing of its own: it leaves its `SyncResult`,
which the schedule flushes in batches.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

import xxhash

from monitor.clock import Clock
from monitor.drift.plausibility import seen_again
from monitor.drift.policy import Judgement, Step, judge, step
from monitor.drift.rules import Rules
from monitor.drift.silences import done_waiting
from monitor.drift.snapshot import Counts, Snapshot
from monitor.errors import LeaseLost, Outcome, Outdated, StoreUnavailable, SyncError
from monitor.store.alerts import messages_of
from monitor.store.claims import Claim, SyncResult
from monitor.store.journal import Given, Ruleset
from monitor.store.ledger import StepRecord, StoredState
from monitor.sync.announce import Announcer
from monitor.voicelink.decode import decode_sync
from monitor.watch.connection import Connection
from monitor.watch.watchlist import ActiveState, Watchlist


class Ledger(Protocol):
    """What a sync needs of the store."""

    async def load(self, claim: Claim) -> StoredState:
        """Return what is stored of a connection."""
        ...

    async def keep(self, record: StepRecord) -> None:
        """Record a step, all of it or nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a claim ended.

    `result` still has to be flushed; None: it is in the store. `lost`: nothing could be recorded and the
    claim must be given back, soon where there is no `due_at`. `failures_moved`: the policy of failures has
    something to look at. `due_at`: when the connection is to be synced next, where that was decided.
    """

    result: SyncResult | None = None
    lost: bool = False
    failures_moved: bool = False
    due_at: datetime | None = None


@dataclass(kw_only=True, eq=False)
class Cycle:
    """Carries out what the schedule claimed."""

    active: ActiveState
    ledger: Ledger
    announcer: Announcer
    clock: Clock
    wake_drain: Callable[[], None]

    async def run(self, claim: Claim) -> Done:
        """Carry out one claim: a sync, or the policy alone where only that is due."""
        watchlist = self.active.watchlist
        connection = watchlist.connections.get(claim.identity)
        if connection is None:
            return Done(lost=True)
        if self.active.replicas and claim.rules_digest not in (None, connection.rules_digest):
            # The newest config decides: by rules in turns, an alert would end and open again and again.
            self.active.foreign |= {claim.identity}
            return Done(lost=True, due_at=claim.due_at)
        try:
            carry_out = self._sync if claim.sync_due else self._policy
            return await carry_out(watchlist, connection, claim)
        except LeaseLost:
            # Another replica has it and does the same work: what was found here, it finds.
            return Done()
        except StoreUnavailable as exc:
            self.announcer.store.not_kept(exc, "keeping a sync", claim.identity)
            # Not at once: each try costs a request, and the budget must last until the store is back.
            return Done(lost=True, due_at=connection.next_due_at(self.clock.now(), recheck=True))
        except Exception as exc:  # noqa: BLE001 - a task's root: one connection must not take the others along
            self.announcer.internal_error("sync", exc)
            # Not at once: what fails in itself would use up the account's budget, and the others wait for it.
            return Done(lost=True, due_at=connection.next_due_at(self.clock.now(), recheck=True))

    async def _sync(self, watchlist: Watchlist, connection: Connection, claim: Claim) -> Done:
        # What is kept makes room for the next request: the store may be slower than the provider.
        with ExitStack() as until:
            started_s = self.clock.monotonic()
            try:
                answer = await watchlist.client.sync(
                    key=connection.key.reveal(),
                    connection_id=connection.connection_id,
                    budget=connection.budget,
                    until=until,
                )
                digest = xxhash.xxh3_128_hexdigest(answer.sent)
                if digest == claim.digest and _quiet(claim):
                    now = self.clock.now()
                    return self._unchanged(
                        connection,
                        self._result(connection, claim, Outcome.OK, now, answer.duration_s, digest=digest),
                    )
                # Decoded before anything else is fetched, while the body is in the processor's cache.
                snapshot = await decode_sync(answer.body) if digest != claim.digest else None
                stored = await self.ledger.load(claim)
                if snapshot is None:
                    applied = stored.records.snapshot
                    snapshot = seen_again(applied) if applied is not None else await decode_sync(answer.body)
            except SyncError as exc:
                return self._failed(connection, claim, exc, self.clock.monotonic() - started_s)
            heard = partial(self._heard, watchlist, connection, claim, answer.duration_s, digest, snapshot)
            del answer  # of megabytes, and dozens may be waiting for the store
            try:
                return await heard(stored)
            except Outdated:
                return await heard(await self.ledger.load(claim))

    async def _heard(
        self,
        watchlist: Watchlist,
        connection: Connection,
        claim: Claim,
        duration_s: float,
        digest: str,
        snapshot: Snapshot,
        stored: StoredState,
    ) -> Done:
        # One instant for all that an answer does: made again from the journal, it must come out the same.
        now = self.clock.now()
        answered = _Answered(
            stored=stored,
            judgement=judge(stored.records, snapshot, connection.guard, now),
            at=now,
            duration_s=duration_s,
            digest=digest,
        )
        carry_out = self._hold if answered.judgement.reason is not None else self._apply
        return await carry_out(watchlist, connection, claim, answered)

    def _unchanged(self, connection: Connection, result: SyncResult) -> Done:
        self.announcer.synced(connection, result)
        self.announcer.sync_completed(connection.names, result, 0, None)
        return self._done(result, flush=True)

    def _failed(self, connection: Connection, claim: Claim, error: SyncError, duration_s: float) -> Done:
        now = self.clock.now()
        result = self._result(
            connection, claim, error.outcome, now, duration_s, error=str(error), recheck=True
        )
        self.announcer.synced(connection, result)
        self.announcer.sync_failed(connection.names, result, error)
        return Done(result=result, failures_moved=True, due_at=result.due_at)

    async def _hold(
        self, watchlist: Watchlist, connection: Connection, claim: Claim, answered: "_Answered"
    ) -> Done:
        """Record an implausible answer without applying it: the counts stay those of the snapshot."""
        judgement, stored = answered.judgement, answered.stored
        result = self._result(
            connection,
            claim,
            Outcome.HELD,
            answered.at,
            answered.duration_s,
            error=judgement.reason,
            recheck=True,
        )
        record = StepRecord(
            claim=claim,
            connection=connection.names,
            records=judgement.records,
            counts=None,
            at=result.at,
            result=result,
            as_claimed=stored.remembered,
            given=_given(stored, judgement),
            ruleset=_ruleset(watchlist, connection, _rules(connection, stored, answered.at)),
        )
        await self.ledger.keep(record)
        self.announcer.store.kept(claim.identity)
        hold = judgement.records.hold
        self.announcer.synced(connection, result, held=True)
        self.announcer.sync_held(connection.names, result, hold.count if hold is not None else 0)
        return self._done(result, flush=False)

    async def _apply(
        self,
        watchlist: Watchlist,
        connection: Connection,
        claim: Claim,
        answered: "_Answered",
    ) -> Done:
        judgement, stored = answered.judgement, answered.stored
        rules = _rules(connection, stored, answered.at)
        done = _step(connection, rules, stored, answered.at, judgement)
        result = self._result(
            connection,
            claim,
            Outcome.OK,
            answered.at,
            answered.duration_s,
            digest=answered.digest,
            recheck=not done.settled,
        )
        same = not done.changes and done.records == stored.records
        if _quiet(claim) and same and not stored.acceptances:
            return self._unchanged(connection, result)
        counts = await self._keep(
            watchlist, connection, claim, stored, done, rules, answered.at, result, judgement
        )
        self.announcer.synced(connection, result, counts=counts)
        self.announcer.numbers(claim.identity, answered.digest, judgement.snapshot.numbers.values())
        self.announcer.changes(connection.names, claim.sync_id, done.changes)
        self.announcer.sync_completed(connection.names, result, len(done.changes), counts)
        return self._done(result, flush=False)

    async def _policy(self, watchlist: Watchlist, connection: Connection, claim: Claim) -> Done:
        """Run the policy with no answer: a window ended, an update is due, something was accepted."""
        stored = await self.ledger.load(claim)
        now = self.clock.now()
        rules = _rules(connection, stored, now)
        done = _step(connection, rules, stored, now, None)
        counts = await self._keep(watchlist, connection, claim, stored, done, rules, now)
        if counts is not None:
            self.announcer.recounted(claim.identity, counts)
        return Done()

    async def _keep(
        self,
        watchlist: Watchlist,
        connection: Connection,
        claim: Claim,
        stored: StoredState,
        done: Step,
        rules: Rules,
        now: datetime,
        result: SyncResult | None = None,
        judgement: Judgement | None = None,
    ) -> Counts | None:
        """Record a step; return the counts of the snapshot that it leaves, zeros for what was seen before."""
        counts = done.counts
        messages = messages_of(
            done.reports,
            scope=claim.identity,
            watched=watchlist.watched,
            wording=watchlist.wording,
            now=now,
            names=done.names,
        )
        record = StepRecord(
            claim=claim,
            connection=connection.names,
            records=done.records,
            counts=counts,
            at=now,
            result=result,
            step=done,
            messages=messages,
            acceptances=stored.acceptances,
            waited=done_waiting(stored.silences, done.records.tracks),
            spread=watchlist.spread,
            same=done.records == stored.records,
            as_claimed=stored.remembered,
            given=_given(stored, judgement),
            ruleset=_ruleset(watchlist, connection, rules),
        )
        await self.ledger.keep(record)
        self.announcer.store.kept(claim.identity)
        self.announcer.episodes_ended(done.ended)
        if done.skipping and counts is not None:
            self.announcer.entries_skipped(connection.names, claim.sync_id, counts.skipped)
        if counts is not None and counts.folded and not (stored.counts and stored.counts.folded):
            self.announcer.states_folded(connection.names, claim.sync_id, counts.folded)
        if messages:
            self.wake_drain()
        return counts

    def _done(self, result: SyncResult, *, flush: bool) -> Done:
        if result.applied:
            self.active.fresh_s[result.claim.identity] = self.clock.monotonic()
        # Failing until just now: some alert may be over.
        claim = result.claim
        healing = claim.streak.failures > 0 or claim.identity in self.active.troubled
        return Done(result=result if flush else None, failures_moved=healing, due_at=result.due_at)

    def _result(
        self,
        connection: Connection,
        claim: Claim,
        outcome: Outcome,
        now: datetime,
        duration_s: float,
        *,
        digest: str | None = None,
        error: str | None = None,
        recheck: bool = False,
    ) -> SyncResult:
        return SyncResult(
            claim=claim,
            due_at=connection.next_due_at(now, recheck=recheck or claim.identity in self.active.troubled),
            streak=claim.streak.after(outcome),
            digest=digest,
            applied=outcome is Outcome.OK,
            error=error,
            at=now,
            duration_s=duration_s,
            ends_gap=outcome is Outcome.OK and _is_blind(connection, claim, now),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """An answer that could be read, what it was judged by, and how."""

    stored: StoredState
    judgement: Judgement
    at: datetime
    duration_s: float
    digest: str


def _is_blind(connection: Connection, claim: Claim, now: datetime) -> bool:
    """Whether the connection could not be seen until now; see `store/gaps.py`."""
    if claim.streak.failures or claim.held or claim.succeeded_at is None:
        return True
    return connection.is_overdue(claim.succeeded_at, now)


def _quiet(claim: Claim) -> bool:
    """Whether nothing is pending that the applied answer, seen once more, would move."""
    return claim.settled and not claim.policy_due and not claim.held


def _rules(connection: Connection, stored: StoredState, now: datetime) -> Rules:
    return connection.rules(now).with_silences(stored.silences)


def _ruleset(watchlist: Watchlist, connection: Connection, rules: Rules) -> Ruleset:
    return Ruleset(
        rules=rules,
        guard=connection.guard,
        widespread_connections=watchlist.spread.connections,
        routes=watchlist.routes,
        repeats=dict(watchlist.repeats),
    )


def _given(stored: StoredState, judgement: Judgement | None) -> Given:
    return Given(
        answer=judgement.said if judgement is not None else None,
        accepted=stored.accepted,
        accept_all=stored.accept_all,
    )


def _step(
    connection: Connection, rules: Rules, stored: StoredState, now: datetime, judgement: Judgement | None
) -> Step:
    return step(
        stored.records,
        rules,
        now,
        scope=connection.identity,
        verdict=judgement,
        accepted=stored.accepted,
        accept_all=stored.accept_all,
    )
