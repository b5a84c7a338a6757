"""The routes of the JSON API, one for each question of the table."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from http import HTTPStatus

import xxhash
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.errors import UnknownName
from monitor.store.paging import BadCursor
from monitor.web.actions import Actions
from monitor.web.api.answers import SyncStarted, encode
from monitor.web.api.openapi import build_openapi
from monitor.web.api.questions import ConnectionQuestion, StatusQuestion, read
from monitor.web.api.table import QUESTIONS, Question, Sources
from monitor.web.problems import API, STORE_AWAY_RETRY_S, BadRequest

_READERS = 2
"""Questions asked of the store at once: the rest of the daemon reads there too, and comes first."""
_WAIT_S = 10.0

_BUSY_RETRY_S = 2

_METHODS = ["GET", "HEAD"]


def api_routes(sources: Sources, actions: Actions, *, version: str) -> APIRouter:
    """Return the routes of the API.

    Args:
        sources: Who knows the answers.
        actions: Decides who may start a sync, and does it.
        version: Of the program, for the OpenAPI.
    """
    router = APIRouter(prefix=API, include_in_schema=False)
    turns = asyncio.Semaphore(_READERS)
    for question in QUESTIONS:
        router.add_api_route(
            question.path, _answer(question, sources, turns), methods=_METHODS, response_model=None
        )
    document = encode(build_openapi(version))

    @router.api_route("/openapi.json", methods=_METHODS)
    async def openapi(request: Request) -> Response:
        read(StatusQuestion, request.query_params.multi_items(), {})
        return _json(request, document)

    router.add_api_route("/connections/{name}/sync", _sync(actions), methods=["POST"], response_model=None)
    return router


def _sync(actions: Actions) -> Callable[[Request], Awaitable[Response]]:
    async def sync(request: Request) -> Response:
        await actions.admit(request)
        asked = read(ConnectionQuestion, request.query_params.multi_items(), request.path_params)
        try:
            begun = await actions.lifecycle.sync_now(asked.name)
        except UnknownName as exc:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(exc)) from exc
        if not begun:
            busy = f"{asked.name} is being synced right now: ask again in a moment"
            raise HTTPException(HTTPStatus.CONFLICT, busy, {"retry-after": str(_BUSY_RETRY_S)})
        body = encode(SyncStarted(connection=asked.name))
        return Response(body, HTTPStatus.ACCEPTED, media_type="application/json")

    return sync


def _answer(
    question: Question, sources: Sources, turns: asyncio.Semaphore
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        asked = read(question.asked, request.query_params.multi_items(), request.path_params)
        try:
            async with _turn(turns) if question.stored else contextlib.nullcontext():
                found = await question.answer(sources, asked)
        except BadCursor as exc:
            raise BadRequest("cursor: no page ends there", parameter="cursor") from exc
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, question.not_found)
        return _json(request, encode(found))

    return answer


@contextlib.asynccontextmanager
async def _turn(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_WAIT_S):
            await turns.acquire()
    except TimeoutError:
        headers = {"retry-after": str(STORE_AWAY_RETRY_S)}
        busy = "too many questions at once: ask again in a moment"
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, busy, headers) from None
    try:
        yield
    finally:
        turns.release()


def _json(request: Request, body: bytes) -> Response:
    """Return an answer that a client may keep, and ask for again by its tag (RFC 9110, section 13.1.2)."""
    tag = f'"{xxhash.xxh3_128_hexdigest(body)}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if _has(request.headers.getlist("if-none-match"), tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _has(lines: Iterable[str], tag: str) -> bool:
    known = {each.strip().removeprefix("W/") for line in lines for each in line.split(",")}
    return tag in known or "*" in known
