"""Retention: what is old and over is deleted, what is open, undelivered or kept elsewhere is not."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Boolean, LargeBinary, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store.changes import PATTERN_KEPT
from monitor.store.connections import stop_watching
from monitor.store.database import Database
from monitor.store.journal import RULES_KEPT
from monitor.store.retention import BATCH, prune
from monitor.store.tables import (
    Json,
    Packed,
    UtcDateTime,
    alerts,
    changes,
    deliveries,
    episodes,
    journal,
    metadata,
    rulesets,
    silenced,
    silences,
    told,
)
from tests.fakes.clock import START

LIMIT = START - timedelta(minutes=1)
OLD, YOUNG = LIMIT - timedelta(seconds=1), LIMIT

PRUNED: dict[str, list[tuple[str, dict[str, Any], bool]]] = {
    "actions": [("old", {"at": OLD}, True), ("young", {"at": YOUNG}, False)],
    "alerts": [
        ("resolved long ago", {"status": "resolved", "resolved_at": OLD}, True),
        ("resolved lately", {"status": "resolved", "resolved_at": YOUNG}, False),
        ("firing", {"status": "firing", "resolved_at": None}, False),
        ("a part", {"status": "resolved", "resolved_at": OLD, "part_of": "kept"}, False),
        ("a part of what is gone", {"status": "resolved", "resolved_at": OLD, "part_of": "gone"}, True),
        ("to be told yet", {"id": "untold", "status": "resolved", "resolved_at": OLD}, False),
        ("its end was told lately", {"id": "told", "status": "resolved", "resolved_at": OLD}, False),
    ],
    "changes": [("old", {"at": OLD}, True), ("young", {"at": YOUNG}, False)],
    "deliveries": [
        ("delivered long ago", {"status": "delivered", "finished_at": OLD}, True),
        ("dead for long", {"status": "dead", "finished_at": OLD}, True),
        ("closed long ago", {"status": "closed", "finished_at": OLD}, True),
        ("delivered lately", {"status": "delivered", "finished_at": YOUNG}, False),
        ("pending", {"status": "pending", "finished_at": None}, False),
        ("of a firing alert", {"alert_id": "firing", "status": "delivered", "finished_at": OLD}, False),
    ],
    "episodes": [
        ("ended long ago", {"ended_at": OLD}, True),
        ("ended lately", {"ended_at": YOUNG}, False),
        ("open", {"ended_at": None}, False),
    ],
    "inventory": [
        ("gone long ago", {"gone_at": OLD}, True),
        ("gone lately", {"gone_at": YOUNG}, False),
        ("still there", {"gone_at": None}, False),
    ],
    "gaps": [("ended long ago", {"ended_at": OLD}, True), ("ended lately", {"ended_at": YOUNG}, False)],
    "journal": [
        ("old, and a base since", {"id": 1, "identity": "based", "kind": "policy", "at": OLD}, True),
        (
            "old, and the base is young",
            {"id": 1, "identity": "based lately", "kind": "policy", "at": OLD},
            False,
        ),
        ("old, and the base was before", {"id": 11, "identity": "based", "kind": "policy", "at": OLD}, False),
        ("the last base", {"identity": "a quiet one", "kind": "base", "at": OLD}, False),
        ("young", {"id": 1, "identity": "based", "kind": "policy", "at": YOUNG}, False),
        ("the end of a connection", {"identity": "ended", "kind": "ended", "at": OLD}, True),
        ("a young end", {"identity": "ended", "kind": "ended", "at": YOUNG}, False),
    ],
    "rulesets": [
        ("last used long ago", {"id": 7, "used_at": OLD - RULES_KEPT}, True),
        ("used lately, though it says otherwise", {"id": 7, "used_at": YOUNG - RULES_KEPT}, False),
        ("of an entry that is kept", {"id": 2, "used_at": OLD - RULES_KEPT}, False),
    ],
    "patterns": [
        ("last met long ago", {"id": 1, "used_at": OLD - PATTERN_KEPT}, True),
        ("met lately, though it says otherwise", {"id": 2, "used_at": YOUNG - PATTERN_KEPT}, False),
    ],
    "silences": [
        ("ended long ago", {"ended_at": OLD}, True),
        ("ended lately", {"id": "kept", "ended_at": YOUNG}, False),
        ("active", {"ended_at": None}, False),
    ],
    "silenced": [
        ("by what is gone", {"silence_id": "gone"}, True),
        ("by what is kept", {"silence_id": "kept"}, False),
    ],
    "told": [
        ("of an alert that is gone", {"alert_id": "gone", "ended_at": None}, True),
        ("of an alert that is kept", {"alert_id": "kept", "ended_at": OLD}, False),
    ],
}
"""Rows of each table that retention prunes, and whether they go."""

KEPT = {
    "budgets": "one for each account that was ever configured",
    "discoveries": "while their account is discovered",
    "fleet": "one row",
    "replicas": "ten minutes beyond the replica",
    "watchlists": "while a replica has that config",
    "acceptances": "until a step acts on them, while their connection is watched",
    "connections": "while they are watched",
    "failures": "one row",
    "posted": "until Alertmanager has heard the end",
    "posters": "while their URL is configured",
    "pulse": "one row",
    "receivers": "while they are configured",
    "snapshots": "while their connection is watched",
}
"""Tables that retention never touches, and how long their rows live."""


def row_of(table: Table, **values: Any) -> dict[str, Any]:
    """Return a row: what is not given is old, empty or 1."""
    filler: dict[type, Any] = {UtcDateTime: OLD, Json: [], LargeBinary: b"", Packed: b"", Boolean: False}
    filled = {
        column.name: filler.get(type(column.type), "1" if column.type.python_type is str else 1)
        for column in table.columns
        if not column.primary_key or column.type.python_type is str
    }
    return filled | {"part_of": None} | values if table is alerts else filled | values


async def add(tx: AsyncConnection, table: Table, **values: Any) -> None:
    """Insert a row."""
    await tx.execute(insert(table).values(row_of(table, **values)))


async def count(tx: AsyncConnection, table: Table) -> int:
    """Return how many rows a table has."""
    return (await tx.execute(select(func.count()).select_from(table))).scalar_one()


def test_every_table_has_a_retention() -> None:
    """A new table needs a decision: retention prunes it, or something else ends its rows."""
    assert PRUNED.keys() | KEPT.keys() == metadata.tables.keys()
    assert not PRUNED.keys() & KEPT.keys()


@pytest.mark.parametrize(
    ("table", "values", "goes"),
    [
        pytest.param(metadata.tables[table], values, goes, id=f"{table}, {case}")
        for table, cases in PRUNED.items()
        for case, values, goes in cases
    ],
)
async def test_only_what_is_old_and_over_is_pruned(
    database: Database, table: Table, values: dict[str, Any], goes: bool
) -> None:
    """Each kind of row goes once it ended before the limit, and stays while it is needed."""
    async with database.write() as tx:
        if table is alerts:
            await add(tx, deliveries, id="1", alert_id="untold", status="pending", finished_at=None)
            await add(tx, deliveries, id="2", alert_id="told", status="delivered", finished_at=YOUNG)
        if table in (journal, rulesets):
            await add(tx, journal, id=10, identity="based", kind="base", ruleset=2, at=LIMIT)
            await add(tx, journal, id=12, identity="based lately", kind="base", at=YOUNG + (YOUNG - OLD))
        if table is alerts and values.get("part_of") == "kept":
            await add(tx, alerts, id="kept", status="firing", resolved_at=None)
        if table is silenced:
            await add(tx, silences, id="kept", ended_at=None)
        if table is told:
            await add(tx, alerts, id="kept", status="resolved", resolved_at=YOUNG)
        if table is deliveries:
            await add(tx, alerts, id="firing", status="firing", resolved_at=None)
        others = await count(tx, table)
        await add(tx, table, **values)
    async with database.write() as tx:
        assert await prune(tx, LIMIT) == int(goes)
        assert await count(tx, table) == others + int(not goes)
        assert await prune(tx, LIMIT) == 0


@pytest.mark.parametrize("name", KEPT)
async def test_other_tables_are_left_alone(database: Database, name: str) -> None:
    """A row whose every instant is old stays where something else decides about it."""
    table = metadata.tables[name]
    async with database.write() as tx:
        await add(tx, table)
    async with database.write() as tx:
        assert await prune(tx, LIMIT) == 0
        assert await count(tx, table) == 1


async def test_one_transaction_prunes_a_batch(database: Database) -> None:
    """Much to delete is deleted in parts, so that no sync waits long for its turn to write."""
    async with database.write() as tx:
        await tx.execute(insert(changes), [row_of(changes)] * (BATCH + 1))
        await add(tx, episodes)
    async with database.write() as tx:
        assert [await prune(tx, LIMIT) for _ in range(3)] == [BATCH + 1, 1, 0]


@pytest.mark.parametrize("name", ["acceptances", "connections", "silenced", "snapshots"])
async def test_connection_that_is_no_longer_watched_leaves_nothing_waiting(
    database: Database, name: str
) -> None:
    """Its state goes, also what was accepted but not acted on: it must not apply when it is watched again."""
    table = metadata.tables[name]
    async with database.write() as tx:
        for identity in ("gone", "stays"):
            await add(tx, table, identity=identity)
        await stop_watching(tx, ["gone"], OLD)
        assert [row.identity for row in await tx.execute(select(table.c.identity))] == ["stays"]
