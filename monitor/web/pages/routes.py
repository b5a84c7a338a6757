"""The pages: overview, one connection, alerts, the timeline of changes."""

import glob
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.drift.alert import AlertBody
from monitor.drift.alert import Status as AlertStatus
from monitor.drift.snapshot import ChangeKind
from monitor.metrics import ConnectionView
from monitor.store import queries
from monitor.store.changes import DriftMove, drift_moves
from monitor.store.connections import ConnectionName
from monitor.store.outbox import DEAD
from monitor.store.paging import Page
from monitor.store.requests import owner_named
from monitor.store.rows import ConnectionRow, DeliveryRow, NumberRow, Trouble
from monitor.web.pages.chart import History, colours, history, state_bar
from monitor.web.pages.filters import (
    SPANS,
    ChangeFilter,
    Show,
    change_filter,
    choice,
    cursor,
    page_number,
    text,
)
from monitor.web.pages.site import Pages, PageView
from monitor.web.pages.templates import sync_state
from monitor.web.pages.timeline import timeline
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

CONNECTIONS = 50
NUMBERS = 100
CHANGES = 200
FIRING = 50
RECENT = 20
"""Rows of a page."""

_DELIVERIES = 50
"""Messages shown of one alert."""
_LATEST = 8
"""Changes shown on a connection's page."""

_HISTORY = timedelta(days=7)


Ask = Callable[[Sources, MonitorStatus, Request], Awaitable[PageView]]


def page_routes(pages: Pages) -> APIRouter:
    """Return the routes of the pages."""
    router = APIRouter(include_in_schema=False)
    for path, ask in (
        ("/", _overview),
        ("/connections/{name}", _connection),
        ("/alerts", _alerts),
        ("/changes", _changes),
    ):
        router.add_api_route(path, _answer(pages, ask), methods=["GET", "HEAD"], response_model=None)
    return router


def _answer(pages: Pages, ask: Ask) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        async def found(status: MonitorStatus) -> PageView:
            return await ask(pages.sources, status, request)

        return await pages.answer(request, found)

    return answer


async def _overview(_: Sources, status: MonitorStatus, request: Request) -> PageView:
    return overview_of(status, request.query_params)


