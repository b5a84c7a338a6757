"""How alerts of many connections with one cause are joined, in both databases."""

import asyncio
from collections import Counter
from datetime import timedelta

from monitor.drift.alert import AlertBody, Notice, Severity, decode_body
from monitor.drift.policy import Records
from monitor.drift.widespread import REFRESH, Spread
from monitor.notify.alertmanager.level import PostTarget
from monitor.notify.routing import Route
from monitor.store.alerts import firing, firing_by_kind
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.enrol import enrol
from monitor.store.ledger import Ledger
from monitor.store.level import StoredLevel
from monitor.store.outbox import remind
from tests.fakes.fleet import BAD, GOOD, RULES, SPREAD, WORSE, Fleet, numbers
from tests.fakes.stored import ME, MINUTE, SECOND, begin, claim_all, stepped, watch, work


def changes(bodies: list[AlertBody], *, widespread: bool = True) -> list[Notice]:
    """Return what messages say of widespread alerts, or of the others."""
    return [body.change for body in bodies if body.widespread is widespread]


async def test_one_cause_pages_for_the_first_connections_and_once_for_the_rest(database: Database) -> None:
    """Ten connections break: three pages and a widespread one, which ends once, with its last part."""
    fleet, names = Fleet(database), [f"c{place}" for place in range(10)]
    await fleet.sync(*names)

    rows = await fleet.rows()
    [wide] = [row for row in rows if row.widespread]
    assert Counter(row.part_of for row in rows if not row.widespread) == {None: 3, wide.id: 7}
    sent = fleet.sent()
    assert (changes(sent), changes(sent, widespread=False)) == ([Notice.OPENED], [Notice.OPENED] * 3)
    parts = [decode_body(row.body) for row in rows if row.part_of]
    assert {(body.part_of, body.widespread) for body in parts} == {(wide.id, False)}

    await fleet.wait(REFRESH)
    [body] = await fleet.bodies()
    assert (
        body.summary
        == "7 connections of acme: 7 numbers NO_BOT; 3 other connections of acme have alerts of their own"
    )
    assert (body.numbers_total, body.connections) == (7, [f"name of c{place}" for place in range(3, 10)])
    async with database.read() as tx:
        assert sum((await firing_by_kind(tx)).values()) == 4
        assert len(await firing(tx)) == 4

    await fleet.wait(6 * MINUTE)
    [opened, updated] = [body for body in fleet.sent() if body.widespread]
    assert (updated.change, opened.numbers_total, updated.numbers_added, updated.numbers_total) == (
        Notice.UPDATED,
        1,
        6,
        7,
    )

    await fleet.sync(*names[:-1], found=(GOOD, GOOD))
    assert changes(fleet.sent()) == [Notice.OPENED, Notice.UPDATED]
    await fleet.sync(names[-1], found=(GOOD, GOOD))
    sent = fleet.sent()
    assert changes(sent, widespread=False) == [Notice.OPENED] * 3 + [Notice.RESOLVED] * 3
    [*_, resolved] = [body for body in sent if body.widespread]
    assert (resolved.change, resolved.resolution, resolved.numbers_ended) == (Notice.RESOLVED, "recovered", 7)
    assert {row.status for row in await fleet.rows()} == {"resolved"}
    await fleet.wait(20 * MINUTE)
    assert fleet.sent() == sent


async def test_two_that_open_at_once_agree_on_who_comes_first(database: Database, url: str) -> None:
    """Processes that commit at the same time count each other: never do two become the third.

    Each opens an alert with either of two causes, and none waits for another for ever.
    """
    async with Database(url) as other:
        names = [f"c{place}" for place in range(12)]
        await begin(database, *names)
        claims = await claim_all(database)

        async def breaks(place: int, name: str) -> None:
            found = (BAD, ("EXPIRED",)) if place % 3 else (("EXPIRED",), BAD)
            done = stepped(Records(), claims[name], *numbers(*found), rules=RULES)
            ledger = Ledger((database, other)[place % 2], Codec())
            await ledger.keep(work(claims[name], done, spread=SPREAD))

        await asyncio.gather(*(breaks(place, name) for place, name in enumerate(names)))
    rows = await Fleet(database).rows()
    for state in ("NO_BOT", "EXPIRED"):
        [wide] = [row for row in rows if row.widespread and row.state == state]
        alone_or_not = [row.part_of for row in rows if not row.widespread and row.state == state]
        assert Counter(alone_or_not) == {None: 3, wide.id: 9}


