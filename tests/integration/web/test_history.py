"""The past of a connection in the API: how available its numbers were, and the alerts that ended."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, update

from monitor.clock import rfc3339
from monitor.drift.alert import Resolution, Status, encode_body
from monitor.drift.snapshot import Counts
from monitor.store.tables import alerts, connections
from tests.fakes.alerts import BODY
from tests.fakes.clock import START
from tests.integration.web.site import CODEC, Site

SYNCED = {
    "counts": CODEC.pack_counts(Counts(states={"READY": 9, "NO_BOT": 1}, drifting={"NO_BOT": 1})),
    "outcome": "ok",
    "answers": 1,
    "synced_at": START,
    "succeeded_at": START,
}


async def detail(site: Site) -> Any:
    """Return what the API says of the connection."""
    async with site.serve():
        return (await site.client.get("/api/v1/connections/acme-sales")).json()


@pytest.mark.parametrize(
    ("stands", "ready", "unknown_s"),
    [
        pytest.param({"synced_at": None, "succeeded_at": None, "outcome": None}, None, 60.0, id="never seen"),
        pytest.param({}, 0.9, 0.0, id="seen"),
        pytest.param({"failures": 1, "answers": 0, "outcome": "timeout"}, None, 60.0, id="failing"),
        pytest.param({"held": 1, "outcome": "held"}, None, 60.0, id="held"),
        pytest.param({"succeeded_at": START - timedelta(minutes=2)}, None, 60.0, id="overdue"),
    ],
)
async def test_availability_counts_only_what_is_seen(
    site: Site, stands: dict[str, Any], ready: float | None, unknown_s: float
) -> None:
    """From the watch's begin on; a connection that cannot be seen now is unknown since its last answer."""
    await site.watch("acme-sales")
    async with site.database.write() as tx:
        await tx.execute(update(connections).values(SYNCED | stands))
    await site.clock.advance(60)
    found = (await detail(site))["availability"]
    expected = {"ready": ready, "unknown_s": unknown_s, "since": rfc3339(START)}
    assert found == {"24h": expected, "7d": expected, "30d": expected}


async def test_page_says_since_when_it_knows(site: Site) -> None:
    """Of a span that is longer than the watch, or than what is kept, it says where its records begin."""
    await site.watch("acme-sales")
    async with site.database.write() as tx:
        begun = START - timedelta(days=10)
        await tx.execute(update(connections).values({**SYNCED, "watched_since": begun}))
    await site.clock.advance(60)
    async with site.serve():
        page = (await site.client.get("/connections/acme-sales")).text
    spans = {span: page.partition(f"Ready over {span}")[2].partition("</div>")[0] for span in ("7d", "30d")}
    assert ["no earlier records" in said for said in spans.values()] == [False, True]
    assert f'datetime="{begun:%Y-%m-%d}T' in spans["30d"]


async def test_ended_alerts_say_how_long_they_fired(site: Site) -> None:
    """Those of the connection itself, of 30 days, in short."""
    await site.watch("acme-sales")
    began, now = START - timedelta(days=40), START
    lives = {
        "old": (began, began + timedelta(days=1)),
        "long": (began, now - timedelta(days=1)),
        "short": (now - timedelta(minutes=90), now - timedelta(minutes=30)),
        "firing": (now - timedelta(minutes=5), None),
    }
    rows = []
    for alert_id, (started_at, resolved_at) in lives.items():
        body = msgspec.structs.replace(
            BODY,
            alert_id=alert_id,
            started_at=rfc3339(started_at),
            resolved_at=rfc3339(resolved_at) if resolved_at else None,
            resolution=Resolution.RECOVERED if resolved_at else None,
            status=Status.RESOLVED if resolved_at else Status.FIRING,
        )
        row = {name: getattr(body, name) for name in ("kind", "status", "severity", "version", "resolution")}
        times = {"started_at": started_at, "updated_at": started_at, "resolved_at": resolved_at}
        rows.append({"id": alert_id, "scope": "a", "body": encode_body(body)} | row | times)
    async with site.database.write() as tx:
        await tx.execute(insert(alerts), rows)
    answer = await detail(site)
    assert [each["alert_id"] for each in answer["alerts"]] == ["firing"]
    assert [(each["alert_id"], each["duration_s"]) for each in answer["ended_alerts"]] == [
        ("short", 3600.0),
        ("long", 39 * 86_400.0),
    ]
    assert answer["ended_alerts"][0]["resolution"] == "recovered"
