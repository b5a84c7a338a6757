"""Stores as they are after a long life: synced connections, alerts that are open, messages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import xxhash
from sqlalchemy import Table, insert, update

from monitor.config import load_config
from monitor.daemon.build import build
from monitor.drift.alert import AlertBody, Status, encode_body
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Records, judge, step
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Counts
from monitor.simulator import build_world
from monitor.simulator.answer import envelope, render
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.inventory import take_stock
from monitor.store.receivers import know_receivers
from monitor.store.tables import DELIVERED, PENDING, alerts, connections, deliveries, snapshots, told
from monitor.voicelink.decode import decode_sync
from monitor.web.server import bind
from tests.bench.setting import Bench, Fleet, config_text
from tests.fakes.alerts import BODY
from tests.fakes.log import FakeLog

RECEIVER = (
    '[[receivers]]\nname = "hook"\ntype = "webhook"\nurl = "{url}/hook"\nrepeat_interval = "{repeat}"\n'
)
AT_ONCE = """
[drift]
confirm_syncs = 1
resolve_syncs = 1
keep_firing_for = "0s"
[alerts]
update_interval = "0s"
widespread_connections = 0
"""
"""Each sync that finds a change opens or ends an alert."""
HOUR = timedelta(hours=1)


async def filled(
    bench: Bench, url: str, fleet: Fleet, *, numbers: int, due_in: timedelta = HOUR, store: str | None = None
) -> str:
    """Make a store as it is when every connection was synced once; return its URL."""
    name = uuid4().hex
    config_file, store = bench.folder / f"{name}.toml", store or f"sqlite:///{bench.folder / name}.db"
    await asyncio.to_thread(config_file.write_text, config_text(url, (fleet,), store))
    bench.progress("storing connections", 0.0)
    now = datetime.now(UTC)
    config = await asyncio.to_thread(load_config, config_file, {})
    body = envelope(render(next(build_world(1, numbers).connections())))
    verdict = judge(Records(), await decode_sync(body), Guard(), now)
    done = step(Records(), Rules(), now, scope="bench", verdict=verdict)
    codec = Codec()
    blob, counts = codec.pack_records(done.records), codec.pack_counts(done.counts or Counts())
    applied: dict[str, Any] = {"digest": xxhash.xxh3_128_hexdigest(body), "counts": counts, "outcome": "ok"}
    applied |= {"applied_at": now, "synced_at": now, "succeeded_at": now, "due_at": now + due_in}
    async with _opened(bench, store) as database:
        with bind("127.0.0.1", 0) as sock:
            parts = build(config, sock=sock, log=FakeLog().logger, database=database)
            await parts.active.start()
            async with database.write() as tx:
                written = update(connections).values(applied).returning(connections.c.identity)
                identities = (await tx.execute(written)).scalars().all()
                await tx.execute(
                    insert(snapshots), [{"identity": identity, "records": blob} for identity in identities]
                )
                for identity in identities:
                    await take_stock(tx, identity, done.came, (), now)
            await parts.presence.leave()
            await parts.active.close()
    return store


async def add_alerts(bench: Bench, store: str, many: int) -> None:
    """Let so many alerts fire that the receiver knows of, each of a connection of its own."""
    now = datetime.now(UTC)
    bodies = _bodies(many)
    firing: dict[str, Any] = {"kind": BODY.kind, "account": BODY.account, "state": BODY.state or ""}
    firing |= {
        "numbers": BODY.numbers_total,
        "status": Status.FIRING,
        "severity": BODY.severity,
        "version": 1,
        "started_at": now,
        "updated_at": now,
    }
    sent = {"status": DELIVERED, "finished_at": now, "remind_from": now}
    await _insert(
        bench,
        store,
        {
            alerts: [
                {"id": body.alert_id, "scope": body.alert_id, "connection": body.connection}
                | {"body": encode_body(body)}
                | firing
                for body in bodies
            ],
            deliveries: [_delivery(body, now) | sent for body in bodies],
            told: [{"alert_id": body.alert_id, "receiver": "hook", "told_at": now} for body in bodies],
        },
    )


async def add_backlog(bench: Bench, store: str, many: int) -> None:
    """Let so many deliveries wait, each of an alert of its own."""
    now = datetime.now(UTC)
    await _insert(
        bench, store, {deliveries: [_delivery(body, now) | {"status": PENDING} for body in _bodies(many)]}
    )


def _bodies(many: int) -> list[AlertBody]:
    return [
        msgspec.structs.replace(
            BODY, alert_id=f"alert-{each}", connection=f"acme-{each}", connections=[f"acme-{each}"]
        )
        for each in range(many)
    ]


def _delivery(body: AlertBody, now: datetime) -> dict[str, Any]:
    return {
        "id": f"delivery-{body.alert_id}",
        "receiver": "hook",
        "alert_id": body.alert_id,
        "change": body.change,
        "version": 1,
        "body": encode_body(body),
        "created_at": now,
        "due_at": now,
    }


async def _insert(bench: Bench, store: str, rows: dict[Table, Sequence[dict[str, Any]]]) -> None:
    async with _opened(bench, store) as database, database.write() as tx:
        await know_receivers(tx, ["log", "hook"], datetime.now(UTC))
        for table, values in rows.items():
            if values:
                await tx.execute(insert(table), values)


@asynccontextmanager
async def _opened(bench: Bench, store: str) -> AsyncIterator[Database]:
    async with bench.storing, Database(store) as database:
        await database.migrate()
        yield database
