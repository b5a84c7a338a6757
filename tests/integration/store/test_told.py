"""Who is told what of an alert: by what each receiver has accepted, in both databases."""

import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from monitor.drift.alert import Notice, decode_body
from monitor.errors import Refusal
from monitor.notify.delivery import Dead, Delivery, Failed, Result, Sent
from monitor.notify.routing import Route
from monitor.store.alerts import firing
from monitor.store.outbox import remind
from monitor.store.requests import acknowledge, retry
from monitor.store.tables import alerts
from tests.fakes.post import READY, Post
from tests.fakes.stored import MINUTE, NOW, number, tell

OPENED, UPDATED, RESOLVED = Notice.OPENED, Notice.UPDATED, Notice.RESOLVED
QUIET = (Route(receiver="hook", send_resolved=False),)


async def test_receiver_that_refused_the_first_message_hears_of_the_alert_with_the_next(post: Post) -> None:
    """The next one says `opened`, and it gets the end; the refused one is then of no interest any more."""
    await post.break_one()
    assert await post.refuse() == [OPENED]
    await post.break_one()
    assert await post.statuses() == ["dead", "pending"]
    assert await post.take() == [OPENED]
    assert await post.statuses() == ["closed", "delivered"]
    assert await post.known() == [("hook", False)]
    await post.mend_all()
    assert await post.take() == [RESOLVED]
    assert await post.known() == [("hook", True)]


async def test_message_that_waited_behind_a_refused_one_says_opened(post: Post) -> None:
    """What was queued as `updated` becomes the first message that the receiver gets, at every try."""
    await post.break_one()
    await post.break_one()
    assert await post.refuse() == [OPENED]
    (delivery,) = await post.lease()
    assert (delivery.change, decode_body(delivery.body).change) == (OPENED, OPENED)
    failed = Failed(delivery=delivery, at=NOW, next_try_at=NOW, refusal=Refusal.RETRY, error="no answer")
    await post.outbox.settle([failed])
    (again,) = await post.lease()
    assert (again.id, again.change, again.body) == (delivery.id, OPENED, delivery.body)
    await post.outbox.settle([Sent(delivery=again, at=NOW, answer="ok")])
    await post.mend_all()
    assert await post.take() == [RESOLVED]


async def test_end_of_what_was_never_told_is_not_sent(post: Post) -> None:
    """A `resolved` behind messages that were all refused is closed; the refused ones stay to be seen."""
    await post.break_one()
    await post.mend_all()
    assert await post.refuse() == [OPENED]
    assert await post.take() == []
    assert await post.statuses() == ["dead", "closed"]
    assert await post.outbox.next_due_at("hook") is None


async def test_end_is_not_queued_for_who_refused_everything(post: Post) -> None:
    """No lone `resolved` is on its way once nothing else is."""
    await post.break_one()
    assert await post.refuse() == [OPENED]
    await post.mend_all()
    assert await post.statuses() == ["dead"]


async def test_refused_update_is_closed_by_the_end(post: Post) -> None:
    """Once a later message of its alert was accepted, a dead one calls for nothing."""
    await post.break_one()
    assert await post.take() == [OPENED]
    await post.break_one()
    assert await post.refuse() == [UPDATED]
    await post.mend_all()
    assert await post.statuses() == ["delivered", "dead", "pending"]
    assert await post.take() == [RESOLVED]
    assert await post.statuses() == ["delivered", "closed", "delivered"]


async def test_refused_end_stays_dead(post: Post) -> None:
    """Nothing supersedes an end; the receiver still counts as not knowing of it."""
    await post.break_one()
    assert await post.take() == [OPENED]
    await post.mend_all()
    assert await post.refuse() == [RESOLVED]
    assert await post.statuses() == ["delivered", "dead"]
    assert await post.known() == [("hook", False)]


@pytest.mark.parametrize("refused", [True, False])
async def test_reminder_is_what_the_receiver_can_follow(post: Post, *, refused: bool) -> None:
    """It opens the alert for who refused everything so far, and repeats no moves for who did not."""
    await post.break_one()
    assert await (post.refuse() if refused else post.take()) == [OPENED]
    post.story.at += 5 * MINUTE
    async with post.database.write() as tx:
        assert await remind(tx, {"hook": 5 * MINUTE}, post.story.at) == 1
        assert await remind(tx, {"hook": 5 * MINUTE}, post.story.at) == 0
    (delivery,) = await post.lease()
    body = decode_body(delivery.body)
    assert delivery.change is body.change is (OPENED if refused else Notice.REMINDER)
    assert (body.numbers_total, body.numbers_added, body.changes_total, body.changes) == (1, 0, 0, [])


async def test_accepted_message_counts_though_its_receiver_was_removed_meanwhile(post: Post) -> None:
    """What was in flight when a reload closed it was told all the same, and changes no status."""
    await post.break_one()
    (delivery,) = await post.lease()
    await post.configure()
    await post.outbox.settle([Sent(delivery=delivery, at=NOW, answer="ok")])
    assert await post.known() == [("hook", False)]
    await post.configure(*tell("hook"))
    assert await post.take() == [UPDATED]
    assert await post.statuses() == ["closed", "delivered"]


async def test_settling_an_accepted_message_twice_is_once(post: Post) -> None:
    """After a commit whose answer was lost the same results come again."""
    await post.break_one()
    results: list[Result] = [Sent(delivery=each, at=NOW, answer="ok") for each in await post.lease()]
    await post.outbox.settle(results)
    await post.outbox.settle(results)
    assert await post.known() == [("hook", False)]


