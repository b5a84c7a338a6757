"""Brings what was committed to its receivers: in order for each alert, with retries, without loss.

Each receiver has a lane of its own, so that a slow or broken one delays no other. A lane turns:

    settle the tries that ended, lease what is due -> start to send it -> wait until something changes

While the store is busy with one batch, the tries that end meanwhile gather for the next. What is not settled
is kept and settled before anything new is leased, so this process never sends a row twice for a store that
was away. Between a crash and the end of a lease the store keeps a row to itself, then it is sent again with
the same id.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, rfc3339
from monitor.errors import DeliveryError, Refusal, StoreUnavailable, out_of_resources
from monitor.notify.delivery import (
    Delivery,
    DeliveryOutcome,
    Failed,
    Outbox,
    Postponed,
    Receiver,
    Result,
    Sent,
)
from monitor.notify.retry import POSTPONED_S, after_failure
from monitor.notify.turns import POLL_S, Turns, end
from monitor.shortage import Shortage

LEASE_MARGIN_S = 15.0  # beyond the receiver's timeout: the result must be settled inside the lease
SHORTEST_WAIT_S = 0.1
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
        shortage: Told of tries that this process had no resources for.
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
        shortage: Shortage,
        slots: int = 8,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._slots = slots
        self._courier = _Courier(clock=clock, rng=rng, metrics=metrics, log=log, shortage=shortage)
        self._lanes: dict[str, _Lane] = {}
        self._running = False
        self._closed = asyncio.Event()
        self.replace(receivers)

    async def run(self) -> None:
        """Deliver until cancelled or closed."""
        self._running = True
        try:
            for lane in self._lanes.values():
                lane.start()
            await self._closed.wait()
        finally:
            self._running = False
            await end(self._lanes.values())

    def wake(self) -> None:
        """Say that new deliveries were committed."""
        for lane in self._lanes.values():
            lane.wake()

    def replace(self, receivers: Iterable[Receiver]) -> None:
        """Use these receivers from now on; what is in flight ends with the one that it began with."""
        wanted = {receiver.name: receiver for receiver in receivers}
        for name, lane in self._lanes.items():
            if name not in wanted:
                lane.stop()
        for name, receiver in wanted.items():
            known = self._lanes.get(name)
            if known is not None and not known.has_ended:
                known.resume(receiver)
                continue
            self._lanes[name] = _Lane(receiver, outbox=self._outbox, courier=self._courier, slots=self._slots)
            if self._running:
                self._lanes[name].start()

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
        await end(self._lanes.values(), grace_s)
        self._closed.set()

    @property
    def last_progress_at(self) -> datetime:
        """When the slowest lane last turned, as it does every few seconds even if idle; no lanes: now."""
        turned = [lane.turned_at_s for lane in self._lanes.values() if not lane.stopping]
        now_s = self._clock.monotonic()
        return self._clock.now() - timedelta(seconds=now_s - min(turned, default=now_s))

    @property
    def alive(self) -> bool:
        """Whether it runs and every lane has turned lately."""
        return self._running and self._clock.now() - self.last_progress_at < timedelta(seconds=ALIVE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Courier:
    """One try: hand over, judge, report. Shared by all lanes, keeps nothing."""

    clock: Clock
    rng: random.Random
    metrics: DeliveryMetrics
    log: FilteringBoundLogger
    shortage: Shortage

    async def bring(self, receiver: Receiver, delivery: Delivery) -> Result:
        """Try once; return how it ended. Raises nothing but a cancellation."""
        log = self.log.bind(
            receiver=delivery.receiver,
            alert_id=delivery.alert_id,
            delivery_id=delivery.id,
            change=delivery.change,
            attempts=delivery.attempts + 1,
        )
        try:
            async with asyncio.timeout(receiver.timeout_s):
                answer = await receiver.send(delivery)
        except DeliveryError as exc:
            error = exc
        except TimeoutError:
            error = DeliveryError(Refusal.RETRY, f"no answer within {receiver.timeout_s:g} s")
        except Exception as exc:  # noqa: BLE001 - a task root: a bug in one receiver must not stop its lane
            lack = out_of_resources(exc)
            if lack is not None:
                self.shortage.met(lack, f"delivering to {delivery.receiver}")
                next_try_at = self.clock.now() + timedelta(seconds=POSTPONED_S)
                return Postponed(delivery=delivery, next_try_at=next_try_at)
            # The type alone: the text of a stranger's exception may quote a secret.
            error = DeliveryError(Refusal.RETRY, f"unexpected {type(exc).__name__}")
        else:
            self.metrics.delivery(delivery.receiver, DeliveryOutcome.DELIVERED)
            if answer is not None:
                log.info("delivery.sent", answer=answer)
            return Sent(delivery=delivery, at=self.clock.now(), answer=answer or "")
        result = after_failure(delivery, error, now=self.clock.now(), rng=self.rng)
        if isinstance(result, Failed):
            self.metrics.delivery(delivery.receiver, DeliveryOutcome.RETRIED)
            due = rfc3339(result.next_try_at) if result.next_try_at is not None else None
            log.warning("delivery.failed", error=result.error, next_try_at=due)
        else:
            self.metrics.delivery(delivery.receiver, DeliveryOutcome.DEAD)
            log.error("delivery.dead", error=result.error)
        return result


class _Lane(Turns):
    """One receiver's way out."""

    def __init__(self, receiver: Receiver, *, outbox: Outbox, courier: _Courier, slots: int) -> None:
        super().__init__(f"drain {receiver.name}", courier.clock)
        self._receiver = receiver
        self._outbox = outbox
        self._courier = courier
        self._slots = slots
        self._sends: dict[str, tuple[Receiver, asyncio.Task[None]]] = {}
        self._ended: list[Result] = []
        self._store_failures = 0

    @property
    def is_done(self) -> bool:
        """Whether it was stopped and all is settled."""
        return self.stopping and not self._sends and not self._ended

    async def leave(self) -> None:
        """Send no more; what was leased is sent again when its lease ends."""
        for _, task in self._sends.values():
            task.cancel()

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

    async def turn(self, *, woken: bool) -> float:
        """Settle what ended and send what is due."""
        try:
            wait_s = await self._exchange(woken=woken)
        except Exception as exc:  # noqa: BLE001 - a task root: no trouble with the store ends deliveries for good
            await self._store_failed(exc)
            return 0.0
        self._store_failures = 0
        return wait_s

    async def _exchange(self, *, woken: bool) -> float:
        """Settle what ended, start to send what is due; return the seconds after which to look again."""
        receiver, batch = self._receiver, tuple(self._ended)
        if batch and (self.stopping or self._store_failures):
            # By itself: whatever may be wrong with what is due must not keep it from being settled.
            await self._outbox.settle(batch)
            del self._ended[: len(batch)]
            return 0.0
        free = self._slots - len(self._sends)
        if self.stopping or free == 0:
            return POLL_S  # what ends wakes it
        if not batch and not woken:
            wait_s = self._until(await self._outbox.next_due_at(receiver.name))
            if wait_s > 0:
                return wait_s
        lease_s, asked_s = receiver.timeout_s + LEASE_MARGIN_S, self._clock.monotonic()
        leased = await self._outbox.lease_due(
            receiver.name, limit=free, lease_s=lease_s, ahead_s=POLL_S, ended=batch
        )
        del self._ended[: len(batch)]
        if self._clock.monotonic() - asked_s > LEASE_MARGIN_S:
            # Suspended meanwhile: another process may have sent these, and newer ones about their alerts.
            return SHORTEST_WAIT_S
        self._start_sending(leased.deliveries)
        if wait_s := self._until(leased.next_due_at):
            return wait_s
        # Unless all that is due belongs to another process, or is to wait in line.
        return 0.0 if leased.deliveries else SHORTEST_WAIT_S

    def _start_sending(self, leased: Sequence[Delivery]) -> None:
        ours = self._sends.keys() | {result.delivery.id for result in self._ended}
        for delivery in leased:
            if delivery.id not in ours:  # a lease can run out under us when the process was suspended
                task = asyncio.create_task(
                    self._bring(self._receiver, delivery), name=f"deliver {delivery.id}"
                )
                self._sends[delivery.id] = (self._receiver, task)

    def _until(self, due_at: datetime | None) -> float:
        """Return the seconds to wait for what is due next; 0: it is due."""
        if due_at is None:
            return POLL_S
        due_in_s = (due_at - self._clock.now()).total_seconds()
        return min(max(due_in_s, SHORTEST_WAIT_S), POLL_S) if due_in_s > 0 else 0.0

    async def _store_failed(self, exc: Exception) -> None:
        """Report the first of a row of failures, and wait; a wake does not shorten that."""
        doing = f"deliveries to {self._receiver.name}"
        lack = out_of_resources(exc)
        if lack is not None:
            self._courier.shortage.met(lack, doing)
        if self._store_failures == 0:
            self._courier.metrics.store_error()
            # Of others than the store's own, the type alone: the text of a stranger's may quote a secret.
            said = str(lack or (exc if isinstance(exc, StoreUnavailable) else type(exc).__name__))
            self._courier.log.error("store.failed", doing=doing, error=said)
        backoff_s = STORE_BACKOFF_S[min(self._store_failures, len(STORE_BACKOFF_S) - 1)]
        self._store_failures += 1
        await self._clock.sleep(backoff_s)

    async def _bring(self, receiver: Receiver, delivery: Delivery) -> None:
        try:
            self._ended.append(await self._courier.bring(receiver, delivery))
        finally:  # also when cancelled: the slot is free again, the lease brings the row back
            del self._sends[delivery.id]
            self.wake()
