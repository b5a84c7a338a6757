"""Model replicas: they do by themselves, one thing after the other, what the daemon does with its store."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Table, delete, select

from monitor.drift.alert import AlertBody, decode_body
from monitor.drift.snapshot import Number
from monitor.drift.widespread import Spread
from monitor.errors import LeaseLost, Refusal
from monitor.notify.delivery import Failed, Result, Sent
from monitor.notify.drain import LEASE_MARGIN_S
from monitor.store import widespread
from monitor.store.budgets import StoredBudgets
from monitor.store.claims import Claim, SyncResult, claim_due, flush, release
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.enrol import enrol, wants_of
from monitor.store.ledger import Ledger
from monitor.store.outbox import StoredOutbox
from monitor.store.replicas import Presence, Replica, fleet_version, report
from monitor.store.tables import metadata
from tests.fakes.stored import LEASE, NOW, SECOND, fresh, number, stepped, tell, watch, work
from tests.fakes.turns import Killed, Turns

NUMBERS = ("1", "2")
ACCOUNT, SPACING_S = "acme", 6.0
SPREAD = Spread(connections=1)
_TIMEOUT_S = 15.0
_ROUNDS = 6


@dataclass(frozen=True)
class Watched:
    """A config: what a replica is to watch, and whom it is to tell."""

    connections: tuple[str, ...]
    receivers: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return what only it is called."""
        return "".join((*self.connections, *self.receivers))


CONFIGS = (
    Watched(("a", "b", "c"), ("hook", "pager")),
    Watched(("a", "b"), ("hook",)),
    Watched(("b", "c"), ("hook", "pager")),
)


@dataclass(frozen=True)
class Do:
    """What a replica does: a method of `Member`, with its argument if it has one."""

    what: str
    value: Any = None


class Shown:
    """A replica's clock: the stage's, a little wrong."""

    def __init__(self, stage: "Stage", ahead_s: int) -> None:
        self._stage, self._ahead = stage, timedelta(seconds=ahead_s)

    def now(self) -> datetime:
        """Return what it shows."""
        return self._stage.at + self._ahead

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return (self._stage.at - NOW).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait for nothing."""


class Member:
    """A model replica: it does by itself what the daemon does, with the daemon's own functions."""

    def __init__(self, stage: "Stage", database: Database, name: str, ahead_s: int) -> None:
        self.stage, self.database, self.name = stage, database, name
        self.clock = Shown(stage, ahead_s)
        self.config = CONFIGS[0]
        self.lives = 0
        self._live()

    def _live(self) -> None:
        self.lives += 1
        self.me = self._as(self.config)
        self.ended: list[SyncResult] = []
        self.foreign: frozenset[str] = frozenset()
        self.presence: Presence | None = None
        self.budgets = StoredBudgets(self.database, self.clock)

    def _as(self, config: Watched) -> Replica:
        return Replica(id=f"{self.name}.{self.lives}", digest=config.digest, config_at=self.clock.now())

    async def do(self, script: Sequence[Do]) -> None:
        """Start, and do all of this; if killed, start again and go on."""
        for each in (Do("enrol"), *script):
            try:
                await getattr(self, each.what)(*([] if each.value is None else [each.value]))
            except Killed:
                self._live()
                with contextlib.suppress(Killed):
                    await self.enrol()

    # Without a word to the store

    async def turn(self, which: tuple[str, str]) -> None:
        """Break a number, or mend it."""
        self.stage.broken ^= {which}

    async def passes(self, seconds: int) -> None:
        """Let time pass for all."""
        self.stage.at += seconds * SECOND

    async def dies(self, after: int) -> None:
        """Be killed soon."""
        self.stage.turns.kill(self.name, after=after)

    # What the daemon does

    async def enrol(self) -> None:
        """Take the config into the store."""
        async with self.database.read() as tx:
            version = await fleet_version(tx)
        enrolled = await enrol(
            self.database,
            self.stage.codec,
            me=self.me,
            watches=[watch(identity, self.clock.now()) for identity in self.config.connections],
            discovering=(),
            ask_again=False,
            vanished=(),
            listed=(),
            version=version,
            receivers=self.config.receivers,
            routes=tell(*self.config.receivers),
            spread=SPREAD,
            now=self.clock.now(),
        )
        self.foreign, self.presence = enrolled.foreign, enrolled.presence

    async def reload(self, which: int) -> None:
        """Put another config in force."""
        self.config = CONFIGS[which]
        self.me = self._as(self.config)
        await self.enrol()

    async def report(self) -> None:
        """Say that it is there, and follow what moved."""
        wants = wants_of(self.config.connections, (), self.config.receivers)
        found = await self.database.transact(lambda tx: report(tx, self.me, wants, self.clock.now()))
        if not found.is_like(self.presence):
            await self.enrol()

    async def sync(self) -> None:
        """Write down what has ended, claim what is due, and see it through."""
        now, ended = self.clock.now(), self.ended

        async def claim(tx: Any) -> list[Claim]:
            await flush(tx, ended)
            return await claim_due(tx, now, limit=2, lease=LEASE, holder=self.me.id, leaving=self.foreign)

        claims = await self.database.transact(claim, leases_until=now + LEASE)
        self.ended = []
        for claim_ in claims:
            with contextlib.suppress(LeaseLost):
                await self._carry_out(claim_)

    async def _carry_out(self, claim: Claim) -> None:
        if claim.identity not in self.config.connections:
            again = self.clock.now() + 2 * SECOND
            await self.database.transact(lambda tx: release(tx, [(claim, again)]))
            return
        answer = self.stage.answer(claim.identity) if claim.sync_due else ()
        ledger = Ledger(self.database, self.stage.codec)
        stored = await ledger.load(claim)
        now = self.clock.now()
        done = stepped(
            stored.records,
            claim,
            *answer,
            at=now,
        )
        same = done.records == stored.records
        if answer and same and claim.settled and not claim.policy_due:
            self.ended.append(fresh(claim, at=now))
            return
        record = work(claim, done, at=now, spread=SPREAD)
        result = record.result if answer else None
        record = replace(record, counts=done.counts, result=result, same=same)
        await ledger.keep(record)

    async def look(self) -> None:
        """Look at the widespread alerts that are due."""
        async with self.database.read() as tx:
            found = await widespread.due(tx, self.clock.now())
        for alert_id in found:
            now = self.clock.now()
            await self.database.transact(
                lambda tx: widespread.look_at(tx, alert_id, SPREAD, now)  # noqa: B023 - awaited here
            )

    async def deliver(self, *, takes: bool = True) -> None:
        """Send what is due to each receiver, and write down how that went."""
        outbox = StoredOutbox(self.database, self.clock, holder=self.me.id)
        for receiver in self.config.receivers:
            asked_at = self.clock.now()
            leased = (
                await outbox.lease_due(receiver, limit=2, lease_s=_TIMEOUT_S + LEASE_MARGIN_S)
            ).deliveries
            now = self.clock.now()
            if now - asked_at > timedelta(seconds=LEASE_MARGIN_S):
                continue
            results: list[Result] = [
                Sent(delivery=each, at=now, answer="ok")
                if takes
                else Failed(
                    delivery=each, at=now, next_try_at=now + 5 * SECOND, refusal=Refusal.RETRY, error="no"
                )
                for each in leased
            ]
            if takes:
                self.stage.taken[receiver] += [(each.id, decode_body(each.body)) for each in leased]
            await self.stage.turns.wait(self.name)
            await outbox.settle(results)

    async def refuse(self) -> None:
        """Find that the receivers accept nothing."""
        await self.deliver(takes=False)

    async def take(self, count: int) -> None:
        """Take slots of the budget."""
        asked_at = self.clock.now()
        waits_s = await self.budgets.take(ACCOUNT, count, SPACING_S)
        if waits_s or self.clock.now() == asked_at:  # who was suspended meanwhile uses a slot late
            self.stage.slots.append((self.clock.now() + timedelta(seconds=waits_s), count))


