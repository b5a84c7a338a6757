"""The page of the silences and the ignore rules: what keeps numbers quiet, until when, and why."""

from datetime import datetime

from starlette.requests import Request

from monitor.drift.silences import in_words
from monitor.store.quiet import quiet_notices, silence_rows
from monitor.web.pages.filters import cursor, text
from monitor.web.pages.site import PageView
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

SILENCES = 50
"""Silences of a page."""
FIELDS = ("connection", "number", "state", "issue")
"""What a silence that is not about an alert may go by."""


async def silences_page(sources: Sources, _: MonitorStatus, request: Request) -> PageView:
    """Return the silences, the ignore rules, and the form of a new silence.

    Raises:
        HTTPException: The request cannot be read.
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    query, now = request.query_params, sources.clock.now()
    given, after = {name: text(query, name) for name in FIELDS}, cursor(query)
    ended = text(query, "show") == "ended"
    ignores = sources.ignores()
    async with sources.read() as tx:
        page = await silence_rows(tx, sources.codec, now, ended=ended, limit=SILENCES, after=after)
        notices = await quiet_notices(tx, sources.codec, ignores, now)
    said: dict[tuple[str, str, datetime | None], list[str]] = {}
    for notice in notices:
        if notice.id is None:
            said.setdefault((notice.matchers, notice.reason, notice.until), []).append(notice.note)
    return PageView(
        template="silences.html",
        values={
            "silences": page.rows,
            "next": page.next,
            "after": after,
            "ended": ended,
            "given": given,
            "rules": [
                (in_words(rule), rule, said.get((in_words(rule), rule.reason, rule.until), []))
                for rule in ignores
            ],
            "done": query.get("done"),
        },
    )
