"""The outbox: deliveries wait here until their receiver accepts them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import (
    BindParameter,
    Integer,
    Row,
    Table,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.drift.alert import Notice, Status, decode_body, encode_body, without_news
from monitor.drift.failures import REFUSALS
from monitor.errors import Refusal
from monitor.notify.delivery import Dead, Delivery, Failed, Leased, Postponed, Result, Sent
from monitor.notify.routing import sent_as
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries, leave_line
from monitor.store.tables import (
    CLOSED,
    DEAD,
    DELIVERED,
    PENDING,
    TO_REMIND,
    UtcDateTime,
    alerts,
    deliveries,
    from_row,
    has_status,
    posted,
    posters,
    receivers,
    told,
)

_ANSWER_LENGTH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverRow:
    """How well one receiver is accepting messages.

    `troubled_since`: it has accepted nothing since then. `refused`: it says that its settings need fixing.
    `gone_since`: it answered 410 Gone then, and is not tried until `try_again`.
    `refused_in_row`: attempts since the last accepted one that it answered, whatever the status.
    """

    name: str
    troubled_since: datetime | None
    refused: bool
    gone_since: datetime | None
    refused_in_row: int
    error: str | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What one receiver has waiting."""

    receiver: str
    pending: int
    dead: int
    oldest_at: datetime | None


_other = deliveries.alias("other")
_same_line = select(_other.c.seq).where(
    _other.c.receiver == deliveries.c.receiver, _other.c.alert_id == deliveries.c.alert_id
)
_waiting, _dead = (_same_line.where(has_status(_other, each)) for each in (PENDING, DEAD))
_older = (
    select(func.max(_other.c.seq))
    .where(_other.c.receiver == deliveries.c.receiver, _other.c.alert_id == deliveries.c.alert_id)
    .where(has_status(_other, PENDING), _other.c.seq < deliveries.c.seq)
    .scalar_subquery()
)
_told = (
    select(told.c.receiver)
    .where(told.c.receiver == deliveries.c.receiver, told.c.alert_id == deliveries.c.alert_id)
    .exists()
)

_acknowledged = (
    select(alerts.c.id)
    .where(alerts.c.id == deliveries.c.alert_id, alerts.c.acknowledged_at.is_not(None))
    .exists()
)

SUPERSEDED = _same_line.where(_other.c.seq > deliveries.c.seq).exists()
"""Whether a newer message about a delivery's alert was queued for the same receiver."""

_LOOK_PAST = 32
"""Messages of a turn that may turn out to wait behind others, beside those that are sent."""

