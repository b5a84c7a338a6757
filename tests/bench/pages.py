"""Rows about pages: what each, and each answer of the API, costs however much is stored."""

import time
from collections.abc import Mapping, Sequence

import httpx
from sqlalchemy import text

from monitor.store.database import Database
from tests.bench.row import Measured, Together
from tests.bench.setting import Bench, Fleet, daemon, provider, request
from tests.bench.stored import add_alerts, filled
from tests.integration.web.site import Site
from tests.integration.web.test_growth import FIRING, addresses, stored

_FEWEST = 10_000
_OLDER = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :times) "
    "INSERT INTO changes"
    " (pattern, at, epoch, key, phone_number, did_id, client_id, moved) "
    "SELECT pattern, at - i * 400 * 86400 * 1000000,"
    " epoch, key, phone_number, did_id, client_id, moved FROM changes, n"
)


async def pages(bench: Bench) -> Sequence[Measured]:
    """CPU of any page or answer with 1,000,000 changes / with 10,000, and of the costliest one."""
    async with stored(bench.folder, bench.count(_FEWEST, 100), FIRING) as site:
        short = await _costs(bench, site, "a short history")
        bench.progress("recording changes", 0.5)
        await _lengthen(site.database, times=100)
        long = await _costs(bench, site, "a long history")
    grown = {address: cost_s / short[address] for address, cost_s in long.items()}
    worst, dearest = max(grown, key=grown.__getitem__), max(long, key=long.__getitem__)
    return [
        Measured(value=grown[worst], detail=f"{worst}; of {len(grown)}"),
        Measured(value=long[dearest] * 1000, detail=f"{dearest}, with the client's part"),
    ]


async def costliest(bench: Bench, changes: int, _: Together) -> float:
    """Return the CPU milliseconds of the costliest page or answer with so many changes."""
    fewest, folder = bench.count(_FEWEST, 100), bench.folder / f"{changes}"
    folder.mkdir()
    async with bench.storing, stored(folder, fewest, FIRING) as site:  # one at a time
        await _lengthen(site.database, times=changes // fewest)
        return max((await _costs(bench, site, f"{changes} changes")).values()) * 1000


async def overview(bench: Bench, alerts: int, together: Together) -> float:
    """Return the CPU milliseconds of the overview with so many alerts."""
    fleet = Fleet(name="5a3e", connections=10)
    async with provider(numbers=10) as (_, url):
        store = await filled(bench, url, fleet, numbers=100)
        await add_alerts(bench, store, alerts)
        async with daemon(bench, url, fleet, store=store) as (child, page):
            await together()
            cost_ms, _ = await request(child, page, bench.count(20, 2))
    return cost_ms


async def _lengthen(database: Database, *, times: int) -> None:
    if times == 1:
        return
    async with database.write() as tx:
        await tx.execute(_OLDER, {"times": times})


async def _costs(bench: Bench, site: Site, doing: str) -> Mapping[str, float]:
    """Return the seconds of CPU that each address takes, at best."""
    found = {}
    every = addresses(site)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(site.app), base_url=site.client.base_url
    ) as client:
        for place, address in enumerate(every):
            bench.progress(doing, place / len(every))
            costs = []
            for _ in range(bench.count(4, 1)):
                begun_s = time.process_time()
                await client.get(address)
                costs.append(time.process_time() - begun_s)
            found[address] = min(costs)
    return found
