"""The double of the VoiceLink API as an ASGI application.

A request passes, in this order: is it read-only (else 400, counted) -> the key (401, 403) -> the rate limit
(429) -> which connection -> faults in the way -> the answer. Nothing here can change the world but the
world's own steps, through `POST /_sim/do`.

Sources: the reference page of the sync endpoint and the provider's guide (authentication, errors, rate
limits, telephony connections). Not documented and decided here: an inactive connection's sync is 409, a
request over the limit has no `Retry-After`, the limit's windows are fixed, and a request that is not
read-only is 400.
"""

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from monitor.clock import Clock, rfc3339
from monitor.simulator import reply
from monitor.simulator.answer import Bodies, describe, envelope, render
from monitor.simulator.control import Control
from monitor.simulator.faults import Fault, alter
from monitor.simulator.reply import Failure, Reply
from monitor.simulator.world import SimulatedAccount, SimulatedConnection, World

BASE_PATH = "/api/v2"
SYNC_PATH = f"{BASE_PATH}/voicelink/sync"
CONNECTIONS_PATH = f"{BASE_PATH}/telephony/connections"

_KEPT_REQUESTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, read."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    query: dict[str, list[str]]
    body: bytes
    fields: dict[str, Any]
    """The body's JSON object; empty if it is none."""

    @property
    def read_only(self) -> bool:
        """Whether it is one of the two requests that change nothing."""
        if (self.method, self.path) == ("POST", SYNC_PATH):
            return self.fields.get("import_dids") is False
        return (self.method, self.path) == ("GET", CONNECTIONS_PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request that came in under the API's paths.

    `status` is 0 if it was not answered (dropped); `connection_id` is what the request named.
    """

    at: datetime
    account: str | None
    method: str
    path: str
    connection_id: str | None
    status: int
    write: bool

    def fields(self) -> dict[str, Any]:
        """Return it for JSON."""
        names = ("account", "method", "path", "connection_id", "status", "write")
        return {"at": rfc3339(self.at), **{name: getattr(self, name) for name in names}}


class SimulatedApi:
    """The application.

    Args:
        world: What it answers about.
        clock: For rate limits, faults and delays.
        control: Takes the steps whose time has come, before each request.
    """

    def __init__(self, world: World, clock: Clock, control: Control) -> None:
        self.requests: deque[Seen] = deque(maxlen=_KEPT_REQUESTS)
        self.counts: Counter[tuple[str, int]] = Counter()
        self.writes = 0
        self._world = world
        self._clock = clock
        self._control = control
        self._bodies = Bodies()
        self._windows: dict[str, tuple[int, int]] = {}
        self._rng = random.Random(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            return
        request = await _read(scope, receive)
        self._control.catch_up()
        if request.path.startswith("/_sim/"):
            await reply.send(self._control_reply(request), scope, receive, send, self._clock)
            return
        self._world.now_s = self._clock.monotonic()
        answer = self._answer(request)
        self._record(request, answer)
        if self._world.gzip and b"gzip" in request.headers.get(b"accept-encoding", b""):
            answer = answer.compressed()
        await reply.send(answer, scope, receive, send, self._clock)

    def _answer(self, request: Request) -> Reply:
        if not request.read_only:
            return Failure(400, "only read-only requests are answered here").reply()
        try:
            account = self._authenticate(request)
            self._limit(account)
        except Failure as exc:
            return exc.reply()
        if request.path == SYNC_PATH:
            return self._sync(account, self._named(account, request))
        answer = self._list(account, request.query.get("provider"))
        return reply.with_faults(answer, self._world.faults.take(account.name, None, self._world.now_s))

    def _sync(self, account: SimulatedAccount, named: SimulatedConnection | Failure) -> Reply:
        now_s = self._world.now_s
        if isinstance(named, Failure):
            return reply.with_faults(named.reply(), self._world.faults.take(account.name, None, now_s))
        content = self._world.faults.take(account.name, named.id, now_s, content=True)
        in_the_way = self._world.faults.take(account.name, named.id, now_s)
        return reply.with_faults(Reply(self._body(named, content)), in_the_way)

    def _body(self, connection: SimulatedConnection, faults: list[Fault]) -> bytes:
        if not faults:
            return self._bodies.of(connection)
        data = render(connection)
        for fault in faults:
            data = alter(data, fault, self._rng)
        return envelope(data)

    def _list(self, account: SimulatedAccount, providers: list[str] | None) -> Reply:
        listed = [
            describe(connection)
            for connection in account.connections
            if providers is None or connection.provider in providers
        ]
        return Reply(envelope(listed if self._world.connections_form == "list" else {"connections": listed}))

    def _authenticate(self, request: Request) -> SimulatedAccount:
        account = self._account_of(request)
        if account is None or account.revoked:
            raise Failure(401, "missing or invalid API key")
        if account.suspended:
            raise Failure(403, "the account is suspended")
        return account

    def _account_of(self, request: Request) -> SimulatedAccount | None:
        scheme, _, key = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return next((each for each in self._world.accounts if each.key == key.strip()), None)

    def _limit(self, account: SimulatedAccount) -> None:
        window = int(self._world.now_s // self._world.rate_window_s)
        before, used = self._windows.get(account.key, (window, 0))
        used = used + 1 if before == window else 1
        self._windows[account.key] = (window, used)
        if self._world.rate_limit and used > self._world.rate_limit:
            raise Failure(429, "too many requests: back off and retry after the window resets")

    def _named(self, account: SimulatedAccount, request: Request) -> SimulatedConnection | Failure:
        """Return the connection that a sync means, or why there is none."""
        wanted = request.fields.get("connection_id")
        active = account.active()
        if wanted is None:
            if len(active) == 1:
                return active[0]
            if active:
                return Failure(400, "connection_id is required: several active VoiceLink connections exist")
            return Failure(404, "no active VoiceLink connection")
        if not isinstance(wanted, str):
            return Failure(400, "connection_id must be a uuid")
        for connection in account.connections:
            if connection.id == wanted and connection.provider == "voicelink":
                return connection if connection.active else Failure(409, "the connection is not active")
        return Failure(404, "connection not found")

    def _record(self, request: Request, answer: Reply) -> None:
        account = self._account_of(request)
        named = request.fields.get("connection_id")
        seen = Seen(
            at=self._clock.now(),
            account=account.name if account else None,
            method=request.method,
            path=request.path,
            connection_id=named if isinstance(named, str) else None,
            status=answer.status,
            write=not request.read_only,
        )
        self.requests.append(seen)
        self.counts[seen.path, seen.status] += 1
        self.writes += seen.write

    def _control_reply(self, request: Request) -> Reply:
        handlers: dict[tuple[str, str], Callable[[], Reply]] = {
            ("GET", "/_sim/stats"): lambda: Reply(msgspec.json.encode(self.stats())),
            ("GET", "/_sim/requests"): lambda: Reply(
                msgspec.json.encode([each.fields() for each in self.requests])
            ),
            ("POST", "/_sim/do"): lambda: self._control.reply(
                request.body, request.headers.get(b"content-type", b"").decode("latin-1")
            ),
        }
        handler = handlers.get((request.method, request.path))
        return handler() if handler else Failure(404, "see GET /_sim/stats, POST /_sim/do").reply()

    def stats(self) -> dict[str, Any]:
        """Return what `GET /_sim/stats` answers: requests by path and status, and refused writes."""
        by_path: dict[str, dict[str, int]] = {}
        for (path, status), count in sorted(self.counts.items()):
            by_path.setdefault(path, {})[str(status)] = count
        return {"requests": by_path, "total": sum(self.counts.values()), "writes_refused": self.writes}


async def _read(scope: Scope, receive: Receive) -> Request:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Request(
        method=scope["method"],
        path=scope["path"],
        headers=dict(scope["headers"]),
        query=parse_qs(scope.get("query_string", b"").decode("latin-1")),
        body=bytes(body),
        fields=_object(bytes(body)),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}