async def _connection(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    return await connection_of(sources, request.path_params["name"], request.query_params)


async def _alerts(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    return await alerts_of(sources, request.query_params)


async def _changes(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    return await changes_of(sources, request.query_params)


def overview_of(status: MonitorStatus, query: Mapping[str, str]) -> PageView:
    """Return the overview; what is bad comes first."""
    asked = text(query, "connection")
    number = page_number(query)
    views = sorted((view for view in status.connections if _has(view.name, asked)), key=_trouble)
    counted = [view.counts for view in status.connections if view.counts]
    succeeded = [view.last_success_at for view in status.connections if view.last_success_at]
    start = (number - 1) * CONNECTIONS
    return PageView(
        template="overview.html",
        values={
            "alerts": sorted(status.alerts, key=_urgency),
            "connections": views[start : start + CONNECTIONS],
            "found": len(views),
            "asked": asked,
            "page": number,
            "pages": max(-(-len(views) // CONNECTIONS), 1),
            "numbers": sum(counts.total for counts in counted),
            "drifting": sum(counts.total_drifting for counts in counted),
            "failing": sum(1 for view in status.connections if sync_state(view)[0] == "bad"),
            "last_success_at": max(succeeded, default=None),
            "colour_of": colours(counts.drifting for counts in counted),
            "state_bar": state_bar,
        },
        refreshes=True,
    )


async def connection_of(sources: Sources, name: str, query: Mapping[str, str]) -> PageView:
    """Return the page of a connection.

    Raises:
        HTTPException: There is none of this name, or the request cannot be read.
        BadCursor: No page ends there.
        StoreUnavailable: The store is away.
    """
    show, state, after = choice(query, "show", Show) or Show.TROUBLE, text(query, "state"), cursor(query)
    now = sources.clock.now()
    since = now - min(_HISTORY, sources.retention())
    async with sources.read() as tx:
        owner = await owner_named(tx, name)
        row = await queries.connection_named(tx, sources.codec, sources.maintenance_of, name)
        if owner is None or row is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "No connection has this name.")
        listed = await _numbers(tx, sources, owner, show, state, after)
        alerts = await queries.alert_bodies(tx, connection=glob.escape(name), status=AlertStatus.FIRING)
        latest = await queries.change_rows(tx, connection=glob.escape(name), limit=_LATEST)
        moves = await drift_moves(tx, owner.identity, max(since, row.watched_since))
    return PageView(
        template="connection.html",
        values={
            "colour_of": colours([row.drifting_states]),
            "row": row,
            "listed": listed,
            "show": show,
            "state": state,
            "after": query.get("after"),
            "next": listed.next,
            "alerts": sorted(alerts.rows, key=_urgency),
            "days": timeline(latest.rows),
            "history": _history(row, moves.moves, moves.since, now),
            "state_bar": state_bar,
            "done": query.get("done"),
        },
        refreshes=True,
    )


async def _numbers(
    tx: AsyncConnection,
    sources: Sources,
    owner: ConnectionName,
    show: Show,
    state: str | None,
    after: str | None,
) -> Page[Trouble] | Page[NumberRow]:
    connection = glob.escape(owner.name)
    if show is Show.ALL:
        return await queries.numbers(
            tx, sources.codec, connection=connection, state=state, limit=NUMBERS, after=after
        )
    return await queries.troubles(
        tx,
        sources.codec,
        sources.rules_of,
        sources.clock.now(),
        connection=connection,
        state=state,
        ignored=show is Show.IGNORED,
        limit=NUMBERS,
        after=after,
    )


def _history(
    row: ConnectionRow, moves: Sequence[DriftMove], since: datetime, now: datetime
) -> History | None:
    """Return the history of a connection; None while there is none to be told."""
    if row.numbers is None or since >= now:
        return None
    return history(row.drifting_states, moves, since=since, now=now)


async def alerts_of(sources: Sources, query: Mapping[str, str]) -> PageView:
    """Return the page of the alerts, or of the one that is asked for.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: No page ends there.
        StoreUnavailable: The store is away.
    """
    alert_id, connection = text(query, "alert"), text(query, "connection")
    after, firing_after = cursor(query), cursor(query, "firing_after")
    async with sources.read() as tx:
        firing, recent = [
            await queries.alert_bodies(
                tx, status=status, alert_id=alert_id, connection=connection, limit=limit, after=begin
            )
            for status, limit, begin in (
                (AlertStatus.FIRING, FIRING, firing_after),
                (AlertStatus.RESOLVED, RECENT, after),
            )
        ]
        told: dict[str, list[DeliveryRow]] = {
            body.alert_id: (await queries.delivery_rows(tx, alert_id=body.alert_id, limit=_DELIVERIES)).rows
            for body in (*firing.rows, *recent.rows)
        }
        dead = await queries.delivery_rows(tx, status=DEAD, limit=RECENT) if alert_id is None else None
    return PageView(
        template="alerts.html",
        values={
            "firing": firing.rows if firing_after else sorted(firing.rows, key=_urgency),
            "firing_next": firing.next,
            "recent": recent.rows,
            "recent_next": recent.next,
            "told": told,
            "dead": dead.rows if dead else [],
            "alert_id": alert_id,
            "connection": connection,
            "paged": bool(after or firing_after),
            "done": query.get("done"),
        },
        refreshes=True,
    )


async def changes_of(sources: Sources, query: Mapping[str, str]) -> PageView:
    """Return the timeline.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: No page ends there.
        StoreUnavailable: The store is away.
    """
    asked, after = change_filter(query), cursor(query)
    async with sources.read() as tx:
        page = await queries.change_rows(
            tx,
            connection=asked.connection,
            state=asked.state,
            change=asked.change,
            since=asked.since(sources.clock.now()),
            limit=CHANGES,
            after=after,
        )
    return PageView(
        template="changes.html",
        values={
            "asked": asked,
            "given": _given(asked),
            "days": timeline(page.rows),
            "next": page.next,
            "after": query.get("after"),
            "kinds": list(ChangeKind),
            "spans": list(SPANS),
        },
        refreshes=after is None,
    )


def _given(asked: ChangeFilter) -> dict[str, str | None]:
    return {
        "connection": asked.connection,
        "state": asked.state,
        "change": asked.change,
        "since": asked.span,
    }


def _has(name: str, asked: str | None) -> bool:
    return asked is None or asked.casefold() in name.casefold()


def _urgency(alert: AlertBody) -> tuple[int, str]:
    return -alert.severity.rank, alert.started_at


def _trouble(view: ConnectionView) -> tuple[int, bool, str]:
    drifting = view.counts.total_drifting if view.counts else 0
    return -drifting, sync_state(view)[0] in ("ok", "none"), view.name
