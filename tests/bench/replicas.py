"""Rows about replicas on one PostgreSQL: what each costs at rest, and what they ask of the database.

Statements are counted by the database, `BEGIN` and `COMMIT` too, whoever sends them and whatever for.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg

from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, cpu_s, daemon, provider, synced, syncs, watch
from tests.bench.stored import filled
from tests.servers.postgres import run_postgres

_PREPARED = "shared_preload_libraries=pg_stat_statements"
_STATEMENTS = "SELECT query, calls, rows FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat%'"


@asynccontextmanager
async def database() -> AsyncIterator[str]:
    """Run a PostgreSQL that counts statements; give the URL of an empty database."""
    with run_postgres(_PREPARED) as server:
        url = server.url(server.create_database())
        _ask(url, "CREATE EXTENSION pg_stat_statements")
        yield url


async def idle_cpu(bench: Bench) -> Sequence[Measured]:
    """Part of a core that the busiest of three replicas uses while none of 10,000 connections is due."""
    fleet = Fleet(name="1d1e", connections=bench.count(10_000, 20), interval="24h")
    async with AsyncExitStack() as stack:
        _, url = await stack.enter_async_context(provider(numbers=10))
        store = await stack.enter_async_context(database())
        await filled(bench, url, fleet, numbers=10, store=store)
        children = [
            (await stack.enter_async_context(daemon(bench, url, fleet, store=store)))[0]
            for _ in range(bench.count(3, 1))
        ]
        await watch(bench, bench.pick(10.0, 1.0), "settling")
        _ask(store, "SELECT pg_stat_statements_reset()")
        before = [await child.usage() for child in children]
        await watch(bench, bench.pick(30.0, 1.0), "idling")
        after = [await child.usage() for child in children]
        calls = sum(row[1] for row in _ask(store, _STATEMENTS))
    usages = list(zip(before, after, strict=True))
    took_s = after[0].at_s - before[0].at_s
    busiest = max(cpu_s(*usage) / (usage[1].at_s - usage[0].at_s) for usage in usages)
    return [Measured(value=busiest * 100, detail=f"{calls / took_s:.1f} statements a second by all")]


async def statements(bench: Bench) -> Sequence[Measured]:
    """Statements for each unchanged sync, with one replica and with three."""
    return [Measured(value=await _statements(bench, replicas=replicas)) for replicas in (1, 3)]


async def _statements(bench: Bench, *, replicas: int) -> float:
    # As many syncs a second as 6,000 connections at 60 s.
    interval = "1s" if bench.quick else "10s"
    fleet = Fleet(name="5a3e", connections=bench.count(1000, 10), interval=interval)
    async with AsyncExitStack() as stack:
        source, url = await stack.enter_async_context(provider(numbers=10))
        store = await stack.enter_async_context(database())
        for _ in range(replicas):
            await stack.enter_async_context(daemon(bench, url, fleet, store=store))
        await synced(source, fleet, bench.count(3, 1))
        _ask(store, "SELECT pg_stat_statements_reset()")
        before = await syncs(source, fleet)
        await watch(bench, bench.pick(20.0, 2.0), f"{replicas} replicas")
        done = await syncs(source, fleet) - before
        calls = sum(row[1] for row in _ask(store, _STATEMENTS))
    return calls / max(done, 1)


def _ask(url: str, query: str) -> list[tuple[str, int, int]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []
