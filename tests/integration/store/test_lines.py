"""The lines of the outbox: what is tried next, against a plain model; what a turn costs beside a backlog."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Text,
    cast,
    delete,
    event,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.util import await_only

from monitor.clock import SystemClock
from monitor.drift.alert import Notice, encode_body
from monitor.errors import DeliveryError, Refusal
from monitor.notify.delivery import Dead, Delivery, Failed, Leased, Postponed, Result, Sent
from monitor.notify.drain import Drain
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.outbox import StoredOutbox, due_reminders, free_delivery_leases, try_again
from monitor.store.receivers import know_receivers
from monitor.store.requests import dismiss, retry
from monitor.store.retention import prune
from monitor.store.tables import DELIVERED, PENDING, UtcDateTime, alerts, deliveries, receivers, told
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.receiver import FakeReceiver
from tests.fakes.shortage import no_shortage
from tests.unit.notify.test_drain import Counts

LEASE_S = 30.0
SECOND = timedelta(seconds=1)
RECEIVERS = ("hook", "chat")


def ends(
    leased: Sequence[Delivery], at: datetime, next_try_at: datetime = START, *, first: int = 0
) -> list[Result]:
    """Return how these tries ended: accepted, to be tried again, refused for good, not tried, in turns."""
    return [
        (
            Sent(delivery=each, at=at, answer="ok"),
            Failed(delivery=each, at=at, next_try_at=next_try_at, refusal=Refusal.RETRY, error="busy"),
            Dead(delivery=each, at=at, error="bad"),
            Postponed(delivery=each, next_try_at=next_try_at),
        )[place % 4]
        for place, each in enumerate(leased, first)
    ]


@dataclass(eq=False)
class Life:
    """Everything that happens to messages, in random order; `free_at` says when each may be tried."""

    database: Database
    rng: random.Random
    clock: FakeClock = field(default_factory=FakeClock)
    free_at: dict[str, datetime] = field(default_factory=dict)
    in_flight: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = StoredOutbox(self.database, self.clock)
        self.alerts = [f"{self.rng.random()}" for _ in range(3)]

    async def step(self) -> None:
        """Take one of the steps."""
        steps = (self.queue, self.queue, self.lease, self.lease, self.settle, self.wait, self.wait)
        rare = (self.restart, self.reload, self.ask, self.clean)
        await self.rng.choice((*steps, self.rng.choice(rare)))()

    async def queue(self) -> None:
        """Queue a message, of any kind: what gives way to it may be anywhere in its line."""
        body = msgspec.structs.replace(BODY, alert_id=self.rng.choice(self.alerts))
        planned = [(self.rng.choice(RECEIVERS), self.rng.choice(list(Notice)))]
        await self.clock.advance(0.001)
        async with self.database.write() as tx:
            await add_deliveries(tx, body, planned, self.clock.now())

    async def lease(self) -> None:
        """Lease some for one receiver: no other than the oldest of each line, if it is due."""
        receiver, limit = self.rng.choice(RECEIVERS), self.rng.randint(1, 4)
        due = [row.id for row in await self.heads(receiver) if self.free_at[row.id] <= self.clock.now()]
        leased = (await self.outbox.lease_due(receiver, limit=limit, lease_s=LEASE_S)).deliveries
        ids = [delivery.id for delivery in leased]
        assert set(ids) <= set(due)
        closed = set(due) - {row.id for row in await self.pending(receiver)}
        assert len(ids) + len(closed) == min(limit, len(due)), "something due was not met"
        self.free_at |= dict.fromkeys(ids, self.clock.now() + timedelta(seconds=LEASE_S))
        self.in_flight += leased

    async def settle(self) -> None:
        """Let some of what is under way end, though the lease may have run out."""
        self.rng.shuffle(self.in_flight)
        ended = [self.in_flight.pop() for _ in range(self.rng.randint(0, len(self.in_flight)))]
        later = self.clock.now() + timedelta(seconds=self.rng.randint(0, 60))
        results = ends(ended, self.clock.now(), later, first=self.rng.randint(0, 3))
        before = {row.id: row.attempts for name in RECEIVERS for row in await self.pending(name)}
        await self.outbox.settle(results)
        for each in results:
            if (
                isinstance(each, Failed | Postponed)
                and before.get(each.delivery.id) == each.delivery.attempts
            ):
                self.free_at[each.delivery.id] = later

    async def turn(self, *, at_once: bool) -> tuple[Leased, list[Any]]:
        """Take a lane's turn, in one transaction or in two; return what that leases, and what is stored."""
        ended, self.in_flight = self.in_flight[::2], self.in_flight[1::2]
        now, receiver, limit = self.clock.now(), self.rng.choice(RECEIVERS), self.rng.randint(1, 4)
        results = ends(ended, now, now + self.rng.randint(0, 60) * SECOND, first=self.rng.randint(0, 3))
        if self.rng.random() < 0.1:
            results = [
                replace(each, refusal=Refusal.GONE, next_try_at=None) if isinstance(each, Failed) else each
                for each in results
            ]
        if not at_once:
            await self.outbox.settle(results)
            results = []
        leased = await self.outbox.lease_due(
            receiver, limit=limit, lease_s=LEASE_S, ahead_s=5.0, ended=results
        )
        self.in_flight += leased.deliveries
        soonest = await self.outbox.next_due_at(receiver)
        if soonest is not None and soonest <= now + 5 * SECOND:
            assert leased.next_due_at is not None, "it would oversleep"
            assert leased.next_due_at <= max(soonest, now), "it would oversleep"
        async with self.database.read() as tx:
            return leased, [
                (await tx.execute(select(table))).all() for table in (deliveries, told, receivers)
            ]

    async def wait(self) -> None:
        """Let time pass."""
        await self.clock.advance(self.rng.choice((0.1, 5, 40)))

    async def restart(self) -> None:
        """End all leases."""
        pending = [row for receiver in RECEIVERS for row in await self.pending(receiver)]
        self.free_at |= {row.id: row.created_at for row in pending if row.lease_until is not None}
        async with self.database.write() as tx:
            await free_delivery_leases(tx)
        self.in_flight.clear()

    async def reload(self) -> None:
        """Let a receiver leave the config, and come back."""
        kept = self.rng.choice(((), ("hook",), RECEIVERS))
        for names in (kept, RECEIVERS):
            async with self.database.write() as tx:
                await know_receivers(tx, names, self.clock.now())

    async def ask(self) -> None:
        """Have dead ones sent again, or closed."""
        async with self.database.write() as tx:
            if self.rng.random() < 0.3:
                await dismiss(tx, None, self.clock.now())
            else:
                retried = (await retry(tx, None, self.clock.now())).retried
                self.free_at |= dict.fromkeys(retried, self.clock.now())

    async def try_again(self) -> None:
        """Try receivers again that are gone."""
        async with self.database.write() as tx:
            await try_again(tx, RECEIVERS)

    async def clean(self) -> None:
        """Delete what is old."""
        async with self.database.write() as tx:
            await prune(tx, self.clock.now() - timedelta(minutes=1))

    async def pending(self, receiver: str) -> list[Row[Any]]:
        """Return what is pending, oldest first."""
        which = deliveries.c.receiver == receiver, deliveries.c.status == PENDING
        async with self.database.read() as tx:
            rows = await tx.execute(select(deliveries).where(*which).order_by(deliveries.c.seq))
            return list(rows)

    async def heads(self, receiver: str) -> list[Row[Any]]:
        """Return the oldest pending message of each alert."""
        heads: dict[str, Row[Any]] = {}
        for row in await self.pending(receiver):
            heads.setdefault(row.alert_id, row)
            self.free_at.setdefault(row.id, row.created_at)
        return list(heads.values())

    async def check(self) -> None:
        """What is first in its line is behind nothing; what is behind another waits for a pending one."""
        over = deliveries.c.status != PENDING, deliveries.c.behind.is_not(None)
        async with self.database.read() as tx:
            assert (await tx.execute(select(deliveries.c.id).where(*over))).all() == []
        for receiver in RECEIVERS:
            pending = {row.seq: row for row in await self.pending(receiver)}
            heads = await self.heads(receiver)
            assert all(row.behind is None for row in heads)
            for row in pending.values():
                assert row.behind is None or pending[row.behind].alert_id == row.alert_id
            next_at = await self.outbox.next_due_at(receiver)
            free_at = min((self.free_at[row.id] for row in heads), default=None)
            assert free_at is None or (next_at is not None and next_at <= free_at), "it would oversleep"

    async def finish(self) -> None:
        """Accept everything until nothing is pending."""
        await self.restart()
        for _ in range(100):
            await self.clock.advance(61)
            for receiver in RECEIVERS:
                leased = (await self.outbox.lease_due(receiver, limit=8, lease_s=LEASE_S)).deliveries
                sent = [Sent(delivery=each, at=self.clock.now(), answer="ok") for each in leased]
                await self.outbox.settle(sent)
            if not [row for receiver in RECEIVERS for row in await self.pending(receiver)]:
                return
        raise AssertionError("something is stuck in its line")


