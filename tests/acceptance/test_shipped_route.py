"""The real daemon, and the real Alertmanager with the shipped configuration: one cause, one notification."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.integration.deploy.channels import Channels, ShippedAlertmanager
from tests.servers.process import running, wait_until

CONNECTIONS = [f"conn-{place:04d}" for place in range(1, 14)]


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    """Open doubles of PagerDuty and Slack."""
    async with Channels() as opened:
        yield opened


@pytest.fixture
async def shipped(tmp_path: Path, channels: Channels) -> AsyncIterator[ShippedAlertmanager]:
    """Run the shipped Alertmanager with both channels; it waits for a shorter time."""
    made = ShippedAlertmanager.copied(tmp_path / "am", channels, group_wait="1s", group_interval="1s")
    made.give(channels.secrets)
    async with running(made):
        yield made


def incidents(channels: Channels) -> Counter[str]:
    """Return how many incidents were opened, by the alerts' name and state."""
    details = [str(incident["custom_details"]) for incident in channels.incidents()]
    found = [dict(re.findall(r"- (alertname|state) = (\w+)", text)) for text in details]
    return Counter(" ".join(each.values()) for each in found)


def blind(*, ends_at: str | None = None) -> list[dict[str, Any]]:
    """Return what Prometheus posts about connections whose syncs fail."""
    labels = {"alertname": "VoiceLinkConnectionBlind", "severity": "critical", "job": "voicelink-monitor"}
    end = {"endsAt": ends_at} if ends_at else {}
    return [{"labels": {**labels, "connection": each}, **end} for each in CONNECTIONS]


async def until_held(shipped: ShippedAlertmanager, name: str, **states: int) -> None:
    """Wait until Alertmanager holds just so many alerts of this name in these states."""

    async def reached() -> bool:
        held = await shipped.alerts()
        found = Counter(each["status"]["state"] for each in held if each["labels"]["alertname"] == name)
        return found == states

    await wait_until(reached, what=f"{name} {states}")


async def test_one_cause_is_one_notification(
    run_daemon: RunDaemon, provider: RunProvider, shipped: ShippedAlertmanager, channels: Channels
) -> None:
    """What the monitor counts as an alert is an incident, and what follows from it is none.

    Drift is hidden while a connection is blind, but not while the alert about its failed syncs fires on.
    """
    api = await provider(build_world(len(CONNECTIONS), 30))
    config = settings(api, alerts={"update_interval": "5m"}, drift={"keep_firing_for": "10m"})
    config["receivers"] = [
        {"name": "am", "type": "alertmanager", "urls": [shipped.url], "resend_interval": "1s"}
    ]
    daemon = run_daemon(config)
    await daemon.start()
    for connection in CONNECTIONS:
        await daemon.until("voicelink_up", 1, connection=connection)

    async def until(expected: dict[str, int]) -> None:
        await wait_until(lambda: incidents(channels).total() >= sum(expected.values()), what=str(expected))
        assert incidents(channels) == expected

    # Thirty numbers of one connection; twelve connections with one cause, of which five are told each.
    api.do("remove_routing", numbers=30, connection=CONNECTIONS[0])
    for connection in CONNECTIONS[1:]:
        api.do("unassign_agent", numbers=2, connection=connection)
    told = {"VoiceLinkDrift ROUTING_MISSING": 1, "VoiceLinkDrift NO_VOCOBASE_AGENT": 6}
    await until(told)
    await until_held(shipped, "VoiceLinkDrift", active=30 + 24)

    # A provider that is down, of which Prometheus hears as well.
    api.do("fault", status=503)
    told["VoiceLinkApiUnavailable"] = 1
    await until(told)
    await until_held(shipped, "VoiceLinkApiUnavailable", active=len(CONNECTIONS))
    await shipped.post(*blind())
    await until_held(shipped, "VoiceLinkConnectionBlind", suppressed=len(CONNECTIONS))
    await until_held(shipped, "VoiceLinkDrift", suppressed=54)

    # It answers again: what breaks now is told at once, though the failure still fires.
    api.do("clear_faults")
    await shipped.post(*blind(ends_at=datetime.now(UTC).isoformat()))
    api.do("set_state", number=api.keys(30, connection=13)[-1], state="SUSPENDED", issues=["NO_BOT"])
    told["VoiceLinkDrift SUSPENDED"] = 1
    await until(told)
    await until_held(shipped, "VoiceLinkApiUnavailable", active=len(CONNECTIONS))

    api.do("revoke_key")
    told["VoiceLinkAccountRejected"] = 1
    await until(told)

    opened = [each["alert_id"] for each in daemon.events("alert.opened") if each["part_of"] is None]
    named = re.findall(r"- alert_id = (\w+)", str(channels.incidents()))
    assert set(opened) == set(named)
    assert len(opened) == incidents(channels).total()
    assert [each["summary"] for each in channels.incidents() if each["summary"].endswith(" (1 of 30)")]
    assert await shipped.failed() == 0
