"""Rows about the event loop: whether one large answer, or a scrape of everything, makes the others wait."""

import asyncio
import time

import httpx

from tests.bench.child import Child
from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, daemon, percentile, provider, synced, watch

_P99 = 0.99


async def large_answer(bench: Bench) -> Measured:
    """Stall of the event loop while a connection of 10,000 numbers is synced among small ones."""
    large = Fleet(name="b16", connections=1, interval="2s")
    small = Fleet(name="5a11", connections=bench.count(50, 5), interval="1s")
    sizes = {large.prefix: bench.count(10_000, 1_000)}
    async with provider(numbers=100, changed=10, large=sizes) as (source, url):
        await source.ask("alternate", prefixes=[large.prefix, small.prefix])
        async with daemon(bench, url, large, small) as (child, _):
            await synced(source, large, 2)
            await synced(source, small, 2)
            await child.ask("watch")
            await watch(bench, bench.pick(20.0, 3.0), "measuring")
            stalls_s = await child.ask("stalls")
    return _stall(stalls_s)


async def scrape(bench: Bench) -> Measured:
    """Time of a scrape of 1,000 connections while they sync (wall time: the machine should be quiet)."""
    times_s, _ = await _scraped(bench)
    return Measured(
        value=percentile(times_s, _P99) * 1000,
        detail=f"median {percentile(times_s, 0.5) * 1000:.1f} ms, {len(times_s)} scrapes",
    )


async def scrape_stall(bench: Bench) -> Measured:
    """Stall of the event loop while that happens."""
    _, stalls_s = await _scraped(bench)
    return _stall(stalls_s)


async def _scraped(bench: Bench) -> tuple[list[float], list[float]]:
    """Return the seconds of each scrape, and the stalls of the loop meanwhile."""
    fleet = Fleet(name="f1ee7", connections=bench.count(1000, 50), interval="10s")
    async with provider(numbers=100, changed=10) as (source, url), daemon(bench, url, fleet) as (child, page):
        await synced(source, fleet, 1)
        await watch(bench, bench.pick(10.0, 0.5), "settling")
        await child.ask("watch")
        times_s = await _scrape_often(bench, child, f"{page}metrics", bench.count(100, 5))
        stalls_s = await child.ask("stalls")
    return times_s, stalls_s


async def _scrape_often(bench: Bench, child: Child, url: str, times: int) -> list[float]:
    times_s = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for each in range(times):
            bench.progress("scraping", each / times)
            started_s = time.monotonic()
            (await client.get(url)).raise_for_status()
            times_s.append(time.monotonic() - started_s)
            await asyncio.sleep(0.2)
    await child.usage()
    return times_s


def _stall(stalls_s: list[float]) -> Measured:
    return Measured(
        value=percentile(stalls_s, _P99) * 1000,
        detail=f"longest {max(stalls_s) * 1000:.1f} ms, {len(stalls_s)} looks at the loop",
    )
