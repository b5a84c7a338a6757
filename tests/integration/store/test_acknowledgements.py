"""What an acknowledgement does to an alert and to its receivers, in both databases."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text, update

from monitor.drift.alert import Acknowledgement, AlertBody, Notice, Severity, decode_body
from monitor.drift.text import instant
from monitor.errors import Refusal, Refused, UnknownName
from monitor.notify.delivery import Failed
from monitor.notify.routing import Route
from monitor.store.database import Database
from monitor.store.outbox import remind
from monitor.store.requests import MAX_BY, MAX_NOTE, Acknowledged, acknowledge
from monitor.store.tables import alerts
from tests.fakes.fleet import BAD, GOOD, WORSE, Fleet
from tests.fakes.post import Post
from tests.fakes.stored import MINUTE, NOW, tell
from tests.servers.process import wait_until

OPENED, UPDATED, ACKNOWLEDGED, RESOLVED = (
    Notice.OPENED,
    Notice.UPDATED,
    Notice.ACKNOWLEDGED,
    Notice.RESOLVED,
)


async def the_alert(post: Post) -> Any:
    """Return the row of the one alert."""
    return await post.story.stored()


async def take_on(post: Post, alert: str | None = None, note: str | None = "on it") -> Acknowledged:
    """Acknowledge the one alert as asha."""
    alert_id = (await the_alert(post)).id if alert is None else alert
    async with post.database.write() as tx:
        return await acknowledge(tx, alert_id, by="asha", note=note, now=post.story.at)


async def body_of(post: Post) -> AlertBody:
    """Return the one alert as pages and API show it."""
    return decode_body((await the_alert(post)).body)


async def test_receiver_that_knows_of_the_alert_is_told_once(post: Post) -> None:
    """A second acknowledgement says whose stands, and tells no one."""
    await post.break_one()
    assert await post.take() == [OPENED]
    first = await take_on(post)
    assert (first.already, first.told) == (False, ("hook",))
    [delivery] = await post.lease()
    body = decode_body(delivery.body)
    assert (delivery.change, body.change, body.status) == (ACKNOWLEDGED, ACKNOWLEDGED, "firing")
    assert body.acknowledged == Acknowledgement(by="asha", at=instant(post.story.at), note="on it")
    assert (body.changes, body.numbers_added, body.numbers_total) == ([], 0, 1)

    async with post.database.write() as tx:
        again = await acknowledge(tx, first.alert_id, by="ben", note="me too", now=post.story.at + MINUTE)
    assert (again.already, again.told, again.acknowledged) == (True, (), first.acknowledged)
    assert (await body_of(post)).acknowledged == first.acknowledged
    assert await post.statuses() == ["delivered", "pending"]


async def test_what_waits_is_told_before_it(post: Post) -> None:
    """One that has not had the first message yet gets both, in this order."""
    await post.break_one()
    await take_on(post)
    assert await post.take() == [OPENED, ACKNOWLEDGED]


async def test_receiver_that_refused_everything_is_not_told(post: Post) -> None:
    """What it does not know of is not acknowledged there."""
    await post.break_one()
    await take_on(post)
    assert await post.refuse() == [OPENED]
    assert await post.take() == []
    assert await post.statuses() == ["dead", "closed"]


async def test_receiver_that_was_never_told_or_has_left_is_not_told(post: Post) -> None:
    """Neither one whose filters the alert did not pass, nor one that no replica has any more."""
    await post.configure(*tell("hook", "gone"), Route(receiver="pd", min_severity=Severity.CRITICAL))
    await post.break_one()
    await post.configure(*tell("hook"), Route(receiver="pd", min_severity=Severity.CRITICAL))
    assert await post.take() == [OPENED]
    assert (await take_on(post)).told == ("hook",)


async def test_acknowledged_alert_reminds_no_one(post: Post) -> None:
    """None is queued, and one that waited for its next try is not sent."""
    repeats = {"hook": 5 * MINUTE}
    await post.break_one()
    assert await post.take() == [OPENED]
    post.story.at += 5 * MINUTE
    async with post.database.write() as tx:
        assert await remind(tx, repeats, post.story.at) == 1
    [reminder] = await post.lease()
    failed = Failed(delivery=reminder, at=NOW, next_try_at=NOW, refusal=Refusal.RETRY, error="no answer")
    await post.outbox.settle([failed])
    await take_on(post)
    assert await post.take() == []  # the reminder goes
    assert await post.take() == [ACKNOWLEDGED]
    assert await post.statuses() == ["delivered", "closed", "delivered"]
    post.story.at += 60 * MINUTE
    async with post.database.write() as tx:
        assert await remind(tx, repeats, post.story.at) == 0


async def test_acknowledgement_outlasts_updates_and_the_end(post: Post) -> None:
    """Every later message still says who has taken it on."""
    await post.break_one()
    await take_on(post)
    await post.break_one()
    assert (await body_of(post)).acknowledged
    await post.mend_all()
    said = []
    while leased := await post.lease():
        said += [(each.change, decode_body(each.body).acknowledged is not None) for each in leased]
        await post.accept(leased)
    assert said == [(OPENED, False), (ACKNOWLEDGED, True), (UPDATED, True), (RESOLVED, True)]
    body = await body_of(post)
    assert body.acknowledged is not None
    assert body.status == "resolved"


async def begun(database: Database, *, wide: bool) -> tuple[Fleet, str]:
    """Return connections with an alert that was told, and its id: c2's, or that of c3 and c4."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", *(["c3", "c4"] if wide else []))
    told = {body.connection: body.alert_id for body in fleet.sent()}
    return fleet, told[None if wide else "name of c2"]


