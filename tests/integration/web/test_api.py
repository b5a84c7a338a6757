"""The JSON API: pages, filters, tags, and problems that say what to do."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from monitor.drift.alert import Kind, Notice, Severity, Status, encode_body
from monitor.drift.policy import Records
from monitor.drift.snapshot import Change, ChangeKind, Number, Snapshot
from monitor.store.actions import Action, Actor, add_action
from monitor.store.changes import add_changes
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.failures import FailingRow
from monitor.store.inventory import take_stock
from monitor.store.tables import alerts, deliveries, snapshots
from tests.fakes.alerts import BODY
from tests.fakes.clock import START
from tests.integration.web.site import CODEC, Site

PROBLEM = "application/problem+json"
LISTS = ("connections", "numbers", "changes", "alerts", "deliveries", "actions")


def number(place: int) -> Number:
    """Return a number; each fifth one drifts."""
    drifting = place % 5 == 0
    return Number(
        key=f"9180{place:08d}",
        phone_number=f"+9180{place:08d}",
        state="NO_BOT" if drifting else "READY",
        drifting=drifting,
        issues=("NO_BOT",) if drifting else (),
        did_id=place,
    )


async def fill(site: Site, *, names: int = 3, each: int = 12) -> None:
    """Give the store connections with numbers, changes, alerts and deliveries, `each` of each."""
    await site.watch(*(f"acme-{place}" for place in range(names)))
    kept = {number(place).key: number(place) for place in range(each)}
    blob = CODEC.pack_records(Records(snapshot=Snapshot(numbers=kept)))
    async with site.database.write() as tx:
        for place in range(names):
            await tx.execute(insert(snapshots).values(identity=f"id-acme-{place}", records=blob))
            await take_stock(tx, f"id-acme-{place}", list(kept.values()), (), START)
        found = [Change(ChangeKind.ADDED, one.key, None, one) for one in kept.values()]
        await add_changes(
            tx, ConnectionName(identity="id-acme-0", name="acme-0", account="acme"), 1, found, START
        )
        await tx.execute(insert(alerts), [_alert(place) for place in range(each)])
        await tx.execute(insert(deliveries), [_delivery(place) for place in range(each)])
        for place in range(each):
            who = Actor(user=f"user-{place % 3}" if place % 3 else None, address="192.0.2.7")
            await add_action(tx, who.did(Action.SYNC, f"acme-{place}"), START, logged=True)


def _alert(place: int) -> dict[str, Any]:
    return {
        "id": f"a{place}",
        "scope": "id-acme-0",
        "kind": Kind.DRIFT,
        "status": Status.FIRING,
        "severity": Severity.CRITICAL if place % 2 else Severity.WARNING,
        "version": 1,
        "started_at": START,
        "updated_at": START,
        "body": encode_body(BODY),
    }


def _delivery(place: int) -> dict[str, Any]:
    return {
        "id": f"d{place}",
        "receiver": "hook",
        "alert_id": "a1",
        "change": Notice.OPENED,
        "version": 1,
        "body": encode_body(BODY),
        "status": "delivered",
        "created_at": START,
        "due_at": START,
    }


@pytest.fixture
async def api(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the API of a filled store."""
    await fill(site)
    async with site.serve():
        site.client.base_url = site.client.base_url.join("/api/v1/")
        yield site.client