_seqs: BindParameter[Sequence[int]] = bindparam("seqs", expanding=True)
_up_next = (
    (deliveries.c.receiver == bindparam("receiver"))
    & has_status(deliveries, PENDING)
    & deliveries.c.behind.is_(None)
    & ~select(receivers.c.name)
    .where(receivers.c.name == bindparam("receiver"), receivers.c.gone_since.is_not(None))
    .exists()
)
_NEXT_DUE = select(deliveries.c.due_at).where(_up_next).order_by(deliveries.c.due_at).limit(1)
_UP_NEXT = (
    select(
        *(deliveries.c[name] for name in ("seq", "due_at", "change", "attempts")),
        _older.label("older"),
        _waiting.where(_other.c.seq > deliveries.c.seq).exists().label("superseded"),
        _dead.where(_other.c.seq < deliveries.c.seq).exists().label("follows_dead"),
        _told.label("told"),
        _acknowledged.label("acknowledged"),
    )
    .where(_up_next, deliveries.c.due_at <= bindparam("soon", type_=UtcDateTime()))
    .order_by(deliveries.c.due_at, deliveries.c.seq)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_LOCK = (
    select(deliveries.c.seq, deliveries.c.status)
    .where(deliveries.c.seq.in_(_seqs))
    .with_for_update(skip_locked=True)
)
_PUT_BEHIND = (
    update(deliveries).where(deliveries.c.seq == bindparam("which")).values(behind=bindparam("older"))
)
_LEASE = (
    update(deliveries)
    .where(deliveries.c.seq.in_(_seqs))
    .values(lease_until=bindparam("until"), due_at=bindparam("until"), holder=bindparam("by"))
    .returning(deliveries)
)
_MESSAGE = update(deliveries).where(deliveries.c.seq == bindparam("which"))


class StoredOutbox:
    """The drain's view of the store.

    Messages to one receiver about one alert stand in line: only the oldest that is pending is tried. What
    waits in a line is not looked at again and again. The first lane that meets it puts it `behind` the one
    before it, and when that one leaves the line (`leave_line`), it comes up. So a turn costs the same however
    many wait. That nothing overtakes does not hang on `behind`: what is due is looked at before it is leased.

    Args:
        database: The store.
        clock: The time.
        holder: The name of this process among those that share the store.
    """

    def __init__(self, database: Database, clock: Clock, *, holder: str = "") -> None:
        self._database = database
        self._clock = clock
        self._holder = holder

    async def lease_due(
        self,
        receiver: str,
        *,
        limit: int,
        lease_s: float,
        ahead_s: float = 0.0,
        ended: Sequence[Result] = (),
    ) -> Leased:
        """Settle what ended; lease what is due and free now: the oldest undelivered message of each alert.

        Here it is settled what each of them says: what was queued before it may have been refused.
        """
        now = self._clock.now()
        until = now + timedelta(seconds=lease_s)
        asked = {"receiver": receiver, "soon": now + timedelta(seconds=ahead_s), "most": limit + _LOOK_PAST}

        async def take(tx: AsyncConnection) -> Leased:
            await _settle(tx, ended)
            found: Sequence[Any] = (await tx.execute(_UP_NEXT, asked)).all()
            waiting = await _put_behind(tx, {row.seq: row.older for row in found if row.older is not None})
            due = [row for row in found if row.due_at <= now]
            oldest = [row for row in due if row.older is None]
            first = {row: _says(row) for row in oldest[:limit]}
            unsent = [row for row, says in first.items() if says is None]
            await _close(tx, unsent, now)
            leased = await self._lease(tx, {row: says for row, says in first.items() if says}, until)
            if unsent or len(due) == asked["most"]:
                return Leased(leased, now)  # something has come up, or there is more
            done = waiting | {row.seq for row in first}
            return Leased(leased, next((row.due_at for row in found if row.seq not in done), None))

        return await self._database.transact(take, leases_until=until)

    async def _lease(
        self, tx: AsyncConnection, taken: Mapping[Row[Any], Notice], until: datetime
    ) -> list[Delivery]:
        if not taken:
            return []
        lease = {"seqs": [row.seq for row in taken], "until": until, "by": self._holder}
        messages = {message.seq: message for message in await tx.execute(_LEASE, lease)}
        return [await _as_told(tx, row, says, messages[row.seq]) for row, says in taken.items()]

    async def next_due_at(self, receiver: str) -> datetime | None:
        """Return when `lease_due` will next find something."""

        async def read(tx: AsyncConnection) -> datetime | None:
            found: datetime | None = await tx.scalar(_NEXT_DUE, {"receiver": receiver})
            return found

        return await self._database.query(read)

    async def settle(self, results: Sequence[Result]) -> None:
        """Record how the tries ended, in one transaction."""
        await self._database.transact(partial(_settle, results=results))


async def _put_behind(tx: AsyncConnection, older: Mapping[int, int]) -> set[int]:
    """Put each message behind the `older` one about its alert that goes before it; return which wait now.

    Only behind one that this transaction has locked: one that another process is settling right now would not
    see who waits behind it. Such a message is met again.
    """
    if not older:
        return set()
    locked = await tx.execute(_LOCK, {"seqs": list(set(older.values()))})
    held = {row.seq for row in locked if row.status == PENDING}
    waiting = {seq for seq, each in older.items() if each in held}
    if waiting:
        await tx.execute(_PUT_BEHIND, [{"which": seq, "older": older[seq]} for seq in waiting])
    return waiting


def _says(row: Row[Any]) -> Notice | None:
    """Return what a message says when it is sent; None: it need not be."""
    return sent_as(Notice(row.change), told=row.told, acknowledged=row.acknowledged, tried=row.attempts > 0)


async def _close(tx: AsyncConnection, unsent: Sequence[Row[Any]], now: datetime) -> None:
    """Close messages that need not be sent."""
    if not unsent:
        return
    acknowledged, unheard = "the alert is acknowledged", "the receiver has accepted nothing about this alert"
    closed = [
        {"which": row.seq, "answer": f"not sent: {acknowledged if row.told else unheard}"} for row in unsent
    ]
    await tx.execute(_MESSAGE.values(status=CLOSED, finished_at=now, answer=bindparam("answer")), closed)
    await leave_line(tx, [row.seq for row in unsent])


async def _as_told(tx: AsyncConnection, row: Row[Any], says: Notice, message: Row[Any]) -> Delivery:
    """Return a leased message as it is to be sent."""
    given: dict[str, Any] = {"superseded": row.superseded, "follows_dead": row.follows_dead}
    if says != message.change:
        given["change"] = says
        given["body"] = encode_body(msgspec.structs.replace(decode_body(message.body), change=says))
        await tx.execute(_MESSAGE, {"which": row.seq, "change": says, "body": given["body"]})
    return from_row(Delivery, message, **given)


_at: BindParameter[datetime] = bindparam("at", type_=UtcDateTime())
_still_waits = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("which"), has_status(deliveries, PENDING))
    # One that an earlier call settled, though its commit seemed to fail, stays as it is.
    .where(deliveries.c.attempts == bindparam("tried"))
    .values(lease_until=None)
    .returning(deliveries.c.seq)
)
_tried = _still_waits.values(attempts=deliveries.c.attempts + 1, answer=bindparam("said"))
_failed = _tried.values(first_failed_at=func.coalesce(deliveries.c.first_failed_at, _at))
_SETTLE: Mapping[type[Result], Any] = {
    Sent: _tried.values(status=DELIVERED, finished_at=_at, body=None),
    Failed: _failed.values(due_at=bindparam("next_try_at")),
    Postponed: _still_waits.values(due_at=bindparam("next_try_at")),
    Dead: _failed.values(status=DEAD, finished_at=_at),
}

