"""The questions of the JSON API, each a method and a row of the table of routes."""

import asyncio
import contextlib
import functools
import glob
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import xxhash
from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.drift.alert import AlertBody
from monitor.drift.alert import Status as AlertStatus
from monitor.errors import Refused, UnknownName, nearest
from monitor.notify.test_alert import ReceiverTest
from monitor.replay.report import Replayed
from monitor.store import queries
from monitor.store.alert_lists import alert_bodies
from monitor.store.alerts import alert_body, alert_named
from monitor.store.availability import Span
from monitor.store.explanations import explain
from monitor.store.export import ALERT_COLUMNS, CHANGE_COLUMNS, NUMBER_COLUMNS
from monitor.store.history import change_rows
from monitor.store.net import net_rows
from monitor.store.numbers import NumberDetail, number_named
from monitor.store.paging import BadCursor
from monitor.store.reach import reach
from monitor.store.requests import Acknowledged, RetriedNow, owner_named
from monitor.store.rows import ActionRow, ConnectionRow, DeliveryRow, NumberRow
from monitor.web.actions import Actions, actor_of
from monitor.web.api import parameters as ask
from monitor.web.api.answers import (
    AcknowledgeRequest,
    AlertDetail,
    ChangesListing,
    ConnectionDetail,
    Listing,
    StatusAnswer,
    SyncStarted,
    changes_of,
    detail_of,
    encode,
    listing_of,
    status_of,
)
from monitor.web.api.body import read_json
from monitor.web.api.download import Download, download
from monitor.web.api.openapi import IF_NONE_MATCH, build_openapi, problems
from monitor.web.api.replay import Again
from monitor.web.api.silences import Silences
from monitor.web.problems import API, BadRequest
from monitor.web.sources import Sources

_BUSY_RETRY_S = 2
_ENDED = 20
"""Ended alerts of a connection."""
_SHOWN = 50
"""Characters of a made-up name that an answer repeats."""

_COLUMNS = {"numbers": NUMBER_COLUMNS, "changes": CHANGE_COLUMNS, "alerts": ALERT_COLUMNS}
"""Of the lists that are also to be had as files."""


