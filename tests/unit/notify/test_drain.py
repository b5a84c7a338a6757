"""The drain: order, retries, nothing lost, nothing twice."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Notice
from monitor.errors import DeliveryError, Refusal, StoreUnavailable
from monitor.notify.delivery import Delivery, Leased, Receiver, Result
from monitor.notify.drain import LEASE_MARGIN_S, SHORTEST_WAIT_S, STORE_BACKOFF_S, Drain
from monitor.notify.turns import POLL_S
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.outbox import FakeOutbox, State
from tests.fakes.receiver import Answer, FakeReceiver, refuse_first
from tests.fakes.shortage import no_shortage

BUSY = DeliveryError(Refusal.RETRY, "503 Service Unavailable")
BARRED = DeliveryError(Refusal.FAILING, "401 Unauthorized")
REFUSED = DeliveryError(Refusal.DEAD, "422 Unprocessable Entity")


class Counts(Counter[tuple[str, str]]):
    """Counts what the drain's metrics would; `counted` is set once there is something."""

    counted: asyncio.Event

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count a try."""
        self[receiver, outcome] += 1
        self.counted.set()

    def store_error(self) -> None:
        """Count a failure of the store."""
        self["the store", "failed"] += 1


class World:
    """A drain and all that is around it."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        *,
        slots: int = 8,
        seed: int = 0,
        outbox: Callable[[FakeClock], FakeOutbox] = FakeOutbox,
    ) -> None:
        self.clock = FakeClock()
        self.outbox = outbox(self.clock)
        self.counts = Counts()
        self.counts.counted = asyncio.Event()
        self.log = FakeLog()
        self.drain = Drain(
            outbox=self.outbox,
            receivers=receivers,
            clock=self.clock,
            rng=random.Random(seed),
            metrics=self.counts,
            log=self.log.logger,
            shortage=no_shortage(),
            slots=slots,
        )

    async def deliver(self) -> None:
        """Tell the drain of what was added, and let it work."""
        self.drain.wake()
        await self.clock.settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the drain meanwhile."""
        task = asyncio.create_task(self.drain.run())
        await self.clock.settle()
        yield
        task.cancel()
        await asyncio.wait([task])


async def test_drain_delivers_what_was_committed() -> None:
    """A message is sent at once after a wake, settled, counted and logged."""
    hook = FakeReceiver("hook", lambda _: "200 OK")
    world = World([hook])
    async with world.running():
        world.outbox.add("hook", "a1")
        await world.deliver()
    assert world.outbox.states() == [State.DELIVERED]
    assert world.counts == {("hook", "delivered"): 1}
    assert world.log.lines == [
        {
            "event": "delivery.sent",
            "log_level": "info",
            "receiver": "hook",
            "alert_id": "a1",
            "delivery_id": "d1",
            "change": "opened",
            "attempts": 1,
            "answer": "200 OK",
        }
    ]


async def test_drain_asks_the_outbox_twice_for_a_message() -> None:
    """Woken, it leases at once; it settles and learns what is due next in one transaction."""
    world = World([FakeReceiver("hook")])
    async with world.running():
        world.outbox.calls = 0
        world.outbox.add("hook", "a1")
        await world.deliver()
        assert (world.outbox.states(), world.outbox.calls) == ([State.DELIVERED], 2)


async def test_drain_settles_what_ended_though_what_is_due_cannot_be_leased() -> None:
    """A message that cannot be read is no reason to send the others again."""

    class Unreadable(FakeOutbox):
        async def lease_due(self, receiver: str, *, ended: Sequence[Result] = (), **asked: Any) -> Leased:
            if ended:
                raise StoreUnavailable("a message that is due cannot be read")
            return await super().lease_due(receiver, **asked)

    world = World([FakeReceiver("hook")], outbox=Unreadable)
    async with world.running():
        world.outbox.add("hook", "a1")
        await world.deliver()
        assert world.outbox.states() == [State.PENDING]
        await world.clock.advance(STORE_BACKOFF_S[0])
    assert world.outbox.states() == [State.DELIVERED]


@pytest.mark.parametrize("by_itself", [False, True])
async def test_drain_keeps_what_ends_while_it_settles(by_itself: bool) -> None:
    """What ended meanwhile is settled next, whether or not something is leased along with that."""
    answers = asyncio.Event()

    class Slow(FakeOutbox):
        async def lease_due(self, receiver: str, *, ended: Sequence[Result] = (), **asked: Any) -> Leased:
            if ended and by_itself:
                raise StoreUnavailable("a message that is due cannot be read")
            return await super().lease_due(receiver, ended=ended, **asked)

        async def settle(self, results: Sequence[Result]) -> None:
            await super().settle(results)
            answers.set()
            for _ in range(20):
                await asyncio.sleep(0)

    world = World([FakeReceiver("hook", lambda each: answers if each.id == "d2" else "200 OK")], outbox=Slow)
    world.outbox.add("hook", "a1")
    world.outbox.add("hook", "a2")
    async with world.running():
        await world.clock.advance(1)
    assert world.outbox.states() == [State.DELIVERED, State.DELIVERED]


@pytest.mark.parametrize("ends_meanwhile", [False, True])
async def test_drain_sends_nothing_twice_whose_lease_ran_out_under_way(ends_meanwhile: bool) -> None:
    """A process that was suspended leases what it is still sending, or what ends just then, anew."""
    answers = asyncio.Event()

    class Patient(FakeOutbox):
        async def lease_due(self, receiver: str, **asked: Any) -> Leased:
            leased = await super().lease_due(receiver, **asked)
            if leased.deliveries and ends_meanwhile and hook.tried:
                answers.set()
                for _ in range(20):
                    await asyncio.sleep(0)
            return leased

    hook = FakeReceiver("hook", lambda _: answers)
    world = World([hook], outbox=Patient)
    world.outbox.add("hook", "a1")
    async with world.running():
        await world.clock.advance(hook.timeout_s + LEASE_MARGIN_S + POLL_S)
        answers.set()
        await world.clock.advance(POLL_S)
    assert hook.tried == ["d1"]
    assert world.outbox.states() == [State.DELIVERED]


async def test_drain_finds_what_others_committed() -> None:
    """Without a wake, a message is found when the outbox is looked at again."""
    hook = FakeReceiver("hook")
    world = World([hook])
    async with world.running():
        world.outbox.add("hook", "a1")
        await world.clock.advance(POLL_S)
    assert hook.taken == ["d1"]


async def test_drain_sleeps_until_something_is_due() -> None:
    """A message that failed is tried at its instant; until then, and when idle, little is asked."""
    hook = FakeReceiver("hook", refuse_first(5, BUSY))
    world = World([hook])
    world.outbox.add("hook", "a1")
    async with world.running():
        while world.outbox.states() == [State.PENDING]:
            due_in = world.outbox.rows[0].due_at - world.clock.now()
            tried, world.outbox.calls = len(hook.tried), 0
            await world.clock.advance(due_in.total_seconds() - 0.001)
            assert len(hook.tried) == tried
            assert world.outbox.calls <= due_in.total_seconds() / POLL_S + 1
            await world.clock.advance(SHORTEST_WAIT_S)
            assert len(hook.tried) == tried + 1
        world.outbox.calls = 0
        await world.clock.advance(20 * POLL_S)
    assert world.outbox.calls == 20


async def test_drain_that_has_no_free_slot_leaves_the_outbox_alone() -> None:
    """While everything in flight hangs, nothing more could be sent: it is not even asked what is due."""
    answered = asyncio.Event()
    hook = FakeReceiver("hook", lambda _: answered)
    world = World([hook], slots=2)
    for alert in range(5):
        world.outbox.add("hook", f"a{alert}")
    async with world.running():
        assert len(hook.tried) == 2
        world.outbox.calls = 0
        for _ in range(10):
            world.drain.wake()
            await world.clock.advance(POLL_S)
        assert world.outbox.calls == 0
        answered.set()
        await world.clock.settle()
    assert len(hook.taken) == 5


async def test_drain_says_nothing_where_nothing_answers() -> None:
    """A receiver without another side has no `delivery.sent`."""
    world = World([FakeReceiver("log", lambda _: None)])
    world.outbox.add("log", "a1")
    async with world.running():
        pass
    assert world.outbox.states() == [State.DELIVERED]
    assert world.log.lines == []


async def test_drain_keeps_the_order_of_an_alert_at_once() -> None:
    """The next message of an alert follows as soon as the one before is settled, not a poll later."""
    hook = FakeReceiver("hook")
    world = World([hook])
    for change in (Notice.OPENED, Notice.UPDATED, Notice.RESOLVED):
        world.outbox.add("hook", "a1", change)
    async with world.running():
        pass
    assert hook.taken == ["d1", "d2", "d3"]


async def test_drain_holds_younger_messages_behind_a_failed_one() -> None:
    """Nothing about an alert overtakes an older message that waits for its next try; other alerts go on."""
    hook = FakeReceiver("hook", lambda delivery: BUSY if delivery.id == "d1" else "ok")
    world = World([hook])
    world.outbox.add("hook", "a1")
    world.outbox.add("hook", "a1", Notice.UPDATED)
    world.outbox.add("hook", "a2")
    async with world.running():
        await world.clock.advance(3600)
    assert hook.taken == ["d3"]
    assert hook.tried.count("d1") > 5


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
async def test_drain_takes_every_message_once_and_in_order(seed: int) -> None:
    """Whatever fails, each alert's messages are taken in their order, each exactly once."""
    rng = random.Random(seed)
    hook = FakeReceiver("hook", lambda _: BUSY if rng.random() < 0.4 else "ok")
    world = World([hook], slots=rng.randint(1, 6), seed=seed)
    for _ in range(20):
        world.outbox.add("hook", f"a{rng.randint(1, 5)}")
    async with world.running():
        for _ in range(60):
            world.outbox.away = rng.random() < 0.3
            world.outbox.loses_answers = rng.randint(0, 1)
            await world.clock.advance(rng.uniform(0, 10))
        world.outbox.away = False
        for _ in range(100):
            if State.PENDING in world.outbox.states():
                await world.clock.advance(60)
    assert world.outbox.states() == [State.DELIVERED] * 20
    for alert in range(1, 6):
        committed = [row.id for row in world.outbox.rows if row.alert_id == f"a{alert}"]
        assert [taken for taken in hook.taken if taken in committed] == committed


