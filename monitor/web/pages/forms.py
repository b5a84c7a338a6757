"""The forms of the pages, for those who may act: each does something and leads back to a page."""

import functools
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.drift.silences import NewSilence
from monitor.web.actions import Lifecycle, actor_of
from monitor.web.pages.filters import text
from monitor.web.pages.replay import replayed_page
from monitor.web.pages.silences import FIELDS
from monitor.web.pages.site import REFUSED, Pages, PageView
from monitor.web.pages.templates import link, path
from monitor.web.replays import RULES
from monitor.web.sources import Sources

Form = dict[str, list[str]]
Act = Callable[[Lifecycle, Request, Form], Awaitable[str | PageView]]
"""Does what a form asks, and returns the address of the page that says so, or the page."""


def form_routes(pages: Pages) -> APIRouter:
    """Return the routes that the forms are sent to."""
    router = APIRouter(include_in_schema=False)
    for address, act in (
        ("/connections/{name}/sync", _sync),
        ("/connections/{name}/accept", _accept),
        ("/deliveries/{delivery_id}/retry", _retry),
        ("/deliveries/{delivery_id}/dismiss", _dismiss),
        ("/alerts/{alert_id}/ack", _acknowledge),
        ("/receivers/{receiver}/test", _test),
        ("/receivers/{receiver}/retry", _retry_now),
        ("/silences", _silence),
        ("/silences/{silence_id}/end", _end_silence),
        ("/replay", functools.partial(_replay, pages.sources)),
    ):
        router.add_route(address, functools.partial(_answer, pages=pages, act=act), methods=["POST"])
    return router


async def _answer(request: Request, *, pages: Pages, act: Act) -> Response:
    """Let a form act, and send the browser on to the page that says what was done."""
    try:
        form = await pages.actions.admit(request)
        page = await act(pages.actions.lifecycle, request, form)
        if isinstance(page, PageView):
            return await pages.render(request, await pages.sources.status.status(), page)
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


async def _acknowledge(lifecycle: Lifecycle, request: Request, form: Form) -> str:
    note = (form.get("note") or [""])[0].strip()
    done = await lifecycle.acknowledge(request.path_params["alert_id"], note or None, actor_of(request))
    return link(f"/alerts/{path(done.alert_id)}", {"done": "acknowledged"})


async def _test(lifecycle: Lifecycle, request: Request, _: Form) -> PageView:
    done = await lifecycle.test_alert(request.path_params["receiver"], actor_of(request))
    return PageView(template="tested.html", values={"test": done})


async def _retry_now(lifecycle: Lifecycle, request: Request, _: Form) -> str:
    await lifecycle.retry_now(request.path_params["receiver"], actor_of(request))
    return link("/", {"done": "retried"})


async def _silence(lifecycle: Lifecycle, request: Request, form: Form) -> str:
    given = {name: values[0] for name, values in form.items() if values[0]}
    asked = NewSilence(
        **{name: given.get(name) for name in (*FIELDS, "alert", "until", "reason", "by")},
        for_=given.get("for"),
        until_ready="until_ready" in given or None,
    )
    silence = await lifecycle.add_silence(asked, actor_of(request))
    back = f"/alerts/{path(silence.alert)}" if silence.alert else "/silences"
    return link(back, {"done": "silenced"})


async def _end_silence(lifecycle: Lifecycle, request: Request, _: Form) -> str:
    await lifecycle.end_silence(request.path_params["silence_id"], actor_of(request))
    return link("/silences", {"done": "ended"})


async def _replay(sources: Sources, _: Lifecycle, request: Request, form: Form) -> PageView:
    fields = {name: values[0] for name, values in form.items()}
    given = {name: text(fields, name) for name in ("since", "connection", *RULES)}
    return await replayed_page(sources, request, given, fields.get("config", ""))


def _connection(request: Request, done: str) -> str:
    return link(f"/connections/{path(request.path_params['name'])}", {"done": done})
