"""The page of the replay: what would have paged, by the rules of then or by others."""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from monitor.errors import Busy, ConfigError, NoHistory, Refused
from monitor.replay.report import Replayed, Verdict
from monitor.units import parse_since
from monitor.web.actions import actor_of
from monitor.web.pages.filters import text
from monitor.web.pages.site import PageView
from monitor.web.replays import RULES, SINCE, Wanted, while_connected
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

ALERTS = 500
"""Rows of the page; those that differ come first where there are more."""


async def replay_page(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    """Return the form of a replay, and what one comes to if it is asked for.

    Raises:
        HTTPException: The request cannot be read.
        StoreUnavailable: The store is unavailable.
    """
    given = {name: text(request.query_params, name) for name in ("since", "connection", *RULES)}
    if given["since"] is None:
        return _view(sources, given)
    return await replayed_page(sources, request, given)


async def replayed_page(
    sources: Sources, request: Request, given: Mapping[str, str | None], config: str | None = None
) -> PageView:
    """Return what a replay comes to, by another config if one is given.

    Raises:
        StoreUnavailable: The store is unavailable.
    """
    try:
        wanted = Wanted(
            since=parse_since(given["since"] or SINCE, sources.clock.now()),
            connection=given["connection"],
            config=config.encode() if config is not None else None,
            rules={key: value for key in RULES if (value := given.get(key))},
        )
        replayed = await while_connected(request, sources.replays.replay(wanted, actor_of(request)))
    except ValueError as exc:
        return _view(sources, given, HTTPStatus.BAD_REQUEST, problems=[f"since: {exc}"])
    except ConfigError as exc:
        return _view(sources, given, HTTPStatus.BAD_REQUEST, problems=exc.problems)
    except (NoHistory, Refused) as exc:
        return _view(sources, given, HTTPStatus.CONFLICT, problems=[str(exc)])
    except Busy as exc:
        return _view(sources, given, HTTPStatus.SERVICE_UNAVAILABLE, problems=[str(exc)])
    return _view(sources, given, replayed=replayed, posted=config is not None)


def _view(
    sources: Sources,
    given: Mapping[str, str | None],
    code: HTTPStatus = HTTPStatus.OK,
    *,
    problems: list[str] | None = None,
    replayed: Replayed | None = None,
    posted: bool = False,
) -> PageView:
    values: dict[str, Any] = {
        "given": given,
        "rules": sources.replays.values(),
        "ruled": any(given.get(key) for key in RULES),
        "since": SINCE,
        "problems": problems or [],
        "replayed": replayed,
        "posted": posted,
    }
    if replayed is not None:
        counts = Counter(alert.verdict for alert in replayed.alerts)
        shown = replayed.alerts
        if len(shown) > ALERTS:
            shown = sorted(shown, key=lambda alert: alert.verdict is Verdict.SAME)[:ALERTS]
        values |= {"counts": [(each, counts[each]) for each in Verdict if counts[each]], "alerts": shown}
    return PageView(template="replay.html", values=values, code=code, typed=True)
