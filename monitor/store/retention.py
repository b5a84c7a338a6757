"""Retention: deletes old history, and what has ended or been settled long ago."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Status
from monitor.store.changes import PATTERN_KEPT
from monitor.store.journal import RULES_KEPT, is_past
from monitor.store.tables import (
    PENDING,
    actions,
    alerts,
    changes,
    deliveries,
    episodes,
    gaps,
    has_status,
    inventory,
    journal,
    patterns,
    rulesets,
    silenced,
    silences,
    told,
)

BATCH = 1000
"""The most rows of a table that one transaction deletes, so that a sync never waits long."""


async def prune(tx: AsyncConnection, before: datetime) -> int:
    """Delete up to `BATCH` rows of each table that ended before an instant; return how many went."""
    # A message that was delivered is shown with what its alert says.
    has_messages = select(deliveries.c.seq).where(deliveries.c.alert_id == alerts.c.id).exists()
    # Reminders go by the last message about an alert that still fires.
    still_firing = select(alerts.c.id).where(alerts.c.status == Status.FIRING)
    whole = alerts.alias()
    old = (
        (changes, changes.c.id, changes.c.at < before),
        (patterns, patterns.c.id, patterns.c.used_at < before - PATTERN_KEPT),
        (journal, journal.c.id, is_past(before)),
        (
            rulesets,
            rulesets.c.id,
            (rulesets.c.used_at < before - RULES_KEPT)
            & ~select(journal.c.id).where(journal.c.ruleset == rulesets.c.id).exists(),
        ),
        (inventory, inventory.c.key, inventory.c.gone_at < before),
        (gaps, gaps.c.id, gaps.c.ended_at < before),
        (actions, actions.c.id, actions.c.at < before),
        (episodes, episodes.c.id, episodes.c.ended_at < before),
        (
            deliveries,
            deliveries.c.seq,
            ~has_status(deliveries, PENDING)
            & (deliveries.c.finished_at < before)
            & deliveries.c.alert_id.not_in(still_firing),
        ),
        (
            alerts,
            alerts.c.id,
            (alerts.c.status == Status.RESOLVED)
            & (alerts.c.resolved_at < before)
            & ~has_messages
            # A part lives as long as its widespread alert.
            & (alerts.c.part_of.is_(None) | alerts.c.part_of.not_in(select(whole.c.id))),
        ),
        (silences, silences.c.id, silences.c.ended_at < before),
        (silenced, silenced.c.silence_id, silenced.c.silence_id.not_in(select(silences.c.id))),
        # As long as its alert is known: a receiver that comes back to the config is told of the end.
        (told, told.c.alert_id, told.c.alert_id.not_in(select(alerts.c.id))),
    )
    deleted = 0
    for table, key, is_old in old:
        # A key alone may be that of a row that stays as well.
        batch = key.in_(select(key).where(is_old).limit(BATCH))
        done = await tx.execute(delete(table).where(batch, is_old))
        deleted += done.rowcount
    return deleted
