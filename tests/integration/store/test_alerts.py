"""What is stored of an alert while its receivers are not told yet, in both databases."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from monitor.drift.alert import Notice, decode_body
from monitor.drift.policy import Records
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Number
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.tables import alerts, deliveries, episodes
from tests.fakes.stored import MINUTE, NOW, begin, claim_all, stepped, tell, work

RULES = Rules(confirm_syncs=1, resolve_syncs=1, keep_firing_for=timedelta(0), update_interval=5 * MINUTE)


def number(key: str, *issues: str) -> Number:
    """Return a number, drifting if it has issues."""
    state = issues[0] if issues else "READY"
    return Number(key=key, phone_number=f"+{key}", state=state, drifting=bool(issues), issues=issues)


class Story:
    """One connection, synced once a minute."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.records = Records()
        self.at = NOW

    async def sync(self, *numbers: Number) -> None:
        """Apply an answer with these numbers."""
        claim = (await claim_all(self.database, self.at))["a"]
        done = stepped(self.records, claim, *numbers, at=self.at, rules=RULES)
        await Ledger(self.database, Codec()).keep(work(claim, done, at=self.at), tell("hook"))
        self.records = done.records
        self.at += MINUTE

    async def stored(self) -> Any:
        """Return the one alert."""
        async with self.database.read() as tx:
            return (await tx.execute(select(alerts))).one()

    async def sent(self) -> list[Notice]:
        """Return the changes that the receiver is told of, in order."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(deliveries.c.change).order_by(deliveries.c.version))
        return [Notice(row.change) for row in rows]

    async def over(self) -> dict[str, str | None]:
        """Return the resolution of each episode by number."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(episodes.c.key, episodes.c.resolution))
        return {row.key: row.resolution for row in rows}


async def test_changes_between_two_updates_are_stored_and_not_sent(database: Database) -> None:
    """The record follows every sync; its version and the messages wait for the update."""
    await begin(database, "a")
    story = Story(database)
    steady = [number(str(index)) for index in range(10, 20)]
    await story.sync(number("1", "NO_BOT"), number("2"), number("3"), *steady)
    opened = await story.stored()

    await story.sync(number("1", "NO_BOT"), number("2", "NO_BOT"), number("3"), *steady)
    joined = await story.stored()
    body = decode_body(joined.body)
    assert (joined.id, joined.version, joined.updated_at) == (opened.id, 1, NOW + MINUTE)
    assert (body.numbers_total, body.numbers_added, body.numbers_ended) == (2, 1, 0)
    assert body.summary.endswith(": 2 numbers NO_BOT")

    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2", "NO_BOT"), number("3"), *steady)
    moved = decode_body((await story.stored()).body)
    assert {each.key: each.issues for each in moved.numbers} == {"1": ["NO_BOT", "EXPIRED"], "2": ["NO_BOT"]}

    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2"), number("3"), *steady)
    left = decode_body((await story.stored()).body)
    assert (left.numbers_total, left.numbers_added, left.numbers_ended) == (1, 1, 1)
    assert await story.over() == {"1": None, "2": "recovered"}
    assert await story.sent() == [Notice.OPENED]

    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2"), number("3"), *steady)
    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2"), number("3"), *steady)
    updated = await story.stored()
    assert (updated.version, await story.sent()) == (2, [Notice.OPENED, Notice.UPDATED])
    assert decode_body(updated.body).numbers_ended == 1

    await story.sync(number("1"), number("2"), number("3"), *steady)
    done = await story.stored()
    assert (done.status, done.resolution, done.resolved_at) == ("resolved", "recovered", NOW + 6 * MINUTE)
    assert decode_body(done.body).numbers_added == 0
    assert await story.over() == {"1": "recovered", "2": "recovered"}
    assert await story.sent() == [Notice.OPENED, Notice.UPDATED, Notice.RESOLVED]
