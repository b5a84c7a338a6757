"""Lists of the API as files of CSV: all rows, not a page of them."""

import csv
import html
import io
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import update

from monitor.drift.snapshot import Counts
from monitor.errors import StoreUnavailable
from monitor.store.tables import connections
from monitor.web.api.answers import Listing
from monitor.web.api.download import ROWS, download
from monitor.web.api.parameters import ExportParameters, NumbersParameters
from tests.integration.web.site import CODEC, Site
from tests.integration.web.test_api import fill

LISTS = ("numbers", "changes", "alerts")
EACH = ROWS + 30


@pytest.fixture
async def site_filled(site: Site) -> AsyncIterator[Site]:
    """Return a web side whose store has more rows than are read at once, with its client at the API."""
    await fill(site, names=2, each=EACH)
    async with site.database.write() as tx:
        await tx.execute(update(connections).values(counts=CODEC.pack_counts(Counts(states={"READY": EACH}))))
    async with site.serve():
        site.client.base_url = site.client.base_url.join("/api/v1/")
        yield site


def read(answer: httpx.Response) -> list[dict[str, str]]:
    """Return the rows of a file by column."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))


async def items(client: httpx.AsyncClient, path: str, **filters: Any) -> list[dict[str, Any]]:
    """Return the items of all pages."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await client.get(path, params={**filters, "limit": 150, **cursor})).json()
        found += answer["items"]
        if answer["next_cursor"] is None:
            return found
        cursor = {"cursor": answer["next_cursor"]}


@pytest.mark.parametrize("path", LISTS)
async def test_file_has_all_rows_of_the_list(site_filled: Site, path: str) -> None:
    """The same ones, in the same order, as the pages have."""
    rows = read(await site_filled.client.get(path, params={"format": "csv"}))
    pages = await items(site_filled.client, path)
    assert len(rows) == len(pages) >= EACH
    for column in rows[0].keys() & {"key", "phone_number", "state", "change", "alert_id", "summary"}:
        assert [row[column] for row in rows] == [each[column] for each in pages]


@pytest.mark.parametrize(
    ("path", "filters"),
    [
        ("numbers", {"drifting": "true"}),
        ("numbers", {"connection": "acme-1", "state": "NO_BOT"}),
        ("changes", {"connection": "acme-0", "state": "no_bot"}),
        ("changes", {"change": "removed"}),
        ("alerts", {"severity": "critical"}),
    ],
)
async def test_filters_are_those_of_the_list(site_filled: Site, path: str, filters: dict[str, str]) -> None:
    """What a page shows filtered is what its file has."""
    rows = read(await site_filled.client.get(path, params={**filters, "format": "csv"}))
    assert len(rows) == len(await items(site_filled.client, path, **filters))


async def test_file_is_to_be_saved_and_kept_by_no_one_else(site_filled: Site) -> None:
    """Phone numbers are personal data: a name to save it under, and no copy in a cache."""
    answer = await site_filled.client.get("numbers", params={"format": "csv"})
    today = site_filled.clock.now().date()
    assert answer.headers["content-disposition"] == f'attachment; filename="voicelink-numbers-{today}.csv"'
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    assert answer.content.startswith(b'"connection","account","key","phone_number",')
    assert read(answer)[0]["phone_number"] == "+918000000000"


async def test_file_can_begin_later_and_end_sooner(site_filled: Site) -> None:
    """A limit and a cursor mean what they mean for pages."""
    page = (await site_filled.client.get("numbers", params={"limit": 3})).json()
    asked = {"format": "csv", "cursor": page["next_cursor"], "limit": ROWS + 5}
    rows = read(await site_filled.client.get("numbers", params=asked))
    assert [row["key"] for row in rows] == [f"9180{place:08d}" for place in range(3, ROWS + 8)]


@pytest.mark.parametrize(
    ("path", "asked", "code"),
    [
        ("numbers", {"format": "xlsx"}, 400),
        ("numbers", {"format": "csv", "stat": "x"}, 400),
        ("changes", {"format": "csv", "cursor": "x"}, 400),
        ("connections", {"format": "csv"}, 400),
    ],
)
async def test_wrong_request_is_a_problem_and_no_file(
    site_filled: Site, path: str, asked: dict[str, str], code: int
) -> None:
    """What is wrong is said before a file begins."""
    answer = await site_filled.client.get(path, params=asked)
    assert answer.status_code == code
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "page",
    [
        "/connections/acme-0",
        "/changes?since=24h&state=NO_BOT&change=added&connection=acme-*",
        "/changes?from=2026-03-01T11:00&to=2026-03-01T13:00",
        "/alerts?kind=drift&severity=critical&status=firing&connection=acme-*",
        "/alerts?part_of=a1",
    ],
)
async def test_pages_link_to_files_with_their_filters(site_filled: Site, page: str) -> None:
    """What a page has chosen is what its link gets."""
    shown = await site_filled.client.get(f"http://{site_filled.client.base_url.netloc.decode()}{page}")
    assert shown.status_code == 200
    [to] = re.findall(r'href="(/api/v1/[^"]*format=csv[^"]*)"', shown.text)
    read(await site_filled.client.get(str(shown.url.join(html.unescape(to)))))
    asked = set(parse_qs(shown.url.query.decode()))
    assert asked <= set(parse_qs(urlsplit(html.unescape(to)).query))


async def test_head_has_the_headers_of_the_file(site_filled: Site) -> None:
    """And no body."""
    answer = await site_filled.client.head("alerts", params={"format": "csv"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_file_that_cannot_be_finished_is_cut_off(site_filled: Site) -> None:
    """The store goes away while it is sent: the download fails, and is not taken for all there is."""
    pages = iter([Listing(items=["a"], next_cursor="x")])

    async def ask(_: ExportParameters) -> Listing[Any]:
        for page in pages:
            return page
        raise StoreUnavailable("it is away")

    made = await download(
        ask, NumbersParameters(), name="x", columns=("__doc__",), today=site_filled.clock.now().date()
    )
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await made.stream_response(send)
    assert [message.get("more_body") for message in sent] == [None, True]
