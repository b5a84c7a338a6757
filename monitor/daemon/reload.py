"""The active config and all that it makes: built, stored and swapped in one step, or left as it was.

    parse -> build everything that can fail -> store -> swap

It happens at a start, at a reload, and when discovery finds something. Until the swap nothing that runs has
changed, and the swap cannot fail.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any

import httpx
import msgspec
import xxhash
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.config import Config, ConnectionConfig, secrets_of
from monitor.daemon.receivers import ReceiverSet
from monitor.daemon.service import ServiceManager
from monitor.daemon.status import StoreStatus
from monitor.daemon.watchlist import account_budgets, build_client, build_watchlist
from monitor.errors import ConfigError, MonitorError, StoreUnavailable
from monitor.http.client import Network
from monitor.log import set_level
from monitor.metrics import Metrics
from monitor.notify.alertmanager import AlertmanagerReceiver, PosterParts, Posters
from monitor.notify.drain import Drain
from monitor.notify.log import LogReceiver
from monitor.notify.test_alert import ReceiverTest
from monitor.secret import FileStamp, Secret
from monitor.shortage import Shortage
from monitor.store.budgets import StoredBudgets, StoredSlots
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, Watch, load_records, watched
from monitor.store.database import Database
from monitor.store.enrol import enrol
from monitor.store.instants import pull_in
from monitor.store.level import StoredLevel
from monitor.store.replicas import Presence, Replica, fleet_version
from monitor.sync.announce import Announcer
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.discovery import Discovered, Known, Listed, discover
from monitor.watch.watchlist import ActiveState, Watchlist

_OLD_CLIENT_GRACE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What one config makes."""

    config: Config
    digest: str
    """Of all of the config that is no secret."""
    secrets: tuple[Secret, ...]
    budgets: dict[str, AccountBudget]
    trusted: FileStamp | None
    transport: httpx.AsyncBaseTransport
    client: VoiceLinkClient
    receivers: ReceiverSet


