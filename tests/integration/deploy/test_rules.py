"""The shipped rules are valid, tested both ways, use existing metrics and have runbooks."""

from typing import Any

import pytest

from monitor.drift.alert import Kind, Severity
from monitor.notify.alertmanager.labels import ALERT_NAMES
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
    rules,
)
from tests.servers.prometheus import check

TESTS = DEPLOY / "prometheus" / "tests"
ALERTS = [
    pytest.param(rule, id=f"{rule['alert']}-{rule['labels']['severity']}") for rule in rules(*RULE_FILES[1:])
]
FROM_PROMETHEUS = {"job", "instance", "le"}


def test_prometheus_config_is_valid() -> None:
    """Prometheus accepts the shipped configuration with the rules that it names."""
    assert "2 rule files found" in check(
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


@pytest.mark.parametrize("name", ["health", "drift"])
def test_every_alert_is_tested_both_ways(name: str) -> None:
    """Each alert has a case in which it fires, with each of its severities, and one in which it does not."""
    fires: set[tuple[str, str]] = set()
    silent: set[str] = set()
    for case in read_yaml(TESTS / f"{name}.test.yml")["tests"]:
        for asked in case["alert_rule_test"]:
            fires |= {(asked["alertname"], each["exp_labels"]["severity"]) for each in asked["exp_alerts"]}
            if not asked["exp_alerts"]:
                silent.add(asked["alertname"])
    file = f"{name}.rules.yml"
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in rules(file)}
    assert silent == alert_names(file)


def test_every_recorded_series_is_tested() -> None:
    """Each recorded series has a value in a test, or feeds one that has."""
    tests = (TESTS / "recording.test.yml").read_text()
    recorded = {rule["record"]: rule["expr"] for rule in rules("recording.rules.yml")}
    tested = {name for name in recorded if name in tests}
    while more := {name for of in tested for name in recorded_names(recorded[of])} - tested:
        tested |= more
    assert tested == set(recorded)


async def test_rules_name_what_the_daemon_exports(exported: Exported) -> None:
    """No rule uses a metric or label that does not exist."""
    recorded = {rule["record"] for rule in rules("recording.rules.yml")}
    for rule in rules(*RULE_FILES):
        assert metric_names(rule["expr"]) <= exported.metrics, rule
        assert label_names(rule["expr"]) <= exported.labels | FROM_PROMETHEUS, rule
        assert recorded_names(rule["expr"]) <= recorded, rule
        assert (
            metric_names(rule["expr"]) | recorded_names(rule["expr"])
            or "up{" in rule["expr"]
            or "vector" in rule["expr"]
        )


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
    replicas = rule.get("alert") in {"VoiceLinkConfigReloadFailed", "VoiceLinkReplicaDown"}
    assert ("instance" in label_names(rule["expr"])) == replicas
    for metric in metric_names(rule["expr"]):
        assert f"({metric}" in rule["expr"], f"{metric} is not aggregated in {rule['expr']}"
