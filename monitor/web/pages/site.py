"""What every page has in common: the frame around it, who may act on it, and how it says no."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor.errors import StoreUnavailable
from monitor.store.paging import BadCursor
from monitor.web.actions import Actions
from monitor.web.auth import user_of
from monitor.web.pages.templates import build_templates
from monitor.web.problems import STORE_AWAY_RETRY_S
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

REFRESH_S = 10
"""How often an open page asks for itself again; without scripts the browser does, a third as often."""

AWAY = "The store is away, so this page has nothing to show. The overview shows what was known before."


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

    def __init__(self, sources: Sources, actions: Actions) -> None:
        self.sources = sources
        self.actions = actions
        self._templates = build_templates()

    def may_act(self, request: Request) -> bool:
        """Return whether this page offers actions: the config allows them, and we know who asks."""
        return self.actions.enabled and user_of(request) is not None

    async def answer(self, request: Request, ask: Ask) -> Response:
        """Return the page that answers a request, also where that is a no."""
        status = await self.sources.status.status()
        try:
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


def refusal(code: HTTPStatus, reason: str) -> PageView:
    """Return a page that says no; one that may come back is asked for again."""
    refreshes = code is HTTPStatus.SERVICE_UNAVAILABLE
    return PageView(
        template="refused.html", values={"code": code, "reason": reason}, code=code, refreshes=refreshes
    )
