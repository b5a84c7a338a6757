"""Posts to one URL, one post after the other.

    hold the lease -> read the state -> settle the labels -> post it all -> record that it was accepted

Only then is the state read again: a post never overtakes a newer one. While the store is away, what was last
read is posted on, so that nothing expires. After a failure it backs off from 1 s to `resend_interval`.
"""

import asyncio
import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock, rfc3339
from monitor.drift.text import Wording
from monitor.errors import DeliveryError, LeaseLost, Refusal, StoreUnavailable
from monitor.http.request import HttpAnswer
from monitor.notify.alertmanager.labels import reconcile, slices
from monitor.notify.alertmanager.level import LabelSet, Level, LevelState, PostTarget
from monitor.notify.alertmanager.render import Letter, batches, joined
from monitor.notify.delivery import DeliveryOutcome
from monitor.notify.drain import DeliveryMetrics
from monitor.notify.http import post, refusal_of
from monitor.notify.routing import Route
from monitor.notify.turns import POLL_S
from monitor.secret import Secret

PATH = "/api/v2/alerts"
FIRST_BACKOFF_S = 1.0
LEASE_MARGIN_S = 30.0  # beyond two requests: one may be under way when the lease is to be renewed

SLICE = 500
"""Episodes between two turns of the event loop."""

_DOUBLINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A bearer token, or a user name and its password; read at each post."""

    username: str = ""
    secret: Secret
    bearer: bool = False

    def headers(self) -> Mapping[str, str]:
        """Return the header that a request needs. Source: RFC 6750 and RFC 7617."""
        if self.bearer:
            return {"authorization": f"Bearer {self.secret.reveal()}"}
        return {"authorization": f"Basic {self._basic()}"}

    def hidden(self) -> list[str]:
        """Return what an answer must not bring into a log."""
        return [self.secret.reveal()] if self.bearer else [self.secret.reveal(), self._basic()]

    def _basic(self) -> str:
        return base64.b64encode(f"{self.username}:{self.secret.reveal()}".encode()).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one receiver's posters have in common. Durations in seconds but for `expire_after`."""

    route: Route
    wording: Wording
    resend_interval_s: float
    expire_after: timedelta
    timeout_s: float
    alone: bool
    login: Login | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterParts:
    """What a poster works with."""

    level: Level
    http: httpx.AsyncClient
    clock: Clock
    rng: random.Random
    metrics: DeliveryMetrics
    log: FilteringBoundLogger


