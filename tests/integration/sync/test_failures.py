"""Failures from the provider's answers to the alerts: one cause is one page."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from monitor.store.alerts import alert_body, firing
from monitor.store.connections import watched
from monitor.store.failures import failing
from monitor.store.requests import acknowledge
from monitor.store.tables import connections
from tests.fakes.rig import Rig, rig

MANY = 30
TICK_S = 15.0


async def watching(made: Rig, many: int) -> None:
    """Watch this many connections of one account, each synced once."""
    [account] = made.simulator.world.accounts
    connections = [{"name": each.name, "id": each.id} for each in account.connections[:many]]
    key = {"name": account.name, "api_key": account.key, "requests_per_minute": 6000}
    await made.configure("hook", accounts=[key | {"connections": connections}])
    await pass_time(made, 60)


async def pass_time(made: Rig, seconds: float) -> None:
    """Let time pass in short steps, as the daemon looks at failures all the time."""
    for _ in range(int(seconds / TICK_S)):
        await made.run(TICK_S)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param({"kind": "garbage"}, "answer_unreadable", id="html"),
        pytest.param(
            {"kind": "status", "status": 302, "location": "https://x"}, "connection_rejected", id="redirect"
        ),
        pytest.param({"kind": "refused"}, "connection_rejected", id="success-false"),
    ],
)
async def test_wrong_answer_for_all_connections_is_one_page(
    tmp_path: Path, fault: dict[str, Any], kind: str
) -> None:
    """Thirty connections fail within an interval: one alert, opened once and resolved once."""
    async with rig(tmp_path, connections=MANY, numbers=1) as made:
        await watching(made, MANY)
        made.simulator.do("fault", **fault)
        await pass_time(made, 120)
        assert await made.alerts() == [(kind, "firing", None)]
        assert len(made.failures.active.troubled) == MANY
        made.simulator.do("clear_faults")
        await pass_time(made, 420)
        assert await made.alerts() == [(kind, "resolved", "recovered")]
        told = [change for change, _ in await made.told("hook")]
        assert (told[0], told[-1]) == ("opened", "resolved")
        assert told.count("opened") == told.count("resolved") == 1


async def test_alert_about_failures_can_be_acknowledged(tmp_path: Path) -> None:
    """Told once, kept by every later look, and still said at the end."""
    async with rig(tmp_path, connections=3, numbers=1) as made:
        await watching(made, 3)
        made.simulator.do("fault", kind="garbage")
        await pass_time(made, 120)
        async with made.database.write() as tx:
            [body] = await firing(tx)
            await acknowledge(tx, body.alert_id, by="asha", note=None, now=made.clock.now())
        made.simulator.do("clear_faults")
        await pass_time(made, 420)
        told = [change for change, _ in await made.told("hook")]
        assert (told[0], told.count("acknowledged"), told[-1]) == ("opened", 1, "resolved")
        async with made.database.read() as tx:
            over = await alert_body(tx, body.alert_id)
        assert over.acknowledged is not None
        assert (over.status, over.acknowledged.by) == ("resolved", "asha")


async def test_answers_that_alternate_are_one_page(tmp_path: Path) -> None:
    """4 x 401, then answers for three minutes, over and over: one alert, which counts its flaps."""
    async with rig(tmp_path) as made:
        await watching(made, 1)
        for _ in range(10):
            made.simulator.do("fault", kind="status", status=401, requests=4)
            await pass_time(made, 240)
        assert await made.alerts() == [("account_rejected", "firing", None)]
        async with made.database.read() as tx:
            [row] = await failing(tx, made.codec, made.active.state.watchlist.failure_rules)
        assert row.flaps == 9
        await pass_time(made, 420)
        assert await made.alerts() == [("account_rejected", "resolved", "recovered")]


async def test_each_connection_is_stale_at_its_own_time(tmp_path: Path) -> None:
    """A look comes for each though nothing moved, also for one that was sound at the last: nobody is late."""
    async with rig(tmp_path, connections=3, numbers=1) as made:
        [account] = made.simulator.world.accounts
        intervals = ["1m", "4m", "10m"]
        key = {"name": account.name, "api_key": account.key, "requests_per_minute": 6000}
        listed = [
            {"name": each.name, "id": each.id, "interval": interval}
            for each, interval in zip(account.connections, intervals, strict=True)
        ]
        await made.configure("hook", accounts=[key | {"connections": listed}])
        await pass_time(made, 60)
        async with made.database.write() as tx:
            never = made.clock.now() + timedelta(days=1)
            await tx.execute(update(connections).values(due_at=never))
            known = {each.identity: each.applied_at for each in await watched(tx, made.codec)}
        stale_at: dict[str, datetime] = {}
        while len(stale_at) < len(intervals):
            looks_at = made.failures.due_at(made.clock.now())
            assert looks_at is not None
            while (wait_s := (looks_at - made.clock.now()).total_seconds()) > 0:
                await made.clock.advance(min(wait_s, 5.0))
                made.uptime.look()  # a process that runs
            await made.failures.run()
            stale_at |= dict.fromkeys(made.active.state.troubled - stale_at.keys(), looks_at)
        after = {identity: at - (known[identity] or at) for identity, at in stale_at.items()}
        minutes = [after[each.id].total_seconds() / 60 for each in account.connections]
        assert minutes == pytest.approx([5, 12, 30])
