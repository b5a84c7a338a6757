"""Fixture with what the real daemon exports, for tests of rules and dashboards."""

import asyncio
import io
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


@pytest.fixture
async def exported(tmp_path: Path) -> Exported:
    """Return what a daemon exports after a sync with the simulated provider."""
    stop = asyncio.Event()
    addresses: list[str] = []
    exported = Exported()

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
            await wait_until(lambda: _read(f"{addresses[0]}metrics", exported), what="labels of a first sync")
            return exported
        finally:
            stop.set()
            await daemon


async def _read(url: str, exported: Exported) -> bool:
    """Add what is exported now; return whether it has a connection's labels."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(url)).text
    for family in text_string_to_metric_families(text):
        exported.metrics.update(f"{family.name}{suffix}" for suffix in _SUFFIXES.get(family.type, ("",)))
        for sample in family.samples:
            exported.labels.update(sample.labels)
    return exported.labels >= {"connection_id", "issue"}
