"""Silences in both databases: what they are about, when they end, and that each is logged once."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import insert, select, update

from monitor.drift.policy import Records
from monitor.drift.rules import Silence
from monitor.drift.silences import NewSilence
from monitor.errors import Invalid, StoreUnavailable, UnknownName
from monitor.store.actions import COMMAND, Actor
from monitor.store.codec import Codec
from monitor.store.connections import begin_watching, stop_watching
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.quiet import silence_rows
from monitor.store.rows import SilenceRow
from monitor.store.silences import active_silences, any_to_log, leave, take_begun_and_ended
from monitor.store.silencing import set_silence, stop_silence
from monitor.store.tables import alerts, connections, silenced, snapshots
from tests.fakes.fleet import Fleet
from tests.fakes.stored import (
    MINUTE,
    NOW,
    SECOND,
    Story,
    begin,
    claim_all,
    look_again,
    named,
    number,
    recorded_everywhere,
    stepped,
    watch,
    work,
)

OPS = Actor(user="ops", address=COMMAND)
BAD = number("1", "NO_BOT"), number("2", "NO_BOT"), number("3")
HOUR = 60 * MINUTE


async def silence(database: Database, **asked: object) -> SilenceRow:
    """Set a silence, of an hour unless it says otherwise."""
    new = NewSilence(**({"for_": "1h", "reason": "known"} | asked))  # type: ignore[arg-type]  # as a test gives it
    return (await set_silence(database, Codec(), new, OPS, NOW, logged=True)).silence


async def seen_by(database: Database, identity: str) -> tuple[Silence, ...]:
    """Return the silences that a step of a connection goes by."""
    async with database.write() as tx:
        await look_again(tx, NOW)
        await tx.execute(update(connections).values(lease_until=None))
    claim = (await claim_all(database))[identity]
    return (await Ledger(database, Codec()).load(claim)).silences


async def test_step_goes_by_the_silences_of_its_connection(database: Database) -> None:
    """By its name, also before its first sync; those of others and those that have ended are no concern."""
    await begin(database, "a", "b")
    mine = await silence(database, connection="* a", state="NO_BOT", by="asha")
    await silence(database, connection="* b")
    over = await silence(database, number="+1*")
    assert [each.id for each in await seen_by(database, "a")] == [mine.id, over.id]
    await stop_silence(database, over.id, OPS, NOW, logged=True)
    [found] = await seen_by(database, "a")
    assert found == Silence(
        id=mine.id, connection="* a", state="NO_BOT", until=NOW + HOUR, reason="known", by="asha"
    )


async def test_silence_wakes_the_policy_of_what_it_is_about(database: Database) -> None:
    """When it is set, and when it is ended; a connection that was never synced has nothing to look at."""
    await begin(database, "a", "b")
    await Story(database).sync(*BAD)

    async def woken() -> set[str]:
        async with database.write() as tx:
            rows = await tx.execute(select(connections.c.identity).where(connections.c.wakes_at <= NOW))
            found = set(rows.scalars())
            await tx.execute(update(connections).values(wakes_at=None))
        return found

    await woken()
    of_b = await silence(database, connection="* b")
    assert await woken() == set()
    by_name = await silence(database, connection="*")
    assert await woken() == {"a"}
    certain = await silence(database, connection="* a", until_ready=True, for_=None)
    assert await woken() == {"a"}
    for each, expected in ((of_b, set()), (by_name, {"a"}), (certain, {"a"})):
        await stop_silence(database, each.id, OPS, NOW, logged=True)
        assert await woken() == expected


async def test_silence_of_an_alert_has_its_members(database: Database) -> None:
    """And no number of them once its connection is not watched any more."""
    await begin(database, "a")
    story = Story(database)
    await story.sync(*BAD)
    set_ = await silence(database, alert=(await story.stored()).id)
    [found] = await seen_by(database, "a")
    assert (found.id, found.keys) == (set_.id, frozenset({"1", "2"}))
    async with database.write() as tx:
        await stop_watching(tx, ["a"], NOW)
        assert (await tx.execute(select(silenced))).all() == []
        assert (await active_silences(tx)).of(named("a")) == ()


async def test_silence_names_an_alert_as_other_requests_do(database: Database) -> None:
    """By the beginning of its id, as `ack` and `explain` take it; the silence has the whole id."""
    await begin(database, "a")
    story = Story(database)
    await story.sync(*BAD)
    alert_id = (await story.stored()).id
    assert (await silence(database, alert=alert_id[:8].upper())).alert == alert_id


async def test_silence_of_a_part_is_about_the_whole(database: Database) -> None:
    """The members of all parts, in all connections, and the widespread alert's id."""
    fleet = Fleet(database)
    await fleet.sync(*[f"c{place}" for place in range(10)])
    async with database.read() as tx:
        rows = list(await tx.execute(select(alerts).order_by(alerts.c.id)))
    [whole] = [row for row in rows if row.widespread]
    part = next(row for row in rows if row.part_of == whole.id)
    set_ = await silence(database, alert=part.id)
    assert set_.alert == whole.id
    async with database.read() as tx:
        held = {row.identity for row in await tx.execute(select(silenced))}
    assert held == {row.scope for row in rows if row.part_of == whole.id}
    assert (await silence(database, alert=whole.id, connection="name of c1*")).alert == whole.id
    with pytest.raises(UnknownName):
        await silence(database, alert="nothing")