_newer_delivered = _same_line.where(has_status(_other, DELIVERED), _other.c.seq > deliveries.c.seq).exists()
_CLOSE_SUPERSEDED = (
    update(deliveries)
    .where(deliveries.c.receiver == bindparam("of_receiver"), deliveries.c.alert_id == bindparam("of_alert"))
    .where(has_status(deliveries, DEAD), _newer_delivered)
    .values(status=CLOSED)
)


def _outcome(result: Result) -> dict[str, Any]:
    values: dict[str, Any] = {"which": result.delivery.id, "tried": result.delivery.attempts}
    if isinstance(result, Postponed):
        return values | {"next_try_at": result.next_try_at}
    said = result.answer if isinstance(result, Sent) else result.error
    values |= {"at": result.at, "said": said[:_ANSWER_LENGTH]}
    return values | {"next_try_at": result.next_try_at or result.at} if isinstance(result, Failed) else values


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


async def _settle(tx: AsyncConnection, results: Sequence[Result]) -> None:
    in_order = sorted(results, key=lambda result: result.delivery.id)  # as every transaction locks rows
    left: list[int] = []
    counted: set[str] = set()
    for result in in_order:
        written = (await tx.execute(_SETTLE[type(result)], _outcome(result))).scalars().all()
        if isinstance(result, Sent | Dead):
            left += written
        if written or isinstance(result, Sent):
            # What another replica has settled meanwhile says nothing about the receiver of now.
            counted.add(result.delivery.id)
    await leave_line(tx, left)
    if accepted := [result for result in in_order if isinstance(result, Sent)]:
        await tx.execute(_TELL[tx.dialect.name], [_told_values(sent) for sent in accepted])
    if ahead := [sent.delivery for sent in accepted if sent.delivery.follows_dead]:
        lines = [{"of_receiver": each.receiver, "of_alert": each.alert_id} for each in ahead]
        await tx.execute(_CLOSE_SUPERSEDED, lines)
    for result in _since_success([each for each in results if each.delivery.id in counted]):
        which, health = {"which": result.delivery.receiver}, _health(result)
        if isinstance(result, Sent):
            await tx.execute(_RECEIVER, which | health)
        else:
            await tx.execute(_RECEIVER.values(**health), which)


