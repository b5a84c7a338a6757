"""Claims, leases, epochs, and the one transaction of a step."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import delete, func, insert, select

from monitor.drift.policy import Records
from monitor.errors import LeaseLost, Outcome, StoreUnavailable
from monitor.store.claims import claim_one, flush, next_due_at, release, renew
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, begin_watching, stop_watching, watched
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.requests import accept
from monitor.store.tables import alerts, changes, deliveries, episodes, receivers, snapshots
from tests.fakes.stored import (
    LEASE,
    MINUTE,
    NOW,
    SECOND,
    begin,
    claim_all,
    configured,
    fresh,
    look_again,
    recorded,
    stepped,
    tell,
    watch,
    work,
)
from tests.unit.drift.build import broken, ready

ROWS = (changes, alerts, episodes, deliveries, snapshots)


async def standing(database: Database, identity: str = "a") -> ConnectionState:
    """Return how a connection stands."""
    async with database.read() as tx:
        found = await watched(tx, Codec())
    return next(one for one in found if one.identity == identity)


async def counted(database: Database) -> list[int]:
    """Return how many rows each of `ROWS` has."""
    async with database.read() as tx:
        return [(await tx.execute(select(func.count()).select_from(table))).scalar_one() for table in ROWS]


async def test_claim_gives_each_due_connection_once(database: Database) -> None:
    """What is claimed is nobody else's until its lease ends; what is not due stays."""
    await begin(database, "a", "b", due_at=NOW)
    await begin(database, "later", due_at=NOW + SECOND)
    assert set(await claim_all(database)) == {"a", "b"}
    assert await claim_all(database) == {}
    assert set(await claim_all(database, NOW + SECOND)) == {"later"}


async def test_claims_of_two_at_once_share_the_work(url: str, database: Database) -> None:
    """Whoever claims at the same time gets others: together everything, nothing twice."""
    await begin(database, *(f"c{i}" for i in range(40)))
    async with Database(url) as other:
        replicas = (database, other, database, other)
        found = await asyncio.gather(*(claim_all(one, limit=15) for one in replicas))
    names = [name for claims in found for name in claims]
    assert len(names) == len(set(names)) == 40


async def test_batch_takes_the_longest_due_first(database: Database) -> None:
    """A backlog is worked off in the order in which it became due."""
    for position, name in enumerate("abc"):
        await begin(database, name, due_at=NOW - position * SECOND)
    assert set(await claim_all(database, limit=2)) == {"b", "c"}


async def test_lease_that_ended_is_claimed_by_the_next(database: Database) -> None:
    """A claimant that died holds nothing up for longer than its lease, and is waited for so long."""
    await begin(database, "a")
    first = (await claim_all(database))["a"]
    async with database.read() as tx:
        assert await next_due_at(tx) == NOW + LEASE
    second = (await claim_all(database, NOW + LEASE))["a"]
    assert second.epoch == first.epoch + 1


async def test_renewed_lease_lasts(database: Database) -> None:
    """A long sync keeps its claim; a claim that was taken over is not renewed."""
    await begin(database, "a")
    claim = (await claim_all(database))["a"]
    async with database.write() as tx:
        await renew(tx, [claim], NOW + 2 * LEASE)
    assert await claim_all(database, NOW + LEASE) == {}
    later = (await claim_all(database, NOW + 2 * LEASE))["a"]
    async with database.write() as tx:
        await renew(tx, [claim], NOW + 9 * LEASE)
    assert set(await claim_all(database, NOW + 3 * LEASE)) == {later.identity}


async def test_claim_that_was_given_back_is_not_renewed(database: Database) -> None:
    """Its sync may be written down just before: no one would give it back a second time."""
    await begin(database, "a")
    claim = (await claim_all(database))["a"]
    async with database.write() as tx:
        await flush(tx, [fresh(claim)])
        await renew(tx, [claim], NOW + 2 * LEASE)
    assert set(await claim_all(database, NOW + LEASE)) == {"a"}


async def test_claim_that_is_given_back_is_due_again(database: Database) -> None:
    """Nothing was done, so nothing is recorded but when it is due."""
    await begin(database, "a")
    claim = (await claim_all(database))["a"]
    async with database.write() as tx:
        await release(tx, [(claim, NOW + SECOND)])
    assert await claim_all(database) == {}
    assert (await claim_all(database, NOW + SECOND))["a"].streak == claim.streak


async def test_sync_on_demand_is_a_sync_though_none_is_due(database: Database) -> None:
    """Who asks for a sync gets one; not a second one beside one that runs."""
    await begin(database, "a", due_at=NOW + MINUTE)
    async with database.write() as tx:
        claim = await claim_one(tx, "a", NOW, lease=LEASE)
        assert claim is not None
        assert claim.sync_due
        assert await claim_one(tx, "a", NOW, lease=LEASE) is None
        assert await claim_one(tx, "unknown", NOW, lease=LEASE) is None


