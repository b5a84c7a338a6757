"""The forms of the pages, for those who may act: each does something and leads back to a page."""

import functools
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.web.actions import Lifecycle, actor_of
from monitor.web.pages.site import REFUSED, Pages
from monitor.web.pages.templates import link, path

Form = dict[str, list[str]]
Act = Callable[[Lifecycle, Request, Form], Awaitable[str]]
"""Does what a form asks, and returns the address of the page that says so."""


def form_routes(pages: Pages) -> APIRouter:
    """Return the routes that the forms are sent to."""
    router = APIRouter(include_in_schema=False)
    for address, act in (
        ("/connections/{name}/sync", _sync),
        ("/connections/{name}/accept", _accept),
        ("/deliveries/{delivery_id}/retry", _retry),
        ("/deliveries/{delivery_id}/dismiss", _dismiss),
    ):
        router.add_route(address, functools.partial(_answer, pages=pages, act=act), methods=["POST"])
    return router


async def _answer(request: Request, *, pages: Pages, act: Act) -> Response:
    """Let a form act, and send the browser on to the page that says what was done."""
    try:
        form = await pages.actions.admit(request)
        page = await act(pages.actions.lifecycle, request, form)
        return RedirectResponse(pages.actions.settings().root + page, HTTPStatus.SEE_OTHER)
    except REFUSED as exc:
        return await pages.refuse(request, exc)


async def _sync(lifecycle: Lifecycle, request: Request, _: Form) -> str:
    begun = await lifecycle.sync_now(request.path_params["name"], actor_of(request))
    return _connection(request, "synced" if begun else "busy")


async def _accept(lifecycle: Lifecycle, request: Request, form: Form) -> str:
    # No number at all must not mean every number: that is a button of its own.
    numbers = None if form.get("all") == ["yes"] else form.get("number", [])
    await lifecycle.accept(request.path_params["name"], numbers, actor_of(request))
    return _connection(request, "accepted")


async def _retry(lifecycle: Lifecycle, request: Request, _: Form) -> str:
    await lifecycle.retry(request.path_params["delivery_id"], actor_of(request))
    return link("/alerts", {"done": "retried"})


async def _dismiss(lifecycle: Lifecycle, request: Request, _: Form) -> str:
    await lifecycle.dismiss(request.path_params["delivery_id"], actor_of(request))
    return link("/alerts", {"done": "dismissed"})


def _connection(request: Request, done: str) -> str:
    return link(f"/connections/{path(request.path_params['name'])}", {"done": done})
