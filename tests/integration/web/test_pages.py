"""The pages over a real socket, from a real store: what they show, page, filter, escape and refuse."""

import datetime as dt
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given, settings
from sqlalchemy import insert, select, update

from monitor.drift.alert import AlertBody, Kind, Severity
from monitor.drift.policy import Records
from monitor.drift.rules import Ignore, Rules
from monitor.drift.snapshot import ActionItem, Counts, Dependencies, Number
from monitor.errors import Refused, UnknownName
from monitor.metrics import ConnectionView
from monitor.store.actions import Action, Actor, add_action
from monitor.store.database import Database
from monitor.store.failures import FailingRow
from monitor.store.ledger import Ledger
from monitor.store.reach import Reached, ReachStatus
from monitor.store.receivers import know_receivers
from monitor.store.tables import connections, deliveries, receivers
from monitor.web.app import SECURITY_HEADERS
from monitor.web.pages.alerts import DELIVERIES
from monitor.web.pages.routes import ACTIONS, CHANGES
from monitor.web.pages.templates import build_templates, path
from monitor.web.status import MonitorStatus, ReceiverStatus
from tests.fakes.alerts import BODY, all_firing
from tests.fakes.clock import START
from tests.fakes.hostile import hostile_bodies
from tests.fakes.stored import begin, claim_all, configured, stepped, tell, work
from tests.integration.web.site import CODEC, Site, hashed

NAME = "name of a"
PAGE = f"/connections/{path(NAME)}"
USER = ("ops", "pw")
VIEW = ConnectionView(
    identity="a",
    name="acme-sales",
    account="acme",
    connection_id=None,
    interval_s=60.0,
    counts=Counts(states={"READY": 7, "NO_BOT": 2, "EXPIRED": 0}, drifting={"NO_BOT": 2}),
    up=True,
    held=False,
    consecutive_failures=0,
    last_success_at=START,
    last_duration_s=0.5,
    maintenance=False,
)


def number(key: str, state: str = "READY", *, todo: str = "Fix it") -> Number:
    """Return a number; it drifts unless it is READY."""
    drifting = state != "READY"
    return Number(
        key=key,
        phone_number=f"+{key}",
        state=state,
        drifting=drifting,
        issues=(state,) if drifting else (),
        action_items=(ActionItem(code=state, label=todo),) if drifting else (),
    )


async def sync(site: Site, *numbers: Number, before: Records | None = None) -> Records:
    """Let the store keep one sync of connection `a` that found these numbers, and its alerts."""
    if before is None:
        await begin(site.database, "a", due_at=START, now=START - dt.timedelta(days=1))
    now = site.clock.now()
    claim = (await claim_all(site.database, now))["a"]
    done = stepped(before or Records(), claim, *numbers, at=now)
    await configured(site.database, *tell("hook"))
    await Ledger(site.database, CODEC).keep(work(claim, done, at=now))
    return done.records


async def text(site: Site, address: str, code: int = 200) -> str:
    """Return what a page says, and see that it keeps what every page promises."""
    answer = await site.client.get(address, auth=USER if site.users else None)
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "style=" not in answer.text
    assert re.findall(r"<script(?! src=\"/static/monitor.js\" defer></script>)", answer.text) == []
    return answer.text


@pytest.mark.parametrize("address", ["/", PAGE, "/alerts", "/changes", "/silences"])
async def test_page_answers_get_and_head_alike(site: Site, address: str) -> None:
    """Each page answers both, HEAD without a body, with the headers that keep others out."""
    await sync(site, number("1"))
    async with site.serve():
        await text(site, address)
        headed = await site.client.head(address)
    assert (headed.status_code, headed.content) == (200, b"")


async def test_overview_puts_the_worst_first(site: Site) -> None:
    """Critical alerts and drifting connections lead; states that nobody is in are not there."""
    quiet = msgspec.structs.replace(VIEW, name="aaa", counts=Counts())
    site.daemon.shown = replace(
        site.daemon.shown,
        connections=[quiet, msgspec.structs.replace(quiet, name="zzz", up=False), VIEW],
        firing=all_firing(_alert(Severity.WARNING, "two routes gone"), _alert(Severity.CRITICAL, "bot gone")),
    )
    async with site.serve():
        page = await text(site, "/")
    order = [page.index(word) for word in ("bot gone", "two routes gone", ">acme-sales<", ">zzz<", ">aaa<")]
    assert order == sorted(order)
    assert "<h1>2 of 9 numbers drifting</h1>" in page
    assert "EXPIRED" not in page


async def test_overview_shows_what_cannot_be_seen_as_unknown(site: Site) -> None:
    """Failing, stale, or all while the store is away: grey and since when, not ready; what drifted stays.

    One that answers again is seen, whether or not the alert about its failures has taken note of that.
    """
    good = msgspec.structs.replace(VIEW, name="good", counts=Counts(states={"READY": 5}))
    failing = msgspec.structs.replace(VIEW, name="failing", up=False, consecutive_failures=1)
    stale = FailingRow(
        alert_id="a",
        kind=Kind.SYNC_STALE,
        name="good",
        since=START,
        cause="",
        flaps=0,
        good_since=None,
        ends_at=None,
    )
    site.daemon.shown = replace(site.daemon.shown, connections=[good, failing])
    async with site.serve():
        page = await text(site, "/")
        site.daemon.shown = replace(site.daemon.shown, connections=[good], failing=[stale])
        blind = await text(site, "/")
        site.daemon.shown = replace(site.daemon.shown, store_ok=False, failing=[])
        away = await text(site, "/")
        failed = replace(stale, kind=Kind.API_UNAVAILABLE)
        site.daemon.shown = replace(site.daemon.shown, store_ok=True, failing=[failed])
        answers_again = await text(site, "/")
    assert [page.count(f'class="{rest}" x=') for rest in ("ready", "unknown")] == [1, 1]
    assert "<h1>2 of 14 numbers drifting</h1>" in page
    assert "<b>5</b> ready, 7 unknown" in page
    assert 'unknown since <span class="at"><time' in page
    for each in (blind, away):
        assert "<h1>5 of 5 numbers unknown</h1>" in each
        assert 'class="ready"' not in each
    assert "<h1>All 5 numbers ready</h1>" in answers_again


