"""What a config makes, put in force in one step: at a start, by a reload, and when discovery finds something.

    parse -> build everything that can fail -> store -> swap

Until the swap nothing that runs has changed, and the swap cannot fail.
"""

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.config import AccountConfig, Config, ConnectionConfig
from monitor.daemon.build import account_budgets, build_client, build_watchlist
from monitor.daemon.receivers import ReceiverSet
from monitor.drift.failures import Streak
from monitor.drift.text import Watched
from monitor.errors import Outcome, StoreUnavailable, SyncError
from monitor.log import set_level
from monitor.metrics import Metrics
from monitor.notify.alertmanager import PosterParts, Posters
from monitor.notify.drain import Drain
from monitor.notify.log import LogReceiver
from monitor.roster import bring_in
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, load_records, watched
from monitor.store.database import Database
from monitor.store.level import StoredLevel
from monitor.sync.announce import Announcer
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.discovery import Discovered, Known, Listed, discover
from monitor.watch.watchlist import ActiveState, Discovering, Watchlist

DISCOVERY_INTERVAL = timedelta(hours=1)
_FIRST_DISCOVERY = timedelta(minutes=5)
_OLD_CLIENT_GRACE_S = 120.0


class Installation:
    """Holds what the config in force made.

    Args:
        database: Where watched connections and known receivers are recorded.
        codec: For what is recorded.
        clock: The time.
        rng: Jitter of retries.
        metrics: Told which accounts and receivers there are.
        announcer: Told which connections there are.
        drain: Given the receivers.
        posters: Given the receivers of the type `alertmanager`.
        log: Its level follows the config.
    """

    def __init__(
        self,
        *,
        database: Database,
        codec: Codec,
        clock: Clock,
        rng: random.Random,
        metrics: Metrics,
        announcer: Announcer,
        drain: Drain,
        posters: Posters,
        log: FilteringBoundLogger,
    ) -> None:
        self._database = database
        self._codec = codec
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._announcer = announcer
        self._drain = drain
        self._posters = posters
        self._level = StoredLevel(database, codec, clock, holder=f"{rng.getrandbits(64):016x}")
        self._log = log
        self._turn = asyncio.Lock()
        self._since = clock.now()
        self._budgets: dict[str, AccountBudget] = {}
        self._listed: dict[str, list[Listed]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._config: Config | None = None
        self._client: tuple[httpx.AsyncClient, VoiceLinkClient] | None = None
        self._receivers: ReceiverSet | None = None
        self._live: ActiveState | None = None
        self._former: dict[str, Watched] = {}

    @property
    def live(self) -> ActiveState:
        """What is in force, for everyone who works by it."""
        if self._live is None:
            raise RuntimeError("nothing is installed yet")
        return self._live

    @property
    def config(self) -> Config:
        """The config in force."""
        if self._config is None:
            raise RuntimeError("nothing is installed yet")
        return self._config

    @property
    def receivers(self) -> ReceiverSet:
        """The receivers in force."""
        if self._receivers is None:
            raise RuntimeError("nothing is installed yet")
        return self._receivers

    async def install(self, config: Config) -> None:
        """Put a config in force.

        Raises:
            ConfigError: A receiver cannot be built; all is as before.
            StartError: A file that the config names cannot be used; all is as before.
            StoreUnavailable: The database did not take it; all is as before.
        """
        async with self._turn:
            budgets = account_budgets(config, self._clock, self._metrics.budget_wait, kept=self._budgets)
            client = self._client_for(config)
            fresh = ReceiverSet(
                config,
                clock=self._clock,
                log=LogReceiver(self._log),
                parts=self._parts,
            )
            try:
                watchlist = await self._bring_in(config, client[1], budgets, fresh)
            except BaseException:
                await fresh.close()
                if client is not self._client:
                    await client[0].aclose()
                raise
            self._swap(config, watchlist, budgets, client, fresh)

    async def discover(self) -> bool:
        """Ask for the connections of every account that wants it.

        Returns:
            Whether all of them answered, and none is in a failure alert, which more answers would end.
        """
        # Outside the turn: a reload does not wait for a provider that does not answer.
        accounts = [account for account in self.config.accounts if account.discover]
        answered = await asyncio.gather(*map(self._list, accounts))
        if not any(answered):
            return not accounts
        async with self._turn:
            config, client = self.config, self.live.watchlist.client
            self.live.watchlist = await self._bring_in(config, client, self._budgets, self.receivers)
            troubled = any(one.identity in self.live.troubled for one in self.live.discoveries.values())
            return all(answered) and not troubled

    async def close(self) -> None:
        """Close every connection to the provider and the receivers."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if self._client is not None:
            await self._client[0].aclose()
        if self._receivers is not None:
            await self._receivers.close()

    async def _bring_in(
        self,
        config: Config,
        client: VoiceLinkClient,
        budgets: dict[str, AccountBudget],
        receivers: ReceiverSet,
    ) -> Watchlist:
        now = self._clock.now()
        async with self._database.read() as tx:
            standings = await watched(tx, self._codec)
        discovered = _discovered(config, standings, self._listed, now)
        watchlist = build_watchlist(
            config, client=client, budgets=budgets, discovered=discovered, since=self._since
        )
        await bring_in(
            self._database,
            self._codec,
            watchlist,
            former=self._former,
            receivers=receivers.names,
            discovered=[one for found in discovered.values() for one in found],
            announcer=self._announcer,
            now=now,
        )
        self._warn_stretched(config, watchlist, discovered)
        await self._show_numbers(config, watchlist)
        return watchlist

    async def _show_numbers(self, config: Config, watchlist: Watchlist) -> None:
        """Show one series per number where the user opted in, without waiting for a change.

        The store has taken the config already: if it goes away now, the numbers come with their changes.
        """
        self._announcer.show_numbers(shown=config.metrics.numbers)
        if not config.metrics.numbers:
            return
        try:
            for identity in watchlist.connections:
                async with self._database.read() as tx:
                    records = await load_records(tx, identity, self._codec)
                if records.snapshot is not None:
                    self._announcer.numbers(identity, records.snapshot.numbers.values())
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "reading the numbers to show")

    def _swap(
        self,
        config: Config,
        watchlist: Watchlist,
        budgets: dict[str, AccountBudget],
        client: tuple[httpx.AsyncClient, VoiceLinkClient],
        receivers: ReceiverSet,
    ) -> None:
        old_client, old_receivers = self._client, self._receivers
        self._config, self._budgets, self._client, self._receivers = config, budgets, client, receivers
        if self._live is None:
            self._live = ActiveState(watchlist=watchlist, former=self._former)
        self._live.watchlist = watchlist
        self._live.discoveries = {
            account.name: self._live.discoveries.get(account.name) or self._discovering(account.name)
            for account in config.accounts
            if account.discover
        }
        self._metrics.set_accounts(budgets)
        self._metrics.set_receivers(receivers.names)
        self._metrics.limit_number_series(config.metrics.max_number_series)
        set_level(self._log, config.log.level)
        self._drain.replace(receivers.receivers)
        self._posters.replace(receivers.alertmanagers)
        if old_receivers is not None:
            self._later(self._close_receivers(old_receivers))
        if old_client is not None and old_client is not client:
            self._later(self._close_client(old_client[0]))

    def _parts(self, http: httpx.AsyncClient) -> PosterParts:
        return PosterParts(
            level=self._level,
            http=http,
            clock=self._clock,
            rng=self._rng,
            metrics=self._metrics,
            log=self._log,
        )

    def _client_for(self, config: Config) -> tuple[httpx.AsyncClient, VoiceLinkClient]:
        same = (
            self._config is not None
            and self._config.api == config.api
            and self._config.schedule.max_concurrent_syncs == config.schedule.max_concurrent_syncs
        )
        if same and self._client is not None:
            return self._client
        return build_client(config, self._clock, self._rng)

    async def _list(self, account: AccountConfig) -> bool:
        try:
            remote = await self.live.watchlist.client.list_connections(
                key=account.secret.reveal(), budget=self._budgets[account.name]
            )
        except SyncError as exc:
            self._note(account.name, exc.outcome)
            self._log.warning("discovery.failed", account=account.name, outcome=exc.outcome, error=str(exc))
            return False
        explicit = {connection.id for connection in account.connections}
        self._listed[account.name] = [
            Listed(id=one.id, name=one.name) for one in remote if one.active and one.id not in explicit
        ]
        self._note(account.name, Outcome.OK)
        return True

    def _note(self, account: str, outcome: Outcome) -> None:
        """Write down how a discovery went, unless a reload dropped it meanwhile."""
        before = self.live.discoveries.get(account)
        if before is not None:
            fresh_at = self._clock.now() if outcome is Outcome.OK else before.fresh_at
            self.live.discoveries[account] = _after(before, outcome, fresh_at)

    def _discovering(self, account: str) -> Discovering:
        known = any(
            connection.named.account == account for connection in self.live.watchlist.connections.values()
        )
        return Discovering(
            account=account,
            streak=Streak(),
            fresh_at=self._since,
            stale_after=3 * DISCOVERY_INTERVAL if known else _FIRST_DISCOVERY,
        )

    def _warn_stretched(
        self, config: Config, watchlist: Watchlist, discovered: Mapping[str, Sequence[Discovered]]
    ) -> None:
        for account, found in discovered.items():
            if not found:
                continue
            interval = watchlist.connections[found[0].id].interval
            wanted = config.schedule.timing(ConnectionConfig(name=account)).gaps(self._clock.now())[0]
            if interval > wanted:
                self._log.warning(
                    "discovery.stretched",
                    account=account,
                    connections=len(found),
                    wanted_interval_s=wanted.total_seconds(),
                    interval_s=interval.total_seconds(),
                )

    def _later(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_receivers(self, old: ReceiverSet) -> None:
        for receiver in old.receivers:
            await self._drain.released(receiver)
        for alertmanager in old.alertmanagers:
            await self._posters.released(alertmanager)
        await old.close()

    async def _close_client(self, http: httpx.AsyncClient) -> None:
        """Close the old client once no sync that began with it can be in flight any more."""
        try:
            await self._clock.sleep(_OLD_CLIENT_GRACE_S)
        finally:
            await http.aclose()


def _after(before: Discovering, outcome: Outcome, fresh_at: datetime) -> Discovering:
    answered = outcome is Outcome.OK
    return replace(
        before,
        streak=before.streak.after(outcome),
        fresh_at=fresh_at,
        stale_after=3 * DISCOVERY_INTERVAL if answered else before.stale_after,
    )


def _discovered(
    config: Config, standings: Sequence[ConnectionState], listed: Mapping[str, list[Listed]], now: datetime
) -> dict[str, list[Discovered]]:
    """Return, for each account that wants it, the connections to watch besides the configured ones."""
    taken = {connection.name for account in config.accounts for connection in account.connections}
    found: dict[str, list[Discovered]] = {}
    for account in config.accounts:
        if not account.discover:
            continue
        explicit = {connection.id for connection in account.connections}
        known = [
            Known(id=standing.identity, name=standing.name, vanished_at=standing.vanished_at)
            for standing in standings
            if standing.account == account.name
            and standing.connection_id is not None
            and standing.identity not in explicit
        ]
        found[account.name] = discover(known, listed.get(account.name), taken=taken, now=now)
        taken |= {one.name for one in found[account.name]}
    return found
