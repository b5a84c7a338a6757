"""Syncs, policy and failures from the answer to the store, and what a reload does to them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from monitor.drift.alert import decode_body
from monitor.simulator import SimulatedConnection
from monitor.store.claims import flush
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.failures import failing
from monitor.store.ledger import StepRecord
from monitor.store.requests import accept
from monitor.store.tables import acceptances, alerts
from monitor.voicelink.client import SyncAnswer
from tests.fakes.rig import CountingLedger, Rig, rig
from tests.fakes.stored import claim_all, fresh, look_again


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig whose first sync is done."""
    async with rig(tmp_path) as one:
        await one.configure("hook")
        await one.run()
        yield one


def numbers(made: Rig, many: int) -> list[str]:
    """Return the first numbers of the double's only connection."""
    connection: SimulatedConnection = made.simulator.world.connection()
    return connection.keys(many)


async def test_unchanged_answer_writes_nothing_of_its_own(made: Rig) -> None:
    """The body is the applied one and nothing is pending: the store is neither read nor written for it."""
    loaded, kept = made.ledger.loaded, made.ledger.kept
    for _ in range(3):
        (done,) = await made.run()
        assert done.result is not None
    assert (made.ledger.loaded, made.ledger.kept) == (loaded, kept)
    assert (await made.standing()).streak.answers == 4


async def test_same_content_in_another_order_is_not_written(made: Rig) -> None:
    """Other bytes that mean the same are read, and leave nothing but freshness."""
    kept = made.ledger.kept
    made.simulator.do("fault", kind="shuffle")
    (done,) = await made.run()
    assert done.result is not None
    assert made.ledger.kept == kept


class Watching(CountingLedger):
    """A ledger that counts the answers that are still held when a step is to be kept."""

    answers = 0

    async def keep(self, record: StepRecord) -> None:
        """Count, and keep."""
        self.answers += sum(isinstance(each, SyncAnswer) for each in gc.get_objects())
        await super().keep(record)


async def test_answer_is_not_held_while_the_store_is_waited_for(tmp_path: Path) -> None:
    """Where hundreds of syncs wait for the one writer, their bodies of megabytes do not."""
    async with rig(tmp_path) as one:
        ledger = one.ledger = one.cycle.ledger = Watching(one.database, one.codec)
        await one.configure()
        await one.run()
        assert (ledger.kept, ledger.answers) == (1, 0)


class Waiting(CountingLedger):
    """A ledger whose store is slow."""

    def __init__(self, database: Database, codec: Codec) -> None:
        super().__init__(database, codec)
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def keep(self, record: StepRecord) -> None:
        """Wait, and keep."""
        self.asked.set()
        await self.answers.wait()
        await super().keep(record)


async def test_answer_takes_the_place_of_the_next_request_until_it_is_kept(tmp_path: Path) -> None:
    """A store that is slower than the provider has no more answers waiting for it than may be in flight."""
    async with rig(tmp_path, connections=2) as one:
        ledger = one.ledger = one.cycle.ledger = Waiting(one.database, one.codec)
        listed = [{"name": each.name, "id": each.id} for each in one.simulator.world.connections()]
        account = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
        await one.configure(accounts=[account | {"connections": listed}], schedule__max_concurrent_syncs=1)
        await one.clock.advance(60)
        claims = await claim_all(one.database, one.clock.now())
        async with asyncio.TaskGroup() as group:
            for claim in claims.values():
                group.create_task(one.cycle.run(claim))
            await ledger.asked.wait()
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(one.simulator.requests) == 1
            ledger.answers.set()
        assert (len(claims), len(one.simulator.requests), ledger.kept) == (2, 2, 2)