async def test_drain_slow_receiver_delays_no_other() -> None:
    """While all slots of one receiver hang, another one's messages go out."""
    never = asyncio.Event()
    slow, quick = FakeReceiver("slow", lambda _: never), FakeReceiver("quick")
    world = World([slow, quick], slots=2)
    for alert in ("a1", "a2", "a3"):
        world.outbox.add("slow", alert)
        world.outbox.add("quick", alert)
    async with world.running():
        assert len(quick.taken) == 3
        assert len(slow.tried) == 2


async def test_drain_refills_a_slot_as_soon_as_it_is_free() -> None:
    """One message that hangs holds one slot; the others are not kept for it."""
    never = asyncio.Event()
    hook = FakeReceiver("hook", lambda delivery: never if delivery.id == "d1" else "ok")
    world = World([hook], slots=2)
    for alert in range(10):
        world.outbox.add("hook", f"a{alert}")
    async with world.running():
        assert len(hook.taken) == 9


@pytest.mark.parametrize(
    ("answer", "refusal", "least_s", "text"),
    [
        pytest.param(BUSY, Refusal.RETRY, 0, "503 Service Unavailable", id="retry"),
        pytest.param(BARRED, Refusal.FAILING, 300, "401 Unauthorized", id="failing"),
        pytest.param(
            DeliveryError(Refusal.RETRY, "429", retry_after_s=90), Refusal.RETRY, 90, "429", id="retry-after"
        ),
        pytest.param(KeyError("s3cret"), Refusal.RETRY, 0, "unexpected KeyError", id="bug"),
    ],
)
async def test_drain_tries_again(answer: BaseException, refusal: Refusal, least_s: float, text: str) -> None:
    """A refused message is due again after its backoff; the log says when, and no stranger's text."""
    world = World([FakeReceiver("hook", lambda _: answer)])
    world.outbox.add("hook", "a1")
    async with world.running():
        row = world.outbox.rows[0]
        assert (row.state, row.refusal, row.attempts, row.text) == (State.PENDING, refusal, 1, text)
        assert row.due_at >= world.clock.now() + timedelta(seconds=least_s)
    assert world.counts == {("hook", "retried"): 1}
    line = world.log.of("delivery.failed")[0]
    assert (line["log_level"], line["error"], line["attempts"]) == ("warning", text, 1)
    assert line["next_try_at"].endswith("Z")


