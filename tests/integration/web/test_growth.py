"""No page, answer or file costs more because the history is longer: counted in steps of the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from fastapi.routing import APIRoute
from sqlalchemy import event, insert

from monitor.drift.alert import Resolution, Status, encode_body
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Change, ChangeKind
from monitor.store.alert_lists import firing_alerts
from monitor.store.changes import add_changes
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.inventory import take_stock
from monitor.store.outbox import backlogs, receiver_rows
from monitor.store.tables import (
    actions,
    alerts,
    changes,
    deliveries,
    episodes,
    gaps,
    receivers,
    silences,
    snapshots,
)
from monitor.web.api.openapi import build_openapi
from monitor.web.problems import API
from tests.fakes.alerts import BODY
from tests.fakes.clock import START
from tests.integration.web.site import CODEC, Site
from tests.unit.drift.build import Watch, broken, fleet, key, ready

NAMES = [f"acme-{place}" for place in range(5)]
SHORT, LONG = 1_000, 10_000
"""Rows of each kind; the newest are the same, so that all windows of time hold as many."""
FIRING = 20
"""Alerts that fire."""
APART = timedelta(minutes=50)
STEP = 50
"""Steps of SQLite's machine that are counted together."""

VALUES = {
    "connection": ("acme-1", "acme-*", "*-[12]", "nobody-*"),
    "state": ("NO_BOT", "ready", "NOTHING"),
    "since": ("2026-03-01T11:59:00Z", "2025-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    "from": ("2026-03-01T11:59:00Z", "2025-12-01T00:00:00Z"),
    "to": ("2026-03-01T11:59:00Z", "2026-02-20T00:00:00Z"),
    "account": ("acme", "nobody"),
    "receiver": ("hook", "nobody"),
    "user": ("ops", "nobody"),
    "alert_id": ("a7", "nothing"),
    "part_of": ("a7", "nothing"),
    "number": ("9180*", "*07", "nothing"),
    "limit": ("10",),
}
"""What the filters are given that take any text; those that take a few words are given all of them."""
ELSEWHERE = ("/api/v1/replay",)
"""Answered by a process of its own."""
LEFT_OUT = {
    "cursor": "it is that of a page",
    "format": "the file is read page by page",
    "net": "it reads the journal, of which `test_net` counts the statements",
}
PAGES = (
    *("/", "/changes", "/alerts", "/silences", "/numbers", "/runbooks", "/metrics", "/silences?show=ended"),
    *("/connections/acme-1", "/connections/acme-1?show=all", "/connections/acme-1?state=NOTHING"),
    *("/alerts/a7", f"/numbers/{key(1)}", "/numbers?number=0001"),
    *(f"/changes?connection={name}" for name in VALUES["connection"]),
    *(f"/changes?state={state}" for state in VALUES["state"]),
    *(f"/changes?change={change.value}" for change in ChangeKind),
    *("/changes?since=24h", "/changes?since=30d&state=NOTHING", "/changes?at=2026-03-01T12:00:00Z"),
    *(f"/alerts?connection={name}" for name in VALUES["connection"]),
    *("/alerts?status=resolved", "/alerts?kind=sync_stale", "/alerts?severity=info", "/alerts?part_of=a7"),
)


async def fill(database: Database, many: int, firing: int) -> None:
    """Give the store so many changes, gaps, actions, deliveries, and silences and alerts that have ended.

    SQLite gets no statistics, as a daemon gives it none: they may be what makes it find the right index.
    """
    watching = Watch(Rules())
    watching.sync(*fleet(10, broken(1)))
    watching.sync(*fleet(10, broken(1)))
    blob = CODEC.pack_records(watching.records)
    change = Change(ChangeKind.APPEARED, key(1), ready(1), broken(1))
    back = Change(ChangeKind.RESOLVED, key(2), broken(2), ready(2))
    async with database.write() as tx:
        for name in NAMES:
            await tx.execute(insert(snapshots).values(identity=f"id-{name}", records=blob))
            await take_stock(tx, f"id-{name}", fleet(10), (), START)
            whose = ConnectionName(identity=f"id-{name}", name=name, account="acme")
            await add_changes(tx, whose, 1, [change, back], START)
        newest = [dict(row._mapping) for row in await tx.execute(changes.select())]
        await tx.execute(changes.delete())
        instants = [START - place * APART for place in range(1, many)]
        aged = [newest[place % len(newest)] | {"at": at} for place, at in _aged(instants)]
        # Written in the order of time, as syncs do.
        rows = [row | {"id": place} for place, row in enumerate([*aged, *newest])]
        await tx.execute(insert(changes), rows)
        await tx.execute(
            insert(receivers), [{"name": name, "known_since": START} for name in ("hook", "log")]
        )
        for table, made in _rows(instants, firing).items():
            await tx.execute(insert(table), made)


def _aged(instants: list[Any]) -> list[tuple[int, Any]]:
    return list(enumerate(instants))[::-1]


def _rows(instants: list[Any], firing: int) -> dict[Any, list[dict[str, Any]]]:
    """Return a row of each table for each instant, the oldest first."""
    found: dict[Any, list[dict[str, Any]]] = {
        table: [] for table in (actions, alerts, deliveries, episodes, gaps, silences)
    }
    for place, at in _aged(instants):
        name = NAMES[place % len(NAMES)]
        alert_id, over = f"a{place}", place >= firing
        body = msgspec.structs.replace(
            BODY,
            alert_id=alert_id,
            connection=name,
            connections=[name],
            status=Status.RESOLVED if over else Status.FIRING,
            resolution=Resolution.RECOVERED if over else None,
            resolved_at=BODY.started_at if over else None,
        )
        times = {"started_at": at, "updated_at": at, "resolved_at": at if over else None}
        told = {"alert_id": alert_id, "version": 1, "body": encode_body(body)}
        found[alerts].append(
            {
                "id": alert_id,
                "scope": f"id-{name}",
                "account": "acme",
                "kind": body.kind,
                "state": "NO_BOT",
                "status": body.status,
                "severity": body.severity,
                "version": 1,
                "connection": name,
                "numbers": 1,
                "body": told["body"],
                **times,
            }
        )
        found[episodes].append(
            {
                "id": alert_id,
                "alert_id": alert_id,
                "scope": f"id-{name}",
                "kind": body.kind,
                "key": key(place),
                "episode_group": "g",
                "severity": body.severity,
                "since": at,
                "opened_at": at,
                "ended_at": at if over else None,
                "resolution": "recovered" if over else None,
                "track": b"",
            }
        )
        sent = {
            "receiver": "hook",
            "change": "opened",
            "status": "delivered",
            "due_at": at,
            "finished_at": at,
        }
        found[deliveries].append({"id": alert_id, "created_at": at, **sent, **told})
        found[gaps].append({"identity": f"id-{name}", "began_at": at - APART / 2, "ended_at": at})
        found[actions].append(
            {"at": at, "action": "sync", "user": "ops", "address": "::1", "target": name, "logged": True}
        )
        ends = {"until": at, "until_ready": False, "created_at": at - APART, "ended_at": at}
        found[silences].append({"id": alert_id, "connection": name, "reason": "known", **ends})
    return found


@asynccontextmanager
async def stored(folder: Path, many: int, firing: int) -> AsyncIterator[Site]:
    """Serve a store with so much history."""
    async with Database(f"sqlite:///{folder}/{many}-{firing}.db") as database:
        await database.migrate()
        site = Site(database=database)
        await site.watch(*NAMES)
        await fill(database, many, firing)
        async with site.serve():
            yield site


class Steps:
    """Counts the steps of all readers of a database."""

    def __init__(self, database: Database) -> None:
        self.taken = 0
        event.listen(database._readers.sync_engine, "connect", self._watch)

    def _watch(self, connection: Any, _record: object) -> None:
        connection.driver_connection._conn.set_progress_handler(self._count, STEP)

    def _count(self) -> int:
        self.taken += STEP
        return 0


def addresses(site: Site) -> list[str]:
    """Return every page and every question of the API, with each filter alone and some together."""
    every = [route for router in site.routers for route in router.routes]
    api = [route for route in every if isinstance(route, APIRoute) and route.path.startswith(API)]
    found = list(PAGES)
    document = build_openapi(api, "1")
    for path, methods in document["paths"].items():
        if "get" not in methods or path in ELSEWHERE:
            continue
        known = {"{name}": "acme-1", "{number}": key(1), "{alert_id}": "a7"}
        for part, value in known.items():
            path = path.replace(part, value)  # noqa: PLW2901 - filled in
        found.append(path)
        for parameter in methods["get"].get("parameters", ()):
            name, schema = parameter["name"], parameter["schema"]
            if parameter["in"] != "query" or name in LEFT_OUT:
                continue
            values = VALUES.get(name) or _words(schema, document)
            assert values, f"{path}: what may {name} be?"
            found += [f"{path}?{name}={value}" for value in values]
    found += [
        "/api/v1/changes?connection=acme-1&state=NOTHING&change=appeared",
        "/api/v1/deliveries?receiver=hook&status=dead",
        "/api/v1/deliveries?receiver=hook&status=delivered&connection=acme-1",
        "/api/v1/alerts?status=resolved&connection=nobody&state=NO_BOT",
    ]
    return found


def _words(schema: dict[str, Any], document: dict[str, Any]) -> tuple[str, ...]:
    """Return all that a parameter may be, if that is a few words."""
    if schema.get("type") == "boolean":
        return ("true", "false")
    named = schema.get("$ref", "").rpartition("/")[2]
    return tuple(document["components"]["schemas"].get(named, schema).get("enum", ()))


async def measured(folder: Path, many: int, firing: int = FIRING) -> dict[str, int]:
    """Return how many steps each address takes, once everything is warm."""
    async with stored(folder, many, firing) as site:
        await site.database._readers.dispose()
        steps = Steps(site.database)
        found = {}
        for address in addresses(site):
            for _ in range(2):
                steps.taken = 0
                answer = await site.client.get(address)
                assert answer.status_code in (200, 303, 404), address
            found[address] = steps.taken
        steps.taken = 0
        async with site.database.read() as tx:
            await firing_alerts(tx, worst=20)
            await backlogs(tx)
            await receiver_rows(tx)
        found["the frame of each page"] = steps.taken
        return found


FLAT = 1.5
"""How much of the steps may be chance: which pages of the file are read, and where an index is split."""
LINEAR = 12
"""Steps for each further alert, where alerts are looked through in the index that has all of it."""


async def test_nothing_costs_more_with_a_longer_history(tmp_path: Path) -> None:
    """Ten times the changes, alerts that ended, deliveries, gaps, actions and silences: the same steps.

    The lists of alerts look through an index of what is asked for, a few steps for each, never the alerts.
    """
    short, long = await measured(tmp_path, SHORT), await measured(tmp_path, LONG)
    of_alerts = ("/alerts", "/api/v1/alerts", "/api/v1/connections/", "/connections/", "/api/v1/deliveries?")
    grown = {
        address: (short[address], steps)
        for address, steps in long.items()
        if steps > FLAT * short[address] + (LINEAR * (LONG - SHORT) if address.startswith(of_alerts) else 0)
    }
    assert grown == {}


async def test_firing_alerts_cost_a_page_a_few_steps_each(tmp_path: Path) -> None:
    """Each page says how many fire, the overview how bad it is where, and their list counts what it shows."""
    few, many = await measured(tmp_path, SHORT), await measured(tmp_path, SHORT, firing=SHORT)
    more = SHORT - FIRING
    grown = {
        address: (few[address], steps)
        for address, steps in many.items()
        if steps > FLAT * few[address] + 3 * LINEAR * more
    }
    assert grown == {}