class Stage:
    """What the replicas share: a database, a provider, receivers, and the true time."""

    def __init__(self, turns: Turns, databases: Mapping[str, Database]) -> None:
        self.turns, self._databases, self.codec = turns, databases, Codec()
        self._begin(())

    def _begin(self, ahead_s: Sequence[int]) -> None:
        self.at = NOW
        self.broken: set[tuple[str, str]] = set()
        self.taken: dict[str, list[tuple[str, AlertBody]]] = defaultdict(list)
        self.slots: list[tuple[datetime, int]] = []
        self.members = [
            Member(self, database, name, ahead)
            for (name, database), ahead in zip(self._databases.items(), ahead_s, strict=False)
        ]

    async def play(self, works: Sequence[Sequence[Do]], ahead_s: Sequence[int], order: Iterator[int]) -> None:
        """Begin anew, and let each replica do its work, in this order."""
        async with self._databases["r0"].write() as tx:
            for table in metadata.sorted_tables:
                await tx.execute(delete(table))
        self._begin(ahead_s)
        done = {member.name: member.do(work) for member, work in zip(self.members, works, strict=True)}
        await self.turns.play(done, (self.members[each].name for each in order))

    async def calm(self) -> None:
        """Let all of them go on for ten minutes and more, in which nothing happens."""
        for _ in range(_ROUNDS):
            self.at += LEASE + 10 * SECOND
            for what in ("report", "report", "sync", "look", "sync", "deliver", "deliver"):
                for member in self.members:
                    await getattr(member, what)()

    async def rows(self, table: Table) -> list[Any]:
        """Return a table's rows."""
        async with self._databases["r0"].read() as tx:
            return list(await tx.execute(select(table)))

    def answer(self, identity: str) -> list[Number]:
        """Return what the provider says of a connection."""
        return [
            number(f"{identity}{key}", *(["NO_BOT"] if (identity, key) in self.broken else []))
            for key in NUMBERS
        ]


@contextlib.asynccontextmanager
async def stage_of(url: str, most: int) -> AsyncIterator[Stage]:
    """Give a stage for so many replicas, on an empty database."""
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as locks,
        contextlib.AsyncExitStack() as stack,
    ):
        turns = Turns(locks)
        databases: dict[str, Database] = {}
        for name in (f"r{index}" for index in range(most)):
            # In a deadlock, and behind a lock, the order decides who goes on, not how long that takes.
            patient = f"application_name={name}&lock_timeout=60&statement_timeout=60"
            hasty = "options=-c%20deadlock_timeout%3D20ms"
            database = databases[name] = await stack.enter_async_context(Database(f"{url}?{patient}&{hasty}"))
            await database.migrate()
            turns.take_part(database, name)
        yield Stage(turns, databases)
