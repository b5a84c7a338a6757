"""Rows about alerts: how soon one is out, and how long many take (wall time: the machine should be quiet)."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import insert

from monitor.clock import SystemClock
from monitor.drift.alert import encode_body
from monitor.errors import Refusal
from monitor.notify.delivery import Failed
from monitor.store.database import Database
from monitor.store.outbox import StoredOutbox, know_receivers
from monitor.store.tables import deliveries
from tests.bench.child import Child
from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, daemon, percentile, provider, synced, until
from tests.fakes.alerts import BODY

_RECEIVER = '[[receivers]]\nname = "hook"\ntype = "webhook"\nurl = "{url}/hook"\n'


async def reach(bench: Bench) -> Measured:
    """From a provider's change to its alert at the receiver: 1,000 connections at 10 s, confirm_syncs 1."""
    interval = bench.count(10, 1)
    fleet = Fleet(name="f1ee7", connections=bench.count(1000, 20), interval=f"{interval}s")
    async with AsyncExitStack() as stack:
        source, url = await stack.enter_async_context(provider(numbers=10, changed=1))
        extra = f"[drift]\nconfirm_syncs = 1\n{_RECEIVER.format(url=url)}"
        await stack.enter_async_context(daemon(bench, url, fleet, extra=extra))
        await synced(source, fleet, 2)
        rng = random.Random(0)
        broken_s: dict[str, float] = {}
        chosen = rng.sample(range(fleet.connections), bench.count(200, 5))
        for each in chosen:
            bench.progress("breaking", len(broken_s) / len(chosen))
            broken_s[f"{fleet.name}-{each}"] = await source.ask("break", connection=fleet.identity(each))
            await asyncio.sleep(rng.uniform(0, 2 * interval / len(chosen)))
        await until(lambda: _received(source, len(chosen)), "the alerts")
        arrived_s: list[list[str | float]] = await source.ask("alerts")
    took_s = [float(at_s) - broken_s[str(connection)] for connection, at_s in arrived_s]
    return Measured(
        value=percentile(took_s, 0.99),
        detail=f"median {percentile(took_s, 0.5):.2f} s, longest {max(took_s):.2f} s, {len(took_s)} alerts",
    )


async def backlog(bench: Bench) -> Measured:
    """Draining 1,000 deliveries to a webhook on this machine, from the first to the last."""
    many = bench.count(1000, 20)
    database = bench.folder / "backlog.db"
    await _fill(database, many)
    fleet = Fleet(name="a10e", connections=1)
    async with AsyncExitStack() as stack:
        source, url = await stack.enter_async_context(provider(numbers=1))
        extra = _RECEIVER.format(url=url)
        child, _ = await stack.enter_async_context(
            daemon(bench, url, fleet, extra=extra, store=f"sqlite:///{database}")
        )
        before = await child.usage()
        await until(lambda: _received(source, many), f"{many} deliveries")
        after = await child.usage()
        arrived_s = [float(at_s) for _, at_s in await source.ask("alerts")]
    return Measured(
        value=max(arrived_s) - min(arrived_s),
        detail=f"{(after.cpu_s - before.cpu_s) * 1000 / many:.2f} ms of CPU a delivery",
    )


async def turn(bench: Bench) -> Measured:
    """A turn of the drain beside 100,000 messages that wait, and beside 1,000."""
    small, big = [await _turn(bench, many) for many in (bench.count(1_000, 50), bench.count(100_000, 500))]
    return Measured(value=big / small, detail=f"{small * 1000:.2f} ms, {big * 1000:.2f} ms")


async def _turn(bench: Bench, many: int) -> float:
    """Return the median CPU seconds of leasing eight of so many messages, and settling them as failed."""
    file = bench.folder / f"turn-{many}.db"
    await _fill(file, many)
    took_s = []
    async with Database(f"sqlite:///{file}") as database:
        outbox = StoredOutbox(database, SystemClock())
        for _ in range(bench.count(50, 3)):
            began_s = time.process_time()
            assert await outbox.next_due_at("hook") is not None
            now = datetime.now(UTC)
            tries = [
                Failed(delivery=each, at=now, next_try_at=now, refusal=Refusal.RETRY, error="busy")
                for each in await outbox.lease_due("hook", limit=8, lease_s=60)
            ]
            await outbox.settle(tries)
            took_s.append(time.process_time() - began_s)
    return percentile(took_s, 0.5)


async def _received(source: Child, many: int) -> bool:
    return len(await source.ask("alerts")) >= many


async def _fill(file: Path, many: int) -> None:
    """Make a store in which so many deliveries wait, each of an alert of its own."""
    now = datetime.now(UTC)
    async with Database(f"sqlite:///{file}") as database:
        await database.migrate()
        async with database.write() as tx:
            await know_receivers(tx, ["log", "hook"], now)
            await tx.execute(
                insert(deliveries),
                [
                    {
                        "id": f"delivery-{each}",
                        "receiver": "hook",
                        "alert_id": f"alert-{each}",
                        "change": BODY.change,
                        "version": 1,
                        "body": encode_body(msgspec.structs.replace(BODY, alert_id=f"alert-{each}")),
                        "status": "pending",
                        "created_at": now,
                        "due_at": now,
                    }
                    for each in range(many)
                ],
            )