_RECEIVER = update(receivers).where(receivers.c.name == bindparam("which"))


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
        fine = {
            "troubled_since": None,
            "refused": False,
            "gone_since": None,
            "refused_in_row": 0,
            "error": None,
        }
        return fine | {"delivered_at": result.at}
    refused_in_row = receivers.c.refused_in_row + int(result.answered)
    at, error = literal(result.at, UtcDateTime), result.error[:_ANSWER_LENGTH]
    since = func.coalesce(receivers.c.troubled_since, at)
    match result:
        case Failed():
            # What was still under way when it turned out to be gone does not bring it back.
            refused = result.refusal.needs_fixing or receivers.c.gone_since.is_not(None)
            health: dict[str, Any] = {"troubled_since": since, "refused": refused, "error": error}
            if result.refusal is Refusal.GONE:
                health["gone_since"] = func.coalesce(receivers.c.gone_since, at)
        case Dead():
            in_trouble = refused_in_row >= REFUSALS
            health = {
                "troubled_since": case((in_trouble, since), else_=receivers.c.troubled_since),
                "error": case((in_trouble, error), else_=receivers.c.error),
            }
    return health | {"refused_in_row": refused_in_row}


async def receiver_rows(tx: AsyncConnection) -> list[ReceiverRow]:
    """Return how every known receiver does, by name."""
    return [from_row(ReceiverRow, row) for row in await tx.execute(_RECEIVERS)]


async def backlogs(tx: AsyncConnection) -> list[Backlog]:
    """Return every known receiver's backlog, by name. It counts all that waits: not for every second."""
    return [from_row(Backlog, row) for row in await tx.execute(_BACKLOGS)]


_RECEIVERS = select(receivers).order_by(receivers.c.name)
_queued = (
    select(
        deliveries.c.receiver,
        deliveries.c.status,
        func.count().label("many"),
        func.min(deliveries.c.seq).label("first"),
    )
    .where(deliveries.c.receiver.in_(select(receivers.c.name)), deliveries.c.status.in_([PENDING, DEAD]))
    .group_by(deliveries.c.receiver, deliveries.c.status)
    .subquery()
)
_undelivered = select(
    _queued.c.receiver, _queued.c.status, _queued.c.many, deliveries.c.created_at.label("since")
).join(deliveries, deliveries.c.seq == _queued.c.first)
# What an Alertmanager has not accepted yet is waiting too, though not in the outbox.
_unaccepted = (
    select(posted.c.receiver, literal(PENDING), func.count(), func.min(posted.c.changed_at))
    .where(posted.c.accepted_at.is_(None))
    .group_by(posted.c.receiver)
)
_all_waiting = union_all(_undelivered, _unaccepted).subquery()
_counted = (
    select(
        _all_waiting.c.receiver,
        func.sum(_all_waiting.c.many).filter(_all_waiting.c.status == PENDING).label("pending"),
        func.sum(_all_waiting.c.many).filter(_all_waiting.c.status == DEAD).label("dead"),
        func.min(_all_waiting.c.since).filter(_all_waiting.c.status == PENDING).label("oldest_at"),
    )
    .group_by(_all_waiting.c.receiver)
    .subquery()
)
_BACKLOGS = (
    select(
        receivers.c.name.label("receiver"),
        cast(func.coalesce(_counted.c.pending, 0), Integer).label("pending"),
        cast(func.coalesce(_counted.c.dead, 0), Integer).label("dead"),
        _counted.c.oldest_at,
    )
    .outerjoin(_counted, _counted.c.receiver == receivers.c.name)
    .order_by(receivers.c.name)
)