async def test_overview_orders_by_what_hurts(site: Site) -> None:
    """Firing and critical, then how many numbers drift, then what cannot be seen; the biggest alert leads."""
    quiet = msgspec.structs.replace(VIEW, counts=Counts(states={"READY": 9}))
    drifting = {name: msgspec.structs.replace(VIEW, name=name) for name in ("d2", "critical")}
    drifting["d90"] = msgspec.structs.replace(
        VIEW, name="d90", counts=Counts(states={"X": 90}, drifting={"X": 90})
    )
    views = [
        msgspec.structs.replace(quiet, name="well"),
        msgspec.structs.replace(quiet, name="blind", up=False),
        *drifting.values(),
    ]
    alerts = [
        msgspec.structs.replace(
            _alert(Severity.WARNING, f"of {many}"),
            numbers_total=many,
            started_at=f"2026-03-01T11:{many:02}:00Z",
        )
        for many in (40, 50, *range(3, 23))
    ]
    critical = msgspec.structs.replace(_alert(Severity.CRITICAL, "bad"), connections=["critical"])
    site.daemon.shown = replace(site.daemon.shown, connections=views, firing=all_firing(*alerts, critical))
    async with site.serve():
        page = await text(site, "/")
    names = re.findall(r'<p class="name"><a href="/connections/([^"]+)"', page)
    assert names == ["critical", "d90", "d2", "blind", "well"]
    said = re.findall(r'<li class="alert .*?">(of \d+|bad)</a>', page, re.DOTALL)
    assert said[:3] == ["bad", "of 50", "of 40"]
    assert (len(said), "of 3" in said) == (20, False)


async def test_connection_that_cannot_be_seen_is_unknown(site: Site) -> None:
    """Its numbers are as last seen, and nothing says that they are ready."""
    await sync(site, number("100", "NO_BOT"), number("200"))
    async with site.database.write() as tx:
        await tx.execute(update(connections).values(failures=3, outcome="timeout"))
    async with site.serve():
        page, every = await text(site, PAGE), await text(site, f"{PAGE}?show=all")
    for each in (page, every):
        assert "Unknown since <time" in each
        assert 'class="ready"' not in each
    assert "was READY" in every


async def test_connection_says_how_available_it_was(site: Site) -> None:
    """The ready share of each span, what could not be seen apart; ended alerts, and how long they lasted."""
    records = await sync(site, number("100", "NO_BOT"), number("200"))
    await site.clock.advance(60)
    await sync(site, number("100"), number("200"), before=records)
    await site.clock.advance(3600)
    async with site.database.write() as tx:
        await tx.execute(update(connections).values(failures=3, outcome="timeout"))
    async with site.serve():
        source = await text(site, PAGE)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", source))
    assert "Ready over 24h99.96% of the time it was seen; unknown for 1h" in page
    assert 'class="gap"' in source
    assert "Ended alerts" in page
    assert "lasted 1 min" in page


async def test_removed_number_is_gone(site: Site) -> None:
    """Not READY, which it was before; on the page of its connection and of its alert."""
    records = await sync(site, number("100"), number("200"))
    await site.clock.advance(60)
    await sync(site, number("200"), before=records)
    async with site.serve():
        page = await text(site, PAGE)
        [alert] = re.findall(r'href="(/alerts/[0-9a-f]+)"', page)[:1]
        alone = await text(site, alert)
    for each in (page, alone):
        assert "<b>gone</b>" in each
        assert "<b>READY</b>" not in each


async def test_overview_of_a_new_connection_claims_nothing(site: Site) -> None:
    """Before the first snapshot the page says unknown, not zero."""
    new = msgspec.structs.replace(VIEW, counts=None, up=None, last_success_at=None, maintenance=True)
    site.daemon.shown = replace(site.daemon.shown, connections=[new])
    async with site.serve():
        page = await text(site, "/")
    for word in ("No numbers known yet", "unknown", "never succeeded", "not synced yet", "in maintenance"):
        assert word in page


async def test_overview_says_what_is_wrong_with_the_monitor(site: Site) -> None:
    """A store that is away, a refused config and a receiver that fails are told."""
    failing = ReceiverStatus(name="hook", pending=4, dead=1, failing_since=START, error="401 Unauthorized")
    site.daemon.shown = replace(
        site.daemon.shown, store_ok=False, config_error="api.timeout: not a duration", receivers=[failing]
    )
    async with site.serve():
        page = await text(site, "/")
    for word in (
        "The store is unavailable",
        "api.timeout: not a duration",
        "failing for",
        "401 Unauthorized",
    ):
        assert word in page


