"""What the daemon exports and logs after a varied life, against the contract, names and labels literally."""

import signal
from typing import Any

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import API_KEY, Provider, RunDaemon, RunProvider, settings
from tests.servers.process import wait_until
from tests.servers.prometheus import check
from tests.servers.webhook import WebhookSink

_METRICS = """
voicelink_numbers                                             connection state
voicelink_drift_numbers                                       connection state
voicelink_issue_numbers                                       connection issue
voicelink_ignored_numbers                                     connection state
voicelink_inventory                                           connection kind
voicelink_sync_warnings                                       connection
voicelink_connection_info                                     connection account connection_id
voicelink_maintenance                                         connection
voicelink_up                                                  connection
voicelink_monitor_states_folded                               connection
voicelink_sync_held                                           connection
voicelink_sync_consecutive_failures                           connection
voicelink_sync_last_success_timestamp_seconds                 connection
voicelink_sync_last_duration_seconds                          connection
voicelink_sync_interval_seconds                               connection
voicelink_syncs_total                                         connection outcome
voicelink_sync_skipped_entries                                connection
voicelink_changes_total                                       connection change
voicelink_alerts_firing                                       kind severity
voicelink_episode_duration_seconds_bucket                     kind le
voicelink_episode_duration_seconds_count                      kind
voicelink_episode_duration_seconds_sum                        kind
voicelink_number_state                                        connection phone_number state
voicelink_monitor_build_info                                  version revision python
voicelink_monitor_config_last_reload_successful
voicelink_monitor_config_last_reload_success_timestamp_seconds
voicelink_monitor_sync_duration_seconds_bucket                le
voicelink_monitor_sync_duration_seconds_count
voicelink_monitor_schedule_delay_seconds_bucket               le
voicelink_monitor_schedule_delay_seconds_count
voicelink_monitor_budget_wait_seconds_total                   account
voicelink_monitor_deliveries_total                            receiver outcome
voicelink_monitor_deliveries_pending                          receiver
voicelink_monitor_deliveries_dead                             receiver
voicelink_monitor_oldest_pending_delivery_timestamp_seconds   receiver
voicelink_monitor_store_errors_total
voicelink_monitor_internal_errors_total
voicelink_monitor_web_connections
voicelink_monitor_web_connections_rejected_total
voicelink_monitor_event_loop_lag_seconds
voicelink_monitor_log_lines_dropped_total
voicelink_monitor_clock_offset_seconds
voicelink_monitor_replicas
process_resident_memory_bytes
process_cpu_seconds_total
"""


def _words(text: str) -> list[str]:
    return text.split()


_LABEL_VALUES = {
    ("voicelink_inventory", "kind"): {
        "clients",
        "dids",
        "available_dids",
        "bots",
        "routing",
        "local_phone_numbers",
    },
    ("voicelink_changes_total", "change"): {
        "appeared",
        "changed",
        "resolved",
        "added",
        "removed",
        "reconfigured",
    },
    ("voicelink_monitor_deliveries_total", "outcome"): {"delivered", "retried", "dead"},
    ("voicelink_monitor_deliveries_total", "receiver"): {"log", "hook"},
    ("voicelink_alerts_firing", "kind"): {
        "drift",
        "number_removed",
        "reconfigured",
        "api_unavailable",
        "account_rejected",
        "connection_rejected",
        "answer_unreadable",
        "sync_stale",
        "receiver_failing",
        "test",
    },
}

_EVENTS = _words("""
daemon.started daemon.stopped config.reloaded config.rejected sync.completed sync.failed sync.held
drift.appeared drift.changed drift.resolved number.added number.removed number.reconfigured
alert.opened alert.updated alert.resolved delivery.sent delivery.failed delivery.dead
""")
"""All but `store.failed`, which the full disk shows."""

_NUMBER_FIELDS = _words("""
connection account key phone_number state previous_state issues previous_issues action_items
did_id client_id sync_id
""")