class Poster:
    """One URL's way out.

    Args:
        target: The receiver and the Alertmanager's base URL.
        terms: What the config says.
        parts: What it works with.
    """

    def __init__(self, target: PostTarget, terms: Terms, parts: PosterParts) -> None:
        self._target = target
        self._terms = terms
        self._level = parts.level
        self._http = parts.http
        self._clock = parts.clock
        self._rng = parts.rng
        self._metrics = parts.metrics
        self._log = parts.log
        self._changed = asyncio.Event()
        self._closing = False
        self._state: LevelState | None = None
        self._held_s: float | None = None
        self._marker: object = None
        self._refused: dict[str, str] = {}
        self._failures = 0
        self._well = False
        self._store_away = False

    async def run(self) -> None:
        """Post until closed."""
        try:
            while not self._closing:
                self._changed.clear()
                try:
                    await self._turn()
                except Exception as exc:  # noqa: BLE001 - a task's root: a poster that raised would never post again
                    error = DeliveryError(Refusal.RETRY, f"unexpected {type(exc).__name__}")
                    await self._failed(error)
        finally:
            await self._release()

    def wake(self) -> None:
        """Post at once what changed; after a failure, when its time has come."""
        self._changed.set()

    def close(self) -> None:
        """Post no more; end once the post that is under way has returned."""
        self._closing = True
        self._changed.set()

    async def _turn(self) -> None:
        state = await self._look()
        if state is None:
            await self._change_within(POLL_S)
            return
        if not state.sets and self._well:
            await self._rest()
            return
        try:
            answer, sent = await self._post(state)
        except LeaseLost:
            return
        except DeliveryError as exc:
            await self._failed(exc)
        else:
            await self._accepted(state, answer, sent)
            await self._rest()

    async def _hold(self) -> bool:
        """Take or renew the lease; renewed when a third of it is over, before each request and at rest."""
        lease_s = 2 * self._terms.timeout_s + LEASE_MARGIN_S
        now_s = self._clock.monotonic()
        if self._held_s is not None and now_s - self._held_s < lease_s / 3:
            return True
        held = await self._level.hold(self._target, lease_s=lease_s)
        self._held_s = now_s if held else None
        return held

    async def _still_holds(self) -> bool:
        try:
            return await self._hold()
        except StoreUnavailable:
            return True  # what we cannot reach, the others hardly can: better twice than not at all

    async def _look(self) -> LevelState | None:
        """Return what is to be posted now; None if another process posts, or there is nothing to go by."""
        try:
            if not await self._hold():
                self._state = None
                return None
            self._marker = await self._level.marker()
            state = await self._settle(await self._level.read(self._target))
        except StoreUnavailable as exc:
            self._store_failed(exc, "reading what is open")
        else:
            self._state = state
            self._store_away = False
        return self._state

    async def _settle(self, found: LevelState) -> LevelState:
        """Decide on the labels of everything and write down what changed, giving way in between."""
        now = self._clock.now()
        sets: list[LabelSet] = []
        for part in slices(found, SLICE):
            terms = self._terms
            settled, moves = reconcile(part, terms.route, terms.wording, alone=terms.alone, now=now)
            if moves:
                await self._level.write(self._target, moves)
            sets += settled.sets
            await self._clock.sleep(0)
        return replace(found, read_at=now, sets=sets)

    async def _post(self, state: LevelState) -> tuple[str, int]:
        """Post everything; return the last answer and how many alerts were sent.

        Raises:
            DeliveryError: Not all of it was answered.
            LeaseLost: Another process posts there by now.
        """
        answer, sent = "", 0
        now = self._clock.now()
        terms = self._terms
        for batch in batches(state, terms.wording, expire_after=terms.expire_after, now=now):
            letters = [letter for letter in batch if self._is_fit(letter)]
            if letters:
                answer = await self._send(letters)
                sent += len(letters)
            await self._clock.sleep(0)
        if not sent:
            answer = await self._send([])  # to know whether it is there
        return answer, sent

    def _is_fit(self, letter: Letter) -> bool:
        """Return whether to send it: neither invalid, nor refused before with the same content."""
        if letter.problem is not None:
            self._refuse(letter, letter.problem)
        return self._refused.get(letter.member.id) != letter.digest

    def _refuse(self, letter: Letter, error: str) -> None:
        """Count and log an alert that will not be taken; once, until its content changes."""
        if self._refused.get(letter.member.id) == letter.digest:
            return
        self._refused[letter.member.id] = letter.digest
        self._metrics.delivery(self._target.receiver, DeliveryOutcome.DEAD)
        self._log.error(
            "delivery.dead",
            receiver=self._target.receiver,
            url=self._target.url,
            alert_id=letter.member.alert_id,
            episode_id=letter.member.id,
            error=error,
        )

    async def _send(self, letters: list[Letter]) -> str:
        """Post some alerts; where they are refused, find the ones that are to blame and go on without them.

        Raises:
            DeliveryError: There was no answer, or none that concerns single alerts.
        """
        answer = await self._request(joined(letters))
        refusal = refusal_of(answer.status)
        told = answer.describe(hide=self._hidden())
        if refusal is None:
            return told
        if refusal is not Refusal.DEAD:
            raise DeliveryError(refusal, told, retry_after_s=answer.retry_after_s)
        if not letters:
            raise DeliveryError(Refusal.FAILING, told)
        if len(letters) == 1:
            # Alertmanager takes a request without alerts; whoever refuses even that does not mean this one.
            await self._send([])
            self._refuse(letters[0], told)
            return told
        middle = len(letters) // 2
        await self._send(letters[:middle])
        return await self._send(letters[middle:])

    async def _request(self, content: bytes) -> HttpAnswer:
        if not await self._still_holds():
            raise LeaseLost("another process posts here now")
        return await self._ask(content)

    async def _ask(self, content: bytes) -> HttpAnswer:
        try:
            async with asyncio.timeout(self._terms.timeout_s):
                return await post(
                    self._http,
                    self._target.url + PATH,
                    content=content,
                    headers=self._headers(),
                    now=self._clock.now(),
                )
        except TimeoutError as exc:
            raise DeliveryError(Refusal.RETRY, f"no answer within {self._terms.timeout_s:g} s") from exc

    def _headers(self) -> Mapping[str, str]:
        login = self._terms.login
        return {"content-type": "application/json", **(login.headers() if login is not None else {})}

    def _hidden(self) -> list[str]:
        login = self._terms.login
        return login.hidden() if login is not None else []

    async def test(self, content: bytes) -> str:
        """Post a request that is none of the rounds; return what the other side answered.

        Raises:
            DeliveryError: It was not taken.
        """
        answer = await self._ask(content)
        told = answer.describe(hide=self._hidden())
        refusal = refusal_of(answer.status)
        if refusal is not None:
            raise DeliveryError(refusal, told, retry_after_s=answer.retry_after_s)
        return told

    async def _accepted(self, state: LevelState, answer: str, sent: int) -> None:
        now = self._clock.now()
        news = sum(1 for posted in state.sets if posted.accepted_at is None)
        self._metrics.delivery(self._target.receiver, DeliveryOutcome.DELIVERED)
        write = self._log.info if news or not self._well else self._log.debug
        write("delivery.sent", **self._fields(), alerts=sent, news=news, answer=answer)
        self._failures = 0
        current = {posted.member_id for posted in state.sets}
        self._refused = {member: digest for member, digest in self._refused.items() if member in current}
        try:
            await self._level.accepted(self._target, read_at=state.read_at, at=now)
        except StoreUnavailable as exc:
            # The sets stay unaccepted there, and are accepted once more with the next post.
            self._store_failed(exc, "recording a post")
        else:
            self._well = True

    async def _failed(self, error: DeliveryError) -> None:
        now = self._clock.now()
        wait_s = self._backoff_s(error.retry_after_s)
        self._failures += 1
        self._well = False
        self._metrics.delivery(self._target.receiver, DeliveryOutcome.RETRIED)
        self._log.warning(
            "delivery.failed",
            **self._fields(),
            attempts=self._failures,
            error=str(error),
            next_try_at=rfc3339(now + timedelta(seconds=wait_s)),
        )
        try:
            await self._level.failed(self._target, error, now)
        except StoreUnavailable as exc:
            self._store_failed(exc, "recording a failed post")
        until_s = self._clock.monotonic() + wait_s
        while not self._closing and (left_s := until_s - self._clock.monotonic()) > 0:
            self._changed.clear()  # a change does not shorten the wait
            await self._change_within(left_s)

    def _backoff_s(self, retry_after_s: float | None) -> float:
        longest_s = self._terms.resend_interval_s
        ceiling_s = min(longest_s, FIRST_BACKOFF_S * 2.0 ** min(self._failures, _DOUBLINGS))
        asked_s = min(retry_after_s or 0.0, max(longest_s, self._terms.expire_after.total_seconds() / 3))
        return max(self._rng.uniform(ceiling_s / 2, ceiling_s), asked_s)

    async def _rest(self) -> None:
        """Wait until something changed, here or in another process, or it is time to post again."""
        until_s = self._clock.monotonic() + self._terms.resend_interval_s
        while not self._changed.is_set() and (left_s := until_s - self._clock.monotonic()) > 0:
            await self._change_within(min(left_s, POLL_S))
            if not self._changed.is_set() and (not await self._still_holds() or await self._moved()):
                return

    async def _moved(self) -> bool:
        try:
            return await self._level.marker() != self._marker
        except StoreUnavailable:
            return False

    async def _change_within(self, seconds: float) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((changed, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            timer.cancel()

    async def _release(self) -> None:
        try:
            await self._level.release(self._target)
        except StoreUnavailable as exc:
            self._store_failed(exc, "giving up a poster's lease")

    def _store_failed(self, exc: Exception, doing: str) -> None:
        if not self._store_away:
            self._metrics.store_error()
            self._log.error("store.failed", doing=f"{doing} ({self._target.receiver})", error=str(exc))
        self._store_away = True

    def _fields(self) -> dict[str, Any]:
        return {"receiver": self._target.receiver, "url": self._target.url}
