"""Posts to one URL, one post after the other.

    hold the lease -> read the state -> settle the labels -> post it all -> record that it was accepted

Only then is the state read again: a post never overtakes a newer one. Without the store, what was last read
is posted on, so that nothing expires; where another process may take over, only as long as the lease holds:
what has ended since must not fire again. After a failure it backs off from 1 s to `resend_interval`, unless a
user asks for a post at once.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.clock import rfc3339
from monitor.errors import DeliveryError, LeaseLost, Refusal, StoreUnavailable, Superseded, out_of_resources
from monitor.notify.alertmanager.labels import reconcile, slices
from monitor.notify.alertmanager.level import LabelSet, LevelState, PostTarget
from monitor.notify.alertmanager.receiver import AlertmanagerReceiver
from monitor.notify.alertmanager.render import Letter, batches, joined
from monitor.notify.delivery import DeliveryOutcome
from monitor.notify.retry import POSTPONED_S
from monitor.notify.turns import POLL_S, Turns, end

FIRST_BACKOFF_S = 1.0
LEASE_MARGIN_S = 30.0  # beyond two requests: one may be under way when the lease is to be renewed
REPLACE_GRACE_S = 10.0

SLICE = 500
"""Episodes between two turns of the event loop."""

_LOOK_FOR_USERS_S = 1.0
"""How often it looks whether a user wants a post, while it waits after a failure."""

_DOUBLINGS = 16


class Poster(Turns):
    """One URL's way out.

    Args:
        receiver: What the config says, and what to work with.
        target: One of its URLs.
    """

    def __init__(self, receiver: AlertmanagerReceiver, target: PostTarget) -> None:
        parts = receiver.parts
        super().__init__(f"poster {target.receiver} {target.url}", parts.clock)
        self._receiver = receiver
        self._target = target
        self._level = parts.level
        self._lease_s = 2 * receiver.timeout_s + LEASE_MARGIN_S
        self._rng = parts.rng
        self._metrics = parts.metrics
        self._log = parts.log.bind(receiver=target.receiver, url=target.url)
        self._shortage = parts.shortage
        self._state: LevelState | None = None
        self._held_s: float | None = None
        self._marker: object = None
        self._asked_at: datetime | None = None
        self._letters: dict[str, list[Letter]] = {}
        self._refused: dict[str, str] = {}
        self._failures = 0
        self._not_before_s = 0.0
        self._rest_until_s = 0.0
        self._well = False
        self._tidied = False
        self._store_away = False

    async def turn(self, *, woken: bool) -> float:
        """Post if something changed, it is time to, or a user asked for it."""
        asked = await self._is_asked()
        if asked:
            self._refused.clear()
            self._not_before_s = 0.0
        wait_s = self._not_before_s - self._clock.monotonic()
        if wait_s <= 0:  # a change does not shorten the wait after a failure
            wait_s = await self._post_if_due(pressed=woken or asked)
        return min(wait_s, _LOOK_FOR_USERS_S if self._failures else POLL_S)

    async def _post_if_due(self, *, pressed: bool) -> float:
        """Post if something changed or it is time to; return the seconds to wait."""
        try:
            if pressed or self._clock.monotonic() >= self._rest_until_s or not await self._is_quiet():
                self._rest_until_s = 0.0
                state = await self._look()
                if state is None:
                    return POLL_S
                if state.sets or not self._well:
                    await self._post(state)
                self._rest_until_s = self._clock.monotonic() + self._receiver.resend_interval_s
        except LeaseLost:
            return POLL_S
        except DeliveryError as exc:
            return await self._failed(exc)
        except Exception as exc:  # noqa: BLE001 - a task's root: a poster that raised would never post again
            return await self._unexpected(exc)
        return self._rest_until_s - self._clock.monotonic()

    async def leave(self) -> None:
        """Let another process post there."""
        try:
            await self._level.release(self._target)
        except StoreUnavailable as exc:
            self._store_failed(exc, "giving up a poster's lease")

    async def _is_asked(self) -> bool:
        """Return whether a user has asked for a post since the last look."""
        try:
            before, self._asked_at = self._asked_at, await self._level.asked_at(self._target)
        except StoreUnavailable:
            return False
        return self._asked_at != before

    async def _is_quiet(self) -> bool:
        """Return whether nothing changed, here or in another process; so it seems without the store."""
        try:
            return await self._hold() and await self._level.marker() == self._marker
        except StoreUnavailable:
            return True

    async def _hold(self) -> bool:
        """Take or renew the lease; renewed when a third of it is over, before each request and at rest."""
        now_s = self._clock.monotonic()
        if self._held_s is not None and now_s - self._held_s < self._lease_s / 3:
            return True
        held = await self._level.hold(self._target, lease_s=self._lease_s)
        self._held_s = now_s if held else None
        return held

    def _holds_without_store(self) -> bool:
        """Whether no other process can have taken over, as far as this one can tell by itself."""
        if not self._level.is_shared:
            return True
        return self._held_s is not None and self._clock.monotonic() - self._held_s < self._lease_s

    async def _look(self) -> LevelState | None:
        """Return what is to be posted now; None if another process posts, or there is nothing to go by."""
        try:
            if not await self._hold():
                self._state = None
                return None
            if not self._tidied:
                urls = [target.url for target in self._receiver.targets]
                await self._level.forget_others(self._receiver.name, urls)
                self._tidied = True
            self._marker = await self._level.marker()
            state = await self._settle(await self._level.read(self._target))
        except StoreUnavailable as exc:
            if isinstance(exc, Superseded):
                self._state = None
            self._store_failed(exc, "reading what is open")
            if not self._holds_without_store():
                self._state = None
        else:
            self._state = state
            self._store_away = False
        return self._state

    async def _settle(self, found: LevelState) -> LevelState:
        """Decide on the labels of everything and write down what changed, giving way in between."""
        now = self._clock.now()
        route, wording, alone = self._receiver.route, self._receiver.wording, len(self._receiver.urls) == 1
        sets: list[LabelSet] = []
        for part in slices(found, SLICE):
            settled, moves = reconcile(part, route, wording, alone=alone, now=now)
            if moves:
                await self._level.write(self._target, moves)
            sets += settled.sets
            await self._clock.sleep(0)
        return replace(found, read_at=now, sets=sets)

    async def _post(self, state: LevelState) -> None:
        """Post everything that was not refused before with the same content, and record it.

        Raises:
            DeliveryError: Not all of it was answered.
            LeaseLost: Another process posts there by now.
        """
        answer, sent = "", 0
        expires_at = rfc3339(self._clock.now() + self._receiver.expire_after)
        before, self._letters = self._letters, {}
        for batch in batches(state, self._receiver.wording, expires_at=expires_at, before=before):
            for letter in batch:
                self._letters.setdefault(letter.member.id, []).append(letter)
                if letter.problem is not None:
                    self._refuse(letter, letter.problem)
            letters = [letter for letter in batch if self._refused.get(letter.member.id) != letter.digest]
            if letters:
                answer = await self._send(letters, expires_at)
                sent += len(letters)
            await self._clock.sleep(0)
        if not sent:
            answer = await self._send([], expires_at)  # to know whether it is there
        await self._accepted(state, answer, sent)

    async def _send(self, letters: list[Letter], expires_at: str) -> str:
        """Post some alerts; where they are refused, find the ones that are to blame and go on without them.

        Raises:
            DeliveryError: There was no answer, or none that concerns single alerts.
            LeaseLost: Another process posts there by now.
        """
        try:
            held = await self._hold()
        except StoreUnavailable:
            held = self._holds_without_store()
        if not held:
            raise LeaseLost("another process posts here now")
        try:
            return await self._receiver.post(self._target, joined(letters, expires_at))
        except DeliveryError as exc:
            if exc.refusal is not Refusal.DEAD:
                raise
            if not letters:
                raise DeliveryError(Refusal.FAILING, str(exc), answered=True) from exc
            said = str(exc)
        if len(letters) == 1:
            # Alertmanager accepts a request without alerts; if that is refused too, this one is not at fault.
            await self._send([], expires_at)
            self._refuse(letters[0], said)
            return said
        middle = len(letters) // 2
        await self._send(letters[:middle], expires_at)
        return await self._send(letters[middle:], expires_at)

    def _refuse(self, letter: Letter, error: str) -> None:
        """Count and log an alert that will not be taken; once, until its content changes."""
        if self._refused.get(letter.member.id) == letter.digest:
            return
        self._refused[letter.member.id] = letter.digest
        self._metrics.delivery(self._target.receiver, DeliveryOutcome.DEAD)
        self._log.error(
            "delivery.dead",
            alert_id=letter.member.alert_id,
            episode_id=letter.member.id,
            error=error,
        )

    async def _accepted(self, state: LevelState, answer: str, sent: int) -> None:
        news = sum(1 for posted in state.sets if posted.accepted_at is None)
        self._metrics.delivery(self._target.receiver, DeliveryOutcome.DELIVERED)
        write = self._log.info if news or not self._well else self._log.debug
        write("delivery.sent", alerts=sent, news=news, answer=answer)
        self._failures = 0
        current = {posted.member_id for posted in state.sets}
        self._refused = {member: digest for member, digest in self._refused.items() if member in current}
        try:
            await self._level.accepted(self._target, read_at=state.read_at, at=self._clock.now())
        except StoreUnavailable as exc:
            # The sets stay unaccepted there, and are accepted once more with the next post.
            self._store_failed(exc, "recording a post")
        else:
            self._well = True

    async def _unexpected(self, exc: Exception) -> float:
        """Postpone what this process had no resources for, and take anything else for a failure."""
        lack = out_of_resources(exc)
        if lack is None:
            return await self._failed(DeliveryError(Refusal.RETRY, f"unexpected {type(exc).__name__}"))
        self._shortage.met(lack, f"posting to {self._target.receiver}")
        self._not_before_s = self._clock.monotonic() + POSTPONED_S
        return POSTPONED_S

    async def _failed(self, error: DeliveryError) -> float:
        """Record a failure; return the seconds to wait, in which no change is posted."""
        now = self._clock.now()
        longest_s = self._receiver.resend_interval_s
        ceiling_s = min(longest_s, FIRST_BACKOFF_S * 2.0 ** min(self._failures, _DOUBLINGS))
        most_s = max(longest_s, self._receiver.expire_after.total_seconds() / 3)
        wait_s = max(self._rng.uniform(ceiling_s / 2, ceiling_s), min(error.retry_after_s or 0.0, most_s))
        self._failures += 1
        self._well = False
        self._metrics.delivery(self._target.receiver, DeliveryOutcome.RETRIED)
        self._log.warning(
            "delivery.failed",
            attempts=self._failures,
            error=str(error),
            next_try_at=rfc3339(now + timedelta(seconds=wait_s)),
        )
        try:
            await self._level.failed(self._target, error, now)
        except StoreUnavailable as exc:
            self._store_failed(exc, "recording a failed post")
        self._not_before_s = self._clock.monotonic() + wait_s
        return wait_s

    def _store_failed(self, exc: Exception, doing: str) -> None:
        if not self._store_away:
            self._metrics.store_error()
            self._log.error("store.failed", doing=doing, error=str(exc))
        self._store_away = True


class Posters:
    """Runs a poster for each URL of the active receivers; `replace` exchanges them.

    The new ones start when the old ones' last posts have returned: a post must not overtake an older one.
    """

    def __init__(self) -> None:
        self._wanted: tuple[AlertmanagerReceiver, ...] = ()
        self._running: dict[AlertmanagerReceiver, list[Poster]] = {}
        self._changed = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        """Post until cancelled or closed."""
        try:
            while not self._closing:
                self._changed.clear()
                await self._stop([old for old in self._running if old not in self._wanted], REPLACE_GRACE_S)
                for receiver in self._wanted:
                    if receiver not in self._running and not self._closing:
                        posters = [Poster(receiver, target) for target in receiver.targets]
                        self._running[receiver] = posters
                        for poster in posters:
                            poster.start()
                await self._changed.wait()
        finally:
            await self._stop(list(self._running), 0.0)

    def wake(self) -> None:
        """Say that episodes began, changed or ended."""
        for posters in self._running.values():
            for poster in posters:
                poster.wake()

    def replace(self, receivers: Iterable[AlertmanagerReceiver]) -> None:
        """Use these receivers from now on."""
        self._wanted = tuple(receivers)
        self._changed.set()

    async def released(self, receiver: AlertmanagerReceiver) -> None:
        """Wait until a receiver that was replaced has stopped posting, to close its connections."""
        await end(self._running.get(receiver, ()), None)

    async def close(self, grace_s: float) -> None:
        """Let the posts that are under way return, for at most `grace_s` seconds; then stop."""
        self._closing = True
        await self._stop(list(self._running), grace_s)
        self._changed.set()

    async def _stop(self, receivers: Sequence[AlertmanagerReceiver], grace_s: float) -> None:
        stopping = [poster for receiver in receivers for poster in self._running.get(receiver, ())]
        for poster in stopping:
            poster.stop()
        await end(stopping, grace_s)
        for receiver in receivers:
            self._running.pop(receiver, None)
