"""Request budgets that replicas share in the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StoreUnavailable
from monitor.store.budgets import StoredBudgets, StoredSlots
from monitor.store.database import Database
from tests.fakes.clock import FakeClock


class Counted(Database):
    """A database that counts how often it is asked, and that can be slow and away."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = 0
        self.away = False
        self.free = asyncio.Event()
        self.free.set()

    @asynccontextmanager
    async def write(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        """Count, wait until it is free, and refuse while away."""
        self.asked += 1
        await self.free.wait()
        if self.away:
            raise StoreUnavailable("the database is stopped")
        async with super().write(autocommit=autocommit) as connection:
            yield connection

    @asynccontextmanager
    async def read(self, *, looks: bool = False) -> AsyncIterator[AsyncConnection]:
        """Count."""
        self.asked += 1
        async with super().read(looks=looks) as tx:
            yield tx


@pytest.fixture
async def counted(postgres: str) -> AsyncIterator[Counted]:
    """Return a database that is counted."""
    async with Counted(postgres) as database:
        await database.migrate()
        yield database


@pytest.fixture
async def shared(postgres: str) -> AsyncIterator[list[Database]]:
    """Return three replicas' ways to one database."""
    async with Database(postgres) as first, Database(postgres) as second, Database(postgres) as third:
        await first.migrate()
        yield [first, second, third]


async def test_slots_are_given_once_however_many_ask_at_once(shared: list[Database]) -> None:
    """They lie a spacing apart, those of a batch included, from now on."""
    clock = FakeClock()
    slots = [StoredSlots(StoredBudgets(database, clock), "acme") for database in shared]
    counts = [1, 3, 1, 2] * 6
    firsts = await asyncio.gather(*(slots[index % 3].take(count, 2.0) for index, count in enumerate(counts)))
    given = sorted(
        first + number * 2.0 for first, count in zip(firsts, counts, strict=True) for number in range(count)
    )
    assert given == [number * 2.0 for number in range(sum(counts))]


async def test_unused_slots_are_not_saved_up(shared: list[Database]) -> None:
    """After an idle hour the next two are a spacing apart, the first at once."""
    clock = FakeClock()
    slots = StoredSlots(StoredBudgets(shared[0], clock), "acme")
    await slots.take(1, 2.0)
    await clock.advance(3600)
    assert [await slots.take(1, 2.0) for _ in range(3)] == [0.0, 2.0, 4.0]


async def test_pause_holds_the_account_in_all_replicas_and_no_other(shared: list[Database]) -> None:
    """The latest end counts, and the pace goes on from there; it is over by itself."""
    clock = FakeClock()
    here, there = (StoredSlots(StoredBudgets(database, clock), "acme") for database in shared[:2])
    other = StoredSlots(StoredBudgets(shared[1], clock), "other")
    assert not await there.are_paused()
    await here.pause(60)
    await here.pause(5)
    await clock.advance(1)
    assert await there.are_paused()
    waits = [await there.take(1, 2.0) for _ in range(3)]
    assert waits == [59.0, 61.0, 63.0]
    assert not await other.are_paused()
    assert await other.take(1, 2.0) == 0.0
    await clock.advance(59)
    assert not await there.are_paused()


async def test_replicas_with_different_budgets_share_one_row(shared: list[Database]) -> None:
    """During a rolling update each keeps its own distance after its own slots."""
    clock = FakeClock()
    slow, quick = (StoredSlots(StoredBudgets(database, clock), "acme") for database in shared[:2])
    waits = [await each.take(1, spacing_s) for each, spacing_s in [(slow, 6.0), (quick, 1.0)] * 3]
    assert [after - before for before, after in pairwise(waits)] == [6.0, 1.0, 6.0, 1.0, 6.0]


async def test_slots_of_many_accounts_at_once_are_taken_in_one_statement(counted: Counted) -> None:
    """The requests of a tick, of whatever accounts; those of one account lie a spacing apart all the same."""
    budgets = StoredBudgets(counted, FakeClock())
    accounts = [f"account-{number % 20}" for number in range(40)]
    waits = await asyncio.gather(*(StoredSlots(budgets, account).take(1, 2.0) for account in accounts))
    assert waits == [0.0] * 20 + [2.0] * 20
    assert counted.asked == 1
    assert await StoredSlots(budgets, "account-0").take(1, 2.0) == 4.0


async def test_request_that_is_given_up_takes_no_slot_and_holds_up_no_other(counted: Counted) -> None:
    """Also the one that was asking for all of them."""
    budgets = StoredBudgets(counted, FakeClock())
    counted.free.clear()
    tasks = [asyncio.create_task(StoredSlots(budgets, account).take(1, 2.0)) for account in "aaab"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    counted.free.set()
    assert await asyncio.gather(*tasks[2:]) == [0.0, 0.0]
    assert await StoredSlots(budgets, "a").take(1, 2.0) == 2.0


async def test_database_that_is_away_gives_nobody_a_slot(counted: Counted) -> None:
    """It is asked once for all who wait: each of them would wait for its time-out otherwise."""
    budgets = StoredBudgets(counted, FakeClock())
    counted.away = True
    counted.free.clear()
    tasks = [asyncio.create_task(StoredSlots(budgets, account).take(1, 2.0)) for account in "abc"]
    await asyncio.sleep(0)
    counted.free.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [StoreUnavailable] * 3
    assert counted.asked == 1
    counted.away = False
    assert await StoredSlots(budgets, "a").take(1, 2.0) == 0.0


async def test_pauses_of_all_accounts_are_looked_up_together(counted: Counted) -> None:
    """Twice a second at most, however many requests have waited."""
    clock = FakeClock()
    budgets = StoredBudgets(counted, clock)
    for _ in range(4):
        for account in "abcdefgh":
            assert not await StoredSlots(budgets, account).are_paused()
        await clock.advance(0.3)
    assert counted.asked == 2