async def of_fleet(fleet: Fleet, alert_id: str) -> AlertBody:
    """Return an alert as pages and API show it."""
    [body] = [decode_body(row.body) for row in await fleet.rows() if row.id == alert_id]
    return body


async def told_of(fleet: Fleet, alert_id: str) -> list[AlertBody]:
    """Return what the receiver was told of an alert."""
    await fleet.deliver()
    return [body for body in fleet.sent() if body.alert_id == alert_id]


@pytest.mark.parametrize("wide", [False, True], ids=["one connection", "widespread"])
async def test_acknowledgement_ends_when_the_severity_rises(database: Database, *, wide: bool) -> None:
    """The update says so, reminders go on, and the alert can be taken on again."""
    fleet, alert_id = await begun(database, wide=wide)
    async with database.write() as tx:
        first = await acknowledge(tx, alert_id, by="asha", note=None, now=fleet.at)
    await fleet.wait(MINUTE)
    await fleet.sync("c4" if wide else "c2", found=(WORSE, GOOD))
    said = await told_of(fleet, alert_id)
    assert [body.change for body in said] == [OPENED, ACKNOWLEDGED, UPDATED]
    assert [body.acknowledged for body in said] == [None, first.acknowledged, None]
    assert [body.acknowledgement_ended for body in said] == [None, None, first.acknowledged]
    await fleet.wait(30 * MINUTE)
    body = await of_fleet(fleet, alert_id)
    assert (body.severity, body.acknowledged) == (Severity.CRITICAL, None)
    async with database.write() as tx:
        assert await remind(tx, {"hook": 30 * MINUTE}, fleet.at)
    await fleet.deliver()
    async with database.write() as tx:
        again = await acknowledge(tx, alert_id, by="ben", note=None, now=fleet.at)
    assert not again.already
    [*_, reminder, last] = await told_of(fleet, alert_id)
    assert (reminder.change, reminder.acknowledgement_ended) == (Notice.REMINDER, None)
    assert (last.change, last.acknowledged) == (ACKNOWLEDGED, again.acknowledged)


@pytest.mark.parametrize("wide", [False, True], ids=["one connection", "widespread"])
async def test_acknowledgement_stands_while_the_severity_does(database: Database, *, wide: bool) -> None:
    """More of the same is told, and says who has taken it on."""
    fleet, alert_id = await begun(database, wide=wide)
    async with database.write() as tx:
        first = await acknowledge(tx, alert_id, by="asha", note=None, now=fleet.at)
    await fleet.sync("c4" if wide else "c2", found=(BAD, BAD))
    await fleet.wait(6 * MINUTE)
    await fleet.sync("c4" if wide else "c2", found=(BAD, BAD))
    [*_, last] = await told_of(fleet, alert_id)
    assert (last.change, last.acknowledged, last.acknowledgement_ended) == (UPDATED, first.acknowledged, None)
    assert (await of_fleet(fleet, alert_id)).acknowledged == first.acknowledged


