"""A receiver that answered 410 Gone, in both databases: nothing is tried, and nothing is lost."""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from monitor.drift.alert import Notice
from monitor.errors import DeliveryError, Refusal
from monitor.notify.alertmanager.level import PostTarget
from monitor.notify.delivery import Delivery, Failed, Result
from monitor.notify.http import refusal_of
from monitor.notify.retry import after_failure
from monitor.store.codec import Codec
from monitor.store.level import StoredLevel
from monitor.store.outbox import ReceiverRow, StoredOutbox, backlogs, receiver_rows, try_again
from monitor.store.queries import delivery_rows
from monitor.store.reach import not_tried
from monitor.store.requests import retry_now
from tests.fakes.post import Post
from tests.fakes.stored import MINUTE, NOW, tell
from tests.integration.store.test_reach import reached

GONE = DeliveryError(Refusal.GONE, "410 Gone", answered=True)
BUSY = DeliveryError(Refusal.RETRY, "503 Busy", answered=True)


async def fail(post: Post, delivery: Delivery, error: DeliveryError) -> Result:
    """Let a try end so."""
    result = after_failure(delivery, error, now=post.story.at, rng=random.Random(1))
    await post.outbox.settle([result])
    return result


async def health(post: Post, name: str = "hook") -> ReceiverRow:
    """Return how a receiver does."""
    async with post.database.read() as tx:
        return {row.name: row for row in await receiver_rows(tx)}[name]


async def ask_in_person(post: Post) -> None:
    """Run `deliveries --retry-now`."""
    async with post.database.write() as tx:
        await retry_now(tx, "hook", post.story.at)


async def reload_config(post: Post) -> None:
    """Put the same config in place, as a reload or a start does."""
    await post.configure(*tell("hook", "chat"), ask_again=True)


async def correct_its_url(post: Post) -> None:
    """Change the file that holds its URL."""
    async with post.database.write() as tx:
        await try_again(tx, ["hook"])


AGAIN: dict[str, Callable[[Post], Awaitable[None]]] = {
    "retry-now": ask_in_person,
    "reload": reload_config,
    "file": correct_its_url,
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
async def test_receiver_that_is_gone_is_left_alone_until_asked_for(
    post: Post, again: Callable[[Post], Awaitable[None]]
) -> None:
    """However long, whichever replica looks, whatever is new; then all of it comes, in order."""
    await post.configure(*tell("hook", "chat"))
    await post.break_one()
    [delivery] = await post.lease()
    await fail(post, delivery, GONE)
    gone_at = post.story.at
    another_replica = StoredOutbox(post.database, post.clock, holder="other")
    await post.break_one()
    await post.configure(*tell("hook", "chat"))  # as discovery does, or another replica that comes or goes
    post.story.at += timedelta(days=3)
    assert await post.lease() == []
    for outbox in (post.outbox, another_replica):
        assert await outbox.next_due_at("hook") is None
        assert (await outbox.lease_due("hook", limit=10, lease_s=30)).deliveries == []
    assert len((await another_replica.lease_due("chat", limit=10, lease_s=30)).deliveries) == 1
    row = await health(post)
    assert (row.gone_since, row.refused, row.troubled_since) == (gone_at, True, gone_at)
    async with post.database.read() as tx:
        assert [(each.receiver, each.pending, each.dead) for each in await backlogs(tx)] == [
            ("chat", 2, 0),
            ("hook", 2, 0),
        ]
        waiting = (await delivery_rows(tx, receiver="hook")).rows
    assert {(each.status, each.gone_since) for each in waiting} == {("pending", gone_at)}

    await again(post)
    assert (await health(post)).gone_since is None
    assert (await health(post)).refused, "its alert stays open until it accepts a message"
    [delivery] = await post.lease()
    again_refused = await fail(post, delivery, BUSY)
    assert isinstance(again_refused, Failed), "it has not been failing all the time that nothing was tried"
    post.story.at += 5 * MINUTE
    assert await post.take() == [Notice.OPENED, Notice.UPDATED]
    assert (await health(post)).troubled_since is None


async def test_message_to_a_receiver_that_is_gone_is_never_given_up(post: Post) -> None:
    """Nor is one that newer ones wait behind, though it is refused again days later."""
    await post.break_one()
    for _ in range(3):
        for delivery in await post.lease():
            await fail(post, delivery, GONE)
        await post.break_one()
        post.story.at += timedelta(days=2)
        await ask_in_person(post)
    assert set(await post.statuses()) == {"pending"}
    assert (await post.take())[0] is Notice.OPENED
    assert set(await post.statuses()) == {"delivered"}


@pytest.mark.parametrize("accepted", [True, False])
async def test_what_is_under_way_when_a_receiver_turns_out_to_be_gone(post: Post, *, accepted: bool) -> None:
    """A message that it accepts brings it back; one that fails otherwise does not."""
    await post.configure(*tell("hook", "chat"))
    await post.break_one()
    [first] = await post.lease()
    await fail(post, first, GONE)
    later = Delivery(
        id="of another alert",
        receiver="hook",
        alert_id="b",
        change=Notice.OPENED,
        body=first.body,
        attempts=0,
        created_at=NOW,
        first_failed_at=None,
        superseded=False,
    )
    if accepted:
        await post.accept([later])
    else:
        await fail(post, first, BUSY)
    row = await health(post)
    assert (row.gone_since is None, row.refused) == (accepted, not accepted)


async def test_alert_says_why_a_receiver_that_is_gone_was_not_told(post: Post) -> None:
    """With what to do about it."""
    await post.configure(*tell("hook"))
    await post.break_one()
    [delivery] = await post.lease()
    await fail(post, delivery, GONE)
    assert (await reached(post, *tell("hook")))["hook"].reason == (
        f"1 try, the last answer was: 410 Gone; {not_tried('hook', post.story.at)}"
    )
    assert not_tried("hook", NOW).endswith(
        "is not tried before a reload or voicelink-monitor deliveries --retry-now hook"
    )


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_receiver_that_rejects_the_monitor_fails_at_once(post: Post, status: int) -> None:
    """A receiver of messages and an Alertmanager; with whatever else, it has some time."""
    await post.configure(*tell("hook", "am"))
    await post.break_one()
    [delivery] = await post.lease()
    error = DeliveryError(refusal_of(status) or Refusal.RETRY, f"{status}", answered=True)
    await fail(post, delivery, error)
    level = StoredLevel(post.database, Codec(), post.clock, holder="first")
    target = PostTarget(receiver="am", url="http://am:9093")
    assert await level.hold(target, lease_s=30)
    await level.failed(target, error, post.story.at)
    for name in ("hook", "am"):
        row = await health(post, name)
        assert (row.refused, row.refused_in_row, row.troubled_since) == (True, 1, post.story.at)
    assert (await health(post, "am")).gone_since is None, "each post replaces the last: they go on"
