"""A config put in force, again and again, on a real store and the double of the API."""

import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.config import Config, load_config
from monitor.daemon.reload import ActiveConfig
from monitor.errors import StartError, StoreUnavailable
from monitor.http.client import Network
from monitor.http.errors import NoAnswer
from monitor.http.redactor import Redactor
from monitor.http.request import request
from monitor.metrics import Metrics
from monitor.notify.alertmanager import Posters
from monitor.notify.drain import Drain
from monitor.simulator import Simulator, build_world
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.outbox import StoredOutbox
from monitor.store.trouble import Trouble
from tests.fakes.announcer import announcer_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage
from tests.servers.tls import issued
from tests.servers.webhook import WebhookSink

GRACE_S = 120.0
"""For so long an old client may finish what it began."""


class Site:
    """An active config, and what a test moves it with."""

    def __init__(self, database: Database, url: str) -> None:
        self.clock, self.log = FakeClock(), FakeLog()
        self.url = url
        self.metrics = metrics = Metrics(version="1")
        rng = random.Random(1)
        drain = Drain(
            outbox=StoredOutbox(database, self.clock),
            receivers=(),
            clock=self.clock,
            rng=rng,
            metrics=metrics,
            log=self.log.logger,
            shortage=no_shortage(),
        )
        self.active = ActiveConfig(
            self.config(),
            database=database,
            codec=Codec(),
            clock=self.clock,
            rng=rng,
            metrics=metrics,
            announcer=announcer_on(self.log, metrics),
            drain=drain,
            shortage=no_shortage(),
            posters=Posters(),
            log=self.log.logger,
            network=Network(),
        )

    def config(self, **values: Any) -> Config:
        """Return a config of one account."""
        account = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
        values = {"api": {"base_url": self.url}, "accounts": [account]} | values
        environ: dict[str, str] = {}
        for section, value in values.items():
            if isinstance(value, dict):
                environ |= {f"VOICELINK_MONITOR_{section}__{key}".upper(): str(value[key]) for key in value}
            else:
                environ[f"VOICELINK_MONITOR_{section}".upper()] = json.dumps(value)
        return load_config(None, environ, now=self.clock.now())

    async def ask(self) -> int:
        """Sync the connection by what is in force; return the size of the answer."""
        watchlist = self.active.state.watchlist
        (connection,) = watchlist.connections.values()
        answer = await watchlist.client.sync(
            key=connection.key.reveal(), connection_id=connection.connection_id, budget=connection.budget
        )
        return len(answer.body)

    async def shown_interval_s(self) -> float:
        """Return the connection's interval as the metrics show it."""
        _, pieces = await self.metrics.render(accept="")
        [shown] = re.findall(
            r"^voicelink_sync_interval_seconds{.*} (.+)$", b"".join(pieces).decode(), re.MULTILINE
        )
        return float(shown)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return an active config that is not stored yet."""
    clock = FakeClock()
    simulator = Simulator(build_world(accounts=1, connections=1, numbers=3), clock=clock)
    async with (
        Database(f"sqlite:///{tmp_path}/store.db") as database,
        simulator.serve(port=0) as url,
    ):
        await database.migrate()
        made = Site(database, url)
        yield made
        await made.active.close()


@pytest.mark.parametrize(
    "changed",
    [{}, {"schedule": {"max_concurrent_syncs": 3}}],
    ids=["same API", "another client"],
)
async def test_the_client_in_force_outlives_a_reload(site: Site, changed: dict[str, Any]) -> None:
    """However long ago the config was read again, the provider is still asked."""
    await site.active.install(site.config())
    await site.active.install(site.config(**changed))
    await site.clock.advance(GRACE_S + 1)
    assert await site.ask() > 0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        pytest.param({"interval": "30s"}, 30, id="interval"),
        pytest.param({"interval": "1h", "recheck_interval": "15s"}, 3600, id="rechecks do not count"),
        pytest.param({"cron": "*/5 * * * mon-fri"}, 2 * 86400 + 300, id="a cron's weekend"),
    ],
)
async def test_metrics_show_the_interval_in_force(
    site: Site, schedule: dict[str, str], expected: float
) -> None:
    """How often a connection is to be synced is in the metrics, and follows a reload without a sync."""
    await site.active.start()
    assert await site.shown_interval_s() == 60
    await site.active.install(site.config(schedule=schedule))
    assert await site.shown_interval_s() == expected


async def test_reload_takes_over_a_renewed_ca_file(site: Site, tmp_path: Path) -> None:
    """The provider's client and the watchdog's; while the file is the same, connections are kept."""
    ca_file, renewed = issued(tmp_path / "old").ca_file, issued(tmp_path / "new")
    config = site.config(api={"base_url": site.url, "ca_file": ca_file}, heartbeat={"ca_file": ca_file})
    await site.active.install(config)
    before = site.active.state.watchlist.client
    await site.active.install(config)
    assert site.active.state.watchlist.client is before
    async with WebhookSink(tls=renewed.context) as sink:
        with pytest.raises(NoAnswer):
            await request(site.active.heartbeat, "GET", sink.url, redactor=Redactor(), now=site.clock.now())
        renewed.ca_file.replace(ca_file)
        await site.active.install(config)
        assert site.active.state.watchlist.client is not before
        answer = await request(
            site.active.heartbeat, "GET", sink.url, redactor=Redactor(), now=site.clock.now()
        )
        assert answer.is_success


async def test_reload_with_a_spoilt_ca_file_changes_nothing(site: Site, tmp_path: Path) -> None:
    """The old config and its clients stay."""
    ca_file = issued(tmp_path / "ca").ca_file
    config = site.config(api={"base_url": site.url, "ca_file": ca_file})
    await site.active.install(config)
    before = site.active.state.watchlist.client
    ca_file.write_text("no certificate")
    with pytest.raises(StartError, match=r"ca\.pem"):
        await site.active.install(config)
    assert site.active.state.watchlist.client is before
    assert await site.ask() > 0


class Leaving(Database):
    """A database that goes away for readers with the next commit, once it `leaves`."""

    leaves = gone = False

    async def transact(self, *args: Any, **named: Any) -> Any:
        """Commit, and go."""
        found = await super().transact(*args, **named)
        self.gone = self.leaves
        return found

    @asynccontextmanager
    async def read(self, *, looks: bool = False) -> AsyncIterator[AsyncConnection]:
        """Read, or not."""
        if self.gone:
            raise StoreUnavailable("it went away", Trouble.UNREACHABLE)
        async with super().read(looks=looks) as tx:
            yield tx


async def test_reload_whose_commit_the_store_has_accepted_is_in_force(tmp_path: Path) -> None:
    """Alerts are told by it from then on: the process must serve its receivers, whatever cannot be read."""
    async with Leaving(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        site = Site(database, "http://nowhere")
        await site.active.start()
        database.leaves = True
        await site.active.install(
            site.config(receivers=[{"name": "x", "type": "webhook", "url": "http://x"}])
        )
        assert site.active.receivers == ["log", "x"]
        await site.active.close()


async def test_secrets_of_every_config_that_was_in_force_are_hidden(site: Site, tmp_path: Path) -> None:
    """The new ones before anything uses them, the old ones while messages about them are under way."""

    def keyed(key: str, **values: Any) -> Config:
        return site.config(accounts=[{"name": "account-1", "api_key": key}], **values)

    hide = site.active.network.redactor.hide
    await site.active.start()
    assert hide("key rg_live_account_1") == "key ***"
    await site.active.install(keyed("rg_live_second_2"))
    bad_file = tmp_path / "ca.pem"
    bad_file.write_text("nothing")
    with pytest.raises(StartError):
        await site.active.install(keyed("rg_live_third_3", heartbeat={"ca_file": bad_file}))
    assert hide("rg_live_account_1, rg_live_second_2, rg_live_third_3") == "***, ***, ***"
    # Looked for once, not whenever they are read again.
    assert [secret.reveal() for secret in site.active.secrets] == ["rg_live_second_2"]
    assert site.active.secrets is site.active.secrets


class Counting(Database):
    """A database that counts its long reads."""

    reads = 0

    @asynccontextmanager
    async def read(self, *, looks: bool = False) -> AsyncIterator[AsyncConnection]:
        """Count, and read."""
        self.reads += 1
        async with super().read(looks=looks) as tx:
            yield tx


async def test_start_reads_the_connections_again_only_where_it_has_moved_some(tmp_path: Path) -> None:
    """Those of a large fleet take long to read, and mostly a restart changes nothing."""
    async with Counting(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        for reads in (2, 1):
            site, before = Site(database, "http://nowhere"), database.reads
            await site.active.start()
            assert database.reads - before == reads
            assert await site.shown_interval_s() == 60
            await site.active.close()
