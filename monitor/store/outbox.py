"""The outbox: deliveries wait here until their receiver took them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, func, insert, literal, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.drift.alert import Notice, Status, decode_body
from monitor.errors import Refusal
from monitor.notify.delivery import Dead, Delivery, Failed, Result, Sent
from monitor.store.alerts import add_deliveries
from monitor.store.database import Database
from monitor.store.tables import alerts, deliveries, posted, posters, receivers

PENDING, DELIVERED, DEAD, CLOSED = "pending", "delivered", "dead", "closed"
"""What becomes of a delivery; `closed` is one whose receiver is no longer configured."""

_ANSWER_LENGTH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What one receiver has waiting, and how it has been doing.

    `troubled_since`: nothing was taken since then. `refused`: it told us that somebody must mend it.
    """

    receiver: str
    pending: int
    dead: int
    oldest_at: datetime | None
    troubled_since: datetime | None
    refused: bool
    error: str | None
    delivered_at: datetime | None


class StoredOutbox:
    """The drain's view of the store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def lease_due(self, receiver: str, *, limit: int, lease_s: float) -> list[Delivery]:
        """Return what is due now and nobody else's, the oldest undelivered of each alert, leased."""
        now = self._clock.now()
        async with self._database.read() as tx:
            if (await tx.execute(_due(receiver, now, 1))).first() is None:
                return []
        async with self._database.write() as tx:
            rows = list(
                await tx.execute(_due(receiver, now, limit).with_for_update(skip_locked=True, of=deliveries))
            )
            await tx.execute(
                update(deliveries)
                .where(deliveries.c.seq.in_([row.seq for row in rows]))
                .values(lease_until=now + timedelta(seconds=lease_s))
            )
        return [_delivery(row) for row in rows]

    async def next_due_at(self, receiver: str) -> datetime | None:
        """Return when `lease_due` will next find something."""
        leased_longer = deliveries.c.lease_until > deliveries.c.due_at
        free_at = case((leased_longer, deliveries.c.lease_until), else_=deliveries.c.due_at)
        async with self._database.read() as tx:
            found = await tx.execute(select(func.min(free_at)).where(*_head_of_line(receiver)))
            free: datetime | None = found.scalar()
        return free

    async def settle(self, results: Sequence[Result]) -> None:
        """Write how the tries ended, in one transaction."""
        async with self._database.write() as tx:
            for result in results:
                await tx.execute(
                    update(deliveries)
                    .where(deliveries.c.id == result.delivery.id, deliveries.c.status == PENDING)
                    # Settled already, by us before the answer of the commit was lost: leave it alone.
                    .where(deliveries.c.attempts == result.delivery.attempts)
                    .values(**_outcome(result))
                )
            for name in dict.fromkeys(result.delivery.receiver for result in results):
                last = [result for result in results if result.delivery.receiver == name][-1]
                await _note_receiver(tx, name, last)


async def backlogs(tx: AsyncConnection) -> list[Backlog]:
    """Return every known receiver's backlog, by name."""
    rows = await tx.execute(_BACKLOGS)
    return [
        Backlog(
            receiver=row.name,
            pending=row.pending or 0,
            dead=row.dead or 0,
            oldest_at=row.oldest_at,
            troubled_since=row.troubled_since,
            refused=row.refused,
            error=row.error,
            delivered_at=row.delivered_at,
        )
        for row in rows
    ]


async def know_receivers(tx: AsyncConnection, names: Sequence[str], now: datetime) -> list[str]:
    """Record the configured receivers; close what waits for others. Return the new ones."""
    known = {row.name for row in await tx.execute(select(receivers.c.name))}
    new = [name for name in names if name not in known]
    if new:
        await tx.execute(insert(receivers), [{"name": name, "known_since": now} for name in new])
    await tx.execute(
        update(deliveries)
        .where(deliveries.c.status == PENDING, deliveries.c.receiver.not_in(names))
        .values(status=CLOSED, finished_at=now, lease_until=None)
    )
    await tx.execute(receivers.delete().where(receivers.c.name.not_in(names)))
    return new


async def free_delivery_leases(tx: AsyncConnection) -> None:
    """End every lease: whoever held them is gone. Only for a database that one daemon holds alone."""
    await tx.execute(update(deliveries).where(deliveries.c.status == PENDING).values(lease_until=None))
    await tx.execute(update(posters).values(lease_until=None))


