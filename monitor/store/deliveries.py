"""Queues messages about alerts for their receivers."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Notice, Status, decode_body, encode_body, merged
from monitor.drift.alerts import new_id
from monitor.notify.routing import Route, plan
from monitor.store.tables import PENDING, deliveries, has_status, told


async def heard(tx: AsyncConnection, alert_id: str) -> frozenset[str]:
    """Return the receivers that accepted a message about an alert, or have one pending."""
    return frozenset((await tx.execute(_HEARD, {"which": alert_id})).scalars())


async def told_or_tried(tx: AsyncConnection, alert_id: str) -> frozenset[str]:
    """Return the receivers that accepted a message about an alert, or ever had one queued."""
    return frozenset((await tx.execute(_TOLD_OR_TRIED, {"which": alert_id})).scalars())


async def tell(
    tx: AsyncConnection,
    body: AlertBody,
    routes: Sequence[Route],
    known: Collection[str],
    now: datetime,
    *,
    most_listed: int,
) -> None:
    """Queue the messages that these receivers get of an alert and its `change`; `known` have heard of it."""
    planned = plan(body, routes, known)
    is_first = body.change is Notice.OPENED
    await add_deliveries(tx, body, planned, now, most_listed=most_listed, is_first=is_first)
    quiet = [route.receiver for route in routes if not route.send_resolved]
    if quiet and body.change is Notice.RESOLVED:
        # One that wants no ends must not get old ones should it ever ask for them.
        await tx.execute(_END_QUIETLY, {"which": body.alert_id, "quiet": quiet, "ended_at": now})


async def add_deliveries(
    tx: AsyncConnection,
    body: AlertBody,
    planned: Sequence[tuple[str, Notice]],
    now: datetime,
    *,
    most_listed: int = 50,
    is_first: bool = False,
) -> None:
    """Queue one message for each receiver.

    An `updated` that was never tried gives way to the newer one, which then tells its changes too.
    `is_first`: none of these receivers ever had a message about the alert.
    """
    replaced: list[Row[Any]] = []
    if updated := [receiver for receiver, notice in planned if notice is Notice.UPDATED]:
        replaced = list(await tx.execute(_REPLACE, {"which": body.alert_id, "whose": updated}))
        await leave_line(tx, [row.seq for row in replaced])
    if body.status is Status.RESOLVED:
        await tx.execute(_REMIND_NO_MORE, {"which": body.alert_id})
    elif planned and not is_first:
        lines = {"which": body.alert_id, "whose": [receiver for receiver, _ in planned]}
        await tx.execute(_NEWER_FOLLOWS, lines)
    may_remind = body.status is Status.FIRING and body.acknowledged is None
    messages = []
    for receiver, notice in planned:
        told_body = msgspec.structs.replace(body, change=notice)
        for row in replaced:
            if row.receiver == receiver:
                told_body = merged(told_body, decode_body(row.body), most=most_listed)
        messages.append(
            {
                "id": new_id(body.alert_id, receiver, str(body.version), notice, now.isoformat()),
                "receiver": receiver,
                "alert_id": body.alert_id,
                "change": notice,
                "version": body.version,
                "body": encode_body(told_body),
                "status": PENDING,
                "created_at": now,
                "due_at": now,
                "remind_from": now if may_remind else None,
            }
        )
    if messages:
        await tx.execute(_QUEUE, messages)


async def leave_line(tx: AsyncConnection, left: Sequence[int]) -> None:
    """Let those that waited behind these messages be tried.

    Whatever is no longer pending must pass through here, in the same transaction but a later statement: only
    then has a lane of another process either put a message behind it or seen that it is gone.

    Args:
        tx: A writing transaction.
        left: `seq` of the messages that are no longer pending.
    """
    if left:
        await tx.execute(_STEP_UP, {"left": left})


# Built once: building one takes longer than running it.
_QUEUE = insert(deliveries)
_END_QUIETLY = update(told).where(
    told.c.alert_id == bindparam("which"), told.c.receiver.in_(bindparam("quiet", expanding=True))
)
_REPLACE = (
    delete(deliveries)
    .where(
        deliveries.c.alert_id == bindparam("which"),
        deliveries.c.receiver.in_(bindparam("whose", expanding=True)),
        deliveries.c.change == Notice.UPDATED,
        has_status(deliveries, PENDING),
        deliveries.c.attempts == 0,
        deliveries.c.lease_until.is_(None),
    )
    .returning(deliveries.c.seq, deliveries.c.receiver, deliveries.c.body)
)
_REMIND_NO_MORE = (
    update(deliveries)
    .where(deliveries.c.alert_id == bindparam("which"), deliveries.c.remind_from.is_not(None))
    .values(remind_from=None)
)
_NEWER_FOLLOWS = _REMIND_NO_MORE.where(deliveries.c.receiver.in_(bindparam("whose", expanding=True)))
_STEP_UP = (
    update(deliveries).where(deliveries.c.behind.in_(bindparam("left", expanding=True))).values(behind=None)
)

# One statement, so that a delivery accepted meanwhile is seen here or there.
_HEARD = union(
    select(told.c.receiver).where(told.c.alert_id == bindparam("which")),
    select(deliveries.c.receiver).where(
        deliveries.c.alert_id == bindparam("which"), has_status(deliveries, PENDING)
    ),
)
"""The receivers that accepted a message about an alert, or have one pending."""

_TOLD_OR_TRIED = union(
    select(told.c.receiver).where(told.c.alert_id == bindparam("which")),
    select(deliveries.c.receiver).where(deliveries.c.alert_id == bindparam("which")),
)
