"""What every row is made of: a provider, a daemon with a config, and a stretch of time to watch them for."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import httpx

from tests.bench.child import Child, Usage, started

_POLL_S = 0.2
_READY_S = 600.0
"""A busy machine takes minutes to sync a million numbers for the first time."""


class Progress(Protocol):
    """Told how far a row is; for people only."""

    def __call__(self, doing: str, part: float) -> None:
        """Say what is going on, and which part of the row is done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How a row is to be run: quick ones show that it runs, and their numbers mean little."""

    folder: Path
    quick: bool
    progress: Progress
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Stores are made one by one: Alembic knows only one at a time."""

    def pick(self, full: float, quick: float) -> float:
        """Return the value for this run."""
        return quick if self.quick else full

    def count(self, full: int, quick: int) -> int:
        """Return the number for this run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Connections that are watched alike, called `name-0`, `name-1`, …; a name is at most 8 hex digits."""

    name: str
    connections: int
    interval: str = "1h"

    @property
    def prefix(self) -> str:
        """What the ids of all its connections begin with."""
        return f"{self.name:0>8}-"

    def identity(self, position: int) -> str:
        """Return the id of one connection."""
        return f"{self.prefix}0000-4000-8000-{position:012x}"


@asynccontextmanager
async def provider(
    numbers: int, *, changed: int = 0, large: dict[str, int] | None = None, tls_folder: Path | None = None
) -> AsyncIterator[tuple[Child, str]]:
    """Run the provider; give it and its URL. With TLS, its authority is `ca.pem` in the folder."""
    sizes = [f"{prefix}={size}" for prefix, size in (large or {}).items()]
    tls = str(tls_folder) if tls_folder is not None else ""
    async with started("provider", str(numbers), str(changed), tls, *sizes) as child:
        yield child, await child.ask("url")


@asynccontextmanager
async def daemon(
    bench: Bench,
    url: str,
    *fleets: Fleet,
    extra: str = "",
    store: str | None = None,
    ca_file: Path | None = None,
    log: Path = Path(os.devnull),
) -> AsyncIterator[tuple[Child, str]]:
    """Run a daemon; give it and the URL of its page once it is ready."""
    name = uuid4().hex
    config = bench.folder / f"{name}.toml"
    store = store or f"sqlite:///{bench.folder / name}.db"
    await asyncio.to_thread(config.write_text, config_text(url, fleets, store, extra, ca_file))
    async with started("daemon", str(config), str(log)) as child:
        yield child, await child.ask("url")


def config_text(
    url: str, fleets: tuple[Fleet, ...], store: str, extra: str = "", ca_file: Path | None = None
) -> str:
    """Return a config: one account for each ten connections, so that no budget is in the way."""
    lines = [
        f'[api]\nbase_url = "{url}/api/v2"',
        *([f'ca_file = "{ca_file}"'] if ca_file is not None else []),
        f'[store]\nurl = "{store}"',
        '[web]\nlisten = "127.0.0.1:0"',
        extra,
    ]
    for fleet in fleets:
        for position in range(fleet.connections):
            name = f"{fleet.name}-{position}"
            if position % 10 == 0:
                lines.append(
                    f'[[accounts]]\nname = "account-{name}"\napi_key = "rg_live_{name}"\n'
                    "requests_per_minute = 1000000"
                )
            lines.append(
                f'[[accounts.connections]]\nname = "{name}"\nid = "{fleet.identity(position)}"\n'
                f'interval = "{fleet.interval}"'
            )
    return "\n".join(lines)


async def synced(provider: Child, fleet: Fleet, times: int) -> None:
    """Wait until every connection of a fleet was asked about so many times."""
    await until(lambda: _synced(provider, fleet, times), f"{times} syncs of {fleet.name}")


async def _synced(provider: Child, fleet: Fleet, times: int) -> bool:
    asked = await provider.ask("asked", prefix=fleet.prefix)
    return bool(asked["connections"] == fleet.connections and asked["least"] >= times)


async def until(true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until a coroutine function returns true.

    Raises:
        TimeoutError: It did not within ten minutes.
    """
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if await true():
            return
        await asyncio.sleep(_POLL_S)
    raise TimeoutError(f"waited in vain for {what}")


async def watch(bench: Bench, seconds: float, doing: str) -> None:
    """Let so many seconds pass."""
    steps = max(int(seconds * 2), 1)
    for step in range(steps):
        bench.progress(doing, step / steps)
        await asyncio.sleep(seconds / steps)


Counted = tuple[Child, Callable[[], Awaitable[int]]]
"""A process, and how much it has done so far."""


async def costs_ms(bench: Bench, *counted: Counted) -> list[float]:
    """Return the CPU milliseconds that each process needs for each thing it does, in the same time."""

    async def seen() -> list[tuple[Usage, int]]:
        return [(await child.usage(), await done()) for child, done in counted]

    before = await seen()
    await watch(bench, bench.pick(20.0, 1.0), "measuring")
    after = await seen()
    while any(more == done for (_, done), (_, more) in zip(before, after, strict=True)):  # a busy machine
        await asyncio.sleep(_POLL_S)
        after = await seen()
    return [
        cpu_s(first, last) * 1000 / (more - done)
        for (first, done), (last, more) in zip(before, after, strict=True)
    ]


async def request(child: Child, url: str, times: int, *, coding: str = "identity") -> tuple[float, int]:
    """Return the CPU milliseconds of a request to a daemon, and the size of what it answers."""
    headers = {"accept-encoding": coding}
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
        await client.get(url)
        before = await child.usage()
        for _ in range(times):
            answer = (await client.get(url)).raise_for_status()
        after = await child.usage()
    return cpu_s(before, after) * 1000 / times, len(answer.content)


async def syncs(provider: Child, fleet: Fleet) -> int:
    """Return how often the connections of a fleet were asked about."""
    return int((await provider.ask("asked", prefix=fleet.prefix))["total"])


def cpu_s(before: Usage, after: Usage) -> float:
    """Return the CPU seconds between two moments."""
    return after.cpu_s - before.cpu_s


def percentile(values: list[float], part: float) -> float:
    """Return the value that this part of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
