"""Replays over the web: what they are asked, and that they end with their client."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.replay.report import Replayed
from monitor.store.actions import Actor

T = TypeVar("T")

SINCE = "7d"
MOST_CONFIG_BYTES = 256 * 1024
BUSY_RETRY_S = 5
RULES = (
    "drift.confirm_syncs",
    "drift.resolve_syncs",
    "drift.keep_firing_for",
    "drift.failing_after",
    "drift.stale_after",
    "alerts.update_interval",
    "alerts.widespread_connections",
)
"""The keys of which a replay takes single values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to replay: since when, which connections (a glob), by which rules.

    `config` is a whole config, in TOML. `rules` are values by key, in place of those of the active config.
    Without either it goes by the rules of then.
    """

    since: datetime
    connection: str | None = None
    config: bytes | None = None
    rules: Mapping[str, str] = field(default_factory=dict)


class Replays(Protocol):
    """Runs the history again, one replay at a time, and sends or writes nothing."""

    async def replay(self, wanted: Wanted, by: Actor) -> Replayed:
        """Return what a replay comes to; one that is cancelled ends.

        Raises:
            ConfigError: The rules that are asked for cannot be used.
            NoHistory: There is nothing to replay yet.
            Refused: It takes too long, or its result is too large.
            Busy: There is another one.
            StoreUnavailable: The store is unavailable.
        """
        ...

    def values(self) -> Mapping[str, str]:
        """Return the value of each of `RULES` in the active config."""
        ...


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what work comes to; cancel it when the client goes.

    Args:
        request: Its body has been read, or does not matter.
        work: What the client waits for.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the client has gone")
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
