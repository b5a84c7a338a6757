"""The net difference between two instants, in the API and on its page."""

import re
from html import unescape
from typing import Any

import pytest

from tests.fakes.clock import START
from tests.fakes.history import History
from tests.integration.web.site import Site
from tests.unit.drift.build import ready

FROM = START.isoformat()
LATER = "2026-03-01T12:10:00+00:00"


async def asked(site: Site, **parameters: str) -> Any:
    """Return what the API answers."""
    return (await site.client.get("/api/v1/changes", params={"net": "true", **parameters})).json()


async def page(site: Site, **parameters: str) -> str:
    """Return what the page says."""
    answer = await site.client.get("/changes", params={"net": "yes", **parameters})
    assert answer.status_code == 200
    return unescape(answer.text)


async def test_api_answers_with_the_net_difference(site: Site) -> None:
    """As JSON in pages, as CSV whole, with how many numbers are as they were."""
    await History(site.database).tell()
    async with site.serve():
        [row] = (whole := await asked(site, **{"from": FROM, "to": LATER}))["items"]
        limited = await asked(site, **{"from": FROM, "to": "2026-03-01T12:01:00Z", "limit": "1"})
        following = await asked(site, **{"from": FROM, "cursor": limited["next_cursor"]})
        exported = await site.client.get(
            "/api/v1/changes", params={"net": "true", "from": FROM, "to": LATER, "format": "csv"}
        )
        nothing = await asked(site, since="2026-03-01T13:00:00Z")
    assert (row["key"], row["change"], row["previous_state"]) == (ready(0).key, "appeared", "READY")
    assert (whole["next_cursor"], whole["net"]) == (None, {"returned": 2, "notes": []})
    assert [each["items"][0]["key"] for each in (limited, following)] == [ready(1).key, ready(2).key]
    assert following["next_cursor"] is None
    assert len(exported.text.splitlines()) == 2
    assert nothing == {"items": [], "next_cursor": None, "net": {"returned": 0, "notes": []}}


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, "net needs from, the instant to compare with"),
        ({"from": "2026-01-01T00:00:00Z"}, "history is known only from 2026-03-01T12:00:01.000Z on"),
        ({"from": LATER, "to": FROM}, "this ends before it begins"),
    ],
)
async def test_api_says_why_there_is_no_net_difference(site: Site, bounds: dict[str, str], said: str) -> None:
    """Instead of an answer that is wrong."""
    await History(site.database).tell()
    async with site.serve():
        answer = await asked(site, **bounds)
    assert (answer["status"], said in answer["detail"]) == (409, True)


async def test_page_compares_two_instants(site: Site) -> None:
    """By a form alone: what differs, how many numbers are as they were; the instants stay in the form."""
    await History(site.database).tell()
    await site.clock.advance(3600)
    async with site.serve():
        shown = await page(site, **{"from": "2026-03-01T12:00", "to": "2026-03-01T12:10"})
        now = await page(site, **{"from": "2026-03-01T12:00", "state": "NO_BOT"})
        nothing = await page(site, **{"from": "2026-03-01T12:30"})
    assert re.findall(r'<a class="number" href="[^"]*">([^<]+)<', shown) == [f"+{ready(0).key}"]
    assert "/api/v1/changes?format=csv&net=true&from=2026-03-01T12%3A00%3A00Z&to=2026-03-01T12%3A10" in shown
    assert "2 numbers changed in between and are again as they were." in shown
    assert 'name="from" value="2026-03-01T12:00:00"' in shown
    assert '<option value="yes" selected>net difference' in shown
    assert "appeared" in now
    assert "No number that matches differs between the two instants." in nothing


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, "Say from when"),
        ({"from": "2026-01-01T00:00"}, "History is known only from 2026-03-01T12:00:01.000Z on"),
    ],
)
async def test_page_says_why_there_is_no_net_difference(
    site: Site, bounds: dict[str, str], said: str
) -> None:
    """With the form to ask otherwise."""
    await History(site.database).tell()
    async with site.serve():
        shown = await page(site, **bounds)
    assert said in shown
    assert 'name="from"' in shown
