"""Reminders of alerts that still fire, for receivers that want them (`repeat_interval`)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Notice, Status, decode_body
from monitor.store.alerts import add_deliveries
from monitor.store.outbox import PENDING
from monitor.store.tables import alerts, deliveries


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