async def test_flush_writes_how_syncs_went(database: Database) -> None:
    """Freshness, streak and the next due instant of many connections, and the leases end."""
    await begin(database, "a", "b")
    claims = await claim_all(database)
    async with database.write() as tx:
        await flush(tx, [fresh(claims["a"]), fresh(claims["b"], outcome=Outcome.TIMEOUT)])
    well, failed = await standing(database, "a"), await standing(database, "b")
    assert (well.applied_at, well.succeeded_at, well.error) == (NOW, NOW, None)
    assert (failed.applied_at, failed.succeeded_at, failed.error) == (None, None, "it failed")
    assert (well.streak.answers, failed.streak.failures) == (1, 1)
    again = await claim_all(database, NOW + MINUTE)
    assert (again["a"].digest, again["b"].digest) == ("d1", None)


async def test_rows_of_many_claims_are_written_in_the_order_of_identity(database: Database) -> None:
    """However their syncs ended: two replicas that write the same rows wait for each other in one order."""
    identities = "abcdef"
    await begin(database, *identities)
    held = await claim_all(database)
    claims = [held[identity] for identity in "fbdace"]
    outcomes = [Outcome.OK, Outcome.TIMEOUT, Outcome.HELD] * 2
    async with database.write() as tx:
        with recorded(tx) as statements:
            await renew(tx, claims, NOW + LEASE)
            await flush(tx, [fresh(claim, outcome=how) for claim, how in zip(claims, outcomes, strict=True)])
            await release(tx, [(claim, NOW) for claim in claims])
    for _, rows in statements:
        values = [row.values() if isinstance(row, dict) else row for row in rows]
        assert [value for row in values for value in row if value in set(identities)] == list(identities)
    assert len(statements) == 3


async def test_flush_of_a_stale_epoch_is_dropped(database: Database) -> None:
    """Who lost the connection writes nothing about it and does not end the other's lease."""
    await begin(database, "a")
    lost = (await claim_all(database))["a"]
    await claim_all(database, NOW + LEASE)
    async with database.write() as tx:
        await flush(tx, [fresh(lost)])
    assert (await standing(database)).synced_at is None
    assert await claim_all(database, NOW + LEASE) == {}


async def test_step_is_kept_whole(database: Database, codec: Codec) -> None:
    """Snapshot, changes, episodes, alerts, deliveries and freshness come back as they were given."""
    await begin(database, "a")
    await configured(database, *tell("log", "hook"))
    claim = (await claim_all(database))["a"]
    done = stepped(Records(), claim, broken(1), ready(2))
    ledger = Ledger(database, codec)
    await ledger.keep(work(claim, done))
    assert (await ledger.load(claim)).records == done.records
    assert await counted(database) == [len(done.changes), 1, 1, 2, 1]
    row = await standing(database)
    assert row.applied_at == NOW
    assert row.counts is not None
    assert row.counts.total_drifting == 1


async def test_step_with_the_same_records_leaves_the_kept_ones(database: Database, codec: Codec) -> None:
    """The claim is given back and the rest is kept; the records stay as they are."""
    await begin(database, "a")
    ledger = Ledger(database, codec)
    claim = (await claim_all(database))["a"]
    done = stepped(Records(), claim, broken(1), ready(2))
    await ledger.keep(work(claim, done))
    claim = (await claim_all(database, NOW + MINUTE))["a"]
    other = stepped(Records(), claim, ready(1))
    await ledger.keep(replace(work(claim, other), same=True))
    assert (await ledger.load(claim)).records == done.records
    assert list(await claim_all(database, NOW + 2 * MINUTE)) == ["a"]


async def test_step_of_a_lost_lease_keeps_nothing(database: Database, codec: Codec) -> None:
    """The epoch moved on: no row of the step is there, and the error says so."""
    await begin(database, "a")
    lost = (await claim_all(database))["a"]
    await claim_all(database, NOW + LEASE)
    with pytest.raises(LeaseLost):
        await Ledger(database, codec).keep(work(lost, stepped(Records(), lost, broken(1))))
    assert await counted(database) == [0, 0, 0, 0, 0]
    assert (await standing(database)).applied_at is None


