"""The daemon: builds everything, runs it, reloads it, closes it in order."""

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.announce import Announcer
from monitor.build import ReceiverSet, account_budgets, build_client, build_watchlist
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.config.secrets import secrets_of
from monitor.cycle import Cycle
from monitor.drift.alert import Kind, Severity
from monitor.errors import StartError, StoreUnavailable
from monitor.fleet import FleetWatch
from monitor.log import build_logger, route_standard_library
from monitor.metrics import Metrics
from monitor.notify.delivery import Receiver
from monitor.notify.drain import Drain
from monitor.notify.log import LogReceiver
from monitor.roster import bring_in
from monitor.schedule import Schedule
from monitor.status import StoreStatus
from monitor.store.alerts import firing_by_kind
from monitor.store.codec import Codec
from monitor.store.connections import free_leases
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.outbox import StoredOutbox, backlogs, free_delivery_leases
from monitor.store.retention import BATCH, prune
from monitor.watchlist import Live
from monitor.web.app import create_app
from monitor.web.server import WebServer, bind

_SYNC_GRACE_S = 3.0
_DRAIN_GRACE_S = 3.0
_LAG_PROBE_S = 0.25
_TICK_LATE = timedelta(seconds=10)


async def run_daemon(
    config: Config,
    *,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[str], None] | None = None,
    log_stream: TextIO | None = None,
    extra_receivers: Sequence[Receiver] = (),
    revision: str = "",
) -> None:
    """Run the daemon until SIGTERM, SIGINT or `stop`.

    Args:
        config: What to do.
        stop: Ends it when set.
        on_ready: Told the address of the status page once everything runs.
        log_stream: Where the log goes; standard output if None.
        extra_receivers: Told of every alert besides the configured ones.
        revision: Of the source, for `build_info`.

    Raises:
        StartError: The port is taken, or the store cannot be used.
        ConfigError: A receiver cannot be built.
    """
    stop = stop or asyncio.Event()
    log = build_logger(config.log.format, config.log.level, log_stream or sys.stdout)
    undo_logging = route_standard_library(log)
    loop = asyncio.get_running_loop()
    handled = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
            handled.append(number)
    try:
        daemon = Daemon(
            config, log=log, clock=SystemClock(), extra_receivers=extra_receivers, revision=revision
        )
        async with daemon.running() as address:
            if on_ready is not None:
                on_ready(address)
            await stop.wait()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
        undo_logging()