async def test_drain_cuts_off_a_receiver_that_hangs() -> None:
    """A try longer than the receiver's timeout is a failed one."""
    never = asyncio.Event()
    hook = FakeReceiver("hook", lambda _: never, timeout_s=0.001)
    world = World([hook])
    world.outbox.add("hook", "a1")
    async with world.running():
        await world.counts.counted.wait()
        await world.clock.settle()
    assert world.outbox.rows[0].text == "no answer within 0.001 s"


async def test_drain_buries_what_is_refused_for_good() -> None:
    """A dead message is counted and logged, and the next of its alert follows."""
    hook = FakeReceiver("hook", lambda delivery: REFUSED if delivery.id == "d1" else "ok")
    world = World([hook])
    world.outbox.add("hook", "a1")
    world.outbox.add("hook", "a1", Notice.RESOLVED)
    async with world.running():
        pass
    assert world.outbox.states() == [State.DEAD, State.DELIVERED]
    assert world.counts == {("hook", "dead"): 1, ("hook", "delivered"): 1}
    assert world.log.of("delivery.dead")[0]["error"] == "422 Unprocessable Entity"


async def test_drain_parks_what_blocked_newer_messages_for_a_day() -> None:
    """A message that has failed for a day makes way for the newer ones of its alert."""
    hook = FakeReceiver("hook", lambda delivery: BARRED if delivery.id == "d1" else "ok")
    world = World([hook])
    world.outbox.add("hook", "a1")
    world.outbox.add("hook", "a1", Notice.RESOLVED)
    world.outbox.rows[0].first_failed_at = world.clock.now() - timedelta(hours=23, minutes=50)
    async with world.running():
        assert world.outbox.states() == [State.PENDING, State.PENDING]
        await world.clock.advance(1200)
    assert world.outbox.states() == [State.DEAD, State.DELIVERED]


