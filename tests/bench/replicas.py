"""Rows about replicas on one PostgreSQL: what each costs at rest, and what they ask of the database.

Statements are counted by the database, `BEGIN` and `COMMIT` too, whoever sends them and whatever for.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import psycopg

from tests.bench.child import Child
from tests.bench.row import Measured
from tests.bench.setting import Bench, Fleet, config_text, cpu_s, daemon, provider, synced, watch
from tests.bench.size import fill
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


async def idle_cpu(bench: Bench) -> Measured:
    """Part of a core that the busiest of three replicas uses while none of 10,000 connections is due."""
    fleet = Fleet(name="1d1e", connections=bench.count(10_000, 20), interval="24h")
    async with AsyncExitStack() as stack:
        _, url = await stack.enter_async_context(provider(numbers=10))
        store = await stack.enter_async_context(database())
        config = bench.folder / f"{uuid4().hex}.toml"
        await asyncio.to_thread(config.write_text, config_text(url, (fleet,), store, ""))
        bench.progress("storing connections", 0.0)
        await fill(config, store, numbers=10)
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
    return Measured(
        value=max(cpu_s(*usage) / (usage[1].at_s - usage[0].at_s) for usage in usages) * 100,
        detail=f"{calls / took_s:.1f} statements a second by all",
    )


async def statements(bench: Bench) -> Measured:
    """Statements for each unchanged sync, with one replica."""
    return Measured(value=await _statements(bench, replicas=1))


async def statements_of_three(bench: Bench) -> Measured:
    """Statements for each unchanged sync with three replicas / with one."""
    one, three = await _statements(bench, replicas=1), await _statements(bench, replicas=3)
    return Measured(value=three / one, detail=f"{three:.2f} with three, {one:.2f} with one")


async def _statements(bench: Bench, *, replicas: int) -> float:
    # As many syncs a second as 6,000 connections at 60 s.
    fleet = Fleet(name="5a3e", connections=bench.count(1000, 10), interval="10s")
    async with AsyncExitStack() as stack:
        source, url = await stack.enter_async_context(provider(numbers=10))
        store = await stack.enter_async_context(database())
        for _ in range(replicas):
            await stack.enter_async_context(daemon(bench, url, fleet, store=store))
        await synced(source, fleet, bench.count(3, 1))
        _ask(store, "SELECT pg_stat_statements_reset()")
        before = await _total(source, fleet)
        await watch(bench, bench.pick(20.0, 2.0), f"{replicas} replicas")
        syncs = await _total(source, fleet) - before
        calls = sum(row[1] for row in _ask(store, _STATEMENTS))
    return calls / max(syncs, 1)


async def _total(source: Child, fleet: Fleet) -> int:
    asked = await source.ask("asked", prefix=fleet.prefix)
    return int(asked["total"])


def _ask(url: str, query: str) -> list[tuple[str, int, int]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []
