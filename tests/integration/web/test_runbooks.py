"""The runbooks on the monitor's own pages: there for every alert, and readable while nothing else is."""

import re
from pathlib import Path
from urllib.parse import urljoin

import httpx
import msgspec
import pytest
from sqlalchemy import insert

import monitor.web
from monitor.config import load_config
from monitor.daemon.watchlist import wording_of
from monitor.drift.alert import Kind, encode_body
from monitor.store.tables import alerts
from monitor.web.pages.runbooks import runbooks
from tests.fakes.alerts import BODY
from tests.fakes.clock import START
from tests.integration.web.site import Site


def links(page: httpx.Response) -> set[str]:
    """Return where the links of a page's main part lead."""
    main = page.text.partition("<main")[2].partition("</main>")[0]
    return {urljoin(str(page.url), to) for to in re.findall(r'href="([^"]+)"', main)}


@pytest.mark.parametrize("root", ["", "https://ops.example.com/monitor"])
async def test_runbooks_link_to_each_other(site: Site, root: str) -> None:
    """From the list to each, and from one to another, also behind a proxy with a path of its own."""
    site.external_url = root or None
    async with site.serve():
        base = "/monitor" if root else ""
        found = links(await site.client.get(f"{base}/runbooks"))
        assert {url.rpartition("/")[2] for url in found} == set(runbooks())
        for url in found:
            page = await site.client.get(url)
            assert page.status_code == 200, url
            assert links(page) <= {*found, url.rpartition("/")[0]}, url


async def test_runbook_is_a_page_like_the_others(site: Site) -> None:
    """It is rendered, within the policy of all pages, and needs no store."""
    async with site.serve():
        await site.database.close()
        page = await site.client.get("/runbooks/number_removed")
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<h1>number_removed: numbers are gone</h1>" in page.text
        assert "<code>voicelink-monitor changes --connection NAME</code>" in page.text
        assert '<a href="reconfigured">' in page.text


async def test_unknown_runbook_leads_to_those_that_exist(site: Site) -> None:
    """An old link, or one of a newer version, is answered with the list."""
    async with site.serve():
        page = await site.client.get("/runbooks/<i>nothing")
        assert page.status_code == 404
        assert "There is no runbook “&lt;i&gt;nothing”" in page.text
        assert {url.rpartition("/")[2] for url in links(page)} == set(runbooks())


@pytest.mark.parametrize(
    ("values", "base"),
    [
        ({"EXTERNAL_URL": "https://m.example.com/"}, "https://m.example.com/runbooks"),
        ({"EXTERNAL_URL": "https://m.example.com/path"}, "https://m.example.com/path/runbooks"),
        ({"EXTERNAL_URL": "https://m.example.com", "RUNBOOK_BASE_URL": "https://r/x/"}, "https://r/x"),
        ({}, None),
    ],
)
def test_alerts_link_to_the_own_runbooks_by_default(values: dict[str, str], base: str | None) -> None:
    """Where people reach the monitor, its runbooks are as near; another place has to be configured."""
    environ = {f"VOICELINK_MONITOR_ALERTS__{name}": value for name, value in values.items()}
    config = load_config(None, {"VOICELINK_API_KEY": "rg_live_x"} | environ, now=START)
    assert wording_of(config).runbook_base_url == base


@pytest.mark.parametrize(
    ("runbook_url", "to"), [(None, "/runbooks/drift"), ("https://r.example/drift", "https://r.example/drift")]
)
async def test_page_of_an_alert_links_to_its_runbook(site: Site, runbook_url: str | None, to: str) -> None:
    """Even where no address is configured that alerts elsewhere could link to."""
    body = msgspec.structs.replace(BODY, runbook_url=runbook_url)
    row = {"id": body.alert_id, "scope": "a", "version": 1, "started_at": START, "updated_at": START}
    named = {name: getattr(body, name) for name in ("kind", "status", "severity")}
    async with site.database.write() as tx:
        await tx.execute(insert(alerts).values(row | named | {"body": encode_body(body)}))
    async with site.serve():
        page = await site.client.get(f"/alerts/{body.alert_id}")
    assert f'<a href="{to}" rel="noreferrer">Runbook</a>' in page.text


def test_every_kind_has_a_runbook() -> None:
    """No alert leads to a page that does not exist."""
    assert set(Kind) <= set(runbooks())


def test_runbooks_hold_no_html() -> None:
    """Raw HTML would be shown as text."""
    folder = Path(monitor.web.__path__[0]) / "runbooks"
    assert not [file.name for file in folder.glob("*.md") if "<" in re.sub(r"`[^`]*`", "", file.read_text())]
