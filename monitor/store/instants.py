"""Pulls in stored instants that lie further in the future than they could have been planned.

Rows outlive the clock that wrote them. One that ran ahead, or was set back since, leaves instants behind that
would keep retries, leases and looks waiting for as long as it was wrong.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Table, case, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.notify.retry import FAILING_JITTER_S, LONGEST_S
from monitor.store.journal import pulled_in
from monitor.store.tables import (
    UtcDateTime,
    acceptances,
    actions,
    alerts,
    budgets,
    changes,
    connections,
    deliveries,
    discoveries,
    episodes,
    fleet,
    gaps,
    inventory,
    journal,
    patterns,
    posted,
    posters,
    pulse,
    receivers,
    replicas,
    rulesets,
    silences,
    told,
)
from monitor.voicelink.budget import LONGEST_PAUSE_S

_PAST = timedelta(0)
"""Of what has happened, and of looks: one too early does nothing."""
_DISCOVERY = timedelta(hours=1)
_LEASE = timedelta(minutes=10)
"""Longer than any receiver takes. The holder of a lease keeps it by renewing it."""

LONGEST_DELAYS: Mapping[Column[Any], timedelta] = {
    connections.c.watched_since: _PAST,
    connections.c.vanished_at: _PAST,
    connections.c.wakes_at: _PAST,
    connections.c.lease_until: timedelta(minutes=2),
    connections.c.applied_at: _PAST,
    connections.c.synced_at: _PAST,
    connections.c.succeeded_at: _PAST,
    connections.c.moved_at: _PAST,
    inventory.c.gone_at: _PAST,
    changes.c.at: _PAST,
    patterns.c.used_at: _PAST,
    gaps.c.began_at: _PAST,
    gaps.c.ended_at: _PAST,
    rulesets.c.used_at: _PAST,
    alerts.c.started_at: _PAST,
    alerts.c.updated_at: _PAST,
    alerts.c.resolved_at: _PAST,
    alerts.c.acknowledged_at: _PAST,
    alerts.c.grown_at: _PAST,
    alerts.c.tells_at: _PAST,
    episodes.c.since: _PAST,
    episodes.c.opened_at: _PAST,
    episodes.c.ended_at: _PAST,
    deliveries.c.created_at: _PAST,
    # Not the hour that a Retry-After may ask for: a request too early is better than a message an hour late.
    deliveries.c.due_at: timedelta(seconds=LONGEST_S + FAILING_JITTER_S),
    deliveries.c.lease_until: _LEASE,
    deliveries.c.first_failed_at: _PAST,
    deliveries.c.finished_at: _PAST,
    deliveries.c.remind_from: _PAST,
    receivers.c.known_since: _PAST,
    receivers.c.troubled_since: _PAST,
    receivers.c.gone_since: _PAST,
    receivers.c.delivered_at: _PAST,
    told.c.told_at: _PAST,
    told.c.ended_at: _PAST,
    posted.c.changed_at: _PAST,
    posted.c.ended_at: _PAST,
    posted.c.accepted_at: _PAST,
    posters.c.lease_until: _LEASE,
    posters.c.asked_at: _PAST,
    posters.c.troubled_since: _PAST,
    discoveries.c.since: _PAST,
    discoveries.c.due_at: _DISCOVERY,
    discoveries.c.lease_until: timedelta(minutes=2),
    discoveries.c.listed_at: _PAST,
    replicas.c.started_at: _PAST,
    replicas.c.seen_at: _PAST,
    replicas.c.config_at: _PAST,
    fleet.c.since: _PAST,
    budgets.c.next_at: timedelta(minutes=10),  # each replica takes one of a minute at the slowest pace
    budgets.c.paused_until: timedelta(seconds=LONGEST_PAUSE_S),
    acceptances.c.asked_at: _PAST,
    silences.c.created_at: _PAST,
    silences.c.ended_at: _PAST,
    actions.c.at: _PAST,
    pulse.c.at: _PAST,
}
"""How long after it was written each instant may lie."""

EXEMPT: Mapping[Column[Any], str] = {
    connections.c.due_at: "its connection's own interval bounds it, in `begin_watching`",
    silences.c.until: "the person who set it named it",
    journal.c.at: "nothing waits for it, and a step that is made again must find the instant that it had",
    journal.c.seen_until: "as its entry's own instant",
}
"""Instants that something else bounds, or that a user or the config names."""


async def pull_in(tx: AsyncConnection, now: datetime) -> None:
    """Pull in every instant that lies further in the future than it could have been planned.

    Where a clock ran ahead, records may hold such instants too: every connection's policy is to run again.
    """
    ran_ahead = select(connections.c.identity).where(connections.c.synced_at > now).limit(1)
    if (await tx.execute(ran_ahead)).first() is not None:
        await tx.execute(update(connections).values(rules_digest=None))
    # Nothing delays a first try: only what was refused before may have to wait.
    untried = (deliveries.c.attempts == 0, deliveries.c.lease_until.is_(None), deliveries.c.due_at > now)
    await tx.execute(update(deliveries).where(*untried).values(due_at=now))
    by_table: dict[Table, dict[Column[Any], datetime]] = {}
    for column, delay in LONGEST_DELAYS.items():
        by_table.setdefault(column.table, {})[column] = now + delay
    moved = 0
    for table, latest in by_table.items():
        done = await tx.execute(
            update(table)
            .where(or_(*(column > at for column, at in latest.items())))
            .values(
                {
                    column: case((column > at, literal(at, UtcDateTime)), else_=column)
                    for column, at in latest.items()
                }
            )
        )
        moved += done.rowcount
    if moved:
        await pulled_in(tx, now)
