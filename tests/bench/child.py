"""Processes that a benchmark watches: each answers commands, one JSON line for one JSON line.

The daemon, the provider and the bare fetcher run apart, so that the CPU time of one holds nothing of another.
"""

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Handler = Callable[[dict[str, Any]], Awaitable[Any]]

_ROOT = Path.cwd()
_LINE_BYTES = 16 * 1024 * 1024
_PAGE_BYTES = resource.getpagesize()
_PATIENCE_S = 120.0


class Child:
    """A process that was started by `start_child`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    async def ask(self, command: str, **keys: Any) -> Any:
        """Return what the process answers.

        Raises:
            RuntimeError: It ended, or answers nothing; its own words are on standard error.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("started without pipes")
        stdin.write(json.dumps({"do": command, **keys}).encode() + b"\n")
        line = await asyncio.wait_for(stdout.readline(), _PATIENCE_S)
        if not line:
            raise RuntimeError(f"the {self._name} ended while it was asked to {command}")
        return json.loads(line)

    async def usage(self) -> "Usage":
        """Return what the process has used so far."""
        return Usage(**await self.ask("usage"))

    async def end(self) -> None:
        """Close its input, upon which it ends; kill it if it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Usage:
    """What a process had used at one moment: CPU seconds of all its threads, monotonic seconds, bytes."""

    def __init__(self, *, cpu_s: float, at_s: float, rss_bytes: int, peak_rss_bytes: int) -> None:
        self.cpu_s = cpu_s
        self.at_s = at_s
        self.rss_bytes = rss_bytes
        self.peak_rss_bytes = peak_rss_bytes


@asynccontextmanager
async def started(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Run `tests.bench.<module>` in a process of its own, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.bench.{module}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
        limit=_LINE_BYTES,
    )
    child = Child(module, process)
    try:
        yield child
    finally:
        await child.end()


async def answer_commands(handlers: Mapping[str, Handler]) -> None:
    """Answer the commands on standard input until it is closed; to be called by the process itself."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        name = command.pop("do")
        reply = _usage() if name == "usage" else await handlers[name](command)
        os.write(sys.stdout.fileno(), json.dumps(reply).encode() + b"\n")


def _usage() -> dict[str, float | int]:
    status = Path("/proc/self/status").read_text()
    return {
        "cpu_s": time.process_time(),
        "at_s": time.monotonic(),
        "rss_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES,
        # Not that of `getrusage`, which goes on from the process that started this one.
        "peak_rss_bytes": int(status.partition("VmHWM:")[2].split()[0]) * 1024,
    }


def freeze_garbage() -> None:
    """Take what was made so far out of garbage collection; for children that are not measured."""
    gc.collect()
    gc.freeze()
