"""Time in which a connection could not be seen: one row, written by the sync that sees it again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from monitor.store.tables import gaps
from tests.fakes.rig import Rig, rig


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig whose first sync is done."""
    async with rig(tmp_path) as one:
        await one.configure()
        await one.run()
        yield one


async def recorded(made: Rig) -> list[tuple[datetime, datetime]]:
    """Return the gaps, oldest first."""
    async with made.database.read() as tx:
        rows = await tx.execute(select(gaps).order_by(gaps.c.id))
        return [(row.began_at, row.ended_at) for row in rows]


async def seen(made: Rig) -> datetime:
    """Return when the last answer was applied."""
    succeeded_at = (await made.standing()).succeeded_at
    assert succeeded_at is not None
    return succeeded_at


async def test_first_answer_ends_the_time_before_it(made: Rig) -> None:
    """Until its first answer nothing is known of a connection."""
    assert await recorded(made) == [((await made.standing()).watched_since, await seen(made))]


async def test_syncs_as_planned_record_no_gap(made: Rig) -> None:
    """Unchanged or not, a sync that follows the one before in time writes no row."""
    for _ in range(3):
        await made.run()
    made.simulator.do("remove_routing", numbers=2)
    await made.run()
    await made.run(80)
    assert len(await recorded(made)) == 1


@pytest.mark.parametrize("changes", [False, True])
async def test_failed_syncs_are_a_gap_from_the_last_answer_to_the_next(made: Rig, changes: bool) -> None:
    """One row for all of them, whether the answer that ends them is the same or another."""
    before = await seen(made)
    made.simulator.do("fault", kind="status", status=503)
    for _ in range(3):
        await made.run()
    assert len(await recorded(made)) == 1
    made.simulator.do("clear_faults")
    if changes:
        made.simulator.do("remove_routing", numbers=2)
    await made.run()
    assert (await recorded(made))[1:] == [(before, await seen(made))]
    await made.run()
    assert len(await recorded(made)) == 2


async def test_held_answers_are_a_gap(made: Rig) -> None:
    """What an implausible answer says is not believed, so it is not seen either."""
    before = await seen(made)
    made.simulator.do("remove_routing", numbers=8)
    await made.run()
    assert (await made.standing()).held == 1
    made.simulator.do("restore_routing", numbers=8)
    await made.run(16)
    assert (await made.standing()).held == 0
    assert (await recorded(made))[1:] == [(before, await seen(made))]


async def test_time_without_the_monitor_is_a_gap(made: Rig) -> None:
    """No sync failed, but none was made either; a restart within an interval is none."""
    before = await seen(made)
    await made.run(3600)
    assert (await recorded(made))[1:] == [(before, await seen(made))]
    await made.run(100)
    assert len(await recorded(made)) == 2


async def test_weekend_of_a_cron_is_no_gap(tmp_path: Path) -> None:
    """A sync is overdue by what is planned, not by how long there was none."""
    async with rig(tmp_path) as made:
        await made.configure(schedule__cron="0 * * * mon-fri")
        connection = next(iter(made.active.state.watchlist.connections.values()))
        friday, monday = datetime(2026, 3, 6, 23, 0, tzinfo=UTC), datetime(2026, 3, 9, 0, 0, tzinfo=UTC)
        assert connection.next_due_at(friday, recheck=False) == monday
        assert not connection.is_overdue(friday, monday + connection.interval)
        assert connection.is_overdue(friday, monday + connection.interval + timedelta(seconds=1))
