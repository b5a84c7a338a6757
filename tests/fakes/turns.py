"""Replicas whose statements take turns: before each of them it is decided which replica goes on."""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.util import await_only

from monitor.store.database import Database

_LOOK_S = 0.005
"""How long a statement may take before it is asked whether it waits for a lock."""
_LOCKS = """
SELECT application_name, ARRAY(
    SELECT other.application_name FROM pg_stat_activity AS other
    WHERE other.pid = ANY(pg_blocking_pids(waiting.pid)))
FROM pg_stat_activity AS waiting
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


class Killed(BaseException):
    """The replica was killed before a statement; what it had not committed is gone."""


class Turns:
    """Lets one of several replicas go on at a time, from one statement or commit to its next one.

    One that waits for a lock is passed over until it has it, so that an order always gives the same run.
    """

    def __init__(self, locks: psycopg.AsyncConnection[Any]) -> None:
        self._locks = locks
        self._go: dict[str, asyncio.Event] = {}
        """Of each replica that waits for its turn."""
        self._dies_in: dict[str, int] = {}
        self._playing: frozenset[str] = frozenset()
        self._arrived = asyncio.Event()

    def take_part(self, database: Database, name: str) -> None:
        """Let the statements of a database wait for their turn; `name` is its `application_name`."""
        for engine in (database._writer, database._readers):
            for what in ("before_cursor_execute", "commit"):
                event.listen(engine.sync_engine, what, lambda *_: await_only(self.wait(name)))

    def kill(self, name: str, *, after: int) -> None:
        """Kill a replica after so many more statements."""
        self._dies_in[name] = after

    async def wait(self, name: str) -> None:
        """Wait for the replica's turn.

        Raises:
            Killed: It has none any more.
        """
        if name not in self._playing:
            return
        go = self._go[name] = asyncio.Event()
        self._arrived.set()
        await go.wait()
        if name in self._dies_in:
            self._dies_in[name] -= 1
            if self._dies_in[name] < 0:
                del self._dies_in[name]
                raise Killed

    async def play(self, works: Mapping[str, Coroutine[Any, Any, None]], order: Iterator[str]) -> None:
        """Carry out the works of several replicas.

        Args:
            works: By the name of the replica.
            order: Whose turn it is. Where it is at an end, or that one cannot go on, the last one does, or
                else the first that can.
        """
        self._playing = frozenset(works)
        tasks = {name: asyncio.create_task(work) for name, work in works.items()}
        for task in tasks.values():
            task.add_done_callback(lambda _: self._arrived.set())
        last = ""
        try:
            while ready := await self._ready(tasks):
                wish = next(order, last)
                last = wish if wish in ready else ready[0]
                self._go.pop(last).set()
            await asyncio.gather(*tasks.values())
        finally:
            self._playing = frozenset()
            self._dies_in.clear()
            for go in self._go.values():
                go.set()
            self._go.clear()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _ready(self, tasks: Mapping[str, asyncio.Task[None]]) -> list[str]:
        """Return who waits for its turn, once nobody moves: none if all have done their work."""
        while moving := {name for name, task in tasks.items() if not task.done() and name not in self._go}:
            self._arrived.clear()
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._arrived.wait()
            except TimeoutError:
                if moving <= await self._stuck():
                    break
        return sorted(self._go)

    async def _stuck(self) -> set[str]:
        """Return who waits for a lock that will not be free before somebody else goes on."""
        rows = await (await self._locks.execute(_LOCKS)).fetchall()
        waiting = {name: set(others) for name, others in rows}
        # Those that only wait for each other are in a deadlock, which the database ends by itself.
        locked = set(waiting)
        while freed := {name for name in locked if waiting[name] - locked}:
            locked -= freed
        return set(waiting) - locked
