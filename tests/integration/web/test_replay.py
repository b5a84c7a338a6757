"""What would have paged, over the API and on its page; the replay itself is played."""

import asyncio
import datetime as dt
import html
from urllib.parse import urlsplit

import msgspec
import pytest

from monitor.drift.alert import Kind
from monitor.errors import Busy, ConfigError, MonitorError, NoHistory, Refused
from monitor.replay.report import Compared, NoticeTimes, Replayed, ReplayedAlert, Verdict
from monitor.store.actions import Actor
from monitor.web.api.parameters import RuleParameters
from monitor.web.pages.replay import ALERTS
from monitor.web.replays import MOST_CONFIG_BYTES, RULES, Wanted
from tests.fakes.clock import START
from tests.integration.web.site import Site, hashed
from tests.servers.process import wait_until

API, PAGE = "/api/v1/replay", "/replay"
TOML = {"content-type": "application/toml"}
PROBLEM = "drift.confirm_syncs: must be at least 1"


def alert(verdict: Verdict = Verdict.LATER, **given: object) -> ReplayedAlert:
    """Return an alert about three numbers."""
    made = ReplayedAlert(
        kind=Kind.DRIFT,
        account="acme",
        connection="acme-sales",
        state="NO_BOT",
        opened_at=START,
        resolved_at=START + dt.timedelta(hours=1),
        resolution="recovered",
        numbers_max=3,
        verdict=verdict,
        shift_s=60.0,
    )
    return msgspec.structs.replace(made, **given)


def replayed(*alerts: ReplayedAlert) -> Replayed:
    """Return what a replay of a day came to."""
    return Replayed(
        since=START - dt.timedelta(days=1),
        until=START,
        alerts=list(alerts),
        messages={"hook": Compared(recorded=2, replayed=5)},
        summary=Compared(recorded=1, replayed=len(alerts)),
        time_to_notice=NoticeTimes(median_s=120.0, longest_s=300.0),
        strayed=0,
    )


async def test_api_replays_what_is_asked_for(site: Site) -> None:
    """Since then, of these connections, by these rules; instants are written as everywhere."""
    site.daemon.replayed = replayed(alert())
    async with site.serve():
        answer = await site.client.get(API)
        await site.client.get(API, params={"since": "12h", "connection": "acme-*", "drift.stale_after": "1h"})
        await site.client.get(API, params={"since": "2026-01-31T10:00:00+01:00"})
    assert answer.json()["alerts"][0]["opened_at"] == "2026-03-01T12:00:00.000Z"
    assert answer.json()["messages"] == {"hook": {"recorded": 2, "replayed": 5}}
    assert site.daemon.wanted == [
        Wanted(since=START - dt.timedelta(days=7)),
        Wanted(since=START - dt.timedelta(hours=12), connection="acme-*", rules={"drift.stale_after": "1h"}),
        Wanted(since=dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC)),
    ]


def test_api_takes_every_single_rule() -> None:
    """Each under its name in the config."""
    names = {field.alias or name for name, field in RuleParameters.model_fields.items()}
    assert names == {"since", "connection", *RULES}


async def test_api_replays_by_a_config(site: Site) -> None:
    """As it came, and only as TOML of some size."""
    async with site.serve():
        codes = [
            (await site.client.post(API, content=content, headers=headers)).status_code
            for content, headers in (
                (b"[drift]", TOML),
                (b"[drift]", {"content-type": "text/plain; charset=utf-8"}),
                (b"{}", {"content-type": "application/json"}),
                (b"x" * (MOST_CONFIG_BYTES + 1), TOML),
            )
        ]
    assert codes == [200, 200, 400, 413]
    assert [wanted.config for wanted in site.daemon.wanted] == [b"[drift]"] * 2


