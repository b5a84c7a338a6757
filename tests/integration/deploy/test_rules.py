"""The shipped rules are valid, tested both ways, use existing metrics and have runbooks."""

import re
from datetime import timedelta
from typing import Any

import pytest

from monitor.drift.alert import Kind, Severity
from monitor.notify.alertmanager.labels import ALERT_NAMES
from monitor.units import parse_duration
from tests.integration.deploy.conftest import Exported
from tests.integration.deploy.shipped import (
    DEPLOY,
    RULE_FILES,
    RULES,
    RUNBOOK_URL,
    RUNBOOKS,
    alert_names,
    label_names,
    metric_names,
    read_yaml,
    recorded_names,
    recorded_series,
    rules,
)
from tests.servers.prometheus import check

TESTS = DEPLOY / "prometheus" / "tests"
ALERTS = [
    pytest.param(rule, id=f"{rule['alert']}-{rule['labels']['severity']}")
    for rule in rules(*RULE_FILES)
    if "alert" in rule
]
FROM_PROMETHEUS = {"job", "instance", "le"}
FROM_OTHERS: dict[str, set[str]] = {
    "alertmanager_config_last_reload_successful": set(),
    "alertmanager_notifications_failed_total": {"integration"},
    "prometheus_config_last_reload_successful": set(),
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
}
"""What the rules use of other programs, with its labels."""

WITHOUT_RULE = {
    "voicelink_issue_numbers": "the numbers have a state, too",
    "voicelink_inventory": "nothing is wrong with any value",
    "voicelink_number_state": "the numbers are counted by state",
    "voicelink_syncs_total": "voicelink_up says whether the last one was answered",
    "voicelink_sync_consecutive_failures": "voicelink_up",
    "voicelink_sync_last_duration_seconds": "slow syncs make others late, which has a rule",
    "voicelink_sync_warnings": "the provider's words; what comes with a new one is held if it is suspicious",
    "voicelink_alerts_firing": "is told by the monitor",
    "voicelink_monitor_build_info": "joins labels",
    "voicelink_monitor_replicas": "a replica that is down is a target that is down",
    "voicelink_monitor_replica_start_timestamp_seconds": "a replica that is down is a target that is down",
    "voicelink_monitor_config_last_reload_success_timestamp_seconds": "an old config is fine",
    "voicelink_monitor_sync_duration_seconds": "slow syncs make others late, which has a rule",
    "voicelink_monitor_budget_wait_seconds_total": "paces requests; too much of it makes syncs late",
    "voicelink_monitor_event_loop_lag_seconds": "makes syncs late",
    "voicelink_monitor_deliveries_pending": "how long they have waited has a rule",
    "voicelink_monitor_web_connections": "those that were rejected have a rule",
}
"""Metrics that no rule looks at, and why not."""


def test_prometheus_config_is_valid() -> None:
    """Prometheus accepts the shipped configuration with the rules that it names."""
    assert "3 rule files found" in check(
        "promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml"
    )


@pytest.mark.parametrize("name", RULE_FILES)
def test_rule_file_is_valid(name: str) -> None:
    """Prometheus accepts every rule file, including the one that is off by default."""
    assert "SUCCESS" in check("promtool", "check", "rules", RULES / name)


@pytest.mark.parametrize("name", sorted(path.name for path in TESTS.iterdir()))
def test_rules_do_what_their_tests_say(name: str) -> None:
    """Every rule fires and resolves as its test says."""
    assert "SUCCESS" in check("promtool", "test", "rules", TESTS / name)


@pytest.mark.parametrize("rule", ALERTS)
def test_every_alert_is_tested_both_ways(rule: dict[str, Any]) -> None:
    """Each alert has a case in which it fires, with each of its severities, and one in which it does not."""
    expected = [
        [each["exp_labels"]["severity"] for each in asked["exp_alerts"]]
        for test in TESTS.iterdir()
        for case in read_yaml(test)["tests"]
        for asked in case.get("alert_rule_test", ())
        if asked["alertname"] == rule["alert"]
    ]
    assert [] in expected
    assert any(rule["labels"]["severity"] in severities for severities in expected)


