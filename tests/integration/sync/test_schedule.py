"""What is due is claimed once, seen through, and written down, whatever fails meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Uptime
from monitor.drift.failures import FailureRules
from monitor.drift.text import Wording
from monitor.drift.widespread import Spread
from monitor.errors import Outcome, StoreUnavailable, Undone
from monitor.http.redactor import Redactor
from monitor.metrics import Metrics
from monitor.store.claims import Claim
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.instants import pull_in
from monitor.store.tables import connections
from monitor.sync.cycle import Done
from monitor.sync.failures import FailureWatch
from monitor.sync.schedule import Schedule
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.watchlist import ActiveState, Watchlist
from tests.fakes.announcer import announcer_on
from tests.fakes.clock import START, FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.stored import ME, begin, fresh, look_again

T = TypeVar("T")


class Unwilling(Database):
    """A database that can be away, or give up as many transactions as another one is in the way of."""

    away = False
    conflicts = 0

    async def _try(self, work: Callable[[AsyncConnection], Awaitable[T]], *, autocommit: bool) -> T:
        """Refuse while away."""
        if self.away:
            raise StoreUnavailable("the disk is full")

        async def unwillingly(tx: AsyncConnection) -> T:
            done = await work(tx)
            if self.conflicts:
                self.conflicts -= 1
                raise Undone("deadlock detected")
            return done

        return await super()._try(unwillingly, autocommit=autocommit)


class FakeCycle:
    """Answers claims as told; `running` and `most` count those at work of each connection."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.claims: list[Claim] = []
        self.running: list[str] = []
        self.doubled: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Callable[[Claim], Awaitable[Done]] = self.well

    async def well(self, claim: Claim) -> Done:
        """The sync went well."""
        return Done(result=fresh(claim, at=self.clock.now()))

    async def run(self, claim: Claim) -> Done:
        """Take part."""
        self.claims.append(claim)
        if claim.identity in self.running:
            self.doubled.append(claim.identity)
        self.running.append(claim.identity)
        try:
            await self.gate.wait()
            return await self.answer(claim)
        finally:
            self.running.remove(claim.identity)


class BusyClient(VoiceLinkClient):
    """A client with as many queued requests as told."""

    waiting = 0

    @property
    def queued(self) -> int:
        """How many there are."""
        return self.waiting


