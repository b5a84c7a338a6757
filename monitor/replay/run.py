"""Replays what a store remembers, and compares it with what happened."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Row, Select, StaticPool, create_engine, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import rfc3339
from monitor.drift.alert import Kind
from monitor.drift.failures import SCOPE
from monitor.errors import NoHistory
from monitor.replay.engine import Policies, Replay
from monitor.replay.report import Compared, Raised, Replayed, compare, compared, notice_times
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.inline import inline
from monitor.store.journal import count_entries, entries, known_rules
from monitor.store.statements import Statements
from monitor.store.tables import alerts, connections, deliveries, episodes, journal, metadata, told

Watch = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Given how many entries there are; what it gives is told how many more are done."""

_TELL_EVERY = 100


@contextmanager
def _unwatched(_total: int) -> Iterator[Callable[[int], object]]:
    yield lambda _: None


async def replay(
    database: Database,
    codec: Codec,
    *,
    since: datetime,
    connection: str | None = None,
    policies: Policies | None = None,
    kept: timedelta | None = None,
    watch: Watch = _unwatched,
) -> Replayed:
    """Run the journal again since an instant, and return what it came to beside what happened.

    Args:
        database: The store.
        codec: Reads it.
        since: From when on; earlier than the journal, from its beginning.
        connection: Only connections whose name matches this glob; failures are left out that are about none.
        policies: Other rules; None: those of then.
        kept: How long the store keeps alerts that have ended; the journal may reach further back. None: as
            long as the journal.
        watch: Shows the progress.

    Raises:
        NoHistory: The journal is empty, or ends before.
        StoreUnavailable: The store cannot be read.
    """
    async with database.read() as tx, database.read() as beside:
        began_at = await tx.scalar(select(func.min(journal.c.at)))
        if began_at is None:
            raise NoHistory("the store has no history yet: the daemon writes it, sync by sync")
        # Not from a base that a clock, set back, has put at the beginning.
        asked, since = since, max(since, began_at)
        ends = [await tx.scalar(select(func.max(each))) for each in (journal.c.at, connections.c.synced_at)]
        until = max(at for at in ends if at is not None)
        since = max(since, until - kept) if kept is not None else since
        if until < since:
            raise NoHistory(f"there is no history from {rfc3339(since)} on: it ends at {rfc3339(until)}")
        total, done = await count_entries(beside, asked), 0
        rulesets = await known_rules(tx)
        with _in_memory() as here, watch(total) as advance:
            run = Replay(
                tx=here,
                codec=codec,
                rulesets=rulesets,
                since=since,
                policies=policies,
                stored=StoredAlerts(beside),
            )
            async for entry in entries(tx, asked):
                done += 1
                if done % _TELL_EVERY == 0:
                    advance(_TELL_EVERY)
                if connection is None or entry.identity == SCOPE or fnmatchcase(entry.connection, connection):
                    await run.run(entry)
                until = max(until, entry.at)
            await run.until(until)
            rows = await here.execute(_during(since, until))
            replayed = [_raised(row, run.numbers.get(row.id, 0), until) for row in rows]
        members = await _members(beside, since)
        rows = await beside.execute(_during(since, until))
        recorded = [_raised(row, members.get(row.id, 0), until) for row in rows]
        messages = await _messages(beside, since, until)
    recorded = [alert for alert in recorded if _is_about(alert, connection)]
    replayed = [alert for alert in replayed if _is_about(alert, connection)]
    return Replayed(
        since=since,
        until=until,
        alerts=compare(recorded, replayed),
        messages=compared(_by_receiver(messages, recorded), _by_receiver(run.messages, replayed)),
        summary=Compared(recorded=len(recorded), replayed=len(replayed)),
        time_to_notice=notice_times(run.noticed[each.id] for each in replayed if each.id in run.noticed),
        strayed=len(run.strayed),
    )


@contextmanager
def _in_memory() -> Iterator[AsyncConnection]:
    """Give a connection to an empty store in memory, in a transaction that is never committed."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        metadata.create_all(engine)
        with engine.connect() as here:
            yield inline(here, Statements())
    finally:
        engine.dispose()


@dataclass(frozen=True, slots=True)
class StoredAlerts:
    """Alerts as the store has them."""

    tx: AsyncConnection

    async def row(self, alert_id: str) -> dict[str, Any] | None:
        """Return the row of an alert; None if it is no longer kept."""
        found = (await self.tx.execute(select(alerts).where(alerts.c.id == alert_id))).first()
        return dict(found._mapping) if found is not None else None  # noqa: SLF001 - its documented name

    async def told(self, alert_id: str) -> list[str]:
        """Return the receivers that have heard of an alert."""
        return list(await self.tx.scalars(select(told.c.receiver).where(told.c.alert_id == alert_id)))


def _during(since: datetime, until: datetime) -> Select[Any]:
    """Return the query for alerts that fired then; a part counts with its widespread alert."""
    columns = ("id", "kind", "account", "connection", "state", "started_at", "resolved_at", "resolution")
    return select(*(alerts.c[name] for name in columns), alerts.c.names).where(
        alerts.c.part_of.is_(None),
        alerts.c.started_at <= until,
        or_(alerts.c.resolved_at.is_(None), alerts.c.resolved_at >= since),
    )


def _raised(row: Row[Any], numbers: int, until: datetime) -> Raised:
    over = row.resolved_at is not None and row.resolved_at <= until
    return Raised(
        id=row.id,
        kind=Kind(row.kind),
        account=row.account,
        connection=row.connection,
        state=row.state or None,
        opened_at=row.started_at,
        resolved_at=row.resolved_at if over else None,
        resolution=row.resolution if over else None,
        numbers_max=numbers,
        connections=tuple([row.connection] if row.connection else row.names or ()),
    )


async def _members(tx: AsyncConnection, since: datetime) -> dict[str, int]:
    """Return how many numbers ever joined each alert that ended since an instant, or fires."""
    whole = func.coalesce(alerts.c.part_of, alerts.c.id)
    asked = (
        select(whole.label("id"), func.count(episodes.c.key.distinct()).label("many"))
        .join(alerts, alerts.c.id == episodes.c.alert_id)
        .where(or_(alerts.c.resolved_at.is_(None), alerts.c.resolved_at >= since))
        .where(alerts.c.kind.in_([kind for kind in Kind if kind.about_numbers]))
        .group_by(whole)
    )
    return {row.id: row.many for row in await tx.execute(asked)}


async def _messages(tx: AsyncConnection, since: datetime, until: datetime) -> dict[tuple[str, str], int]:
    its = deliveries.c.alert_id, deliveries.c.receiver
    asked = select(*its, func.count().label("many")).where(
        deliveries.c.created_at >= since, deliveries.c.created_at <= until
    )
    return {(row.alert_id, row.receiver): row.many for row in await tx.execute(asked.group_by(*its))}


def _by_receiver(messages: Mapping[tuple[str, str], int], about: Iterable[Raised]) -> Counter[str]:
    """Return how many of these messages each receiver got about these alerts."""
    ids, counts = {alert.id for alert in about}, Counter[str]()
    for (alert_id, receiver), many in messages.items():
        if alert_id in ids:
            counts[receiver] += many
    return counts


def _is_about(alert: Raised, connection: str | None) -> bool:
    return connection is None or any(fnmatchcase(name, connection) for name in alert.connections)
