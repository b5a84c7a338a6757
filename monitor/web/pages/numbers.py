"""The pages of one number: finding it, and everything known about it.

Their addresses hold a phone number, which is personal: nothing is told where a reader came from.
"""

from http import HTTPStatus

from starlette.requests import Request

from monitor.store import queries
from monitor.store.alerts import bodies_of
from monitor.store.inventory import FEWEST_DIGITS, digits_of
from monitor.store.numbers import number_named
from monitor.store.requests import owner_named
from monitor.store.rows import ChangeRow, Happening
from monitor.web.pages.chart import timeline
from monitor.web.pages.filters import text
from monitor.web.pages.site import PageView
from monitor.web.pages.templates import path
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

_ALERTS = 10
"""Alerts shown of one number."""


async def numbers_page(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    """Find a number, however it is written, and lead to its page, or to those that it could be.

    Raises:
        HTTPException: The request cannot be read.
        StoreUnavailable: The store is unavailable.
    """
    asked = text(request.query_params, "number")
    if asked is None:
        return PageView(template="numbers.html", values={"asked": None, "found": []}, private=True)
    return await _found(sources, asked)


async def number_page(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    """Return the page of a number.

    Raises:
        HTTPException: The request cannot be read.
        StoreUnavailable: The store is unavailable.
    """
    return await _found(sources, text(request.path_params, "key") or "", at=request.path_params["key"])


async def _found(sources: Sources, asked: str, *, at: str | None = None) -> PageView:
    """Return the page of the number that is asked for; `at` is the key in the address, if it has one."""
    now = sources.clock.now()
    async with sources.read() as tx:
        found = await number_named(tx, sources.codec, asked, sources.grounds(), now)
        if isinstance(found, list):
            few = len(digits_of(asked)) < FEWEST_DIGITS
            values = {"asked": asked, "found": found, "few": few, "fewest": FEWEST_DIGITS}
            code = HTTPStatus.OK if found else HTTPStatus.NOT_FOUND
            return PageView(template="numbers.html", values=values, code=code, private=True)
        if found.key != at:
            return PageView(redirect=f"/numbers/{path(found.key)}")
        alerts = await bodies_of(tx, found.alerts[:_ALERTS])
        unknown_since = None
        owner = await owner_named(tx, found.connection)
        row = await queries.connection_named(tx, sources.codec, sources.maintenance_of, found.connection)
        if owner is not None and row is not None:
            unknown_since = sources.unknown_since(owner.identity, row)
    return PageView(
        template="number.html",
        values={
            "number": found,
            "watched": row is not None,
            "unknown_since": unknown_since,
            "alerts": alerts,
            "days": timeline([alone(change) for change in found.timeline]),
        },
        refreshes=True,
        private=True,
    )


def alone(row: ChangeRow) -> Happening:
    """Return the change of one number as something that happened."""
    item = row.action_items[0] if row.action_items else None
    return Happening(
        id=row.id,
        at=row.at,
        sync_id=row.sync_id,
        connection=row.connection,
        change=row.change,
        state=row.state,
        previous_state=row.previous_state,
        many=1,
        members=((row.key, row.phone_number),),
        moved=row.moved,
        action=(item["label"] or item["code"]) if item else None,
    )
