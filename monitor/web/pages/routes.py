"""The pages: overview, one connection, the timeline of changes; each other one in a module of its own."""

import functools
import glob
from collections.abc import Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request

from monitor.drift.alert import Status as AlertStatus
from monitor.drift.snapshot import ChangeKind
from monitor.errors import Refused, UnknownName
from monitor.store import queries
from monitor.store.alert_lists import alert_bodies
from monitor.store.availability import Gap, gaps_since
from monitor.store.changes import drift_moves
from monitor.store.history import happenings, period
from monitor.store.net import NetPage, net_rows
from monitor.store.paging import Page
from monitor.store.requests import owner_named
from monitor.store.rows import NumberRow, Problem
from monitor.web.pages.alerts import alert_page, alerts_page
from monitor.web.pages.chart import history, timeline
from monitor.web.pages.filters import (
    Show,
    Span,
    change_filters,
    choice,
    cursor,
    instant_of,
    page_number,
    text,
)
from monitor.web.pages.numbers import number_page, numbers_page
from monitor.web.pages.order import seen, unseen, worst_alerts, worst_connections
from monitor.web.pages.replay import replay_page
from monitor.web.pages.runbooks import runbook_page, runbooks_page
from monitor.web.pages.silences import silences_page
from monitor.web.pages.site import Pages, PageView
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

CONNECTIONS = 50
NUMBERS = 100
CHANGES = 50
NET = 100
ACTIONS = 20
"""Rows of a page."""

_WORST = 20
"""Firing alerts shown on the overview."""
_LATEST = 8
"""Changes shown on a connection's page."""
_ENDED = 5
"""Ended alerts shown there."""
_ALERTS = 100
"""Firing alerts of a connection that are put in order."""
_NUMBERS_OF_A_CHANGE, _NUMBERS_OF_A_SYNC = 20, 1000
"""Numbers shown of each change in the timeline, and where only what one sync found is asked for."""

_HISTORY = timedelta(days=7)


def page_routes(pages: Pages) -> APIRouter:
    """Return the routes of the pages."""
    router = APIRouter(include_in_schema=False)
    for path, ask in (
        ("/", overview_page),
        ("/connections/{name}", connection_page),
        ("/alerts", alerts_page),
        ("/alerts/{alert_id}", alert_page),
        ("/changes", changes_page),
        ("/numbers", numbers_page),
        ("/numbers/{key}", number_page),
        ("/silences", silences_page),
        ("/replay", replay_page),
        ("/runbooks", runbooks_page),
        ("/runbooks/{name}", runbook_page),
    ):
        router.add_route(path, functools.partial(pages.answer, ask=ask), methods=["GET", "HEAD"])
    return router


