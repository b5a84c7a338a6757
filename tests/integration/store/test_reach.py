"""What each receiver knows of an alert, in both databases."""

import pytest
from sqlalchemy import insert, select

from monitor.drift.alert import Severity, decode_body
from monitor.errors import DeliveryError, Refusal
from monitor.notify.alertmanager.level import LabelMoves, LabelSet, PostTarget
from monitor.notify.delivery import Failed
from monitor.notify.routing import Route
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.level import StoredLevel
from monitor.store.reach import Reached, ReachStatus, reach
from monitor.store.receivers import know_receivers
from monitor.store.requests import dismiss
from monitor.store.tables import episodes, posters
from tests.fakes.clock import FakeClock
from tests.fakes.fleet import Fleet
from tests.fakes.post import Post
from tests.fakes.stored import MINUTE, NOW, tell

ROUTES = (
    *tell("hook"),
    Route(receiver="pd", min_severity=Severity.CRITICAL),
    Route(receiver="other", connections=("other-*", "b")),
)


async def reached(post: Post, *routes: Route) -> dict[str, Reached]:
    """Return what each receiver knows of the one alert."""
    body = decode_body((await post.story.stored()).body)
    async with post.database.read() as tx:
        return {each.receiver: each for each in await reach(tx, body, routes or ROUTES)}


def said(found: dict[str, Reached]) -> dict[str, tuple[str, str | None]]:
    """Return status and reason."""
    return {name: (each.status.value, each.reason) for name, each in found.items()}


async def test_receiver_is_told_or_says_what_keeps_it_from_it(post: Post) -> None:
    """Each of the config is there, with the filter that is in the way by its name in the config."""
    await post.configure(*ROUTES)
    await post.break_one()
    assert said(await reached(post)) == {
        "hook": ("pending", "its message is queued"),
        "pd": ("filtered", "severity warning is below its min_severity critical"),
        "other": ("filtered", "none of its connections globs matches (other-*, b)"),
    }
    await post.take()
    hook = (await reached(post))["hook"]
    assert (hook.status, hook.reason, hook.told_at, hook.ended_at) == (ReachStatus.TOLD, None, NOW, None)
    await post.mend_all()
    await post.take()
    assert (await reached(post))["hook"].ended_at == NOW


async def test_receiver_that_fails_says_how(post: Post) -> None:
    """How often it was tried, and what it answered; once it rejected a message, that; then who closed it."""
    await post.break_one()
    [delivery] = await post.lease()
    failed = Failed(delivery=delivery, at=NOW, next_try_at=NOW, refusal=Refusal.RETRY, error="503 Busy")
    await post.outbox.settle([failed])
    assert said(await reached(post))["hook"] == ("pending", "1 try, the last answer was: 503 Busy")
    await post.refuse()
    assert said(await reached(post))["hook"] == ("dead", "it rejected the message: 400")
    async with post.database.write() as tx:
        await dismiss(tx, None, post.story.at)
    assert said(await reached(post))["hook"] == (
        "untold",
        "its message was closed; the last answer was: 400",
    )


async def test_receiver_that_knows_of_the_alert_may_still_have_to_hear_more(post: Post) -> None:
    """Since when it knows is said beside what waits."""
    await post.break_one()
    await post.take()
    await post.mend_all()
    hook = (await reached(post))["hook"]
    assert (hook.status, hook.told_at, hook.ended_at) == (ReachStatus.PENDING, NOW, None)


async def test_receiver_that_wants_no_ends_says_so(post: Post) -> None:
    """Or someone would wonder why the channel never heard of the recovery."""
    quiet = Route(receiver="hook", send_resolved=False)
    await post.configure(quiet)
    await post.break_one()
    await post.take()
    await post.mend_all()
    assert said(await reached(post, quiet))["hook"] == (
        "told",
        "it is told nothing of the end: send_resolved is off",
    )


