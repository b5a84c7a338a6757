"""The pages of the alerts: the list, and one alert with everything about it."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from starlette.requests import Request

from monitor.drift.alert import Kind, Severity
from monitor.drift.alert import Status as AlertStatus
from monitor.errors import UnknownName
from monitor.store import queries
from monitor.store.alert_lists import alert_bodies, ranked
from monitor.store.alerts import bodies_of
from monitor.store.explanations import explain
from monitor.store.reach import reach
from monitor.store.tables import DEAD, PENDING
from monitor.web.pages.filters import choice, cursor, page_number, text
from monitor.web.pages.order import worst_alerts
from monitor.web.pages.site import PageView
from monitor.web.pages.templates import path
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

FIRING = 50
RECENT = 20
"""Alerts of a page."""
DELIVERIES = 100
"""Messages shown of one alert."""


async def alerts_page(sources: Sources, status: MonitorStatus, request: Request) -> PageView:
    """Return the list of the alerts, or of the parts of a widespread one.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    query = request.query_params
    if alone := text(query, "alert"):  # the address of an alert before it had a page of its own
        return PageView(redirect=f"/alerts/{path(alone)}")
    kind, severity = choice(query, "kind", Kind), choice(query, "severity", Severity)
    which, connection = choice(query, "status", AlertStatus), text(query, "connection")
    part_of, after, number = text(query, "part_of"), cursor(query), page_number(query)
    given: dict[str, str | None] = {
        "status": which,
        "kind": kind,
        "severity": severity,
        "connection": connection,
        "part_of": part_of,
    }
    filters: dict[str, Any] = {
        "kind": kind,
        "severity": severity,
        "connection": connection,
        "part_of": part_of,
    }
    async with sources.read() as tx:
        start = (number - 1) * FIRING
        rank = await ranked(tx, start=start, many=FIRING, **filters)
        recent = await alert_bodies(
            tx, status=AlertStatus.RESOLVED, limit=RECENT, after=after, parts=bool(part_of), **filters
        )
        shown = worst_alerts(status, rank.bodies)[start - rank.above :][:FIRING]
        told = await queries.delivery_counts(tx, [alert.alert_id for alert in (*shown, *recent.rows)])
        dead = await queries.delivery_rows(tx, status=DEAD, limit=RECENT)
    return PageView(
        template="alerts.html",
        values={
            "firing": shown,
            "found": rank.total,
            "page": number,
            "pages": max(-(-rank.total // FIRING), 1),
            "recent": recent.rows,
            "recent_next": recent.next,
            "unsent": {alert_id: unsent(counts) for alert_id, counts in told.items()},
            "dead": [] if any(given.values()) else dead.rows,
            "dead_total": sum(receiver.dead for receiver in status.receivers),
            "given": given,
            "filtered": any(value for name, value in given.items() if name != "part_of"),
            "part_of": part_of,
            "unmatched": connection is not None
            and not (rank.total or recent.rows)
            and not any(fnmatchcase(view.name, connection) for view in status.connections),
            "kinds": list(Kind),
            "severities": sorted(Severity, key=lambda each: -each.rank),
            "paged": after is not None,
            "done": query.get("done"),
        },
        refreshes=True,
    )


def unsent(counts: Mapping[str, int]) -> int:
    """Return how many messages have not arrived and may have to."""
    return sum(counts.get(each, 0) for each in (DEAD, PENDING))


async def alert_page(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    """Return the page of an alert.

    Raises:
        UnknownName: There is none with this id.
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    alert_id, query = text(request.path_params, "alert_id") or "", request.query_params
    after = cursor(query)
    async with sources.read() as tx:
        found = await bodies_of(tx, [alert_id])
        if not found:
            raise UnknownName(
                f"No alert has the id “{alert_id}”; it may be older than the retention of the store."
            )
        explained = await explain(tx, sources.codec, alert_id, sources.grounds(), sources.clock.now())
        reached = await reach(tx, found[0], sources.grounds().routes)
        told = (await queries.delivery_counts(tx, [alert_id]))[alert_id]
        sent = await queries.delivery_rows(tx, alert_id=alert_id, limit=DELIVERIES, after=after)
    return PageView(
        template="alert.html",
        values={
            "alert": found[0],
            "explanation": explained.sentences if explained is not None else (),
            "reached": reached,
            "sent": sent.rows,
            "sent_next": sent.next,
            "told": sum(told.values()),
            "unsent": unsent(told),
            "after": after,
            "done": query.get("done"),
        },
        refreshes=after is None,
        typed=True,
    )
