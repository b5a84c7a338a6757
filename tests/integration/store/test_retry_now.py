"""What `--retry-now` does to what waits for a receiver, in both databases."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from monitor.drift.alert import Notice
from monitor.errors import Refusal, UnknownName
from monitor.notify.alertmanager.level import PostTarget
from monitor.notify.delivery import Dead, Delivery, Failed
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.level import StoredLevel
from monitor.store.receivers import know_receivers
from monitor.store.requests import retry_now
from monitor.store.tables import deliveries, posters
from tests.fakes.clock import FakeClock
from tests.fakes.post import Post
from tests.fakes.stored import MINUTE, NOW, tell

URL = "http://am:9093"


async def due(database: Database, receiver: str) -> list[tuple[str, datetime]]:
    """Return the status of what was queued for a receiver, and when it may be tried."""
    async with database.read() as tx:
        asked = select(deliveries).where(deliveries.c.receiver == receiver).order_by(deliveries.c.seq)
        return [(row.status, row.due_at) for row in await tx.execute(asked)]


def refused(delivery: Delivery, at: datetime) -> Failed:
    """Return a refusal that says that the receiver needs fixing: it is left alone for five minutes."""
    return Failed(
        delivery=delivery,
        at=at,
        next_try_at=at + 5 * MINUTE,
        refusal=Refusal.FAILING,
        error="410 Gone",
        answered=True,
    )


async def ask(database: Database, receiver: str, at: datetime) -> Any:
    """Ask for a receiver to be tried."""
    async with database.write() as tx:
        return await retry_now(tx, receiver, at)


async def test_message_that_waits_for_its_next_try_is_due_at_once(post: Post) -> None:
    """Also after a refusal for which the receiver is left alone for minutes; others go on waiting."""
    await post.configure(*tell("hook", "chat"))
    await post.break_one()
    for receiver in ("hook", "chat"):
        [delivery] = (await post.outbox.lease_due(receiver, limit=10, lease_s=30)).deliveries
        await post.outbox.settle([refused(delivery, post.story.at)])
    done = await ask(post.database, "hook", post.story.at)
    assert (done.receiver, done.waiting, done.urls) == ("hook", 1, ())
    assert await due(post.database, "hook") == [("pending", post.story.at)]
    assert await due(post.database, "chat") == [("pending", post.story.at + 5 * MINUTE)]
    assert await post.take() == [Notice.OPENED]


async def test_dead_message_is_sent_again_unless_it_would_contradict_a_newer_one(post: Post) -> None:
    """By the rules of `--retry`; one that a newer message has overtaken stays dead."""
    await post.break_one()
    assert await post.refuse() == [Notice.OPENED]
    await post.break_one()
    assert (await ask(post.database, "hook", post.story.at)).waiting == 1
    assert await post.statuses() == ["dead", "pending"]
    leased = await post.lease()
    await post.outbox.settle([Dead(delivery=each, at=NOW, error="400") for each in leased])
    assert (await ask(post.database, "hook", post.story.at)).waiting == 1
    assert await post.take() == [Notice.OPENED]


async def test_message_that_is_under_way_is_not_sent_twice(post: Post) -> None:
    """Its lease stands; what comes of it is settled as ever."""
    await post.break_one()
    [delivery] = await post.lease()
    assert (await ask(post.database, "hook", post.story.at)).waiting == 1
    assert await post.lease() == []
    await post.accept([delivery])
    assert await post.statuses() == ["delivered"]


@pytest.mark.parametrize(("name", "hint"), [("hok", "did you mean hook"), ("zzzz", "known: am, hook")])
async def test_unknown_receiver_is_named_with_those_there_are(
    database: Database, name: str, hint: str
) -> None:
    """Nothing is tried."""
    async with database.write() as tx:
        await know_receivers(tx, ["hook", "am"], NOW)
    with pytest.raises(UnknownName, match=f"no receiver is called {name}; {hint}"):
        await ask(database, name, NOW)


async def test_alertmanager_is_asked_by_its_poster(database: Database) -> None:
    """Each URL of the receiver, wherever its poster runs; no other's."""
    level = StoredLevel(database, Codec(), FakeClock(NOW), holder="first")
    targets = [PostTarget(receiver=name, url=URL) for name in ("am", "other")]
    async with database.write() as tx:
        await know_receivers(tx, ["am", "other"], NOW)
        rows = [{"receiver": each.receiver, "url": each.url, "holder": "first"} for each in targets]
        await tx.execute(insert(posters), rows)
    assert [await level.asked_at(each) for each in targets] == [None, None]
    done = await ask(database, "am", NOW + timedelta(seconds=1))
    assert (done.waiting, done.urls) == (0, (URL,))
    assert [await level.asked_at(each) for each in targets] == [NOW + timedelta(seconds=1), None]
