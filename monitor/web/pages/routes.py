"""The pages: overview, one connection, alerts, the timeline of changes."""

import functools
import glob
from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from monitor.drift.alert import AlertBody
from monitor.drift.alert import Status as AlertStatus
from monitor.drift.snapshot import ChangeKind
from monitor.errors import UnknownName
from monitor.metrics import ConnectionView
from monitor.store import queries
from monitor.store.changes import drift_moves
from monitor.store.paging import Page
from monitor.store.requests import owner_named
from monitor.store.rows import DeliveryRow, NumberRow, Problem
from monitor.store.tables import DEAD
from monitor.web.pages.chart import colours, history, state_bar, timeline
from monitor.web.pages.filters import (
    Show,
    Span,
    change_filters,
    choice,
    cursor,
    page_number,
    text,
)
from monitor.web.pages.runbooks import runbook_page, runbooks_page
from monitor.web.pages.site import Pages, PageView
from monitor.web.pages.templates import sync_state
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


def page_routes(pages: Pages) -> APIRouter:
    """Return the routes of the pages."""
    router = APIRouter(include_in_schema=False)
    for path, ask in (
        ("/", overview_page),
        ("/connections/{name}", connection_page),
        ("/alerts", alerts_page),
        ("/changes", changes_page),
        ("/runbooks", runbooks_page),
        ("/runbooks/{name}", runbook_page),
    ):
        router.add_route(path, functools.partial(pages.answer, ask=ask), methods=["GET", "HEAD"])
    return router


async def overview_page(_: Sources, status: MonitorStatus, request: Request) -> PageView:
    """Return the overview, the worst first."""
    query = request.query_params
    asked = text(query, "connection")
    number = page_number(query)
    part = (asked or "").casefold()
    views = sorted((view for view in status.connections if part in view.name.casefold()), key=_trouble)
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


async def connection_page(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    """Return the page of a connection.

    Raises:
        UnknownName: There is none of this name.
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    name, query = request.path_params["name"], request.query_params
    show, state, after = choice(query, "show", Show) or Show.TROUBLE, text(query, "state"), cursor(query)
    now = sources.clock.now()
    since = now - min(_HISTORY, sources.retention())
    async with sources.read() as tx:
        owner = await owner_named(tx, name)
        row = await queries.connection_named(tx, sources.codec, sources.maintenance_of, name)
        if owner is None or row is None:
            raise UnknownName(f"No connection is named “{name}”.")
        which = {"connection": glob.escape(name), "state": state, "limit": NUMBERS, "after": after}
        listed: Page[Problem] | Page[NumberRow]
        if show is Show.ALL:
            listed = await queries.numbers(tx, sources.codec, **which)
        else:
            ignored = show is Show.IGNORED
            listed = await queries.problems(
                tx, sources.codec, sources.rules_of, now, ignored=ignored, **which
            )
        firing = await queries.alert_bodies(
            tx, connection=glob.escape(name), status=AlertStatus.FIRING, widespread=False
        )
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
            "alerts": sorted(firing.rows, key=_urgency),
            "days": timeline(latest.rows),
            "history": None
            if row.numbers is None or moves.since >= now
            else history(row.drifting_states, moves.moves, since=moves.since, now=now),
            "state_bar": state_bar,
            "done": query.get("done"),
        },
        refreshes=True,
    )


async def alerts_page(sources: Sources, status: MonitorStatus, request: Request) -> PageView:
    """Return the page of the alerts, of a single one, or of the parts of a widespread one.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    query = request.query_params
    alert_id, connection = text(query, "alert"), text(query, "connection")
    part_of = text(query, "part_of")
    after, firing_after = cursor(query), cursor(query, "firing_after")
    async with sources.read() as tx:
        firing, recent = [
            await queries.alert_bodies(
                tx,
                status=which,
                alert_id=alert_id,
                connection=connection,
                part_of=part_of,
                parts=bool(alert_id or part_of),
                limit=limit,
                after=begin,
            )
            for which, limit, begin in (
                (AlertStatus.FIRING, FIRING, firing_after),
                (AlertStatus.RESOLVED, RECENT, after),
            )
        ]
        told: dict[str, list[DeliveryRow]] = {
            body.alert_id: (await queries.delivery_rows(tx, alert_id=body.alert_id, limit=_DELIVERIES)).rows
            for body in (*firing.rows, *recent.rows)
        }
        dead = (
            await queries.delivery_rows(tx, status=DEAD, limit=RECENT) if not (alert_id or part_of) else None
        )
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
            "given": {"connection": connection, "part_of": part_of},
            "connection": connection,
            "part_of": part_of,
            "unmatched": connection is not None
            and not (firing.rows or recent.rows or _is_name(connection, status)),
            "paged": bool(after or firing_after),
            "done": query.get("done"),
        },
        refreshes=True,
    )


async def changes_page(sources: Sources, status: MonitorStatus, request: Request) -> PageView:
    """Return the timeline, and what people did.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    query = request.query_params
    after, given = cursor(query), change_filters(query)
    actions_after = cursor(query, "actions_after")
    filters: dict[str, Any] = {name: value for name, value in given.items() if value}
    if "since" in filters:
        filters["since"] = sources.clock.now() - Span(filters["since"]).length
    async with sources.read() as tx:
        page = await queries.change_rows(tx, **filters, limit=CHANGES, after=after)
        nothing = [] if page.rows else await _why_nothing(tx, status, given, filters)
        # What people did is no answer to a question about numbers, nor a part of its later pages.
        plain = not filters and after is None
        did = await queries.action_rows(tx, limit=RECENT, after=actions_after) if plain else None
    return PageView(
        template="changes.html",
        values={
            "given": given,
            "days": timeline(page.rows),
            "nothing": nothing,
            "next": page.next,
            "after": after,
            "kinds": list(ChangeKind),
            "spans": list(Span),
            "actions": did.rows if did else [],
            "actions_next": did.next if did else None,
            "actions_after": actions_after,
        },
        refreshes=after is None and actions_after is None,
    )


async def _why_nothing(
    tx: AsyncConnection, status: MonitorStatus, given: Mapping[str, str | None], filters: Mapping[str, Any]
) -> list[str]:
    """Return a sentence for each filter that matches nothing by itself, or one for all of them together."""
    if not (await queries.change_rows(tx, limit=1)).rows:
        return ["No changes are recorded yet."]
    words = {
        "connection": "No changes are recorded for connections matching “{}”.",
        "state": "No changes are recorded from or to “{}”.",
        "change": "No changes of kind “{}” are recorded.",
        "since": "No changes are recorded within the last {}.",
    }
    if given["connection"] and not _is_name(given["connection"], status):
        words["connection"] = "No connection matches “{}”."
    alone = [
        words[name].format(given[name])
        for name, value in filters.items()
        if not (await queries.change_rows(tx, limit=1, **{name: value})).rows
    ]
    return alone or ["No changes match all of these filters."]


def _is_name(pattern: str, status: MonitorStatus) -> bool:
    """Return whether a glob matches any connection."""
    return any(fnmatchcase(view.name, pattern) for view in status.connections)


def _urgency(alert: AlertBody) -> tuple[int, str]:
    return -alert.severity.rank, alert.started_at


def _trouble(view: ConnectionView) -> tuple[int, bool, str]:
    drifting = view.counts.total_drifting if view.counts else 0
    return -drifting, sync_state(view)[0] in ("ok", "none"), view.name
