"""The pages in a real browser: an open one follows what happens, fits a phone, and is fit for everybody."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import bcrypt
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, settings
from tests.screenshots import browser
from tests.servers.process import wait_until

NAME = "conn-0001"
PATHS = (
    *("/", f"/connections/{NAME}", f"/connections/{NAME}?show=all", "/alerts", "/changes", "/silences"),
    *("/replay", "/replay?since=1h&drift.confirm_syncs=50", "/runbooks", "/runbooks/drift"),
)


class Reader:
    """Somebody with a browser, and what it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda line: self.complaints.append(line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture
async def chrome() -> AsyncIterator[Browser]:
    """Give the installed Chromium."""
    async with browser() as opened:
        yield opened


@asynccontextmanager
async def reader(chrome: Browser, daemon: Daemon, **options: object) -> AsyncIterator[Reader]:
    """Give a reader of the daemon's pages, who must see nothing from elsewhere and no error."""
    given = {"locale": "en-GB", "timezone_id": "Asia/Kolkata", "base_url": daemon.page, **options}
    context = await chrome.new_context(**given)  # type: ignore[arg-type]  # by name
    made = Reader(await context.new_page())
    yield made
    await context.close()
    hosts = {urlsplit(url).netloc for url in made.asked}
    assert hosts == {urlsplit(daemon.page).netloc}
    assert made.complaints == []


async def started(run_daemon: RunDaemon, api: Provider, **sections: object) -> Daemon:
    """Return a daemon that has synced its connection once."""
    daemon = run_daemon(settings(api, **sections))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection=NAME)
    return daemon


async def troubled(run_daemon: RunDaemon, provider: RunProvider, **sections: object) -> Daemon:
    """Return a daemon with an alert that fires about three of ten numbers."""
    api = await provider()
    daemon = await started(run_daemon, api, **sections)
    api.do("remove_routing", numbers=3)
    await daemon.until_firing({"drift": 1})
    return daemon


