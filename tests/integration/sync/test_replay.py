"""Replay: by the rules of then it comes to what happened, by others to what they would have made of it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from monitor.daemon.policies import ConfiguredPolicies
from monitor.drift.alert import Kind
from monitor.errors import NoHistory
from monitor.replay.report import Replayed, Verdict
from monitor.replay.run import replay
from monitor.store.claims import claim_due
from monitor.store.requests import accept, acknowledge
from monitor.store.retention import prune
from monitor.store.tables import DELIVERED, alerts, deliveries, journal, rulesets
from tests.fakes.clock import START
from tests.fakes.rig import Rig, rig

EARLY = START - timedelta(days=1)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig whose first sync is done."""
    async with rig(tmp_path) as one:
        await one.configure("hook")
        await one.run()
        yield one


async def played_again(made: Rig, **values: Any) -> Replayed:
    """Replay all there is: by the rules of then, or by a config with these values."""
    policies = None
    if values:
        hooks = [{"name": "hook", "type": "webhook", "url": "http://x"}]
        config = made.config({"receivers": hooks} | values)
        policies = ConfiguredPolicies(config, made.clock.now())
    found = await replay(made.database, made.codec, since=EARLY, policies=policies)
    assert found.strayed == 0
    return found


def verdicts(found: Replayed) -> list[tuple[Kind, Verdict]]:
    """Return what became of each alert."""
    return [(alert.kind, alert.verdict) for alert in found.alerts]


async def trouble(made: Rig) -> None:
    """Two numbers lose their routing for a while, then the API fails for a while."""
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(4):
        await made.run()
    made.simulator.do("restore_routing", numbers=2)
    for _ in range(8):
        await made.run()
    made.simulator.do("fault", kind="status", status=503)
    for _ in range(5):
        await made.run(16)
    made.simulator.do("clear_faults")
    for _ in range(10):
        await made.run()


async def test_rules_of_then_come_to_what_happened(made: Rig) -> None:
    """Every alert opens and ends at its instant, and every receiver gets as many messages."""
    await trouble(made)
    found = await played_again(made)
    assert verdicts(found) == [(Kind.DRIFT, Verdict.SAME), (Kind.API_UNAVAILABLE, Verdict.SAME)]
    async with made.database.read() as tx:
        rows = list(await tx.execute(select(alerts).order_by(alerts.c.started_at)))
    assert [(alert.opened_at, alert.resolved_at, alert.resolution) for alert in found.alerts] == [
        (row.started_at, row.resolved_at, row.resolution) for row in rows
    ]
    assert [alert.shift_s for alert in found.alerts] == [0.0, 0.0]
    assert found.alerts[0].numbers_max == 2
    hook = found.messages["hook"]
    assert hook.recorded == hook.replayed == 4
    assert (found.summary.recorded, found.summary.replayed) == (2, 2)
    assert found.time_to_notice is not None
    assert found.time_to_notice.longest_s == pytest.approx(60, abs=1)


async def test_what_people_did_happens_again(made: Rig) -> None:
    """Acceptances, silences, acknowledgements, holds, reloads and removed connections are in the journal."""
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(3):
        await made.run()
    identity = (await made.standing()).identity
    async with made.database.read() as tx:
        alert_id = (await tx.scalars(select(alerts.c.id))).one()
    async with made.database.write() as tx:
        await acknowledge(tx, alert_id, by="kim", note=None, now=made.clock.now())
    made.simulator.do("remove_number", numbers=1)
    for _ in range(3):
        await made.run()
    async with made.database.write() as tx:
        await accept(tx, identity, None, made.clock.now())
    made.simulator.do("fault", kind="empty")
    for _ in range(3):
        await made.run(16)
    made.simulator.do("clear_faults")
    await made.run()
    await made.configure("hook", "later", drift__confirm_syncs=1)
    made.simulator.do("remove_routing", numbers=4)
    await made.run()
    account = {"name": "account-2", "api_key": "rg_live_account_2"}
    await made.configure("hook", "later", accounts=[account])
    found = await played_again(made)
    assert {verdict for _, verdict in verdicts(found)} == {Verdict.SAME}
    assert {"accepted", "unconfigured"} <= {alert.resolution for alert in found.alerts}


@pytest.mark.timeout(30)
async def test_acknowledged_alert_reminds_nobody_when_it_is_replayed(made: Rig) -> None:
    """Who was told of it hears that somebody sees to it, then no more, however long it goes on."""
    hook = {"name": "hook", "type": "webhook", "url": "http://x", "repeat_interval": "5m"}
    await made.configure(receivers=[hook, hook | {"name": "away"}])
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(3):
        await made.run()
    await made.configure(receivers=[hook])
    made.simulator.do("restore_routing", numbers=1)
    await made.run()
    async with made.database.read() as tx:
        alert_id = (await tx.scalars(select(alerts.c.id))).one()
    async with made.database.write() as tx:
        await acknowledge(tx, alert_id, by="kim", note=None, now=made.clock.now())
    await made.configure(receivers=[hook, hook | {"name": "away"}])
    for _ in range(10):
        await made.run()
    found = await replay(made.database, made.codec, since=EARLY)
    told = {name: (count.recorded, count.replayed) for name, count in found.messages.items()}
    assert told == {"away": (3, 3), "hook": (3, 3), "log": (3, 3)}


