"""The daemon: starts its parts, runs them, closes them in order."""

import asyncio
import contextlib
import ctypes
import gc
import io
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TextIO

from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.clock import Clock, SystemClock
from monitor.config import Config, secrets_of
from monitor.daemon.build import Parts, build
from monitor.daemon.descriptors import raise_limit
from monitor.daemon.service import ServiceManager
from monitor.daemon.signals import Signals
from monitor.errors import StartError, StoreUnavailable
from monitor.http.client import Network
from monitor.http.redactor import Redactor
from monitor.lines import LineWriter
from monitor.log import build_logger, route_standard_library
from monitor.store.claims import free_leases
from monitor.store.database import Database
from monitor.store.outbox import free_delivery_leases
from monitor.web.server import bind

_STOP_S = 6.5
"""For all of a stop but the log; what takes longer than its part of it is left to the end of the process."""
_STEP_S = 0.2
"""What a step has in any case."""
_SYNC_GRACE_S = 2.0
_DRAIN_GRACE_S = 2.0
_LOG_GRACE_S = 1.0
_M_ARENA_MAX = -8
"""Of glibc's mallopt. Source: malloc.h."""


async def run_daemon(
    config: Config,
    *,
    network: Network | None = None,
    reread: Callable[[], Config] | None = None,
    signals: Signals | None = None,
    manager: ServiceManager | None = None,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[str], None] | None = None,
    log_stream: TextIO | None = None,
    revision: str = "",
) -> None:
    """Run the daemon until `stop` or until `signals` say so.

    Args:
        config: What to do.
        network: How others are reached; None: directly, trusting the system's authorities.
        reread: Reads the config again, for a reload; it may block. None: there is nothing to reload from.
        signals: Stop and reload it. None: whoever has called this does.
        manager: Told how the daemon is.
        stop: Ends it when set, also while it starts.
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
        log, dropped_lines, end_log = stack.enter_context(_log(config, log_stream, network.redactor))
        stack.callback(gc.unfreeze)
        gc.freeze()  # What was imported stays, too: a start need not look through it for garbage.
        raise_limit()
        _share_one_heap()
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
            manager=manager,
        )
        daemon = Daemon(parts)
        loop = asyncio.get_running_loop()

        def in_loop(what: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(what)

        def overdue() -> None:
            log.warning("daemon.cut_short", unfinished=daemon.unfinished)
            end_log()

        if signals is not None:
            handlers = signals.serving(
                stop=partial(in_loop, stop.set), reload=partial(in_loop, daemon.reload_soon), overdue=overdue
            )
            stack.enter_context(handlers)
        starting = asyncio.timeout(None)
        interrupt = asyncio.create_task(_interrupt(starting, stop))
        try:
            async with starting, daemon.running() as address:
                interrupt.cancel()
                # What was built so far stays. A full collection through it all would hold the event loop for
                # 100 ms, and with large answers coming and going there is one every few seconds.
                gc.collect()
                gc.freeze()
                if on_ready is not None:
                    on_ready(address)
                await stop.wait()
        except TimeoutError:
            if not starting.expired():
                raise
        finally:
            interrupt.cancel()
        log.info("daemon.stopped", unfinished=daemon.unfinished)
    if signals is not None and daemon.unfinished:
        signals.leave()


async def _interrupt(starting: asyncio.Timeout, stop: asyncio.Event) -> None:
    """Let a start time out when it is to stop."""
    await stop.wait()
    starting.reschedule(asyncio.get_running_loop().time())


@contextlib.asynccontextmanager
async def rehearsal(
    config: Config, network: Network, *, database: Database | None = None, clock: Clock | None = None
) -> AsyncIterator[Parts]:
    """Give all that `run_daemon` makes before it takes the port and the store; nothing of it runs.

    What `monitor.daemon.preconditions` does not know of fails here. `database` and `clock` as of `build`.

    Raises:
        MonitorError: A daemon could not start.
    """
    with contextlib.closing(socket.socket()) as sock:
        log = build_logger("json", "error", io.StringIO())
        parts = build(config, sock=sock, log=log, network=network, database=database, clock=clock)
        try:
            yield parts
        finally:
            await parts.active.close()
            await parts.database.close()


def _share_one_heap() -> None:
    """Have all threads allocate in one heap, where the C library is glibc.

    With a heap each, what large answers leave free in one is of no use to the others.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


