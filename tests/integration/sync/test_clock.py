"""A clock that is set back, or a process that is stopped, delays and hides nothing, and makes no noise."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.errors import Refusal
from monitor.notify.delivery import Failed
from monitor.store.outbox import StoredOutbox
from tests.fakes.rig import Rig, rig

HOUR_S = 3600.0
STALE = ("sync_stale", "firing", None)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig whose first sync is done; a connection is stale after five minutes."""
    async with rig(tmp_path) as one:
        await one.configure("hook")
        await one.run()
        yield one


async def set_back(made: Rig, seconds: float = HOUR_S) -> None:
    """Set the clock back, and follow it as the daemon does."""
    made.clock.jump(-seconds)
    made.uptime.look()
    await made.active.follow_clock()
    await made.run(1)


async def break_numbers(made: Rig, many: int) -> None:
    """Break numbers, and let syncs confirm it."""
    made.simulator.do("remove_routing", numbers=many)
    await made.run()
    await made.run(16)


async def test_set_back_ends_what_was_about_to_end(made: Rig) -> None:
    """Drift that looked resolved is over when `keep_firing_for` has passed by the new clock."""
    await break_numbers(made, 2)
    made.simulator.do("restore_routing", numbers=2)
    await made.run()
    await made.run(16)
    await set_back(made)
    await made.run(240)
    assert await made.alerts() == [("drift", "firing", None)]
    await made.run(120)
    assert await made.alerts() == [("drift", "resolved", "recovered")]


async def test_set_back_reopens_no_alert_for_others_to_join(made: Rig) -> None:
    """Numbers that break later have an alert of their own."""
    await break_numbers(made, 1)
    await set_back(made)
    await made.run(301)
    await break_numbers(made, 2)
    assert await made.alerts() == [("drift", "firing", None)] * 2


async def test_set_back_stops_no_syncs(made: Rig) -> None:
    """Every connection goes on at its interval."""
    await set_back(made)
    before = (await made.standing()).streak.answers
    for _ in range(3):
        await made.run(60)
    assert (await made.standing()).streak.answers == before + 3


async def test_set_back_while_it_was_not_running_stops_no_syncs(made: Rig) -> None:
    """The next start finds what the clock left ahead, and pulls it in."""
    await break_numbers(made, 1)
    again = Rig(made.database, made.simulator)
    again.clock.jump(-HOUR_S)
    again.uptime.look()
    await again.active.start()
    (done,) = [done for done in await again.run(60) if done.due_at is not None]
    assert done.due_at is not None
    assert done.due_at <= again.clock.now() + timedelta(minutes=1)
    standing = await again.standing()
    assert standing.applied_at is not None
    assert standing.applied_at <= again.clock.now()
    await again.active.close()


async def test_set_back_makes_no_retry_wait(made: Rig) -> None:
    """The next try comes as soon as any retry could."""
    await break_numbers(made, 1)
    outbox = StoredOutbox(made.database, made.clock)
    (delivery,) = (await outbox.lease_due("hook", limit=1, lease_s=25)).deliveries
    now = made.clock.now()
    again_at = now + timedelta(minutes=5)
    await outbox.settle(
        [Failed(delivery=delivery, at=now, next_try_at=again_at, refusal=Refusal.FAILING, error="HTTP 500")]
    )
    await set_back(made)
    assert (await outbox.lease_due("hook", limit=1, lease_s=25)).deliveries == []
    await made.clock.advance(331)
    assert len((await outbox.lease_due("hook", limit=1, lease_s=25)).deliveries) == 1


async def test_set_back_hides_no_staleness(made: Rig) -> None:
    """However often the clock is set back: a snapshot is as old as the monotonic clock says."""
    made.simulator.do("fault", kind="status", status=429)
    for _ in range(4):
        await made.run(50)
        await set_back(made)
    assert await made.alerts() == []
    await made.run(50)
    await made.run(60)
    assert await made.alerts() == [STALE]


async def test_set_back_ends_no_staleness(made: Rig) -> None:
    """What was applied before the clock was set back is not news after it, whoever notices first."""
    made.simulator.do("fault", kind="status", status=429)
    for _ in range(6):
        await made.run(60)
    assert await made.alerts() == [STALE]
    made.clock.jump(-HOUR_S)
    await made.failures.run()
    await set_back(made, 0)
    await made.run(60)
    assert await made.alerts() == [STALE]
    made.simulator.do("clear_faults")
    for _ in range(10):
        await made.run(60)
    assert [status for _, status, _ in await made.alerts()] == ["resolved"]


@pytest.mark.parametrize("stopped_s", [11, HOUR_S, 25 * HOUR_S])
async def test_process_that_was_stopped_judges_staleness_as_one_that_starts(
    made: Rig, stopped_s: float
) -> None:
    """It does not page when it wakes, even if the policy runs before anything else; later it does."""
    made.simulator.do("fault", kind="status", status=429)
    for _ in range(4):
        await made.run(60)
    await made.clock.advance(stopped_s)
    made.failures.moved = True
    await made.failures.run()
    await made.run(1)
    await made.run(240)
    assert await made.alerts() == []
    await made.run(60)
    assert await made.alerts() == [STALE]
