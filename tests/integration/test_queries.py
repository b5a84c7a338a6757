"""The store's questions and the requests of commands, on both databases."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.cli import records
from monitor.cli.terminal import instant
from monitor.drift.alert import Kind, Notice, Status, encode_body
from monitor.drift.policy import Records
from monitor.drift.rules import Ignore, Rules
from monitor.drift.snapshot import Change, ChangeKind, Snapshot
from monitor.store import alert_lists, history, queries
from monitor.store.actions import (
    Action,
    ActionRecord,
    Actor,
    add_action,
    any_unlogged,
    take_unlogged,
)
from monitor.store.alert_lists import alert_bodies
from monitor.store.changes import add_changes
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName, Watch, begin_watching
from monitor.store.database import Database
from monitor.store.history import change_rows, happenings
from monitor.store.paging import BadCursor, Page, cursor_of
from monitor.store.queries import (
    action_rows,
    connection_named,
    connection_rows,
    delivery_rows,
    numbers,
    problems,
)
from monitor.store.requests import accept, acceptable, dismiss, owner_named, retry
from monitor.store.rows import Problem, ProblemStatus, SyncStatus
from monitor.store.tables import acceptances, alerts, connections, deliveries, snapshots
from tests.fakes.alerts import BODY
from tests.fakes.stored import recorded
from tests.fakes.yields import Yields
from tests.unit.drift.build import EVERY_KIND, START, broken, fleet, key, ready
from tests.unit.drift.build import Watch as Watching

CODEC = Codec()
MINUTE = timedelta(minutes=1)
ACME, BETA = "id-acme", "id-beta"


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """Return an empty store."""
    async with Database(request.getfixturevalue(f"{request.param}_store")) as opened:
        yield opened


async def watch(database: Database, **records: Records) -> None:
    """Let the store have these connections, `acme_sales` being called acme-sales, with their records."""
    for name, kept in records.items():
        watched = Watch(
            identity=f"id-{name}",
            name=name.replace("_", "-"),
            account="acme",
            connection_id=None,
            first_due_at=START,
            next_due_at=START,
        )
        async with database.write() as tx:
            await begin_watching(tx, [watched], START)
            await tx.execute(
                insert(snapshots).values(identity=watched.identity, records=CODEC.pack_records(kept))
            )


def troubled() -> Records:
    """Return records with one alerting, one ending, one pending and one removed number, and a ready one."""
    rules = Rules(confirm_syncs=2, alerting=EVERY_KIND)
    watching = Watching(rules)
    both = [broken(1), broken(2, "ROUTING_MISSING")]
    watching.sync(*fleet(10, *both))
    watching.sync(*fleet(10, *both))
    watching.sync(*fleet(9, broken(1), broken(3, "EXPIRED")))
    return watching.records


async def asked(
    database: Database, question: Callable[..., Awaitable[Page[Any]]], *given: Any, **filters: Any
) -> list[Any]:
    """Return the rows of all pages, two at a time, having seen that one big page has the same."""
    async with database.read() as tx:
        whole = await question(tx, *given, **filters)
        assert whole.next is None
        rows: list[Any] = []
        page = await question(tx, *given, **filters, limit=2)
        while page.next is not None:
            assert len(page.rows) == 2
            rows += page.rows
            page = await question(tx, *given, **filters, limit=2, after=page.next)
        assert whole.rows == rows + page.rows
    return whole.rows


async def in_trouble(database: Database, rules: Rules | None = None, **filters: Any) -> list[Problem]:
    """Return all problems, every connection having the same rules."""
    return await asked(database, problems, CODEC, lambda _: rules, START + 5 * MINUTE, **filters)


async def test_problems_say_how_each_stands(database: Database) -> None:
    """Confirmed is alerting, seen once is pending, good again is ending; ready ones are not listed."""
    await watch(database, acme=troubled())
    rows = await in_trouble(database)
    assert [(row.key, row.kind, row.state, row.status) for row in rows] == [
        (key(1), Kind.DRIFT, "NO_BOT", ProblemStatus.ALERTING),
        (key(2), Kind.DRIFT, "ROUTING_MISSING", ProblemStatus.ENDING),
        (key(3), Kind.DRIFT, "EXPIRED", ProblemStatus.PENDING),
        (key(10), Kind.NUMBER_REMOVED, "gone", ProblemStatus.PENDING),
    ]
    assert rows[0].action == "Fix NO_BOT"
    assert rows[0].alert_id is not None
    assert rows[2].alert_id is None


async def test_problems_that_a_rule_silences_are_ignored(database: Database) -> None:
    """An ignore rule shows, whatever the records say."""
    await watch(database, acme=troubled())
    rules = Rules(ignores=(Ignore(number=key(1)),), alerting=EVERY_KIND)
    rows = await in_trouble(database, rules, status=ProblemStatus.IGNORED)
    assert [row.key for row in rows] == [key(1)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"state": "no_bot"}, [("acme", 1), ("acme-x", 1)]),
        ({"connection": "acme-*", "status": ProblemStatus.ALERTING}, [("acme-x", 1)]),
        ({"connection": "ACME"}, []),
        (
            {"since": START + 40 * timedelta(seconds=1)},
            [("acme", 3), ("acme", 10), ("acme-x", 3), ("acme-x", 10)],
        ),
    ],
    ids=["state in any case", "glob and status", "names have case", "since"],
)
async def test_problems_are_narrowed(
    database: Database, filters: dict[str, Any], found: list[tuple[str, int]]
) -> None:
    """Each filter keeps what it says, over several connections."""
    await watch(database, acme=troubled(), acme_x=troubled(), zeta=Records())
    rows = await in_trouble(database, **filters)
    assert [(row.connection, row.key) for row in rows] == [(name, key(index)) for name, index in found]


async def test_problem_of_a_number_that_is_gone_names_no_action(database: Database) -> None:
    """What to do about its drift is not what to do about its removal."""
    watching = Watching(Rules(confirm_syncs=2, alerting=EVERY_KIND))
    for numbers_left in (2, 1):
        watching.sync(*fleet(numbers_left, *[broken(2)][: numbers_left - 1]))
    await watch(database, acme=watching.records)
    [gone] = [row for row in await in_trouble(database) if row.kind is Kind.NUMBER_REMOVED]
    assert (gone.key, gone.issues, gone.action) == (key(2), ("NO_BOT",), None)


async def test_numbers_are_listed_with_what_they_hang_on(database: Database) -> None:
    """Every number of every applied snapshot, by connection and key; `drifting` narrows."""
    await watch(database, acme=troubled(), beta=troubled(), empty=Records())
    rows = await asked(database, numbers, CODEC)
    assert [(row.connection, row.key) for row in rows] == [
        (name, key(index)) for name in ("acme", "beta") for index in range(1, 10)
    ]
    assert (rows[1].client_id, rows[1].bot_id, rows[1].drifting) == (415, 93, False)
    drifting = await asked(database, numbers, CODEC, connection="b*", drifting=True)
    assert [row.state for row in drifting] == ["NO_BOT", "EXPIRED"]


async def test_long_answers_let_others_run(database: Database) -> None:
    """Between any two snapshots the event loop turns, and often while the numbers of one are passed over."""
    await watch(database, **{f"c{index:02}": troubled() for index in range(10)})
    async with database.read() as tx:
        asking = Yields(problems(tx, CODEC, lambda _: None, START))
        await asking
    assert asking.many == 10
    many = {one.key: one for one in fleet(10_000)}
    await watch(database, large=Records(snapshot=Snapshot(numbers=many)))
    async with database.read() as tx:
        asking = Yields(numbers(tx, CODEC, connection="large", state="NOTHING"))
        await asking
    assert asking.many >= 10_000 / 500


async def record_changes(database: Database) -> None:
    """Record three changes of two connections, a minute apart."""
    changed = [
        (
            ConnectionName(identity=ACME, name="acme_1", account="acme"),
            Change(ChangeKind.APPEARED, key(1), ready(1), broken(1)),
        ),
        (
            ConnectionName(identity=ACME, name="acme_1", account="acme"),
            Change(ChangeKind.RESOLVED, key(1), broken(1), ready(1)),
        ),
        (
            ConnectionName(identity=BETA, name="acmeX1", account="beta"),
            Change(ChangeKind.REMOVED, key(2), ready(2), None),
        ),
    ]
    for minutes, (named, change) in enumerate(changed):
        async with database.write() as tx:
            await add_changes(tx, named, 1, [change], START + minutes * MINUTE)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["removed", "resolved", "appeared"]),
        ({"connection": "acme_1"}, ["resolved", "appeared"]),
        ({"connection": "acme[_X]1"}, ["removed", "resolved", "appeared"]),
        ({"connection": "acmex*"}, []),
        ({"connection": "acme?1", "since": START + MINUTE}, ["removed", "resolved"]),
        ({"state": "no_bot"}, ["resolved", "appeared"]),
        ({"change": "removed"}, ["removed"]),
    ],
    ids=[
        "all",
        "underscore is no wildcard",
        "set",
        "case",
        "glob and since",
        "state before or after",
        "kind",
    ],
)
async def test_changes_are_newest_first(
    database: Database, filters: dict[str, Any], found: list[str]
) -> None:
    """Each filter keeps what it says; globs mean what they mean everywhere else."""
    await record_changes(database)
    assert [row.change for row in await asked(database, change_rows, **filters)] == found

    happened = await asked(database, happenings, **filters)
    assert [(each.change, each.many) for each in happened] == [(change, 1) for change in found]


async def test_happening_counts_all_numbers_not_those_shown(database: Database) -> None:
    """Sixty lost their bot in a sync, two of them more than that: one happening of sixty, found by either."""
    one = ConnectionName(identity=ACME, name="acme", account="acme")
    worse = [broken(place, issues=("NO_BOT", "EXPIRED")) for place in (58, 59)]
    after = [*(broken(place) for place in range(58)), *worse]
    lost = [Change(ChangeKind.APPEARED, each.key, ready(0), each) for each in after]
    for place in range(3):
        async with database.write() as tx:
            await add_changes(tx, one, place, lost, START + place * MINUTE)
    async with database.read() as tx:
        [newest, *_] = (page := await happenings(tx, limit=2)).rows
        following = await happenings(tx, limit=2, after=page.next)
        [found] = (await happenings(tx, state="expired", at=START + MINUTE, identity=ACME)).rows
        [whole] = (await happenings(tx, at=START + MINUTE, shown=100)).rows
    assert (newest.sync_id, newest.many, len(newest.members)) == (f"{ACME}/2", 60, 20)
    assert [each.key for each in after][:20] == [key for key, _ in newest.members]
    syncs = [each.sync_id for each in (*page.rows, *following.rows)]
    assert syncs == [f"{ACME}/{epoch}" for epoch in (2, 1, 0)]
    assert following.next is None
    assert (found.many, [key for key, _ in found.members]) == (2, [each.key for each in worse])
    assert (whole.many, len(whole.members)) == (60, 60)


async def test_changes_keep_the_providers_values(database: Database) -> None:
    """Ids keep their type, lists their order, instants their zone."""
    await record_changes(database)
    row = (await asked(database, change_rows))[-1]
    assert (row.at, row.did_id, row.client_id) == (START, 1, 415)
    assert (row.issues, row.previous_issues) == (["NO_BOT"], [])
    assert row.action_items == [{"code": "NO_BOT", "label": "Fix NO_BOT"}]


async def save_alert(
    tx: AsyncConnection, name: str, started_at: datetime, resolved_at: datetime | None = None, **body: Any
) -> None:
    """Record one alert."""
    status = Status.RESOLVED if resolved_at else Status.FIRING
    made = msgspec.structs.replace(BODY, alert_id=name, status=status, **body)
    await tx.execute(
        insert(alerts).values(
            id=name,
            scope="x",
            kind=made.kind,
            status=status,
            severity=made.severity,
            version=1,
            started_at=started_at,
            updated_at=started_at,
            resolved_at=resolved_at,
            state=made.state or "",
            connection=made.connection if len(made.connections) == 1 else None,
            names=made.connections,
            body=encode_body(made),
        )
    )


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"status": Status.FIRING}, ["d", "b"]),
        ({"since": START + 3 * MINUTE}, ["d", "c", "b"]),
        ({"connection": "beta-*"}, ["d"]),
        ({"kind": Kind.API_UNAVAILABLE}, ["d"]),
        ({"state": "NO_bot"}, ["c", "b", "a"]),
    ],
    ids=["all", "status", "firing since", "any of its connections", "kind", "state"],
)
async def test_alerts_are_latest_first(database: Database, filters: dict[str, Any], found: list[str]) -> None:
    """Each filter keeps what it says; pages cut well among alerts of one instant."""
    async with database.write() as tx:
        await save_alert(tx, "a", START, START + MINUTE)
        await save_alert(tx, "b", START)
        await save_alert(tx, "c", START, START + 3 * MINUTE)
        both = ["acme-sales", "beta-1"]
        await save_alert(tx, "d", START + MINUTE, kind=Kind.API_UNAVAILABLE, connections=both, state=None)
    assert [body.alert_id for body in await asked(database, alert_bodies, **filters)] == found


async def queue(database: Database, *rows: dict[str, Any]) -> None:
    """Queue deliveries, one a minute; ids are their places, beginning with 1."""
    for place, row in enumerate(rows, 1):
        values = {
            "id": str(place),
            "receiver": "hook",
            "alert_id": "a1",
            "change": Notice.OPENED,
            "version": 1,
            "body": encode_body(BODY),
            "status": "dead",
            "attempts": 3,
            "created_at": START + place * MINUTE,
            "due_at": START,
            "first_failed_at": START,
            "finished_at": START,
        }
        async with database.write() as tx:
            await tx.execute(insert(deliveries).values(**values | row))


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["3", "2", "1"]),
        ({"receiver": "chat"}, ["2"]),
        ({"status": "delivered"}, ["3"]),
        ({"alert_id": "a2"}, ["3"]),
        ({"since": START + 2 * MINUTE}, ["3", "2"]),
        ({"connection": "other"}, []),
        ({"state": (BODY.state or "").lower()}, ["3", "2", "1"]),
        ({"state": "OTHER"}, []),
    ],
    ids=["all", "receiver", "status", "alert", "since", "connection", "state", "other state"],
)
async def test_deliveries_are_latest_first(
    database: Database, filters: dict[str, Any], found: list[str]
) -> None:
    """Each filter keeps what it says."""
    delivered = {"status": "delivered", "alert_id": "a2", "body": None}
    await queue(database, {}, {"receiver": "chat"}, delivered)
    async with database.write() as tx:
        for alert_id in ("a1", "a2"):
            await save_alert(tx, alert_id, START)
    rows = await asked(database, delivery_rows, **filters)
    assert [row.id for row in rows] == found
    assert all(row.summary == BODY.summary for row in rows)


async def act(database: Database) -> None:
    """Record three actions, one a minute."""
    ops, nobody = Actor(user="ops", address="192.0.2.7"), Actor(user=None, address="signal")
    async with database.write() as tx:
        await add_action(tx, nobody.did(Action.RELOAD, "config"), START, logged=True)
        await add_action(tx, ops.did(Action.SYNC, "acme-sales"), START + MINUTE, logged=True)
        await add_action(tx, ops.did(Action.ACCEPT, "acme-sales"), START + 2 * MINUTE, logged=True)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["accept", "sync", "reload"]),
        ({"action": Action.SYNC}, ["sync"]),
        ({"user": "ops"}, ["accept", "sync"]),
        ({"user": "o*"}, []),
        ({"since": START + MINUTE}, ["accept", "sync"]),
    ],
)
async def test_actions_are_listed_newest_first(
    database: Database, filters: dict[str, Any], found: list[str]
) -> None:
    """Each filter keeps what it says."""
    await act(database)
    assert [row.action for row in await asked(database, action_rows, **filters)] == found


async def test_actions_keep_who_asked(database: Database) -> None:
    """The user if there was one, the address, and the target."""
    await act(database)
    [accepted, _, reloaded] = await asked(database, action_rows)
    assert (accepted.user, accepted.address, accepted.target) == ("ops", "192.0.2.7", "acme-sales")
    assert (reloaded.user, reloaded.address, reloaded.at) == (None, "signal", START)


async def test_actions_to_be_logged_are_taken_once(database: Database) -> None:
    """Only what no log has yet, in order, and by one of those who ask at the same time."""
    await act(database)
    who = Actor(user="root", address="command")
    async with database.write() as tx:
        for target in ("d1", "d2"):
            await add_action(tx, who.did(Action.DISMISS, target), START, logged=False)
    async with database.read() as tx:
        assert await any_unlogged(tx)

    async def take() -> list[ActionRecord]:
        async with database.write() as tx:
            return await take_unlogged(tx)

    found = await asyncio.gather(take(), take())
    assert sorted(found, key=len) == [[], [who.did(Action.DISMISS, "d1"), who.did(Action.DISMISS, "d2")]]
    async with database.read() as tx:
        assert not await any_unlogged(tx)


PAGED: dict[str, tuple[Callable[..., Awaitable[Page[Any]]], tuple[Any, ...]]] = {
    "action_rows": (action_rows, ()),
    "alert_bodies": (alert_bodies, ()),
    "change_rows": (change_rows, ()),
    "connection_rows": (connection_rows, (CODEC, lambda _: None)),
    "delivery_rows": (delivery_rows, ()),
    "happenings": (happenings, ()),
    "numbers": (numbers, (CODEC,)),
    "problems": (problems, (CODEC, lambda _: None, START)),
}
"""Every query that answers in pages, with what it needs besides a transaction."""
NOT_PAGED = {"alerts_like", "connection_named", "delivery_counts", "firing_alerts", "ranked"}


def test_every_query_is_among_the_paged_ones() -> None:
    """A new query is tried with an empty store, a full one and bad cursors too."""
    own = {
        name
        for module in (alert_lists, history, queries)
        for name, each in inspect.getmembers(module, inspect.iscoroutinefunction)
        if each.__module__ == module.__name__ and not name.startswith("_")
    }
    assert own == PAGED.keys() | NOT_PAGED


@pytest.mark.parametrize("name", PAGED)
async def test_query_answers_on_an_empty_store_and_a_full_one(database: Database, name: str) -> None:
    """With no rows there is one empty page; with some, pages hold together what one big page holds."""
    query, given = PAGED[name]
    assert await asked(database, query, *given) == []
    await watch(database, acme=troubled(), beta=troubled(), gamma=Records())
    await record_changes(database)
    await queue(database, {}, {}, {})
    await act(database)
    async with database.write() as tx:
        for alert_id in ("a", "b", "c"):
            await save_alert(tx, alert_id, START)
    assert len(await asked(database, query, *given)) >= 3


@pytest.mark.parametrize("after", ["", "x", cursor_of(-1), cursor_of("a", 1), cursor_of(1, 2), cursor_of()])
@pytest.mark.parametrize("name", PAGED)
async def test_cursor_that_no_page_gave_is_refused(database: Database, name: str, after: str) -> None:
    """A made-up cursor is an error of its own, not an empty page."""
    query, given = PAGED[name]
    async with database.read() as tx:
        with pytest.raises(BadCursor):
            await query(tx, *given, after=after)


async def test_accept_asks_and_wakes_the_connection(database: Database) -> None:
    """The removed number can be accepted, the drifting ones cannot; asking makes its policy due now."""
    await watch(database, acme=troubled())
    now = START + MINUTE
    async with database.write() as tx:
        owner = await owner_named(tx, "acme")
        assert owner is not None
        assert [row.key for row in await acceptable(tx, owner.identity, CODEC)] == [key(10)]
        await accept(tx, owner.identity, {key(10)}, now)
        await accept(tx, owner.identity, None, now)
    async with database.read() as tx:
        assert [row.key for row in await tx.execute(select(acceptances))] == [key(10), None]
        assert [row.wakes_at for row in await tx.execute(select(connections))] == [now]
        assert await owner_named(tx, "nobody") is None


async def test_retry_sends_dead_deliveries_again(database: Database) -> None:
    """They are pending and due now; how often they were tried is kept."""
    await queue(database, {}, {"receiver": "chat"}, {"alert_id": "a2", "status": "delivered"})
    now = START + 10 * MINUTE
    async with database.write() as tx:
        done = await retry(tx, None, now)
    assert (done.retried, done.refused) == (("1", "2"), {})
    first = (await asked(database, delivery_rows))[-1]
    assert (first.status, first.due_at, first.attempts, first.finished_at) == ("pending", now, 3, None)


@pytest.mark.parametrize(
    ("delivery", "reason"),
    [
        ("1", "a newer message about its alert went to the same receiver"),
        ("3", "it is delivered, not dead"),
        ("9", "no delivery has this id"),
    ],
    ids=["superseded", "not dead", "unknown"],
)
async def test_retry_refuses_what_would_mislead(database: Database, delivery: str, reason: str) -> None:
    """A refused one stays as it was, and the reason is told."""
    await queue(database, {}, {"receiver": "chat"}, {"status": "delivered"})
    before = await asked(database, delivery_rows)
    async with database.write() as tx:
        done = await retry(tx, delivery, START)
    assert (done.retried, done.refused) == ((), {delivery: reason})
    assert await asked(database, delivery_rows) == before


async def test_retry_all_leaves_superseded_ones(database: Database) -> None:
    """Of several dead messages about one alert to one receiver, the newest goes."""
    await queue(database, {}, {"change": Notice.UPDATED}, {"change": Notice.RESOLVED})
    async with database.write() as tx:
        done = await retry(tx, None, START)
    assert done.retried == ("3",)
    assert set(done.refused) == {"1", "2"}


@pytest.mark.parametrize(
    ("change", "refused"), [(Notice.OPENED, True), (Notice.UPDATED, True), (Notice.RESOLVED, False)]
)
async def test_retry_opens_no_alert_that_has_ended(
    database: Database, change: Notice, *, refused: bool
) -> None:
    """Its end would never follow; the end itself can still be sent."""
    await queue(database, {"change": change})
    async with database.write() as tx:
        await save_alert(tx, "a1", START, START + MINUTE)
        done = await retry(tx, None, START + MINUTE)
    assert done.refused == ({"1": "its alert has ended"} if refused else {})


async def test_dismiss_closes_dead_deliveries(database: Database) -> None:
    """One or all of them, also superseded ones; nothing else, and not twice."""
    await queue(database, {}, {"change": Notice.UPDATED}, {"status": "pending"}, {"alert_id": "a2"})
    now = START + 10 * MINUTE
    async with database.write() as tx:
        one = await dismiss(tx, "2", now)
        again = await dismiss(tx, "2", now)
        waiting = await dismiss(tx, "3", now)
        unknown = await dismiss(tx, "9", now)
        rest = await dismiss(tx, None, now)
    assert (one.dismissed, one.refused) == (("2",), {})
    assert (again.dismissed, again.refused) == ((), {"2": "it is closed, not dead"})
    assert waiting.refused == {"3": "it is pending, not dead"}
    assert unknown.refused == {"9": "no delivery has this id"}
    assert (rest.dismissed, rest.refused) == (("1", "4"), {})
    rows = await asked(database, delivery_rows)
    assert [row.status for row in rows] == ["closed", "pending", "closed", "closed"]
    assert {row.finished_at for row in rows if row.status == "closed"} == {now}


async def test_connections_are_listed_by_name_and_narrowed(database: Database) -> None:
    """In the order of their names whatever the database's collation; each filter does what it says."""
    await watch(database, b=Records(), B=Records(), a_1=Records(), a=Records())
    given = (connection_rows, CODEC, {"id-a": True, "id-b": False}.get)
    rows = await asked(database, *given)
    assert [row.name for row in rows] == ["B", "a", "a-1", "b"]
    assert [row.maintenance for row in rows] == [None, True, None, False]
    assert {row.status for row in rows} == {SyncStatus.WAITING}
    assert [row.name for row in await asked(database, *given, connection="a*")] == ["a", "a-1"]
    assert await asked(database, *given, status=SyncStatus.OK) == []
    assert await asked(database, *given, account="else") == []


