"""From what the provider answers to what people are told, by the rules that keep on-call asleep."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from monitor.simulator import build_world
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, changes, settings, told_ends
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink


async def test_one_empty_answer_pages_nobody(run_daemon: RunDaemon, provider: RunProvider) -> None:
    """It is held, shown as held, and forgotten with the next good answer."""
    api = await provider()
    daemon = run_daemon(settings(api))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    api.do("fault", kind="empty", requests=1)
    await daemon.wait_for("sync.held")
    done = len(daemon.events("sync.completed"))
    await daemon.wait_for("sync.completed", count=done + 3)
    await daemon.until("voicelink_sync_held", 0, connection="conn-0001")
    assert await daemon.value("voicelink_inventory", connection="conn-0001", kind="dids") == 10
    assert await daemon.value("voicelink_syncs_total", connection="conn-0001", outcome="held") == 1
    assert await daemon.alerts() == {}
    assert not daemon.events("alert.opened", "number.removed")
    await daemon.stop()


async def test_api_that_dies_for_forty_connections_is_one_page(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """One cause, one alert, that names all forty by the time it is over."""
    api = await provider(build_world(40, 3))
    daemon = run_daemon(settings(api, webhook_sink))
    await daemon.start()
    names = [f"conn-{place:04d}" for place in range(1, 41)]

    async def shown(value: float) -> bool:
        metrics = await daemon.metrics()
        return all(
            metrics.get(("voicelink_up", frozenset({("connection", name)}))) == value for name in names
        )

    await wait_until(lambda: shown(1), what="forty connections up")
    await api.down()
    await wait_until(lambda: shown(0), what="forty connections down")
    await daemon.wait_for("alert.opened", kind="api_unavailable")

    def all_named() -> bool:
        told = daemon.events("alert.opened", "alert.updated", kind="api_unavailable")
        return bool(told[-1]["connections"] == names)

    await wait_until(all_named, what="an alert that names all")
    await api.up()
    [story] = await told_ends(webhook_sink, 1)
    assert story[0]["kind"] == "api_unavailable"
    assert story[0]["numbers"] == []
    assert any("40 connections" in alert["summary"] for alert in story)
    assert story[-1]["resolution"] == "recovered"
    await daemon.stop()


async def test_three_hundred_of_a_thousand_at_once_is_one_alert(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """It says 300 and lists 50, and what they share."""
    api = await provider(build_world(1, 1000, clients=1, bots=1))
    daemon = run_daemon(settings(api, webhook_sink, guard={"ratio": 0.5}))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    api.do("remove_routing", numbers=300)
    [opened] = await daemon.wait_for("alert.opened")
    assert (opened["numbers_total"], opened["numbers_listed"], len(opened["numbers"])) == (300, 50, 50)
    assert "300 numbers ROUTING_MISSING" in opened["summary"]
    assert opened["severity"] == "critical"
    assert opened["actions"][0]["numbers"] == 300
    assert opened["common"]["client_id"] == opened["numbers"][0]["client_id"]
    assert not daemon.events("sync.held")
    api.do("restore_routing", numbers=300)
    [story] = await told_ends(webhook_sink, 1)
    assert (story[-1]["numbers_total"], story[-1]["numbers_ended"]) == (300, 300)
    await daemon.stop()


async def test_known_broken_number_does_not_swallow_the_page_for_all_others(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """One of 500 is known to be broken; the other 499 are held, believed, and an alert of their own."""
    api = await provider(build_world(1, 500))
    config = settings(api, webhook_sink, guard={"ratio": 0.5}, alerts={"update_interval": "0s"})
    daemon = run_daemon(config)
    api.do("remove_routing", numbers=1)
    await daemon.start()
    [known] = await daemon.wait_for("alert.opened")
    api.do("remove_routing", numbers=500)
    _, rest = await daemon.wait_for("alert.opened", count=2)
    assert (known["numbers_total"], rest["numbers_total"]) == (1, 499)
    assert known["alert_id"] != rest["alert_id"]
    assert len(daemon.events("sync.held")) >= 2
    api.do("restore_routing", numbers=500)
    told = await told_ends(webhook_sink, 2)
    assert sorted(story[-1]["numbers_total"] for story in told) == [1, 499]
    await daemon.stop()


async def test_number_that_flaps_is_one_alert_with_its_flaps_counted(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Broken again inside keep_firing_for: nothing new is told."""
    api = await provider()
    daemon = run_daemon(settings(api, webhook_sink, drift={"keep_firing_for": "6s"}))
    api.do("remove_routing", numbers=1)
    await daemon.start()
    await daemon.wait_for("alert.opened")
    api.do("restore_routing", numbers=1)
    await daemon.wait_for("drift.resolved")
    api.do("remove_routing", numbers=1)
    await daemon.wait_for("drift.appeared", count=2)
    api.do("restore_routing", numbers=1)
    [story] = await told_ends(webhook_sink, 1)
    assert changes(story) == ["opened", "resolved"]
    assert [number["flaps"] for number in story[-1]["numbers"]] == [1]
    await daemon.stop()


