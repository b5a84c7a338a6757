"""Basic authentication (RFC 7617) of everything but the probes.

bcrypt is slow on purpose, a scrape comes every few seconds: a password that was right once is remembered, by
a keyed hash of it, for as long as it is used. `attempts.py` says when wrong ones are too many.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from weakref import WeakValueDictionary

import bcrypt
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.secret import Secret
from monitor.web.attempts import Attempts, Wait
from monitor.web.entrance import OPEN_PATHS
from monitor.web.problems import refusal

CHALLENGE = 'Basic realm="voicelink-monitor", charset="UTF-8"'

TOO_MANY_WRONG = "too many wrong passwords"
TOO_MANY_CHECKS = "too many passwords are being checked"

_REMEMBERED_S = 600.0
_MOST_REMEMBERED = 1_000
_CHECKS_AT_ONCE = 2
_BCRYPT_BYTES = 72
"""bcrypt's limit: the library raises for longer passwords, where others (and htpasswd) cut them off."""

Users = Callable[[], Mapping[str, Secret]]
"""The bcrypt hashes of the active config, by user name; empty: no password is needed."""

HashPassword = Callable[[bytes, bytes], bytes]


def user_of(request: HTTPConnection) -> str | None:
    """Return the user of a request; None if no password is needed."""
    name: str | None = request.scope.get("state", {}).get("user")
    return name


class BasicAuth:
    """ASGI middleware that asks for a password where users are configured."""

    def __init__(self, app: ASGIApp, gate: "Gate") -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        address = request.client.host if request.client else ""
        verdict = await self._gate.judge(request.headers.get("authorization"), address)
        if verdict.status is not None:
            answer = refusal(scope["path"], verdict.status, verdict.detail, headers=verdict.headers)
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["user"] = verdict.user
        await self._app(scope, receive, send)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDecision:
    """Whether a request may pass: as `user` (None: no password is needed), unless there is a `status`."""

    user: str | None = None
    status: HTTPStatus | None = None
    detail: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Gate:
    """Checks passwords, and how often they were wrong.

    Args:
        users: Asked at every request, so a reload counts at once.
        clock: The time.
        log: Gets one line for a streak of wrong passwords.
        hash_password: bcrypt; takes a password and a salt, or a hash with its salt.
    """

    def __init__(
        self,
        *,
        users: Users,
        clock: Clock,
        log: FilteringBoundLogger,
        hash_password: HashPassword = bcrypt.hashpw,
    ) -> None:
        self._users = users
        self._clock = clock
        self._log = log
        self._hash_password = hash_password
        self._attempts = Attempts()
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self._turns = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def judge(self, authorization: str | None, address: str) -> AccessDecision:
        """Return whether a request with this header, from this address, may pass."""
        users = self._users()
        if not users:
            return AccessDecision()
        given = parse_basic(authorization)
        if given is None:
            return _UNAUTHORIZED
        name, password = given
        proof = self._proof(users, name, password)
        if self._remembers(proof):
            return AccessDecision(user=name)
        if proof not in self._checks:
            source = (network_of(address), self._proof({}, name, b""))
            wait = self._attempts.begin(*source, self._clock.monotonic())
            if wait is not None:
                return _refused(wait)
            self._checks[proof] = asyncio.create_task(
                self._check(proof, source, partial(is_right, users, name, password, self._hash_password))
            )
        # Others who bring the same password meanwhile share the check; it goes on if one of them leaves.
        right = await asyncio.shield(self._checks[proof])
        return AccessDecision(user=name) if right else _UNAUTHORIZED

    async def _check(self, proof: bytes, source: tuple[str, bytes], is_right: Callable[[], bool]) -> bool:
        right: bool | None = None
        try:
            # One check of an address at a time, so that no address waits behind another's many.
            async with self._lanes.setdefault(source[0], asyncio.Lock()), self._turns:
                right = await asyncio.to_thread(is_right)
        finally:
            del self._checks[proof]
            now_s = self._clock.monotonic()
            self._attempts.end(*source, now_s, wrong=right is False)
        if right:
            self._remember(proof)
        elif self._attempts.is_news(source[0], now_s):
            # Not the name: people type passwords into that field.
            self._log.warning("auth.refused", client=source[0])
        return right

    def _proof(self, users: Mapping[str, Secret], name: str, password: bytes) -> bytes:
        """Return what stands for a password that was right; another hash in the config makes it another."""
        kept = users[name].reveal() if name in users else ""
        parts = (name.encode(), kept.encode(), password)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, framed, hashlib.sha256)

    def _remembers(self, proof: bytes) -> bool:
        until_s = self._right.get(proof)
        if until_s is None or until_s <= self._clock.monotonic():
            return False
        self._remember(proof)
        return True

    def _remember(self, proof: bytes) -> None:
        self._right[proof] = self._clock.monotonic() + _REMEMBERED_S
        self._right.move_to_end(proof)
        if len(self._right) > _MOST_REMEMBERED:
            self._right.popitem(last=False)


def parse_basic(header: str | None) -> tuple[str, bytes] | None:
    """Return the user name and the password of an Authorization header; None if it holds none.

    Source: RFC 7617, section 2; in UTF-8, as the challenge asks.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def is_right(
    users: Mapping[str, Secret], name: str, password: bytes, hash_password: HashPassword = bcrypt.hashpw
) -> bool:
    """Return whether this is the user's password.

    Every answer takes the same work, that of the costliest hash: else the time would tell which users there
    are. Each step of the cost doubles the work, so one hash more of each cost between makes up for the rest.
    """
    costs = {user: int(kept.reveal()[4:6]) for user, kept in users.items()}
    highest = max(costs.values())
    password = password[:_BCRYPT_BYTES]
    cost = costs.get(name, highest)
    kept = users[name].reveal().encode() if name in users else _salt(highest)
    try:
        found = hash_password(password, kept)
    except ValueError:  # nothing that was ever hashed
        found, cost = b"", highest
        hash_password(password, _salt(highest))
    for between in range(cost, highest):
        hash_password(password, _salt(between))
    return hmac.compare_digest(found, kept)


def _salt(cost: int) -> bytes:
    return b"$2b$%02d$" % cost + b"." * 22


def network_of(address: str) -> str:
    """Return what attempts are counted by: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), 64), strict=False))


_UNAUTHORIZED = AccessDecision(
    status=HTTPStatus.UNAUTHORIZED,
    detail="a user name and its password are needed",
    headers={"www-authenticate": CHALLENGE},
)


def _refused(wait: Wait) -> AccessDecision:
    seconds = max(math.ceil(wait.seconds), 1)
    return AccessDecision(
        status=HTTPStatus.TOO_MANY_REQUESTS if wait.wrong else HTTPStatus.SERVICE_UNAVAILABLE,
        detail=f"{TOO_MANY_WRONG if wait.wrong else TOO_MANY_CHECKS}; try again in {seconds} s",
        headers={"retry-after": str(seconds)},
    )