async def overview_page(sources: Sources, status: MonitorStatus, request: Request) -> PageView:
    """Return the overview, the worst first."""
    query = request.query_params
    asked = text(query, "connection")
    number = page_number(query)
    part = (asked or "").casefold()
    blind = unseen(status)
    views = worst_connections(
        status, blind, [view for view in status.connections if part in view.name.casefold()]
    )
    succeeded = [view.last_success_at for view in status.connections if view.last_success_at]
    start = (number - 1) * CONNECTIONS
    return PageView(
        template="overview.html",
        values={
            "alerts": worst_alerts(status, status.firing.worst)[:_WORST],
            "connections": views[start : start + CONNECTIONS],
            "found": len(views),
            "asked": asked,
            "page": number,
            "pages": max(-(-len(views) // CONNECTIONS), 1),
            "seen": seen(status, blind),
            "blind": blind,
            "last_success_at": max(succeeded, default=None),
            "notices": await sources.notices() if status.store_ok else (),
            "done": query.get("done"),
        },
        refreshes=True,
    )


async def connection_page(sources: Sources, status: MonitorStatus, request: Request) -> PageView:
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
        firing = await alert_bodies(
            tx, connection=glob.escape(name), status=AlertStatus.FIRING, widespread=False, limit=_ALERTS
        )
        latest = await happenings(tx, identity=owner.identity, limit=_LATEST)
        ended = await alert_bodies(
            tx, connection=glob.escape(name), status=AlertStatus.RESOLVED, widespread=False, limit=_ENDED
        )
        moves = await drift_moves(tx, owner.identity, max(since, row.watched_since))
        blind = await gaps_since(tx, owner.identity, moves.since)
        availability = await sources.availability(tx, owner, row)
    unknown_since = sources.unknown_since(owner.identity, row)
    if unknown_since is not None and unknown_since < now:
        blind.append(Gap(unknown_since, now))
    return PageView(
        template="connection.html",
        values={
            "row": row,
            "maintenance_until": next(
                (view.maintenance_until for view in status.connections if view.name == name), None
            ),
            "unknown_since": unknown_since,
            "availability": availability,
            "ended": ended.rows,
            "listed": listed,
            "show": show,
            "state": state,
            "after": query.get("after"),
            "next": listed.next,
            "alerts": worst_alerts(status, firing.rows),
            "days": timeline(latest.rows),
            "history": None
            if row.numbers is None or moves.since >= now
            else history(row.drifting_states, moves.moves, blind, since=moves.since, now=now),
            "done": query.get("done"),
        },
        refreshes=True,
    )


async def changes_page(sources: Sources, status: MonitorStatus, request: Request) -> PageView:
    """Return the timeline, and what people did; or the net difference between two instants.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        Refused: The end is before the beginning.
        StoreUnavailable: The store is unavailable.
    """
    query = request.query_params
    after, given = cursor(query), change_filters(query)
    actions_after = cursor(query, "actions_after")
    filters = _change_filters(given, sources.clock.now())
    shown = {
        "bounds": {name: filters.get(name) for name in ("since", "until")},
        "given": given,
        "after": after,
        "kinds": list(ChangeKind),
        "spans": list(Span),
    }
    if given["net"]:
        return PageView(template="net.html", values=shown | await _net(sources, filters, after))
    async with sources.read() as tx:
        numbers = _NUMBERS_OF_A_SYNC if given["at"] else _NUMBERS_OF_A_CHANGE
        page = await happenings(tx, **filters, shown=numbers, limit=CHANGES, after=after)
        nothing = [] if page.rows else await _why_nothing(tx, status, given, filters)
        # What people did is no answer to a question about numbers, nor a part of its later pages.
        plain = not filters and after is None
        did = await queries.action_rows(tx, limit=ACTIONS, after=actions_after) if plain else None
    return PageView(
        template="changes.html",
        values=shown
        | {
            "days": timeline(page.rows),
            "nothing": nothing,
            "next": page.next,
            "actions": did.rows if did else [],
            "actions_next": did.next if did else None,
            "actions_after": actions_after,
        },
        refreshes=after is None and actions_after is None,
    )


async def _net(sources: Sources, filters: Mapping[str, Any], after: str | None) -> dict[str, Any]:
    """Return the net difference, or why there is none, as its template takes it."""
    asked = {"until": sources.clock.now()} | {name: filters[name] for name in filters if name != "at"}
    page, said = (
        NetPage(rows=[]),
        "Say from when: the numbers of then are compared with those of the end, or of now.",
    )
    if "since" in asked:
        try:
            async with sources.read() as tx:
                page = await net_rows(tx, sources.codec, **asked, limit=NET, after=after)
            said = (
                "" if page.rows or page.next else "No number that matches differs between the two instants."
            )
        except Refused as exc:
            said = f"{str(exc)[:1].upper()}{str(exc)[1:]}."
    return {
        "rows": page.rows,
        "next": page.next,
        "returned": page.returned,
        "notes": page.notes,
        "said": said,
    }


def _change_filters(given: Mapping[str, str | None], now: datetime) -> dict[str, Any]:
    """Return the filters of the query that were given."""
    at = {name: instant_of(name, text) for name in ("from", "to", "at") if (text := given[name])}
    since = now - Span(given["since"]).length if given["since"] else None
    same = {name: given[name] for name in ("connection", "state", "change") if given[name]}
    bounds = period(since=since, start=at.get("from"), until=at.get("to"))
    return {**same, **bounds, **({"at": at["at"]} if "at" in at else {})}


async def _why_nothing(
    tx: AsyncConnection, status: MonitorStatus, given: Mapping[str, str | None], filters: Mapping[str, Any]
) -> list[str]:
    """Return a sentence for each filter that matches nothing by itself, or one for all of them together."""
    if not (await happenings(tx, limit=1)).rows:
        return ["No changes are recorded yet."]
    words = {
        "connection": "No changes are recorded for connections matching “{}”.",
        "state": "No changes are recorded from or to “{}”.",
        "change": "No changes of kind “{}” are recorded.",
        "since": "No changes are recorded within the last {}.",
        "until": "No changes are recorded until {}.",
        "at": "No changes are recorded at {}.",
    }
    shown = {**given, "since": given["since"] or given["from"], "until": given["to"]}
    if given["from"]:
        words["since"] = "No changes are recorded since {}."
    if given["connection"] and not _is_name(given["connection"], status):
        words["connection"] = "No connection matches “{}”."
    alone = [
        words[name].format(shown[name])
        for name, value in filters.items()
        if not (await happenings(tx, limit=1, **{name: value})).rows
    ]
    return alone or ["No changes match all of these filters."]


def _is_name(pattern: str, status: MonitorStatus) -> bool:
    """Return whether a glob matches any connection."""
    return any(fnmatchcase(view.name, pattern) for view in status.connections)