async def test_receiver_that_comes_back_after_the_end_is_told_of_it(post: Post) -> None:
    """An incident that it opened is not left open; once it knows, it hears nothing more."""
    await post.break_one()
    assert await post.take() == [OPENED]
    await post.configure()
    await post.mend_all()
    await post.configure(*tell("hook"))
    assert await post.take() == [RESOLVED]
    await post.configure()
    await post.configure(*tell("hook"))
    assert await post.take() == []


async def test_receiver_that_comes_back_while_the_alert_fires_gets_an_update(post: Post) -> None:
    """It knows of the alert; one that does not gets it as `opened`."""
    await post.break_one()
    assert await post.take() == [OPENED]
    await post.configure()
    await post.configure(*tell("hook"))
    assert await post.take() == [UPDATED]
    await post.configure()
    await post.configure(*tell("other"))
    (opened,) = (await post.outbox.lease_due("other", limit=10, lease_s=30)).deliveries
    assert opened.change is OPENED


async def test_receiver_that_comes_back_with_its_connection_gone_is_told_once(post: Post) -> None:
    """The same reload ends the alert and brings the receiver back: one end is enough."""
    await post.break_one()
    assert await post.take() == [OPENED]
    await post.configure()
    await post.configure(*tell("hook"), identities=())
    assert await post.take() == [RESOLVED]


@pytest.mark.parametrize(
    ("before", "after"),
    [(QUIET, tell("hook")), (tell("hook"), QUIET)],
    ids=["it wanted none when the alert ended", "it wants none now"],
)
async def test_receiver_that_comes_back_gets_no_end_that_it_did_not_want(
    post: Post, before: Any, after: Any
) -> None:
    """`send_resolved = false` holds, also for ends of long ago once it is true."""
    await post.configure(*before)
    await post.break_one()
    assert await post.take() == [OPENED]
    if before is QUIET:
        await post.mend_all()
        await post.configure()
    else:
        await post.configure()
        await post.mend_all()
    await post.configure(*after)
    assert await post.take() == []


class Walk:
    """Random steps of one receiver, and what it has accepted of each alert.

    `missed`: it refused something, or was gone for a while.
    """

    def __init__(self, post: Post, rng: random.Random) -> None:
        self.post = post
        self.rng = rng
        self.heard: defaultdict[str, list[Notice]] = defaultdict(list)
        self.missed = False
        self._in_flight: dict[str, Delivery] = {}

    async def step(self) -> None:
        """Take one of the steps."""
        self.post.story.at += timedelta(seconds=self.rng.choice((1, 61, 181)))
        steps = (self.sync, self.sync, self.lease, self.settle, self.settle, self.remind, self.go, self.come)
        await self.rng.choice((*steps, self.take_on))()

    async def sync(self) -> None:
        """Let numbers break and heal."""
        states = self.rng.choices((["NO_BOT"], ["EXPIRED"], []), k=3)
        numbers = [number(str(place), *state) for place, state in enumerate(states)]
        await self.post.story.sync(*numbers, *READY)

    async def lease(self) -> None:
        """Begin to send what is due."""
        self._in_flight |= {delivery.id: delivery for delivery in await self.post.lease()}

    async def settle(self) -> None:
        """Let all that is under way end, well or not."""
        for delivery in self._in_flight.values():
            await self.end(delivery, self.rng.choice(("accepted", "refused", "no answer")))
        self._in_flight.clear()

    async def end(self, delivery: Delivery, how: str) -> None:
        """Let one try end."""
        at = self.post.story.at
        result: Result
        match how:
            case "accepted":
                result = Sent(delivery=delivery, at=at, answer="ok")
                self.heard[delivery.alert_id].append(delivery.change)
            case "refused":
                result = Dead(delivery=delivery, at=at, error="400", answered=True)
                self.missed = True
            case _:
                result = Failed(
                    delivery=delivery, at=at, next_try_at=at, refusal=Refusal.RETRY, error="timeout"
                )
        await self.post.outbox.settle([result])

    async def remind(self) -> None:
        """Queue reminders."""
        async with self.post.database.write() as tx:
            await remind(tx, {"hook": 10 * MINUTE}, self.post.story.at)

    async def take_on(self) -> None:
        """Acknowledge all that fires."""
        async with self.post.database.write() as tx:
            for body in await firing(tx):
                await acknowledge(tx, body.alert_id, by="asha", note=None, now=self.post.story.at)

    async def go(self) -> None:
        """Leave the config."""
        self.missed = True
        await self.post.configure()

    async def come(self) -> None:
        """Be in the config, again or still; no try lasts as long as two reloads."""
        await self.settle()
        await self.post.configure(*tell("hook"))

    async def finish(self) -> None:
        """Be there when all is over, with what was refused tried again, and accept everything."""
        await self.come()
        self.post.story.at += 10 * MINUTE
        await self.post.mend_all()
        async with self.post.database.write() as tx:
            await retry(tx, None, self.post.story.at)
        while leased := await self.post.lease():
            for delivery in leased:
                await self.end(delivery, "accepted")


@pytest.mark.parametrize("seed", range(12))
async def test_receiver_hears_a_whole_story_of_each_alert(post: Post, seed: int) -> None:
    """Whatever is refused, late, or missed while it was gone: opened first and once, and its end.

    That someone has taken it on is told once at most: here no severity rises.
    """
    walk = Walk(post, random.Random(seed))
    for _ in range(40):
        await walk.step()
    await walk.finish()
    for story in walk.heard.values():
        assert (story[0], story[-1]) == (OPENED, RESOLVED)
        assert not {OPENED, RESOLVED} & set(story[1:-1])
        assert story.count(Notice.ACKNOWLEDGED) <= 1
    async with post.database.read() as tx:
        every = set((await tx.execute(select(alerts.c.id))).scalars())
    assert walk.heard.keys() <= every
    assert walk.missed or walk.heard.keys() == every