async def test_a_widespread_alert_takes_parts_while_it_grows(database: Database) -> None:
    """One that breaks within `update_interval` of the last joins; later ones page again, up to the limit."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3")
    for place in range(4, 8):
        await fleet.wait(4 * MINUTE)
        await fleet.sync(f"c{place}")
    rows = [row for row in await fleet.rows() if not row.widespread]
    assert Counter(row.part_of is None for row in rows) == {True: 3, False: 5}

    await fleet.wait(5 * MINUTE)
    await fleet.sync("d0", "d1", "d2", "d3")
    rows = await fleet.rows()
    assert sum(row.widespread for row in rows) == 2
    assert Counter(
        row.part_of is None for row in rows if row.started_at == fleet.at and not row.widespread
    ) == {
        True: 3,
        False: 1,
    }


async def test_worse_is_told_at_once_and_the_rest_once_an_interval(database: Database) -> None:
    """A rise of severity does not wait; what changes afterwards waits for the interval after it."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3", "c4")
    await fleet.wait(MINUTE)
    await fleet.sync("c4", found=(WORSE, GOOD))
    last = [body for body in fleet.sent() if body.widespread][-1]
    assert (last.change, last.severity, last.numbers_total) == (Notice.UPDATED, Severity.CRITICAL, 2)
    await fleet.sync("c3", found=(WORSE, BAD))
    await fleet.wait(5 * MINUTE - SECOND)
    assert len(changes(fleet.sent())) == 2
    await fleet.wait(SECOND)
    last = [body for body in fleet.sent() if body.widespread][-1]
    assert (last.change, last.numbers_total, last.numbers_added) == (Notice.UPDATED, 3, 1)


async def test_what_went_back_is_not_told(database: Database) -> None:
    """A change that was undone before its time came leaves nothing to say."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3")
    await fleet.sync("c3", found=(WORSE, GOOD))
    await fleet.sync("c3", found=(BAD, GOOD))
    await fleet.wait(30 * MINUTE)
    said = changes(fleet.sent())
    await fleet.sync("c3", found=(("NO_BOT", "OTHER"), GOOD))
    await fleet.sync("c3", found=(BAD, GOOD))
    await fleet.wait(30 * MINUTE)
    assert changes(fleet.sent()) == said


async def test_a_receiver_hears_of_it_through_the_first_part_that_passes_its_filters(
    database: Database,
) -> None:
    """It is told at once, as opened, whatever others were told; and it is told of the end."""
    fleet = Fleet(
        database,
        Route(receiver="all"),
        Route(receiver="last", connections=("name of c5",)),
        Route(receiver="critical", min_severity=Severity.CRITICAL),
    )
    await fleet.sync("c0", "c1", "c2", "c3", "c4")
    assert fleet.sent("last") == []
    await fleet.wait(MINUTE)
    await fleet.sync("c5")
    [heard] = fleet.sent("last")
    assert (heard.change, heard.widespread, heard.numbers_total) == (Notice.OPENED, True, 3)
    assert changes(fleet.sent("all")) == [Notice.OPENED]
    await fleet.sync("c4", found=(WORSE, GOOD))
    [heard] = fleet.sent("critical")
    assert (heard.change, heard.widespread) == (Notice.OPENED, True)
    await fleet.sync("c0", "c1", "c2", "c3", "c4", "c5", found=(GOOD, GOOD))
    for receiver in ("all", "last", "critical"):
        assert changes(fleet.sent(receiver))[-1] is Notice.RESOLVED
        assert changes(fleet.sent(receiver)).count(Notice.RESOLVED) == 1


async def test_off_means_off(database: Database) -> None:
    """With 0, or without an interval, every connection pages."""
    for place, spread in enumerate((Spread(connections=0), Spread(update_interval=timedelta(0)))):
        fleet = Fleet(database, spread=spread)
        await fleet.sync(*(f"{place}-{name}" for name in range(8)))
    assert [(row.widespread, row.part_of) for row in await fleet.rows()] == [(False, None)] * 16


async def test_other_accounts_and_states_are_other_causes(database: Database) -> None:
    """Only alerts of the same account, kind and state are joined."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2")
    await fleet.sync("c3", "c4", "c5", found=(("EXPIRED",), GOOD))
    assert not any(row.widespread for row in await fleet.rows())


