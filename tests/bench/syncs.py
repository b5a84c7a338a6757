"""Rows about CPU: what a sync costs, beside what nobody can do without.

The daemon and bare fetchers run at the same time against the same provider, so that whatever else the
machine does slows all of them. The daemon's costs include everything it does meanwhile. One fetcher begins
its requests as the daemon did while it was watched, in the same bunches; another one spreads them evenly.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

from tests.bench.child import Child, started
from tests.bench.replicas import database
from tests.bench.row import Measured, Together
from tests.bench.setting import Bench, Fleet, costs_ms, daemon, provider, synced, syncs, watch
from tests.bench.stored import AT_ONCE, filled

_WARM_SYNCS = 4


async def unchanged(bench: Bench) -> Sequence[Measured]:
    """CPU of an unchanged sync of 100 numbers at 100/s / of a bare fetch of the same body."""
    return await _beside_fetches(bench, bench.count(100, 10))


async def slow(bench: Bench) -> Sequence[Measured]:
    """The same at 10/s."""
    return await _beside_fetches(bench, bench.count(10, 3))


async def https(bench: Bench) -> Sequence[Measured]:
    """The same at 100/s over TLS, on both sides."""
    return await _beside_fetches(bench, bench.count(100, 10), tls_folder=bench.folder / "tls")


async def postgres(bench: Bench) -> Sequence[Measured]:
    """The same at 100/s on PostgreSQL."""
    async with database() as store:
        return await _beside_fetches(bench, bench.count(100, 10), store=store)


async def _beside_fetches(
    bench: Bench, a_second: int, *, store: str | None = None, tls_folder: Path | None = None
) -> Sequence[Measured]:
    fleet = Fleet(name="5a3e", connections=a_second, interval="1s")
    ca_file = tls_folder / "ca.pem" if tls_folder is not None else None
    arguments = ("fetch", *([str(ca_file)] if ca_file is not None else []))
    async with (
        provider(numbers=100, tls_folder=tls_folder) as (source, url),
        daemon(bench, url, fleet, store=store, ca_file=ca_file) as (busy, _),
    ):
        return await _compare(bench, source, url, fleet, busy, *arguments)


async def changed(bench: Bench) -> Sequence[Measured]:
    """CPU of a sync in which 1% of 1,000 numbers changed / of a bare fetch with decoding."""
    fleet = Fleet(name="c4a2ed", connections=bench.count(10, 2), interval="1s")
    async with provider(numbers=1000, changed=10) as (source, url), daemon(bench, url, fleet) as (busy, _):
        await source.ask("alternate", prefixes=[fleet.prefix])
        return await _compare(bench, source, url, fleet, busy, "decode")


async def _compare(
    bench: Bench, source: Child, url: str, fleet: Fleet, busy: Child, *arguments: str
) -> Sequence[Measured]:
    """Return the CPU of a sync / of a fetch: in the same pattern of requests, and evenly spread."""
    await synced(source, fleet, _WARM_SYNCS)
    cycle_s = bench.count(5, 1)
    bunches: list[tuple[float, int]] = []
    while not bunches:
        await watch(bench, cycle_s, "seeing when requests begin")
        bunches = await source.ask("bunches", prefix=fleet.prefix, cycle_s=cycle_s)
    spread = [(each / fleet.connections, 1) for each in range(fleet.connections)]
    async with (
        started("fetcher", url, "5ec0", *arguments) as same,
        started("fetcher", url, "e7e2", *arguments) as even,
    ):
        await same.ask("begin", bunches=bunches, cycle_s=cycle_s)
        await even.ask("begin", bunches=spread, cycle_s=1)
        await watch(bench, bench.pick(3.0, 0.5), "warming up")
        fetches = [(fetcher, partial(fetcher.ask, "fetched")) for fetcher in (same, even)]
        ours_ms, *theirs_ms = await costs_ms(bench, (busy, partial(syncs, source, fleet)), *fetches)
    return [
        Measured(value=ours_ms / each_ms, detail=f"{ours_ms:.3f} ms of CPU a sync, {each_ms:.3f} ms a fetch")
        for each_ms in theirs_ms
    ]


async def alerts(bench: Bench) -> Sequence[Measured]:
    """CPU of a sync that opens or ends an alert / of an unchanged one, of 100 numbers at 20/s."""
    fleet = Fleet(name="a1e27", connections=bench.count(20, 5), interval="1s")
    async with AsyncExitStack() as stack:
        counted = []
        for prefixes in ([fleet.prefix], []):
            source, url = await stack.enter_async_context(provider(numbers=100, changed=1))
            await source.ask("alternate", prefixes=prefixes)
            child, _ = await stack.enter_async_context(daemon(bench, url, fleet, extra=AT_ONCE))
            await synced(source, fleet, _WARM_SYNCS)
            counted.append((child, partial(syncs, source, fleet)))
        turning_ms, quiet_ms = await costs_ms(bench, *counted)
    return [Measured(value=turning_ms / quiet_ms, detail=f"{turning_ms:.2f} ms, {quiet_ms:.2f} ms")]


async def among(bench: Bench, connections: int, together: Together) -> float:
    """Return the CPU milliseconds of a sync at 100/s, beside so many connections."""
    connections = max(connections, 1)
    every_s = max(connections // 100, 1)
    fleet = Fleet(name="f1ee7", connections=connections, interval=f"{every_s}s")
    return await _of_one(bench, fleet, 100, together, due_in=timedelta(seconds=every_s))


async def of_numbers(bench: Bench, numbers: int, together: Together) -> float:
    """Return the CPU milliseconds of an unchanged sync of so many numbers, of two a second."""
    return await _of_one(bench, Fleet(name="ba5e", connections=2, interval="1s"), numbers, together)


async def _of_one(
    bench: Bench, fleet: Fleet, numbers: int, together: Together, due_in: timedelta = timedelta(seconds=1)
) -> float:
    async with provider(numbers) as (source, url):
        store = await filled(bench, url, fleet, numbers=numbers, due_in=due_in)
        async with daemon(bench, url, fleet, store=store) as (child, _):
            await together()
            await watch(bench, bench.pick(5.0, 0.5), "warming up")
            (cost_ms,) = await costs_ms(bench, (child, partial(syncs, source, fleet)))
    return cost_ms