async def test_receiver_that_came_or_went_says_so(post: Post) -> None:
    """One that was told and has left the config since is listed too; one that came later knows nothing."""
    await post.break_one()
    await post.take()
    await post.mend_all()
    await post.take()
    found = await reached(post, Route(receiver="new"))
    assert said(found) == {
        "new": ("untold", "the alert ended before it accepted a message"),
        "hook": ("told", None),
    }


async def alertmanager(
    database: Database, *urls: str
) -> tuple[StoredLevel, list[PostTarget], list[LabelSet]]:
    """Return an Alertmanager with these URLs, and what is to be posted of the one episode."""
    level = StoredLevel(database, Codec(), FakeClock(NOW), holder="me")
    targets = [PostTarget(receiver="am", url=url) for url in urls]
    async with database.write() as tx:
        await know_receivers(tx, ["hook", "am"], NOW)
        rows = [{"receiver": "am", "url": url, "holder": "me"} for url in urls]
        await tx.execute(insert(posters), rows)
        ids = list((await tx.execute(select(episodes.c.id))).scalars())
    sets = [LabelSet(member_id=each, labels={"alertname": "A"}, changed_at=NOW) for each in ids]
    return level, targets, sets


async def test_alertmanager_says_what_each_url_has_accepted(post: Post) -> None:
    """Nothing is posted yet; one URL has accepted it, the other is away; then both have."""
    routes = (*tell("hook"), Route(receiver="am"))
    await post.break_one()
    level, [first, second], sets = await alertmanager(post.database, "http://am-1:9093", "http://am-2:9093")
    assert said(await reached(post, *routes))["am"] == ("pending", "it is to be posted")
    for target in (first, second):
        await level.write(target, LabelMoves(begun=sets))
    await level.accepted(first, read_at=NOW, at=NOW + MINUTE)
    await level.failed(second, DeliveryError(Refusal.RETRY, "no answer"), NOW)
    am = (await reached(post, *routes))["am"]
    assert (am.status, am.reason, am.told_at) == (
        ReachStatus.PENDING,
        "http://am-2:9093 has not accepted it yet: no answer",
        NOW + MINUTE,
    )
    assert [(each.url, each.posted, each.accepted, each.accepted_at, each.error) for each in am.urls] == [
        (first.url, 1, 1, NOW + MINUTE, None),
        (second.url, 1, 0, None, "no answer"),
    ]
    await level.accepted(second, read_at=NOW, at=NOW + 2 * MINUTE)
    am = (await reached(post, *routes))["am"]
    assert (am.status, am.reason, am.told_at) == (ReachStatus.TOLD, None, NOW + MINUTE)


@pytest.mark.parametrize(
    ("route", "over", "status", "reason"),
    [
        (
            Route(receiver="am", min_severity=Severity.CRITICAL),
            False,
            "filtered",
            "severity warning is below its min_severity critical",
        ),
        (
            Route(receiver="am"),
            True,
            "untold",
            "it has ended; what was posted is known for 15 minutes longer",
        ),
    ],
    ids=["filtered", "over"],
)
async def test_alertmanager_that_was_posted_nothing_says_why(
    post: Post, route: Route, status: str, reason: str, *, over: bool
) -> None:
    """As any receiver does."""
    await post.break_one()
    await alertmanager(post.database, "http://am:9093")
    if over:
        await post.mend_all()
    assert said(await reached(post, route))["am"] == (status, reason)


async def test_part_of_a_widespread_alert_is_told_through_that_one(database: Database) -> None:
    """It sends nothing itself; its own filters still say whether it counts."""
    fleet = Fleet(database)
    await fleet.sync("c0", "c1", "c2", "c3", "c4")
    rows = await fleet.rows()
    part = next(decode_body(row.body) for row in rows if row.part_of)
    whole = next(decode_body(row.body) for row in rows if row.widespread)
    async with database.read() as tx:
        for body in (part, whole):
            found = {each.receiver: each for each in await reach(tx, body, fleet.routes)}
            assert (found["hook"].status, found["hook"].told_at) == (ReachStatus.TOLD, fleet.at)
