"""The daemon: starts its parts, runs them, closes them in order."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TextIO

from monitor import __version__
from monitor.config import Config
from monitor.daemon.build import Parts, build
from monitor.errors import StartError, StoreUnavailable
from monitor.log import build_logger, route_standard_library
from monitor.store.claims import free_leases
from monitor.store.outbox import free_delivery_leases
from monitor.web.server import bind

_SYNC_GRACE_S = 3.0
_DRAIN_GRACE_S = 3.0


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
        on_ready: Gets the address of the status page once everything runs.
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
        # Nothing else has the event loop yet.
        with contextlib.closing(bind(config.web.listen.host, config.web.listen.port)) as sock:
            daemon = Daemon(build(config, sock=sock, log=log, reread=reread, revision=revision))
            with _signals(
                {signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGHUP: daemon.reload_soon}
            ):
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
            stack.push_async_callback(parts.heartbeat.close)
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
            parts.discovery.soon()
            parts.schedule.start()
            parts.metrics.config_loaded(ok=True, at=parts.clock.now())
            parts.log.info(
                "daemon.started",
                version=__version__,
                instance=parts.active.config.instance,
                connections=len(parts.active.state.watchlist.connections),
                receivers=parts.active.receivers,
                store=parts.database.shown,
                page=parts.web.address,
            )
            parts.readiness.started.set()
            try:
                yield parts.web.address
            finally:
                # Syncing stops first, then delivering; the rest closes in the reverse order of its start.
                parts.scheduler.pause()
                await parts.schedule.close(_SYNC_GRACE_S)
                await asyncio.gather(parts.drain.close(_DRAIN_GRACE_S), parts.posters.close(_DRAIN_GRACE_S))
                parts.scheduler.shutdown(wait=False)
        parts.log.info("daemon.stopped")

    def reload_soon(self) -> None:
        """Reload in the background, once everything has started: what a signal can ask for."""
        self._parts.tasks.start("reload", self._parts.reload.when_started())

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> None:
        """Take the store, bring it up to date, and activate the first config."""
        database = self._parts.database
        lock = database.lock()
        if lock is not None:
            stack.callback(lock.close)
        stack.push_async_callback(database.close)
        await database.migrate()
        try:
            if lock is not None:
                async with database.write() as tx:
                    await free_leases(tx)
                    await free_delivery_leases(tx)
            await self._parts.active.start()
        except StoreUnavailable as exc:
            raise StartError(str(exc)) from exc