async def test_nothing_overtakes_and_nothing_is_stuck(database: Database, url: str) -> None:
    """Whatever happens, exactly the oldest pending message of each alert is tried, and all are in the end."""
    for seed in range(6 if "sqlite" in url else 3):
        life = Life(database, random.Random(seed))
        async with database.write() as tx:
            await tx.execute(delete(deliveries))
            await know_receivers(tx, RECEIVERS, START)
        for _ in range(60):
            await life.step()
            await life.check()
        await life.finish()


async def test_turn_is_to_settle_and_then_to_lease(tmp_path: Path) -> None:
    """In one transaction too, what ended counts for what is leased with it."""
    async with (
        Database(f"sqlite:///{tmp_path / '1.db'}") as one,
        Database(f"sqlite:///{tmp_path / '2.db'}") as two,
    ):
        for database in (one, two):
            await database.migrate()
        for seed in range(6):
            lives = [Life(database, random.Random(seed)) for database in (one, two)]
            for life in lives:
                async with life.database.write() as tx:
                    for table in (deliveries, told, receivers):
                        await tx.execute(delete(table))
                await life.reload()
            for _ in range(60):
                whole, parts = [await life.turn(at_once=life is lives[0]) for life in lives]
                assert whole == parts
                for life in lives:
                    steps = (life.queue, life.queue, life.queue, life.wait, life.ask, life.clean)
                    await life.rng.choice((*steps, life.reload, life.restart, life.try_again))()


