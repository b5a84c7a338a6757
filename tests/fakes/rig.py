"""The daemon's middle without its shell: a double of the API, a real store, and a clock moved by hand."""

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
from sqlalchemy import select

from monitor.clock import Uptime
from monitor.config import Config, load_config
from monitor.daemon.discovery import Discovery
from monitor.daemon.reload import ActiveConfig
from monitor.drift.policy import Records
from monitor.http.client import Network
from monitor.metrics import Metrics
from monitor.notify.alertmanager import Posters
from monitor.notify.drain import Drain
from monitor.simulator import Simulator, build_world
from monitor.store.claims import Claim, claim_due, flush, release
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, load_records, watched
from monitor.store.database import Database
from monitor.store.discoveries import DiscoveryState, discovery_states
from monitor.store.ledger import Ledger, StepRecord, StoredState
from monitor.store.outbox import StoredOutbox
from monitor.store.tables import alerts, deliveries
from monitor.sync.cycle import Cycle, Done
from monitor.sync.failures import FailureWatch
from tests.fakes.announcer import announcer_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage


class HastyClock(FakeClock):
    """A clock on which who sleeps moves it on at once."""

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self._elapsed_s += max(seconds, 0.0)


class CountingLedger(Ledger):
    """A ledger that counts what it is asked."""

    def __init__(self, database: Database, codec: Codec) -> None:
        super().__init__(database, codec)
        self.loaded = 0
        self.kept = 0
        self.rewritten = 0

    async def load(self, claim: Claim) -> StoredState:
        """Count, and load."""
        self.loaded += 1
        return await super().load(claim)

    async def keep(self, record: StepRecord) -> None:
        """Count, and keep."""
        self.kept += 1
        self.rewritten += not record.same
        await super().keep(record)


class Rig:
    """One connection of ten numbers, `account:account-1`, unless the values say more."""

    def __init__(self, database: Database, simulator: Simulator) -> None:
        self.database, self.simulator = database, simulator
        self.clock, self.log, self.codec = HastyClock(), FakeLog(), Codec()
        self.uptime = Uptime(self.clock)
        self.metrics = Metrics(version="1")
        self.announcer = announcer_on(self.log, self.metrics, self.clock)
        self.ledger = CountingLedger(database, self.codec)
        rng = random.Random(1)
        self.active = ActiveConfig(
            self.config({}),
            database=database,
            codec=self.codec,
            clock=self.clock,
            rng=rng,
            metrics=self.metrics,
            announcer=self.announcer,
            drain=Drain(
                outbox=StoredOutbox(database, self.clock),
                receivers=(),
                clock=self.clock,
                rng=rng,
                metrics=self.metrics,
                log=self.log.logger,
                shortage=no_shortage(),
            ),
            shortage=no_shortage(),
            posters=Posters(),
            log=self.log.logger,
            network=Network(transport=httpx.ASGITransport(app=simulator)),
        )
        self.cycle = Cycle(
            active=self.active.state,
            ledger=self.ledger,
            announcer=self.announcer,
            clock=self.clock,
            wake_drain=lambda: None,
        )
        self.discovery = Discovery(
            active=self.active,
            runner=cast("Any", None),
            on_moved=lambda: None,
            announcer=self.announcer,
            database=database,
            clock=self.clock,
            log=self.log.logger,
        )
        self.failures = FailureWatch(
            active=self.active.state,
            database=database,
            codec=self.codec,
            announcer=self.announcer,
            clock=self.clock,
            uptime=self.uptime,
        )

    def config(self, values: dict[str, Any]) -> Config:
        """Return a config with these values; one in a section is called like `drift__removed`."""
        account = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
        lists = {"accounts": [account]} | values
        environ = {
            f"VOICELINK_MONITOR_{key.upper()}": value if isinstance(value, str) else json.dumps(value)
            for key, value in lists.items()
        }
        environ["VOICELINK_MONITOR_API__BASE_URL"] = "http://double/api/v2"
        return load_config(None, environ, now=self.clock.now())

    async def configure(self, *receivers: str, **values: Any) -> None:
        """Put a config in force, as a start or a reload does."""
        hooks = [{"name": name, "type": "webhook", "url": "http://x"} for name in receivers]
        await self.active.install(self.config({"receivers": hooks} | values))

    async def run(self, after_s: float = 60.0, *, looks: bool = True) -> list[Done]:
        """Let time pass, then carry out what is due until nothing is; return how each ended.

        Then it is looked for failures, as if something had moved, unless not: the daemon looks when it has.
        """
        while after_s > 0:
            await self.clock.advance(min(after_s, 5.0))
            self.uptime.look()  # a process that runs
            after_s -= 5.0
        ended: list[Done] = []
        while True:
            now = self.clock.now()
            async with self.database.write() as tx:
                claims = await claim_due(tx, now, limit=10, lease=timedelta(minutes=2))
            if not claims:
                if looks:
                    await self.failures.run()
                return ended
            for claim in claims:
                done = await self.cycle.run(claim)
                ended.append(done)
                async with self.database.write() as tx:
                    if done.result is not None:
                        await flush(tx, [done.result])
                    if done.lost:
                        await release(tx, [(claim, now + timedelta(seconds=2))])

    async def standing(self) -> ConnectionState:
        """Return how the first connection stands."""
        async with self.database.read() as tx:
            return (await watched(tx, self.codec))[0]

    async def records(self) -> Records:
        """Return the records of the first connection."""
        identity = (await self.standing()).identity
        async with self.database.read() as tx:
            return await load_records(tx, identity, self.codec)

    async def discoveries(self) -> list[DiscoveryState]:
        """Return how discovery has been going."""
        async with self.database.read() as tx:
            return await discovery_states(tx, self.active.state.watchlist.discovering)

    async def alerts(self) -> list[tuple[str, str, str | None]]:
        """Return kind, status and resolution of every alert, oldest first."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(alerts).order_by(alerts.c.started_at, alerts.c.id))
            return [(row.kind, row.status, row.resolution) for row in rows]

    async def told(self, receiver: str) -> Sequence[tuple[str, str]]:
        """Return change and status of what a receiver was or is to be told, oldest first."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(deliveries).order_by(deliveries.c.seq))
            return [(row.change, row.status) for row in rows if row.receiver == receiver]


@asynccontextmanager
async def rig(folder: Path, *, connections: int = 1, numbers: int = 10) -> AsyncIterator[Rig]:
    """Give a rig on the store of a folder, not configured yet."""
    simulator = Simulator(build_world(connections, numbers))
    async with Database(f"sqlite:///{folder / 'store.db'}") as database:
        await database.migrate()
        made = Rig(database, simulator)
        try:
            yield made
        finally:
            await made.active.close()
        assert made.log.of("internal.error") == []