async def try_again(tx: AsyncConnection, names: Collection[str]) -> None:
    """Try receivers again that are gone; what waits for them has not been failing while nothing was tried."""
    gone = receivers.c.name.in_(names), receivers.c.gone_since.is_not(None)
    back = update(receivers).where(*gone).values(gone_since=None).returning(receivers.c.name)
    if them := (await tx.execute(back)).scalars().all():
        waiting = deliveries.c.receiver.in_(them), has_status(deliveries, PENDING)
        await tx.execute(update(deliveries).where(*waiting).values(first_failed_at=None))


async def free_delivery_leases(tx: AsyncConnection) -> None:
    """End all leases of deliveries and posters; only for a database that this daemon has to itself."""
    leased = update(deliveries).where(has_status(deliveries, PENDING), deliveries.c.lease_until.is_not(None))
    await tx.execute(leased.values(lease_until=None, due_at=deliveries.c.created_at))
    await tx.execute(update(posters).values(lease_until=None))


async def remind(tx: AsyncConnection, repeats: Mapping[str, timedelta], now: datetime) -> int:
    """Queue reminders for receivers whose last message about a firing alert is old enough.

    None is queued while a message about the alert still waits, nor once it is acknowledged. A reminder has
    the alert's current body.

    Args:
        tx: A writing transaction.
        repeats: How often each receiver wants one.
        now: The current instant.

    Returns:
        How many were queued.
    """
    due = await due_reminders(tx, repeats, now)
    for receiver, body in due:
        await add_deliveries(tx, without_news(decode_body(body)), [(receiver, Notice.REMINDER)], now)
    return len(due)


async def due_reminders(
    tx: AsyncConnection, repeats: Mapping[str, timedelta], now: datetime
) -> list[tuple[str, bytes]]:
    """Return receivers with the bodies of the alerts that `remind` would remind them of."""
    due: list[tuple[str, bytes]] = []
    for receiver, repeat in repeats.items():
        rows = await tx.execute(_TO_REMIND, {"receiver": receiver, "told_until": now - repeat})
        due += [(receiver, row.body) for row in rows]
    return due


async def next_reminder_at(tx: AsyncConnection, repeats: Mapping[str, timedelta]) -> datetime | None:
    """Return when `remind` will next queue something if nothing happens until then."""
    rows = await tx.execute(_REMIND_NEXT)
    instants = [row.told_at + repeats[row.receiver] for row in rows if row.receiver in repeats]
    return min(instants, default=None)


_reminding = deliveries.join(alerts, alerts.c.id == deliveries.c.alert_id)
_is_to_remind = TO_REMIND & (alerts.c.status == Status.FIRING) & alerts.c.acknowledged_at.is_(None)
_TO_REMIND = (
    select(alerts.c.body)
    .select_from(_reminding)
    .where(deliveries.c.receiver == bindparam("receiver"), _is_to_remind)
    .where(deliveries.c.remind_from <= bindparam("told_until"))
)
_REMIND_NEXT = (
    select(deliveries.c.receiver, func.min(deliveries.c.remind_from).label("told_at"))
    .select_from(_reminding)
    .where(_is_to_remind)
    .group_by(deliveries.c.receiver)
)
