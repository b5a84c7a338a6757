"""The PostgreSQL under several daemons: a real one, for whose answers the whole world waits.

Every call of the driver takes a moment of the world's time before it and after it, so that processes get in
each other's way and can be killed between any two. Only where a statement waits for a lock do others go on.
"""

import asyncio
import contextlib
import random
import select
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import psycopg
from psycopg import waiting
from psycopg.pq import TransactionStatus
from psycopg.waiting import Ready, Wait
from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.daemon import presence
from monitor.store import replicas
from tests.world.loop import VirtualLoop

_MOMENT_S = 0.002
_LOOK_MS = 5
"""The machine's time that a statement may take before it is asked whether it waits for a lock."""
_LOOK_AGAIN_S = 0.05
_LOCK_TIMEOUT_S = 5.0
"""So long, in the world's time, does the server let a statement wait, and a transaction be idle."""


class Server:
    """One server, as the processes of a world use it.

    Attributes:
        suspended: The loops of the processes that are stopped.
    """

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.suspended: set[VirtualLoop] = set()
        self.statements = 0
        self._rng = random.Random(seed)
        self._own = psycopg.connect(url, autocommit=True)
        self._open: dict[VirtualLoop, set[psycopg.AsyncConnection[Any]]] = defaultdict(set)

    def close(self) -> None:
        """Close the connection that looks at the others."""
        self._own.close()

    def cut(self, loop: VirtualLoop) -> None:
        """Close everything that a process has open, as its death does."""
        pids = []
        for connection in self._open.pop(loop, ()):
            if not connection.closed:
                pids.append(connection.pgconn.backend_pid)
                connection.pgconn.finish()
        self.suspended.discard(loop)
        self._end(pids)

    def _end(self, pids: list[int]) -> None:
        self._own.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [pids])
        left = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        while (self._own.execute(left, [pids]).fetchone() or (0,))[0]:
            pass

    async def wait(self, connection: psycopg.AsyncConnection[Any], gen: Any, *_: Any, **__: Any) -> Any:
        """Take the place of `AsyncConnection.wait`."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._open[loop].add(connection)
        self.statements += 1
        await asyncio.sleep(self._rng.random() * _MOMENT_S)
        found = await self._answer(connection, gen)
        await asyncio.sleep(self._rng.random() * _MOMENT_S)
        return found

    async def _answer(self, connection: psycopg.AsyncConnection[Any], gen: Any) -> Any:
        pid, since_s = connection.pgconn.backend_pid, None
        now_s = asyncio.get_running_loop().time
        try:
            wanted = next(gen)
            while True:
                ready = _select(connection.pgconn.socket, wanted)
                if ready:
                    wanted = gen.send(ready)
                    continue
                blocking = self._blocking(pid)
                if not blocking:
                    continue  # it only takes its time
                since_s = now_s() if since_s is None else since_s
                if now_s() - since_s > _LOCK_TIMEOUT_S and not self._end_idle(blocking):
                    self._own.execute("SELECT pg_cancel_backend(%s)", [pid])
                await asyncio.sleep(_LOOK_AGAIN_S)
        except StopIteration as done:
            return done.value
        except asyncio.CancelledError:
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self._own.execute("SELECT pg_cancel_backend(%s)", [pid])
                with contextlib.suppress(psycopg.Error):
                    waiting.wait(gen, connection.pgconn.socket, 0.1)
            raise

    def _blocking(self, pid: int) -> set[int]:
        row = self._own.execute("SELECT pg_blocking_pids(%s)", [pid]).fetchone()
        return set(row[0]) if row is not None else set()

    def _end_idle(self, pids: set[int]) -> bool:
        """End those of these transactions whose process is suspended, as the server does."""
        idle = [
            connection.pgconn.backend_pid
            for loop in self.suspended
            for connection in self._open[loop]
            if not connection.closed and connection.pgconn.backend_pid in pids
        ]
        if idle:
            self._end(idle)
        return bool(idle)


@contextlib.contextmanager
def served_by(server: Server, now: Callable[[], datetime], watch: Callable[[str], None]) -> Iterator[None]:
    """Have the driver wait for this server's answers, and the server's clock show the world's time.

    Args:
        server: The server.
        now: What its clock shows.
        watch: Told every statement before it runs.
    """

    async def wait(self: Any, gen: Any, *args: Any, **named: Any) -> Any:
        return await server.wait(self, gen, *args, **named)

    async def connect(gen: Any, interval: float = 0.0, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        return waiting.wait_conn(gen, 0.1, timeout)

    async def store_time(tx: AsyncConnection) -> tuple[datetime, bool]:
        _, usable = await replicas.store_time(tx)
        return now(), usable

    def look(*call: Any) -> None:
        watch(call[2])

    changes: list[tuple[Any, str, Any]] = [
        (psycopg.AsyncConnection, "wait", wait),
        (waiting, "wait_conn_async", connect),
        (presence, "store_time", store_time),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    event.listen(Engine, "before_cursor_execute", look)
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", look)
        for owner, name, value in before:
            setattr(owner, name, value)


def _select(socket: int, wanted: Wait) -> int:
    poll = select.poll()
    poll.register(
        socket, (select.POLLIN if wanted & Wait.R else 0) | (select.POLLOUT if wanted & Wait.W else 0)
    )
    found = poll.poll(_LOOK_MS)
    if not found:
        return 0
    said = found[0][1]
    readable = Ready.R if said & ~select.POLLOUT else 0
    return int(readable | (Ready.W if said & select.POLLOUT else 0))