async def test_drain_never_gives_up_the_last_message_of_an_alert() -> None:
    """Without newer ones behind it, a message is tried until it is taken."""
    hook = FakeReceiver("hook", refuse_first(3, BARRED))
    world = World([hook])
    world.outbox.add("hook", "a1")
    world.outbox.rows[0].first_failed_at = world.clock.now() - timedelta(days=30)
    async with world.running():
        await world.clock.advance(1200)
    assert hook.taken == ["d1"]


async def test_drain_suspended_while_it_leases_sends_nothing_that_others_may_have_sent() -> None:
    """What is leased again is sent: by then the store knows whether someone else has."""

    class Suspended(FakeOutbox):
        async def lease_due(self, receiver: str, *, lease_s: float, **asked: Any) -> Leased:
            leased = await super().lease_due(receiver, lease_s=lease_s, **asked)
            if self.rows[0].state is State.PENDING:
                await self.clock.sleep(lease_s + 1)
                self.rows[0].state = State.DELIVERED
            return leased

    hook = FakeReceiver("hook")
    world = World([hook], outbox=Suspended)
    world.outbox.add("hook", "a1")
    world.outbox.add("hook", "a2")
    async with world.running():
        await world.clock.advance(hook.timeout_s + LEASE_MARGIN_S + POLL_S)
    assert hook.taken == ["d2"]


async def test_drain_keeps_results_while_the_store_is_away() -> None:
    """What was sent is not sent again though the lease ran out meanwhile, and is settled in the end."""
    store_goes = asyncio.Event()
    hook = FakeReceiver("hook", lambda _: store_goes)
    world = World([hook])
    world.outbox.add("hook", "a1")
    world.outbox.add("hook", "a2")
    async with world.running():
        world.outbox.away = True
        store_goes.set()
        await world.clock.advance(600)
        assert world.outbox.states() == [State.PENDING, State.PENDING]
        world.outbox.away = False
        await world.clock.advance(10)
    assert world.outbox.states() == [State.DELIVERED, State.DELIVERED]
    assert sorted(hook.tried) == ["d1", "d2"]


async def test_drain_says_once_that_the_store_is_away() -> None:
    """One `store.failed` for each stretch of failures, whatever its length."""
    world = World([FakeReceiver("hook")])
    async with world.running():
        for _ in range(2):
            world.outbox.away = True
            await world.clock.advance(600)
            world.outbox.away = False
            await world.clock.advance(600)
    assert world.log.events == ["store.failed", "store.failed"]
    assert world.counts["the store", "failed"] == 2
    assert world.log.lines[0]["error"] == "the database is away"


async def test_drain_does_not_hammer_a_store_that_is_away() -> None:
    """Between tries of the store it waits, wakes or not."""
    world = World([FakeReceiver("hook")])
    async with world.running():
        world.outbox.away = True
        world.outbox.calls = 0
        for _ in range(600):
            world.drain.wake()
            await world.clock.advance(0.1)
    assert world.outbox.calls < 20


