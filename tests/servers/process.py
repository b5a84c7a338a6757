"""Processes that tests start, wait for, kill and start again."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import httpx

from tests.servers.require import require

T = TypeVar("T")

_POLL_S = 0.05


_RESERVED: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens on, for servers that cannot be given port 0, or that come back.

    Until the end of the test it stays bound, so that the kernel gives it to nobody who asks for any port;
    whoever asks for this one, with SO_REUSEADDR as servers do, can listen there.
    """
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    _RESERVED.append(held)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((host, 0))
    port: int = held.getsockname()[1]
    return port


def give_ports_back() -> None:
    """End what `free_port` has reserved."""
    while _RESERVED:
        _RESERVED.pop().close()


@overload
async def wait_until(
    predicate: Callable[[], Awaitable[T]], timeout_s: float = 120.0, what: str = "it"
) -> T: ...


@overload
async def wait_until(predicate: Callable[[], T], timeout_s: float = 120.0, what: str = "it") -> T: ...


async def wait_until(predicate: Callable[[], Any], timeout_s: float = 120.0, what: str = "it") -> Any:
    """Return the first true value of a predicate, which may be a coroutine function.

    For processes of their own, whose time no test can move: what is asserted is that it happens, not when.

    Raises:
        AssertionError: It stayed false for `timeout_s`; names `what` and the last value.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}; last seen: {value!r}"
        await asyncio.sleep(_POLL_S)


async def answers(url: str) -> bool:
    """Return whether a GET of this URL answers 2xx now."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.TransportError:
            return False


def tied(argv: Sequence[str | Path]) -> list[str]:
    """Return a command that the kernel kills when the test run dies, however that happens."""
    return [str(require("setpriv")), "--pdeathsig", "KILL", *map(str, argv)]


@dataclass(kw_only=True)
class Process:
    """A command that can be started, stopped, killed and started again with the same files.

    Args:
        argv: The command.
        log_file: Gets its standard output and error, of all its starts.
        error_file: Gets its standard error instead.
        ready_url: Answers 2xx once it serves; without, it counts as ready when started.
        env: Its whole environment; None: the test run's own.
    """

    argv: Sequence[str | Path]
    log_file: Path
    error_file: Path | None = None
    ready_url: str | None = None
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._running is not None, "not started"
        return self._running.pid

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    async def start(self, timeout_s: float = 120.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            AssertionError: It ended, or was not ready in time; carries what it wrote.
        """
        assert not self.running, "already running"
        with self.log_file.open("ab") as log, (self.error_file or self.log_file).open("ab") as errors:
            self._running = subprocess.Popen(  # noqa: ASYNC220 - forking is quick, and the tests' loop may wait
                tied(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
            )
        if self.ready_url is not None:
            await wait_until(self._ready, timeout_s, f"{self.ready_url} of {self.argv[0]}")

    async def _ready(self) -> bool:
        assert self.ready_url is not None
        assert self.running, f"{self.argv[0]} ended: {self.output[-2000:]}"
        return await answers(self.ready_url)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP freezes it, SIGCONT lets it go on."""
        os.kill(self.pid, number)

    async def wait(self, timeout_s: float = 120.0) -> int:
        """Return its exit code once it has ended by itself."""
        assert self._running is not None, "not started"
        code = await asyncio.to_thread(self._running.wait, timeout_s)
        self._running = None
        return code

    async def wait_in_time(self, seconds: float) -> int:
        """Return its exit code once it has ended by itself, in time.

        Raises:
            AssertionError: It took longer, not counting for how long it waited for a free core.
        """
        began_s, coreless_s = time.monotonic(), 0.0
        before_s = self._coreless_s()
        while self.running:
            with contextlib.suppress(OSError):  # it has ended since
                coreless_s = self._coreless_s() - before_s
            took_s = time.monotonic() - began_s - coreless_s
            assert took_s < seconds, f"still running after {took_s:.1f} s"
            await asyncio.sleep(_POLL_S)
        return await self.wait()

    def _coreless_s(self) -> float:
        """Return for how long others had the core that its main thread wanted; 0: the kernel does not say."""
        if not Path("/proc/self/schedstat").exists():
            return 0.0
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    async def stop(self, timeout_s: float = 120.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(timeout_s)

    async def kill(self) -> None:
        """Take it away without a word (SIGKILL); nothing if it has ended."""
        if self._running is not None:
            self._running.kill()
            await self.wait()


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    """Start a process and kill it at the end, whatever happened between."""
    try:
        await process.start()
        yield process
    finally:
        await process.kill()