async def test_drift_is_confirmed_told_and_ended_by_the_timer_while_the_api_is_down(made: Rig) -> None:
    """Two syncs confirm, two end it, and `keep_firing_for` runs out though no answer comes."""
    made.simulator.do("remove_routing", numbers=2)
    await made.run()
    assert await made.alerts() == []
    await made.run()
    assert await made.alerts() == [("drift", "firing", None)]
    made.simulator.do("restore_routing", numbers=2)
    await made.run()
    await made.run()
    made.simulator.do("fault", kind="status", status=503)
    assert await made.alerts() == [("drift", "firing", None)]
    await made.run(600)
    assert ("drift", "resolved", "recovered") in await made.alerts()
    assert [change for change, _ in await made.told("hook")][:2] == ["opened", "resolved"]


async def test_failures_are_one_alert_and_end_when_answers_come(made: Rig) -> None:
    """Failed syncs recheck; three in a row are an alert, which ends `keep_firing_for` after two answers."""
    made.simulator.do("fault", kind="status", status=503)
    await made.run()
    failed = await made.standing()
    assert failed.streak.failures == 1
    assert (failed.due_at - made.clock.now()).total_seconds() <= 15
    await made.run(16)
    await made.run(16)
    assert await made.alerts() == [("api_unavailable", "firing", None)]
    made.simulator.do("clear_faults")
    for _ in range(3):
        await made.run(16)
    # What has answered often enough is synced at its own pace again, though the alert fires on.
    assert ((await made.standing()).due_at - made.clock.now()).total_seconds() > 15
    assert await made.alerts() == [("api_unavailable", "firing", None)]
    async with made.database.read() as tx:
        [row] = await failing(tx, made.codec, made.active.state.watchlist.failure_rules)
    assert row.good_since is not None
    assert (row.name, row.cause, row.flaps) == ("account-1", "server_error", 0)
    assert row.ends_at == row.good_since + timedelta(minutes=5)
    looks_at = made.failures.due_at(made.clock.now())
    assert looks_at is not None
    assert looks_at <= row.ends_at
    await made.run(299 - 2 * 16)
    assert await made.alerts() == [("api_unavailable", "firing", None)]
    await made.run(1)
    assert await made.alerts() == [("api_unavailable", "resolved", "recovered")]


async def test_implausible_answer_is_held_shown_and_confirmed(made: Rig) -> None:
    """Nothing of it is applied and its reason stays; one that keeps coming is applied as it stands."""
    made.simulator.do("fault", kind="empty")
    await made.run()
    held = await made.standing()
    assert held.held == 1
    assert held.held_reason == "the answer is empty; the last one had 10 numbers"
    assert made.announcer.views()[0].held
    assert held.counts is not None
    assert held.counts.total == 10
    for _ in range(3):
        await made.run(16)
    assert (await made.standing()).held == 4
    await made.run(16)
    applied = await made.standing()
    assert (applied.held, applied.held_reason) == (0, None)
    assert applied.counts is not None
    assert applied.counts.total == 0
    assert not made.announcer.views()[0].held


async def test_hold_ends_with_an_answer_like_the_applied_one(made: Rig) -> None:
    """The very body that is applied comes again: nothing is held any more."""
    made.simulator.do("fault", kind="empty", requests=1)
    await made.run()
    await made.run(16)
    assert (await made.standing()).held == 0


async def test_acceptance_acts_without_a_sync(made: Rig) -> None:
    """A removed number that somebody accepts ends its alert at once, as accepted, once."""
    key = numbers(made, 1)[0]
    made.simulator.do("remove_number", number=key)
    await made.run()
    await made.run()
    assert await made.alerts() == [("number_removed", "firing", None)]
    identity = (await made.standing()).identity
    async with made.database.write() as tx:
        await accept(tx, identity, [key], made.clock.now())
    asked = len(made.simulator.requests)
    await made.run(0)
    assert await made.alerts() == [("number_removed", "resolved", "accepted")]
    assert len(made.simulator.requests) == asked
    async with made.database.read() as tx:
        assert (await tx.execute(select(acceptances))).all() == []


async def test_policy_that_moves_nothing_leaves_the_records_alone(made: Rig) -> None:
    """New rules have a connection looked at again; its numbers are not written again for that."""
    await made.run()
    written = made.ledger.rewritten
    await made.configure(drift__resolve_syncs=3)
    kept = made.ledger.kept
    await made.run(0)
    assert (made.ledger.kept - kept, made.ledger.rewritten - written) == (1, 0)


