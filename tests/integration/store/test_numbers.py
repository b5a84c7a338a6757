"""Everything known about a number, and why it paged or did not, as the store has it."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from monitor.drift.alert import Severity
from monitor.drift.explain import Explanation, Verdict
from monitor.drift.facts import Quiet, QuietKind, Terms
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Records, judge
from monitor.drift.rules import Ignore, Rules
from monitor.drift.silences import NewSilence
from monitor.drift.snapshot import Dependencies, Number, Snapshot
from monitor.drift.widespread import Spread
from monitor.errors import Outcome, Refusal
from monitor.notify.delivery import Dead, Failed, Sent
from monitor.notify.routing import Route
from monitor.store.actions import Actor
from monitor.store.claims import claim_one, flush
from monitor.store.codec import Codec
from monitor.store.connections import stop_watching
from monitor.store.database import Database
from monitor.store.explanations import LOG, Grounds, explain
from monitor.store.ledger import Ledger, StepRecord
from monitor.store.numbers import Match, NumberDetail, number_named
from monitor.store.outbox import StoredOutbox
from monitor.store.queries import numbers
from monitor.store.silencing import set_silence
from monitor.store.tables import alerts, episodes, posted, posters, snapshots
from tests.fakes.clock import FakeClock
from tests.fakes.fleet import BAD, GOOD, Fleet
from tests.fakes.stored import (
    LEASE,
    MINUTE,
    NOW,
    SECOND,
    Counting,
    begin,
    configured,
    fresh,
    named,
    number,
    stepped,
    work,
)

ACME, OTHER = "918011223344", "918055663344"
RULES = Rules(keep_firing_for=5 * MINUTE)
ROUTES = (
    Route(receiver=LOG),
    Route(receiver="am"),
    Route(receiver="pd", min_severity=Severity.CRITICAL),
    Route(receiver="hook"),
)


@dataclass(kw_only=True)
class World:
    """Connections in a store, each synced when a test says so; `rules` are what explanations go by."""

    database: Database
    rules: Rules = RULES
    at: datetime = NOW
    records: dict[str, Records] = field(default_factory=dict)

    @property
    def grounds(self) -> Grounds:
        """What the config says."""
        return Grounds(terms_of=lambda _: Terms(rules_at=lambda _: self.rules), routes=ROUTES)

    async def sync(self, identity: str, *found: Number, after: timedelta = MINUTE) -> None:
        """Apply an answer with these numbers."""
        self.at += after
        await begin(self.database, *{*self.records, identity}, due_at=self.at, now=self.at)
        async with self.database.write() as tx:
            claim = await claim_one(tx, identity, self.at, lease=LEASE)
        assert claim is not None
        done = stepped(self.records.get(identity, Records()), claim, *found, at=self.at, rules=self.rules)
        await configured(self.database, *(route for route in ROUTES if route.receiver != "am"))
        await Ledger(self.database, Codec()).keep(work(claim, done, at=self.at))
        self.records[identity] = done.records

    async def hold(self, identity: str, *found: Number) -> None:
        """Receive an answer that is not believed."""
        self.at += MINUTE
        async with self.database.write() as tx:
            claim = await claim_one(tx, identity, self.at, lease=LEASE)
        assert claim is not None
        answer = Snapshot(numbers={one.key: one for one in found})
        judgement = judge(self.records[identity], answer, Guard(), self.at)
        assert judgement.reason is not None
        record = StepRecord(
            claim=claim,
            connection=named(identity),
            records=judgement.records,
            counts=None,
            at=self.at,
            result=fresh(claim, at=self.at, outcome=Outcome.HELD),
        )
        await Ledger(self.database, Codec()).keep(record)
        self.records[identity] = judgement.records

    async def fail(self, identity: str, times: int) -> None:
        """Let syncs fail."""
        for _ in range(times):
            self.at += MINUTE
            async with self.database.write() as tx:
                claim = await claim_one(tx, identity, self.at, lease=LEASE)
                assert claim is not None
                await flush(tx, [fresh(claim, at=self.at, outcome=Outcome.TIMEOUT)])

    async def asked(self, text: str, *, at: datetime | None = None) -> NumberDetail | list[Match]:
        """Look a number up."""
        async with self.database.read() as tx:
            return await number_named(tx, Codec(), text, self.grounds, at or self.at)

    async def number(self, text: str = ACME, *, at: datetime | None = None) -> NumberDetail:
        """Return what is known of a number that is found."""
        found = await self.asked(text, at=at)
        assert isinstance(found, NumberDetail)
        return found

    async def alert(self, alert_id: str) -> Explanation:
        """Explain an alert that is found."""
        async with self.database.read() as tx:
            found = await explain(tx, Codec(), alert_id, self.grounds, self.at)
        assert found is not None
        return found

    async def settle(self, receiver: str, how: type[Any], **given: Any) -> None:
        """Let a receiver answer what is queued for it."""
        outbox = StoredOutbox(self.database, FakeClock(self.at))
        leased = (await outbox.lease_due(receiver, limit=10, lease_s=30)).deliveries
        assert leased
        await outbox.settle([how(delivery=each, at=self.at, **given) for each in leased])


@pytest.fixture
def world(database: Database) -> World:
    """Return a world without connections."""
    return World(database=database)


async def test_number_is_all_that_is_known_of_it(world: World) -> None:
    """As the contract has it: by name, since when, its alert, what happened."""
    on = Dependencies(415, None, "inbound:bot:93", "agt_31", routing_active=False)
    ready = replace_dependencies(number(ACME), Dependencies(415, 93, "inbound:bot:93", "agt_31"))
    broken = replace_dependencies(number(ACME, "NO_BOT", "X"), on)
    await world.sync("a", ready, number(OTHER))
    for _ in range(3):
        await world.sync("a", broken, number(OTHER))
    found = await world.number("+91 80 1122 3344")
    assert (found.key, found.phone_number, found.connection) == (ACME, f"+{ACME}", "name of a")
    assert (found.also_in, found.account, found.state) == ([], "acme", "NO_BOT")
    assert (found.issues, found.drifting, found.since) == (["NO_BOT", "X"], True, NOW + 2 * MINUTE)
    on_what = found.depends_on
    assert (on_what.client.id, on_what.bot.id, on_what.agent.id) == (415, None, "agt_31")
    assert (on_what.routing.target, on_what.routing.active) == ("inbound:bot:93", False)
    assert found.silenced_by is None
    async with world.database.read() as tx:
        assert found.alerts == [await tx.scalar(select(alerts.c.id))]
    assert [(row.change, row.at) for row in found.timeline] == [("appeared", NOW + 2 * MINUTE)]
    assert found.verdict is Verdict.PAGES
    assert "The last sync of name of a, 0 s ago, answered; the next is due in 1 min." in found.explanation


def replace_dependencies(one: Number, dependencies: Dependencies) -> Number:
    """Return a number that depends on something."""
    return Number(
        key=one.key,
        phone_number=one.phone_number,
        state=one.state,
        drifting=one.drifting,
        issues=one.issues,
        dependencies=dependencies,
    )


async def test_names_are_those_that_the_answer_gives(world: World) -> None:
    """Of client, bot and agent, where it gives one."""
    one = replace_dependencies(number(ACME), Dependencies(415, 93, bot_active=False))
    await world.sync("a", one)
    names = {"client:415": "Acme Sales", "bot:93": "Greeter"}
    records = Records(snapshot=Snapshot(numbers={ACME: one}, names=names))
    async with world.database.write() as tx:
        await tx.execute(update(snapshots).values(records=Codec().pack_records(records)))
    found = (await world.number()).depends_on
    assert (found.client.name, found.bot.name, found.bot.active) == ("Acme Sales", "Greeter", False)
    assert found.agent.name is None


async def test_since_is_since_the_state_not_since_the_last_change(world: World) -> None:
    """Another issue or bot is no other state; one that was never seen otherwise is as old as the watch."""
    await world.sync("a", number(ACME, "NO_BOT"), number(OTHER))
    await world.sync("a", number(ACME, "ROUTING_MISSING"), number(OTHER))
    since = world.at
    await world.sync("a", number(ACME, "ROUTING_MISSING", "NO_BOT"), number(OTHER))
    assert (await world.number()).since == since
    assert (await world.number(OTHER)).since == NOW + MINUTE


async def test_connection_where_it_drifts_comes_first(world: World) -> None:
    """Whatever it is called; the others are named, with what it is there."""
    await world.sync("a", number(ACME))
    await world.sync("b", number(ACME, "NO_BOT"))
    await world.sync("c", number(OTHER))
    found = await world.number()
    assert (found.connection, found.also_in) == ("name of b", ["name of a"])
    assert found.explanation[-1] == "It is also on name of a, where it is READY."


async def test_several_numbers_that_end_so_are_listed(world: World) -> None:
    """With where they are; a whole number is always one."""
    await world.sync("a", number(ACME), number(OTHER))
    found = await world.asked("3344")
    assert isinstance(found, list)
    assert [(match.phone_number, match.connection) for match in found] == [
        (f"+{ACME}", "name of a"),
        (f"+{OTHER}", "name of a"),
    ]
    assert await world.asked("0000") == []
    assert (await world.number(OTHER)).key == OTHER


async def test_removed_number_is_gone_and_known_from_its_history(world: World) -> None:
    """Since when, what it depended on while that is remembered, and its alert."""
    await world.sync("a", replace_dependencies(number(ACME), Dependencies(415)), number(OTHER))
    for _ in range(2):
        await world.sync("a", number(OTHER))
    found = await world.number()
    assert (found.state, found.drifting, found.issues) == ("gone", False, [])
    assert found.since == NOW + 2 * MINUTE
    assert found.depends_on.client.id == 415
    assert [row.change for row in found.timeline] == ["removed"]
    assert found.verdict is Verdict.PAGES
    await world.sync("a", replace_dependencies(number(ACME), Dependencies(415)), number(OTHER))
    assert (await world.number()).state == "READY"


async def test_number_of_a_connection_that_left_the_config_is_gone(world: World) -> None:
    """It is called as its history calls it."""
    await world.sync("a", number(ACME, "NO_BOT"))
    async with world.database.write() as tx:
        await stop_watching(tx, ["a"], world.at)
    found = await world.number()
    assert (found.connection, found.state, found.verdict) == ("name of a", "gone", Verdict.ENDED)
    assert found.also_in == []


async def test_number_says_what_keeps_it_quiet(world: World) -> None:
    """The rule with its reason and end."""
    rule = Ignore(number=f"+{ACME}", reason="spare numbers", until=NOW + timedelta(days=1))
    world.rules = replace(RULES, ignores=(rule,))
    for _ in range(3):
        await world.sync("a", number(ACME, "NO_BOT"))
    found = await world.number()
    assert (found.verdict, found.next_at) == (Verdict.SILENCED, rule.until)
    assert found.silenced_by == Quiet(
        kind=QuietKind.IGNORE, reason="spare numbers", until=rule.until, by=None
    )


async def test_number_says_who_silenced_it(world: World) -> None:
    """A silence in the store counts like a rule of the config."""
    for _ in range(2):
        await world.sync("a", number(ACME, "NO_BOT"))
    asked = NewSilence(number=f"+{ACME}", for_="2h", reason="moving", by="asha")
    by = Actor(user="asha", address="command")
    await set_silence(world.database, Codec(), asked, by, world.at, logged=True)
    found = await world.number()
    assert found.silenced_by == Quiet(
        kind=QuietKind.SILENCE, reason="moving", until=world.at + timedelta(hours=2), by="asha"
    )
    assert (found.verdict, found.next_at) == (Verdict.SILENCED, world.at)
    assert (await world.alert(found.alerts[0])).verdict is Verdict.SILENCED


async def test_ended_alert_is_remembered(world: World) -> None:
    """A ready number says when it was last in one, and how that ended."""
    world.rules = replace(RULES, keep_firing_for=timedelta(0))
    for issues in (("NO_BOT",), ("NO_BOT",), (), ()):
        await world.sync("a", number(ACME, *issues))
    found = await world.number()
    assert found.verdict is Verdict.READY
    assert "to 2026-03-01 12:04:00 UTC: " in found.explanation[-1]
    explained = await world.alert(found.alerts[0])
    assert explained.verdict is Verdict.ENDED
    assert "ended at 2026-03-01 12:04:00 UTC" in explained.sentences[1]


async def test_receivers_say_what_became_of_their_messages(world: World) -> None:
    """Told, tried, refused for good, filtered; an Alertmanager is told when it accepted a post."""
    for _ in range(2):
        await world.sync("a", number(ACME, "NO_BOT"))
    to = {"receiver": "am", "url": "http://am"}
    async with world.database.write() as tx:
        await tx.execute(insert(posters).values(**to, holder="me"))
    told = "\n".join((await world.number()).explanation)
    assert "pd not told: severity warning is below its min_severity critical." in told
    assert "hook not told yet: its message is queued." in told
    assert "am not told yet: it is to be posted." in told
    await world.settle(LOG, Sent, answer="written")
    soon = {"next_try_at": world.at + SECOND, "refusal": Refusal.RETRY}
    await world.settle("hook", Failed, error="503 Service Unavailable", **soon)
    async with world.database.write() as tx:
        episode_id = await tx.scalar(select(episodes.c.id))
        post: dict[str, Any] = to | {"episode_id": episode_id, "fingerprint": "f", "labels": {}}
        await tx.execute(insert(posted).values(**post, changed_at=world.at, accepted_at=world.at))
    told = "\n".join((await world.number()).explanation)
    assert "log told at 2026-03-01 12:02:00 UTC." in told
    assert "am told at 2026-03-01 12:02:00 UTC." in told
    assert "hook not told yet: 1 try, the last answer was: 503 Service Unavailable." in told
    world.at += 10 * MINUTE
    await world.settle("hook", Dead, error="400 Bad Request")
    assert "hook not told: it rejected the message: 400 Bad Request." in (await world.number()).explanation


async def test_held_answer_is_said_of_the_numbers_in_it(world: World) -> None:
    """They are as they were, and pending; how many more such answers are needed is said."""
    keys = [f"91801122000{place}" for place in range(6)]
    await world.sync("a", *map(number, keys))
    for _ in range(2):
        await world.hold("a", *(number(key, "NO_BOT") for key in keys))
    found = await world.number(keys[0])
    assert (found.state, found.verdict) == ("READY", Verdict.PENDING)
    told = "\n".join(found.explanation)
    assert "Held: 100% of 6 numbers changed at once, 2 of 3 answers; 6 of 6 numbers would start" in told
    assert "This number is in trouble in 2 of 2 held answers." in told


async def test_failing_connection_is_said_of_its_numbers(world: World) -> None:
    """What is known is as old as the last answer."""
    await world.sync("a", number(ACME))
    await world.fail("a", 2)
    told = "\n".join((await world.number()).explanation)
    assert "The last 2 syncs of name of a failed (timeout: it failed)" in told
    assert "known as of 2026-03-01 12:01:00 UTC" in told
    assert "Failed 2 of 3 in a row that open an alert" in told


async def test_alert_explains_its_numbers(world: World) -> None:
    """How many are ready again, and when the next one ends."""
    for _ in range(2):
        await world.sync("a", number(ACME, "NO_BOT"), number(OTHER, "NO_BOT"))
    await world.sync("a", number(ACME), number(OTHER, "NO_BOT"))
    [alert_id] = (await world.number()).alerts
    found = await world.alert(alert_id)
    assert (found.subject, found.verdict) == (alert_id, Verdict.PAGES)
    assert "Ready now: 1 of 2 numbers." in found.sentences
    assert found.next_at == world.at + MINUTE


async def test_unknown_alert_has_no_explanation(world: World) -> None:
    """An id that no alert has."""
    async with world.database.read() as tx:
        assert await explain(tx, Codec(), "nothing", world.grounds, NOW) is None


async def test_part_is_explained_by_its_widespread_alert(database: Database) -> None:
    """Its receivers are those of the whole, which counts its connections and knows its numbers."""
    fleet = Fleet(database, Route(receiver="hook"), spread=Spread(connections=1))
    for name in ("a", "b", "c"):
        await fleet.sync(name, found=(BAD, GOOD))
    await fleet.wait(SECOND)
    rows = await fleet.rows()
    [whole] = [row for row in rows if row.widespread]
    part = next(row for row in rows if row.part_of == whole.id)
    world = World(database=database, at=fleet.at)
    explained = await world.alert(part.id)
    assert explained.subject == part.id
    assert any(f"part of widespread alert {whole.id}" in line for line in explained.sentences)
    assert any(line.startswith("hook told at") for line in explained.sentences)
    assert (await world.alert(whole.id)).verdict is Verdict.PAGES


async def test_glob_lists_numbers_of_the_connections_that_have_them(world: World) -> None:
    """With other filters, and from page to page."""
    await world.sync("a", number(ACME), number(OTHER, "NO_BOT"), number("447700900123"))
    await world.sync("b", number(ACME))

    async def listed(**given: Any) -> list[tuple[str, str]]:
        rows, after = [], None
        while True:
            async with world.database.read() as tx:
                page = await numbers(tx, Codec(), limit=1, after=after, **given)
            rows += [(row.connection, row.key) for row in page.rows]
            if (after := page.next) is None:
                return rows

    assert await listed(number="+9180*") == [
        ("name of a", ACME),
        ("name of a", OTHER),
        ("name of b", ACME),
    ]
    assert await listed(number="*3344", drifting=True) == [("name of a", OTHER)]
    assert await listed(number="*3344", connection="*b") == [("name of b", ACME)]
    assert await listed(number="+1*") == []


async def test_looking_up_one_number_unpacks_only_its_own_snapshots(world: World) -> None:
    """However many connections there are."""
    for identity in "abcdef":
        await world.sync(identity, number(f"91801122334{ord(identity) % 10}"))
    codec = Counting()
    async with world.database.read() as tx:
        found = await number_named(tx, codec, "918011223347", world.grounds, world.at)
    assert isinstance(found, NumberDetail)
    assert codec.unpacked == 1