def test_every_recorded_series_is_tested() -> None:
    """Each recorded series has a value in a test, or feeds an alert or a series that has."""
    tests = (TESTS / "recording.test.yml").read_text()
    recorded = recorded_series()
    tested = {name for name in recorded if name in tests}
    tested |= {
        name for rule in rules(*RULE_FILES) if "alert" in rule for name in recorded_names(rule["expr"])
    }
    while more := {name for of in tested for name in recorded_names(recorded[of])} - tested:
        tested |= more
    assert tested == set(recorded)


@pytest.mark.parametrize("name", RULE_FILES)
def test_recorded_series_have_no_gaps(name: str) -> None:
    """Every group records at least once within the 5 minutes for which Prometheus looks back."""
    for group in read_yaml(RULES / name)["groups"]:
        assert parse_duration(group.get("interval", "15s")) <= timedelta(minutes=4)


def test_burn_rates_need_half_of_their_window() -> None:
    """A burn rate is claimed only where at least half of the samples that its window can hold are there."""
    found = 0
    for group in (group for name in RULE_FILES for group in read_yaml(RULES / name)["groups"]):
        for rule in group["rules"]:
            counted = re.search(r"count_over_time\((\S+)\[(\w+)\]\) >= (\d+)", rule["expr"])
            if counted is None:
                continue
            source, window, least = counted.groups()
            assert rule["record"] == f"connection:voicelink_readiness_burn:rate{window}"
            assert rule["expr"].count(f"({source}[{window}])") == 2
            assert int(least) * 2 * parse_duration(interval_of(source)) == parse_duration(window)
            found += 1
    assert found == 7


def interval_of(recorded: str) -> str:
    """Return how often a series is recorded."""
    [interval] = [
        group["interval"]
        for group in read_yaml(RULES / "recording.rules.yml")["groups"]
        if recorded in [rule["record"] for rule in group["rules"]]
    ]
    return str(interval)


async def test_rules_name_what_the_daemon_exports(exported: Exported) -> None:
    """No rule uses a metric or label that does not exist."""
    labels = exported.labels | FROM_PROMETHEUS
    for rule in rules(*RULE_FILES):
        assert metric_names(rule["expr"]) <= exported.metrics, rule
        assert recorded_names(rule["expr"]) <= recorded_series().keys(), rule
        others = [name for name in FROM_OTHERS if name in rule["expr"]]
        assert label_names(rule["expr"]) <= labels.union(*(FROM_OTHERS[name] for name in others)), rule
        assert (
            metric_names(rule["expr"])
            or recorded_names(rule["expr"])
            or others
            or "up{" in rule["expr"]
            or "vector" in rule["expr"]
        )


async def test_every_metric_has_a_rule_or_a_reason(exported: Exported) -> None:
    """A metric whose value may mean that something goes unseen is not forgotten."""
    ruled = set().union(*(metric_names(rule["expr"]) for rule in rules(*RULE_FILES)))
    known = {re.sub("_(bucket|sum|count)$", "", name) for name in exported.metrics if "voicelink_" in name}
    ruled = {re.sub("_(bucket|sum|count)$", "", name) for name in ruled}
    assert known - ruled == WITHOUT_RULE.keys() & known
    assert not ruled & WITHOUT_RULE.keys()


def test_alerts_do_not_clash_with_the_pushed_ones() -> None:
    """A rule's alert and a pushed one never share a name."""
    assert not alert_names(*RULE_FILES) & set(ALERT_NAMES.values())
    assert set(ALERT_NAMES) == set(Kind)


@pytest.mark.parametrize("rule", ALERTS)
def test_alert_tells_people_what_they_need(rule: dict[str, Any]) -> None:
    """Each has a known severity, a summary, a description, and a runbook under its name."""
    assert rule["labels"]["severity"] in set(Severity)
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK_URL}/{rule['alert']}"
    assert (RUNBOOKS / rule["alert"] / "README.md").is_file()


@pytest.mark.parametrize("rule", [rule for rule in rules(*RULE_FILES) if "voicelink_" in rule["expr"]])
def test_rule_counts_replicas_once(rule: dict[str, Any]) -> None:
    """Every replica exports every connection: no rule but one about replicas keeps their label."""
    replicas = rule.get("alert") in {
        "VoiceLinkClockOffset",
        "VoiceLinkConfigReloadFailed",
        "VoiceLinkReplicaDown",
    }
    assert ("instance" in label_names(rule["expr"])) == replicas
    for metric in metric_names(rule["expr"]):
        assert f"({metric}" in rule["expr"], f"{metric} is not aggregated in {rule['expr']}"
