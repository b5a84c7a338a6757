"""Brings what was committed to its receivers: in order for each alert, with retries, without loss.

Each receiver has a lane of its own, so that a slow or broken one delays nobody else. A lane turns:

    settle the tries that ended -> lease what is due -> start to send it -> wait until something changes

While the store is busy with one batch, the tries that end meanwhile gather for the next. What is not settled
is kept and settled before anything new is leased, so this process never sends a row twice for a store that
was away. Between a crash and the end of a lease the store keeps a row to itself, then it is sent again with
the same id.
"""

import asyncio
import random
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, rfc3339
from monitor.errors import DeliveryError, Refusal
from monitor.notify.delivery import (
    Dead,
    Delivery,
    DeliveryOutcome,
    Failed,
    Outbox,
    Receiver,
    Result,
    Sent,
)
from monitor.notify.retry import after_failure

LEASE_MARGIN_S = 15.0  # beyond the receiver's timeout: the result must be settled inside the lease
POLL_S = 5.0  # other processes write deliveries too
SHORTEST_WAIT_S = 0.1  # the store's clock may lag behind ours
STORE_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
ALIVE_S = 60.0


class DeliveryMetrics(Protocol):
    """What the drain counts."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count a try; `outcome` is a `DeliveryOutcome`."""
        ...

    def store_error(self) -> None:
        """Count that the store did not do what was asked."""
        ...