@contextlib.contextmanager
def _log(
    config: Config, stream: TextIO | None, redactor: Redactor
) -> Iterator[tuple[FilteringBoundLogger, Callable[[], int], Callable[[], None]]]:
    """Give the log, to a stream or to standard output, what counts dropped lines, and what ends it early."""
    out: LineWriter | TextIO
    dropped: Callable[[], int]
    end: Callable[[], None]
    with contextlib.ExitStack() as stack:
        if stream is None:
            writer = LineWriter(sys.stdout.fileno(), SystemClock())
            out, dropped, end = writer, lambda: writer.dropped, partial(writer.close, _LOG_GRACE_S)
            stack.callback(end)
        else:
            out, dropped, end = stream, int, stream.flush
        log = build_logger(config.log.format, config.log.level, out, redactor=redactor)
        stack.callback(route_standard_library(log))
        yield log, dropped, end


_Step = Callable[[], Coroutine[Any, Any, None]]


class Daemon:
    """One running monitor.

    Args:
        parts: From `build`; not started yet.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop_by_s: float | None = None
        self.unfinished: list[str] = []
        """What a stop waits for, or has left to the end of the process."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Start everything; give the address of the status page; on leaving, close everything in order."""
        parts = self._parts
        async with contextlib.AsyncExitStack() as stack:
            if parts.manager.listens:
                watch = asyncio.create_task(parts.manager.watch(parts.readiness), name="service manager")
                stack.callback(watch.cancel)
            self._at_the_end(stack, "clients", parts.active.close)
            await self._open_store(stack)
            await parts.web.start()
            self._at_the_end(stack, "web requests", parts.web.stop)
            self._at_the_end(stack, "replays", parts.replays.close)
            self._at_the_end(stack, "tasks", parts.tasks.close)
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
                parts.manager.stopping()
                parts.scheduler.pause()
                await self._step("syncs", partial(parts.schedule.close, _SYNC_GRACE_S))
                await self._step("deliveries", self._end_deliveries)
                parts.scheduler.shutdown(wait=False)
                with contextlib.suppress(StoreUnavailable):  # the other replicas notice by themselves
                    await self._step("leaving the replicas", parts.presence.leave)

    async def _end_deliveries(self) -> None:
        drain, posters = self._parts.drain, self._parts.posters
        await asyncio.gather(drain.close(_DRAIN_GRACE_S), posters.close(_DRAIN_GRACE_S))

    def _at_the_end(self, stack: contextlib.AsyncExitStack, name: str, step: _Step) -> None:
        stack.push_async_callback(self._step, name, step)

    async def _step(self, name: str, step: _Step) -> None:
        """Take a step of the stop; go on without it when the time for all of them is over."""
        now_s = self._parts.clock.monotonic()
        self._stop_by_s = self._stop_by_s or now_s + _STOP_S
        self.unfinished.append(name)
        task = asyncio.create_task(step())
        try:
            await asyncio.wait([task], timeout=max(self._stop_by_s - now_s, _STEP_S))
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget)
        if task.done():
            self.unfinished.remove(name)
            task.result()

    def reload_soon(self) -> None:
        """Reload in the background, once everything has started: what a signal can ask for."""
        self._parts.tasks.start("reload", self._parts.lifecycle.reload_when_started())

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> None:
        """Take the store, bring it up to date, and activate the first config."""
        database = self._parts.database
        lock = database.lock()
        if lock is not None:
            stack.callback(lock.close)
        self._at_the_end(stack, "the store", database.close)
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


def _forget(task: asyncio.Task[None]) -> None:
    """Take no notice of how a task ends that is no longer waited for."""
    if not task.cancelled():
        task.exception()