async def test_ignore_rule_added_by_a_restart_ends_the_alert_as_ignored(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """The word is not `recovered`; the gauges still count the number as drifting, and as ignored."""
    api = await provider()
    daemon = run_daemon(settings(api, webhook_sink))
    api.do("unassign_agent", numbers=2)
    await daemon.start()
    await daemon.wait_for("alert.opened")
    await daemon.stop()
    spare = {"connection": "conn-*", "issue": "NO_VOCOBASE_AGENT", "reason": "spare numbers"}
    daemon.configure(settings(api, webhook_sink, ignore=[spare]))
    await daemon.start()
    [story] = await told_ends(webhook_sink, 1)
    assert story[-1]["resolution"] == "ignored"
    assert "not recovered" in story[-1]["summary"]
    await daemon.until("voicelink_ignored_numbers", 2, connection="conn-0001", state="NO_VOCOBASE_AGENT")
    gauge = {"connection": "conn-0001", "state": "NO_VOCOBASE_AGENT"}
    assert await daemon.value("voicelink_drift_numbers", **gauge) == 2
    await daemon.stop()


async def test_expired_number_that_looks_ready_is_drifting(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Its state and its issue are EXPIRED, in the alert and in the gauges."""
    api = await provider()
    daemon = run_daemon(settings(api, webhook_sink, severity={"EXPIRED": "critical"}))
    api.do("expire", numbers=1)
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened", state="EXPIRED", severity="critical")
    [number] = opened["numbers"]
    assert (number["state"], number["issues"]) == ("EXPIRED", ["EXPIRED"])
    assert await daemon.value("voicelink_issue_numbers", connection="conn-0001", issue="EXPIRED") == 1
    api.do("renew", numbers=1)
    [story] = await told_ends(webhook_sink, 1)
    assert story[-1]["resolution"] == "recovered"
    await daemon.stop()


def _gone(api: Provider) -> None:
    api.do("remove_connection", connection="conn-0001")


def _back(api: Provider) -> None:
    api.do("add_connection", name="conn-0001")


@pytest.mark.parametrize(
    ("kind", "outcome", "spoil", "mend"),
    [
        pytest.param(
            "account_rejected",
            "unauthorized",
            lambda api: api.do("revoke_key"),
            lambda api: api.do("restore_key"),
            id="wrong key",
        ),
        pytest.param(
            "account_rejected",
            "forbidden",
            lambda api: api.do("suspend"),
            lambda api: api.do("unsuspend"),
            id="suspended account",
        ),
        pytest.param("connection_rejected", "not_found", _gone, _back, id="unknown connection"),
        pytest.param(
            "answer_unreadable",
            "invalid_response",
            lambda api: api.do("fault", kind="garbage"),
            lambda api: api.do("clear_faults"),
            id="garbage",
        ),
        pytest.param(
            "answer_unreadable",
            "too_large",
            lambda api: api.do("fault", kind="bomb", size_mib=3),
            lambda api: api.do("clear_faults"),
            id="bomb",
        ),
        pytest.param(
            "api_unavailable",
            "server_error",
            lambda api: api.do("fault", status=500),
            lambda api: api.do("clear_faults"),
            id="server error",
        ),
    ],
)
async def test_failure_of_syncs_is_an_alert_of_its_kind(
    run_daemon: RunDaemon,
    provider: RunProvider,
    webhook_sink: WebhookSink,
    kind: str,
    outcome: str,
    spoil: Callable[[Provider], None],
    mend: Callable[[Provider], None],
) -> None:
    """The gauges stay as they were, no number changes, and the alert ends when syncs answer again."""
    api = await provider(build_world(1, 10))
    daemon = run_daemon(settings(api, webhook_sink, api={"max_response_size": "1MiB"}))
    api.do("remove_routing", numbers=1)
    await daemon.start()
    await daemon.wait_for("alert.opened", kind="drift")
    before = await snapshot_gauges(daemon.gauges)
    spoil(api)
    [opened] = await daemon.wait_for("alert.opened", kind=kind)
    assert opened["connections"] == ["conn-0001"]
    assert await daemon.value("voicelink_up", connection="conn-0001") == 0
    failed = await daemon.value("voicelink_syncs_total", connection="conn-0001", outcome=outcome)
    assert failed is not None
    assert failed >= 3
    assert await snapshot_gauges(daemon.gauges) == before
    assert not daemon.events("alert.resolved", "drift.resolved", "number.removed")
    mend(api)
    await daemon.wait_for("alert.resolved", kind=kind, resolution="recovered")
    await daemon.until_firing({"drift": 1})
    await daemon.stop()


async def snapshot_gauges(gauges: Callable[[], Any]) -> Mapping[Any, float]:
    """Return the gauges of the applied snapshot, without the time at which it was confirmed."""
    found: dict[Any, float] = await gauges()
    return {series: value for series, value in found.items() if "timestamp" not in series[0]}
