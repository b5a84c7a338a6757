"""One receiver of the type `alertmanager`: what the config says of it, and one request to one of its URLs."""

import asyncio
import base64
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import httpx
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.drift.alert import AlertBody
from monitor.drift.text import Wording
from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.redactor import Redactor
from monitor.notify.alertmanager.level import Level, PostTarget
from monitor.notify.alertmanager.render import render_test
from monitor.notify.drain import DeliveryMetrics
from monitor.notify.http import JSON, post, require_taken
from monitor.notify.routing import Route
from monitor.secret import Secret
from monitor.shortage import Shortage

PATH = "/api/v2/alerts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A bearer token, or a user name and its password; read at each post."""

    username: str = ""
    secret: Secret
    bearer: bool = False

    @property
    def header(self) -> str:
        """The `Authorization` of a request. Source: RFC 6750 and RFC 7617."""
        if self.bearer:
            return f"Bearer {self.secret.reveal()}"
        named = f"{self.username}:{self.secret.reveal()}"
        return f"Basic {base64.b64encode(named.encode()).decode('ascii')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterParts:
    """What posters work with."""

    level: Level
    http: httpx.AsyncClient
    redactor: Redactor
    clock: Clock
    rng: random.Random
    metrics: DeliveryMetrics
    log: FilteringBoundLogger
    shortage: Shortage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlertmanagerReceiver:
    """The Alertmanagers of one cluster: each gets everything.

    `urls` are their base addresses; `login` is for those that hold no user name. `resend_interval_s` and
    `timeout_s`, that of one request, are seconds.
    """

    urls: Sequence[Address]
    route: Route
    wording: Wording
    resend_interval_s: float
    expire_after: timedelta
    timeout_s: float
    login: Login | None
    parts: PosterParts

    @property
    def name(self) -> str:
        """Its name in the config."""
        return self.route.receiver

    @property
    def targets(self) -> list[PostTarget]:
        """Where to post."""
        return [PostTarget(receiver=self.name, url=address.url) for address in self.urls]

    async def post(self, target: PostTarget, content: bytes) -> str:
        """Post alerts to one URL; return what it answered.

        Raises:
            DeliveryError: It did not accept them.
        """
        headers = dict(JSON)
        if self.login is not None:
            headers["authorization"] = self.login.header
        now = self.parts.clock.now()
        url = next(address for address in self.urls if address.url == target.url).joined(PATH)
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await post(
                    self.parts.http,
                    url,
                    content=content,
                    headers=headers,
                    redactor=self.parts.redactor,
                    now=now,
                )
        except TimeoutError as exc:
            raise DeliveryError(Refusal.RETRY, f"no answer within {self.timeout_s:g} s") from exc
        return require_taken(answer)

    async def send_test(self, body: AlertBody) -> str:
        """Post a test alert to every URL; return what they answered.

        It carries its own end, two minutes ahead: one that was resolved at once would be over before
        Alertmanager's `group_wait`, and reach no one.

        Raises:
            DeliveryError: Some URL did not accept it; says which.
        """
        content = render_test(body, self.parts.clock.now())
        answers: list[str] = []
        for target in self.targets:
            try:
                answers.append(f"{target.url}: {await self.post(target, content)}")
            except DeliveryError as exc:
                said = f"{target.url}: {exc}"
                raise DeliveryError(exc.refusal, said, retry_after_s=exc.retry_after_s) from exc
        return ", ".join(answers)
