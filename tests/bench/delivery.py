"""Rows about alerts: how soon one is out, and how long many take (wall time: the machine should be quiet)."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from monitor.clock import SystemClock
from monitor.errors import Refusal
from monitor.notify.delivery import Failed
from monitor.store.database import Database
from monitor.store.outbox import StoredOutbox
from tests.bench.child import Child
from tests.bench.row import Measured, Together
from tests.bench.setting import Bench, Fleet, cpu_s, daemon, percentile, provider, synced, until
from tests.bench.stored import RECEIVER, add_backlog


async def reach(bench: Bench) -> Sequence[Measured]:
    """From a provider's change to its alert at the receiver: 1,000 connections at 10 s, confirm_syncs 1."""
    interval = bench.count(10, 1)
    fleet = Fleet(name="f1ee7", connections=bench.count(1000, 20), interval=f"{interval}s")
    async with AsyncExitStack() as stack:
        source, url = await stack.enter_async_context(provider(numbers=10, changed=1))
        extra = f"[drift]\nconfirm_syncs = 1\n{RECEIVER.format(url=url, repeat='off')}"
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
    median_s = percentile(took_s, 0.5)
    detail = f"median {median_s:.2f} s, longest {max(took_s):.2f} s, {len(took_s)} alerts"
    return [Measured(value=percentile(took_s, 0.99), detail=detail)]


async def one_of(bench: Bench, pending: int, together: Together) -> float:
    """Return the CPU milliseconds of a delivery from a backlog of so many."""
    fleet = Fleet(name="a10e", connections=1)
    async with provider(numbers=1) as (source, url):
        store = f"sqlite:///{bench.folder}/backlog-{pending}.db"
        await add_backlog(bench, store, pending)
        await together()
        extra = RECEIVER.format(url=url, repeat="off")
        async with daemon(bench, url, fleet, extra=extra, store=store) as (child, _):
            before, early = await child.usage(), len(await source.ask("alerts"))
            await until(lambda: _received(source, pending), f"{pending} deliveries")
            after = await child.usage()
    return cpu_s(before, after) * 1000 / max(pending - early, 1)


async def turn(bench: Bench) -> Sequence[Measured]:
    """A turn of the drain beside 100,000 messages that wait, and beside 1,000."""
    small, big = [await _turn(bench, many) for many in (bench.count(1_000, 50), bench.count(100_000, 500))]
    return [Measured(value=big / small, detail=f"{small * 1000:.2f} ms, {big * 1000:.2f} ms")]


async def _turn(bench: Bench, many: int) -> float:
    """Return the median CPU seconds of leasing eight of so many messages, and settling them as failed."""
    store = f"sqlite:///{bench.folder}/turn-{many}.db"
    await add_backlog(bench, store, many)
    took_s = []
    async with Database(store) as database:
        outbox = StoredOutbox(database, SystemClock())
        for _ in range(bench.count(50, 3)):
            began_s = time.process_time()
            assert await outbox.next_due_at("hook") is not None
            now = datetime.now(UTC)
            tries = [
                Failed(delivery=each, at=now, next_try_at=now, refusal=Refusal.RETRY, error="busy")
                for each in (await outbox.lease_due("hook", limit=8, lease_s=60)).deliveries
            ]
            await outbox.settle(tries)
            took_s.append(time.process_time() - began_s)
    return percentile(took_s, 0.5)


async def _received(source: Child, many: int) -> bool:
    return len(await source.ask("alerts")) >= many
