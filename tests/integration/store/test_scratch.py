"""A store in memory, empty or with what is open in another one."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, Table, select

from monitor.drift.alert import Status
from monitor.store.database import Database
from monitor.store.scratch import copy_of_what_is_open, scratch
from monitor.store.tables import alerts, connections, deliveries, episodes, metadata, snapshots, told
from tests.fakes.post import Post
from tests.fakes.stored import MINUTE, NOW, begin, claim_all


async def rows(database: Database, table: Table) -> list[Row[Any]]:
    """Return a table's rows, leases aside."""
    columns = [column for column in table.c if column.name not in ("lease_until", "holder")]
    async with database.read() as tx:
        return list(await tx.execute(select(*columns).order_by(*table.primary_key)))


async def test_scratch_store_is_empty_and_its_own() -> None:
    """It takes what any store takes, and no other one sees that."""
    async with scratch() as one, scratch() as other:
        await begin(one, "a")
        assert len(await rows(one, connections)) == 1
        for table in metadata.sorted_tables:
            assert await rows(other, table) == []


async def test_copy_has_what_is_open_and_the_source_stays(database: Database, post: Post) -> None:
    """What is watched, fires or waits is as it was, free to be claimed; what is over is there if new."""
    await post.break_one()
    await post.mend_all()
    await post.break_one()
    await post.take()
    await begin(database, "b", due_at=NOW)
    assert "b" in await claim_all(database, NOW + MINUTE)
    writes = database.writes
    async with copy_of_what_is_open(database, since=NOW + timedelta(days=1)) as copy:
        for table in (connections, snapshots):
            assert await rows(copy, table) == await rows(database, table)
        fires = {row.id for row in await rows(database, alerts) if row.status == Status.FIRING}
        assert 0 < len(fires) < len(await rows(database, alerts))
        assert {row.id for row in await rows(copy, alerts)} == fires
        for table in (episodes, deliveries, told):
            about = {row.alert_id for row in await rows(copy, table)}
            assert about == fires, table
        assert "b" in await claim_all(copy, NOW + MINUTE)
    async with copy_of_what_is_open(database, since=NOW - MINUTE) as copy:
        assert await rows(copy, alerts) == await rows(database, alerts)
    assert database.writes == writes