_ALERT_FIELDS = _words("""
alert_id kind change status resolution severity summary instance connection account state started_at
updated_at resolved_at version numbers_total numbers_listed numbers numbers_added numbers_ended
connections common common_names changes_total changes first_step widespread part_of acknowledged
acknowledgement_ended
actions labels url runbook_url
""")

_ALERT_NUMBER_FIELDS = _words("""
key phone_number state previous_state issues action_items did_id client_id since flaps
""")


async def live(daemon: Daemon, api: Provider, sink: WebhookSink) -> None:
    """Let everything happen once that the metrics count and the log tells; leave one delivery waiting."""
    sink.script([503, 400])
    await daemon.start()
    for name in ("conn-0001", "conn-0002"):
        await daemon.until("voicelink_up", 1, connection=name)
    first, second, third = api.keys(3)
    api.do("remove_routing", number=first)
    [opened] = await daemon.wait_for("alert.opened")
    await daemon.wait_for("delivery.dead", alert_id=opened["alert_id"])
    api.do("unassign_agent", number=first)
    await daemon.wait_for("drift.changed")
    await daemon.wait_for("alert.updated")
    api.do("restore_routing", number=first)
    api.do("assign_agent", number=first)
    await daemon.wait_for("drift.resolved")
    await daemon.wait_for("alert.resolved")
    api.do("remove_number", number=second)
    await daemon.wait_for("number.removed")
    api.do("add_number", number=second, connection="conn-0001")
    await daemon.wait_for("number.added")
    api.do("move_number", number=third, agent="agent_other")
    await daemon.wait_for("number.reconfigured")
    api.do("warn", connection="conn-0001", warnings=["all lines are busy"])
    await daemon.until("voicelink_sync_warnings", 1, connection="conn-0001")
    api.do("fault", kind="empty", requests=1, connection="conn-0002")
    await daemon.wait_for("sync.held")
    api.do("fault", status=403, requests=1, connection="conn-0002")
    await daemon.wait_for("sync.failed", outcome="forbidden")
    await daemon.wait_for("delivery.sent")
    good = daemon.config_file.read_text()
    daemon.configure("broken = [")
    daemon.process.signal(signal.SIGHUP)
    await daemon.wait_for("config.rejected")
    await daemon.until("voicelink_monitor_config_last_reload_successful", 0)
    daemon.configure(good)
    daemon.process.signal(signal.SIGHUP)
    await daemon.wait_for("config.reloaded")
    sink.script(lambda _: 503)
    api.do("remove_routing", number=third)
    await daemon.wait_for("alert.opened", count=len(daemon.events("alert.opened")) + 1)
    await daemon.until("voicelink_monitor_deliveries_pending", 1, receiver="hook")