async def test_connections_by_status_are_those_whose_row_says_so(database: Database) -> None:
    """Each is listed under the status that it shows, and under no other."""
    await watch(database, **{name: Records() for name in "abcd"})
    ended = {"b": ("ok", 0, 0), "c": ("held", 0, 2), "d": ("timeout", 3, 1)}
    async with database.write() as tx:
        for name, (outcome, failures, held) in ended.items():
            values = {"outcome": outcome, "failures": failures, "held": held}
            await tx.execute(update(connections).where(connections.c.name == name).values(values))
    given = (connection_rows, CODEC, lambda _: None)
    shown = {row.name: row.status for row in await asked(database, *given)}
    assert shown == dict(zip("abcd", (SyncStatus.WAITING, *list(SyncStatus)[1:]), strict=True))
    for name, status in shown.items():
        assert [row.name for row in await asked(database, *given, status=status)] == [name]


async def test_connection_is_found_by_its_whole_name(database: Database) -> None:
    """No globs, no other case."""
    await watch(database, acme=Records())
    async with database.read() as tx:
        found = [
            await connection_named(tx, CODEC, lambda _: None, name) for name in ("acme", "Acme", "acm*", "")
        ]
    assert [row.name if row else None for row in found] == ["acme", None, None, None]


async def test_drift_says_which_connections_cannot_be_seen(database: Database) -> None:
    """Those that match the filter, beside the rows: what is listed of them is how it was."""
    await watch(database, acme=Records(), beta=Records())
    assert records._DRIFT.aside is not None
    async with database.read() as tx:
        with recorded(tx) as statements:
            lines = await records._DRIFT.aside(tx, "a*")
    assert lines == [f"acme: unknown since {instant(START)}: no sync was made since"]
    assert all("WHERE connections.name" in statement for statement, _ in statements)
