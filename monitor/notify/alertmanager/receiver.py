"""One receiver of the type `alertmanager`: a poster for each of its URLs, all of which get everything."""

import asyncio
from collections.abc import Sequence

from monitor.drift.alert import AlertBody
from monitor.errors import DeliveryError, StoreUnavailable
from monitor.notify.alertmanager.level import PostTarget
from monitor.notify.alertmanager.poster import Poster, PosterParts, Terms
from monitor.notify.alertmanager.render import render_test


class AlertmanagerReceiver:
    """Keeps every Alertmanager of a cluster level with what is open.

    Args:
        name: Its name in the config.
        urls: The base address of each Alertmanager.
        terms: What the config says.
        parts: What its posters work with.
    """

    def __init__(self, name: str, *, urls: Sequence[str], terms: Terms, parts: PosterParts) -> None:
        self.name = name
        self._urls = [url.rstrip("/") for url in urls]
        self._parts = parts
        self._posters = [Poster(PostTarget(receiver=name, url=url), terms, parts) for url in self._urls]
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Post until cancelled or closed."""
        try:
            await self._parts.level.forget_others(self.name, self._urls)
        except StoreUnavailable as exc:
            self._store_failed(exc)
        self._tasks = [
            asyncio.create_task(poster.run(), name=f"poster {self.name} {url}")
            for poster, url in zip(self._posters, self._urls, strict=True)
        ]
        try:
            await asyncio.wait(self._tasks)
        finally:
            await self._cancel()

    def wake(self) -> None:
        """Say that episodes began, changed or ended."""
        for poster in self._posters:
            poster.wake()

    async def close(self, grace_s: float) -> None:
        """Let the posts that are under way return, for so many seconds; then stop."""
        for poster in self._posters:
            poster.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        await self._cancel()

    async def send_test(self, body: AlertBody) -> str:
        """Post a test alert to every URL; return what they answered.

        It carries its own end, two minutes ahead: one that was resolved at once would be over before
        Alertmanager's `group_wait`, and reach nobody.

        Raises:
            DeliveryError: Some URL did not take it; says which.
        """
        content = render_test(body, self._parts.clock.now())
        answers: list[str] = []
        for poster, url in zip(self._posters, self._urls, strict=True):
            try:
                answers.append(f"{url}: {await poster.test(content)}")
            except DeliveryError as exc:
                raise DeliveryError(exc.refusal, f"{url}: {exc}", retry_after_s=exc.retry_after_s) from exc
        return ", ".join(answers)

    def _store_failed(self, exc: StoreUnavailable) -> None:
        self._parts.log.error("store.failed", doing=f"forgetting old URLs ({self.name})", error=str(exc))

    async def _cancel(self) -> None:
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
