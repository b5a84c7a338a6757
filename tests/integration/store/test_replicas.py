"""Replicas in the store: who is there, whose turn it is, and what one that is gone leaves."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import __version__
from monitor.drift.policy import Records
from monitor.drift.widespread import Spread
from monitor.notify.delivery import Sent
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.enrol import Enrolled, enrol
from monitor.store.ledger import Ledger
from monitor.store.outbox import StoredOutbox, remind
from monitor.store.replicas import (
    FORGOTTEN_AFTER,
    GONE_AFTER,
    Presence,
    Replica,
    Wanted,
    leave,
    report,
    take_turn,
    wanted_by_others,
    watching_since,
)
from monitor.store.tables import alerts, connections, deliveries, discoveries, posters
from tests.fakes.clock import FakeClock
from tests.fakes.stored import NOW, SECOND, Story, begin, claim_all, stepped, tell, watch, work
from tests.servers.process import wait_until
from tests.unit.drift.build import broken

OLD = Replica(id="a", digest="old", config_at=NOW)
NEW = Replica(id="b", digest="new", config_at=NOW + SECOND)
WANTS = {Wanted.CONNECTION: ["x"], Wanted.RECEIVER: ["hook"]}


@pytest.fixture
async def shared(postgresql_store: str) -> AsyncIterator[Database]:
    """Return a database that replicas can share."""
    async with Database(postgresql_store) as opened:
        yield opened


async def seen(database: Database, who: Replica, at: datetime = NOW) -> Presence:
    """Let a replica report at an instant."""
    async with database.write() as tx:
        return await report(tx, who, WANTS, at)


async def its_turn(database: Database, who: Replica, at: datetime = NOW) -> bool:
    """Return whether a replica is to decide."""
    async with database.write() as tx:
        return await take_turn(tx, who, at)


async def test_replica_with_the_newest_config_decides(shared: Database) -> None:
    """The others wait for as long as it was seen lately."""
    await seen(shared, OLD)
    assert await its_turn(shared, OLD)
    await seen(shared, NEW)
    assert not await its_turn(shared, OLD)
    assert await its_turn(shared, NEW)
    assert await its_turn(shared, OLD, NOW + GONE_AFTER)


async def test_replicas_with_one_config_all_decide(shared: Database) -> None:
    """Whoever comes first; each by what the store says."""
    twin = Replica(id="b", digest="old", config_at=NOW + SECOND)
    await seen(shared, OLD)
    await seen(shared, twin)
    assert await its_turn(shared, OLD)
    assert await its_turn(shared, twin)


async def test_what_a_replica_wants_is_wanted_until_it_is_forgotten(shared: Database) -> None:
    """It may be restarting; one that ends says so."""

    async def wanted(by: str) -> set[str]:
        async with shared.read() as tx:
            return await wanted_by_others(tx, by, Wanted.RECEIVER)

    await seen(shared, OLD)
    await seen(shared, NEW, NOW + FORGOTTEN_AFTER - SECOND)
    assert await wanted("b") == {"hook"}
    found = await seen(shared, NEW, NOW + FORGOTTEN_AFTER)
    assert (set(found.wants), [each.id for each in found.live]) == ({"new"}, ["b"])
    assert await wanted("b") == set()
    await seen(shared, OLD, NOW + FORGOTTEN_AFTER)
    async with shared.write() as tx:
        await leave(tx, "a", NOW + FORGOTTEN_AFTER)
    assert await wanted("b") == set()


async def test_watching_goes_on_while_any_replica_is_there(shared: Database) -> None:
    """One that joins begins nothing anew; after a gap in which none was there, it begins again."""

    async def since() -> datetime | None:
        async with shared.read() as tx:
            return await watching_since(tx)

    await seen(shared, OLD)
    await seen(shared, OLD, NOW + 10 * SECOND)
    await seen(shared, NEW, NOW + 20 * SECOND)
    assert await since() == NOW
    woken = NOW + 20 * SECOND + GONE_AFTER
    await seen(shared, OLD, woken)
    assert await since() == woken


async def test_what_a_gone_replica_held_is_free(shared: Database) -> None:
    """Its syncs, its messages, its discoveries and its posts; what others hold stays held."""
    until = NOW + timedelta(hours=1)
    held = {"lease_until": until, "due_at": until}
    names = {"a": "gone", "b": "here"}
    async with shared.write() as tx:
        for holder, name in names.items():
            await tx.execute(
                insert(connections).values(
                    identity=name, name=name, account="acme", watched_since=NOW, holder=holder, **held
                )
            )
            message = {"receiver": name, "alert_id": name, "change": "opened", "version": 1, "body": b"{}"}
            kept = {"status": "pending", "created_at": NOW}
            await tx.execute(insert(deliveries).values(id=name, holder=holder, **message, **kept, **held))
            await tx.execute(insert(discoveries).values(account=name, since=NOW, holder=holder, **held))
            await tx.execute(
                insert(posters).values(
                    receiver=name, url="u", holder=holder, refused=False, lease_until=until
                )
            )
    await seen(shared, OLD)
    await seen(shared, NEW, NOW + GONE_AFTER - SECOND)
    later = NOW + GONE_AFTER
    assert (await seen(shared, NEW, later)).freed
    async with shared.read() as tx:
        for table in (connections, deliveries, discoveries, posters):
            rows = {row.holder: row for row in await tx.execute(select(table))}
            assert (rows["a"].lease_until, rows["b"].lease_until) == (None, until)
        due = {row.id: row.due_at for row in await tx.execute(select(deliveries))}
    assert due == {"gone": later, "here": until}
    assert not (await seen(shared, NEW, later)).freed


async def enrolled(
    database: Database,
    who: Replica,
    *identities: str,
    dropped: Sequence[str] = (),
    receivers: Sequence[str] = ("log",),
) -> Enrolled:
    """Let a replica watch these connections, some of which discovery may have found."""
    return await enrol(
        database,
        Codec(),
        me=who,
        watches=[watch(identity, NOW) for identity in identities],
        discovering=(),
        ask_again=False,
        vanished=(),
        listed=(),
        dropped=dropped,
        receivers=receivers,
        routes=tell(*receivers),
        spread=Spread(),
        now=NOW,
    )


async def test_what_discovery_found_is_wanted_like_what_the_config_names(shared: Database) -> None:
    """A newer config without discovery ends it no earlier than anything else of the older one."""
    await enrolled(shared, OLD, "a")
    await enrolled(shared, OLD, "a", "found")
    after = await enrolled(shared, NEW, "a")
    assert (dict(after.removed), set(after.foreign)) == ({}, {"found"})
    async with shared.write() as tx:
        await leave(tx, OLD.id, NOW)
    assert set((await enrolled(shared, NEW, "a")).removed) == {"found"}


async def test_only_discovery_takes_back_what_it_has_found(shared: Database) -> None:
    """A replica with the same config that has not heard of it yet ends nothing."""
    twin = replace(OLD, id="b")
    await enrolled(shared, twin, "a")
    await enrolled(shared, OLD, "a", "found")
    assert not (await enrolled(shared, twin, "a")).removed
    assert set((await enrolled(shared, twin, "a", dropped=["found"])).removed) == {"found"}


async def test_replicas_show_since_when_they_live_and_with_what(shared: Database) -> None:
    """The oldest first; a reload changes the config alone, and one that is gone is not shown."""
    later = NOW + GONE_AFTER - SECOND
    await seen(shared, NEW)
    await seen(shared, OLD, NOW + SECOND)
    reloaded = replace(OLD, digest="newer", config_at=later)

    async def live(at: datetime) -> list[tuple[str, datetime, str, datetime, str]]:
        return [
            (each.id, each.started_at, each.digest, each.config_at, each.version)
            for each in (await seen(shared, reloaded, at)).live
        ]

    old = ("a", NOW + SECOND, "newer", later, __version__)
    assert await live(later) == [("b", NOW, "new", NOW + SECOND, __version__), old]
    assert await live(NOW + GONE_AFTER) == [old]


class SlowDatabase(Database):
    """A database whose next commit waits."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def write(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        """Wait before the commit."""
        async with super().write(autocommit=autocommit) as tx:
            yield tx
            self.reached.set()
            await self.go.wait()


async def blocked(database: Database) -> bool:
    """Return whether some transaction waits for another."""
    async with database.read() as tx:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(await tx.scalar(waiting))


async def test_alert_committed_while_its_connection_ends_does_not_stay(
    shared: Database, postgresql_store: str
) -> None:
    """One replica ends a connection while another commits an alert for it: the alert ends with it."""
    await begin(shared, "x")
    claim = (await claim_all(shared))["x"]
    async with SlowDatabase(postgresql_store) as slow:
        keeping = asyncio.create_task(
            Ledger(slow, Codec()).keep(work(claim, stepped(Records(), claim, broken(1))))
        )
        await slow.reached.wait()
        ending = asyncio.create_task(enrolled(shared, OLD))
        await wait_until(lambda: blocked(shared), what="the end to wait for the commit")
        slow.go.set()
        await asyncio.gather(keeping, ending)
    async with shared.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(alerts)) == 1
        assert await tx.scalar(select(alerts.c.resolution)) == "unconfigured"


async def test_alert_committed_while_a_receiver_is_added_is_told_to_it(
    shared: Database, postgresql_store: str
) -> None:
    """The replica that adds it waits for what others are committing without it, and tells of it then."""
    await enrolled(shared, OLD, "x")
    claim = (await claim_all(shared))["x"]
    async with SlowDatabase(postgresql_store) as slow:
        keeping = asyncio.create_task(
            Ledger(slow, Codec()).keep(work(claim, stepped(Records(), claim, broken(1))))
        )
        await slow.reached.wait()
        adding = asyncio.create_task(enrolled(shared, NEW, "x", receivers=["log", "hook"]))
        await wait_until(lambda: blocked(shared), what="the new receiver to wait for the commit")
        slow.go.set()
        await asyncio.gather(keeping, adding)
    assert await told_of(shared, "hook") == ["opened"]


async def test_newest_config_says_who_is_told(shared: Database) -> None:
    """An older one that comes later adds what it alone has, and takes nothing away."""
    await enrolled(shared, OLD, "x")
    await enrolled(shared, NEW, "x", receivers=["log", "hook"])
    await enrolled(shared, OLD, "x", receivers=["log", "other"])
    claim = (await claim_all(shared))["x"]
    await Ledger(shared, Codec()).keep(work(claim, stepped(Records(), claim, broken(1))))
    told = {name: await told_of(shared, name) for name in ("log", "hook", "other")}
    assert told == {"log": ["opened"], "hook": ["opened"], "other": ["opened"]}


async def told_of(database: Database, receiver: str) -> list[str]:
    """Return what is queued for a receiver, oldest first."""
    async with database.read() as tx:
        queued = select(deliveries.c.change).where(deliveries.c.receiver == receiver)
        return list((await tx.execute(queued.order_by(deliveries.c.seq))).scalars())


async def test_replicas_remind_once(shared: Database, postgresql_store: str) -> None:
    """Both see that a reminder is due; the one that waits for its turn sees that it is queued."""
    story = Story(shared)
    await begin(shared, "a")
    await story.sync(broken(1))
    outbox = StoredOutbox(shared, FakeClock(NOW))
    [opened] = (await outbox.lease_due("hook", limit=1, lease_s=30)).deliveries
    await outbox.settle([Sent(delivery=opened, at=NOW, answer="ok")])
    later = NOW + timedelta(minutes=5)

    async def reminded(database: Database, who: Replica) -> int:
        async with database.write() as tx:
            assert await take_turn(tx, who, later)
            return await remind(tx, {"hook": timedelta(minutes=5)}, later)

    async with SlowDatabase(postgresql_store) as slow:
        first = asyncio.create_task(reminded(slow, OLD))
        await slow.reached.wait()
        second = asyncio.create_task(reminded(shared, Replica(id="b", digest="old", config_at=NOW)))
        await wait_until(lambda: blocked(shared), what="the second to wait for its turn")
        slow.go.set()
        assert [await first, await second] == [1, 0]
