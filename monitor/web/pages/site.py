"""The frame of every page: what all show, and the page for a refused request."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from jinja2 import Environment
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from monitor.errors import Invalid, Refused, StoreUnavailable, UnknownName
from monitor.store.paging import BadCursor
from monitor.web.actions import Actions
from monitor.web.auth import user_of
from monitor.web.pages.templates import build_templates
from monitor.web.problems import STORE_AWAY_RETRY_S
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

REFRESH_S = 10
"""Seconds until an open page updates itself; without scripts the browser does, a third as often."""

AWAY = "The store is unavailable, so there is nothing to show. The overview shows what was known before."

REFUSED = (HTTPException, BadCursor, Invalid, UnknownName, Refused, StoreUnavailable)
"""The errors that have a page of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """A page to be rendered. `refreshes`: it shows the present, so an open page updates itself.

    `redirect` is the path of the page to show in its place, without the root. `private`: its address says
    whose page it is, and goes nowhere else. `typed`: people who may act type into it, so without scripts it
    stays as it is.
    """

    template: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    code: HTTPStatus = HTTPStatus.OK
    refreshes: bool = False
    redirect: str | None = None
    private: bool = False
    typed: bool = False


Ask = Callable[[Sources, MonitorStatus, Request], Awaitable[PageView]]
"""Finds what a page shows."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Renders pages.

    Args:
        sources: Know what they show.
        actions: Decide who may act.
    """

    sources: Sources
    actions: Actions
    _templates: Environment = field(init=False, default_factory=build_templates)

    async def answer(self, request: Request, ask: Ask) -> Response:
        """Return the page that answers a request, even when it is refused."""
        status = await self.sources.status.status()
        try:
            view = await ask(self.sources, status, request)
        except REFUSED as exc:
            view = refusal(exc)
        return await self.render(request, status, view)

    async def refuse(self, request: Request, exc: Exception) -> Response:
        """Return a page that says why a request is refused."""
        return await self.render(request, await self.sources.status.status(), refusal(exc))

    async def render(self, request: Request, status: MonitorStatus, view: PageView) -> Response:
        """Return a view in its frame."""
        settings, user = self.actions.settings(), user_of(request)
        if view.redirect is not None:
            return RedirectResponse(settings.root + view.redirect, HTTPStatus.SEE_OTHER)
        values = {
            "status": status,
            "now": self.sources.clock.now(),
            "root": settings.root,
            "here": request.scope["path"],
            "refresh_s": REFRESH_S if view.refreshes else None,
            "not_ready": self.sources.readiness.not_ready(),
            # Pages offer actions where the config allows them, to users who may act; as the API does.
            "acting": settings.lifecycle and (user is None or settings.is_operator(user)),
            "timezone": settings.timezone,
            "typed": view.typed,
            "lifecycle": settings.lifecycle,
            "user": user,
            **view.values,
        }
        # A thousand connections take tens of milliseconds to render, a template to compile: not on the loop.
        text = await asyncio.to_thread(lambda: self._templates.get_template(view.template).render(values))
        headers = {"referrer-policy": "no-referrer"} if view.private else {}
        if view.code is HTTPStatus.SERVICE_UNAVAILABLE:
            headers["retry-after"] = str(STORE_AWAY_RETRY_S)
        return HTMLResponse(text, view.code, headers)


def refusal(exc: Exception) -> PageView:
    """Return the page for one of `REFUSED`; one that may recover refreshes itself."""
    match exc:
        case HTTPException():
            code, reason = HTTPStatus(exc.status_code), exc.detail
        case BadCursor():
            code, reason = HTTPStatus.BAD_REQUEST, "This cursor is not valid; start from the first page."
        case UnknownName():
            code, reason = HTTPStatus.NOT_FOUND, str(exc)
        case Invalid():
            code, reason = HTTPStatus.BAD_REQUEST, f"{exc.field}: {exc}"
        case Refused():
            code, reason = HTTPStatus.CONFLICT, str(exc)
        case _:
            code, reason = HTTPStatus.SERVICE_UNAVAILABLE, AWAY
    values = {"code": code, "reason": reason}
    refreshes = code is HTTPStatus.SERVICE_UNAVAILABLE
    return PageView(template="refused.html", values=values, code=code, refreshes=refreshes)