async def test_drain_settles_in_batches() -> None:
    """Tries that end while the store is busy share the next transaction."""
    world = World([FakeReceiver("hook")], slots=8)
    for alert in range(80):
        world.outbox.add("hook", f"a{alert}")
    async with world.running():
        await world.clock.settle()
    assert sum(world.outbox.settled) == 80
    assert len(world.outbox.settled) <= 20


async def test_drain_close_waits_for_what_is_in_flight() -> None:
    """A message in flight ends and is settled before the drain stops; nothing new begins."""
    answered = asyncio.Event()
    hook = FakeReceiver("hook", lambda _: answered)
    world = World([hook])
    world.outbox.add("hook", "a1")
    async with world.running():
        world.outbox.add("hook", "a2")
        closing = asyncio.create_task(world.drain.close(10))
        await world.clock.settle()
        assert not closing.done()
        answered.set()
        await closing
        assert not world.drain.alive
    assert world.outbox.states() == [State.DELIVERED, State.PENDING]


async def test_drain_close_ends_though_a_receiver_hangs() -> None:
    """After the grace what hangs is cut off; its lease brings it back later."""
    hook = FakeReceiver("hook", lambda _: asyncio.Event())
    world = World([hook])
    world.outbox.add("hook", "a1")
    async with world.running():
        await world.drain.close(0.001)
    assert world.outbox.states() == [State.PENDING]
    assert hook.tried == ["d1"]


async def test_drain_run_returns_after_close() -> None:
    """`run` ends by itself when the drain was closed."""
    world = World([FakeReceiver("hook")])
    running = asyncio.create_task(world.drain.run())
    await world.clock.settle()
    await world.drain.close(1)
    await running


async def test_drain_replace_changes_receivers_under_way() -> None:
    """A reload adds, replaces and removes receivers, and loses nothing in flight."""
    answered = asyncio.Event()
    old, gone = FakeReceiver("hook", lambda _: answered), FakeReceiver("gone", lambda _: answered)
    new, added = FakeReceiver("hook"), FakeReceiver("added")
    world = World([old, gone])
    for name in ("hook", "gone"):
        world.outbox.add(name, "a1")
    async with world.running():
        world.drain.replace([new, added])
        for name in ("hook", "gone", "added"):
            world.outbox.add(name, "a2")
        await world.deliver()
        released = asyncio.create_task(world.drain.released(old))
        await world.clock.settle()
        assert not released.done()
        answered.set()
        await released
        await world.deliver()
        assert (old.taken, gone.taken, new.taken, added.taken) == (["d1"], ["d2"], ["d3"], ["d5"])
        assert world.outbox.row("d2").state is State.DELIVERED
        assert world.outbox.row("d4").state is State.PENDING


async def test_drain_replace_brings_a_receiver_back() -> None:
    """A receiver that was removed and added again gets what waited for it."""
    hook = FakeReceiver("hook")
    world = World([hook])
    async with world.running():
        world.drain.replace([])
        world.outbox.add("hook", "a1")
        await world.deliver()
        assert hook.taken == []
        world.drain.replace([hook])
        await world.deliver()
    assert hook.taken == ["d1"]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(lambda _: "ok", id="idle"),
        pytest.param(lambda _: asyncio.Event(), id="all-slots-hang"),
    ],
)
async def test_drain_lives_while_it_turns(trouble: Callable[[Delivery], Answer]) -> None:
    """Idle, or waiting for a slow receiver, it is alive; stopped it is not."""
    world = World([FakeReceiver("hook", trouble)], slots=1)
    world.outbox.add("hook", "a1")
    lives = [world.drain.alive]
    async with world.running():
        await world.clock.advance(600)
        lives.append(world.drain.alive)
        assert world.clock.now() - world.drain.last_progress_at <= timedelta(seconds=POLL_S)
    lives.append(world.drain.alive)
    assert lives == [False, True, False]


async def test_drain_is_not_alive_when_a_lane_is_stuck() -> None:
    """A store call that never returns is seen."""
    world = World([FakeReceiver("hook")])
    stuck = asyncio.Event()

    class StuckOutbox(FakeOutbox):
        async def next_due_at(self, receiver: str) -> datetime | None:
            await stuck.wait()
            return None

    drain = Drain(
        outbox=StuckOutbox(world.clock),
        receivers=[FakeReceiver("hook")],
        clock=world.clock,
        rng=random.Random(0),
        metrics=world.counts,
        log=world.log.logger,
        shortage=no_shortage(),
    )
    world.drain = drain
    async with world.running():
        lives = [drain.alive]
        await world.clock.advance(120)
        lives.append(drain.alive)
    assert lives == [True, False]
