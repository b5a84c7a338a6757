"""The outbox: deliveries wait here until their receiver accepts them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Row,
    Table,
    and_,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.drift.alert import Notice, Status, decode_body, encode_body
from monitor.drift.failures import REFUSALS
from monitor.errors import Refusal
from monitor.notify.delivery import Dead, Delivery, Failed, Postponed, Result, Sent
from monitor.notify.routing import sent_as
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.tables import (
    CLOSED,
    DEAD,
    DELIVERED,
    PENDING,
    alerts,
    deliveries,
    from_row,
    posted,
    posters,
    receivers,
    told,
)

_ANSWER_LENGTH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What one receiver has waiting, and how well it is accepting messages.

    `troubled_since`: it has accepted nothing since then. `refused`: it says that its settings need fixing.
    `refused_in_row`: attempts since the last accepted one that it answered, whatever the status.
    """

    receiver: str
    pending: int
    dead: int
    oldest_at: datetime | None
    troubled_since: datetime | None
    refused: bool
    refused_in_row: int
    error: str | None
    delivered_at: datetime | None


_other = deliveries.alias("other")
_same_line = select(_other.c.seq).where(
    _other.c.receiver == deliveries.c.receiver, _other.c.alert_id == deliveries.c.alert_id
)
_older_waits = _same_line.where(_other.c.status == PENDING, _other.c.seq < deliveries.c.seq).exists()
_newer_waits = _same_line.where(_other.c.status == PENDING, _other.c.seq > deliveries.c.seq).exists()

_newer_delivered = _same_line.where(_other.c.status == DELIVERED, _other.c.seq > deliveries.c.seq).exists()
_told = (
    select(told.c.receiver)
    .where(told.c.receiver == deliveries.c.receiver, told.c.alert_id == deliveries.c.alert_id)
    .exists()
)

SUPERSEDED = _same_line.where(_other.c.seq > deliveries.c.seq).exists()
"""Whether a newer message about a delivery's alert was queued for the same receiver."""


def _first_in_line(receiver: str) -> ColumnElement[bool]:
    return and_(deliveries.c.receiver == receiver, deliveries.c.status == PENDING, ~_older_waits)


class StoredOutbox:
    """The drain's view of the store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def lease_due(self, receiver: str, *, limit: int, lease_s: float) -> list[Delivery]:
        """Lease and return what is due and free now: the oldest undelivered message of each alert.

        Here it is settled what each of them says: what was queued before it may have been refused.
        """
        now = self._clock.now()
        due = (
            select(deliveries, _newer_waits.label("superseded"), _told.label("told"))
            .where(_first_in_line(receiver), deliveries.c.due_at <= now)
            .where(or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now))
            .order_by(deliveries.c.seq)
        )
        async with self._database.read() as tx:
            if (await tx.execute(due.limit(1))).first() is None:
                return []
        async with self._database.write() as tx:
            locked = due.limit(limit).with_for_update(skip_locked=True, of=deliveries)
            rows = list(await tx.execute(locked))
            leased = [made for row in rows if (made := await _settled(tx, row, now)) is not None]
            await tx.execute(
                update(deliveries)
                .where(deliveries.c.id.in_([delivery.id for delivery in leased]))
                .values(lease_until=now + timedelta(seconds=lease_s))
            )
        return leased

    async def next_due_at(self, receiver: str) -> datetime | None:
        """Return when `lease_due` will next find something."""
        leased_longer = deliveries.c.lease_until > deliveries.c.due_at
        free_at = case((leased_longer, deliveries.c.lease_until), else_=deliveries.c.due_at)
        async with self._database.read() as tx:
            found: datetime | None = await tx.scalar(
                select(func.min(free_at)).where(_first_in_line(receiver))
            )
        return found

    async def settle(self, results: Sequence[Result]) -> None:
        """Record how the tries ended, in one transaction."""
        accepted = [result for result in results if isinstance(result, Sent)]
        async with self._database.write() as tx:
            for result in results:
                await tx.execute(
                    update(deliveries)
                    .where(deliveries.c.id == result.delivery.id, deliveries.c.status == PENDING)
                    # One that an earlier call settled, though its commit seemed to fail, stays as it is.
                    .where(deliveries.c.attempts == result.delivery.attempts)
                    .values(**_outcome(result))
                )
            if accepted:
                await tx.execute(_TELL[tx.dialect.name], [_told_values(sent) for sent in accepted])
                about = deliveries.c.alert_id.in_({sent.delivery.alert_id for sent in accepted})
                superseded = update(deliveries).where(about, deliveries.c.status == DEAD, _newer_delivered)
                await tx.execute(superseded.values(status=CLOSED))
            for result in _since_success(results):
                await tx.execute(
                    update(receivers)
                    .where(receivers.c.name == result.delivery.receiver)
                    .values(**_health(result))
                )


async def _settled(tx: AsyncConnection, row: Row[Any], now: datetime) -> Delivery | None:
    """Return a message as it is to be sent; None, and close it, if it need not be."""
    notice = Notice(row.change)
    says = notice if row.attempts else sent_as(notice, told=row.told)
    this = update(deliveries).where(deliveries.c.seq == row.seq)
    if says is None:
        unsent = "not sent: the receiver has accepted nothing about this alert"
        await tx.execute(this.values(status=CLOSED, finished_at=now, answer=unsent))
        return None
    if says is notice:
        return from_row(Delivery, row)
    body = encode_body(msgspec.structs.replace(decode_body(row.body), change=says))
    await tx.execute(this.values(change=says, body=body))
    return from_row(Delivery, row, change=says, body=body)


def _outcome(result: Result) -> dict[str, Any]:
    if isinstance(result, Postponed):
        return {"due_at": result.next_try_at, "lease_until": None}
    tried: dict[str, Any] = {"attempts": deliveries.c.attempts + 1, "lease_until": None}
    if isinstance(result, Sent):
        answer = result.answer[:_ANSWER_LENGTH]
        return tried | {"status": DELIVERED, "finished_at": result.at, "answer": answer}
    tried |= {
        "first_failed_at": func.coalesce(deliveries.c.first_failed_at, result.at),
        "answer": result.error[:_ANSWER_LENGTH],
    }
    match result:
        case Failed():
            return tried | {"due_at": result.next_try_at}
        case Dead():
            return tried | {"status": DEAD, "finished_at": result.at}


def _told_values(sent: Sent) -> dict[str, Any]:
    delivery = sent.delivery
    is_end = delivery.change is Notice.RESOLVED
    return {
        "alert_id": delivery.alert_id,
        "receiver": delivery.receiver,
        "told_at": sent.at,
        "ended_at": sent.at if is_end else None,
    }


def _tell(insert_into: Callable[[Table], Any]) -> Any:
    statement = insert_into(told)
    return statement.on_conflict_do_update(
        index_elements=[told.c.alert_id, told.c.receiver],
        set_={"ended_at": func.coalesce(told.c.ended_at, statement.excluded.ended_at)},
    )


_TELL = {"sqlite": _tell(sqlite.insert), "postgresql": _tell(postgresql.insert)}
"""Records that a receiver has accepted a message about an alert; also one that was closed meanwhile."""


def _since_success(results: Sequence[Result]) -> list[Sent | Failed | Dead]:
    """Return each receiver's last success and what came after it: what its health depends on."""
    kept: dict[str, list[Sent | Failed | Dead]] = {}
    for result in results:
        if isinstance(result, Postponed):
            continue
        before = [] if isinstance(result, Sent) else kept.get(result.delivery.receiver, [])
        kept[result.delivery.receiver] = [*before, result]
    return [result for each in kept.values() for result in each]