class Daemon:
    """All parts of one running monitor.

    Args:
        config: What to do.
        log: The log.
        clock: The time.
        extra_receivers: Told of every alert besides the configured ones.
        revision: Of the source.
    """

    def __init__(
        self,
        config: Config,
        *,
        log: FilteringBoundLogger,
        clock: Clock,
        extra_receivers: Sequence[Receiver] = (),
        revision: str = "",
    ) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._rng = random.Random()
        self._extra = extra_receivers
        self._metrics = Metrics(
            version=__version__, revision=revision, max_number_series=config.metrics.max_number_series
        )
        self._codec = Codec()
        self._tasks: list[asyncio.Task[None]] = []
        self._store_lost_at: datetime | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Start everything; give the address of the status page; on leaving, close everything in order."""
        async with contextlib.AsyncExitStack() as stack:
            listen = self._config.web.listen
            sock = await asyncio.to_thread(bind, listen.host, listen.port)
            stack.callback(sock.close)
            database = await self._open_store(stack)
            self._build(database, stack)
            try:
                await self._bring_in()
            except StoreUnavailable as exc:
                raise StartError(str(exc)) from exc
            web = WebServer(
                create_app(metrics=self._metrics, readiness=self, status=self._status),
                sock,
                tls_cert_file=self._config.web.tls_cert_file,
                tls_key_file=self._config.web.tls_key_file,
            )
            await web.start()
            stack.push_async_callback(web.stop)
            self._begin(stack)
            host, port = sock.getsockname()[:2]
            scheme = "https" if self._config.web.tls_cert_file else "http"
            address = f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
            self._metrics.config_loaded(ok=True, at=self._clock.now())
            self._log.info(
                "daemon.started",
                version=__version__,
                instance=self._config.instance,
                connections=len(self._live.watchlist.connections),
                receivers=self._receivers.names,
                store=database.shown,
                page=address,
            )
            yield address
            await self._close_work()
        self._log.info("daemon.stopped")

    def not_ready(self) -> str | None:
        """Return why the monitor does not do its work, or None."""
        if self._store_lost_at is not None:
            return "the store is away"
        ticked_at = self._schedule.ticked_at
        if ticked_at is None:
            return "starting"
        if self._clock.now() - ticked_at > _TICK_LATE:
            return "the schedule does not run"
        return None

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> Database:
        database = Database(self._config.store.secret.reveal())
        lock = database.lock()
        if lock is not None:
            stack.callback(lock.close)
        stack.push_async_callback(database.close)
        await database.migrate()
        if lock is not None:
            async with database.write() as tx:
                await free_leases(tx)
                await free_delivery_leases(tx)
        return database

    def _build(self, database: Database, stack: contextlib.AsyncExitStack) -> None:
        config, clock = self._config, self._clock
        self._database = database
        self._budgets = account_budgets(config, clock, self._metrics.budget_wait, kept={})
        http, client = build_client(config, clock, self._rng)
        stack.push_async_callback(http.aclose)
        watchlist = build_watchlist(config, client=client, budgets=self._budgets, since=clock.now())
        self._live = Live(watchlist=watchlist)
        self._receivers = ReceiverSet(config, clock=clock, log=LogReceiver(self._log), extra=self._extra)
        stack.push_async_callback(self._receivers.close)
        self._announcer = Announcer(metrics=self._metrics, log=self._log, numbers=config.metrics.numbers)
        self._drain = Drain(
            outbox=StoredOutbox(database, clock),
            receivers=self._receivers.receivers,
            clock=clock,
            rng=self._rng,
            metrics=self._metrics,
            log=self._log,
        )
        fleet = FleetWatch(
            live=self._live, database=database, codec=self._codec, announcer=self._announcer, clock=clock
        )
        cycle = Cycle(
            live=self._live,
            ledger=Ledger(database, self._codec),
            announcer=self._announcer,
            clock=clock,
            wake_drain=self._drain.wake,
            log_internal=self._log_internal,
        )
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._schedule = Schedule(
            scheduler=self._scheduler,
            database=database,
            cycle=cycle,
            fleet=fleet,
            clock=clock,
            metrics=self._metrics,
            announcer=self._announcer,
            wake_drain=self._drain.wake,
            log_internal=self._log_internal,
        )
        self._status = StoreStatus(live=self._live, database=database, announcer=self._announcer)

    async def _bring_in(self) -> None:
        self._metrics.set_accounts(self._budgets)
        self._metrics.set_receivers(self._receivers.names)
        await bring_in(
            self._database,
            self._codec,
            self._live,
            receivers=self._receivers.names,
            announcer=self._announcer,
            now=self._clock.now(),
        )

    def _begin(self, stack: contextlib.AsyncExitStack) -> None:
        self._tasks = [
            asyncio.create_task(self._drain.run(), name="drain"),
            asyncio.create_task(self._watch_loop(), name="loop lag"),
        ]
        stack.push_async_callback(self._end_tasks)
        self._scheduler.start()
        self._schedule.every(timedelta(seconds=1), "gauges", self._refresh_gauges)
        self._schedule.every(timedelta(seconds=5), "secrets", self._refresh_secrets)
        self._schedule.every(timedelta(hours=1), "retention", self._prune)
        self._schedule.start()

    async def _close_work(self) -> None:
        """Stop syncing, then delivering; the rest closes in the reverse order of its start."""
        self._scheduler.pause()
        await self._schedule.close(_SYNC_GRACE_S)
        await self._drain.close(_DRAIN_GRACE_S)
        self._scheduler.shutdown(wait=False)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch_loop(self) -> None:
        """Measure how late the event loop wakes us: what blocks it delays everything."""
        while True:
            before_s = self._clock.monotonic()
            await self._clock.sleep(_LAG_PROBE_S)
            self._metrics.loop_lag(max(self._clock.monotonic() - before_s - _LAG_PROBE_S, 0.0))

    async def _refresh_gauges(self) -> None:
        now = self._clock.now()
        for connection in self._live.watchlist.connections.values():
            self._announcer.maintenance(connection.identity, is_open=connection.maintenance(now).open)
        try:
            async with self._database.read() as tx:
                counted = await firing_by_kind(tx)
                waiting = await backlogs(tx)
        except StoreUnavailable as exc:
            if self._store_lost_at is None:
                self._announcer.store_failed(exc, "reading the gauges")
                self._store_lost_at = now
            return
        self._store_lost_at = None
        self._metrics.set_alerts_firing(
            {(kind, severity): counted.get((kind, severity), 0) for kind in Kind for severity in Severity}
        )
        for backlog in waiting:
            self._metrics.set_backlog(backlog.receiver, backlog.pending, backlog.dead, backlog.oldest_at)

    async def _refresh_secrets(self) -> None:
        await asyncio.to_thread(lambda: [secret.refresh() for secret in secrets_of(self._config)])

    async def _prune(self) -> None:
        before = self._clock.now() - self._config.store.retention
        try:
            while True:
                async with self._database.write() as tx:
                    deleted = await prune(tx, before)
                if deleted < BATCH:
                    return
        except StoreUnavailable as exc:
            self._announcer.store_failed(exc, "forgetting what is old")

    def _log_internal(self, doing: str, exc: BaseException) -> None:
        """Log a mistake of ours: the only place that shows a traceback."""
        self._log.error("internal.error", doing=doing, exc_info=exc)