@pytest.mark.timeout(30)
async def test_reminders_that_a_reload_took_away_are_not_replayed(made: Rig) -> None:
    """Those that were due under the config before are not waited for."""
    hook = {"name": "hook", "type": "webhook", "url": "http://x"}
    await made.configure(receivers=[hook | {"repeat_interval": "5m"}])
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(3):
        await made.run()
    await made.configure(receivers=[hook])
    made.simulator.do("restore_routing", numbers=1)
    for _ in range(10):
        await made.run()
    found = await replay(made.database, made.codec, since=EARLY)
    assert found.messages["hook"].recorded == found.messages["hook"].replayed


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"drift__confirm_syncs": 1}, {Kind.DRIFT: Verdict.EARLIER}),
        ({"drift__confirm_syncs": 4}, {Kind.DRIFT: Verdict.LATER}),
        ({"drift__confirm_syncs": 8}, {Kind.DRIFT: Verdict.GONE}),
        ({"ignore": [{"state": "ROUTING_MISSING", "reason": "known"}]}, {Kind.DRIFT: Verdict.GONE}),
        ({"drift__failing_after": 2}, {Kind.API_UNAVAILABLE: Verdict.EARLIER}),
        ({"drift__failing_after": 20}, {Kind.API_UNAVAILABLE: Verdict.GONE}),
        ({"alerts__labels": {"team": "voice"}}, {}),
    ],
    ids=str,
)
async def test_other_rules_show_what_they_would_have_made_of_it(
    made: Rig, values: dict[str, Any], wanted: dict[Kind, Verdict]
) -> None:
    """What a rule moves is earlier, later, gone or new; all else is the same."""
    await trouble(made)
    found = await played_again(made, **values)
    same = {Kind.DRIFT: Verdict.SAME, Kind.API_UNAVAILABLE: Verdict.SAME}
    assert dict(verdicts(found)) == same | wanted


async def test_answers_that_changed_nothing_count_for_rules_that_wait_longer(made: Rig) -> None:
    """By the rules of then nothing was open any more: by others each of them confirms."""
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(8):
        await made.run()
    found = await played_again(made, drift__confirm_syncs=5)
    (alert,) = found.alerts
    assert alert.verdict is Verdict.LATER
    assert alert.shift_s == pytest.approx(3 * 60, abs=30)


async def test_messages_are_those_of_the_connections_that_are_asked_about(tmp_path: Path) -> None:
    """Of a connection that the glob leaves out neither alerts nor messages count."""
    async with rig(tmp_path, connections=2) as made:
        account = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
        ids = [each.id for each in made.simulator.world.connections()]
        connections = [{"name": f"c{place}", "id": each} for place, each in enumerate(ids)]
        await made.configure("hook", accounts=[account | {"connections": connections}])
        await made.run()
        made.simulator.do("fault", kind="status", status=404, connection=ids[0])
        made.simulator.do("remove_routing", numbers=2, connection=ids[1])
        for _ in range(5):
            await made.run(16)
        for glob in ("c0", "c1", "c*", "none"):
            found = await replay(made.database, made.codec, since=EARLY, connection=glob)
            many = {"c0": 1, "c1": 1, "c*": 2, "none": 0}[glob]
            assert (found.summary.recorded, found.summary.replayed) == (many, many)
            counts = [(each.recorded, each.replayed) for each in found.messages.values()]
            assert counts == ([(many, many)] * 2 if many else [])


async def test_guard_that_believes_at_once_shows_what_was_held(made: Rig) -> None:
    """An answer that was held is applied where other rules believe it."""
    made.simulator.do("remove_routing", numbers=8)
    await made.run()
    await made.run(16)
    made.simulator.do("restore_routing", numbers=8)
    for _ in range(3):
        await made.run()
    assert (await played_again(made)).alerts == []
    found = await played_again(made, guard__ratio=0.9)
    assert verdicts(found) == [(Kind.DRIFT, Verdict.NEW)]


async def test_connection_that_the_other_config_lacks_ends_at_once(made: Rig) -> None:
    """What it alerted is gone."""
    await trouble(made)
    account = {"name": "account-2", "api_key": "rg_live_account_2"}
    found = await played_again(made, accounts=[account])
    assert {verdict for _, verdict in verdicts(found)} == {Verdict.GONE}