async def test_silence_that_waits_ends_with_its_last_number(database: Database) -> None:
    """Each number leaves by itself; nobody has to end it."""
    await begin(database, "a")
    await Story(database).sync(*BAD)
    set_ = await silence(database, number="+*", until_ready=True, for_=None)
    async with database.write() as tx:
        await leave(tx, "a", [(set_.id, "1")])
        assert not (await tx.execute(select(silenced).where(silenced.c.key == "1"))).all()
        assert (await take_begun_and_ended(tx, NOW))[1] == []
        await leave(tx, "other", [(set_.id, "2")])
        await leave(tx, "a", [(set_.id, "2")])
        [ended] = (await take_begun_and_ended(tx, NOW + SECOND))[1]
    assert (ended.id, ended.ended_at, ended.ended_by) == (set_.id, NOW + SECOND, None)
    with pytest.raises(Invalid):
        await silence(database, number="+7*", until_ready=True, for_=None)


async def test_beginning_and_end_are_taken_once_by_whoever_is_first(database: Database, url: str) -> None:
    """Two replicas look at the same time; each event is logged by one of them."""
    for place in range(3):
        await silence(database, number=f"+{place}*")
    async with Database(url) as other:
        for now, place in ((NOW, 0), (NOW + HOUR, 1)):
            take = partial(take_begun_and_ended, now=now)
            async with database.read() as tx:
                assert await any_to_log(tx, now)
            taken = await asyncio.gather(*(each.transact(take) for each in (database, other)))
            assert sorted(len(each[place]) for each in taken) in ([0, 3], [1, 2])
            async with database.read() as tx:
                assert not await any_to_log(tx, now)
    async with database.read() as tx:
        rows = (await silence_rows(tx, Codec(), NOW + HOUR, ended=True)).rows
    assert {row.ended_at for row in rows} == {NOW + HOUR}


async def test_rename_makes_the_policy_run(database: Database) -> None:
    """What was silenced by the old name must not wait for the next change to alert."""
    await begin(database, "a")
    await Story(database).sync(*BAD)
    async with database.write() as tx:
        await begin_watching(tx, [watch("a", NOW + HOUR)], NOW)
        assert await tx.scalar(select(connections.c.wakes_at)) is None
        await begin_watching(tx, [watch("a", NOW + HOUR, name="renamed")], NOW)
        assert await tx.scalar(select(connections.c.wakes_at)) == NOW


async def test_nothing_is_left_of_a_silence_that_the_store_does_not_take(database: Database) -> None:
    """The silence, its numbers and the record of the request come together or not at all."""
    await begin(database, "a")
    story = Story(database)
    await story.sync(*BAD)
    alert_id = (await story.stored()).id
    await silence(database, alert=alert_id)
    with pytest.raises(StoreUnavailable):  # the same request at the same instant has the same id
        await silence(database, alert=alert_id)
    async with database.read() as tx:
        assert len((await silence_rows(tx, Codec(), NOW)).rows) == 1
        assert len((await tx.execute(select(silenced))).all()) == 2


async def test_silence_set_during_a_sync_makes_the_policy_run_once_more(database: Database) -> None:
    """The sync had read none; what it opens is looked at again at once, with the silence."""
    await begin(database, "a")
    ledger = Ledger(database, Codec())
    claim = (await claim_all(database))["a"]
    stored = await ledger.load(claim)
    async with database.write() as tx:
        await tx.execute(insert(snapshots).values(identity="a", records=Codec().pack_records(Records())))
    set_ = await silence(database, connection="*")
    done = stepped(stored.records, claim, *BAD)
    await ledger.keep(work(claim, done))
    claim = (await claim_all(database))["a"]
    assert (claim.policy_due, claim.sync_due) == (True, False)
    assert [each.id for each in (await ledger.load(claim)).silences] == [set_.id]


async def test_step_asks_for_silences_only_where_there_are_any(database: Database) -> None:
    """Without one, the question costs no statement of its own."""
    await begin(database, "a")
    await Story(database).sync(*BAD)
    loaded = []
    for _ in range(2):
        async with database.write() as tx:
            await look_again(tx, NOW)
        claim = (await claim_all(database))["a"]
        with recorded_everywhere() as statements:
            await Ledger(database, Codec()).load(claim)
        loaded.append(len([each for each in statements if "LEFT OUTER JOIN silenced" in each]))
        await silence(database, connection="*", reason=f"{len(loaded)}")
        async with database.write() as tx:
            await tx.execute(update(connections).values(lease_until=None))
    assert loaded == [0, 1]