FAILING = FailingRow(
    alert_id="a1",
    kind=Kind.API_UNAVAILABLE,
    name="acme-sales",
    since=START,
    cause="timeout",
    flaps=0,
    good_since=None,
    ends_at=None,
)
ANSWERING = replace(
    FAILING,
    name="acme-care",
    good_since=START + dt.timedelta(minutes=1),
    ends_at=START + dt.timedelta(minutes=6),
)
ENDS = "answering since 2026-03-01 12:01:00 UTC, ends at 2026-03-01 12:06:00 UTC unless it fails again"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        pytest.param([FAILING], None, id="failing"),
        pytest.param([FAILING, ANSWERING], "1 of 2 connections are answering again", id="one_answers"),
        pytest.param([ANSWERING, replace(ANSWERING, name="x", good_since=START)], ENDS, id="all_answer"),
        pytest.param(
            [replace(ANSWERING, ends_at=None)],
            "answering since 2026-03-01 12:01:00 UTC",
            id="not_often_enough",
        ),
        pytest.param(
            [replace(FAILING, flaps=3)], "failed again 3\N{MULTIPLICATION SIGN} since it opened", id="flaps"
        ),
        pytest.param(
            [replace(ANSWERING, kind=Kind.RECEIVER_FAILING)],
            f"accepting messages{ENDS.removeprefix('answering')}",
            id="receiver",
        ),
    ],
)
async def test_overview_says_when_a_failure_alert_ends(
    site: Site, members: list[FailingRow], says: str | None
) -> None:
    """Since when its members have been good again, and when it ends if they stay so."""
    alert = msgspec.structs.replace(
        _alert(Severity.CRITICAL, "away"), alert_id=members[0].alert_id, kind=members[0].kind
    )
    site.daemon.shown = replace(site.daemon.shown, firing=all_firing(alert), failing=members)
    async with site.serve():
        page = re.sub(r"<[^>]*>", "", await text(site, "/"))
    assert ("answering" in page or "again" in page or "accepting" in page) is (says is not None)
    assert says is None or says in page


async def test_overview_says_that_a_receiver_is_not_tried(site: Site) -> None:
    """It answered 410 Gone: since when, and what to do."""
    hook = ReceiverStatus(
        name="hook", pending=4, dead=0, failing_since=START, error="410 Gone", gone_since=START
    )
    site.daemon.shown = replace(site.daemon.shown, receivers=[hook])
    async with site.serve():
        page = re.sub(r"<[^>]*>", "", await text(site, "/"))
    assert "It answered 410 Gone at 2026-03-01 12:00:00 UTC and is not tried before a reload or " in page
    assert "voicelink-monitor deliveries --retry-now hook" in page


async def test_overview_says_that_a_receiver_accepts_messages_again(site: Site) -> None:
    """Its alert fires on for a while: until when is said beside its name."""
    alert = replace(ANSWERING, name="hook", kind=Kind.RECEIVER_FAILING)
    hook = ReceiverStatus(name="hook", pending=0, dead=0, failing_since=None, error=None, alert=alert)
    site.daemon.shown = replace(site.daemon.shown, receivers=[hook])
    async with site.serve():
        page = re.sub(r"<[^>]*>", "", await text(site, "/"))
    assert "accepting messages since 2026-03-01 12:01:00 UTC" in page
    assert "its alert ends at 2026-03-01 12:06:00 UTC" in page


async def test_overview_of_a_thousand_connections_is_paged_and_found_by_name(site: Site) -> None:
    """Fifty at a time, the drifting one first; a name finds its connection."""
    many = [msgspec.structs.replace(VIEW, name=f"conn-{place:04d}", counts=Counts()) for place in range(1000)]
    site.daemon.shown = replace(site.daemon.shown, connections=[*many, VIEW])
    async with site.serve():
        first, last = await text(site, "/"), await text(site, "/?page=21")
        found = await text(site, "/?connection=CONN-0777")
        none = await text(site, "/?connection=nobody")
    assert first.count('<li>\n<p class="name">') == 50
    assert ">acme-sales<" in first
    assert "page 1 of 21" in first
    assert ">conn-0999<" in last
    assert ">conn-0777<" in found
    assert ">conn-0778<" not in found
    assert "No connection name contains “nobody”." in none


async def test_connection_shows_trouble_with_what_to_do(site: Site) -> None:
    """Who drifts, in which state, what to do, since when; the ready ones are on the page of all."""
    await sync(site, number("100", "NO_BOT", todo="Make a bot"), number("200"))
    async with site.serve():
        trouble, every = await text(site, PAGE), await text(site, f"{PAGE}?show=all")
    assert "1 of 2 numbers drifting" in trouble
    assert "Make a bot" in trouble
    assert "+200" not in trouble
    assert 'datetime="2026-03-01T12:00:00Z"' in trouble
    assert "+200" in every


async def test_connection_of_ten_thousand_numbers_is_paged(site: Site) -> None:
    """A hundred at a time; following the links shows every number once."""
    await sync(
        site, *(number(f"{place:05d}", "NO_BOT" if place % 50 == 0 else "READY") for place in range(10_000))
    )
    seen: list[str] = []
    async with site.serve():
        page = await text(site, PAGE)
        assert len(page) < 200_000
        while True:
            seen += re.findall(r'scope="row"><a class="number" href="[^"]*">\+(\d+)<', page)
            following = re.search(r'href="([^"]+)" rel="next"', page)
            if following is None:
                break
            page = await text(site, unescape(following[1]).partition("#")[0])
    assert seen == [f"{place:05d}" for place in range(0, 10_000, 50)]


async def test_connection_filters_by_state(site: Site) -> None:
    """Only numbers in the chosen state are listed, and the choice stays chosen."""
    await sync(site, number("100", "NO_BOT"), number("200", "EXPIRED"))
    async with site.serve():
        page = await text(site, f"{PAGE}?state=EXPIRED")
    assert re.findall(r'scope="row"><a class="number" href="[^"]*">\+(\d+)<', page) == ["200"]
    assert '<option selected value="EXPIRED">' in page


async def test_ignored_numbers_have_a_list_of_their_own(site: Site) -> None:
    """What a rule keeps silent is not among the problems."""
    await sync(site, number("100", "NO_BOT"), number("200", "EXPIRED"))
    site.rules = Rules(ignores=(Ignore(state="EXPIRED"),))
    async with site.serve():
        trouble, ignored = await text(site, PAGE), await text(site, f"{PAGE}?show=ignored")
    assert re.findall(r'scope="row"><a class="number" href="[^"]*">\+(\d+)<', trouble) == ["100"]
    assert re.findall(r'scope="row"><a class="number" href="[^"]*">\+(\d+)<', ignored) == ["200"]
    assert "kept quiet by an ignore rule" in ignored


