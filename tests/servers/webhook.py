"""A real HTTP server that records what it is sent and answers by script."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDictProxy

from tests.servers.process import free_port, wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came.

    Args:
        path: With its query.
        headers: Names in any case.
        at: When it had arrived whole, aware UTC.
    """

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    at: datetime

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to say to a request.

    Args:
        retry_after: The header of that name: seconds, or a date.
        delay_s: Wait so long before answering.
        hang_up: Close the connection without an answer, after having recorded the request.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: str | None = None
    delay_s: float = 0.0
    hang_up: bool = False


Script = Iterable[Answer | int] | Callable[[Received], Answer | int]
"""Answers (an integer is a status) in the order of requests, then 200; or a function of the request."""


class WebhookSink:
    """Listens on a free port of `host` while it is open; `requests` holds all that came, oldest first.

    A request is recorded before it is answered, so one that the client gave up on counts too.
    """

    def __init__(
        self, script: Script = (), *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Received] = []
        self._host, self._tls = host, tls
        self._port = 0
        self._runner: web.AppRunner | None = None
        self.script(script)

    @property
    def url(self) -> str:
        """Its address, without a path; the same after `close` and `open`."""
        assert self._port, "never opened"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self._port}"

    def script(self, script: Script) -> None:
        """Answer by this from now on."""
        if callable(script):
            self._answer = script
        else:
            answers = deque(script)
            self._answer = lambda _: answers.popleft() if answers else 200

    async def open(self) -> None:
        """Listen; again on the same port after `close`."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._port = self._port or free_port(self._host)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls).start()

    async def close(self) -> None:
        """Stop listening, as a receiver that is down: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def wait_for(self, count: int, timeout_s: float = 120.0) -> list[Received]:
        """Return all requests once there are at least `count`."""
        return await wait_until(
            lambda: self.requests if len(self.requests) >= count else [],
            timeout_s,
            f"{count} requests (got {len(self.requests)} before)",
        )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            method=request.method,
            path=request.path_qs,
            headers=request.headers,
            body=await request.read(),
            at=datetime.now(UTC),
        )
        self.requests.append(received)
        answer = self._answer(received)
        if isinstance(answer, int):
            answer = Answer(status=answer)
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.hang_up and request.transport is not None:
            request.transport.abort()
        headers = dict(answer.headers)
        if answer.retry_after is not None:
            headers["Retry-After"] = answer.retry_after
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
