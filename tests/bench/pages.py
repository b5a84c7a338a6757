"""The row about pages: what each, and each answer of the API, costs with a hundred times the history."""

import time
from collections.abc import Mapping

import httpx
from sqlalchemy import text

from monitor.store.database import Database
from tests.bench.row import Measured
from tests.bench.setting import Bench
from tests.integration.web.site import Site
from tests.integration.web.test_growth import FIRING, addresses, stored

_TIMES = 100
_OLDER = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :times) "
    "INSERT INTO changes"
    " (pattern, at, epoch, key, phone_number, did_id, client_id, depended_on, depends_on) "
    "SELECT pattern, datetime(at, '-' || (i * 400) || ' days') || '.000000',"
    " epoch, key, phone_number, did_id, client_id, depended_on, depends_on FROM changes, n"
)


async def pages(bench: Bench) -> Measured:
    """CPU time of any page or answer with 1,000,000 changes, beside that with 10,000: the largest ratio."""
    async with stored(bench.folder, bench.count(10_000, 100), FIRING) as site:
        short = await _costs(bench, site, "a short history")
        bench.progress("recording changes", 0.5)
        await _lengthen(site.database)
        long = await _costs(bench, site, "a long history")
    grown = {address: cost_s / short[address] for address, cost_s in long.items()}
    worst, dearest = max(grown, key=grown.__getitem__), max(long, key=long.__getitem__)
    return Measured(
        value=grown[worst],
        detail=f"{worst}; the dearest is {dearest}: {long[dearest] * 1000:.1f} ms, with the client's part",
    )


async def _lengthen(database: Database) -> None:
    async with database.write() as tx:
        await tx.execute(_OLDER, {"times": _TIMES})
        await tx.execute(text("ANALYZE"))


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
            for _ in range(4):
                begun_s = time.process_time()
                await client.get(address)
                costs.append(time.process_time() - begun_s)
            found[address] = min(costs)
    return found