async def test_connection_draws_its_history(site: Site) -> None:
    """Two drifted an hour ago, one still does: the drawing says up to two."""
    records = await sync(site, number("100", "NO_BOT"), number("200", "NO_BOT"))
    await site.clock.advance(3600)
    await sync(site, number("100", "NO_BOT"), number("200"), before=records)
    async with site.serve():
        page = await text(site, PAGE)
    assert "up to 2, 1 now" in page
    assert '<rect class="s0"' in page
    assert "resolved" in page


async def test_alert_has_a_page_of_its_own(site: Site) -> None:
    """The list says what to do and leads there; the page has its numbers and how telling goes."""
    await sync(site, number("100", "NO_BOT", todo="Make a bot"))
    async with site.serve():
        listed = await text(site, "/alerts")
        [alert_id] = re.findall(r'<article class="card warning" id="([^"]+)"', listed)
        page = await text(site, f"/alerts/{alert_id}")
        moved = await site.client.get(f"/alerts?alert={alert_id}")
        nothing = await text(site, "/alerts/none", 404)
    for word in ("Make a bot", "1 message not delivered", f'href="/alerts/{alert_id}"', "+100"):
        assert word in listed
    for word in (
        "First step",
        "Make a bot",
        "+100",
        "hook",
        "pending",
        "its message is queued",
        "not tried yet",
        "1 not delivered",
    ):
        assert word in page
    assert (moved.status_code, moved.headers["location"]) == (303, f"/alerts/{alert_id}")
    assert "No alert has the id “none”" in nothing


async def test_alert_says_that_its_message_waits_for_a_receiver_that_is_gone(site: Site) -> None:
    """Neither beside the message nor beside the receiver is a next try promised."""
    await sync(site, number("100", "NO_BOT"))
    async with site.database.write() as tx:
        await know_receivers(tx, ["hook"], START)
        await tx.execute(update(receivers).values(gone_since=START))
        await tx.execute(update(deliveries).values(attempts=1, answer="410 Gone"))
        alert_id = await tx.scalar(select(deliveries.c.alert_id))
    async with site.serve():
        page = re.sub(r"<[^>]*>", "", await text(site, f"/alerts/{alert_id}"))
    words = "not tried before a reload or voicelink-monitor deliveries --retry-now hook"
    assert f"{words}, as hook answered 410 Gone at 2026-03-01 12:00:00 UTC" in page
    assert f"hook answered 410 Gone at 2026-03-01 12:00:00 UTC and is {words}" in page
    assert "next try" not in page


async def test_alert_counts_all_deliveries_not_those_shown(site: Site) -> None:
    """Of three messages on pages of two, three are counted."""
    await sync(site, number("100", "NO_BOT"))
    async with site.database.write() as tx:
        one = (await tx.execute(select(deliveries))).one()._mapping
        copies = [{**one, "id": f"d{place}", "seq": 100 + place} for place in range(DELIVERIES)]
        await tx.execute(insert(deliveries), copies)
    async with site.serve():
        page = await text(site, f"/alerts/{one['alert_id']}")
        [further] = re.findall(r'href="([^"]+)" rel="next"', page)
        second = await text(site, unescape(further).partition("#")[0])
    for each in (page, second):
        assert f'{DELIVERIES + 1} deliveries, <span class="bad">{DELIVERIES + 1} not delivered' in each
    assert second.count("not tried yet") == 1


async def test_alerts_are_filtered_and_the_biggest_leads(site: Site) -> None:
    """By status, severity, kind and connection; of one severity, the one of most numbers is first."""
    records = await sync(site, number("1", "NO_BOT"), number("2", "NO_BOT"), number("3", "GONE_BAD"))
    await site.clock.advance(3600)
    await sync(site, *(number(str(key)) for key in (1, 2)), number("3", "GONE_BAD"), before=records)
    await begin(site.database, "b", due_at=START, now=START)
    claim = (await claim_all(site.database, site.clock.now()))["b"]
    many = stepped(Records(), claim, number("8", "NO_BOT"), number("9", "NO_BOT"), at=site.clock.now())
    await Ledger(site.database, CODEC).keep(work(claim, many, at=site.clock.now()))
    async with site.serve():

        async def shown(query: str) -> list[str]:
            page = await text(site, f"/alerts?{query}")
            return re.findall(r'aria-label="name of ([^"]*?)[,"-]', page)

        everything = ["b: 2 numbers NO_BOT", "a: 1 number GONE_BAD", "a: 2 numbers NO_BOT "]
        assert await shown("") == everything
        assert await shown("status=firing") == everything[:2]
        assert await shown("status=resolved&kind=drift") == everything[2:]
        assert await shown("connection=*a&severity=warning") == everything[1:]
        assert await shown("kind=reconfigured") == await shown("severity=info") == []


async def test_number_is_found_however_it_is_written(site: Site) -> None:
    """The search on every page leads to the number's page, or to those that it could be."""
    await sync(site, number("918011223344", "NO_BOT"), number("918099993344"))
    async with site.serve():
        for asked in ("+91 80 1122-3344", "918011223344", "08011223344", "11223344"):
            led = await site.client.get("/numbers", params={"number": asked})
            assert (led.status_code, led.headers["location"]) == (303, "/numbers/918011223344"), asked
        several = await site.client.get("/numbers", params={"number": "3344"})
        none = await site.client.get("/numbers/0000")
        few = await site.client.get("/numbers?number=44")
        nothing = await text(site, "/", 200)
    assert re.findall(r'href="/numbers/(\d+)"', several.text) == ["918011223344", "918099993344"]
    assert (none.status_code, few.status_code) == (404, 404)
    assert "Type at least the last 4 digits" in few.text
    assert 'action="/numbers"' in nothing