class House:
    """A schedule on a real store, ticked by hand."""

    def __init__(self, database: Unwilling) -> None:
        self.database = database
        self.clock = FakeClock()
        self.log = FakeLog()
        self.cycle = FakeCycle(self.clock)
        metrics = Metrics(version="1")
        announcer = announcer_on(self.log, metrics)
        self.client = BusyClient(
            transport=httpx.AsyncBaseTransport(),
            base_url="http://x",
            timeout_s=1,
            max_response_bytes=1,
            clock=self.clock,
            redactor=Redactor(),
            rng=None,  # type: ignore[arg-type]  # never asked
        )
        watchlist = Watchlist(
            connections={},
            client=self.client,
            failure_rules=FailureRules(),
            wording=Wording(),
            routes=(),
            spread=Spread(),
        )
        active = ActiveState(watchlist=watchlist, replica=ME)
        self.failures = FailureWatch(
            active=active,
            database=database,
            codec=Codec(),
            announcer=announcer,
            clock=self.clock,
            uptime=Uptime(self.clock),
        )
        self.schedule = Schedule(
            scheduler=AsyncIOScheduler(timezone="UTC"),
            active=active,
            database=database,
            cycle=self.cycle,
            failures=self.failures,
            clock=self.clock,
            machine=self.clock,
            metrics=metrics,
            announcer=announcer,
            wake_drain=lambda: None,
        )
        self.schedule.start()  # of a scheduler that does not run: a test ticks

    async def tick(self, after_s: float = 0.0) -> list[str]:
        """Tick some time later and let what was claimed run; return what that was."""
        await self.clock.advance(after_s)
        before = len(self.cycle.claims)
        await self.schedule.tick()
        await self.clock.settle()
        return sorted(claim.identity for claim in self.cycle.claims[before:])

    async def synced(self) -> dict[str, int]:
        """Return how many syncs of each connection are written down as answered."""
        async with self.database.read() as tx:
            return {one.identity: one.streak.answers for one in await watched(tx, Codec())}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Return a schedule over two connections that are due."""
    async with Unwilling(f"sqlite:///{tmp_path / 'store.db'}") as database:
        await database.migrate()
        made = House(database)
        await begin(database, "a", "b", due_at=START, now=START)
        yield made
        await made.schedule.close(1.0)


async def test_due_connections_are_synced_and_written_down(house: House) -> None:
    """Each once; the freshness is flushed by the next tick; the next sync is when it is due."""
    assert await house.tick() == ["a", "b"]
    assert await house.synced() == {"a": 0, "b": 0}
    assert await house.tick(1) == []
    assert await house.synced() == {"a": 1, "b": 1}
    assert await house.tick(60) == ["a", "b"]


async def test_one_transaction_claims_a_second_and_each_begins_on_time(house: House) -> None:
    """Within a tenth of a second after it is due; what is due later than in a second stays unclaimed."""
    soon = {"c": 0.3, "d": 0.35, "e": 1.0, "f": 1.1}
    for identity, seconds in soon.items():
        await begin(house.database, identity, due_at=START + timedelta(seconds=seconds), now=START)
    await house.tick()
    written, begun = house.database.writes, []
    for _ in range(22):
        await house.clock.advance(0.05)
        begun.append([claim.identity for claim in house.cycle.claims if claim.sync_due][2:])
    assert [begun[at] for at in (4, 6, 8, 18, 21)] == [[], ["c"], ["c", "d"], ["c", "d"], ["c", "d", "e"]]
    assert house.database.writes == written
    assert await house.tick() == ["f"]


async def test_what_cannot_be_done_yet_is_left_to_other_replicas(house: House) -> None:
    """A queue of requests that wait for each other takes the place of new claims; what has ended is kept."""
    house.schedule.batch, house.client.waiting = 3, 2
    assert await house.tick() == ["a"]
    house.client.waiting = 5
    assert await house.tick(1) == []
    assert await house.synced() == {"a": 1, "b": 0}
    house.client.waiting = 0
    assert await house.tick(1) == ["b"]


async def test_policy_waits_for_no_request(house: House) -> None:
    """What is accepted or silenced while the provider hangs, or is to end by then, needs no answer of it."""
    await house.tick()
    await house.tick(1)
    house.schedule.batch, house.client.waiting = 3, 5
    async with house.database.write() as tx:
        await look_again(tx, house.clock.now())
    assert await house.tick(1) == ["a", "b"]
    assert [claim.sync_due for claim in house.cycle.claims[-2:]] == [False, False]


async def test_syncs_that_change_nothing_are_no_reason_to_read_the_gauges(house: House) -> None:
    """What a tick writes is when connections are due, and how their syncs ended."""
    await house.tick()
    written, moves = house.database.writes, house.database.moves
    await house.tick(60)
    await house.tick(60)
    assert (house.database.writes > written, house.database.moves) == (True, moves)


async def test_policy_that_is_due_before_the_sync_begins_without_it(house: House) -> None:
    """What of it is due is said as of the instant at which it begins, whenever it was claimed."""
    await begin(house.database, "c", due_at=START + timedelta(seconds=50), now=START)
    async with house.database.write() as tx:
        for identity, wakes_s in (("b", 0.5), ("c", 0.7)):
            wakes_at = START + timedelta(seconds=wakes_s)
            await tx.execute(
                update(connections).where(connections.c.identity == identity).values(wakes_at=wakes_at)
            )
    await house.tick()
    await house.clock.advance(0.9)
    begun = {claim.identity: (claim.sync_due, claim.policy_due) for claim in house.cycle.claims}
    assert begun == {"a": (True, False), "b": (True, False), "c": (False, True)}


async def test_delay_is_measured_when_a_sync_begins(house: House) -> None:
    """Not when it was to begin: a busy or suspended process is late, and shows it."""
    await begin(house.database, "c", due_at=START + timedelta(seconds=0.5), now=START)
    await house.tick()
    house.clock.jump(7)
    await house.clock.advance(0.5)
    _, pieces = await house.schedule.metrics.render(accept="")
    assert b"voicelink_monitor_schedule_delay_seconds_sum 7.0" in b"".join(pieces)


async def test_close_gives_back_what_has_not_begun(house: House) -> None:
    """It is due when it was, and its lease has ended."""
    await begin(house.database, "c", due_at=START + timedelta(seconds=0.5), now=START)
    await house.tick()
    await house.schedule.close(1.0)
    await house.clock.advance(5)
    assert [claim.identity for claim in house.cycle.claims] == ["a", "b"]
    async with house.database.read() as tx:
        row = (await tx.execute(select(connections).where(connections.c.identity == "c"))).one()
    assert (row.due_at, row.lease_until) == (START + timedelta(seconds=0.5), None)


async def test_sync_now_begins_what_is_claimed_already(house: House) -> None:
    """At once, and not again when it is due."""
    await begin(house.database, "c", due_at=START + timedelta(seconds=0.5), now=START)
    await house.tick()
    assert await house.schedule.sync_now("c") is True
    await house.clock.advance(0.9)
    assert [claim.identity for claim in house.cycle.claims] == ["a", "b", "c"]
    assert house.cycle.claims[-1].sync_due


async def test_connection_at_work_is_never_begun_again(house: House) -> None:
    """A sync that takes longer than its interval and its lease is the only one of its connection."""
    house.cycle.gate.clear()
    await house.tick()
    for _ in range(12):
        assert await house.tick(40) == []
        assert await house.schedule.sync_now("a") is False
    house.cycle.gate.set()
    await house.clock.settle()
    await house.tick(1)
    assert (await house.synced(), house.cycle.doubled) == ({"a": 1, "b": 1}, [])


@pytest.mark.parametrize("jump_s", [3600, -3600, 0])
async def test_connection_at_work_is_never_begun_again_whatever_the_clock_does(
    house: House, jump_s: float
) -> None:
    """Leases end early, or late, by a clock that jumps: what is at work stays with its task."""
    house.cycle.gate.clear()
    await house.tick()
    await house.tick(31)
    house.clock.jump(jump_s)
    assert await house.schedule.sync_now("a") is False
    for after_s in (1, 1, *[40] * 6):
        assert await house.tick(after_s) == []
        async with house.database.write() as tx:
            await pull_in(tx, house.clock.now())
    house.cycle.gate.set()
    await house.clock.settle()
    await house.tick(1)
    assert (await house.synced(), house.cycle.doubled) == ({"a": 1, "b": 1}, [])


async def test_schedule_that_is_closing_ignores_who_wakes_it(house: House) -> None:
    """A discovery that is cut off asks for a look; the tick's job is gone by then."""
    await house.tick()
    await house.schedule.close(0.0)
    house.schedule.scheduler.remove_all_jobs()
    house.schedule.look_now()
    assert house.schedule.scheduler.get_jobs() == []