async def queue(database: Database, *notices: Notice, alert: str = "a1") -> None:
    """Queue messages about an alert, each in a transaction of its own."""
    for notice in notices:
        async with database.write() as tx:
            body = msgspec.structs.replace(BODY, alert_id=alert)
            await add_deliveries(tx, body, [("hook", notice)], START)


async def test_message_that_waits_behind_one_that_gives_way_comes_up(database: Database) -> None:
    """An `updated` that is replaced leaves its place in the line to what stood behind it."""
    outbox = StoredOutbox(database, FakeClock())
    await queue(database, Notice.OPENED)
    first = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    await outbox.settle(ends(first, START))
    await queue(database, Notice.OPENED, alert="a0")
    await queue(database, Notice.UPDATED, Notice.RESOLVED)
    (other,) = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    assert other.alert_id == "a0", "so that the update is met, and not sent"
    await queue(database, Notice.UPDATED)
    (leased,) = (await outbox.lease_due("hook", limit=2, lease_s=LEASE_S)).deliveries
    assert leased.change is Notice.RESOLVED


@pytest.mark.parametrize(
    ("line", "met"), [([Notice.OPENED] * 80, ["a1", "a2"]), ([Notice.RESOLVED, Notice.OPENED], ["a2", "a1"])]
)
async def test_turn_that_sends_less_than_it_could_is_followed_at_once(
    database: Database, line: Sequence[Notice], met: Sequence[str]
) -> None:
    """Beside a line longer than a look, or after what need not be sent, nothing waits for the next look."""
    async with database.write() as tx:
        for version, notice in enumerate(line):
            body = msgspec.structs.replace(BODY, alert_id="a1", version=version)
            await add_deliveries(tx, body, [("hook", notice)], START)
    await queue(database, Notice.OPENED, alert="a2")
    outbox, found = StoredOutbox(database, FakeClock()), list[str]()
    for _ in range(10):
        leased = await outbox.lease_due("hook", limit=2, lease_s=LEASE_S, ahead_s=5.0)
        found += [each.alert_id for each in leased.deliveries]
        if leased.next_due_at is None or leased.next_due_at > START:
            break
    assert found == met