@dataclass(eq=False)
class ActiveConfig:
    """Holds the active config and what it made.

    Args:
        first: The first one; active once `start` has stored it.
        database: Where watched connections and known receivers are recorded.
        codec: For what is recorded.
        clock: The time.
        rng: Jitter of retries.
        metrics: Told which accounts and receivers there are.
        announcer: Told which connections there are.
        drain: Given the receivers.
        posters: Given the receivers of the type `alertmanager`.
        log: Its level follows the config.
        shortage: Told of posts that fail for want of a resource.
        network: How the provider, the receivers and the watchdog are reached.
        replica_id: Tells this process from others on the same database.

    Raises:
        ConfigError: A receiver cannot be built.
        StartError: A file that the config names cannot be used.
    """

    first: InitVar[Config]
    _: KW_ONLY
    database: Database
    codec: Codec
    clock: Clock
    rng: random.Random
    metrics: Metrics
    announcer: Announcer
    drain: Drain
    posters: Posters
    log: FilteringBoundLogger
    shortage: Shortage
    network: Network
    replica_id: str = ""
    presence: Presence | None = field(init=False, default=None)
    """Of all replicas, as of when this one last took over what is watched; None: it must do so again."""
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _closing: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    def __post_init__(self, first: Config) -> None:
        self._budgets = StoredBudgets(self.database, self.clock)
        self._level = StoredLevel(self.database, self.codec, self.clock, holder=self.replica_id)
        # One for all configs, as it knows which lines still wait to be read.
        self._log_receiver = LogReceiver(self.log)
        self.network.redactor.learn(secrets_of(first))
        self._made = self._make(first, None)
        self.state = ActiveState(watchlist=self._watchlist(self._made, {}), replica=self._replica(self._made))

    @property
    def config(self) -> Config:
        """The active config."""
        return self._made.config

    @property
    def secrets(self) -> Sequence[Secret]:
        """Every secret of the active config; to find them takes long where it has many connections."""
        return self._made.secrets

    @property
    def receivers(self) -> list[str]:
        """The names of the active receivers."""
        return self._made.receivers.names

    @property
    def alertmanagers(self) -> Sequence[AlertmanagerReceiver]:
        """Those of the active receivers that are posted to."""
        return self._made.receivers.alertmanagers

    @property
    def heartbeat(self) -> httpx.AsyncClient:
        """The client that reaches the watchdog."""
        return self._made.receivers.heartbeat

    @property
    def budgets(self) -> Mapping[str, AccountBudget]:
        """The request budgets, by account."""
        return self._made.budgets

    async def test_receiver(self, name: str) -> ReceiverTest:
        """Send a test alert to a receiver, and return how it took it.

        Raises:
            UnknownName: There is no such receiver.
        """
        return await self._made.receivers.test(name, self.clock.now())

    async def start(self) -> None:
        """Activate the first config.

        Raises:
            StoreUnavailable: The database did not accept it.
        """
        async with self._turn:
            await self._pull_in()
            replica = self._replica(self._made)
            self._swap(self._made, replica, *await self._store(self._made, replica, ask_again=True))

    async def follow_clock(self) -> None:
        """Plan everything anew after the clock was set back.

        Raises:
            StoreUnavailable: The database did not accept it.
        """
        async with self._turn:
            await self._pull_in()
            self._watch(*await self._store(self._made, self.state.replica))

    async def install(self, config: Config) -> None:
        """Activate a config.

        Raises:
            ConfigError: A receiver cannot be built; nothing has changed.
            StartError: A file that the config names cannot be used; nothing has changed.
            StoreUnavailable: The database did not accept it; nothing has changed.
        """
        async with self._turn:
            # In a thread: with a thousand secrets it takes a tenth of a second.
            secrets = [*self.secrets, *secrets_of(config)]
            await asyncio.to_thread(self.network.redactor.learn, secrets)
            made = self._make(config, self._made)
            replica = self._replica(made)
            try:
                stored = await self._store(made, replica, ask_again=True)
            except BaseException:
                self.presence = None  # should the store have it all the same, it is told again
                await made.receivers.close()
                if made.transport is not self._made.transport:
                    await made.transport.aclose()
                raise
            self._swap(made, replica, *stored)

    async def follow(self, listed: Mapping[str, Sequence[Listed]] | None = None) -> None:
        """Watch what the store says by now, and what the provider has listed for these accounts.

        Raises:
            StoreUnavailable: The database did not accept it.
        """
        async with self._turn:
            self._watch(*await self._store(self._made, self.state.replica, listed or {}))

    async def close(self) -> None:
        """Close every connection to the provider, the receivers and the watchdog."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._made.transport.aclose()
        await self._made.receivers.close()

    def _make(self, config: Config, former: _Made | None) -> _Made:
        """Build everything that can fail; what the former config has made is used again where it fits."""
        budgets = account_budgets(
            config,
            self.clock,
            self.metrics.budget_wait,
            kept=former.budgets if former is not None else {},
            # One daemon has SQLite alone, and needs no store for its pace.
            shared=None if self.database.is_sqlite else partial(StoredSlots, self._budgets),
        )
        trusted = self.network.authorities.stamp(config.api.ca_file)
        if (
            former is not None
            and former.config.api == config.api
            and former.trusted == trusted
            and former.config.schedule.max_concurrent_syncs == config.schedule.max_concurrent_syncs
        ):
            transport, client = former.transport, former.client
        else:
            transport, client = build_client(config, self.network, self.clock, self.rng)

        def parts(http: httpx.AsyncClient) -> PosterParts:
            return PosterParts(
                level=self._level,
                http=http,
                redactor=self.network.redactor,
                clock=self.clock,
                rng=self.rng,
                metrics=self.metrics,
                log=self.log,
                shortage=self.shortage,
            )

        receivers = ReceiverSet(
            config, network=self.network, clock=self.clock, log=self._log_receiver, parts=parts
        )
        return _Made(
            config=config,
            digest=xxhash.xxh3_128_hexdigest(msgspec.json.encode(config.public(), order="deterministic")),
            secrets=tuple(secrets_of(config)),
            budgets=budgets,
            trusted=trusted,
            transport=transport,
            client=client,
            receivers=receivers,
        )

    async def _pull_in(self) -> None:
        await self.database.transact(lambda tx: pull_in(tx, self.clock.now()))

    def _watchlist(self, made: _Made, discovered: Mapping[str, Sequence[Discovered]]) -> Watchlist:
        return build_watchlist(
            made.config,
            client=made.client,
            budgets=made.budgets,
            discovered=discovered,
            now=self.clock.now(),
        )

    def _replica(self, made: _Made) -> Replica:
        """Return this process with a config that is active from now on."""
        return Replica(id=self.replica_id, digest=made.digest, config_at=self.clock.now())

    async def _store(
        self,
        made: _Made,
        replica: Replica,
        listed: Mapping[str, Sequence[Listed]] = MappingProxyType({}),
        *,
        ask_again: bool = False,
    ) -> tuple[Watchlist, frozenset[str]]:
        """Make the store agree with what a config wants, and show every connection.

        Returns:
            The watchlist, and what else the store has, which is left to other replicas.
        """
        now = self.clock.now()
        async with self.database.read() as tx:
            version = await fleet_version(tx)  # first: what moves after it is looked at once more
            states = await watched(tx, self.codec)
        discovered, dropped = _discovered(made.config, states, listed, now)
        watchlist = self._watchlist(made, discovered)
        connections = watchlist.connections
        found = [one for each in discovered.values() for one in each]
        enrolled = await enrol(
            self.database,
            self.codec,
            me=replica,
            watches=[
                Watch(
                    identity=connection.identity,
                    name=connection.names.name,
                    account=connection.names.account,
                    connection_id=connection.connection_id,
                    first_due_at=connection.first_due_at(now),
                    next_due_at=connection.next_due_at(now, recheck=False),
                    rules_digest=connection.rules_digest,
                )
                for connection in connections.values()
            ],
            discovering=watchlist.discovering,
            ask_again=ask_again,
            vanished=[one.id for one in found if one.vanished],
            listed=[one.id for one in found if not one.vanished],
            dropped=dropped,
            version=version,
            receivers=made.receivers.names,
            routes=watchlist.routes,
            spread=watchlist.spread,
            now=now,
        )
        if enrolled.moved:
            # The store has accepted the config and tells receivers by it: its going away now is no failure.
            try:
                async with self.database.read() as tx:
                    states = await watched(tx, self.codec)
            except StoreUnavailable as exc:
                self.announcer.store.failed(exc, "reading the connections to show")
        states = [each for each in states if each.identity in connections]
        self.presence = enrolled.presence
        self.state.former |= enrolled.removed
        self.announcer.episodes_ended(enrolled.ended)
        for identity in self.announcer.shown() - connections.keys():
            self.announcer.forget(identity)
            self.state.fresh_s.pop(identity, None)
        for identity in connections:
            self.state.fresh_s.setdefault(identity, self.clock.monotonic())
        for state in states:
            self.announcer.restore(state, connections[state.identity], now)
        self._warn_stretched(made.config, watchlist, discovered)
        self.announcer.show_numbers(shown=made.config.metrics.numbers)
        await self.show_numbers(states)
        return watchlist, enrolled.foreign

    async def show_numbers(self, states: Sequence[ConnectionState]) -> None:
        """Show one series per number where the user opted in, without waiting for a change."""
        try:
            for state in filter(self.announcer.lacks_numbers, states):
                async with self.database.read() as tx:
                    records = await load_records(tx, state.identity, self.codec)
                if records.snapshot is not None:
                    shown = records.snapshot.numbers.values()
                    self.announcer.numbers(state.identity, state.digest, shown)
        except StoreUnavailable as exc:
            self.announcer.store.failed(exc, "reading the numbers to show")

    def _watch(self, watchlist: Watchlist, foreign: frozenset[str]) -> None:
        before, self.state.watchlist = self.state.watchlist, watchlist
        self.state.foreign = foreign
        self.state.former |= {
            identity: watched
            for identity, watched in before.watched.items()
            if identity not in watchlist.watched
        }

    def _swap(self, made: _Made, replica: Replica, watchlist: Watchlist, foreign: frozenset[str]) -> None:
        former, self._made = self._made, made
        config = made.config
        self.network.redactor.learn(made.secrets)
        self._watch(watchlist, foreign)
        self.state.replica = replica
        self.metrics.set_accounts(made.budgets)
        self.metrics.set_receivers(made.receivers.names)
        self.metrics.limit_number_series(config.metrics.max_number_series)
        set_level(self.log, config.log.level)
        self.drain.replace(made.receivers.receivers)
        self.posters.replace(made.receivers.alertmanagers)
        if former.receivers is not made.receivers:
            self._later(self._close_receivers(former.receivers))
        if former.transport is not made.transport:
            self._later(self._close_client(former.transport))

    def _warn_stretched(
        self, config: Config, watchlist: Watchlist, discovered: Mapping[str, Sequence[Discovered]]
    ) -> None:
        for account, found in discovered.items():
            if not found:
                continue
            interval = watchlist.connections[found[0].id].interval
            wanted = config.schedule.timing(ConnectionConfig(name=account)).gaps(self.clock.now())[0]
            if interval > wanted:
                self.log.warning(
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
            await self.drain.released(receiver)
        for alertmanager in old.alertmanagers:
            await self.posters.released(alertmanager)
        await old.close()

    async def _close_client(self, transport: httpx.AsyncBaseTransport) -> None:
        """Close the old client once no sync that began with it can still be in flight."""
        try:
            await self.clock.sleep(_OLD_CLIENT_GRACE_S)
        finally:
            await transport.aclose()


@dataclass(kw_only=True, eq=False)
class Reload:
    """Reads the config again and activates it; log, metric and page say how that went.

    Args:
        active: The active config.
        reread: Reads the config; it may block. None: there is nothing to read.
        on_reloaded: Called once the new config is active.
        manager: Told when a reload begins, and how it went.
        status: Shows why a config was rejected.
        metrics: Count it.
        clock: The time.
        log: Gets `config.reloaded` and `config.rejected`.
    """

    active: ActiveConfig
    reread: Callable[[], Config] | None
    on_reloaded: Callable[[], None]
    manager: ServiceManager
    status: StoreStatus
    metrics: Metrics
    clock: Clock
    log: FilteringBoundLogger
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._first = self.active.config

    async def reload(self) -> None:
        """Read the config again and activate it: parse, build, swap.

        Raises:
            MonitorError: It cannot be used; the old one stays active.
        """
        async with self._turn:
            known = self.active.config.warnings
            began_s = self.manager.reloading()
            try:
                if self.reread is None:
                    raise ConfigError(["no config to reload: this monitor was started without one"])
                config = await asyncio.to_thread(self.reread)
                await self.active.install(config)
            except MonitorError as exc:
                self.metrics.config_loaded(ok=False, at=self.clock.now())
                self.status.config_error = str(exc)
                self.log.error("config.rejected", error=str(exc))  # noqa: TRY400 - a traceback says no more
                self.manager.reloaded(began_s, str(exc))
                raise
            self.metrics.config_loaded(ok=True, at=self.clock.now())
            self.status.config_error, self.status.config_file_digest = None, config.file_digest
            self.log.info(
                "config.reloaded",
                config_file_digest=config.file_digest,
                connections=len(self.active.state.watchlist.connections),
                receivers=self.active.receivers,
                changed_at_next_start=changed_at_next_start(self._first, config),
            )
            if fresh := [warning for warning in config.warnings if warning not in known]:
                self.log.warning("config.warnings", warnings=fresh)
            self.on_reloaded()
            self.manager.reloaded(began_s, None)


def _discovered(
    config: Config,
    states: Sequence[ConnectionState],
    listed: Mapping[str, Sequence[Listed]],
    now: datetime,
) -> tuple[dict[str, list[Discovered]], frozenset[str]]:
    """Return the connections to watch beside the configured ones, by account; and those to drop."""
    taken = {connection.name for account in config.accounts for connection in account.connections}
    found: dict[str, list[Discovered]] = {}
    dropped: set[str] = set()
    for account in config.accounts:
        if not account.discover:
            continue
        explicit = {connection.id for connection in account.connections}
        known = [
            Known(id=state.identity, name=state.name, vanished_at=state.vanished_at)
            for state in states
            if state.account == account.name
            and state.connection_id is not None
            and state.identity not in explicit
        ]
        found[account.name] = discover(known, listed.get(account.name), taken=taken, now=now)
        taken |= {one.name for one in found[account.name]}
        dropped |= {one.id for one in known} - {one.id for one in found[account.name]}
    return found, frozenset(dropped)


def changed_at_next_start(first: Config, config: Config) -> list[str]:
    """Return the keys that have changed since the start and take effect at the next one only."""
    web, before = config.web, first.web
    other = {
        "store.url": config.store.secret.reveal() != first.store.secret.reveal(),
        "web.listen": web.listen != before.listen,
        "web.max_connections": web.max_connections != before.max_connections,
        "web.tls_cert_file": web.tls_cert_file != before.tls_cert_file,
        "web.tls_key_file": web.tls_key_file != before.tls_key_file,
    }
    return [key for key, is_other in other.items() if is_other]