def _count_backlogs() -> Any:
    unpaid = select(deliveries.c.receiver, deliveries.c.status, deliveries.c.created_at.label("since")).where(
        deliveries.c.status.in_([PENDING, DEAD])
    )
    # What an Alertmanager has not accepted yet waits as well, though not in the outbox.
    unheard = select(posted.c.receiver, literal(PENDING), posted.c.changed_at).where(
        posted.c.accepted_at.is_(None)
    )
    waiting = union_all(unpaid, unheard).subquery()
    counted = (
        select(
            waiting.c.receiver,
            func.count().filter(waiting.c.status == PENDING).label("pending"),
            func.count().filter(waiting.c.status == DEAD).label("dead"),
            func.min(waiting.c.since).filter(waiting.c.status == PENDING).label("oldest_at"),
        )
        .group_by(waiting.c.receiver)
        .subquery()
    )
    return (
        select(receivers, counted.c.pending, counted.c.dead, counted.c.oldest_at)
        .outerjoin(counted, counted.c.receiver == receivers.c.name)
        .order_by(receivers.c.name)
    )


_BACKLOGS = _count_backlogs()
"""Built once: it is asked every second."""


def _head_of_line(receiver: str) -> tuple[Any, ...]:
    older = deliveries.alias("older")
    overtakes = (
        select(older.c.seq)
        .where(older.c.receiver == deliveries.c.receiver, older.c.alert_id == deliveries.c.alert_id)
        .where(older.c.status == PENDING, older.c.seq < deliveries.c.seq)
        .exists()
    )
    return deliveries.c.receiver == receiver, deliveries.c.status == PENDING, ~overtakes


def _due(receiver: str, now: datetime, limit: int) -> Any:
    newer = deliveries.alias("newer")
    superseded = (
        select(newer.c.seq)
        .where(newer.c.receiver == deliveries.c.receiver, newer.c.alert_id == deliveries.c.alert_id)
        .where(newer.c.status == PENDING, newer.c.seq > deliveries.c.seq)
        .exists()
    )
    return (
        select(deliveries, superseded.label("superseded"))
        .where(*_head_of_line(receiver))
        .where(deliveries.c.due_at <= now)
        .where(or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now))
        .order_by(deliveries.c.seq)
        .limit(limit)
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        receiver=row.receiver,
        alert_id=row.alert_id,
        change=Notice(row.change),
        body=row.body,
        attempts=row.attempts,
        created_at=row.created_at,
        first_failed_at=row.first_failed_at,
        superseded=row.superseded,
    )


def _outcome(result: Result) -> dict[str, Any]:
    tried = {"attempts": deliveries.c.attempts + 1, "lease_until": None}
    match result:
        case Sent():
            return tried | {
                "status": DELIVERED,
                "finished_at": result.at,
                "answer": (result.answer or "")[:_ANSWER_LENGTH],
            }
        case Failed():
            return tried | {
                "due_at": result.next_try_at,
                "first_failed_at": func.coalesce(deliveries.c.first_failed_at, result.at),
                "answer": result.error[:_ANSWER_LENGTH],
            }
        case Dead():
            return tried | {
                "status": DEAD,
                "finished_at": result.at,
                "first_failed_at": func.coalesce(deliveries.c.first_failed_at, result.at),
                "answer": result.error[:_ANSWER_LENGTH],
            }


async def _note_receiver(tx: AsyncConnection, name: str, last: Result) -> None:
    """Record how the receiver is doing. A dead letter says nothing of it: that was the message's fault."""
    match last:
        case Sent():
            values: dict[str, Any] = {
                "troubled_since": None,
                "refused": False,
                "error": None,
                "delivered_at": last.at,
            }
        case Failed():
            values = {
                "troubled_since": func.coalesce(receivers.c.troubled_since, last.at),
                "refused": last.refusal is Refusal.FAILING,
                "error": last.error[:_ANSWER_LENGTH],
            }
        case Dead():
            return
    await tx.execute(update(receivers).where(receivers.c.name == name).values(**values))


async def remind(tx: AsyncConnection, repeats: Mapping[str, timedelta], now: datetime) -> int:
    """Queue a reminder for every receiver whose last message about a firing alert is old enough.

    While a message still waits there is nothing to remind of. The reminder says how things stand now.

    Args:
        tx: A writing transaction.
        repeats: How often each receiver wants one.
        now: The current instant.

    Returns:
        How many were queued.
    """
    last = (
        select(
            deliveries.c.receiver,
            deliveries.c.alert_id,
            func.max(deliveries.c.created_at).label("told_at"),
            func.count().filter(deliveries.c.status == PENDING).label("waiting"),
        )
        .where(deliveries.c.receiver.in_(list(repeats)))
        # Not all that was ever sent: this is asked every second.
        .where(deliveries.c.alert_id.in_(select(alerts.c.id).where(alerts.c.status == Status.FIRING)))
        .group_by(deliveries.c.receiver, deliveries.c.alert_id)
        .subquery()
    )
    rows = await tx.execute(
        select(alerts.c.body, last.c.receiver, last.c.told_at)
        .join(last, last.c.alert_id == alerts.c.id)
        .where(alerts.c.status == Status.FIRING, last.c.waiting == 0)
    )
    due = [row for row in rows if now >= row.told_at + repeats[row.receiver]]
    for row in due:
        await add_deliveries(tx, decode_body(row.body), [(row.receiver, Notice.REMINDER)], now)
    return len(due)
