"""Rows about the event loop: whether one large answer, or a scrape of everything, makes the others wait."""

from collections.abc import Sequence

from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, daemon, percentile, provider, request, synced, watch
from tests.bench.stored import filled

_P99 = 0.99


async def large_answer(bench: Bench) -> Sequence[Measured]:
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


async def scrape(bench: Bench) -> Sequence[Measured]:
    """CPU and size of a scrape of 10,000 connections, and the longest stall of the event loop meanwhile."""
    fleet = Fleet(name="f1ee7", connections=bench.count(10_000, 50))
    times = bench.count(20, 3)
    async with provider(numbers=10) as (_, url):
        store = await filled(bench, url, fleet, numbers=10)
        async with daemon(bench, url, fleet, store=store) as (child, page):
            await watch(bench, bench.pick(10.0, 0.5), "settling")
            cost_ms, size_bytes = await request(child, f"{page}metrics", times)
            packed_ms, _ = await request(child, f"{page}metrics", times, coding="gzip")
            await child.ask("watch")
            await request(child, f"{page}metrics", times)
            await request(child, f"{page}metrics", times, coding="gzip")
            stalls_s = await child.ask("stalls")
    return [
        Measured(value=packed_ms),
        Measured(value=cost_ms),
        Measured(value=size_bytes / 1_000_000),
        Measured(value=max(stalls_s) * 1000, detail=f"p99 {percentile(stalls_s, _P99) * 1000:.1f} ms"),
    ]


def _stall(stalls_s: list[float]) -> Sequence[Measured]:
    value_ms = percentile(stalls_s, _P99) * 1000
    detail = f"longest {max(stalls_s) * 1000:.1f} ms, {len(stalls_s)} looks at the loop"
    return [Measured(value=value_ms, detail=detail)]
