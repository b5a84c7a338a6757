"""Request budgets that replicas share in the store."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from monitor.store.budgets import StoredSlots
from monitor.store.database import Database
from tests.fakes.clock import FakeClock


@pytest.fixture
async def shared(postgres: str) -> AsyncIterator[list[Database]]:
    """Return three replicas' ways to one database."""
    async with Database(postgres) as first, Database(postgres) as second, Database(postgres) as third:
        await first.migrate()
        yield [first, second, third]


async def test_slots_are_given_once_however_many_ask_at_once(shared: list[Database]) -> None:
    """They lie a spacing apart, those of a batch included, from now on."""
    clock = FakeClock()
    slots = [StoredSlots(database, clock, "acme") for database in shared]
    counts = [1, 3, 1, 2] * 6
    firsts = await asyncio.gather(*(slots[index % 3].take(count, 2.0) for index, count in enumerate(counts)))
    given = sorted(
        first + number * 2.0 for first, count in zip(firsts, counts, strict=True) for number in range(count)
    )
    assert given == [number * 2.0 for number in range(sum(counts))]


async def test_unused_slots_are_not_saved_up(shared: list[Database]) -> None:
    """After an idle hour the next two are a spacing apart, the first at once."""
    clock = FakeClock()
    slots = StoredSlots(shared[0], clock, "acme")
    await slots.take(1, 2.0)
    await clock.advance(3600)
    assert [await slots.take(1, 2.0) for _ in range(3)] == [0.0, 2.0, 4.0]


async def test_pause_holds_the_account_in_all_replicas_and_no_other(shared: list[Database]) -> None:
    """The latest end counts, and the pace goes on from there; it is over by itself."""
    clock = FakeClock()
    here, there = (StoredSlots(database, clock, "acme") for database in shared[:2])
    other = StoredSlots(shared[1], clock, "other")
    assert not await there.are_paused()
    await here.pause(60)
    await here.pause(5)
    assert await there.are_paused()
    waits = [await there.take(1, 2.0) for _ in range(3)]
    assert waits == [60.0, 62.0, 64.0]
    assert not await other.are_paused()
    assert await other.take(1, 2.0) == 0.0
    await clock.advance(60)
    assert not await there.are_paused()


async def test_replicas_with_different_budgets_share_one_row(shared: list[Database]) -> None:
    """During a rolling update each keeps its own distance after its own slots."""
    clock = FakeClock()
    slow, quick = (StoredSlots(database, clock, "acme") for database in shared[:2])
    waits = [await each.take(1, spacing_s) for each, spacing_s in [(slow, 6.0), (quick, 1.0)] * 3]
    assert [after - before for before, after in pairwise(waits)] == [6.0, 1.0, 6.0, 1.0, 6.0]
