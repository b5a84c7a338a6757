"""Rows about how large the daemon is, how soon it is there, and what it costs when nothing happens."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.bench.row import Measured, Together
from tests.bench.setting import Bench, Fleet, cpu_s, daemon, provider, synced, watch
from tests.bench.stored import AT_ONCE, RECEIVER, add_alerts, filled

_MIB = 1024 * 1024
_PAGES = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


async def memory(bench: Bench) -> Sequence[Measured]:
    """Resident memory when all is synced twice: 1,000 connections of 1,000 numbers, 10,000 of 10."""
    return [await _memory(bench, 1_000, 1_000), await _memory(bench, 10_000, 10)]


async def _memory(bench: Bench, connections: int, numbers: int) -> Measured:
    fleet = Fleet(
        name="f1ee7", connections=bench.count(connections, 20), interval="1s" if bench.quick else "60s"
    )
    async with (
        provider(numbers, changed=numbers // 100) as (source, url),
        daemon(bench, url, fleet) as (child, _),
    ):
        await synced(source, fleet, 1)
        await source.ask("alternate", prefixes=[fleet.prefix])
        await synced(source, fleet, 2)
        usage = await child.usage()
    return Measured(value=usage.rss_bytes / _MIB, detail=f"peak {usage.peak_rss_bytes / _MIB:.0f} MiB")


async def start(bench: Bench) -> Sequence[Measured]:
    """From starting the process to ready, with 1,000,000 stored numbers (wall time)."""
    fleet = Fleet(name="f1ee7", connections=bench.count(1000, 10))
    async with provider(numbers=1) as (_, url):
        store = await filled(bench, url, fleet, numbers=1000)
        times_s = []
        for _ in range(bench.count(3, 1)):
            bench.progress("starting", 0.5)
            started_s = time.monotonic()
            async with daemon(bench, url, fleet, store=store) as (child, _page):
                times_s.append(time.monotonic() - started_s)
                used_s = (await child.usage()).cpu_s
    return [Measured(value=min(times_s), detail=f"best of {len(times_s)}; {used_s:.2f} s of CPU")]


async def idle(bench: Bench) -> Sequence[Measured]:
    """Part of a core that 10 connections at 60 s use, and resident memory meanwhile."""
    fleet = Fleet(name="1d1e", connections=10, interval="60s")
    async with provider(numbers=100) as (source, url), daemon(bench, url, fleet) as (child, _):
        if not bench.quick:
            await synced(source, fleet, 1)
        before = await child.usage()
        await watch(bench, bench.pick(60.0, 1.0), "idling")
        after = await child.usage()
    share = cpu_s(before, after) / (after.at_s - before.at_s)
    return [Measured(value=share * 100), Measured(value=after.rss_bytes / _MIB)]


async def idle_beside(bench: Bench, alerts: int, together: Together) -> float:
    """Return the CPU milliseconds of an idle second beside so many alerts with reminders."""
    fleet = Fleet(name="1d1e", connections=10)
    async with provider(numbers=100) as (_, url):
        store = await filled(bench, url, fleet, numbers=100)
        await add_alerts(bench, store, alerts)
        extra = RECEIVER.format(url=url, repeat="1h")
        async with daemon(bench, url, fleet, store=store, extra=extra) as (child, _):
            await together()
            await watch(bench, bench.pick(5.0, 0.5), "settling")
            before = await child.usage()
            await watch(bench, bench.pick(90.0, 1.0), "idling")
            after = await child.usage()
    return cpu_s(before, after) * 1000 / (after.at_s - before.at_s)


async def a_change(bench: Bench) -> Sequence[Measured]:
    """Bytes that a change leaves in the store and in the log: alone in its sync, and one of ten."""
    alone, of_ten = await asyncio.gather(_a_change(bench, 1), _a_change(bench, 10))
    return [*alone, *of_ten]


async def _a_change(bench: Bench, together: int) -> Sequence[Measured]:
    fleet = Fleet(name="c4a2ed", connections=bench.count(20, 5), interval="1s")
    file, log = bench.folder / f"changes-{together}.db", bench.folder / f"changes-{together}.log"
    async with provider(numbers=100, changed=together) as (source, url):
        store = await filled(bench, url, fleet, numbers=100, store=f"sqlite:///{file}")
        await source.ask("alternate", prefixes=[fleet.prefix])
        async with daemon(bench, url, fleet, store=store, extra=AT_ONCE, log=log):
            await watch(bench, bench.pick(10.0, 1.0), "settling")
            before = await asyncio.to_thread(_written, file, log)
            after = before
            while after[0] == before[0]:
                await watch(bench, bench.pick(30.0, 2.0), "measuring")
                after = await asyncio.to_thread(_written, file, log)
    changes, *sizes_bytes = [last - first for first, last in zip(before, after, strict=True)]
    return [Measured(value=size_bytes / changes, detail=f"{changes} changes") for size_bytes in sizes_bytes]


def _written(file: Path, log: Path) -> tuple[int, int, int]:
    """Return how many changes there are, and the bytes of the store and of the log."""
    with closing(sqlite3.connect(file)) as connection:
        (changes,) = connection.execute("SELECT count(*) FROM changes").fetchone()
        (size_bytes,) = connection.execute(_PAGES).fetchone()
    return changes, size_bytes, log.stat().st_size
