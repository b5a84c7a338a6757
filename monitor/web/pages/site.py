"""What every page has in common: the frame around it, who may act on it, and how it says no."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.paging import BadCursor
from monitor.store.queries import MaintenanceOf, RulesOf
from monitor.web.actions import Actions
from monitor.web.auth import user_of
from monitor.web.pages.templates import build_templates
from monitor.web.problems import STORE_AWAY_RETRY_S
from monitor.web.status import MonitorStatus, StatusSource

REFRESH_S = 10
"""How often an open page asks for itself again; without scripts the browser does, a third as often."""

_READERS = 2
"""Pages that read the store at once: the rest of the daemon reads there too, and comes first."""
_WAIT_S = 10.0

AWAY = "The store is away, so this page has nothing to show. The overview shows what was known before."
BUSY = "Too many pages are asked for at once: load this one again in a moment."


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSources:
    """Who knows what the pages show.

    `rules_of` and `maintenance_of` answer by identity, as of now. `retention` is for how long changes are
    kept.
    """

    database: Database
    codec: Codec
    status: StatusSource
    clock: Clock
    rules_of: RulesOf
    maintenance_of: MaintenanceOf
    retention: Callable[[], timedelta]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """A page to be rendered. `refreshes`: it shows the present, so an open one is kept up to date."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    code: HTTPStatus = HTTPStatus.OK
    refreshes: bool = False


Ask = Callable[[MonitorStatus], Awaitable[PageView]]
"""Finds out what a page shows."""


class Pages:
    """Answers with pages.

    Args:
        sources: Who knows what they show.
        actions: Decides who may act.
    """

    def __init__(self, sources: PageSources, actions: Actions) -> None:
        self.sources = sources
        self.actions = actions
        self._templates = build_templates()
        self._turns = asyncio.Semaphore(_READERS)

    def may_act(self, request: Request) -> bool:
        """Return whether this page offers actions: the config allows them, and we know who asks."""
        return self.actions.enabled and user_of(request) is not None

    async def answer(self, request: Request, ask: Ask) -> Response:
        """Return the page that answers a request, also where that is a no."""
        status = await self.sources.status.status()
        try:
            async with self._turn():
                view = await ask(status)
        except StoreUnavailable:
            view = refusal(HTTPStatus.SERVICE_UNAVAILABLE, AWAY)
        except BadCursor:
            view = refusal(HTTPStatus.BAD_REQUEST, "No page ends there: go back to the first one.")
        except HTTPException as exc:
            view = refusal(HTTPStatus(exc.status_code), exc.detail)
        return await self.render(request, status, view)

    async def refuse(self, request: Request, code: HTTPStatus, reason: str) -> Response:
        """Return a page that says no."""
        return await self.render(request, await self.sources.status.status(), refusal(code, reason))

    async def render(self, request: Request, status: MonitorStatus, view: PageView) -> Response:
        """Return a view in its frame."""
        values = {
            "status": status,
            "now": self.sources.clock.now(),
            "here": request.url.path,
            "refresh_s": REFRESH_S if view.refreshes else None,
            "acting": self.may_act(request),
            "lifecycle": self.actions.enabled,
            **view.values,
        }
        # A thousand connections take tens of milliseconds to render, a template to compile: not on the loop.
        text = await asyncio.to_thread(self._rendered, view.template, values)
        away = view.code is HTTPStatus.SERVICE_UNAVAILABLE
        return HTMLResponse(text, view.code, {"retry-after": str(STORE_AWAY_RETRY_S)} if away else None)

    def _rendered(self, template: str, values: Mapping[str, Any]) -> str:
        return self._templates.get_template(template).render(values)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, BUSY) from None
        try:
            yield
        finally:
            self._turns.release()


def refusal(code: HTTPStatus, reason: str) -> PageView:
    """Return a page that says no; one that may come back is asked for again."""
    refreshes = code is HTTPStatus.SERVICE_UNAVAILABLE
    return PageView(
        template="refused.html", values={"code": code, "reason": reason}, code=code, refreshes=refreshes
    )