async def test_acknowledging_a_part_takes_on_the_whole(database: Database) -> None:
    """The part sends nothing itself, so it is the widespread alert that is acknowledged."""
    fleet, whole = await begun(database, wide=True)
    [part, *_] = [row.id for row in await fleet.rows() if row.part_of == whole]
    async with database.write() as tx:
        done = await acknowledge(tx, part, by="asha", note=None, now=fleet.at)
    assert done.alert_id == whole
    assert (await of_fleet(fleet, whole)).acknowledged == done.acknowledged
    assert [body.change for body in await told_of(fleet, whole)] == [OPENED, ACKNOWLEDGED]
    assert await told_of(fleet, part) == []


@pytest.mark.parametrize("again", ["id", "beginning", "capitals"])
async def test_alert_is_meant_by_its_id_or_the_beginning_of_it(post: Post, again: str) -> None:
    """Enough of it to tell it from all others."""
    await post.break_one()
    alert_id = (await the_alert(post)).id
    meant = {"id": alert_id, "beginning": alert_id[:5], "capitals": f" {alert_id[:8].upper()}"}[again]
    assert (await take_on(post, meant)).alert_id == alert_id


async def test_alert_that_is_not_called_so_or_has_ended_is_refused(post: Post) -> None:
    """Nothing is taken on, and the reason says what was wrong."""
    await post.break_one()
    alert_id = (await the_alert(post)).id
    for unknown in ("", "%", "_" * 24, "zz", f"{alert_id}0"):
        with pytest.raises(UnknownName, match="no alert has this id"):
            await take_on(post, unknown)
    await post.mend_all()
    with pytest.raises(Refused, match=f"{alert_id} has ended"):
        await take_on(post)
    assert (await body_of(post)).acknowledged is None


async def test_beginning_that_several_alerts_share_means_the_only_one_that_fires(database: Database) -> None:
    """Where several do, the user is asked for more."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1")
    first, second = [row.id for row in await fleet.rows()]
    async with database.write() as tx:
        for alert_id in (first, second):
            renamed = update(alerts).where(alerts.c.id == alert_id)
            await tx.execute(renamed.values(id=f"5f0c{alert_id[4:]}"))
        with pytest.raises(UnknownName, match="several alerts have an id that begins with 5f0c"):
            await acknowledge(tx, "5f0c", by=None, note=None, now=fleet.at)
        await tx.execute(update(alerts).where(alerts.c.id == f"5f0c{first[4:]}").values(status="resolved"))
        done = await acknowledge(tx, "5f0c", by=None, note=None, now=fleet.at)
    assert (done.alert_id, done.acknowledged.by) == (f"5f0c{second[4:]}", None)


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        (None, None),
        ("", None),
        (" \n\t ", None),
        ("two\nlines \x1b[31m and \u202e more", "two lines [31m and more"),
        ("\udcff\x00broken", "broken"),
        ("x" * 2000, "x" * MAX_NOTE),
        ("naïve 📞", "naïve 📞"),
    ],
)
async def test_note_is_kept_on_one_line_of_bounded_length(
    post: Post, note: str | None, kept: str | None
) -> None:
    """Whatever a user sends, it can be stored and shown; the same goes for the name."""
    await post.break_one()
    alert_id = (await the_alert(post)).id
    async with post.database.write() as tx:
        done = await acknowledge(tx, alert_id, by=note, note=note, now=post.story.at)
    assert done.acknowledged.note == kept
    assert done.acknowledged.by == (kept[:MAX_BY] if kept else None)
    assert (await body_of(post)).acknowledged == done.acknowledged


async def test_acknowledgement_outlasts_a_sync_that_is_committed_meanwhile(post: Post, url: str) -> None:
    """A sync that looked at the alert before it was acknowledged must not write it back as it was."""
    await post.break_one()
    alert_id = (await the_alert(post)).id

    async def blocked() -> bool:
        async with post.database.read() as tx:
            return bool(await tx.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    async with Database(url) as other:
        async with other.write() as tx:
            await acknowledge(tx, alert_id, by="asha", note=None, now=post.story.at)
            syncing = asyncio.create_task(post.break_one())
            if not other.is_sqlite:  # which has one writer at a time
                await wait_until(blocked, what="the sync to wait for the acknowledgement")
        await syncing
    assert (await body_of(post)).numbers_total == 2
    assert (await body_of(post)).acknowledged is not None