async def test_step_whose_deliveries_fail_keeps_nothing(database: Database, codec: Codec) -> None:
    """The last rows of the transaction cannot be written: neither are the first."""
    await begin(database, "a")
    claim = (await claim_all(database))["a"]
    done = stepped(Records(), claim, broken(1))
    ledger = Ledger(database, codec)
    await configured(database, *tell("log"))
    async with database.write() as tx:
        twin = {"name": "twin", "route": {"receiver": "log"}, "known_since": NOW}
        await tx.execute(insert(receivers).values(twin))
    with pytest.raises(StoreUnavailable):
        await ledger.keep(work(claim, done))
    assert await counted(database) == [0, 0, 0, 0, 0]
    async with database.write() as tx:
        await tx.execute(delete(receivers).where(receivers.c.name == "twin"))
    await ledger.keep(work(claim, done))
    assert (await counted(database))[-2:] == [1, 1]


async def test_wish_to_look_again_outlives_a_sync_in_flight(database: Database, codec: Codec) -> None:
    """A reload or a command during a sync has the policy run after it, though the sync knew nothing of it."""
    await begin(database, "a")
    ledger = Ledger(database, codec)
    claim = (await claim_all(database))["a"]
    await ledger.keep(work(claim, stepped(Records(), claim, ready(1))))
    claim = (await claim_all(database, NOW + MINUTE))["a"]
    kept = await ledger.load(claim)
    async with database.write() as tx:
        await look_again(tx, NOW + MINUTE)
    await ledger.keep(work(claim, stepped(kept.records, claim, broken(1)), at=NOW + MINUTE))
    again = (await claim_all(database, NOW + MINUTE))["a"]
    assert again.policy_due
    assert not again.sync_due
    await ledger.keep(work(again, stepped(Records(), again), at=NOW + MINUTE))
    assert await claim_all(database, NOW + MINUTE) == {}


async def test_acceptance_is_consumed_exactly_once(database: Database, codec: Codec) -> None:
    """It is read with the records and deleted with the step; one that comes between is left for the next."""
    await begin(database, "a", "b")
    ledger = Ledger(database, codec)
    async with database.write() as tx:
        await accept(tx, "a", ["1", "2"], NOW)
        await accept(tx, "b", None, NOW)
    claims = await claim_all(database)
    kept = await ledger.load(claims["a"])
    assert kept.accepted == {"1", "2"}
    assert (await ledger.load(claims["b"])).accept_all
    async with database.write() as tx:
        await accept(tx, "a", ["3"], NOW + MINUTE)
    await ledger.keep(work(claims["a"], stepped(Records(), claims["a"], ready(1)), asked=kept.acceptances))
    again = (await claim_all(database, NOW + MINUTE))["a"]
    assert (await ledger.load(again)).accepted == {"3"}


async def test_acceptance_survives_a_step_that_is_not_kept(database: Database, codec: Codec) -> None:
    """What was not recorded did not happen: the next step accepts."""
    await begin(database, "a")
    async with database.write() as tx:
        await accept(tx, "a", ["1"], NOW)
    lost = (await claim_all(database))["a"]
    ledger = Ledger(database, codec)
    kept = await ledger.load(lost)
    taken_over = (await claim_all(database, NOW + LEASE))["a"]
    with pytest.raises(LeaseLost):
        await ledger.keep(work(lost, stepped(Records(), lost, ready(1)), asked=kept.acceptances))
    assert (await ledger.load(taken_over)).accepted == {"1"}


async def test_overdue_connections_are_spread_and_others_keep_their_time(database: Database) -> None:
    """A start gives what is overdue its first instant; the rest keeps its own, if that is not too late."""
    await begin(database, "overdue", due_at=NOW - MINUTE)
    await begin(database, "soon", due_at=NOW + SECOND)
    await begin(database, "far", due_at=NOW + 60 * MINUTE)
    async with database.write() as tx:
        known = [
            replace(watch(name, NOW + 7 * SECOND), next_due_at=NOW + MINUTE)
            for name in ("overdue", "soon", "far", "new")
        ]
        await begin_watching(tx, known, NOW)
    due = {name: (await standing(database, name)).due_at - NOW for name in ("overdue", "soon", "far", "new")}
    assert due == {"overdue": 7 * SECOND, "soon": SECOND, "far": MINUTE, "new": 7 * SECOND}


async def test_forgotten_connection_leaves_its_history(database: Database, codec: Codec) -> None:
    """Its row and snapshot go; changes and alerts stay. Its name is free for another at once."""
    await begin(database, "a")
    claim = (await claim_all(database))["a"]
    await Ledger(database, codec).keep(work(claim, stepped(Records(), claim, broken(1))))
    before = await counted(database)
    async with database.write() as tx:
        await stop_watching(tx, ["a"], NOW)
        await begin_watching(tx, [watch("b", name="name of a")], NOW)
        assert [row.identity for row in await watched(tx, codec)] == ["b"]
    assert await counted(database) == [*before[:-1], 0]
