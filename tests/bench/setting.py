"""What every row is made of: a provider, a daemon with a config, and a stretch of time to watch them for."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from tests.bench.child import Child, Usage, started

_POLL_S = 0.2
_READY_S = 120.0


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
    numbers: int, *, changed: int = 0, large: dict[str, int] | None = None
) -> AsyncIterator[tuple[Child, str]]:
    """Run the provider; give it and its URL."""
    sizes = [f"{prefix}={size}" for prefix, size in (large or {}).items()]
    async with started("provider", str(numbers), str(changed), *sizes) as child:
        yield child, await child.ask("url")


@asynccontextmanager
async def daemon(
    bench: Bench, url: str, *fleets: Fleet, extra: str = "", store: str | None = None
) -> AsyncIterator[tuple[Child, str]]:
    """Run a daemon; give it and the URL of its page once it is ready."""
    name = uuid4().hex
    config = bench.folder / f"{name}.toml"
    store = store or f"sqlite:///{bench.folder / name}.db"
    await asyncio.to_thread(config.write_text, config_text(url, fleets, store, extra))
    async with started("daemon", str(config)) as child:
        yield child, await child.ask("url")


def config_text(url: str, fleets: tuple[Fleet, ...], store: str, extra: str) -> str:
    """Return a config: one account for each ten connections, so that no budget is in the way."""
    lines = [
        f'[api]\nbase_url = "{url}/api/v2"',
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
                    "requests_per_minute = 6000"
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
        TimeoutError: It did not within two minutes.
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


def cpu_s(before: Usage, after: Usage) -> float:
    """Return the CPU seconds between two moments."""
    return after.cpu_s - before.cpu_s


def percentile(values: list[float], part: float) -> float:
    """Return the value that this part of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
