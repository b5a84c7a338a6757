"""Connections to PostgreSQL that do not wait for ever."""

import asyncio
from collections.abc import Generator, Iterable
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import make_conninfo
from psycopg.waiting import Ready
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from monitor.postgres import PostgresUrl

_MARGIN_S = 2
"""So much longer than a statement may take, its server may be silent."""
_POOL_S = 10


class SilenceError(psycopg.OperationalError, TimeoutError):
    """The server has not said anything for too long."""


class Link(psycopg.AsyncConnection[Any]):
    """A connection that is given up when its server has been silent for too long."""

    silent_s = 60.0

    async def wait(self, gen: PQGen[RV], *arguments: Any, **named: Any) -> RV:
        """Let a generator of psycopg do its work."""
        return await super().wait(self._heard(gen), *arguments, **named)

    def _heard(self, gen: PQGen[RV]) -> Generator[Any, Ready | int, RV]:
        """Pass on what the socket is ready for; psycopg says several times a second that it is not."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now_s = loop.time()
                if ready:
                    heard_s = now_s
                elif now_s - heard_s > self.silent_s:
                    self.pgconn.finish()
                    raise SilenceError(f"the database has not answered for {self.silent_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            found: RV = done.value
            return found


def require_sound(url: PostgresUrl) -> None:
    """Have libpq look at the parameters as it does before it connects; here it connects to nowhere.

    Raises:
        ValueError: It does not accept one of them, or does not know it; names that one.
    """
    asked = [(name, value) for name, value in url.parameters.items() if name not in _WHERE]
    if not _is_sound(asked):
        tried = (asked[: many + 1] for many in range(len(asked)))
        name, _ = next(found for found in tried if not _is_sound(found))[-1]
        raise ValueError(f'libpq does not accept the parameter "{name}" as it stands')


_WHERE = ("host", "hostaddr", "port", "user", "password", "dbname")
_NOWHERE = "/dev/null"


def _is_sound(asked: Iterable[tuple[str, str]]) -> bool:
    try:
        conninfo = make_conninfo(**dict(asked), host=_NOWHERE, user="nobody")
    except psycopg.Error:
        return False
    connection = psycopg.pq.PGconn.connect_start(conninfo.encode())
    said = connection.error_message
    connection.finish()
    return _NOWHERE.encode() in said


class Postgres:
    """Makes engines of one URL: those that write, or those that only read.

    The server is asked for the limits of statements when a connection begins. A pooler that shares
    connections between clients refuses that: then each transaction asks for them.

    Raises:
        ValueError: A parameter cannot be used.
    """

    def __init__(self, url: PostgresUrl, *, writes: bool) -> None:
        require_sound(url)
        self._url = url
        limits = {"statement_timeout": url.statement_timeout_s, "lock_timeout": url.lock_timeout_s}
        if writes:
            # One that is suspended in a transaction keeps others waiting no longer than they would wait. One
            # that reads holds up nobody, and may take its time over 100,000 rows.
            limits["idle_in_transaction_session_timeout"] = url.lock_timeout_s
        self._options = " ".join(f"-c {name}={limit}s" for name, limit in limits.items())
        settings = ", ".join(f"set_config('{name}', '{limit}s', true)" for name, limit in limits.items())
        self._ask = f"SELECT {settings}"
        self._is_pooled = False

    def engine(self, pool_size: int) -> AsyncEngine:
        """Return an engine; nothing is connected yet."""
        engine = create_async_engine(
            URL.create("postgresql+psycopg"),
            connect_args={"async_creator_fn": self._connect},
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_S,
        )
        self._limit(engine.sync_engine)
        return engine

    def _limit(self, engine: Engine) -> None:
        def on_begin(connection: Connection) -> None:
            if self._is_pooled:
                connection.exec_driver_sql(self._ask)

        event.listen(engine, "begin", on_begin)

    async def _connect(self, *_: Any, **context: Any) -> Link:
        if not self._is_pooled:
            given = self._url.parameters.get("options", "")
            try:
                return await self._link(context | {"options": f"{self._options} {given}".strip()})
            except psycopg.OperationalError as exc:
                if "unsupported startup parameter" not in str(exc):
                    raise
            self._is_pooled = True
        return await self._link(context)

    async def _link(self, more: dict[str, Any]) -> Link:
        parameters: dict[str, Any] = {**self._url.parameters, **more}
        hosts = parameters.get("host", "").count(",") + 1
        # psycopg's own time-out does not cover the look-up of a host's name.
        async with asyncio.timeout((hosts + 1) * (int(parameters["connect_timeout"]) or 60)):
            link = await Link.connect(**parameters, prepare_threshold=self._url.prepare_threshold)
        link.silent_s = self._url.statement_timeout_s + _MARGIN_S
        return link
