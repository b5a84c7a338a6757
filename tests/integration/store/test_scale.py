"""What the store is asked to do does not grow with what is watched, only with what happens to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, event, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Notice
from monitor.drift.widespread import Spread
from monitor.errors import Outcome
from monitor.notify.delivery import Leased, Sent
from monitor.store.claims import claim_due, flush, next_due_at
from monitor.store.codec import Codec
from monitor.store.connections import begin_watching, mark_vanished
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.enrol import enrol
from monitor.store.failures import troubled
from monitor.store.outbox import StoredOutbox
from monitor.store.receivers import know_receivers
from monitor.store.replicas import Replica
from monitor.store.tables import connections, fleet
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.stored import (
    LEASE,
    ME,
    MINUTE,
    NOW,
    SECOND,
    Story,
    begin,
    claim_all,
    fresh,
    number,
    recorded,
    recorded_everywhere,
    tell,
    watch,
)

MANY = 20_000
"""So many that an index pays, and so few that reading all of them tempts."""
_FILL = text(
    "INSERT INTO connections (identity, name, account, watched_since, due_at, lease_until, epoch,"
    " settled, held, failures, same_kind, answers, unchanged) "
    "SELECT 'c' || i, 'c' || i, 'acme', :now, CAST(:now AS timestamptz) + i * interval '1 second',"
    " CASE WHEN i % 1000 = 0 THEN CAST(:now AS timestamptz) + interval '1 minute' END, 0,"
    " true, 0, 0, 0, 0, 0 FROM generate_series(1, :many) AS i"
)


@pytest.fixture
async def shared(postgres: str) -> AsyncIterator[Database]:
    """Return a database that replicas can share."""
    async with Database(postgres) as opened:
        await opened.migrate()
        yield opened


async def test_claims_and_the_next_due_instant_are_found_by_index(shared: Database) -> None:
    """Whether no connection is due or all seem to be, and whatever is left to others."""
    async with shared.write() as tx:
        await tx.execute(_FILL, {"now": NOW, "many": MANY})
        await tx.execute(text("ANALYZE connections"))
        for leaving in ((), ("c1", "c2")):
            for at in (NOW, NOW + timedelta(days=7)):
                with recorded(tx) as statements:
                    await claim_due(tx, at, limit=256, lease=LEASE, leaving=leaving)
                    await next_due_at(tx, leaving=leaving)
                for statement, values in statements:
                    rows = await tx.exec_driver_sql(f"EXPLAIN {statement}", values)
                    plan = "\n".join(row[0] for row in rows)
                    assert "Seq Scan" not in plan
                    # An index that is read from end to end is no better.
                    scans = plan.count("Index Scan") + plan.count("Index Only Scan")
                    assert plan.count("Index Cond") == scans


async def test_start_and_reload_write_only_rows_that_differ(database: Database) -> None:
    """Where nothing has changed nothing is written; one new name is one row."""
    watches = [watch(name, NOW + MINUTE) for name in "abcdef"]
    async with database.write() as tx:
        assert await begin_watching(tx, watches, NOW)
        with recorded(tx) as statements:
            assert not await begin_watching(tx, watches, NOW)
            assert not [said for said, _ in statements if not said.startswith("SELECT")]
        with recorded(tx) as statements:
            assert await begin_watching(tx, [replace(watches[0], name="other"), *watches[1:]], NOW)
            [(said, values)] = [each for each in statements if not each[0].startswith("SELECT")]
            assert said.startswith("UPDATE")
            assert str(values).count("other") == 1
        names = (await tx.execute(select(connections.c.name).order_by(connections.c.identity))).scalars()
        assert list(names) == ["other", *(f"name of {name}" for name in "bcdef")]


T = TypeVar("T")


class Overheard(Database):
    """A database whose writing statements are kept."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.said: list[str] = []

    async def _try(self, work: Callable[[AsyncConnection], Awaitable[T]], *, autocommit: bool) -> T:
        """Keep what is said."""
        with recorded_everywhere() as statements:
            done = await super()._try(work, autocommit=autocommit)
        self.said += statements
        return done


async def test_start_holds_up_no_other_while_it_reads_what_is_known(url: str) -> None:
    """How many connections stand is read when the transaction that others wait for is over."""
    async with Database(url) as opened:
        await opened.migrate()
        await begin(opened, "a", "gone")
    async with Overheard(url) as overheard:
        await enrol(
            overheard,
            Codec(),
            me=ME,
            watches=[watch("a")],
            discovering=(),
            ask_again=False,
            vanished=(),
            listed=(),
            receivers=(),
            routes=(),
            spread=Spread(),
            now=NOW,
        )
        assert overheard.said
        assert not [said for said in overheard.said if "connections.counts" in said]


async def test_sync_that_ends_while_a_config_starts_keeps_what_it_planned(database: Database) -> None:
    """The look at the config is older: by it the connection would be due once more at once."""
    await begin(database, "a", due_at=NOW + 9 * MINUTE)
    async with database.write() as tx:
        await tx.execute(update(connections).values(moved_at=NOW + SECOND))
        assert not await begin_watching(tx, [watch("a", NOW + MINUTE)], NOW)
        assert await next_due_at(tx) == NOW + 9 * MINUTE
        await begin_watching(tx, [watch("a", NOW + 2 * MINUTE)], NOW + SECOND)
        assert await next_due_at(tx) == NOW + 2 * MINUTE