async def test_number_has_a_page_that_tells_no_one(site: Site) -> None:
    """Its state, since when, what it depends on, its alert, why it paged; its address goes nowhere."""
    one = msgspec.structs.replace(
        number("918011223344", "NO_BOT"),
        dependencies=Dependencies(client_id=415, bot_id=93, bot_active=False),
    )
    await sync(site, one)
    async with site.serve():
        answer = await site.client.get("/numbers/918011223344")
        missing = await site.client.get("/numbers/none")
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", answer.text))
    for word in (
        "+918011223344",
        "NO_BOT",
        "415",
        "93 · off",
        "is drifting",
        "1 number NO_BOT",
    ):
        assert word in page, word
    for each in (answer, missing):
        assert each.headers["referrer-policy"] == "no-referrer"
        assert each.headers["cache-control"] == "no-store"


async def test_number_that_cannot_be_seen_is_unknown(site: Site) -> None:
    """What is said of it is how it was, and nothing is green."""
    await sync(site, number("918011223344"))
    async with site.database.write() as tx:
        await tx.execute(update(connections).values(failures=3, outcome="timeout"))
    async with site.serve():
        page = (await site.client.get("/numbers/918011223344")).text
    assert "Unknown since <time" in page
    assert 'class="ready"' not in page


async def test_silences_say_what_they_do_and_what_is_odd(site: Site) -> None:
    """What is quiet, why, until when, by whom; what ends soon or matches nothing; likewise ignore rules."""
    await sync(site, number("100", "NO_BOT"), number("200"))
    rules = Ignore(connection="nobody-*", reason="never came"), Ignore(state="EXPIRED", reason="known")
    site.rules = Rules(ignores=rules)
    site.users = {USER[0]: hashed(USER[1])}
    async with site.serve():
        form = {"connection": "name*", "state": "", "for": "2h", "reason": "bot is being replaced"}
        done = await site.client.post("/silences", data=form, auth=USER)
        assert (done.status_code, done.headers["location"]) == (303, "/silences?done=silenced")
        page, overview = await text(site, "/silences?number=100"), await text(site, "/")
        [ending] = re.findall(r'action="(/silences/[^"]+/end)"', page)
        site.lifecycle = False
        reading = await text(site, "/silences")
        site.lifecycle = True
        ended = await site.client.post(ending, auth=USER)
        assert (ended.status_code, ended.headers["location"]) == (303, "/silences?done=ended")
        after, past = await text(site, "/silences"), await text(site, "/silences?show=ended")
        wrong = await site.client.post("/silences", data={**form, "reason": " "}, auth=USER)
    for word in (
        "connection name*",
        "bot is being replaced",
        "Keeps 1 number quiet",
        "by ops",
        "ends within a day",
        "never came",
        "matches no connections",
        'name="number" value="100"',
    ):
        assert word in page, word
    for word in ("connection name* ends within a day", "connection nobody-* matches no connections"):
        assert word in overview, word
    assert 'method="post"' not in reading
    assert "voicelink-monitor silence add" in reading
    assert "bot is being replaced" not in after
    assert "bot is being replaced" in past
    assert wrong.status_code == 400
    assert "reason: say why: give a reason" in wrong.text


async def test_alert_is_silenced_and_acknowledged_from_its_page(site: Site) -> None:
    """Two fields and a button each; without actions the page says the commands."""
    await sync(site, number("100", "NO_BOT"))
    site.users = {USER[0]: hashed(USER[1])}
    async with site.serve():
        [alert] = re.findall(r'href="/alerts/([0-9a-f]+)"', await text(site, "/alerts"))[:1]
        page = await text(site, f"/alerts/{alert}")
        assert f'action="/alerts/{alert}/ack"' in page
        assert 'http-equiv="refresh"' not in page
        assert re.findall(r'<button name="(\w+)"', page) == ["for", "until", "until_ready"]
        form = {"alert": alert, "until_ready": "yes", "reason": "being repaired"}
        done = await site.client.post("/silences", data=form, auth=USER)
        assert (done.status_code, done.headers["location"]) == (303, f"/alerts/{alert}?done=silenced")
        assert "being repaired" in (await site.client.get("/numbers/100", auth=USER)).text
        done = await site.client.post("/alerts/a1/ack", data={"note": " on it "}, auth=USER)
        assert (done.status_code, done.headers["location"]) == (303, "/alerts/a1?done=acknowledged")
        site.lifecycle = False
        page = await text(site, f"/alerts/{alert}")
    assert site.daemon.done[-1] == "acknowledge a1 on it"
    assert f"voicelink-monitor ack {alert}" in page
    assert 'http-equiv="refresh"' in page
    assert f"voicelink-monitor silence add --alert {alert}" in page
    assert 'method="post"' not in page


async def test_receiver_is_tested_and_retried_from_the_overview(site: Site) -> None:
    """Each has a button; what it answered is shown."""
    hook = ReceiverStatus(name="hook", pending=3, dead=0, failing_since=START, error="401 Unauthorized")
    site.daemon.shown = replace(site.daemon.shown, receivers=[hook])
    site.users = {USER[0]: hashed(USER[1])}
    async with site.serve():
        page = await text(site, "/")
        tested = await site.client.post("/receivers/hook/test", auth=USER)
        retried = await site.client.post("/receivers/hook/retry", auth=USER)
    assert 'action="/receivers/hook/test"' in page
    assert 'formaction="/receivers/hook/retry"' in page
    assert site.daemon.done == ["test hook", "retry now hook"]
    assert '<b class="bad">Not delivered</b>: 401 Unauthorized' in tested.text
    assert (retried.status_code, retried.headers["location"]) == (303, "/?done=retried")


