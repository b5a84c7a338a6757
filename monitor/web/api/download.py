"""Lists of the API as CSV: a file of all rows, sent page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import date
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Send

from monitor.errors import StoreUnavailable
from monitor.store.export import csv_of, values_of
from monitor.web.api.answers import Listing
from monitor.web.api.parameters import ExportParameters

ROWS = 200
"""Rows of a page: other readers of the store have their turn between two."""

Ask = Callable[[ExportParameters], Awaitable[Listing[Any]]]
"""The endpoint of a list."""


class Download(StreamingResponse):
    """A file that is made while it is sent; one that cannot be finished is cut off, for clients to notice."""

    async def stream_response(self, send: Send) -> None:
        """Send the file."""
        try:
            await super().stream_response(send)
        except (StoreUnavailable, HTTPException):
            return


async def download(
    ask: Ask, asked: ExportParameters, *, name: str, columns: Sequence[str], today: date
) -> Download:
    """Return the file of all rows of a list, or of as many as `limit` says.

    Args:
        ask: Answers with a page.
        asked: The filters.
        name: What the rows are called.
        columns: Their attributes, also the heading.
        today: For the file's name.

    Raises:
        BadCursor: The cursor is not valid.
        StoreUnavailable: The store is unavailable.
    """
    most = asked.limit if "limit" in asked.model_fields_set else None

    async def page(after: str | None, done: int) -> Listing[Any]:
        limit = ROWS if most is None else min(ROWS, most - done)
        return await ask(asked.model_copy(update={"after": after, "limit": limit}))

    # Read before the answer begins: what is wrong can still be said.
    first = await page(asked.after, 0)

    async def lines() -> AsyncIterator[str]:
        found, done = first, len(first.items)
        yield csv_of([columns, *(values_of(row, columns) for row in first.items)])
        while found.next_cursor is not None and done != most:
            found = await page(found.next_cursor, done)
            done += len(found.items)
            yield csv_of(values_of(row, columns) for row in found.items)

    headers = {"content-disposition": f'attachment; filename="voicelink-{name}-{today}.csv"'}
    return Download(lines(), headers=headers, media_type="text/csv; charset=utf-8; header=present")