async def test_schedule_is_stuck_by_the_clock_that_is_never_set_back(house: House) -> None:
    """A set-back neither hides that nothing is claimed nor makes it so."""
    await house.tick()
    for jump_s in (-3600, 7200):
        house.clock.jump(jump_s)
        assert house.schedule.stuck_for_s() is None
    await house.clock.advance(11)
    house.clock.jump(-3600)
    assert house.schedule.stuck_for_s() == 11


async def test_sync_now_syncs_what_is_not_due(house: House) -> None:
    """Who asks gets a sync, once; an unknown connection is refused."""
    await house.tick()
    await house.tick(1)
    assert await house.schedule.sync_now("a") is True
    await house.clock.settle()
    assert house.cycle.claims[-1].sync_due
    assert await house.schedule.sync_now("nobody") is False
    await house.tick(1)
    assert await house.synced() == {"a": 2, "b": 1}


async def test_sync_now_need_not_wait_until_the_last_sync_is_written_down(house: House) -> None:
    """A finished sync is flushed with the next tick; who asks before that is not told that it is at work."""
    await house.tick()
    assert await house.schedule.sync_now("a") is True
    await house.clock.settle()
    await house.tick(1)
    assert (await house.synced(), house.cycle.doubled) == ({"a": 2, "b": 1}, [])