async def test_start_brings_up_what_waits_behind_nothing(database: Database) -> None:
    """Whatever has become of the message before it, a start or a reload lets a message be tried."""
    await queue(database, Notice.OPENED)
    async with database.write() as tx:
        await tx.execute(update(deliveries).values(behind=7))
    outbox = StoredOutbox(database, FakeClock())
    assert (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries == []
    async with database.write() as tx:
        await know_receivers(tx, RECEIVERS, START)
    (leased,) = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    assert leased.change is Notice.OPENED


async def test_message_met_while_the_one_before_is_settled_elsewhere_is_not_lost(postgres: str) -> None:
    """Two processes on one database: whichever commits first, the next message of the line comes up."""
    clock = FakeClock()
    async with Database(postgres) as one, Database(postgres) as two:
        await one.migrate()
        first, second = StoredOutbox(one, clock), StoredOutbox(two, clock)
        for alert in map(str, range(40)):
            await queue(one, Notice.OPENED, alert=alert)
            (head,) = (await first.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
            await queue(one, Notice.RESOLVED, alert=alert)
            _, met = await asyncio.gather(
                first.settle([Sent(delivery=head, at=START, answer="ok")]),
                second.lease_due("hook", limit=1, lease_s=LEASE_S),
            )
            (end,) = met.deliveries or (await second.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
            assert (end.alert_id, end.change) == (alert, Notice.RESOLVED)
            await second.settle([Sent(delivery=end, at=START, answer="ok")])


async def fill(database: Database, many: int, *, due_at: datetime, line: int, receiver: str) -> None:
    """Queue so many messages with one statement."""
    number = select(literal(1).label("number")).cte("numbers", recursive=True)
    number = number.union_all(select(number.c.number + 1).where(number.c.number < many))
    place = cast(number.c.number, Text)
    columns: dict[str, ColumnElement[Any]] = {
        "id": literal("d") + place,
        "receiver": literal(receiver),
        "alert_id": literal("a") + cast(number.c.number // line, Text),
        "change": literal("opened"),
        "version": literal(1),
        "body": literal(encode_body(BODY), deliveries.c.body.type),
        "status": literal(PENDING),
        "attempts": literal(0),
        "created_at": literal(START, UtcDateTime()),
        "due_at": literal(due_at, UtcDateTime()),
    }
    async with database.write() as tx:
        await know_receivers(tx, RECEIVERS, START)
        await tx.execute(insert(deliveries).from_select(list(columns), select(*columns.values())))


@dataclass
class Meter:
    """Counts what a database does: the instructions of SQLite's machine, the rows of PostgreSQL's plans."""

    database: Database
    work: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Count meanwhile."""
        if self.database.is_sqlite:
            await self.database.close()  # so that it connects again
            event.listen(Engine, "connect", self._count_instructions)
            yield
            event.remove(Engine, "connect", self._count_instructions)
            return
        engines = [self.database._writer.sync_engine, self.database._readers.sync_engine]
        statements: list[tuple[str, Any]] = []

        def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
            statements.append((statement, parameters))

        for engine in engines:
            event.listen(engine, "before_cursor_execute", note)
        yield
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)
        async with self.database._writer.connect() as connection:  # what it does is rolled back
            for statement, parameters in statements:
                for each in parameters if isinstance(parameters, list) else [parameters]:
                    explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                    ((plan,),) = await connection.exec_driver_sql(explained, each)
                    self.work += touched(plan[0]["Plan"])

    def _count_instructions(self, connection: Any, _: object) -> None:
        def count() -> None:
            self.work += 1

        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(count, 1)
        else:
            await_only(connection.driver_connection.set_progress_handler(count, 1))


def touched(node: dict[str, Any]) -> int:
    """Return how many rows a plan and what is below it went through."""
    rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    below = sum(touched(each) for each in node.get("Plans", ()))
    return int(rows * node["Actual Loops"]) + below


BACKLOGS = {
    "an alert each": {"due_at": START, "line": 1, "receiver": "hook"},
    "in lines": {"due_at": START, "line": 5, "receiver": "hook"},
    "all to be tried later": {"due_at": START + timedelta(hours=1), "line": 1, "receiver": "hook"},
    "all of another receiver": {"due_at": START, "line": 1, "receiver": "chat"},
}

MOST_WORK = {True: 8_000, False: 500}
"""SQLite's instructions, PostgreSQL's rows: twice what a turn needs, and a fraction of what waits."""


@pytest.mark.parametrize("analyzed", [True, False], ids=["analyzed", "plain"])
@pytest.mark.parametrize("backlog", BACKLOGS.values(), ids=BACKLOGS)
async def test_turn_costs_the_same_whatever_waits(
    database: Database, backlog: dict[str, Any], *, analyzed: bool
) -> None:
    """A turn touches what it sends, and some that it puts behind others, but not all that is pending.

    Whether or not the database has looked at how many rows there are, to plan by it.
    """
    await fill(database, 20_000, **backlog)
    async with database.write() as tx:
        for alert in map(str, range(4)):
            body = msgspec.structs.replace(BODY, alert_id=alert)
            await add_deliveries(tx, body, [("hook", Notice.OPENED)], START - timedelta(seconds=1))
    outbox = StoredOutbox(database, FakeClock())
    meter = Meter(database)
    if analyzed:
        async with database.write() as tx:
            await tx.execute(text("ANALYZE"))
    async with meter.running():
        assert await outbox.next_due_at("hook") == START - timedelta(seconds=1)
        leased = (await outbox.lease_due("hook", limit=4, lease_s=LEASE_S)).deliveries
        assert [delivery.alert_id for delivery in leased] == ["0", "1", "2", "3"]
        await outbox.settle(ends(leased, START))
    assert 20 < meter.work < MOST_WORK[database.is_sqlite]


async def test_look_for_reminders_touches_only_those_that_are_due(database: Database) -> None:
    """Not thousands that were told of lately, nor thousands that wait for a receiver that is down."""
    repeats, hour = {"hook": timedelta(hours=1)}, timedelta(hours=1)
    await fill(database, 10_000, due_at=START, line=1, receiver="hook")
    told = update(deliveries).where(deliveries.c.seq % 2 == 0)
    firing = {
        "id": "a2",
        "scope": "a",
        "kind": "drift",
        "status": "firing",
        "severity": "warning",
        "version": 1,
    }
    async with database.write() as tx:
        await tx.execute(update(deliveries).values(remind_from=START - hour))
        await tx.execute(told.values(status=DELIVERED, remind_from=START))
        await tx.execute(told.where(deliveries.c.alert_id == "a2").values(remind_from=START - hour))
        times = {"started_at": START, "updated_at": START}
        await tx.execute(insert(alerts).values(**firing, **times, body=encode_body(BODY)))
        await tx.execute(text("ANALYZE"))
    meter = Meter(database)
    async with meter.running(), database.read() as tx:
        assert len(await due_reminders(tx, repeats, START)) == 1
    assert 0 < meter.work < MOST_WORK[database.is_sqlite] / 10


async def test_message_goes_out_at_once_beside_a_receiver_that_is_down(database: Database) -> None:
    """One message to a receiver that works does not wait for 50,000 to another that accepts none."""
    await fill(database, 50_000, due_at=START, line=1, receiver="hook")
    busy, arrived = asyncio.Event(), asyncio.Event()

    def refuse(_: Delivery) -> DeliveryError:
        if len(down.tried) == 100:
            busy.set()
        return DeliveryError(Refusal.RETRY, "connection refused")

    down = FakeReceiver("hook", refuse)
    well = FakeReceiver("chat", lambda _: arrived.set())
    clock = SystemClock()
    drain = Drain(
        outbox=StoredOutbox(database, clock),
        receivers=[down, well],
        clock=clock,
        rng=random.Random(0),
        metrics=Counts(),
        log=FakeLog().logger,
        shortage=no_shortage(),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(drain.run())
        await busy.wait()
        async with database.write() as tx:
            await add_deliveries(tx, BODY, [("chat", Notice.OPENED)], START)
        tried = len(down.tried)
        drain.wake()
        async with asyncio.timeout(30):
            await arrived.wait()
        tried = len(down.tried) - tried
        await drain.close(5)
    assert tried <= 5 * 8, "the other's messages went first"
