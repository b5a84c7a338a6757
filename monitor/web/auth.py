"""Basic authentication (RFC 7617) of everything but the probes.

bcrypt is slow on purpose, a scrape comes every few seconds: a password that was right once is remembered, by
a keyed hash of it, for as long as it is used. Wrong ones are counted by the client's address.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import bcrypt
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.secret import Secret
from monitor.web.entrance import OPEN_PATHS
from monitor.web.problems import refusal

CHALLENGE = 'Basic realm="voicelink-monitor", charset="UTF-8"'

WRONG_PER_WINDOW = 5
WINDOW_S = 60.0
_STREAK_ENDS_AFTER_S = 600.0
_REMEMBERED_S = 600.0
_MOST_REMEMBERED = 1_000
_MOST_ADDRESSES = 4_096
_CHECKS_AT_ONCE = 2
_BCRYPT_BYTES = 72
"""bcrypt's limit: the library raises for longer passwords, where others (and htpasswd) cut them off."""

Users = Callable[[], Mapping[str, Secret]]
"""The bcrypt hashes of the active config, by user name; empty: no password is needed."""


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
    """

    def __init__(self, *, users: Users, clock: Clock, log: FilteringBoundLogger) -> None:
        self._users = users
        self._clock = clock
        self._log = log
        self._attempts = Attempts()
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._turns = asyncio.Semaphore(_CHECKS_AT_ONCE)

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
        client = network_of(address)
        wait_s = self._attempts.begin(client, self._clock.monotonic())
        if wait_s is not None:
            return AccessDecision(
                status=HTTPStatus.TOO_MANY_REQUESTS,
                detail=f"too many wrong passwords from this address; wait {math.ceil(wait_s)} seconds",
                headers={"retry-after": str(max(math.ceil(wait_s), 1))},
            )
        async with self._turns:
            # Another request may have brought the same password while this one waited.
            right = self._remembers(proof) or await asyncio.to_thread(is_right, users, name, password)
        if right:
            self._attempts.take_back(client)
            self._remember(proof)
            return AccessDecision(user=name)
        if self._attempts.is_news(client):
            # Not the name: people type passwords into that field.
            self._log.warning("auth.refused", client=client)
        return _UNAUTHORIZED

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


@dataclass(slots=True)
class _Streak:
    """What came from one address: when, in monotonic seconds, and whether that was told."""

    at: deque[float] = field(default_factory=deque)
    last_at: float = -math.inf
    told: bool = False


class Attempts:
    """Counts wrong passwords by address. One that is being checked counts, until it proves right."""

    def __init__(self) -> None:
        self._streaks: OrderedDict[str, _Streak] = OrderedDict()

    def begin(self, client: str, now_s: float) -> float | None:
        """Count an attempt; return None, or the seconds to wait if there were too many of late."""
        streak = self._streaks.setdefault(client, _Streak())
        self._streaks.move_to_end(client)
        if len(self._streaks) > _MOST_ADDRESSES:
            self._streaks.popitem(last=False)
        while streak.at and streak.at[0] <= now_s - WINDOW_S:
            streak.at.popleft()
        if len(streak.at) >= WRONG_PER_WINDOW:
            return streak.at[0] + WINDOW_S - now_s
        if now_s - streak.last_at > _STREAK_ENDS_AFTER_S:
            streak.told = False
        streak.at.append(now_s)
        streak.last_at = now_s
        return None

    def take_back(self, client: str) -> None:
        """Uncount the last attempt, which was right."""
        streak = self._streaks.get(client)
        if streak is not None and streak.at:
            streak.at.pop()

    def is_news(self, client: str) -> bool:
        """Return whether this streak is not logged yet, and count it as logged."""
        streak = self._streaks.setdefault(client, _Streak())
        news, streak.told = not streak.told, True
        return news


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


def is_right(users: Mapping[str, Secret], name: str, password: bytes) -> bool:
    """Return whether this is the user's password; slow, and as slow for a user that does not exist."""
    known = name in users
    kept = users[name].reveal() if known else max((each.reveal() for each in users.values()), key=_cost)
    try:
        right = bcrypt.checkpw(password[:_BCRYPT_BYTES], kept.encode())
    except ValueError:  # nothing that was ever hashed
        right = False
    return right and known


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


def _cost(bcrypt_hash: str) -> str:
    """Return the part of a hash that says how slow it is: two digits behind the version."""
    return bcrypt_hash[4:6]