async def test_metrics_after_a_varied_life_are_those_of_the_contract(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Each name with exactly its labels, closed sets complete, known counters from 0; promtool is content."""
    api = await provider(build_world(2, 10))
    daemon = run_daemon(settings(api, webhook_sink, metrics={"numbers": True}))
    await live(daemon, api, webhook_sink)
    exported: dict[str, set[frozenset[str]]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for name, labels in await daemon.metrics():
        exported.setdefault(name, set()).add(frozenset(label for label, _ in labels))
        for label, value in labels:
            values.setdefault((name, label), set()).add(value)
    for row in _METRICS.strip().splitlines():
        name, *names = row.split()
        assert exported.get(name) == {frozenset(names)}, name
    for (name, label), known in _LABEL_VALUES.items():
        assert values[name, label] == known, (name, label)
    assert values["voicelink_syncs_total", "outcome"] == {"ok", "held", "forbidden"}
    ours = {name for name in exported if name.startswith("voicelink_")}
    told = {row.split()[0] for row in _METRICS.strip().splitlines()}
    assert {name for name in ours - told if not name.endswith("_sum")} <= _MORE
    assert check("promtool", "check", "metrics", text=(await daemon.get("/metrics")).text) == ""
    issue = {"connection": "conn-0001", "issue": "NO_VOCOBASE_AGENT"}
    assert await daemon.value("voicelink_issue_numbers", **issue) == 0
    await daemon.stop()


_MORE = {"voicelink_monitor_number_series_dropped"}
"""What we export beyond the contract; adding is fine, but on purpose."""


async def test_log_of_a_varied_life_is_that_of_the_contract(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Every event appears; numbers and alerts carry exactly their fields, in order."""
    api = await provider(build_world(2, 10))
    daemon = run_daemon(settings(api, webhook_sink))
    await live(daemon, api, webhook_sink)
    await daemon.stop()
    lines = daemon.lines()
    assert {line["event"] for line in lines} >= set(_EVENTS)
    for line in lines:
        fields = list(line)[3:]
        if line["event"].startswith(("drift.", "number.")):
            moved = ["depended_on", "depends_on"] if line["event"] == "number.reconfigured" else []
            assert fields == _NUMBER_FIELDS + moved
        elif line["event"].startswith("alert."):
            assert fields == _ALERT_FIELDS
            assert all(list(number) == _ALERT_NUMBER_FIELDS for number in line["numbers"])
    assert_levels(lines)


def assert_levels(lines: list[dict[str, Any]]) -> None:
    """See that a sync that changed nothing is told at debug level only, and one that did at info."""
    for line in lines:
        if line["event"] == "sync.completed":
            assert line["level"] == ("info" if line["changes"] else "debug")


async def test_metrics_before_the_first_sync_claim_nothing(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """No `voicelink_up`, the last success is 0, syncs that went well are counted from 0."""
    api = await provider()
    api.do("fault", delay="60s")
    daemon = run_daemon(settings(api, api={"timeout": "60s"}))
    await daemon.start()
    assert await daemon.value("voicelink_up", connection="conn-0001") is None
    name = "voicelink_sync_last_success_timestamp_seconds"
    assert await daemon.value(name, connection="conn-0001") == 0
    assert await daemon.value("voicelink_syncs_total", connection="conn-0001", outcome="ok") == 0
    assert not [series for series, _ in await daemon.metrics() if series == "voicelink_numbers"]


async def test_removed_connection_loses_its_series_and_a_state_once_seen_stays(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """After a restart without it, nothing names it; its alert ended as unconfigured."""
    api = await provider(build_world(2, 10))
    config = settings(api)
    daemon = run_daemon(config)
    api.do("remove_routing", numbers=1, connection="conn-0001")
    api.do("remove_routing", numbers=1, connection="conn-0002")
    await daemon.start()
    await daemon.wait_for("alert.opened", count=2)
    api.do("restore_routing", numbers=1, connection="conn-0001")
    await daemon.wait_for("alert.resolved", connection="conn-0001")
    await daemon.stop()
    [account] = config["accounts"]
    daemon.configure(config | {"accounts": [account | {"connections": account["connections"][:1]}]})
    await daemon.start()
    [ended] = await daemon.wait_for("alert.resolved", connection="conn-0002")
    assert ended["resolution"] == "unconfigured"
    assert "conn-0002" not in (await daemon.get("/metrics")).text
    gauge = {"connection": "conn-0001", "state": "ROUTING_MISSING"}
    assert await daemon.value("voicelink_drift_numbers", **gauge) == 0
    await daemon.stop()


async def test_page_and_metrics_show_no_secret(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Keys, secrets, tokens in URLs and headers stay inside, also while a receiver answers with them."""
    api = await provider()
    webhook_sink.script(lambda received: 503)
    api.do("remove_routing", numbers=1)
    daemon = run_daemon(settings(api, webhook_sink))
    await daemon.start()
    await daemon.wait_for("delivery.failed")
    for path in ("/", "/metrics", "/alerts", "/changes", "/connections/conn-0001", "/api/v1/deliveries"):
        await daemon.get(path)

    async def shown() -> bool:
        return "conn-0001" in (await daemon.get("/")).text

    await wait_until(shown, what="the page")
    assert API_KEY not in "".join(daemon.shown)
    await daemon.stop()
