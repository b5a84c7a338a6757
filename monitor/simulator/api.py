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
import tomllib
from collections import Counter, deque
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from monitor.clock import Clock, rfc3339
from monitor.simulator.answer import Bodies, describe, envelope, render
from monitor.simulator.faults import alter
from monitor.simulator.reply import Reply, failure, with_faults
from monitor.simulator.reply import send as send_reply
from monitor.simulator.scenario import Control
from monitor.simulator.world import ScenarioError, SimulatedAccount, SimulatedConnection, World

BASE_PATH = "/api/v2"
SYNC_PATH = f"{BASE_PATH}/voicelink/sync"
CONNECTIONS_PATH = f"{BASE_PATH}/telephony/connections"

_KEPT_REQUESTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, read: the fields of its JSON body, and the account whose key it has."""

    method: str
    path: str
    providers: list[str]
    fields: dict[str, Any]
    account: SimulatedAccount | None

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
        return {**asdict(self), "at": rfc3339(self.at)}


class SimulatedApi:
    """The application; its paths begin with `/api/v2`.

    Args:
        world: What it answers about.
        clock: For rate limits, faults and delays.
        control: Takes the steps whose time has come, before each request.
    """

    def __init__(self, world: World, clock: Clock, control: Control) -> None:
        self._seen: deque[Seen] = deque(maxlen=_KEPT_REQUESTS)
        self._counts: Counter[tuple[str, int]] = Counter()
        self.writes = 0
        """How many requests were refused because they were not read-only."""
        self.world = world
        self._clock = clock
        self.control = control
        self._bodies = Bodies()
        self._windows: dict[str, tuple[int, int]] = {}
        self._rng = random.Random(0)

    @property
    def requests(self) -> list[Seen]:
        """The last 100,000 requests to the API, oldest first."""
        return list(self._seen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        self.control.catch_up()
        if scope["path"].startswith("/_sim/"):
            await send_reply(self._control_reply(request, body), scope, receive, send, self._clock)
            return
        self.world.now_s = self._clock.monotonic()
        call = Call(
            method=request.method,
            path=scope["path"],
            providers=request.query_params.getlist("provider"),
            fields=_object(body),
            account=self._account_of(request),
        )
        answer = self._refusal(call) or self._answer(call)
        self._record(call, answer)
        if self.world.gzip and "gzip" in request.headers.get("accept-encoding", ""):
            answer = answer.compressed()
        await send_reply(answer, scope, receive, send, self._clock)

    def _refusal(self, call: Call) -> Reply | None:
        if not call.read_only:
            return failure(400, "only read-only requests are answered here")
        if call.account is None or call.account.revoked:
            return failure(401, "missing or invalid API key")
        if call.account.suspended:
            return failure(403, "the account is suspended")
        if self._over_limit(call.account):
            return failure(429, "too many requests: back off and retry after the window resets")
        return None

    def _answer(self, call: Call) -> Reply:
        account, faults, now_s = call.account, self.world.faults, self.world.now_s
        if account is None:
            raise TypeError("a call without an account is refused")
        if call.path == CONNECTIONS_PATH:
            return with_faults(self._list(account, call.providers), faults.take(account.name, None, now_s))
        named = _named(account, call.fields.get("connection_id"))
        if isinstance(named, Reply):
            return with_faults(named, faults.take(account.name, None, now_s))
        content = faults.take(account.name, named.id, now_s, content=True)
        data = render(named) if content else {}
        for fault in content:
            data = alter(data, fault, self._rng)
        body = envelope(data) if content else self._bodies.of(named)
        return with_faults(Reply(body), faults.take(account.name, named.id, now_s))

    def _list(self, account: SimulatedAccount, providers: list[str]) -> Reply:
        listed = [
            describe(connection)
            for connection in account.connections
            if not providers or connection.provider in providers
        ]
        return Reply(envelope(listed if self.world.connections_form == "list" else {"connections": listed}))

    def _account_of(self, request: Request) -> SimulatedAccount | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return next((each for each in self.world.accounts if each.key == key.strip()), None)

    def _over_limit(self, account: SimulatedAccount) -> bool:
        """Count a request; return whether it is one too many in its window."""
        window = int(self.world.now_s // self.world.rate_window_s)
        before, used = self._windows.get(account.key, (window, 0))
        used = used + 1 if before == window else 1
        self._windows[account.key] = (window, used)
        return bool(self.world.rate_limit) and used > self.world.rate_limit

    def _record(self, call: Call, answer: Reply) -> None:
        named = call.fields.get("connection_id")
        seen = Seen(
            at=self._clock.now(),
            account=call.account.name if call.account else None,
            method=call.method,
            path=call.path,
            connection_id=named if isinstance(named, str) else None,
            status=answer.status,
            write=not call.read_only,
        )
        self._seen.append(seen)
        self._counts[seen.path, seen.status] += 1
        self.writes += seen.write

    def _control_reply(self, request: Request, body: bytes) -> Reply:
        match request.method, request.scope["path"]:
            case "GET", "/_sim/stats":
                return Reply(msgspec.json.encode(self.stats()))
            case "GET", "/_sim/requests":
                return Reply(msgspec.json.encode([each.fields() for each in self._seen]))
            case "POST", "/_sim/do":
                return self._do(body, request.headers.get("content-type", ""))
            case _:
                return failure(404, "see GET /_sim/stats, POST /_sim/do")

    def _do(self, body: bytes, content_type: str) -> Reply:
        """Take the step in a request's body: TOML if the content type says so, else JSON."""
        try:
            toml = "toml" in content_type
            data: Any = tomllib.loads(body.decode("utf-8")) if toml else msgspec.json.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return failure(400, "the body is neither JSON nor TOML")
        if not isinstance(data, dict):
            return failure(400, "send one step as an object")
        try:
            step = self.control.do(data)
        except ScenarioError as exc:
            return failure(400, str(exc))
        return Reply(msgspec.json.encode({"success": True, "data": {"done": step.do}}))

    def stats(self) -> dict[str, Any]:
        """Return what `GET /_sim/stats` answers: requests by path and status, and refused writes."""
        by_path: dict[str, dict[str, int]] = {}
        for (path, status), count in sorted(self._counts.items()):
            by_path.setdefault(path, {})[str(status)] = count
        return {"requests": by_path, "total": sum(self._counts.values()), "writes_refused": self.writes}


def _named(account: SimulatedAccount, wanted: Any) -> SimulatedConnection | Reply:
    """Return the connection that a sync means, or why there is none."""
    if wanted is None:
        active = account.active()
        if len(active) == 1:
            return active[0]
        if active:
            return failure(400, "connection_id is required: several active VoiceLink connections exist")
        return failure(404, "no active VoiceLink connection")
    if not isinstance(wanted, str):
        return failure(400, "connection_id must be a uuid")
    for connection in account.connections:
        if connection.id == wanted and connection.provider == "voicelink":
            return connection if connection.active else failure(409, "the connection is not active")
    return failure(404, "connection not found")


def _object(body: bytes) -> dict[str, Any]:
    """Return a body's JSON object; an empty one if it is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
