"""Rows about how large the daemon is, how soon it is there, and what it costs when nothing happens."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import insert, update

from monitor.config import load_config
from monitor.daemon.build import build
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Records, judge, step
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Counts
from monitor.simulator import build_world
from monitor.simulator.answer import envelope, render
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.tables import connections, snapshots
from monitor.voicelink.decode import decode_sync
from monitor.web.server import bind
from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, config_text, cpu_s, daemon, provider, synced, watch
from tests.fakes.log import FakeLog

_MIB = 1024 * 1024


async def memory(bench: Bench) -> Measured:
    """Resident memory with 1,000 connections of 1,000 numbers, all of them synced twice."""
    fleet = Fleet(name="f1ee7", connections=bench.count(1000, 20), interval="1s" if bench.quick else "40s")
    async with provider(numbers=1000, changed=10) as (source, url), daemon(bench, url, fleet) as (child, _):
        await synced(source, fleet, 1)
        await source.ask("alternate", prefixes=[fleet.prefix])
        await synced(source, fleet, 2)
        usage = await child.usage()
    return Measured(value=usage.rss_bytes / _MIB, detail=f"peak {usage.peak_rss_bytes / _MIB:.0f} MiB")


async def start(bench: Bench) -> Measured:
    """From starting the process to ready, with 1,000,000 stored numbers (wall time)."""
    fleet = Fleet(name="f1ee7", connections=bench.count(1000, 10))
    store = f"sqlite:///{bench.folder}/stored.db"
    async with provider(numbers=1) as (_, url):
        bench.progress("storing a million numbers", 0.0)
        config = bench.folder / "stored.toml"
        await asyncio.to_thread(config.write_text, config_text(url, (fleet,), store, ""))
        await fill(config, store, numbers=1000)
        times_s = []
        for _ in range(bench.count(3, 1)):
            bench.progress("starting", 0.5)
            started_s = time.monotonic()
            async with daemon(bench, url, fleet, store=store) as (child, _page):
                times_s.append(time.monotonic() - started_s)
                used_s = (await child.usage()).cpu_s
    return Measured(value=min(times_s), detail=f"best of {len(times_s)}; {used_s:.2f} s of CPU")


async def idle_cpu(bench: Bench) -> Measured:
    """Part of a core that 10 connections at 60 s use."""
    share, _ = await _idle(bench)
    return Measured(value=share * 100)


async def idle_memory(bench: Bench) -> Measured:
    """Resident memory meanwhile."""
    _, rss_bytes = await _idle(bench)
    return Measured(value=rss_bytes / _MIB)


async def _idle(bench: Bench) -> tuple[float, int]:
    """Return the part of a core, and the bytes, that an idle daemon uses."""
    fleet = Fleet(name="1d1e", connections=10, interval="60s")
    async with provider(numbers=100) as (source, url), daemon(bench, url, fleet) as (child, _):
        if not bench.quick:
            await synced(source, fleet, 1)
        before = await child.usage()
        await watch(bench, bench.pick(60.0, 1.0), "idling")
        after = await child.usage()
    return cpu_s(before, after) / (after.at_s - before.at_s), after.rss_bytes


async def fill(config_file: Path, store: str, *, numbers: int) -> None:
    """Make a store as it is when every connection was synced once, to be synced again in an hour."""
    now = datetime.now(UTC)
    config = await asyncio.to_thread(load_config, config_file, {})
    snapshot = await decode_sync(envelope(render(next(build_world(1, numbers).connections()))))
    codec = Codec()
    verdict = judge(Records(), snapshot, Guard(), now)
    done = step(Records(), Rules(), now, scope="bench", verdict=verdict)
    blob, counts = codec.pack_records(done.records), codec.pack(done.counts or Counts())
    async with Database(store) as database:
        await database.migrate()
        with bind("127.0.0.1", 0) as sock:
            parts = build(config, sock=sock, log=FakeLog().logger, database=database)
            await parts.active.start()
            applied = {
                "counts": counts,
                "applied_at": now,
                "succeeded_at": now,
                "due_at": now + timedelta(hours=1),
            }
            async with database.write() as tx:
                written = update(connections).values(applied).returning(connections.c.identity)
                identities = (await tx.execute(written)).scalars()
                await tx.execute(
                    insert(snapshots), [{"identity": identity, "records": blob} for identity in identities]
                )
            await parts.presence.leave()
            await parts.active.close()