async def test_pruned_journal_is_replayed_from_its_bases(made: Rig) -> None:
    """What fires when the rest of the journal begins ends in the replay as it did."""
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(4):
        await made.run()
    await made.clock.advance(25 * 3600)
    for _ in range(3):
        await made.run()
    made.simulator.do("remove_routing", numbers=3)
    for _ in range(3):
        await made.run()
    async with made.database.write() as tx:
        kept = select(func.count()).select_from(journal)
        before = (await tx.scalars(kept)).one()
        assert await prune(tx, made.clock.now() - timedelta(minutes=2)) > 0
        assert (await tx.scalars(kept)).one() < before
    made.simulator.do("restore_routing", numbers=3)
    for _ in range(8):
        await made.run()
    found = await played_again(made)
    assert [alert.verdict for alert in found.alerts if alert.resolved_at is not None]
    assert {alert.verdict for alert in found.alerts} == {Verdict.SAME}


async def test_alerts_that_are_kept_no_longer_are_not_replayed(made: Rig) -> None:
    """What happened then is not known any more, though the journal still has what led to it."""
    await trouble(made)
    kept = timedelta(minutes=5)
    for _ in range(12):
        await made.run()
    async with made.database.write() as tx:
        sent = update(deliveries).values(status=DELIVERED, finished_at=deliveries.c.created_at)
        await tx.execute(sent)
        assert await prune(tx, made.clock.now() - kept)
    made.simulator.do("remove_routing", numbers=3)
    for _ in range(3):
        await made.run()
    found = await replay(made.database, made.codec, since=EARLY, kept=kept)
    assert verdicts(found) == [(Kind.DRIFT, Verdict.SAME)]
    assert found.since == found.until - kept
    assert found.messages["hook"].recorded == found.messages["hook"].replayed == 1
    assert Verdict.NEW in {alert.verdict for alert in (await played_again(made)).alerts}


async def test_without_history_it_says_so(tmp_path: Path) -> None:
    """A store that no daemon has synced into has nothing to replay."""
    async with rig(tmp_path) as one:
        with pytest.raises(NoHistory, match="no history yet"):
            await replay(one.database, one.codec, since=EARLY)


async def test_end_of_history_is_said(made: Rig) -> None:
    """Where none has been recorded since, nothing paged only because nothing was seen."""
    await made.run()
    with pytest.raises(NoHistory, match=r"no history from .* on: it ends at"):
        await replay(made.database, made.codec, since=made.clock.now() + timedelta(days=8))


async def test_unchanged_answers_are_counted_without_a_row(made: Rig) -> None:
    """The next entry tells how many there were, and until when."""
    async with made.database.read() as tx:
        before = await tx.scalar(select(func.count()).select_from(journal))
    for _ in range(5):
        await made.run()
    seen_until = made.clock.now()
    async with made.database.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(journal)) == before
    made.simulator.do("remove_routing", numbers=1)
    await made.run()
    async with made.database.read() as tx:
        row = (await tx.execute(select(journal).order_by(journal.c.id.desc()).limit(1))).one()
        many = await tx.scalar(select(func.count()).select_from(rulesets))
    assert (row.kind, row.unchanged) == ("applied", 5)
    assert row.seen_until == pytest.approx(seen_until, abs=timedelta(seconds=5))
    assert many == 2  # of the connection, and of failures


async def test_day_of_changes_takes_few_bytes(tmp_path: Path) -> None:
    """1,000 numbers of which 1% change a minute: less than 50 MB a day."""
    async with rig(tmp_path, numbers=1000) as made:
        await made.configure("hook")
        await made.run()
        for turn in range(10):
            made.simulator.do("remove_routing" if turn % 2 == 0 else "restore_routing", numbers=10)
            await made.run()
        async with made.database.read() as tx:
            asked = select(func.sum(func.length(journal.c.body)), func.count()).where(
                journal.c.kind.in_(["applied", "policy"])
            )
            body, rows = (await tx.execute(asked)).one()
    row_bytes = 200  # names, instants, and a place in each index
    assert (body + rows * row_bytes) / 11 * 1440 < 50_000_000


async def test_journal_is_written_with_the_step_or_not_at_all(made: Rig) -> None:
    """A step whose claim was lost leaves no entry."""
    made.simulator.do("remove_routing", numbers=2)
    await made.clock.advance(60)
    async with made.database.write() as tx:
        (claim,) = await claim_due(tx, made.clock.now(), limit=10, lease=timedelta(seconds=1))
    await made.clock.advance(2)
    async with made.database.write() as tx:
        await claim_due(tx, made.clock.now(), limit=10, lease=timedelta(minutes=2))
    async with made.database.read() as tx:
        before = await tx.scalar(select(func.count()).select_from(journal))
    await made.cycle.run(claim)
    async with made.database.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(journal)) == before
