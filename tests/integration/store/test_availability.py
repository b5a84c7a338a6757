"""Availability from what is stored: the changes, the gaps, and how the connection stands now."""

import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from monitor.drift.policy import Records
from monitor.drift.snapshot import Number
from monitor.errors import Outcome
from monitor.store.availability import Availability, Span, Standing, availability
from monitor.store.claims import flush
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.tables import gaps
from tests.fakes.stored import MINUTE, NOW, begin, claim_all, fresh, stepped, work

DAY = timedelta(days=1)
STATES = ("READY", "READY", "NO_BOT", "LISTED")
"""Of a number; LISTED: it drifts without an issue, as where only `drift` lists it."""


@dataclass
class Story:
    """A connection, `a`, and an account of its own of what was seen of it.

    `spans` are begin, end, numbers and drifting ones while it was seen.
    """

    database: Database
    records: Records = field(default_factory=Records)
    spans: list[tuple[datetime, datetime, int, int]] = field(default_factory=list)
    last: tuple[datetime, int, int] | None = None
    blind: bool = True

    async def answers(self, at: datetime, states: dict[str, str]) -> None:
        """Apply an answer."""
        claim = (await claim_all(self.database, at))["a"]
        numbers = [
            Number(
                key=key,
                phone_number=f"+{key}",
                state=state,
                drifting=state != "READY",
                issues=(state,) if state == "NO_BOT" else (),
            )
            for key, state in states.items()
        ]
        done = stepped(self.records, claim, *numbers, at=at)
        result = replace(fresh(claim, at=at), ends_gap=self.blind)
        if done.changes or self.last is None:
            record = replace(work(claim, done, at=at), result=result)
            await Ledger(self.database, Codec()).keep(record)
        else:
            async with self.database.write() as tx:
                await flush(tx, [result])
        self.look(at)
        drifting = sum(state != "READY" for state in states.values())
        self.records, self.last, self.blind = done.records, (at, len(states), drifting), False

    async def fails(self, at: datetime) -> None:
        """Fail a sync."""
        claim = (await claim_all(self.database, at))["a"]
        async with self.database.write() as tx:
            await flush(tx, [fresh(claim, at=at, outcome=Outcome.NETWORK)])
        self.blind = True

    def look(self, now: datetime) -> None:
        """Account for the time since the last answer."""
        if self.last is not None and not self.blind:
            begun, numbers, drifting = self.last
            self.spans.append((begun, now, numbers, drifting))

    def expected(self, since: datetime, now: datetime) -> tuple[float | None, float]:
        """Return the ready share and the unknown seconds."""
        ready = counted = seen = 0.0
        for begun, ended, numbers, drifting in self.spans:
            length = (min(ended, now) - max(begun, since)).total_seconds()
            seen += max(length, 0)
            if length > 0 and numbers:
                counted += length
                ready += length * (numbers - drifting) / numbers
        return ready / counted if counted else None, (now - since).total_seconds() - seen

    async def found(self, now: datetime, *, retention: timedelta = 90 * DAY) -> dict[Span, Availability]:
        """Return what the store makes of it."""
        async with self.database.read() as tx:
            (row,) = await watched(tx, Codec())
            standing = Standing(
                identity="a",
                numbers=row.counts.total if row.counts else 0,
                drifting=row.counts.total_drifting if row.counts else 0,
                watched_since=row.watched_since,
                blind_since=(row.succeeded_at or row.watched_since) if self.blind else None,
            )
            return await availability(tx, standing, now, retention=retention)


@pytest.mark.parametrize("seed", range(2))
async def test_availability_is_what_was_seen(database: Database, seed: int) -> None:
    """Numbers drift, heal, come and go; syncs fail; the monitor is down; some answers have no number left."""
    rng = random.Random(seed)
    await begin(database, "a")
    story, now = Story(database), NOW
    for _ in range(60):
        now += rng.choice([MINUTE, 10 * MINUTE, DAY / 4, 2 * DAY])
        kind = rng.choice(["answer", "answer", "answer", "same", "fail", "down"])
        if kind == "fail":
            await story.fails(now)
            continue
        story.blind |= kind == "down"
        states = {key: rng.choice(STATES) for key in rng.sample("1234", rng.randint(1, 4))}
        if kind == "same" and story.records.snapshot is not None:
            states = {each.key: each.state for each in story.records.snapshot.numbers.values()}
        await story.answers(now, states)
    now += rng.choice([MINUTE, DAY / 2])
    story.look(now)
    for span, found in (await story.found(now)).items():
        ready, unknown_s = story.expected(max(now - span.length, NOW), now)
        assert found.since == max(now - span.length, NOW)
        assert found.ready == (pytest.approx(ready) if ready is not None else None)
        assert found.unknown_s == pytest.approx(unknown_s)


async def test_nothing_counts_from_before_the_retention_or_the_watch(database: Database) -> None:
    """What is not kept is not known: the span begins later, and says so."""
    await begin(database, "a")
    story = Story(database)
    await story.answers(NOW, {"1": "NO_BOT", "2": "READY"})
    await story.answers(NOW + DAY, {"1": "READY", "2": "READY"})
    now = NOW + 3 * DAY
    young = (await story.found(now))[Span.WEEK]
    assert young.since == NOW
    assert young.ready == pytest.approx(5 / 6)
    kept = await story.found(now, retention=2.5 * DAY)
    assert kept[Span.MONTH].since == now - 2.5 * DAY
    assert kept[Span.MONTH].ready == pytest.approx(0.9)
    assert (kept[Span.DAY].since, kept[Span.DAY].ready) == (now - DAY, 1.0)


async def test_sync_whose_claim_was_lost_records_no_gap(database: Database) -> None:
    """Another replica has taken the connection over, and will see when it was blind."""
    await begin(database, "a")
    lost = (await claim_all(database))["a"]
    await claim_all(database, NOW + 10 * MINUTE)
    async with database.write() as tx:
        await flush(tx, [replace(fresh(lost), ends_gap=True)])
    async with database.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(gaps)) == 0