async def test_connection_that_is_being_synced_is_not_put_off(database: Database) -> None:
    """It is overdue until its sync is written down; should its holder die, it is due at once."""
    await begin(database, "a", due_at=NOW)
    await claim_all(database)
    async with database.write() as tx:
        await begin_watching(tx, [watch("a", NOW + MINUTE)], NOW + SECOND)
        assert (await tx.execute(select(connections.c.due_at))).scalar_one() == NOW


async def test_replicas_look_again_only_when_what_is_watched_has_changed(shared: Database) -> None:
    """An instant that one of them moves is no reason: they would make each other look for ever."""

    async def version(who: Replica, due_at: Any, *identities: str) -> int:
        await enrol(
            shared,
            Codec(),
            me=who,
            watches=[watch(identity, due_at) for identity in identities],
            discovering=(),
            ask_again=False,
            vanished=(),
            listed=(),
            receivers=["log"],
            routes=tell("log"),
            spread=Spread(),
            now=NOW,
        )
        async with shared.read() as tx:
            return int((await tx.execute(select(fleet.c.version))).scalar_one())

    first = await version(ME, NOW + 9 * MINUTE, "a", "b")
    assert await version(ME, NOW + MINUTE, "a", "b") == first
    assert await version(replace(ME, id="other"), NOW + SECOND, "a", "b") == first
    assert await version(ME, NOW + SECOND, "a", "b", "c") > first


async def test_look_at_failures_reads_only_connections_in_trouble(database: Database) -> None:
    """And those in an alert already, however many; a sound one is not read."""
    now = NOW + 9 * MINUTE
    await begin(database, "failing", "future", "new", "sound", "stale", "tracked", "unlisted")
    claims = await claim_all(database)
    tracked = ["tracked", *(f"ended-{number}" for number in range(2500))]
    async with database.write() as tx:
        await flush(
            tx,
            [
                fresh(claims["failing"], at=now, outcome=Outcome.TIMEOUT),
                fresh(claims["future"], at=now + SECOND),
                fresh(claims["stale"], at=now - 5 * MINUTE),
                *(fresh(claims[name], at=now - MINUTE) for name in ("sound", "tracked", "unlisted")),
            ],
        )
        await mark_vanished(tx, vanished=["unlisted"], listed=(), now=now)
        found = await troubled(tx, tracked, fresh_since=now - 3 * MINUTE, now=now)
        assert sorted(state.identity for state in found) == sorted(
            {"failing", "future", "new", "stale", "tracked", "unlisted"}
        )
        everything = await troubled(tx, (), fresh_since=now, now=now)
        assert {state.identity for state in everything} == set(claims)
    by_identity = {state.identity: state for state in found}
    assert by_identity["unlisted"].vanished
    assert by_identity["failing"].streak.outcome is Outcome.TIMEOUT
    assert (by_identity["tracked"].applied_at, by_identity["tracked"].streak.answers) == (now - MINUTE, 1)


@pytest.mark.parametrize("receivers", [1, 5])
async def test_alert_takes_few_statements_however_many_receivers_it_has(
    database: Database, receivers: int
) -> None:
    """Opened or ended, the journal included; nobody is asked who has heard of an alert that opens."""
    await begin(database, "a")
    story = Story(database, tell(*map(str, range(receivers))))
    await story.sync(number("1"), number("2"))
    locks = 0 if database.is_sqlite else 2  # of the cause, and of the filters
    for numbers, most in (
        ([number("1", "NO_BOT"), number("2")], 13 + locks),
        ([number("1"), number("2")], 15 + locks),
    ):
        with recorded_everywhere() as said:
            await story.sync(*numbers)
        assert len([each for each in said if "lease_until <=" not in each]) <= most
    assert len(await story.sent()) == 2 * receivers


async def test_delivery_takes_few_statements(database: Database) -> None:
    """Two to lease it; four to settle it, and one to know what is due next."""
    outbox = StoredOutbox(database, FakeClock())
    async with database.write() as tx:
        await know_receivers(tx, ["hook"], START)
        await add_deliveries(tx, BODY, [("hook", Notice.OPENED)], START)
    with recorded_everywhere() as said:
        leased = await outbox.lease_due("hook", limit=8, lease_s=30, ahead_s=5)
        ended = [Sent(delivery=each, at=START, answer="ok") for each in leased.deliveries]
        idle = await outbox.lease_due("hook", limit=8, lease_s=30, ahead_s=5, ended=ended)
    assert len(ended) == 1
    assert idle == Leased([], None)
    assert len(said) <= 7


async def test_alert_and_its_delivery_build_no_statement(tmp_path: Path) -> None:
    """From the second time on, all of them are ready for the driver; SQLAlchemy hears of none."""
    built: list[str] = []

    def note(connection: Connection, _: object, statement: str, *__: object) -> None:
        if connection.dialect.driver == "pysqlite":
            built.append(statement)

    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        await begin(database, "a")
        story, outbox = Story(database), StoredOutbox(database, FakeClock(NOW + timedelta(hours=1)))
        event.listen(Engine, "before_cursor_execute", note)
        for issues in [["NO_BOT"], []] * 3:
            if len(await story.sent()) == 4:
                built.clear()
            await story.sync(number("1", *issues), number("2"))
            leased = await outbox.lease_due("hook", limit=8, lease_s=30, ahead_s=5)
            ended = [Sent(delivery=each, at=NOW, answer="ok") for each in leased.deliveries]
            await outbox.lease_due("hook", limit=8, lease_s=30, ahead_s=5, ended=ended)
        event.remove(Engine, "before_cursor_execute", note)
        assert len(await story.sent()) == 6
    assert built == []