async def test_a_receiver_that_refuses_is_not_sent_every_part(database: Database) -> None:
    """What it refused is told again with the next update, not whenever one more connection breaks."""
    fleet = Fleet(database, spread=SPREAD)
    fleet.refusing = {"hook"}
    await fleet.sync(*(f"c{place}" for place in range(12)))
    assert await fleet.tried() == Counter({False: 3, True: 1})
    await fleet.wait(6 * MINUTE)
    assert await fleet.tried() == Counter({False: 3, True: 2})


async def test_connections_that_are_no_longer_watched_end_it(database: Database) -> None:
    """A config without them resolves the parts, and with the last one the widespread alert."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3", "c4")
    await enrol(
        database,
        Codec(),
        me=ME,
        discovering=(),
        ask_again=False,
        watches=[watch("c0", fleet.at)],
        vanished=(),
        listed=(),
        receivers=["hook"],
        routes=fleet.routes,
        spread=SPREAD,
        now=fleet.at,
    )
    await fleet.deliver()
    [last] = [body for body in fleet.sent() if body.widespread][1:]
    assert (last.change, last.resolution, last.numbers_ended) == (Notice.RESOLVED, "unconfigured", 2)


async def test_a_new_receiver_hears_of_it_if_any_part_passes_its_filters(database: Database) -> None:
    """What the widespread alert has of severity and connections may come from different parts."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3")
    await fleet.sync("c4", found=(WORSE, GOOD))
    await fleet.wait(SECOND)
    new = (
        Route(receiver="three", connections=("name of c3",)),
        Route(receiver="critical", min_severity=Severity.CRITICAL),
        Route(receiver="neither", connections=("name of c3",), min_severity=Severity.CRITICAL),
    )
    await enrol(
        database,
        Codec(),
        me=ME,
        discovering=(),
        ask_again=False,
        watches=[watch(f"c{place}", fleet.at) for place in range(5)],
        vanished=(),
        listed=(),
        receivers=["hook", *(route.receiver for route in new)],
        routes=(*fleet.routes, *new),
        spread=SPREAD,
        now=fleet.at,
    )
    fleet.told |= {route.receiver: [] for route in new}
    await fleet.deliver()
    heard = {route.receiver: changes(fleet.sent(route.receiver)) for route in new}
    assert heard == {"three": [Notice.OPENED], "critical": [Notice.OPENED], "neither": []}


async def test_reminders_are_of_the_widespread_alert_not_of_its_parts(database: Database) -> None:
    """Whoever wants to be reminded is reminded of what they were told."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3", "c4", "c5")
    await fleet.wait(60 * MINUTE)
    async with database.write() as tx:
        assert await remind(tx, {"hook": 30 * MINUTE}, fleet.at) == 4
    await fleet.deliver()
    [wide] = [body for body in fleet.sent() if body.widespread and body.change is Notice.REMINDER]
    assert (wide.numbers_total, wide.part_of) == (3, None)


async def test_alertmanager_is_told_which_alert_an_episode_belongs_to(database: Database) -> None:
    """Of a part, the widespread one."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3", "c4")
    level = StoredLevel(database, Codec(), fleet.clock, holder="me")
    state = await level.read(PostTarget(receiver="am", url="http://am"))
    [wide] = [row.id for row in await fleet.rows() if row.widespread]
    own = {row.id for row in await fleet.rows() if not row.widespread and row.part_of is None}
    told_as = Counter(each.told_as for each in state.members.values())
    assert told_as == Counter({wide: 2}) + Counter(own)
