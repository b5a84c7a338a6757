"""The daemon: builds everything, runs it, reloads it, closes it in order."""

import asyncio
import contextlib
import gc
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, timedelta
from typing import TextIO

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.daemon.actions import DaemonLifecycle
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.jobs import Housekeeping
from monitor.daemon.reload import Installation
from monitor.daemon.status import StoreStatus
from monitor.daemon.web import Listener, changed_at_next_start
from monitor.errors import ConfigError, MonitorError, StartError, StoreUnavailable
from monitor.http.client import build_http
from monitor.log import build_logger, route_standard_library
from monitor.metrics import Metrics
from monitor.notify.alertmanager import Posters
from monitor.notify.drain import Drain
from monitor.store.claims import free_leases
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.outbox import StoredOutbox, free_delivery_leases
from monitor.sync.announce import Announcer
from monitor.sync.cycle import Cycle
from monitor.sync.failures import FleetWatch
from monitor.sync.schedule import Schedule
from monitor.web.server import bind

_SYNC_GRACE_S = 3.0
_DRAIN_GRACE_S = 3.0
_RESTART_AFTER_S = 1.0
_LAG_PROBE_S = 0.5
_SET_BACK = timedelta(seconds=5)
_TICK_LATE = timedelta(seconds=10)


async def run_daemon(
    config: Config,
    *,
    reread: Callable[[], Config] | None = None,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[str], None] | None = None,
    log_stream: TextIO | None = None,
    revision: str = "",
) -> None:
    """Run the daemon until SIGTERM, SIGINT or `stop`; reload at SIGHUP.

    Args:
        config: What to do.
        reread: Reads the config again, for a reload; it may block. None: there is nothing to reload from.
        stop: Ends it when set.
        on_ready: Told the address of the status page once everything runs.
        log_stream: Where the log goes; standard output if None.
        revision: Of the source, for `build_info`.

    Raises:
        StartError: The port is taken, or the store cannot be used.
        ConfigError: A receiver cannot be built.
    """
    stop = stop or asyncio.Event()
    log = build_logger(config.log.format, config.log.level, log_stream or sys.stdout)
    undo_logging = route_standard_library(log)
    try:
        daemon = Daemon(
            config,
            reread=reread,
            log=log,
            clock=SystemClock(),
            revision=revision,
        )
        with _signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: daemon.reload_soon}):
            async with daemon.running() as address:
                # What was built so far stays. A full collection through it all holds the event loop for
                # 100 ms, and with large answers coming and going there is one every few seconds.
                gc.collect()
                gc.freeze()
                if on_ready is not None:
                    on_ready(address)
                await stop.wait()
    finally:
        gc.unfreeze()
        undo_logging()