async def test_changes_are_filtered(site: Site) -> None:
    """By connection, state, kind and time; what was asked stays in the form."""
    records = await sync(site, number("100", "NO_BOT"), number("200", "EXPIRED"))
    await site.clock.advance(2 * 3600)
    await sync(site, number("100"), number("200", "EXPIRED"), before=records)
    async with site.serve():
        everything = await text(site, "/changes")
        for query, shown in {
            "state=EXPIRED": ["+200"],
            "change=resolved": ["+100"],
            "since=1h": ["+100"],
            "from=2026-03-01T13:00": ["+100"],
            "to=2026-03-01T14:00%2B01:00": ["+100", "+200"],
            "from=2026-03-01T12:30&to=2026-03-01T13:00:00Z": [],
            "connection=name*": ["+100", "+100", "+200"],
            "connection=other": [],
        }.items():
            page = await text(site, f"/changes?{query}")
            assert sorted(re.findall(r'<a class="number" href="[^"]*">([^<]+)<', page)) == shown, query
    assert everything.count('<li class="appeared">') == 2


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/changes?connection=zzz", "No connection matches “zzz”."),
        ("/changes?connection=acme-*", "No changes are recorded for connections matching “acme-*”."),
        ("/changes?state=EXPIRED", "No changes are recorded from or to “EXPIRED”."),
        ("/changes?change=removed", "No changes of kind “removed” are recorded."),
        ("/changes?since=1h", "No changes are recorded within the last 1h."),
        ("/changes?from=2026-03-01T13:30", "No changes are recorded since 2026-03-01T13:30."),
        ("/changes?to=2026-03-01T11:00&since=", "No changes are recorded until 2026-03-01T11:00."),
        ("/changes?connection=name*&change=removed", "No changes of kind “removed” are recorded."),
        ("/changes?connection=zzz&state=X", "No changes are recorded from or to “X”."),
        ("/changes?connection=name*&since=24h", '<li class="appeared">'),
        ("/alerts?connection=zzz", "No connection matches “<b>zzz</b>”."),
        ("/alerts?connection=acme-*", "No such alerts are firing."),
        ("/alerts?connection=name*", "No such alerts have ended yet."),
        (f"{PAGE}?state=EXPIRED", "No number in trouble is in state “EXPIRED”."),
        (f"{PAGE}?state=EXPIRED&show=ignored", "No quiet number is in state “EXPIRED”."),
        (f"{PAGE}?state=EXPIRED&show=all", "No number is in state “EXPIRED”."),
    ],
)
async def test_filter_that_matches_nothing_is_named(site: Site, address: str, said: str) -> None:
    """An empty list says which part of the filter nothing matches."""
    site.daemon.shown = replace(site.daemon.shown, connections=[VIEW])
    await sync(site, number("100", "NO_BOT"))
    await site.clock.advance(2 * 3600)
    async with site.serve():
        page = await text(site, address)
    assert said in page
    if said.startswith("No c"):
        assert page.count("No c") == 1 + ("zzz&" in address)


async def test_filters_that_only_together_match_nothing_say_so(site: Site) -> None:
    """When each filter alone finds changes, the sentence is about all of them."""
    records = await sync(site, number("100", "NO_BOT"), number("200", "EXPIRED"))
    await site.clock.advance(3600)
    await sync(site, number("100"), number("200", "EXPIRED"), before=records)
    async with site.serve():
        page = await text(site, "/changes?state=EXPIRED&change=resolved")
    assert "No changes match all of these filters." in page


async def test_changes_are_paged(site: Site) -> None:
    """What does not fit is on the next page, with the same filter."""
    records = await sync(site, *(number(f"{place:03d}", "NO_BOT") for place in range(250)))
    for place in range(CHANGES):
        await site.clock.advance(60)
        one = number("000", "READY" if place % 2 == 0 else "NO_BOT")
        rest = [number(f"{other:03d}", "NO_BOT") for other in range(1, 250)]
        records = await sync(site, one, *rest, before=records)
    async with site.serve():
        first = await text(site, "/changes?state=NO_BOT")
        [following] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = await text(site, unescape(following))
        [rest] = re.findall(r'href="(/changes\?at=[^"]+)"', second)
        whole = await text(site, unescape(rest))
    assert first.count('<p class="when dim">') == CHANGES
    assert "250 numbers" in second
    assert ">230 more<" in second
    assert whole.count('<li><a class="number"') == 250
    assert "state=NO_BOT" in following


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("/connections/nobody", 404),
        (f"{PAGE}?after=nonsense", 400),
        (f"{PAGE}?show=some", 400),
        ("/alerts?after=nonsense", 400),
        ("/changes?change=vanished", 400),
        ("/changes?after=eA", 400),
        ("/changes?at=noon", 400),
        ("/changes?from=noon", 400),
        ("/changes?from=2026-03-01T12:00&to=2026-03-01T11:59", 409),
        ("/?page=zero", 400),
    ],
)
async def test_what_cannot_be_shown_is_a_page_too(site: Site, address: str, code: int) -> None:
    """A wrong address says so in the frame of the pages, with a way back."""
    await sync(site, number("1"))
    async with site.serve():
        page = await text(site, address, code)
    assert "Back to the overview" in page


@pytest.mark.parametrize("address", [PAGE, "/alerts", "/changes"])
async def test_page_without_store_says_so(site: Site, address: str) -> None:
    """While the store is unavailable the overview shows what was known, the others say that they cannot."""
    async with site.serve():
        await site.database.close()
        lose(site.database)
        page = await text(site, address, 503)
        await text(site, "/")
    assert "The store is unavailable" in page


async def test_nothing_recorded_is_said_in_words(site: Site) -> None:
    """A new monitor has no empty tables."""
    async with site.serve():
        assert "No connections are configured" in await text(site, "/")
        assert "No changes are recorded yet" in await text(site, "/changes")
        assert "No receivers are configured" in await text(site, "/")
        alerts = await text(site, "/alerts")
    assert "No alerts are firing." in alerts
    assert "No alerts have ended yet." in alerts