@pytest.mark.parametrize(
    ("fails", "code"),
    [
        (NoHistory("none yet"), 409),
        (Refused("too long"), 409),
        (Busy("another one"), 503),
        (ConfigError([PROBLEM, "more"]), 400),
    ],
)
async def test_what_cannot_be_replayed_is_said(site: Site, fails: MonitorError, code: int) -> None:
    """By the API as a problem, by the page beside its form."""
    site.daemon.fails = fails
    async with site.serve():
        answer = await site.client.get(API)
        page = await site.client.get(PAGE, params={"since": "1d", "connection": "acme-*"})
    assert (answer.status_code, page.status_code) == (code, code)
    assert answer.json()["detail"] == str(fails)
    assert answer.json().get("problems") == (fails.problems if isinstance(fails, ConfigError) else None)
    assert ("retry-after" in answer.headers) == (code == 503)
    assert str(fails).partition("\n")[0] in page.text
    assert 'value="acme-*"' in page.text


@pytest.mark.parametrize("since", ["yesterday", "0001-01-01T00:00:00+14:00", "999999999d"])
async def test_time_that_is_none_is_refused(site: Site, since: str) -> None:
    """It says how to write one."""
    async with site.serve():
        answer = await site.client.get(API, params={"since": since})
        page = await site.client.get(PAGE, params={"since": since})
    assert (answer.status_code, answer.json()["parameter"], page.status_code) == (400, "since", 400)
    assert "use a duration" in answer.json()["detail"]
    assert "use a duration" in page.text


async def test_page_shows_what_the_command_does(site: Site) -> None:
    """Nothing is replayed before it is asked for; then verdicts, messages, and the same as JSON."""
    site.daemon.replayed = replayed(alert(), alert(Verdict.NEW, connection=None, resolved_at=None))
    async with site.serve():
        assert (await site.client.get(PAGE)).status_code == 200
        assert site.daemon.wanted == []
        page = html.unescape((await site.client.get(PAGE, params={"since": "1d", RULES[0]: "4"})).text)
    assert site.daemon.wanted == [Wanted(since=START - dt.timedelta(days=1), rules={RULES[0]: "4"})]
    assert "1 alert recorded, 2 replayed</b>: 1 new, 1 later." in page
    assert f"with {RULES[0]} = 4" in page
    assert 'href="/api/v1/replay?since=1d&drift.confirm_syncs=4"' in page
    assert 'later</span> <span class="dim">by 1m</span>' in page
    assert "seen for 2m in the median" in page


async def test_page_shows_first_what_differs_of_very_much(site: Site) -> None:
    """A page has an end."""
    site.daemon.replayed = replayed(*[alert(Verdict.SAME)] * ALERTS, alert(Verdict.GONE))
    async with site.serve():
        page = (await site.client.get(PAGE, params={"since": "1d"})).text
    assert page.count('role="rowheader"') == ALERTS + 1
    assert page.index(">gone<") < page.index(">same<")
    assert f"The first {ALERTS} of {ALERTS + 1}" in page


async def test_page_replays_by_a_config_and_never_shows_it(site: Site) -> None:
    """Only to those who may act; the others are told the command."""
    form = {"since": "1d", "connection": "", "config": "api_key = 's3cret'"}
    site.users = {"ops": hashed("pw"), "viewer": hashed("pw")}
    site.operators = ("ops",)
    async with site.serve():
        found = await site.client.post(PAGE, data=form, auth=("ops", "pw"))
        site.daemon.fails = ConfigError([PROBLEM])
        refused = await site.client.post(PAGE, data=form, auth=("ops", "pw"))
        foreign = await site.client.post(PAGE, data=form, auth=("viewer", "pw"))
        offered = await site.client.get(PAGE, auth=("viewer", "pw"))
    assert [each.status_code for each in (found, refused, foreign)] == [200, 400, 403]
    assert [wanted.config for wanted in site.daemon.wanted] == [b"api_key = 's3cret'"]
    assert PROBLEM in refused.text
    assert all("s3cret" not in each.text for each in (found, refused, foreign))
    assert "voicelink-monitor replay --config" in offered.text
    assert "<textarea" not in offered.text


async def test_replay_ends_when_its_client_goes(site: Site) -> None:
    """Nobody computes for nobody."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever(wanted: Wanted, by: Actor) -> Replayed:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return site.daemon.replayed

    site.daemon.replay = forever  # type: ignore[method-assign]
    async with site.serve():
        url = urlsplit(str(site.client.base_url))
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(f"GET {API} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        await begun.wait()
        writer.close()
        await wait_until(ended.is_set, what="the end of the replay")