def _health(result: Sent | Failed | Dead) -> dict[str, Any]:
    """Return what a result says about a receiver.

    A dead letter may be the message's fault: it counts among the refusals, and is trouble once these are
    `REFUSALS` in a row.
    """
    if isinstance(result, Sent):
        fine = {"troubled_since": None, "refused": False, "refused_in_row": 0, "error": None}
        return fine | {"delivered_at": result.at}
    refused_in_row = receivers.c.refused_in_row + int(result.answered)
    since, error = func.coalesce(receivers.c.troubled_since, result.at), result.error[:_ANSWER_LENGTH]
    match result:
        case Failed():
            refused = result.refusal is Refusal.FAILING
            health = {"troubled_since": since, "refused": refused, "error": error}
        case Dead():
            in_trouble = refused_in_row >= REFUSALS
            health = {
                "troubled_since": case((in_trouble, since), else_=receivers.c.troubled_since),
                "error": case((in_trouble, error), else_=receivers.c.error),
            }
    return health | {"refused_in_row": refused_in_row}


_undelivered = select(
    deliveries.c.receiver, deliveries.c.status, deliveries.c.created_at.label("since")
).where(deliveries.c.status.in_([PENDING, DEAD]))
# What an Alertmanager has not accepted yet is waiting too, though not in the outbox.
_unaccepted = select(posted.c.receiver, literal(PENDING), posted.c.changed_at).where(
    posted.c.accepted_at.is_(None)
)
_waiting = union_all(_undelivered, _unaccepted).subquery()
_counted = (
    select(
        _waiting.c.receiver,
        func.count().filter(_waiting.c.status == PENDING).label("pending"),
        func.count().filter(_waiting.c.status == DEAD).label("dead"),
        func.min(_waiting.c.since).filter(_waiting.c.status == PENDING).label("oldest_at"),
    )
    .group_by(_waiting.c.receiver)
    .subquery()
)
_BACKLOGS = (
    select(
        receivers,
        receivers.c.name.label("receiver"),
        func.coalesce(_counted.c.pending, 0).label("pending"),
        func.coalesce(_counted.c.dead, 0).label("dead"),
        _counted.c.oldest_at,
    )
    .outerjoin(_counted, _counted.c.receiver == receivers.c.name)
    .order_by(receivers.c.name)
)
"""Built once, since it runs every second."""


async def backlogs(tx: AsyncConnection) -> list[Backlog]:
    """Return every known receiver's backlog, by name."""
    return [from_row(Backlog, row) for row in await tx.execute(_BACKLOGS)]


async def know_receivers(tx: AsyncConnection, names: Sequence[str], now: datetime) -> list[str]:
    """Record the configured receivers, close what waits for any other; return the new ones."""
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
    """End all leases of deliveries and posters; only for a database that this daemon has to itself."""
    await tx.execute(update(deliveries).where(deliveries.c.status == PENDING).values(lease_until=None))
    await tx.execute(update(posters).values(lease_until=None))


async def remind(tx: AsyncConnection, repeats: Mapping[str, timedelta], now: datetime) -> int:
    """Queue reminders for receivers whose last message about a firing alert is old enough.

    None is queued while a message about the alert still waits. A reminder has the alert's current body.

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
        # This runs every second: leave out all that was ever sent about alerts that are over.
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
        # What moves is told by updates; a reminder says what is still so.
        body = msgspec.structs.replace(
            decode_body(row.body), changes=[], changes_total=0, numbers_added=0, numbers_ended=0
        )
        await add_deliveries(tx, body, [(row.receiver, Notice.REMINDER)], now)
    return len(due)
