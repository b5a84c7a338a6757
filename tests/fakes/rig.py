"""The daemon's middle without its shell: a double of the API, a real store, and a clock moved by hand."""

import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from monitor.config import load_config
from monitor.daemon.build import account_budgets, build_watchlist
from monitor.drift.text import Watched
from monitor.metrics import Metrics
from monitor.roster import bring_in
from monitor.simulator import Simulator, build_world
from monitor.store.alerts import Plan
from monitor.store.claims import Claim, claim_due, flush, release
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, watched
from monitor.store.database import Database
from monitor.store.ledger import Ledger, StepRecord, StoredState
from monitor.store.tables import alerts, deliveries
from monitor.sync.announce import Announcer
from monitor.sync.cycle import Cycle, Done
from monitor.sync.failures import FleetWatch
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.watchlist import ActiveState, Watchlist
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog


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

    async def keep(self, work: StepRecord, plan: Plan) -> None:
        """Count, and keep."""
        self.kept += 1
        self.rewritten += not work.same
        await super().keep(work, plan)


class Rig:
    """One connection of ten numbers, `account:account-1`, unless the values say more."""

    def __init__(self, database: Database, http: httpx.AsyncClient, simulator: Simulator) -> None:
        self.database, self.simulator = database, simulator
        self.clock, self.log, self.codec = HastyClock(), FakeLog(), Codec()
        self.metrics = Metrics(version="1")
        self.announcer = Announcer(metrics=self.metrics, log=self.log.logger)
        self.ledger = CountingLedger(database, self.codec)
        self.mistakes: list[BaseException] = []
        self._client = VoiceLinkClient(
            http=http,
            base_url="http://double/api/v2",
            timeout_s=5,
            max_response_bytes=2**26,
            clock=self.clock,
            rng=random.Random(1),
        )
        self.live = ActiveState(watchlist=self.watchlist({}))

    def watchlist(self, values: dict[str, Any]) -> Watchlist:
        """Return what a config with these top-level values wants watched."""
        account = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
        lists = {"accounts": [account]} | values
        environ = {f"VOICELINK_MONITOR_{key.upper()}": json.dumps(value) for key, value in lists.items()}
        config = load_config(None, environ, now=self.clock.now())
        budgets = account_budgets(config, self.clock, lambda *_: None, kept={})
        return build_watchlist(
            config, client=self._client, budgets=budgets, discovered={}, since=self.clock.now()
        )

    async def configure(self, *receivers: str, **values: Any) -> None:
        """Take a config into force, as a start or a reload does."""
        hooks = [{"name": name, "type": "webhook", "url": "http://x"} for name in receivers]
        watchlist = self.watchlist({"receivers": hooks} | values)
        former: dict[str, Watched] = {}
        await bring_in(
            self.database,
            self.codec,
            watchlist,
            former=former,
            receivers=["log", *receivers],
            discovered=(),
            announcer=self.announcer,
            now=self.clock.now(),
        )
        self.live.watchlist = watchlist
        cycle_live = self.live
        self.cycle = Cycle(
            live=cycle_live,
            ledger=self.ledger,
            announcer=self.announcer,
            clock=self.clock,
            wake_drain=lambda: None,
            log_internal=lambda _, exc: self.mistakes.append(exc),
        )
        self.fleet = FleetWatch(
            live=cycle_live,
            database=self.database,
            codec=self.codec,
            announcer=self.announcer,
            clock=self.clock,
        )

    async def run(self, after_s: float = 60.0) -> list[Done]:
        """Let time pass, then carry out what is due until nothing is; return how each ended."""
        await self.clock.advance(after_s)
        ended: list[Done] = []
        while True:
            now = self.clock.now()
            async with self.database.write() as tx:
                claims = await claim_due(tx, now, limit=10, lease=timedelta(minutes=2))
            if not claims:
                await self.fleet.run()
                return ended
            for claim in claims:
                done = await self.cycle.run(claim)
                ended.append(done)
                async with self.database.write() as tx:
                    if done.fresh is not None:
                        await flush(tx, [done.fresh])
                    if done.lost:
                        await release(tx, [claim], now + timedelta(seconds=2))

    async def standing(self) -> ConnectionState:
        """Return how the first connection stands."""
        async with self.database.read() as tx:
            return (await watched(tx, self.codec))[0]

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
async def rig(folder: Path, *, numbers: int = 10) -> AsyncIterator[Rig]:
    """Give a rig on a new store, not configured yet."""
    simulator = Simulator(build_world(numbers=numbers))
    transport = httpx.ASGITransport(app=simulator.app)
    async with (
        Database(f"sqlite:///{folder / 'store.db'}") as database,
        httpx.AsyncClient(transport=transport) as http,
    ):
        await database.migrate()
        made = Rig(database, http, simulator)
        yield made
        assert made.mistakes == []