async def test_sync_now_without_the_store_loses_nothing(house: House) -> None:
    """What waited to be written down waits on."""
    await house.tick()
    house.database.away = True
    with pytest.raises(StoreUnavailable):
        await house.schedule.sync_now("a")
    house.database.away = False
    await house.tick(1)
    assert await house.synced() == {"a": 1, "b": 1}


async def test_sync_now_is_not_put_off_by_another_transaction(house: House) -> None:
    """One that was in the way is run again: what waited is written down once, and one sync begins."""
    await house.tick()
    house.database.conflicts = 1
    assert await house.schedule.sync_now("a") is True
    await house.tick(1)
    assert (await house.synced(), house.cycle.doubled) == ({"a": 2, "b": 1}, [])


async def test_replicas_together_tick_no_more_often_than_one(house: House) -> None:
    """Each leaves the others their share of the ticks, but never rests for longer than a second."""
    now, rests = house.clock.now(), []
    await house.tick()
    for live in (1, 3, 100):
        house.schedule.active.live = live
        house.schedule.look_now()
        rests.append((house.schedule.next_tick_at(now, overdue=True) - now).total_seconds())
    assert rests == [0.1, 0.3, 1.0]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_lost_claim_is_given_back(house: House, *, cancelled: bool) -> None:
    """What could not be recorded is tried again two seconds later, and so is what someone cancelled."""

    async def lose(claim: Claim) -> Done:
        if cancelled:
            raise asyncio.CancelledError
        return Done(lost=True)

    house.cycle.answer = lose
    await house.tick()
    house.cycle.answer = house.cycle.well
    assert await house.tick(1) == []
    assert await house.tick(2) == ["a", "b"]


async def test_claim_whose_sync_failed_in_itself_waits(house: House) -> None:
    """A mistake of ours is tried again when it says, not as soon as the store is back."""

    async def stumble(claim: Claim) -> Done:
        return Done(lost=True, due_at=house.clock.now() + timedelta(seconds=15))

    house.cycle.answer = stumble
    await house.tick()
    house.cycle.answer = house.cycle.well
    assert await house.tick(1) == []
    assert await house.tick(3) == []
    assert await house.tick(12) == ["a", "b"]


async def test_row_that_the_store_never_takes_holds_up_no_other(house: House) -> None:
    """The others are written down; the one is said, given back and due at its time."""

    async def poison(claim: Claim) -> Done:
        left = fresh(claim, at=house.clock.now())
        return Done(result=replace(left, error="\ud800") if claim.identity == "a" else left)

    house.cycle.answer = poison
    await house.tick()
    for _ in range(3):
        await house.tick(3)
    assert await house.synced() == {"a": 0, "b": 1}
    assert len(house.log.of("store.failed")) == 1
    house.cycle.answer = house.cycle.well
    assert await house.tick(60) == ["a", "b"]