async def test_drift_appears_on_the_open_page(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """Nobody has to reload: the open page shows the drift, keeps what was opened, and shows the end of it."""
    api = await provider()
    daemon = await started(run_daemon, api)
    async with reader(chrome, daemon) as who:
        await who.page.goto("/")
        await expect(who.page.locator("h1")).to_have_text("All 10 numbers ready")
        api.do("remove_routing", numbers=3)
        await expect(who.page.locator("h1")).to_have_text("3 of 10 numbers drifting", timeout=30_000)
        await expect(who.page).to_have_title(re.compile("3 drifting"))
        await daemon.until_firing({"drift": 1})
        await expect(who.page.locator(".badge")).to_contain_text("1", timeout=30_000)
        await who.page.get_by_role("link", name="ROUTING_MISSING").click()
        await expect(who.page.locator("h1")).to_contain_text("3 numbers ROUTING_MISSING", timeout=30_000)
        await expect(who.page.get_by_role("heading", name="First step")).to_be_visible()


async def test_lost_monitor_is_said_on_the_open_page(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """A page that cannot be kept up to date says so, instead of showing what was as what is."""
    daemon = await started(run_daemon, await provider())
    async with reader(chrome, daemon) as who:
        await who.page.goto("/")
        await daemon.kill()
        await expect(who.page.locator("#late")).to_be_visible(timeout=30_000)
        who.complaints.clear()  # that the connection was refused


async def test_times_are_the_readers_with_utc_at_hand(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """With scripts they are local, and a button shows UTC; without scripts they are UTC, and all is there."""
    daemon = await troubled(run_daemon, provider)
    utc = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")
    since = ".alerts time"
    async with reader(chrome, daemon) as who:
        await who.page.goto("/")
        await expect(who.page.locator(since)).not_to_have_text(utc)
        await expect(who.page.locator(since)).to_have_attribute("title", utc)
        await who.page.get_by_role("button", name="Show times in UTC").click()
        await expect(who.page.locator(since)).to_have_text(utc)
        at = datetime.fromisoformat(await who.page.locator(since).get_attribute("datetime") or "")
    # Where it is another day now than in UTC, the heading says that day.
    zone = "Pacific/Kiritimati" if at.hour >= 10 else "Pacific/Pago_Pago"
    async with reader(chrome, daemon, timezone_id=zone) as who:
        await who.page.goto("/changes")
        there = at.astimezone(ZoneInfo(zone))
        await expect(who.page.locator(".day")).to_contain_text(f"{there:%-d %B %Y}")
        await who.page.get_by_role("button", name="Show times in UTC").click()
        await expect(who.page.locator(".day")).to_have_text(f"{at:%Y-%m-%d} UTC")
    async with reader(chrome, daemon, java_script_enabled=False) as who:
        await who.page.goto("/")
        await expect(who.page.locator(since)).to_have_text(utc)
        await who.page.get_by_role("link", name=NAME, exact=True).click()
        await expect(who.page.locator("tbody tr")).to_have_count(3)
        await expect(who.page.locator("button#zone")).to_be_hidden()


async def test_filters_and_pages_lead_to_every_number(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """250 numbers are three pages; a filter narrows changes, and stays in the form."""
    api = await provider(build_world(1, 250))
    daemon = await started(run_daemon, api)
    api.do("remove_routing", numbers=3)
    await daemon.until_firing({"drift": 1})
    async with reader(chrome, daemon) as who:
        page = who.page
        await page.goto(f"/connections/{NAME}")
        await page.get_by_role("link", name="All 250").click()
        seen: list[str] = []
        for count in (100, 100, 50):
            await expect(page.locator("tbody tr")).to_have_count(count)
            seen += await page.locator("tbody th").all_inner_texts()
            if count == 100:
                await page.get_by_role("link", name="Next page").click()
                await page.wait_for_function(
                    "first => !document.body.innerText.includes(first)", arg=seen[-1]
                )
        assert len(set(seen)) == 250
        await page.goto("/changes")
        await page.get_by_label("Change", exact=True).select_option("resolved")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.get_by_text("No changes of kind “resolved” are recorded.")).to_be_visible()
        await page.get_by_label("Change", exact=True).select_option("appeared")
        await page.get_by_label("Connection").fill("conn-*")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator(".timeline > li")).to_contain_text("3 numbers")
        await expect(page.get_by_label("Connection")).to_have_value("conn-*")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_pages_fit_and_serve_everybody(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser, scheme: str, width: int
) -> None:
    """On a phone and on a screen, light and dark: nothing scrolls sideways, and axe finds nothing."""
    daemon = await troubled(run_daemon, provider, web={"enable_lifecycle": True})
    [alert] = (await daemon.get("/api/v1/alerts?status=firing")).json()["items"]
    paths = (*PATHS, f"/alerts/{alert['alert_id']}", f"/numbers/{alert['numbers'][0]['key']}", "/numbers")
    size = {"width": width, "height": 780}
    async with reader(chrome, daemon, color_scheme=scheme, viewport=size, bypass_csp=False) as who:
        for path in paths:
            await who.page.goto(path)
            closed = who.page.locator("details:not([open]) > summary")
            while await closed.count():  # each click takes one of them away
                await closed.first.click()
            assert await who.page.evaluate("document.documentElement.scrollWidth") <= width, path
            found = (await Axe().run(who.page)).response["violations"]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == [], path


async def test_action_from_the_page_reaches_the_provider(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """Somebody with the password has a removed number accepted and a connection synced, by plain forms."""
    api = await provider()
    users = {"ops": bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()}
    daemon = run_daemon(settings(api, web={"enable_lifecycle": True, "basic_auth_users": users}))
    await daemon.start()
    login = {"username": "ops", "password": "pw"}
    await daemon.wait_for("sync.completed")
    key = api.keys(1)[0]
    api.do("remove_number", number=f"+{key}")
    await daemon.wait_for("alert.opened", kind="number_removed")
    async with reader(chrome, daemon, http_credentials=login, java_script_enabled=False) as who:
        await who.page.goto(f"/connections/{NAME}")
        await who.page.get_by_role("button", name="Sync now").click()
        await expect(who.page.get_by_role("status")).to_be_visible()
        await who.page.goto(f"/connections/{NAME}")
        await who.page.get_by_role("button", name="Accept as is").click()
        await expect(who.page.get_by_role("status")).to_contain_text("Accepted")
        [resolved] = await daemon.wait_for("alert.resolved", kind="number_removed")
    assert resolved["resolution"] == "accepted"


async def test_alert_is_silenced_on_a_phone_from_its_message(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """From the address in the message: a tap, the reason, another tap; no scripts needed."""
    web = {"enable_lifecycle": True}
    daemon = await troubled(run_daemon, provider, web=web)
    [alert] = (await daemon.get("/api/v1/alerts?status=firing")).json()["items"]
    phone = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "java_script_enabled": False}
    async with reader(chrome, daemon, **phone) as who:
        await who.page.goto(f"/alerts/{alert['alert_id']}")
        await who.page.get_by_label("Reason").tap()
        await who.page.keyboard.type("routing is being repaired")
        await who.page.get_by_role("button", name="Until Monday").tap()
        await expect(who.page.get_by_role("status")).to_contain_text("The silence is set")
        [resolved] = await daemon.wait_for("alert.resolved", kind="drift")
        assert resolved["resolution"] == "silenced"
        await who.page.get_by_label("Find a number").fill(alert["numbers"][0]["key"][-6:])
        await who.page.get_by_role("button", name="Find").tap()
        await expect(who.page.get_by_text("Kept quiet by a silence")).to_contain_text(
            "routing is being repaired"
        )


async def test_reader_sees_what_was_done_and_no_buttons(
    run_daemon: RunDaemon, provider: RunProvider, chrome: Browser
) -> None:
    """A user who is no operator gets every page without anything to press; the history says who did what."""
    api = await provider()
    kept = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    web = {
        "enable_lifecycle": True,
        "basic_auth_users": {"ops": kept, "viewer": kept},
        "operators": ["ops"],
        "trusted_proxies": ["127.0.0.1"],
    }
    daemon = run_daemon(settings(api, web=web))
    await daemon.start()
    await daemon.wait_for("sync.completed")
    api.do("remove_number", number=f"+{api.keys(1)[0]}")
    await daemon.wait_for("alert.opened", kind="number_removed")

    async def buttons(user: str) -> int:
        login, phone = {"username": user, "password": "pw"}, {"width": 360, "height": 780}
        count = 0
        async with reader(chrome, daemon, http_credentials=login, viewport=phone) as who:
            for path in PATHS:
                await who.page.goto(path)
                count += await who.page.locator("form[method=post] button").count()
            row = who.page.locator("#actions + p + table tbody tr > *")

            async def synced(who: Reader = who, row: Locator = row) -> bool:
                # One that is being synced already is not asked for again, and that is no action.
                await who.page.goto(f"/connections/{NAME}")
                await who.page.get_by_role("button", name="Sync now").click()
                await expect(who.page.get_by_role("status")).to_be_visible()
                await who.page.goto("/changes")
                return bool(await row.count())

            if user == "ops":
                await wait_until(synced, what="a sync that was asked for")
            await who.page.goto("/changes")
            await expect(row).to_have_text(["sync", NAME, "ops", "127.0.0.1", re.compile("20")])
            assert await who.page.evaluate("document.documentElement.scrollWidth") <= 360
            assert (await Axe().run(who.page)).response["violations"] == []
        return count

    assert await buttons("ops") > 0
    assert await buttons("viewer") == 0
