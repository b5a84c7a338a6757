"""The daemon: starts its parts, runs them, closes them in order."""

import asyncio
import contextlib
import gc
import io
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TextIO

from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.clock import SystemClock
from monitor.config import Config, secrets_of
from monitor.daemon.build import Parts, build
from monitor.daemon.descriptors import raise_limit
from monitor.errors import StartError, StoreUnavailable
from monitor.http.client import Network
from monitor.http.redactor import Redactor
from monitor.lines import LineWriter
from monitor.log import build_logger, route_standard_library
from monitor.store.claims import free_leases
from monitor.store.outbox import free_delivery_leases
from monitor.web.server import bind

_SYNC_GRACE_S = 3.0
_DRAIN_GRACE_S = 3.0
_LOG_GRACE_S = 2.0


async def run_daemon(
    config: Config,
    *,
    network: Network | None = None,
    reread: Callable[[], Config] | None = None,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[str], None] | None = None,
    log_stream: TextIO | None = None,
    revision: str = "",
) -> None:
    """Run the daemon until SIGTERM, SIGINT or `stop`; reload at SIGHUP.

    Args:
        config: What to do.
        network: How others are reached; None: directly, trusting the system's authorities.
        reread: Reads the config again, for a reload; it may block. None: there is nothing to reload from.
        stop: Ends it when set.
        on_ready: Gets the address of the status page once everything runs.
        log_stream: Where the log goes; standard output if None.
        revision: Of the source, for `build_info`.

    Raises:
        StartError: The port is taken, or the store cannot be used.
        ConfigError: A receiver cannot be built.
    """
    stop, network = stop or asyncio.Event(), network or Network()
    network.redactor.learn(secrets_of(config))
    with contextlib.ExitStack() as stack:
        log, dropped_lines = stack.enter_context(_log(config, log_stream, network.redactor))
        stack.callback(gc.unfreeze)
        raise_limit()
        # Nothing else has the event loop yet.
        sock = stack.enter_context(contextlib.closing(bind(config.web.listen.host, config.web.listen.port)))
        parts = build(
            config,
            sock=sock,
            log=log,
            dropped_lines=dropped_lines,
            network=network,
            reread=reread,
            revision=revision,
        )
        daemon = Daemon(parts)
        with _signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: daemon.reload_soon}):
            async with daemon.running() as address:
                # What was built so far stays. A full collection through it all holds the event loop for
                # 100 ms, and with large answers coming and going there is one every few seconds.
                gc.collect()
                gc.freeze()
                if on_ready is not None:
                    on_ready(address)
                await stop.wait()


async def rehearse(config: Config, network: Network) -> None:
    """Make all that `run_daemon` makes before it takes the port and the store, and drop it again.

    What `monitor.daemon.preconditions` does not know of fails here.

    Raises:
        MonitorError: A daemon could not start.
    """
    with contextlib.closing(socket.socket()) as sock:
        parts = build(config, sock=sock, log=build_logger("json", "error", io.StringIO()), network=network)
        await parts.active.close()
        await parts.database.close()


@contextlib.contextmanager
def _log(
    config: Config, stream: TextIO | None, redactor: Redactor
) -> Iterator[tuple[FilteringBoundLogger, Callable[[], int]]]:
    """Give the log, to a stream or to standard output, and what returns how many lines it has dropped."""
    out: LineWriter | TextIO
    dropped: Callable[[], int]
    with contextlib.ExitStack() as stack:
        if stream is None:
            writer = LineWriter(sys.stdout.fileno(), SystemClock())
            stack.callback(writer.close, _LOG_GRACE_S)
            out, dropped = writer, lambda: writer.dropped
        else:
            out, dropped = stream, int
        log = build_logger(config.log.format, config.log.level, out, redactor=redactor)
        stack.callback(route_standard_library(log))
        yield log, dropped


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
    """One running monitor.

    Args:
        parts: From `build`; not started yet.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Start everything; give the address of the status page; on leaving, close everything in order."""
        parts = self._parts
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(parts.active.close)
            await self._open_store(stack)
            await parts.web.start()
            stack.push_async_callback(parts.web.stop)
            stack.push_async_callback(parts.tasks.close)
            parts.tasks.keep_running("drain", parts.drain.run)
            parts.tasks.keep_running("posters", parts.posters.run)
            parts.tasks.keep_running("time", parts.clock_watch.run)
            parts.scheduler.start()
            parts.housekeeping.start()
            parts.presence.start()
            parts.discovery.soon()
            parts.schedule.start()
            parts.metrics.config_loaded(ok=True, at=parts.clock.now())
            parts.log.info(
                "daemon.started",
                version=__version__,
                instance=parts.active.config.instance,
                config_file_digest=parts.active.config.file_digest,
                connections=len(parts.active.state.watchlist.connections),
                receivers=parts.active.receivers,
                store=parts.database.shown,
                page=parts.web.address,
            )
            if parts.active.config.warnings:
                parts.log.warning("config.warnings", warnings=parts.active.config.warnings)
            parts.readiness.store_answered()
            parts.readiness.started.set()
            try:
                yield parts.web.address
            finally:
                # Syncing stops first, then delivering; the rest closes in the reverse order of its start.
                parts.scheduler.pause()
                await parts.schedule.close(_SYNC_GRACE_S)
                await asyncio.gather(parts.drain.close(_DRAIN_GRACE_S), parts.posters.close(_DRAIN_GRACE_S))
                parts.scheduler.shutdown(wait=False)
                with contextlib.suppress(StoreUnavailable):  # the other replicas notice by themselves
                    await parts.presence.leave()
        parts.log.info("daemon.stopped")

    def reload_soon(self) -> None:
        """Reload in the background, once everything has started: what a signal can ask for."""
        self._parts.tasks.start("reload", self._parts.lifecycle.reload_when_started())

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> None:
        """Take the store, bring it up to date, and activate the first config."""
        database = self._parts.database
        lock = database.lock()
        if lock is not None:
            stack.callback(lock.close)
        stack.push_async_callback(database.close)
        await database.migrate()
        try:
            await self._parts.presence.follow_clock()
            if lock is not None:
                await database.transact(free_leases)
                await database.transact(free_delivery_leases)
            await self._parts.active.start()
            await database.look()
        except StoreUnavailable as exc:
            raise StartError(str(exc)) from exc
