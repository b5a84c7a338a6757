"""The command `python -m tests.bench.others`: the daemon side by side with other tools that poll.

All run at the same time and pace against one provider, so that whatever else the machine does slows all.
"""

import asyncio
import os
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.bench.child import Child
from tests.bench.machine import machine
from tests.bench.setting import Fleet, provider, synced, syncs, until
from tests.bench.tools import TOOLS, Job, Tells, Tool
from tests.servers.process import free_port
from tests.servers.require import find

_TICKS_A_S = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_SAMPLE_S = 0.25
_WARM_POLLS = 3
_CHANGED_EACH = 3
"""Every third connection changes: more of an account would count as one widespread failure."""
_VERSION = re.compile(r"\d+\.\d[\w.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a tool needed, and the median seconds from a change until it showed and until a message came."""

    tool: Tool
    cpu_ms: float
    rss_mib: float
    shown_s: float
    told_s: float | None


@dataclass(kw_only=True)
class _Running:
    """A tool at work; by connection, when its change was first seen, and when its message came."""

    tool: Tool
    job: Job
    pid: int
    rss_mib: float = 0.0
    shown_at_s: dict[str, float] = field(default_factory=dict)
    told_at_s: dict[str, float] = field(default_factory=dict)

    def seen(self, connection: str) -> None:
        self.shown_at_s.setdefault(connection, time.monotonic())

    async def read(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            if found := self.tool.shows.search(line.decode(errors="replace")):
                self.seen(found[1])

    async def sample(self) -> None:
        """Note the most memory that it and its children had: urlwatch is not always there."""
        while True:
            self.rss_mib = max(self.rss_mib, sum(map(_rss_mib, [self.pid, *_children(self.pid)])))
            await asyncio.sleep(_SAMPLE_S)

    def cpu_s(self) -> float:
        """Return the CPU seconds of it, and of those of its children that have ended."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / _TICKS_A_S


async def compare(
    tools: Iterable[Tool], *, connections: int, every_s: int, seconds: float, tls: bool, folder: Path
) -> list[Found]:
    """Return what each tool needs to poll so many connections of 100 numbers, each once in `every_s`."""
    tls_folder = folder / "tls" if tls else None
    async with AsyncExitStack() as stack:
        source, url = await stack.enter_async_context(provider(100, changed=1, tls_folder=tls_folder))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running, may_look = [], asyncio.Event()
        for tool in tools:
            job = Job(
                url=url,
                fleet=Fleet(name=tool.prefix, connections=connections, interval=f"{every_s}s"),
                every_s=every_s,
                folder=folder / tool.prefix,
                port=free_port(),
                ca_file=tls_folder / "ca.pem" if tls_folder else None,
            )
            running.append(await stack.enter_async_context(_started(tool, job, group, may_look)))
        for one in running:
            await synced(source, one.job.fleet, _WARM_POLLS)
        before = [await _used(source, one) for one in running]
        after = before
        while any(last[1] == first[1] for first, last in zip(before, after, strict=True)):
            await asyncio.sleep(seconds)
            after = [await _used(source, one) for one in running]
        may_look.set()
        changed_at_s = await _change(source, running, seconds)
        await until(lambda: _all_seen(source, running, changed_at_s), "what changed to show")
    return [
        Found(
            tool=one.tool,
            cpu_ms=(last[0] - first[0]) * 1000 / (last[1] - first[1]),
            rss_mib=one.rss_mib,
            shown_s=_median_s(changed_at_s, one.shown_at_s),
            told_s=_median_s(changed_at_s, one.told_at_s) if one.told_at_s else None,
        )
        for one, first, last in zip(running, before, after, strict=True)
    ]


@asynccontextmanager
async def _started(
    tool: Tool, job: Job, group: asyncio.TaskGroup, may_look: asyncio.Event
) -> AsyncIterator[_Running]:
    """Run a tool until the block ends."""
    job.folder.mkdir()
    trusted = {"SSL_CERT_FILE": str(job.ca_file), "REQUESTS_CA_BUNDLE": str(job.ca_file)}
    command, *arguments = tool.set_up(job)
    process = await asyncio.create_subprocess_exec(
        str(find(command)),
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | (trusted if job.ca_file else {}),
        start_new_session=True,
    )
    assert process.stdout is not None
    one = _Running(tool=tool, job=job, pid=process.pid)
    tasks = [group.create_task(one.read(process.stdout)), group.create_task(one.sample())]
    if tool.watch is not None:
        tasks.append(group.create_task(tool.watch(job, one.seen, may_look)))
    try:
        yield one
    finally:
        for task in tasks:
            task.cancel()
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _used(source: Child, one: _Running) -> tuple[float, int]:
    return one.cpu_s(), await syncs(source, one.job.fleet)


async def _change(source: Child, running: Sequence[_Running], seconds: float) -> dict[str, float]:
    """Break connections of each tool, one by one at random instants; return when, by connection."""
    rng = random.Random(0)
    ids = [each for one in running for each in list(one.job.ids().items())[::_CHANGED_EACH]]
    rng.shuffle(ids)
    changed_at_s = {}
    for name, identity in ids:
        await asyncio.sleep(rng.uniform(0, 2) * seconds / len(ids))
        changed_at_s[name] = await source.ask("break", connection=identity)
    return changed_at_s


async def _all_seen(source: Child, running: Sequence[_Running], changed: Iterable[str]) -> bool:
    """Note which messages came; return whether all changes show, and what is to be told is told."""
    alerts = dict(await source.ask("alerts"))
    for one in running:
        if one.tool.tells is Tells.RECEIVER:
            one.told_at_s = {name: at_s for name, at_s in alerts.items() if name in one.shown_at_s}
        elif one.tool.tells is Tells.AS_SHOWN:
            one.told_at_s = one.shown_at_s
    shown = {name for one in running for name in one.shown_at_s}
    return shown >= set(changed) and all(
        one.tool.tells is Tells.NOTHING or one.told_at_s.keys() == one.shown_at_s.keys() for one in running
    )


def _median_s(changed_at_s: dict[str, float], at_s: dict[str, float]) -> float:
    return statistics.median(at - changed_at_s[name] for name, at in at_s.items())


def _version(tool: Tool) -> str:
    """Return the version that a tool prints, or nothing."""
    command, *arguments = tool.version
    printed = subprocess.run(
        [str(find(command)), *arguments], capture_output=True, text=True, check=False
    ).stdout
    found = _VERSION.search(printed)
    return found[0] if found else ""


def _rss_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE_MIB
    except OSError:
        return 0.0


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [each for child in map(int, found) for each in (child, *_children(child))]


def main(
    *,
    connections: Annotated[int, typer.Option(help="That each tool polls.")] = 100,
    every_s: Annotated[int, typer.Option("--every", help="Seconds between two polls of a connection.")] = 10,
    seconds: Annotated[float, typer.Option(help="To measure CPU for.")] = 120,
    tls: Annotated[bool, typer.Option(help="Ask over https.")] = False,
) -> None:
    """Measure what it costs each tool to poll the same provider, and how soon a change shows."""
    absent = [tool for tool in TOOLS if not tool.installed]
    if absent:
        packages = " ".join(tool.packages for tool in absent)
        typer.echo(
            f"Left out: {', '.join(tool.name for tool in absent)}. apt-get install {packages}", err=True
        )
    about = machine() | {"connections": connections, "every_s": every_s, "tls": tls}
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(
            compare(
                [tool for tool in TOOLS if tool.installed],
                connections=connections,
                every_s=every_s,
                seconds=seconds,
                tls=tls,
                folder=Path(folder),
            )
        )
    typer.echo(", ".join(f"{key} {value}" for key, value in about.items()))
    table = Table("tool", "CPU ms a poll", "MiB", "shows after s", "tells after s", "does less")
    for each in found:
        told = "-" if each.told_s is None else f"{each.told_s:.1f}"
        name, costs = f"{each.tool.name} {_version(each.tool)}", (f"{each.cpu_ms:.2f}", f"{each.rss_mib:.0f}")
        table.add_row(name, *costs, f"{each.shown_s:.1f}", told, each.tool.less)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