@settings(max_examples=40)
@given(alert=hostile_bodies())
def test_no_alert_brings_markup(alert: AlertBody) -> None:
    """Whatever states, names and summaries hold is text: no tag, attribute or address is theirs."""
    for template in ("alerts.html", "alert.html"):
        page = build_templates().get_template(template).render(_frame(alert))
        assert foreign(page) == []


EVIL = "\"><script>alert(1)</script><img src=x onerror=y>'"


async def test_no_name_or_state_brings_markup(site: Site) -> None:
    """What the provider and the config call things is text, on every page."""
    await sync(site, replace_number(number("1", EVIL, todo=EVIL)))
    async with site.database.write() as tx:
        await add_action(tx, Actor(user=EVIL, address=EVIL).did(Action.SYNC, EVIL), START, logged=True)
    site.daemon.shown = replace(
        site.daemon.shown,
        instance=EVIL,
        connections=[
            msgspec.structs.replace(
                VIEW, name=EVIL, account=EVIL, counts=Counts(states={EVIL: 1}, drifting={EVIL: 1})
            )
        ],
        firing=all_firing(_alert(Severity.INFO, EVIL)),
        receivers=[ReceiverStatus(name=EVIL, pending=0, dead=0, failing_since=None, error=EVIL)],
        config_error=EVIL,
    )
    async with site.serve():
        [alert] = re.findall(r'href="(/alerts/[0-9a-f]+)"', await text(site, "/alerts"))[:1]
        for address in (
            "/",
            PAGE,
            f"{PAGE}?show=all",
            f"{PAGE}?state={path(EVIL)}",
            "/alerts",
            f"/alerts?connection={path(EVIL)}",
            "/changes",
            alert,
            "/numbers/1",
            f"/numbers?number={path(EVIL)}",
            f"/silences?number={path(EVIL)}",
        ):
            form = {"state": EVIL, "for": "2h", "reason": EVIL, "by": EVIL}
            if address.startswith("/silences"):
                assert (await site.client.post("/silences", data=form)).status_code == 303
            page = (await site.client.get(address)).text
            assert foreign(page) == [], address
            assert "&lt;script&gt;" in page


async def test_actions_are_offered_to_users_alone(site: Site) -> None:
    """Without lifecycle, or to one who is no operator, a page has no form that acts."""
    await sync(site, number("1"))
    async with site.serve():
        site.users = {USER[0]: hashed(USER[1])}
        assert 'method="post"' in await text(site, PAGE)
        site.operators = ("else",)
        assert 'method="post"' not in await text(site, PAGE)
        assert "off for ops; see web.operators" in await text(site, "/")
        site.operators, site.lifecycle = ("*",), False
        assert 'method="post"' not in await text(site, PAGE)


async def test_changes_page_shows_what_people_did(site: Site) -> None:
    """Newest first, in pages of their own; a question about numbers is not answered with them."""
    who = Actor(user="ops", address="192.0.2.7")
    async with site.serve():
        assert 'id="actions"' not in await text(site, "/changes")
        async with site.database.write() as tx:
            signal = Actor(user=None, address="signal")
            await add_action(tx, signal.did(Action.RELOAD, "config"), START, logged=True)
            for place in range(ACTIONS):
                await add_action(tx, who.did(Action.SYNC, f"acme-{place}"), START, logged=True)
        first = await text(site, "/changes")
        order = [first.index(word) for word in (">acme-19<", ">acme-1<", ">acme-0<")]
        assert order == sorted(order)
        assert (first.count("192.0.2.7"), ">reload<" in first) == (ACTIONS, False)
        [further] = re.findall(r'href="(/changes\?actions_after=[^"#]*)#actions" rel="next"', first)
        second = await text(site, unescape(further))
        assert [word in second for word in (">reload<", ">signal<", ">acme-0<", 'rel="next"')] == [
            True,
            True,
            False,
            False,
        ]
        assert 'id="actions"' not in await text(site, "/changes?state=NO_BOT")
        await text(site, "/changes?actions_after=x", 400)


async def test_form_syncs_and_says_so(site: Site) -> None:
    """The form as a browser sends it starts a sync, and leads back to the page."""
    await sync(site, number("1"))
    site.users = {USER[0]: hashed(USER[1])}
    browser = {"sec-fetch-site": "same-origin"}
    async with site.serve():
        assert f'action="{PAGE}/sync"' in await text(site, PAGE)
        done = await site.client.post("/connections/acme-sales/sync", headers=browser, auth=USER)
        said = await text(site, f"{PAGE}?done=synced")
    assert (done.status_code, done.headers["location"]) == (303, "/connections/acme-sales?done=synced")
    assert site.daemon.done == ["sync acme-sales"]
    assert "A sync has started" in said


@pytest.mark.parametrize(
    ("address", "form", "done"),
    [
        ("/connections/acme-sales/accept", {"number": "1"}, "accept acme-sales ['1']"),
        ("/connections/acme-sales/accept", {"all": "yes"}, "accept acme-sales None"),
        ("/connections/acme-sales/accept", {}, "accept acme-sales []"),
        ("/deliveries/d1/retry", {}, "retry d1"),
        ("/deliveries/d1/dismiss", {}, "dismiss d1"),
        ("/alerts/a1/ack", {}, "acknowledge a1 None"),
    ],
)
async def test_forms_do_what_they_say(site: Site, address: str, form: dict[str, str], done: str) -> None:
    """One number, all of them, one delivery; an empty form accepts nothing."""
    site.users = {USER[0]: hashed(USER[1])}
    async with site.serve():
        answer = await site.client.post(address, data={**form, "x": ""}, auth=USER)
    assert answer.status_code == 303
    assert site.daemon.done == [done]


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}],
    ids=["cross-site", "origin"],
)
@pytest.mark.parametrize(
    "address",
    [
        "/connections/acme-sales/sync",
        "/connections/acme-sales/accept",
        "/deliveries/d1/retry",
        "/deliveries/d1/dismiss",
        "/alerts/a1/ack",
        "/receivers/hook/test",
        "/silences",
        "/silences/s1/end",
    ],
)
async def test_forms_of_other_sites_do_nothing(site: Site, address: str, headers: dict[str, str]) -> None:
    """A page elsewhere cannot act in a visitor's name."""
    site.users = {USER[0]: hashed(USER[1])}
    async with site.serve():
        answer = await site.client.post(address, data={"x": ""}, headers=headers, auth=USER)
    assert (answer.status_code, site.daemon.done) == (403, [])
    assert "Back to the overview" in answer.text