async def pages(api: httpx.AsyncClient, path: str, **filters: Any) -> list[Any]:
    """Return the items of all pages, five at a time."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await api.get(path, params={**filters, "limit": 5, **cursor})).json()
        assert len(answer["items"]) <= 5
        items += answer["items"]
        if answer["next_cursor"] is None:
            return items
        assert len(answer["items"]) == 5
        cursor = {"cursor": answer["next_cursor"]}


@pytest.mark.parametrize(("path", "count"), list(zip(LISTS, (3, 36, 12, 12, 12, 12), strict=True)))
async def test_pages_hold_each_item_once(api: httpx.AsyncClient, path: str, count: int) -> None:
    """All pages together are the one big page, in its order."""
    whole = (await api.get(path, params={"limit": 200})).json()
    assert whole["next_cursor"] is None
    assert len(whole["items"]) == count
    assert await pages(api, path) == whole["items"]


@pytest.mark.parametrize(
    ("path", "filters", "count"),
    [
        ("connections", {"connection": "*-1"}, 1),
        ("connections", {"account": "else"}, 0),
        ("connections", {"status": "waiting"}, 3),
        ("connections", {"status": "failing"}, 0),
        ("numbers", {"connection": "acme-2"}, 12),
        ("numbers", {"number": "+9180*5"}, 3),
        ("numbers", {"number": "9180*5", "connection": "acme-2"}, 1),
        ("numbers", {"drifting": "true"}, 9),
        ("numbers", {"drifting": "false", "connection": "acme-[01]"}, 18),
        ("numbers", {"state": "no_bot", "connection": "acme-0"}, 3),
        ("changes", {"state": "NO_BOT"}, 3),
        ("actions", {"user": "user-1"}, 4),
        ("actions", {"action": "sync"}, 12),
        ("actions", {"action": "reload"}, 0),
        ("actions", {"since": "2027-01-01T00:00:00Z"}, 0),
        ("changes", {"change": "removed"}, 0),
        ("changes", {"since": "2026-03-01T17:30:00+05:30"}, 12),
        ("changes", {"since": "2026-03-01T12:00:00.001Z"}, 0),
        ("changes", {"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T12:00:00Z"}, 12),
        ("changes", {"to": "2026-03-01T11:59:59Z"}, 0),
        ("changes", {"from": "2026-03-01T11:59:59Z", "since": "2026-03-01T12:00:00.001Z"}, 0),
        ("alerts", {"severity": "critical"}, 6),
        ("alerts", {"status": "firing", "kind": "drift", "connection": "acme-sales"}, 12),
        ("alerts", {"kind": "sync_stale"}, 0),
        ("deliveries", {"receiver": "hook", "status": "delivered", "alert_id": "a1"}, 12),
        ("deliveries", {"status": "dead"}, 0),
    ],
    ids=lambda value: "&".join(value.values()) if isinstance(value, dict) else str(value),
)
async def test_filters_narrow(api: httpx.AsyncClient, path: str, filters: dict[str, str], count: int) -> None:
    """Each filter does what it says, on every page."""
    assert len(await pages(api, path, **filters)) == count


@pytest.mark.parametrize(
    ("path", "query", "parameter", "words"),
    [
        ("numbers", "stat=NO_BOT", "stat", "did you mean 'state'?"),
        ("numbers", "since=2026-01-01T00:00:00Z", "since", "known here: connection, limit, cursor, state"),
        ("status", "verbose=1", "verbose", "there are none here"),
        ("openapi.json", "x=1", "x", "there are none here"),
        ("connections/acme-0", "state=x", "state", "there are none here"),
        ("numbers", "state=a&state=b", "state", "more than once"),
        ("numbers", "limit=0", "limit", "greater than or equal to 1"),
        ("alerts", "limit=201", "limit", "less than or equal to 200"),
        ("numbers", "limit=1e2", "limit", "a valid integer"),
        ("numbers", f"limit={'9' * 5000}", "limit", "exceeded maximum size"),
        ("numbers", "drifting=1", "drifting", "true or false"),
        ("numbers", "state=", "state", "at least 1 character"),
        ("numbers", "state=%00", "state", "must not contain control characters"),
        ("alerts", "kind=drifts", "kind", "'account_rejected', "),
        ("deliveries", "status=DEAD", "status", "'pending', 'delivered', 'dead' or 'closed'"),
        ("changes", "since=yesterday", "since", "like 2026-01-31T09:15:00Z"),
        ("changes", "since=2026-01-31T09:15:00", "since", "with its offset"),
        ("changes", "since=0001-01-01T00:00:00%2B14:00", "since", "an instant"),
        ("changes", "since=1700000000", "since", "an instant"),
        ("changes", "from=noon", "from", "like 2026-01-31T09:15:00Z"),
        ("connections/%00", "", "name", "must not contain control characters"),
        (f"connections/{'x' * 201}", "", "name", "at most 200 characters"),
    ],
)
async def test_wrong_parameter_is_named(
    api: httpx.AsyncClient, path: str, query: str, parameter: str, words: str
) -> None:
    """A request that is not understood is refused, with what would be."""
    answer = await api.get(f"{path}?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    problem = answer.json()
    assert (problem["title"], problem["status"], problem["parameter"]) == ("Bad Request", 400, parameter)
    assert words in problem["detail"]


async def test_time_that_ends_before_it_begins_is_refused(api: httpx.AsyncClient) -> None:
    """No change could be in it, and the question is meant otherwise."""
    answer = await api.get("changes", params={"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T11:00:00Z"})
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert "ends before it begins" in answer.json()["detail"]


CURSORS = {
    "no-base64": "%%%",
    "no-text": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "nothing-of-ours": "AAAA",
    "another-list": base64.urlsafe_b64encode(b'{"a":1}').decode().rstrip("="),
    "too-many-parts": base64.urlsafe_b64encode(b'["a","b","c","d"]').decode().rstrip("="),
    "nul": base64.urlsafe_b64encode(b'["a\\u0000","b\\u0000"]').decode().rstrip("="),
    "no-instant": base64.urlsafe_b64encode(b'["0001-01-01T00:00:00+14:00","b"]').decode().rstrip("="),
    "huge": base64.urlsafe_b64encode(b"9" * 40).decode().rstrip("="),
    "other-digits": base64.urlsafe_b64encode("٣".encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("cursor", CURSORS.values(), ids=CURSORS)
@pytest.mark.parametrize("path", LISTS)
async def test_made_up_cursor_is_refused_or_ends_somewhere(
    api: httpx.AsyncClient, path: str, cursor: str
) -> None:
    """Whatever it holds, it is a problem of the request, never of ours."""
    answer = await api.get(path, params={"cursor": cursor})
    if answer.status_code != 200:
        assert (answer.status_code, answer.json()["parameter"]) == (400, "cursor")


async def test_what_is_not_there_is_a_problem(api: httpx.AsyncClient) -> None:
    """404 and 405 below the API are problem documents too."""
    unknown, nothing = await api.get("connections/else"), await api.get("nothing")
    posted = await api.post("numbers")
    assert [each.status_code for each in (unknown, nothing, posted)] == [404, 404, 405]
    assert {each.headers["content-type"] for each in (unknown, nothing, posted)} == {PROBLEM}
    assert unknown.json()["detail"] == "no connection has this name"
    assert posted.headers["allow"] in ("GET, HEAD", "HEAD, GET")


CONTRACT = (
    *("key", "phone_number", "connection", "also_in", "account", "state", "issues", "drifting", "since"),
    *("depends_on", "silenced_by", "alerts", "timeline", "explanation"),
)


@pytest.mark.parametrize("written", ["918000000005", "+918000000005", "%2B91%2080%200000%200005", "00000005"])
async def test_number_is_shown_however_it_is_written(api: httpx.AsyncClient, written: str) -> None:
    """With everything known about it, and since when and why."""
    shown = (await api.get(f"numbers/{written}")).json()
    assert shown.keys() >= set(CONTRACT)
    assert (shown["phone_number"], shown["state"], shown["issues"]) == ("+918000000005", "NO_BOT", ["NO_BOT"])
    assert (shown["connection"], shown["also_in"]) == ("acme-0", ["acme-1", "acme-2"])
    assert shown["depends_on"].keys() >= {"client", "bot", "routing", "agent"}
    assert shown["depends_on"]["bot"].keys() == {"id", "name", "active"}
    [change] = shown["timeline"]
    assert (change["change"], change["at"], shown["since"]) == ("added", *["2026-03-01T12:00:00.000Z"] * 2)
    assert shown["explanation"][0].startswith("+918000000005 is drifting on acme-0, NO_BOT since 2026-03-01")


async def test_number_that_is_none_or_several_is_not_found(site: Site, api: httpx.AsyncClient) -> None:
    """And it says which of the two."""
    async with site.database.write() as tx:
        await take_stock(tx, "id-acme-0", [replace_key(number(5), "447700000005")], (), START)
    details = {}
    for asked in ("99999999", "abc", "0005"):
        answer = await api.get(f"numbers/{asked}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
        details[asked] = answer.json()["detail"]
    assert details["99999999"] == details["abc"] == "no number is, or ends with, these digits"
    assert details["0005"] == "several numbers end with these digits: give more of them"


def replace_key(one: Number, key: str) -> Number:
    """Return the same number under another key."""
    return Number(key=key, phone_number=f"+{key}", state=one.state, drifting=one.drifting)


async def test_connection_is_shown_with_its_alerts(site: Site, api: httpx.AsyncClient) -> None:
    """Names are taken as they are, instants are like everywhere else."""
    await site.watch("acme-sales", "Acme & Söhne: 1")
    shown = (await api.get("connections/acme-sales")).json()
    assert (shown["connection"]["name"], shown["connection"]["status"]) == ("acme-sales", "waiting")
    assert shown["connection"]["watched_since"] == "2026-03-01T12:00:00.000Z"
    assert {alert["summary"] for alert in shown["alerts"]} == {BODY.summary}
    assert shown["failing"] == []
    odd = await api.get("connections/Acme%20%26%20S%C3%B6hne%3A%201")
    assert odd.json()["connection"]["name"] == "Acme & Söhne: 1"


async def test_connection_that_answers_again_says_when_its_alert_ends(
    site: Site, api: httpx.AsyncClient
) -> None:
    """Only what is said of this connection, not of a receiver of the same name."""
    await site.watch("acme-sales")
    answering = FailingRow(
        alert_id="a1",
        kind=Kind.API_UNAVAILABLE,
        name="acme-sales",
        since=START,
        cause="timeout",
        flaps=2,
        good_since=START + timedelta(minutes=1),
        ends_at=START + timedelta(minutes=6),
    )
    others = [replace(answering, name="other"), replace(answering, kind=Kind.RECEIVER_FAILING)]
    site.daemon.shown = replace(site.daemon.shown, failing=[*others, answering])
    [shown] = (await api.get("connections/acme-sales")).json()["failing"]
    assert (shown["kind"], shown["flaps"]) == ("api_unavailable", 2)
    assert (shown["good_since"], shown["ends_at"]) == ("2026-03-01T12:01:00.000Z", "2026-03-01T12:06:00.000Z")


@pytest.mark.parametrize("path", [*LISTS, "status", "connections/acme-0", "openapi.json"])
async def test_answer_that_is_known_is_not_sent_again(api: httpx.AsyncClient, path: str) -> None:
    """The tag of an answer saves its body; another tag does not."""
    first = await api.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f'"x", W/{tag}', "*"):
        again = await api.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await api.get(path, headers={"if-none-match": '"x"'})).status_code == 200


async def test_tag_changes_with_the_answer(site: Site, api: httpx.AsyncClient) -> None:
    """What changed is sent."""
    tag = (await api.get("connections")).headers["etag"]
    await site.watch("new")
    answer = await api.get("connections", headers={"if-none-match": tag})
    assert (answer.status_code, len(answer.json()["items"])) == (200, 4)


@pytest.mark.parametrize("path", [*LISTS, "status", "openapi.json"])
async def test_head_is_get_without_a_body(api: httpx.AsyncClient, path: str) -> None:
    """The headers are the same, the length included."""
    got, headed = await api.get(path), await api.head(path)
    assert (headed.status_code, headed.content) == (200, b"")
    for name in ("etag", "content-type", "content-length"):
        assert headed.headers[name] == got.headers[name]


async def test_store_that_is_away_is_said(site: Site) -> None:
    """503 with the time to wait, where the store is needed; not a word about where it is."""
    async with Database("sqlite:////nonexistent/secret/store.db") as away:
        site.database = away
        async with site.serve():
            for path in LISTS:
                answer = await site.client.get(f"/api/v1/{path}")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert answer.headers["content-type"] == PROBLEM
                assert "secret" not in answer.text
            assert (await site.client.get("/api/v1/status")).status_code == 200


async def test_third_reader_of_the_store_waits_for_its_turn(site: Site) -> None:
    """Two requests read the store at once, whichever they are; what needs no store is answered meanwhile."""
    async with site.serve():
        async with site.sources.read(), site.sources.read():
            asking = [asyncio.create_task(site.client.get(path)) for path in ("/api/v1/numbers", "/changes")]
            assert (await site.client.get("/api/v1/status")).status_code == 200
            assert (await site.client.get("/")).status_code == 200
            assert not any(each.done() for each in asking)
        assert [(await each).status_code for each in asking] == [200, 200]
