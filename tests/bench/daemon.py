"""The daemon, as a process that says what it used.

Usage: `python -m tests.bench.daemon CONFIG LOG [PROFILE]`.
"""

import asyncio
import cProfile
import sys
import time
from pathlib import Path
from typing import Any

from monitor.config import load_config
from monitor.daemon.app import run_daemon
from tests.bench.child import answer_commands

_PROBE_S = 0.005


class Probe:
    """Watches how long the event loop lets a waiting task wait.

    On a machine that is shared, a process also waits for its turn on a core. So a stall counts as no longer
    than the CPU time that the whole process used meanwhile: what it used, it used itself.
    """

    def __init__(self) -> None:
        self._stalls_s: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def begin(self, _: dict[str, Any]) -> None:
        """Watch from now on."""
        self._stalls_s.clear()
        self._task = asyncio.create_task(self._watch())

    async def end(self, _: dict[str, Any]) -> list[float]:
        """Return the stalls in seconds, one for each look at the loop."""
        if self._task is not None:
            self._task.cancel()
        return self._stalls_s

    async def _watch(self) -> None:
        while True:
            wall_s, cpu_s = time.monotonic(), time.process_time()
            await asyncio.sleep(_PROBE_S)
            late_s = time.monotonic() - wall_s - _PROBE_S
            self._stalls_s.append(max(min(late_s, time.process_time() - cpu_s), 0.0))


async def _main(config_file: str, log_file: str) -> None:
    config = await asyncio.to_thread(load_config, Path(config_file), {})
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    probe = Probe()
    log = await asyncio.to_thread(Path(log_file).open, "w", encoding="utf-8")
    daemon = asyncio.create_task(run_daemon(config, stop=stop, on_ready=ready.set_result, log_stream=log))

    async def url(_: dict[str, Any]) -> str:
        await asyncio.wait([daemon, ready], return_when=asyncio.FIRST_COMPLETED)
        if daemon.done():
            await daemon
        return str(ready.result())

    await answer_commands({"url": url, "watch": probe.begin, "stalls": probe.end})
    stop.set()
    await daemon
    log.close()


if __name__ == "__main__":
    if sys.argv[3:]:
        profile = cProfile.Profile(time.thread_time)
        profile.runcall(asyncio.run, _main(*sys.argv[1:3]))
        profile.dump_stats(sys.argv[3])
    else:
        asyncio.run(_main(*sys.argv[1:3]))