async def test_forms_without_users_act_as_the_api_does(site: Site) -> None:
    """Where nobody needs a password and actions are on, the buttons are there and do something."""
    await sync(site, number("1"))
    async with site.serve():
        assert 'method="post"' in await text(site, PAGE)
        answer = await site.client.post("/connections/acme-sales/accept", data={"all": "yes"})
        assert (answer.status_code, site.daemon.done) == (303, ["accept acme-sales None"])
        site.lifecycle = False
        answer = await site.client.post("/connections/acme-sales/accept", data={"all": "yes"})
        assert (answer.status_code, len(site.daemon.done)) == (403, 1)


@pytest.mark.parametrize(
    ("fails", "code"),
    [(UnknownName("no connection has this name"), 404), (Refused("d1: it is delivered, not dead"), 409)],
    ids=["unknown", "refused"],
)
async def test_action_that_cannot_be_done_says_why(
    site: Site, fails: UnknownName | Refused, code: int
) -> None:
    """A no of the daemon is shown as a page."""
    site.users, site.daemon.fails = {USER[0]: hashed(USER[1])}, fails
    async with site.serve():
        answer = await site.client.post("/deliveries/d1/retry", auth=USER)
    assert answer.status_code == code
    assert str(fails) in answer.text


def lose(database: Database) -> None:
    """Take the store away: where its file was, there is a folder."""
    assert database.file is not None
    database.file.unlink()
    database.file.mkdir()


class Markup(HTMLParser):
    """Collects what no page of ours has: tags, attributes and addresses that came from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at a tag."""
        self.found += [tag] if tag not in TAGS else []
        for name, value in attrs:
            self.found += [name] if name not in ATTRIBUTES else []
            if name in ("href", "src", "action") and not (value or "").startswith(
                ("/", "#", "https://r.example/")
            ):
                self.found.append(f"{name}={value}")


TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "noscript",
        "body",
        "a",
        "header",
        "div",
        "p",
        "img",
        "span",
        "nav",
        "main",
        "h1",
        "h2",
        "h3",
        "h4",
        "section",
        "article",
        "b",
        "ul",
        "ol",
        "li",
        "details",
        "summary",
        "time",
        "button",
        "footer",
        "svg",
        "rect",
        "dl",
        "dt",
        "dd",
        "form",
        "input",
        "label",
        "select",
        "option",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
        "code",
    ]
)
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "name",
        "content",
        "rel",
        "href",
        "type",
        "src",
        "defer",
        "http-equiv",
        "data-refresh",
        "class",
        "id",
        "alt",
        "width",
        "height",
        "aria-label",
        "aria-current",
        "aria-labelledby",
        "aria-hidden",
        "hidden",
        "role",
        "tabindex",
        "open",
        "datetime",
        "method",
        "action",
        "formaction",
        "inputmode",
        "required",
        "value",
        "maxlength",
        "autocomplete",
        "for",
        "selected",
        "placeholder",
        "scope",
        "x",
        "y",
        "rx",
        "viewbox",
        "preserveaspectratio",
    ]
)


def foreign(page: str) -> list[str]:
    """Return what in a page's markup is not ours."""
    markup = Markup()
    markup.feed(page)
    return markup.found


def replace_number(one: Number) -> Number:
    """Return the number with a hostile phone number too."""
    return Number(
        key=one.key,
        phone_number=EVIL,
        state=one.state,
        drifting=one.drifting,
        issues=(EVIL,),
        action_items=one.action_items,
    )


def _frame(alert: AlertBody) -> dict[str, object]:
    firing = alert.resolved_at is None
    return {
        "status": MonitorStatus(
            instance=alert.instance,
            version="1",
            connections=[],
            firing=all_firing(alert),
            receivers=[],
            config_error=alert.summary,
            store_ok=True,
        ),
        "now": START,
        "root": "",
        "here": "/alerts",
        "refresh_s": 10,
        "not_ready": None,
        "acting": False,
        "lifecycle": False,
        "user": None,
        "firing": [alert] if firing else [],
        "found": 1,
        "page": 1,
        "pages": 1,
        "recent": [] if firing else [alert],
        "recent_next": None,
        "unsent": {alert.alert_id: 1},
        "dead": [],
        "dead_total": 0,
        "given": dict.fromkeys(("status", "kind", "severity", "connection", "part_of")),
        "filtered": False,
        "part_of": None,
        "unmatched": False,
        "kinds": [],
        "severities": [],
        "paged": False,
        "alert": alert,
        "explanation": [],
        "reached": [
            Reached(receiver=EVIL, status=ReachStatus.DEAD, reason=EVIL, told_at=None, ended_at=None, urls=())
        ],
        "timezone": "UTC",
        "typed": False,
        "sent": [],
        "sent_next": None,
        "told": 0,
        "after": None,
        "done": None,
    }


def _alert(severity: Severity, summary: str) -> AlertBody:
    started_at = "2026-03-01T11:00:00.000Z"
    changed = {"severity": severity, "summary": summary, "started_at": started_at, "updated_at": started_at}
    return msgspec.structs.replace(BODY, **changed, numbers=[], connections=[], actions=[])
