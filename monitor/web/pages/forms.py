"""The forms of the pages: sync now, accept, send again. Each leads back to a page."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.web.auth import user_of
from monitor.web.pages.site import REFUSED, Pages
from monitor.web.pages.templates import link, path

ANONYMOUS = "Actions on these pages need a password; set web.basic_auth_users."

Form = dict[str, list[str]]


def form_routes(pages: Pages) -> APIRouter:
    """Return the routes that the forms are sent to."""
    router = APIRouter(include_in_schema=False)
    lifecycle = pages.actions.lifecycle

    @router.post("/connections/{name}/sync")
    async def sync(request: Request, name: str) -> Response:
        async def do(_: Form) -> str:
            begun = await lifecycle.sync_now(name)
            return _connection(name, "synced" if begun else "busy")

        return await _acted(pages, request, do)

    @router.post("/connections/{name}/accept")
    async def accept(request: Request, name: str) -> Response:
        async def do(form: Form) -> str:
            # No number at all must not mean every number: that is a button of its own.
            numbers = None if form.get("all") == ["yes"] else form.get("number", [])
            await lifecycle.accept(name, numbers)
            return _connection(name, "accepted")

        return await _acted(pages, request, do)

    @router.post("/deliveries/{delivery_id}/retry")
    async def retry(request: Request, delivery_id: str) -> Response:
        async def do(_: Form) -> str:
            await lifecycle.retry(delivery_id)
            return link("/alerts", {"done": "retried"})

        return await _acted(pages, request, do)

    return router


async def _acted(pages: Pages, request: Request, do: Callable[[Form], Awaitable[str]]) -> Response:
    """Let a form act, and send the browser on to the page that says what was done."""
    try:
        form = await pages.actions.admit(request)
        if user_of(request) is None:
            raise HTTPException(HTTPStatus.FORBIDDEN, ANONYMOUS)
        return RedirectResponse(await do(form), HTTPStatus.SEE_OTHER)
    except REFUSED as exc:
        return await pages.refuse(request, exc)


def _connection(name: str, done: str) -> str:
    return link(f"/connections/{path(name)}", {"done": done})