async def test_reload_that_changes_no_rules_looks_at_nothing_again(made: Rig) -> None:
    """With many connections, every start and every reload would write each of them."""
    await made.run()
    kept = made.ledger.kept
    await made.configure("hook", "another")
    await made.run(0)
    assert made.ledger.kept == kept


async def test_reload_with_an_ignore_rule_ends_the_alert_as_ignored(made: Rig) -> None:
    """Though the body is the same: the policy runs once for the new rules."""
    made.simulator.do("remove_routing", numbers=1)
    await made.run()
    await made.run()
    await made.run()
    await made.configure("hook", ignore=[{"number": "*", "reason": "spare"}])
    await made.run(0)
    assert await made.alerts() == [("drift", "resolved", "ignored")]
    assert made.announcer.views()[0].counts is not None


async def test_receivers_that_come_and_go(made: Rig) -> None:
    """A new one hears of the firing alerts as opened; what waits for one that is gone is closed."""
    made.simulator.do("remove_routing", numbers=1)
    await made.run()
    await made.run()
    await made.configure("other")
    assert await made.told("hook") == [("opened", "closed")]
    assert await made.told("other") == [("opened", "pending")]
    await made.configure("other")
    assert await made.told("other") == [("opened", "pending")]


async def test_receiver_of_a_newer_config_is_told_what_a_process_with_an_older_one_finds(
    made: Rig, tmp_path: Path
) -> None:
    """Until a reload has reached it, an alert opens, grows and ends for those that the store knows."""
    async with rig(tmp_path) as newer:
        await newer.configure("hook", "pager")
        made.simulator.do("remove_routing", numbers=1)
        await made.run()
        await made.run()
        assert await made.told("pager") == [("opened", "pending")]
        made.simulator.do("restore_routing", numbers=1)
        for _ in range(7):
            await made.run()
        assert await made.told("pager") == [("opened", "pending"), ("resolved", "pending")]


async def test_receiver_of_an_older_config_is_told_no_more(made: Rig, tmp_path: Path) -> None:
    """What a process with the older one finds is not queued for a receiver that nobody serves."""
    async with rig(tmp_path) as newer:
        await newer.configure("pager")
        made.simulator.do("remove_routing", numbers=1)
        await made.run()
        await made.run()
    assert (await made.told("hook"), await made.told("pager")) == ([], [("opened", "pending")])


async def test_connection_that_is_no_longer_configured(made: Rig) -> None:
    """Its alerts end as unconfigured, told by name and counted; its row and its series are gone."""
    made.simulator.do("remove_routing", numbers=1)
    await made.run()
    await made.run()
    account = {"name": "another", "api_key": "rg_live_x", "requests_per_minute": 6000}
    await made.configure("hook", accounts=[account])
    assert await made.alerts() == [("drift", "resolved", "unconfigured")]
    assert (await made.standing()).name == "another"
    assert [view.name for view in made.announcer.views()] == ["another"]
    async with made.database.read() as tx:
        [body] = await tx.scalars(select(alerts.c.body))
    assert decode_body(body).common_names
    _, pieces = await made.metrics.render(accept="")
    assert b'voicelink_episode_duration_seconds_count{kind="drift"} 1.0' in b"".join(pieces)


async def test_gauges_are_restored_at_a_start(made: Rig, tmp_path: Path) -> None:
    """A new process shows what the last one knew before it has asked anything."""
    before = made.announcer.views()[0]
    async with rig(tmp_path) as again:
        await again.configure("hook")
        after = again.announcer.views()[0]
    assert (after.counts, after.up, after.last_success_at) == (before.counts, True, before.last_success_at)


async def test_sync_of_a_connection_that_a_reload_removes_is_no_mistake(made: Rig) -> None:
    """What was in flight is dropped without a word."""
    await made.clock.advance(60)
    made.announcer.forget((await made.standing()).identity)
    (done,) = await made.run(0)
    assert not done.lost