class Drain:
    """All lanes.

    Args:
        outbox: Where deliveries wait.
        receivers: By unique name; `replace` changes them.
        clock: Time, also for waiting.
        rng: Jitter of retries.
        metrics: Counts tries, and failures of the store.
        log: Gets `delivery.sent`, `delivery.failed`, `delivery.dead`, `store.failed`.
        slots: Messages in flight at once, for each receiver.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        receivers: Sequence[Receiver],
        clock: Clock,
        rng: random.Random,
        metrics: DeliveryMetrics,
        log: FilteringBoundLogger,
        slots: int = 8,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._log = log
        self._slots = slots
        self._courier = _Courier(clock, rng, metrics, log)
        self._lanes: dict[str, _Lane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running = False
        self._closed = asyncio.Event()
        self.replace(receivers)

    async def run(self) -> None:
        """Deliver until cancelled or closed."""
        self._running = True
        try:
            for lane in self._lanes.values():
                self._start(lane)
            await self._closed.wait()
        finally:
            self._running = False
            await self._cancel(self._tasks.values())

    def wake(self) -> None:
        """Say that new deliveries were committed."""
        for lane in self._lanes.values():
            lane.wake()

    def replace(self, receivers: Iterable[Receiver]) -> None:
        """Take these receivers from now on; what is in flight ends with the one that it began with."""
        wanted = {receiver.name: receiver for receiver in receivers}
        for name, lane in self._lanes.items():
            if name not in wanted:
                lane.stop()
        for receiver in wanted.values():
            self._take(receiver)

    async def released(self, receiver: Receiver) -> None:
        """Wait until nothing is in flight with a receiver that was replaced, to close its connections."""
        for lane in list(self._lanes.values()):
            await lane.released(receiver)

    async def close(self, grace_s: float) -> None:
        """Lease no more, finish what is in flight and settle it, for so many seconds; then stop.

        What had no time to end stays leased in the store, and is sent again by the next process.
        """
        for lane in self._lanes.values():
            lane.stop()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        await self._cancel(tasks)
        self._closed.set()

    @property
    def last_progress_at(self) -> datetime:
        """When the slowest lane last turned, as it does every few seconds even if idle; no lanes: now."""
        idle_s = max((self._clock.monotonic() - lane.turned_at for lane in self._active()), default=0.0)
        return self._clock.now() - timedelta(seconds=idle_s)

    @property
    def alive(self) -> bool:
        """Whether it runs and every lane has turned lately."""
        return self._running and self._clock.now() - self.last_progress_at < timedelta(seconds=ALIVE_S)

    def _active(self) -> list["_Lane"]:
        return [lane for lane in self._lanes.values() if not lane.stopping]

    def _take(self, receiver: Receiver) -> None:
        lane = self._lanes.get(receiver.name)
        if lane is not None and not self._has_ended(receiver.name):
            lane.resume(receiver)
            return
        lane = _Lane(receiver, outbox=self._outbox, courier=self._courier, slots=self._slots)
        self._lanes[receiver.name] = lane
        if self._running:
            self._start(lane)

    def _has_ended(self, name: str) -> bool:
        task = self._tasks.get(name)
        return task is not None and task.done()

    def _start(self, lane: "_Lane") -> None:
        self._tasks[lane.name] = asyncio.create_task(lane.run(), name=f"drain {lane.name}")

    async def _cancel(self, tasks: Collection[asyncio.Task[None]]) -> None:
        running = [task for task in tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


class _Courier:
    """One try: hand over, judge, report. Shared by all lanes, keeps nothing."""

    def __init__(
        self, clock: Clock, rng: random.Random, metrics: DeliveryMetrics, log: FilteringBoundLogger
    ) -> None:
        self.clock = clock
        self.log = log
        self._rng = rng
        self._metrics = metrics

    async def bring(self, receiver: Receiver, delivery: Delivery) -> Result:
        """Try once; return how it ended. Raises nothing but a cancellation."""
        try:
            async with asyncio.timeout(receiver.timeout_s):
                answer = await receiver.send(delivery)
        except DeliveryError as exc:
            return self._refused(delivery, exc)
        except TimeoutError:
            error = DeliveryError(Refusal.RETRY, f"no answer within {receiver.timeout_s:g} s")
            return self._refused(delivery, error)
        except Exception as exc:  # noqa: BLE001 - a task root: a bug in one receiver must not stop its lane
            # The type alone: the text of a stranger's exception may quote a secret.
            return self._refused(delivery, DeliveryError(Refusal.RETRY, f"unexpected {type(exc).__name__}"))
        return self._taken(delivery, answer)

    def store_failed(self, exc: Exception, doing: str) -> None:
        """Count and log that the store did not do what was asked."""
        self._metrics.store_error()
        self.log.error("store.failed", doing=doing, error=type(exc).__name__)

    def _taken(self, delivery: Delivery, answer: str | None) -> Sent:
        self._metrics.delivery(delivery.receiver, DeliveryOutcome.DELIVERED)
        if answer is not None:
            self.log.info("delivery.sent", **_fields(delivery), answer=answer)
        return Sent(delivery=delivery, at=self.clock.now(), answer=answer or "")

    def _refused(self, delivery: Delivery, error: DeliveryError) -> Failed | Dead:
        result = after_failure(delivery, error, now=self.clock.now(), rng=self._rng)
        fields = _fields(delivery) | {"error": result.error}
        if isinstance(result, Failed):
            self._metrics.delivery(delivery.receiver, DeliveryOutcome.RETRIED)
            self.log.warning("delivery.failed", **fields, next_try_at=rfc3339(result.next_try_at))
        else:
            self._metrics.delivery(delivery.receiver, DeliveryOutcome.DEAD)
            self.log.error("delivery.dead", **fields)
        return result


def _fields(delivery: Delivery) -> dict[str, str | int]:
    return {
        "receiver": delivery.receiver,
        "alert_id": delivery.alert_id,
        "delivery_id": delivery.id,
        "change": delivery.change,
        "attempts": delivery.attempts + 1,
    }


class _Lane:
    """One receiver's way out."""

    def __init__(self, receiver: Receiver, *, outbox: Outbox, courier: _Courier, slots: int) -> None:
        self.name = receiver.name
        self.turned_at = courier.clock.monotonic()
        self.stopping = False
        self._receiver = receiver
        self._outbox = outbox
        self._courier = courier
        self._clock = courier.clock
        self._slots = slots
        self._changed = asyncio.Event()
        self._sends: dict[str, tuple[Receiver, asyncio.Task[None]]] = {}
        self._ended: list[Result] = []
        self._store_failures = 0

    async def run(self) -> None:
        """Turn until stopped and empty."""
        try:
            while not self._is_done():
                self.turned_at = self._clock.monotonic()
                self._changed.clear()
                await self._turn()
        finally:
            for _, task in self._sends.values():
                task.cancel()

    def wake(self) -> None:
        """Have a look at once."""
        self._changed.set()

    def stop(self) -> None:
        """Lease no more; end when all is settled."""
        self.stopping = True
        self.wake()

    def resume(self, receiver: Receiver) -> None:
        """Go on, with this receiver."""
        self._receiver = receiver
        self.stopping = False
        self.wake()

    async def released(self, receiver: Receiver) -> None:
        """Wait until nothing is in flight with this receiver."""
        tasks = [task for used, task in self._sends.values() if used is receiver]
        if tasks:
            await asyncio.wait(tasks)

    def _is_done(self) -> bool:
        return self.stopping and not self._sends and not self._ended

    async def _turn(self) -> None:
        try:
            await self._settle()
            wait_s = await self._lease()
        except Exception as exc:  # noqa: BLE001 - a task root: no trouble with the store ends deliveries for good
            await self._store_failed(exc)
        else:
            self._store_failures = 0
            if not self._is_done():
                await self._change_within(wait_s)

    async def _settle(self) -> None:
        if batch := tuple(self._ended):
            await self._outbox.settle(batch)
            del self._ended[: len(batch)]

    async def _lease(self) -> float:
        """Start to send what is due and fits; return the seconds after which to look again."""
        free = self._slots - len(self._sends)
        if self.stopping or free <= 0:
            return POLL_S
        lease_s = self._receiver.timeout_s + LEASE_MARGIN_S
        leased = await self._outbox.lease_due(self.name, limit=free, lease_s=lease_s)
        ours = self._sends.keys() | {result.delivery.id for result in self._ended}
        for delivery in leased:
            if delivery.id not in ours:  # a lease can run out under us when the process was suspended
                self._send(delivery)
        if len(leased) >= free:
            return POLL_S
        due_at = await self._outbox.next_due_at(self.name)
        if due_at is None:
            return POLL_S
        return min(max((due_at - self._clock.now()).total_seconds(), SHORTEST_WAIT_S), POLL_S)

    def _send(self, delivery: Delivery) -> None:
        receiver = self._receiver
        task = asyncio.create_task(self._bring(receiver, delivery), name=f"deliver {delivery.id}")
        self._sends[delivery.id] = (receiver, task)

    async def _bring(self, receiver: Receiver, delivery: Delivery) -> None:
        try:
            self._ended.append(await self._courier.bring(receiver, delivery))
        finally:  # also when cancelled: the slot is free again, the lease brings the row back
            del self._sends[delivery.id]
            self.wake()

    async def _store_failed(self, exc: Exception) -> None:
        if self._store_failures == 0:
            self._courier.store_failed(exc, f"deliveries to {self.name}")
        wait_s = STORE_BACKOFF_S[min(self._store_failures, len(STORE_BACKOFF_S) - 1)]
        self._store_failures += 1
        await self._clock.sleep(wait_s)

    async def _change_within(self, seconds: float) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((changed, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            timer.cancel()