class ApiRoute(APIRoute):
    """A route that explains what is wrong with a request, and tags its answers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()
        known = [
            field.alias or name
            for query in self.dependant.query_params
            for name, field in query.field_info.annotation.model_fields.items()  # type: ignore[union-attr]  # all are models
        ]

        async def handle(request: Request) -> Response:
            given = Counter(name for name, _ in request.query_params.multi_items())
            for name in known:
                if given[name] > 1:
                    raise BadRequest(f"{name}: given more than once", parameter=name)
            try:
                return _tagged(request, await answer(request))
            except RequestValidationError as exc:
                raise _bad_request(exc.errors()[0], known) from exc
            except BadCursor as exc:
                raise BadRequest(f"cursor: {exc}", parameter="cursor") from exc

        return handle


def _bad_request(error: Mapping[str, Any], known: list[str]) -> BadRequest:
    """Return what is wrong with a parameter, and what would be right."""
    name = str(error["loc"][1])[:_SHOWN]
    match error["type"]:
        case "extra_forbidden":
            close = nearest(name, known)
            others = f"known here: {', '.join(known)}" if known else "there are none here"
            problem = f"unknown parameter {name!r}: {f'did you mean {close!r}?' if close else others}"
        case "value_error":
            problem = f"{name}: {error['ctx']['error']}"
        case "string_pattern_mismatch":
            problem = f"{name}: must not contain control characters"
        case _:
            problem = f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}"
    return BadRequest(problem, parameter=name)


def _tagged(request: Request, answer: Response) -> Response:
    """Return an answer that a client may keep, and ask for again by its tag (RFC 9110, section 13.1.2)."""
    if request.method not in ("GET", "HEAD") or isinstance(answer, Download):
        return answer
    tag = f'"{xxhash.xxh3_128_hexdigest(answer.body)}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    lines = request.headers.getlist("if-none-match")
    if {"*", tag} & {each.strip().removeprefix("W/") for line in lines for each in line.split(",")}:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    answer.headers.update(headers)
    return answer


def _encoded(
    answer: Callable[..., Awaitable[object]],
    code: HTTPStatus,
    as_csv: Callable[[Any], Awaitable[Response]] | None = None,
) -> Callable[..., Awaitable[Response]]:
    """Return a function that FastAPI reads like this one, and that encodes its answer.

    Args:
        answer: The endpoint.
        code: Of its answer.
        as_csv: Answers in its place, where that form is asked for.
    """

    @functools.wraps(answer)
    async def respond(**asked: Any) -> Response:
        if as_csv is not None and asked["asked"].format is ask.Format.CSV:
            return await as_csv(asked["asked"])
        found = await answer(**asked)
        # A replay may be of thousands of alerts: not on the loop.
        body = await asyncio.to_thread(encode, found) if isinstance(found, Replayed) else encode(found)
        return Response(body, code, media_type="application/json")

    return respond


@dataclass(frozen=True, slots=True)
class Api:
    """Answers the questions; signatures and docstrings become the OpenAPI.

    Args:
        sources: Have the answers.
        actions: Start a sync.
    """

    sources: Sources
    actions: Actions

    async def status(self, _: ask.Nothing) -> StatusAnswer:
        """The state of the whole monitor, even while its store is unavailable."""
        return status_of(await self.sources.status.status(), self.sources.readiness.not_ready())

    async def connections(
        self, asked: Annotated[ask.ConnectionsParameters, Query()]
    ) -> Listing[ConnectionRow]:
        """The watched connections by name, and how their syncs go."""
        codec, maintenance_of = self.sources.codec, self.sources.maintenance_of
        async with self.sources.read() as tx:
            return listing_of(await queries.connection_rows(tx, codec, maintenance_of, **asked.filters()))

    async def connection(self, name: ask.ConnectionName, _: ask.Nothing) -> ConnectionDetail:
        """One connection, with its alerts, and how available its numbers were."""
        codec, maintenance_of = self.sources.codec, self.sources.maintenance_of
        async with self.sources.read() as tx:
            owner = await owner_named(tx, name)
            row = await queries.connection_named(tx, codec, maintenance_of, name)
            if owner is None or row is None:
                raise HTTPException(HTTPStatus.NOT_FOUND, "no connection has this name")
            which: dict[str, Any] = {"connection": glob.escape(name), "widespread": False}
            firing = await alert_bodies(tx, status=AlertStatus.FIRING, **which)
            ended = await alert_bodies(
                tx,
                status=AlertStatus.RESOLVED,
                since=self.sources.clock.now() - Span.MONTH.length,
                limit=_ENDED,
                **which,
            )
            available = await self.sources.availability(tx, owner, row)
        failing = (await self.sources.status.status()).failing
        return detail_of(row, firing.rows, ended.rows, failing, available)

    async def numbers(self, asked: Annotated[ask.NumbersParameters, Query()]) -> Listing[NumberRow]:
        """The numbers of the applied snapshots, by connection and key."""
        async with self.sources.read() as tx:
            return listing_of(await queries.numbers(tx, self.sources.codec, **asked.filters()))

    async def number(self, number: ask.NumberText, _: ask.Nothing) -> NumberDetail:
        """Everything known about one number, in whichever connection it drifts, if it is in several."""
        grounds, now = self.sources.grounds(), self.sources.clock.now()
        async with self.sources.read() as tx:
            found = await number_named(tx, self.sources.codec, number, grounds, now)
        if isinstance(found, NumberDetail):
            return found
        several = "several numbers end with these digits: give more of them" if found else None
        raise HTTPException(HTTPStatus.NOT_FOUND, several or "no number is, or ends with, these digits")

    async def changes(self, asked: Annotated[ask.ChangesParameters, Query()]) -> ChangesListing:
        """What changed from sync to sync, newest first; or the net difference between two instants."""
        with _problems():
            filters = asked.filters()
            async with self.sources.read() as tx:
                if not asked.net:
                    return changes_of(await change_rows(tx, **filters))
                filters = {"until": self.sources.clock.now()} | filters
                return changes_of(await net_rows(tx, self.sources.codec, **filters))

    async def alerts(self, asked: Annotated[ask.AlertsParameters, Query()]) -> Listing[AlertBody]:
        """Alerts as they are now, the latest started first."""
        async with self.sources.read() as tx:
            return listing_of(await alert_bodies(tx, **asked.filters()))

    async def alert(self, alert_id: ask.AlertId, _: ask.Nothing) -> AlertDetail:
        """One alert, with what each receiver knows of it and why it paged, or did not."""
        grounds, now = self.sources.grounds(), self.sources.clock.now()
        async with self.sources.read() as tx:
            with _problems():
                body = await alert_body(tx, await alert_named(tx, alert_id))
            receivers = await reach(tx, body, grounds.routes)
            explanation = await explain(tx, self.sources.codec, body.alert_id, grounds, now)
        return AlertDetail(
            **msgspec.structs.asdict(body),
            receivers=receivers,
            explanation=list(explanation.sentences) if explanation is not None else [],
        )

    async def deliveries(self, asked: Annotated[ask.DeliveriesParameters, Query()]) -> Listing[DeliveryRow]:
        """Messages to receivers, the latest queued first."""
        async with self.sources.read() as tx:
            return listing_of(await queries.delivery_rows(tx, **asked.filters()))

    async def did(self, asked: Annotated[ask.ActionsParameters, Query()]) -> Listing[ActionRow]:
        """What people asked the monitor to do, newest first."""
        async with self.sources.read() as tx:
            return listing_of(await queries.action_rows(tx, **asked.filters()))

    async def sync(self, name: ask.ConnectionName, request: Request, _: ask.Nothing) -> SyncStarted:
        """Sync a connection now, due or not; needs `web.enable_lifecycle`, read-only for the provider."""
        with _problems():
            begun = await self.actions.lifecycle.sync_now(name, actor_of(request))
        if not begun:
            busy = f"{name} is being synced right now; try again in a moment"
            raise HTTPException(HTTPStatus.CONFLICT, busy, {"retry-after": str(_BUSY_RETRY_S)})
        return SyncStarted(connection=name)

    async def acknowledge(self, alert_id: ask.AlertId, request: Request, _: ask.Nothing) -> Acknowledged:
        """Take on a firing alert, or of a part its widespread one; needs `web.enable_lifecycle`."""
        asked = await read_json(request, AcknowledgeRequest, absent=AcknowledgeRequest())
        with _problems():
            return await self.actions.lifecycle.acknowledge(alert_id, asked.note, actor_of(request))

    async def retry_receiver(
        self, receiver: ask.ReceiverName, request: Request, _: ask.Nothing
    ) -> RetriedNow:
        """Try a receiver at once with whatever waits for it or is dead; needs `web.enable_lifecycle`."""
        with _problems():
            return await self.actions.lifecycle.retry_now(receiver, actor_of(request))

    async def try_test_alert(
        self, receiver: ask.ReceiverName, request: Request, _: ask.Nothing
    ) -> ReceiverTest:
        """Send a test alert to a receiver, whatever its filters; needs `web.enable_lifecycle`."""
        with _problems():
            return await self.actions.lifecycle.test_alert(receiver, actor_of(request))


@contextlib.contextmanager
def _problems() -> Iterator[None]:
    """Turn what the monitor says of a request into a problem: 404 or 409."""
    try:
        yield
    except UnknownName as exc:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(exc)) from exc
    except Refused as exc:
        raise HTTPException(HTTPStatus.CONFLICT, str(exc)) from exc


def api_routes(sources: Sources, actions: Actions, *, version: str) -> APIRouter:
    """Return the routes of the API.

    Args:
        sources: Have the answers.
        actions: Decide who may act, and do it.
        version: Of the program, for the OpenAPI.
    """
    router = APIRouter(prefix=API, route_class=ApiRoute)
    api, silences, again = Api(sources, actions), Silences(sources, actions), Again(sources)

    @functools.lru_cache(maxsize=1)
    def document(root: str) -> dict[str, Any]:
        return build_openapi(router.routes, version, root=root)

    async def openapi(_: ask.Nothing) -> dict[str, Any]:
        """This document."""
        # Built when it is first asked for, and not on the loop: the daemon starts without it.
        return await asyncio.to_thread(document, actions.settings().root)

    def as_csv(
        name: str, answer: Callable[..., Awaitable[Any]]
    ) -> Callable[[ask.ExportParameters], Awaitable[Response]]:
        return lambda asked: download(
            answer, asked, name=name, columns=_COLUMNS[name], today=sources.clock.now().date()
        )

    answer: Callable[..., Awaitable[Any]]
    for path, name, answer, codes in (
        ("/status", "getStatus", api.status, ()),
        ("/connections", "listConnections", api.connections, ()),
        ("/connections/{name}", "getConnection", api.connection, (404,)),
        ("/numbers", "listNumbers", api.numbers, ()),
        ("/numbers/{number}", "getNumber", api.number, (404,)),
        ("/changes", "listChanges", api.changes, (409,)),
        ("/alerts", "listAlerts", api.alerts, ()),
        ("/alerts/{alert_id}", "getAlert", api.alert, (404,)),
        ("/deliveries", "listDeliveries", api.deliveries, ()),
        ("/actions", "listActions", api.did, ()),
        ("/silences", "listSilences", silences.listed, ()),
        ("/replay", "replay", again.replay, (409,)),
        ("/openapi.json", "getOpenapi", openapi, ()),
    ):
        router.add_api_route(
            path,
            _encoded(answer, HTTPStatus.OK, as_csv(path[1:], answer) if path[1:] in _COLUMNS else None),
            methods=["GET", "HEAD"],
            operation_id=name,
            tags=["read"],
            response_model=None,
            responses=problems(400, 401, 421, 429, 503, *codes),
            openapi_extra={"parameters": [IF_NONE_MATCH]},
        )
    acts: Sequence[tuple[str, str, str, Callable[..., Awaitable[Any]], HTTPStatus, tuple[int, ...]]] = (
        ("POST", "/connections/{name}/sync", "syncConnection", api.sync, HTTPStatus.ACCEPTED, (404, 409)),
        (
            "POST",
            "/alerts/{alert_id}/ack",
            "acknowledgeAlert",
            api.acknowledge,
            HTTPStatus.OK,
            (404, 409, 413),
        ),
        ("POST", "/receivers/{receiver}/retry", "retryReceiver", api.retry_receiver, HTTPStatus.OK, (404,)),
        ("POST", "/receivers/{receiver}/test", "testReceiver", api.try_test_alert, HTTPStatus.OK, (404,)),
        ("POST", "/silences", "addSilence", silences.add, HTTPStatus.CREATED, (413,)),
        ("DELETE", "/silences/{silence_id}", "endSilence", silences.end, HTTPStatus.OK, (404,)),
        ("POST", "/replay", "replayConfig", again.replay_config, HTTPStatus.OK, (409, 413)),
    )
    for method, path, name, answer, code, failing in acts:
        router.add_api_route(
            path,
            _encoded(answer, code),
            methods=[method],
            operation_id=name,
            tags=["act"],
            status_code=code,
            response_model=None,
            responses=problems(400, 401, 403, 421, 429, 503, *failing),
            dependencies=[Depends(actions.admit)],
        )
    return router