async def test_policy_in_another_process_keeps_the_counts_of_the_last_snapshot(
    made: Rig, tmp_path: Path
) -> None:
    """Replicas share a store: what one has applied is not undone by another that only runs the policy."""
    async with rig(tmp_path) as other:
        await other.configure("hook")
        await other.run(0)
        made.simulator.do("remove_routing", numbers=3)
        await made.run()
        applied = (await made.standing()).counts
        assert applied is not None
        assert applied.total_drifting == 3
        async with made.database.write() as tx:
            await look_again(tx, made.clock.now())
        await other.run((made.clock.now() - other.clock.now()).total_seconds())
        assert other.simulator.requests == []
    assert (await made.standing()).counts == applied


async def test_states_once_seen_stay_as_zero_after_a_restart(made: Rig, tmp_path: Path) -> None:
    """A series that was 3 becomes 0 rather than vanish, whichever process applies the change."""
    made.simulator.do("remove_routing", numbers=3)
    await made.run()
    before = (await made.standing()).counts
    assert before is not None
    async with rig(tmp_path) as other:
        await other.configure("hook")
        other.announcer.forget((await other.standing()).identity)
        await other.run((made.clock.now() - other.clock.now()).total_seconds() + 60)
        after = (await other.standing()).counts
    assert after is not None
    assert after.drifting == dict.fromkeys(before.drifting, 0)


async def test_held_answer_leaves_the_counts_alone(made: Rig) -> None:
    """What is not believed is not counted, even in a process that shows nothing of the connection."""
    before = (await made.standing()).counts
    made.announcer.forget((await made.standing()).identity)
    made.simulator.do("fault", kind="empty")
    await made.run()
    held = await made.standing()
    assert (held.held, held.counts) == (1, before)


async def test_replica_shows_what_another_applied_just_before_its_own_sync(made: Rig, tmp_path: Path) -> None:
    """Its own sync found the body unchanged since; the counts are those in the store all the same."""
    async with rig(tmp_path) as other:
        await other.configure("hook")
        made.simulator.do("remove_routing", numbers=3)
        await made.run()
        state = await made.standing()
        assert state.synced_at is not None
        connection = other.active.state.watchlist.connections[state.identity]
        (claim,) = (await claim_all(other.database, state.due_at)).values()
        result = fresh(claim, at=state.synced_at)
        other.announcer.synced(connection, result)
        async with other.database.write() as tx:
            await flush(tx, [result])
        other.announcer.follow(await made.standing(), connection, state.synced_at)
        assert other.announcer.views()[0].counts == state.counts


async def test_replica_shows_what_another_applied_later_though_its_own_clock_was_ahead(
    made: Rig, tmp_path: Path
) -> None:
    """Which sync is newer goes by the order of claims in the store, not by the clocks of two machines."""
    async with rig(tmp_path) as other:
        await other.configure("hook")
        state = await made.standing()
        connection = other.active.state.watchlist.connections[state.identity]
        (claim,) = (await claim_all(other.database, state.due_at)).values()
        ahead = replace(fresh(claim, at=state.due_at + timedelta(hours=1)), due_at=state.due_at)
        other.announcer.synced(connection, ahead)
        async with other.database.write() as tx:
            await flush(tx, [ahead])
        made.simulator.do("remove_routing", numbers=3)
        await made.run()
        state = await made.standing()
        other.announcer.follow(state, connection, state.due_at)
        assert other.announcer.views()[0].counts == state.counts


async def test_replica_shows_each_number_as_another_applied_it(made: Rig, tmp_path: Path) -> None:
    """Series of numbers follow the store too: two replicas never contradict each other for long."""
    async with rig(tmp_path) as other:
        await other.configure("hook", metrics__numbers="true")
        (key,) = numbers(made, 1)
        made.simulator.do("remove_routing", number=key)
        await made.run()
        state = await made.standing()
        other.announcer.follow(
            state, other.active.state.watchlist.connections[state.identity], made.clock.now()
        )
        await other.active.show_numbers([state])
        shown = dict(other.announcer.views()[0].numbers)
        assert shown[f"+{key}"] != "READY"
