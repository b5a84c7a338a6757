"""The shipped route is valid, groups by alert and connection, and reaches the right people."""

import re

import pytest

from monitor.notify.alertmanager.labels import ALERT_NAMES
from tests.integration.deploy.shipped import DEPLOY, RULE_FILES, alert_names, read_yaml
from tests.servers.prometheus import check

CONFIG = DEPLOY / "alertmanager" / "alertmanager.yml"


def test_route_is_valid() -> None:
    """Alertmanager accepts the shipped configuration."""
    assert "SUCCESS" in check("amtool", "check-config", CONFIG)


def test_route_groups_by_what_the_monitor_counts() -> None:
    """What it pushes is one notification an alert, what Prometheus raises one a connection."""
    route = read_yaml(CONFIG)["route"]
    assert route["group_by"] == ["alertname", "connection"]
    [pushed] = [child for child in route["routes"] if "group_by" in child]
    assert pushed["group_by"] == ["alertname", "alert_id"]
    assert pushed["matchers"] == ['alertname =~ "VoiceLink.+"', 'alert_id =~ ".+"']


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        pytest.param(
            ("alertname=VoiceLinkDrift", "alert_id=a1", "severity=critical"), "on-call", id="critical drift"
        ),
        pytest.param(
            ("alertname=VoiceLinkDrift", "alert_id=a1", "severity=warning"), "team", id="lesser drift"
        ),
        pytest.param(
            ("alertname=VoiceLinkReconfigured", "alert_id=a1", "severity=info"), "team", id="pushed news"
        ),
        pytest.param(("alertname=VoiceLinkMonitorDown", "severity=critical"), "on-call", id="dead monitor"),
        pytest.param(
            ("alertname=VoiceLinkConnectionBlind", "severity=critical"), "on-call", id="a blind connection"
        ),
        pytest.param(("alertname=VoiceLinkReconfigured", "severity=info"), "team", id="news"),
        pytest.param(("alertname=VoiceLinkTest", "severity=critical"), "team", id="a test wakes nobody"),
        pytest.param(("alertname=DiskFull", "severity=critical"), "team", id="not ours"),
    ],
)
def test_alert_goes_to(labels: tuple[str, ...], receiver: str) -> None:
    """The severity decides who is told."""
    said = check("amtool", "config", "routes", "test", f"--config.file={CONFIG}", *labels)
    assert said.splitlines()[-1] == receiver


def test_inhibitions_name_alerts_that_exist() -> None:
    """A renamed alert cannot silently lose its inhibition."""
    known = set(ALERT_NAMES.values()) | alert_names(*RULE_FILES)
    named = set(re.findall(r"VoiceLink\w+", str(read_yaml(CONFIG)["inhibit_rules"])))
    assert named <= known


@pytest.mark.parametrize(
    "drift",
    [
        "VoiceLinkDrift",
        "VoiceLinkNumberRemoved",
        "VoiceLinkReconfigured",
        *sorted(alert_names("drift.rules.yml")),
    ],
)
def test_blind_beats_drift(drift: str) -> None:
    """A blind connection inhibits all alerts about its numbers."""
    blind = [
        rule
        for rule in read_yaml(CONFIG)["inhibit_rules"]
        if "VoiceLinkConnectionBlind" in rule["source_matchers"][0] and rule["equal"] == ["connection"]
    ]
    assert any(drift in re.findall(r"\w+", rule["target_matchers"][0]) for rule in blind)
