"""No stored instant lies further in the future than it could have been planned, whatever the clock did."""

from datetime import timedelta

import pytest
from sqlalchemy import Table, delete, insert, select

from monitor.notify.alertmanager.poster import LEASE_MARGIN_S as POSTER_MARGIN_S
from monitor.notify.drain import LEASE_MARGIN_S as DRAIN_MARGIN_S
from monitor.store.database import Database
from monitor.store.instants import EXEMPT, LONGEST_DELAYS, pull_in
from monitor.store.tables import UtcDateTime, connections, deliveries, metadata, posters
from monitor.sync.schedule import LEASE
from tests.fakes.stored import NOW, SECOND
from tests.integration.store.test_retention import row_of

AHEAD = timedelta(hours=1)

INSTANTS = [
    column
    for table in metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, UtcDateTime)
]


def test_every_instant_of_the_store_is_bounded_or_exempt() -> None:
    """Who adds a column with an instant says how far in the future it may lie."""
    assert {*LONGEST_DELAYS} | {*EXEMPT} == {*INSTANTS}
    assert not {*LONGEST_DELAYS} & {*EXEMPT}


def test_leases_are_not_cut_short() -> None:
    """What a running process may lease lies within the bound."""
    assert LONGEST_DELAYS[connections.c.lease_until] >= LEASE
    timeout_s = 60
    assert LONGEST_DELAYS[deliveries.c.lease_until].total_seconds() >= timeout_s + DRAIN_MARGIN_S
    assert LONGEST_DELAYS[posters.c.lease_until].total_seconds() >= 2 * timeout_s + POSTER_MARGIN_S


@pytest.mark.parametrize("table", dict.fromkeys(column.table for column in LONGEST_DELAYS), ids=str)
async def test_instant_beyond_its_delay_is_pulled_in(database: Database, table: Table) -> None:
    """The clock was set back by an hour: what it left ahead is pulled in, once; nothing else moves."""
    delays = {column: delay for column, delay in LONGEST_DELAYS.items() if column.table is table}
    key = list(table.primary_key)
    for column, delay in delays.items():
        latest = NOW + delay
        async with database.write() as tx:
            await tx.execute(delete(table))
            for place, at in enumerate([latest - SECOND, latest, latest + AHEAD]):
                unique = {
                    each.name: place if each.type.python_type is int else f"{place}"
                    for each in table.columns
                    if each.primary_key or each.unique
                }
                await tx.execute(insert(table).values(row_of(table, **unique) | {column.name: at}))
        for _ in range(2):
            async with database.write() as tx:
                await pull_in(tx, NOW)
            async with database.read() as tx:
                found = (await tx.execute(select(column).order_by(*key))).scalars().all()
            assert found == [latest - SECOND, latest, latest], column


async def test_message_that_was_never_tried_is_due_at_once(database: Database) -> None:
    """An alert opened just before the clock was set back does not wait as long as one that was refused."""
    untried = {"attempts": 0, "due_at": NOW + AHEAD, "lease_until": None}
    async with database.write() as tx:
        await tx.execute(insert(deliveries).values(row_of(deliveries, id="1", seq=1) | untried))
        await tx.execute(
            insert(deliveries).values(row_of(deliveries, id="2", seq=2) | untried | {"attempts": 1})
        )
    async with database.write() as tx:
        await pull_in(tx, NOW)
    async with database.read() as tx:
        found = (await tx.execute(select(deliveries.c.due_at).order_by(deliveries.c.seq))).scalars().all()
    assert found == [NOW, NOW + LONGEST_DELAYS[deliveries.c.due_at]]
