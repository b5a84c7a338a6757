"""A store in memory: what is done to it is seen, and then forgotten."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Select, Table, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Status
from monitor.store.claims import free_leases
from monitor.store.database import IN_MEMORY, Database
from monitor.store.tables import (
    PENDING,
    acceptances,
    alerts,
    connections,
    deliveries,
    discoveries,
    episodes,
    failures,
    fleet,
    has_status,
    metadata,
    posted,
    posters,
    receivers,
    silenced,
    silences,
    snapshots,
    told,
)

_BATCH = 500
"""Rows that are held at once."""


@asynccontextmanager
async def scratch() -> AsyncIterator[Database]:
    """Give an empty store in memory, with one transaction at a time, be it to read or to write."""
    async with Database(IN_MEMORY) as database:
        async with database.write() as tx:
            await tx.run_sync(metadata.create_all)
        yield database


@asynccontextmanager
async def copy_of_what_is_open(source: Database, *, since: datetime) -> AsyncIterator[Database]:
    """Give a scratch store with what policy and enrolment go by: what is watched, open and waits.

    Of what has ended it has the alerts that began `since`, which newer ones may join. Nobody holds anything,
    and no replica is there.

    Raises:
        StoreUnavailable: The source cannot be read.
    """
    async with scratch() as copy, source.read() as tx:
        for table, query in _open(since).items():
            await _copy(tx, query, table, copy)
        await copy.transact(free_leases)
        yield copy


def _open(since: datetime) -> Mapping[Table, Select[Any]]:
    """Return what is copied of each table."""
    is_open = or_(alerts.c.status == Status.FIRING, alerts.c.record.is_not(None), alerts.c.started_at > since)
    its = select(alerts.c.id).where(alerts.c.status == Status.FIRING)
    whole = (connections, snapshots, failures, discoveries, fleet, receivers, posted, posters)
    return {
        **{table: select(table) for table in (*whole, acceptances, silenced)},
        silences: select(silences).where(silences.c.ended_at.is_(None)),
        alerts: select(alerts).where(is_open),
        episodes: select(episodes).where(episodes.c.ended_at.is_(None)),
        deliveries: select(deliveries).where(
            or_(has_status(deliveries, PENDING), deliveries.c.alert_id.in_(its))
        ),
        told: select(told).where(told.c.alert_id.in_(its)),
    }


async def _copy(tx: AsyncConnection, query: Select[Any], table: Table, copy: Database) -> None:
    async with tx.stream(query.execution_options(yield_per=_BATCH)) as rows:
        async for part in rows.mappings().partitions():
            await copy.transact(partial(_add, table, [dict(row) for row in part]))


async def _add(table: Table, rows: list[dict[str, Any]], tx: AsyncConnection) -> None:
    await tx.execute(insert(table), rows)
