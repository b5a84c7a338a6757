"""Fixtures of what the real daemon exports, for tests of rules and dashboards."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.config import load_config
from monitor.daemon.app import run_daemon
from monitor.simulator import Simulator, shipped_scenario
from tests.servers.process import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The names of all series and labels."""

    metrics: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)


_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a daemon serves its metrics."""

    port: int

    async def text(self) -> str:
        """Return what it exports now."""
        async with httpx.AsyncClient(timeout=60, trust_env=False, verify=False) as client:
            return (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Run a daemon that has seen drift at the simulated provider, and a receiver that refuses it."""
    stop = asyncio.Event()
    addresses: list[str] = []

    simulator = Simulator(shipped_scenario("quiet"))
    simulator.do("deactivate_bot", bot=93)  # labels of states and issues
    async with simulator.serve() as base_url:
        config_file = tmp_path / "config.toml"
        config_file.write_text(
            f"""
            api.base_url = "{base_url}"
            schedule.interval = "1s"
            accounts = [{{ name = "acme", api_key = "rg_live_demo_acme", requests_per_minute = 60 }}]
            receivers = [{{ name = "hook", type = "webhook", url = "{base_url}/hook" }}]
            store.url = "sqlite:///{tmp_path}/store.db"
            web.listen = "127.0.0.1:0"
            metrics.numbers = true
            """
        )
        config = await asyncio.to_thread(load_config, config_file, {})
        daemon = asyncio.create_task(
            run_daemon(config, stop=stop, on_ready=addresses.append, log_stream=io.StringIO())
        )
        try:
            await wait_until(lambda: addresses or daemon.done(), what="the daemon")
            served = Served(port=httpx.URL(addresses[0]).port or 0)
            await wait_until(lambda: _has_synced(served), what="labels of a first sync")
            yield served
        finally:
            stop.set()
            await daemon


async def _has_synced(served: Served) -> bool:
    return "connection_id=" in (text := await served.text()) and "issue=" in text


@pytest.fixture
async def exported(served: Served) -> Exported:
    """Return what a daemon exports after a sync with the simulated provider."""
    exported = Exported()
    for family in text_string_to_metric_families(await served.text()):
        exported.metrics.update(f"{family.name}{suffix}" for suffix in _SUFFIXES.get(family.type, ("",)))
        for sample in family.samples:
            exported.labels.update(sample.labels)
    return exported
