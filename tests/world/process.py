"""One life of the daemon: the real parts, but for the web listener's socket."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, MutableMapping
from datetime import timedelta
from typing import Any

import httpx
import structlog

from monitor.config import Config
from monitor.daemon import build, jobs, tasks
from monitor.daemon.app import Daemon
from monitor.http import client
from monitor.notify import drain
from monitor.notify.alertmanager import poster
from monitor.store.database import Database
from monitor.store.file import DaemonLock
from monitor.sync import schedule
from tests.world.clock import WorldClock
from tests.world.disk import Disk
from tests.world.loop import Elapsed, VirtualLoop, bury

PROVIDER = "provider"
_END_WITHIN_S = 60.0

ALONE: list[tuple[Any, str, Any]] = [
    (drain, "POLL_S", 60.0),
    (poster, "POLL_S", 60.0),
    (schedule, "_LONGEST_REST", timedelta(seconds=8)),
    (jobs, "_OTHERS_WRITE_S", 10.0),
    (jobs, "_LOOK_AT_STORE_S", 120.0),
    (tasks, "_LAG_PROBE_S", 5.0),
]
"""How often the daemon looks for what other processes wrote: here none does, and every look costs."""
SELDOM_S = 12.0


class _NoWeb:
    """Takes the place of the web listener."""

    address = "http://nowhere"

    def __init__(self, **_: Any) -> None:
        pass

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    async def refresh_certificate(self) -> bool:
        """Do nothing."""
        return False


@contextlib.contextmanager
def at_leisure(leisure: list[tuple[Any, str, Any]], seldom_s: float) -> Iterator[None]:
    """Let daemons look less often for what may have happened, and listen to nobody.

    Args:
        leisure: The modules that say how often, the names there, and what they say now.
        seldom_s: How long jobs that run at intervals rest at least.
    """
    every = jobs.JobRunner.every

    def seldom(self: jobs.JobRunner, interval: timedelta, *args: Any, **named: Any) -> None:
        every(self, max(interval, timedelta(seconds=seldom_s)), *args, **named)

    changes = [*leisure, (build, "build_web", _NoWeb), (jobs.JobRunner, "every", seldom)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


class Network(httpx.AsyncBaseTransport):
    """Sends each request where its host says."""

    def __init__(self, provider: httpx.AsyncBaseTransport, others: httpx.AsyncBaseTransport) -> None:
        self._provider = provider
        self._others = others

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on."""
        way = self._provider if request.url.host == PROVIDER else self._others
        return await way.handle_async_request(request)


class _Store(Database):
    """The store, whose lock must be freed when its process dies."""

    taken: DaemonLock | None = None

    def lock(self) -> DaemonLock | None:
        """Take the lock, and remember it."""
        self.taken = super().lock()
        return self.taken


class Process:
    """One process, from its start to its death.

    Args:
        elapsed: The world's time.
        clock: The wall clock.
        cut: Cuts off what its loop has open when it dies.
        network: Everybody else.
        config: Reads the config as it is now.
        on_line: Given every line of the log.
        seed: Of its jitter.
    """

    def __init__(
        self,
        *,
        elapsed: Elapsed,
        clock: WorldClock,
        cut: Callable[[VirtualLoop], None],
        network: Network,
        config: Callable[[], Config],
        on_line: Callable[[MutableMapping[str, Any]], None],
        seed: int,
    ) -> None:
        self.loop = VirtualLoop(elapsed)
        self.loop.clock = clock
        self.started_s = elapsed.s
        self.dead = False
        self._cut = cut
        self._elapsed = elapsed

        def write(_: Any, method: str, line: MutableMapping[str, Any]) -> Any:
            if not self.dead:  # what is freed must not speak any more
                on_line({**line, "level": method})
            raise structlog.DropEvent

        first = config()
        self.clock = clock
        self.store = _Store(first.store.secret.reveal())
        self.parts = build.build(
            first,
            sock=None,  # type: ignore[arg-type]
            log=structlog.wrap_logger(
                None, processors=[write], wrapper_class=structlog.make_filtering_bound_logger(0)
            ),
            reread=config,
            clock=clock,
            rng=random.Random(seed),
            network=client.Network(transport=network),
            database=self.store,
        )
        self._stop = asyncio.Event()
        self.running = self.loop.create_task(self._run())

    @property
    def is_up(self) -> bool:
        """Whether its start is over."""
        return self.parts.readiness.started.is_set()

    async def _run(self) -> None:
        async with Daemon(self.parts).running():
            await self._stop.wait()

    def run_to(self, until_s: float) -> bool:
        """Let it live until an instant; return False if it died before."""
        lives = self.loop.run_to(until_s)
        if self.running.done() and not self._stop.is_set():
            self.running.result()
        return lives

    def ask_to_end(self) -> None:
        """Tell it to end."""
        self._stop.set()

    def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self.ask_to_end()
        until_s = self._elapsed.s + _END_WITHIN_S
        while not self.running.done() and self._elapsed.s < until_s:
            self.loop.run_to(self._elapsed.s + 0.5)
        assert self.running.done(), "the daemon does not end"
        self.running.result()
        self.cut()

    def cut(self) -> None:
        """Let it die, here and now: nothing of it runs any more, and what it held is free."""
        self.dead = True
        self._cut(self.loop)
        if self.store.taken is not None:
            with contextlib.suppress(OSError):
                self.store.taken.close()

    def metrics(self) -> dict[str, float]:
        """Return what `/metrics` shows, by series."""
        _, pieces = self.loop.do(self.parts.metrics.render(accept="text/plain"))
        series: dict[str, float] = {}
        for line in b"".join(pieces).decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    @staticmethod
    def bury(dead: list["Process"]) -> None:
        """Free what dead processes held in memory."""
        loops = [process.loop for process in dead]
        dead.clear()
        Disk.forget()
        bury(loops)
