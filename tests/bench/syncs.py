"""Rows about CPU: what a sync costs, measured beside what nobody can do without.

The daemon and the bare fetcher run at the same time, at the same rate, against the same provider, so that
whatever else the machine does slows both. What an idle daemon uses in that time is taken off.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from tests.bench.child import Child, started
from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, cpu_s, daemon, provider, synced, watch

_WARM_SYNCS = 4
_BARE = Fleet(name="ba5e", connections=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """CPU milliseconds of one sync, of one of the reference's, and of a second of an idle daemon."""

    sync_ms: float
    reference_ms: float
    idle_ms: float
    syncs: int

    def measured(self) -> Measured:
        return Measured(
            value=self.sync_ms / self.reference_ms,
            detail=f"{self.sync_ms:.3f} ms of CPU a sync, {self.reference_ms:.3f} ms the reference, "
            f"{self.syncs} syncs; idle {self.idle_ms:.1f} ms a second",
        )


async def unchanged(bench: Bench) -> Measured:
    """CPU of an unchanged sync of 100 numbers / of a bare fetch of the same body."""
    fleet = Fleet(name="5a3e", connections=bench.count(100, 10), interval="1s")
    async with provider(numbers=100) as (source, url):
        return (await _compare(bench, source, url, fleet, "fetch")).measured()


async def changed(bench: Bench) -> Measured:
    """CPU of a sync in which 1% of 1,000 numbers changed / of a bare fetch with decoding."""
    fleet = Fleet(name="c4a2ed", connections=bench.count(10, 2), interval="1s")
    async with provider(numbers=1000, changed=10) as (source, url):
        await source.ask("alternate", prefixes=[fleet.prefix, _BARE.prefix])
        return (await _compare(bench, source, url, fleet, "decode")).measured()


async def _compare(bench: Bench, source: Child, url: str, fleet: Fleet, mode: str) -> _Cost:
    idle_fleet = Fleet(name="1d1e", connections=fleet.connections)
    bare_fleet = replace(_BARE, connections=fleet.connections)
    async with AsyncExitStack() as stack:
        busy, _ = await stack.enter_async_context(daemon(bench, url, fleet))
        idle, _ = await stack.enter_async_context(daemon(bench, url, idle_fleet))
        bare = await stack.enter_async_context(
            started("fetcher", url, str(fleet.connections), "1.0", bare_fleet.prefix, mode)
        )
        bench.progress("warming up", 0.0)
        await synced(source, fleet, _WARM_SYNCS)
        await synced(source, bare_fleet, 2)
        if not bench.quick:
            await synced(source, idle_fleet, 1)
        before = [await child.usage() for child in (busy, idle, bare)]
        syncs = await source.ask("asked", prefix=fleet.prefix)
        fetches = await bare.ask("fetched")
        await watch(bench, bench.pick(20.0, 2.0), "measuring")
        after = [await child.usage() for child in (busy, idle, bare)]
        more = await source.ask("asked", prefix=fleet.prefix)
        done = more["total"] - syncs["total"]
        fetched = await bare.ask("fetched") - fetches
    spent_s = [cpu_s(first, last) for first, last in zip(before, after, strict=True)]
    return _Cost(
        sync_ms=max(spent_s[0] - spent_s[1], 0.0) * 1000 / done,
        reference_ms=spent_s[2] * 1000 / fetched,
        idle_ms=spent_s[1] * 1000 / (after[1].at_s - before[1].at_s),
        syncs=done,
    )
