"""The pages for people: rendered on the server, without scripts and without anything from elsewhere."""

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from monitor.drift.alert import AlertBody
from monitor.metrics import ConnectionView
from monitor.web.status import Status, StatusSource


def page_routes(source: StatusSource) -> APIRouter:
    """Return the routes of the pages."""
    router = APIRouter(include_in_schema=False)
    templates = build_templates()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def overview() -> Response:
        status = await source.status()
        # A thousand connections take tens of milliseconds to render: not on the loop.
        return HTMLResponse(await asyncio.to_thread(render_overview, templates, status))

    return router


def build_templates() -> Environment:
    """Return the environment of the templates, compiled; everything they print is escaped."""
    templates = Environment(
        loader=PackageLoader("monitor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters["instant"] = instant
    templates.globals["sync_state"] = sync_state
    for name in templates.list_templates():
        templates.get_template(name)  # compiled now: at the first request it would hold up the loop
    return templates


def render_overview(templates: Environment, status: Status) -> str:
    """Return the overview page; what is bad comes first."""
    return templates.get_template("overview.html").render(
        status=status,
        alerts=sorted(status.alerts, key=_urgency),
        connections=sorted(status.connections, key=_trouble),
        numbers=sum(view.counts.total for view in status.connections if view.counts),
        drifting=sum(view.counts.total_drifting for view in status.connections if view.counts),
    )


def instant(at: datetime | str) -> str:
    """Return an instant (as a datetime, or in RFC 3339) for people: `2026-01-31 09:15:00 UTC`."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def sync_state(view: ConnectionView) -> tuple[str, str]:
    """Return how the syncs of a connection go: a word for the style, and one for people."""
    if view.up is None:
        return "none", "not synced yet"
    if view.consecutive_failures:
        times = "once" if view.consecutive_failures == 1 else f"{view.consecutive_failures} times in a row"
        return "bad", f"failed {times}"
    if view.held:
        return "warn", "held: implausible answer"
    return ("ok", "ok") if view.up else ("bad", "failed")


def _urgency(alert: AlertBody) -> tuple[int, str]:
    return -alert.severity.rank, alert.started_at


def _trouble(view: ConnectionView) -> tuple[int, bool, str]:
    drifting = view.counts.total_drifting if view.counts else 0
    return -drifting, sync_state(view)[0] in ("ok", "none"), view.name
