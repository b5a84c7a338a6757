"""A connection with what was applied, as the store has it and as it was."""

from dataclasses import replace
from datetime import datetime, timedelta

from monitor.drift.plausibility import Guard
from monitor.drift.policy import Records, judge, step
from monitor.drift.snapshot import Change, Number, Snapshot
from monitor.store.codec import Codec
from monitor.store.connections import begin_watching, stop_watching
from monitor.store.database import Database
from monitor.store.journal import Given, Ruleset, ended
from monitor.store.ledger import Ledger
from tests.fakes.stored import AT_ONCE, NOW, claim_all, named, watch, work
from tests.unit.drift.build import broken, ready

MINUTE = timedelta(minutes=1)
_GUARD = Guard(ratio=1.0)


class History:
    """One connection, whose answers all count.

    `were` are its snapshots by the instant of their answer, None while it was not watched; `changes` are what
    was recorded.
    """

    def __init__(self, database: Database, name: str = "a") -> None:
        self.database = database
        self.name = name
        self.at = NOW
        self.records = Records()
        self.ledger = Ledger(database, Codec())
        self.were: list[tuple[datetime, Snapshot | None]] = [(NOW - MINUTE, None)]
        self.changes: list[tuple[datetime, Change]] = []

    async def begin(self) -> None:
        """Begin to watch it."""
        async with self.database.write() as tx:
            await begin_watching(tx, [watch(self.name)], self.at)

    async def end(self) -> None:
        """Watch it no longer."""
        async with self.database.write() as tx:
            await ended(tx, named(self.name), self.at)
            await stop_watching(tx, [self.name], self.at)
        self.records = Records()
        self.were.append((self.at, None))

    async def sync(self, *numbers: Number, skipped: int = 0) -> None:
        """Apply an answer."""
        claim = (await claim_all(self.database, self.at))[self.name]
        answer = Snapshot(numbers={each.key: each for each in numbers}, skipped=skipped)
        verdict = judge(self.records, answer, _GUARD, self.at)
        assert verdict.reason is None
        done = step(self.records, AT_ONCE, self.at, scope=self.name, verdict=verdict)
        kept = work(claim, done, at=self.at)
        told = Given(answer=verdict.said)
        await self.ledger.keep(replace(kept, given=told, ruleset=Ruleset(rules=AT_ONCE, guard=_GUARD)))
        self.records = done.records
        self.were.append((self.at, done.records.snapshot))
        self.changes += [(self.at, change) for change in done.changes]

    def restart(self) -> None:
        """Let another process go on."""
        self.ledger = Ledger(self.database, Codec())

    async def tell(self) -> None:
        """Let three answers come: one number breaks for good, two break and get well."""
        await self.begin()
        for looks in ((ready, ready, ready), (ready, broken, broken), (broken, ready, ready)):
            await self.sync(*(look(place) for place, look in enumerate(looks)))
            self.at += MINUTE