@contextlib.contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Handle signals in the loop; where that is impossible (not the main thread), leave them alone."""
    loop = asyncio.get_running_loop()
    handled = []
    for number, handler in handlers.items():
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, handler)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


class Daemon:
    """All parts of one running monitor.

    Args:
        config: What to do.
        reread: Reads the config again.
        log: The log.
        clock: The time.
        revision: Of the source.
    """

    def __init__(
        self,
        config: Config,
        *,
        reread: Callable[[], Config] | None,
        log: FilteringBoundLogger,
        clock: Clock,
        revision: str = "",
    ) -> None:
        self._first_config = config
        self._reread = reread
        self._log = log
        self._clock = clock
        self._rng = random.Random()
        self._metrics = Metrics(
            version=__version__, revision=revision, max_number_series=config.metrics.max_number_series
        )
        self._codec = Codec()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._started = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Start everything; give the address of the status page; on leaving, close everything in order."""
        config = self._first_config
        async with contextlib.AsyncExitStack() as stack:
            sock = await asyncio.to_thread(bind, config.web.listen.host, config.web.listen.port)
            stack.callback(sock.close)
            database = await self._open_store(config, stack)
            await self._build(config, database, stack)
            self._listener = self._build_listener(sock, database)
            self._build_housekeeping(database, stack)
            await self._listener.start()
            stack.push_async_callback(self._listener.stop)
            self._begin(stack)
            address = self._listener.address
            self._metrics.config_loaded(ok=True, at=self._clock.now())
            self._log.info(
                "daemon.started",
                version=__version__,
                instance=config.instance,
                connections=len(self._installation.live.watchlist.connections),
                receivers=self._installation.receivers.names,
                store=database.shown,
                page=address,
            )
            self._started.set()
            try:
                yield address
            finally:
                await self._close_work()
        self._log.info("daemon.stopped")

    def not_ready(self) -> str | None:
        """Return why the monitor does not do its work, or None."""
        if self._housekeeping.store_is_away:
            return "the store is away"
        ticked_at = self._schedule.ticked_at
        if not self._started.is_set() or ticked_at is None:
            return "starting"
        if self._clock.now() - ticked_at > _TICK_LATE:
            return "the schedule does not run"
        return None

    def reload_soon(self) -> None:
        """Reload in the background: what a signal can ask for."""
        task = asyncio.create_task(self._reload_quietly(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> None:
        """Read the config again and put it in force: parse, build, swap.

        Raises:
            MonitorError: It cannot be used; the old one goes on, and log, metric and page say so.
        """
        async with self._reloading:
            try:
                if self._reread is None:
                    raise ConfigError(["this monitor was started without a config to read again"])
                config = await asyncio.to_thread(self._reread)
                await self._installation.install(config)
            except MonitorError as exc:
                self._metrics.config_loaded(ok=False, at=self._clock.now())
                self._status.config_error = str(exc)
                self._log.error("config.rejected", error=str(exc))
                raise
            self._metrics.config_loaded(ok=True, at=self._clock.now())
            self._status.config_error = None
            self._log.info(
                "config.reloaded",
                connections=len(self._installation.live.watchlist.connections),
                receivers=self._installation.receivers.names,
                changed_at_next_start=changed_at_next_start(self._first_config, config),
                warnings=config.warnings,
            )
            self._schedule.look_now()
            self._wake_receivers()
            self._housekeeping.discover_soon()

    async def _open_store(self, config: Config, stack: contextlib.AsyncExitStack) -> Database:
        database = Database(config.store.secret.reveal())
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

    async def _build(self, config: Config, database: Database, stack: contextlib.AsyncExitStack) -> None:
        clock, metrics = self._clock, self._metrics
        self._database = database
        self._announcer = Announcer(metrics=metrics, log=self._log)
        self._drain = Drain(
            outbox=StoredOutbox(database, clock),
            receivers=(),
            clock=clock,
            rng=self._rng,
            metrics=metrics,
            log=self._log,
        )
        self._posters = Posters()
        self._installation = Installation(
            database=database,
            codec=self._codec,
            clock=clock,
            rng=self._rng,
            metrics=metrics,
            announcer=self._announcer,
            drain=self._drain,
            posters=self._posters,
            log=self._log,
        )
        stack.push_async_callback(self._installation.close)
        try:
            await self._installation.install(config)
        except StoreUnavailable as exc:
            raise StartError(str(exc)) from exc
        self._build_schedule(database)
        self._status = StoreStatus(live=self._installation.live, database=database, announcer=self._announcer)

    def _build_schedule(self, database: Database) -> None:
        live = self._installation.live
        fleet = FleetWatch(
            live=live, database=database, codec=self._codec, announcer=self._announcer, clock=self._clock
        )
        cycle = Cycle(
            live=live,
            ledger=Ledger(database, self._codec),
            announcer=self._announcer,
            clock=self._clock,
            wake_drain=self._wake_receivers,
            log_internal=self._log_internal,
        )
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._schedule = Schedule(
            scheduler=self._scheduler,
            database=database,
            cycle=cycle,
            fleet=fleet,
            clock=self._clock,
            metrics=self._metrics,
            announcer=self._announcer,
            wake_drain=self._wake_receivers,
            log_internal=self._log_internal,
        )

    def _build_housekeeping(self, database: Database, stack: contextlib.AsyncExitStack) -> None:
        http = build_http(ca_file=None, max_connections=1)
        stack.push_async_callback(http.aclose)
        heartbeat = Heartbeat(
            http=http,
            database=database,
            syncs=self._schedule,
            deliveries=self._drain,
            clock=self._clock,
            log=self._log,
        )
        self._housekeeping = Housekeeping(
            installation=self._installation,
            schedule=self._schedule,
            drain=self._drain,
            heartbeat=heartbeat,
            database=database,
            codec=self._codec,
            metrics=self._metrics,
            announcer=self._announcer,
            refresh_certificate=self._listener.refresh_certificate,
            clock=self._clock,
        )

    def _wake_receivers(self) -> None:
        """Say that there is something to tell."""
        self._drain.wake()
        self._posters.wake()

    def _build_listener(self, sock: socket.socket, database: Database) -> Listener:
        live = self._installation.live
        return Listener(
            config=lambda: self._installation.config,
            sock=sock,
            live=live,
            database=database,
            codec=self._codec,
            metrics=self._metrics,
            status=self._status,
            readiness=self,
            lifecycle=DaemonLifecycle(
                reload=self.reload,
                syncs=self._schedule,
                is_watched=lambda identity: identity in live.watchlist.connections,
                wake_drain=self._drain.wake,
                database=database,
                codec=self._codec,
                clock=self._clock,
            ),
            clock=self._clock,
            log=self._log,
        )

    def _begin(self, stack: contextlib.AsyncExitStack) -> None:
        self._tasks |= {
            asyncio.create_task(self._keep_up("drain", self._drain.run)),
            asyncio.create_task(self._keep_up("posters", self._posters.run)),
            asyncio.create_task(self._keep_up("time", self._watch_time)),
        }
        stack.push_async_callback(self._end_tasks)
        self._scheduler.start()
        self._housekeeping.start()
        self._schedule.start()

    async def _close_work(self) -> None:
        """Stop syncing, then delivering; the rest closes in the reverse order of its start."""
        self._scheduler.pause()
        await self._schedule.close(_SYNC_GRACE_S)
        await asyncio.gather(self._drain.close(_DRAIN_GRACE_S), self._posters.close(_DRAIN_GRACE_S))
        self._scheduler.shutdown(wait=False)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reload_quietly(self) -> None:
        await self._started.wait()  # a signal may come while the start is under way
        with contextlib.suppress(MonitorError):  # said already, where it was handled
            await self.reload()

    async def _keep_up(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run what must never end; if a mistake of ours ends it, say so and begin again."""
        while True:
            try:
                await run()
            except Exception as exc:  # noqa: BLE001 - a task's root: without it nobody would be told any more
                self._log_internal(name, exc)
                await self._clock.sleep(_RESTART_AFTER_S)
            else:
                return

    async def _watch_time(self) -> None:
        """Measure how late the event loop wakes us, and notice a clock that was set back."""
        while True:
            before_at, before_s = self._clock.now(), self._clock.monotonic()
            await self._clock.sleep(_LAG_PROBE_S)
            passed_s = self._clock.monotonic() - before_s
            self._metrics.loop_lag(max(passed_s - _LAG_PROBE_S, 0.0))
            if self._clock.now() - before_at < timedelta(seconds=passed_s) - _SET_BACK:
                await self._catch_up_with_clock()

    async def _catch_up_with_clock(self) -> None:
        """Plan everything anew: what was due by the old clock would wait for as long as it was set back."""
        self._log.warning("clock.set_back")
        self._housekeeping.start()
        try:
            await self._installation.install(self._installation.config)
        except MonitorError as exc:
            self._log.error("clock.not_followed", error=str(exc))
        self._schedule.look_now()

    def _log_internal(self, doing: str, exc: BaseException) -> None:
        """Count and log a mistake of ours: the only place that shows a traceback."""
        self._metrics.internal_error()
        self._log.error("internal.error", doing=doing, exc_info=exc)