async def test_failures_are_looked_at_twice_a_second_at_the_most(house: House) -> None:
    """However often something moves. A clock set back delays nothing."""
    now = house.clock.now()
    await house.failures.run()
    house.failures.moved = True
    assert house.failures.due_at(now + timedelta(milliseconds=100)) == now + timedelta(milliseconds=500)
    later, earlier = now + timedelta(seconds=1), now - timedelta(hours=1)
    assert (house.failures.due_at(later), house.failures.due_at(earlier)) == (later, earlier)


async def test_look_at_failures_is_not_put_off_by_another_transaction(house: House) -> None:
    """One that was in the way is run again, and nothing is left to look at."""
    house.database.conflicts = 1
    await house.failures.run()
    assert (house.database.conflicts, house.failures.moved) == (0, False)


async def test_store_that_is_away_stops_nothing_for_good(house: House) -> None:
    """Said once while it lasts; what syncs found is written down when it is back, and all goes on."""
    await house.tick()
    house.database.away = True
    for _ in range(3):
        assert await house.tick(2) == []
    assert house.log.events == ["store.failed"]
    house.database.away = False
    await house.tick(2)
    assert await house.synced() == {"a": 1, "b": 1}
    assert await house.tick(60) == ["a", "b"]


async def test_failures_that_moved_are_looked_at_when_the_store_is_back(house: House) -> None:
    """Nothing that moved is forgotten with the transaction that was to look at it."""
    house.database.away = True
    assert house.failures.moved
    await house.tick()
    assert house.failures.moved
    house.database.away = False
    await house.tick(2)
    assert not house.failures.moved


async def test_failures_count_as_moved_once_they_are_written_down(house: House) -> None:
    """The policy reads the store: told earlier, it would look at what was before."""
    await house.tick()
    await house.tick(1)
    assert not house.failures.moved

    async def fail(claim: Claim) -> Done:
        failed = fresh(claim, at=house.clock.now(), outcome=Outcome.TIMEOUT)
        return Done(result=failed, failures_moved=True)

    house.cycle.answer = fail
    assert await house.tick(60) == ["a", "b"]
    assert not house.failures.moved
    looked: list[int] = []
    run = house.failures.run

    async def look() -> bool:
        async with house.database.read() as tx:
            looked.extend(one.streak.failures for one in await watched(tx, Codec()))
        return await run()

    house.failures.run = look  # type: ignore[method-assign]  # to see what it sees
    await house.tick(1)
    assert looked == [1, 1]


async def test_tick_survives_a_mistake(house: House) -> None:
    """An exception nobody expected is told, and the next tick is the same as ever."""

    async def stumble() -> bool:
        raise ZeroDivisionError

    run, house.failures.run = house.failures.run, stumble  # type: ignore[method-assign]  # a mistake of ours
    await house.tick()
    assert [event["doing"] for event in house.log.of("internal.error")] == ["tick"]
    house.failures.run = run  # type: ignore[method-assign]  # mended
    await house.tick(2)
    assert await house.synced() == {"a": 1, "b": 1}


async def test_close_writes_everything_down(house: House) -> None:
    """What is finished is recorded, what is cut off is given back."""

    async def hang(claim: Claim) -> Done:
        if claim.identity == "b":
            await asyncio.Event().wait()
        return await house.cycle.well(claim)

    house.cycle.answer = hang
    await house.tick()
    await house.schedule.close(0.01)
    assert await house.synced() == {"a": 1, "b": 0}
    async with house.database.read() as tx:
        due = {one.identity: one.due_at - START for one in await watched(tx, Codec())}
    assert due == {"a": timedelta(minutes=1), "b": timedelta(seconds=2)}


async def test_close_during_a_tick_leaves_nothing_running(house: House) -> None:
    """A tick that is claiming is waited for, and what it begins is ended too."""
    house.cycle.gate.clear()
    ticking = asyncio.create_task(house.schedule.tick())
    await asyncio.sleep(0)
    await house.schedule.close(0.01)
    await ticking
    await house.clock.settle()
    assert house.cycle.running == []
