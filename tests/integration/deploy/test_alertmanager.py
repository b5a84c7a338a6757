"""The shipped route is valid, groups by alert and connection, and reaches the right people."""

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.drift.alert import Kind, Severity
from monitor.drift.rules import Severities
from monitor.notify.alertmanager.labels import ALERT_NAMES
from tests.integration.deploy.channels import Channels, ShippedAlertmanager, unprivileged
from tests.integration.deploy.shipped import DEPLOY, RULE_FILES, alert_names, read_yaml, rules
from tests.servers.process import running, wait_until
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


def inhibitions() -> list[tuple[set[str], set[str], list[str]]]:
    """Return which alerts inhibit which, and by which labels."""
    return [
        (
            set(re.findall(r"VoiceLink\w+", str(rule["source_matchers"]))),
            set(re.findall(r"VoiceLink\w+", str(rule["target_matchers"]))),
            rule["equal"],
        )
        for rule in read_yaml(CONFIG)["inhibit_rules"]
    ]


DRIFT = [
    *(ALERT_NAMES[kind] for kind in (Kind.DRIFT, Kind.NUMBER_REMOVED, Kind.RECONFIGURED)),
    *sorted(alert_names("drift.rules.yml")),
]


@pytest.mark.parametrize("drift", DRIFT)
def test_blind_beats_drift(drift: str) -> None:
    """A blind connection inhibits all alerts about its numbers.

    The monitor's own alerts about failed syncs do not: they fire on after the connection is seen again.
    """
    sources = {name for source, target, _ in inhibitions() if drift in target for name in source}
    assert sources - {"VoiceLinkDrift"} == {"VoiceLinkConnectionBlind"}
    assert all(equal[0] == "connection" for _, target, equal in inhibitions() if drift in target)


def test_inhibition_never_hides_the_more_severe() -> None:
    """Whoever would be woken is woken, by the one alert or the other."""
    severities = Severities()
    known = {name: {severities.kind(kind)} for kind, name in ALERT_NAMES.items() if kind is not Kind.DRIFT}
    for rule in rules(*RULE_FILES):
        if "alert" in rule:
            known.setdefault(rule["alert"], set()).add(Severity(rule["labels"]["severity"]))
    known[ALERT_NAMES[Kind.DRIFT]] = set(Severity)

    def ranks(matchers: list[str]) -> list[int]:
        named = set(re.findall(r"severity = (\w+)", str(matchers))) or set(Severity)
        names = re.findall(r"VoiceLink\w+", str(matchers))
        return [severity.rank for name in names for severity in known[name] if severity in named]

    for rule in read_yaml(CONFIG)["inhibit_rules"]:
        if "state" in rule["equal"]:  # the same state has the same severity
            continue
        assert min(ranks(rule["source_matchers"])) >= max(ranks(rule["target_matchers"])), rule


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    """Open doubles of PagerDuty and Slack."""
    async with Channels() as opened:
        yield opened


@pytest.fixture
def shipped(tmp_path: Path, channels: Channels) -> ShippedAlertmanager:
    """Return the shipped Alertmanager, which waits for nothing."""
    return ShippedAlertmanager.copied(tmp_path / "am", channels, group_wait="0s", group_interval="1s")


def alert(severity: str, name: str = "VoiceLinkDrift") -> dict[str, dict[str, str]]:
    """Return an alert as it is posted."""
    return {"labels": {"alertname": name, "connection": "c", "alert_id": severity, "severity": severity}}


@pytest.mark.parametrize(
    ("unused", "paged", "posted"),
    [
        pytest.param({}, {"critical"}, 2, id="both"),
        pytest.param({"pagerduty": None}, set(), 2, id="Slack"),
        pytest.param({"pagerduty": ""}, set(), 2, id="Slack, PagerDuty's empty"),
        pytest.param({"slack": None}, {"critical", "warning"}, 0, id="PagerDuty"),
        pytest.param({"slack": " \n"}, {"critical", "warning"}, 0, id="PagerDuty, Slack's blank"),
    ],
)
async def test_channel_without_a_secret_is_left_out(
    unused: dict[str, str | None],
    paged: set[str],
    posted: int,
    shipped: ShippedAlertmanager,
    channels: Channels,
) -> None:
    """Critical alerts reach every channel that has a secret, others Slack or what there is; nothing fails."""
    shipped.give({**channels.secrets, **unused})
    async with running(shipped):
        await shipped.post(alert("critical"), alert("warning"))
        await wait_until(lambda: channels.severities() >= paged, what="PagerDuty")
        await wait_until(lambda: len(channels.posts()) >= posted, what="Slack")
        assert await shipped.failed() == 0
    assert "SUCCESS" in check("amtool", "check-config", shipped.made_config)
    assert channels.severities() == paged
    assert len(channels.posts()) == posted
    for name in unused:
        assert f"{shipped.secrets_folder / name} is missing or empty" in shipped.output


async def test_message_stays_short_enough_for_its_channel(
    shipped: ShippedAlertmanager, channels: Channels
) -> None:
    """Of 500 numbers a message names some, one a line, and says how many there are."""
    shipped.give(channels.secrets)
    texts = {"summary": f"acme-sales: +918000000000 {'X' * 300}", "runbook_url": "https://runbooks.example"}
    labels = alert("critical")["labels"]
    async with running(shipped):
        await shipped.post(*({"labels": labels | {"n": str(n)}, "annotations": texts} for n in range(500)))
        end = ["… and more, 500 in all", "<https://runbooks.example|Runbook>"]
        expected = "\n".join([f"• {texts['summary']}"] * 20 + end)
        await wait_until(lambda: expected in [each["text"] for each in channels.posts()], what="Slack")
        summary = f"{texts['summary']} (1 of 500)"
        await wait_until(lambda: summary in channels.summaries(), what="PagerDuty")
        assert await shipped.failed() == 0


async def test_message_says_who_has_taken_an_alert_on(
    shipped: ShippedAlertmanager, channels: Channels
) -> None:
    """In the sentence that the monitor sends, as it stands."""
    shipped.give(channels.secrets)
    said = "Acknowledged by asha at 2026-03-01 12:05 UTC."
    texts = {"summary": "acme-sales: +1 NO_BOT", "acknowledged": said, "runbook_url": "https://r.example"}
    async with running(shipped):
        await shipped.post(alert("critical") | {"annotations": texts})
        expected = f"• acme-sales: +1 NO_BOT. {said}\n<https://r.example|Runbook>"
        await wait_until(lambda: expected in [each["text"] for each in channels.posts()], what="Slack")


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        pytest.param({"pagerduty": "", "slack": None}, "no channel has a secret", id="no channel"),
        pytest.param({"pagerduty": "k", "slack": "unreadable"}, "slack cannot be read", id="unreadable"),
    ],
)
async def test_alertmanager_does_not_start_where_alerts_would_be_lost(
    secrets: dict[str, str | None], said: str, shipped: ShippedAlertmanager
) -> None:
    """It ends and says why, instead of failing at the first alert."""
    shipped.give(secrets)
    if secrets["slack"] is not None:
        (shipped.secrets_folder / "slack").chmod(0)
    shipped.ready_url = None
    unprivileged(shipped)
    await shipped.start()
    assert await shipped.wait() == 2
    assert said in shipped.output
    assert not shipped.made_config.exists()


ONE_CAUSE = {
    "drift woke someone": (["VoiceLinkDrift critical"], ["VoiceLinkReadinessBurning critical"]),
    "from Prometheus": (["VoiceLinkNumbersDrifting critical"], ["VoiceLinkReadinessBurning critical"]),
    "lesser drift": (["VoiceLinkDrift warning"], ["VoiceLinkReadinessBurning warning"]),
    "much lesser drift": (["VoiceLinkDrift warning", "VoiceLinkReadinessBurning critical"], []),
    "news": (["VoiceLinkDrift info", "VoiceLinkReadinessBurning warning"], []),
    "in both windows": (["VoiceLinkReadinessBurning critical"], ["VoiceLinkReadinessBurning warning"]),
    "blind": (["VoiceLinkConnectionBlind critical"], ["VoiceLinkReadinessBurning critical"]),
    "held": (["VoiceLinkAnswerHeld warning"], ["VoiceLinkDataStale warning"]),
    "held, the monitor says": (["VoiceLinkSyncStale warning"], ["VoiceLinkAnswerHeld warning"]),
    "held, then failing": (["VoiceLinkApiUnavailable critical"], ["VoiceLinkAnswerHeld warning"]),
}
"""What is told of a connection's trouble, and what more fires that is not."""


async def test_one_cause_is_told_once(shipped: ShippedAlertmanager, channels: Channels) -> None:
    """Of alerts about one connection the one that says most is told, and none of a lower severity instead."""
    shipped.give(channels.secrets)
    posted = []
    for cause, (told, more) in ONE_CAUSE.items():
        for name, severity in (each.split() for each in (*told, *more)):
            posted.append({"labels": {"alertname": name, "severity": severity, "connection": cause}})
    expected = {cause: sorted(told) for cause, (told, _) in ONE_CAUSE.items()}

    async def is_told() -> bool:  # an inhibition takes effect shortly after its source has come
        held = await shipped.alerts()
        assert len(held) == len(posted)
        active: dict[str, list[str]] = {}
        for labels in (each["labels"] for each in held if each["status"]["state"] == "active"):
            active.setdefault(labels["connection"], []).append(f"{labels['alertname']} {labels['severity']}")
        return {cause: sorted(told) for cause, told in active.items()} == expected

    async with running(shipped):
        await shipped.post(*posted)
        await wait_until(is_told, what=f"exactly {expected}")


async def test_reload_reads_config_and_secrets_anew(shipped: ShippedAlertmanager, channels: Channels) -> None:
    """When a file was replaced or a secret added, SIGHUP is enough, what cannot be used changes nothing.

    And SIGTERM ends it.
    """
    shipped.give({"slack": channels.secrets["slack"]})
    async with running(shipped):
        shipped.give({"pagerduty": channels.secrets["pagerduty"]})
        edited = shipped.config_file.with_name("edited")  # as an editor or git does it
        edited.write_text(shipped.config_file.read_text().replace("    title: '", "    title: 'now: "))
        edited.replace(shipped.config_file)
        before = shipped.made_config.stat().st_ino
        shipped.signal(signal.SIGHUP)
        await wait_until(lambda: shipped.made_config.stat().st_ino != before, what="the new configuration")

        async def paged() -> bool:
            await shipped.post(alert("critical", f"VoiceLinkDrift{len(channels.posts())}"))
            return bool(channels.incidents())

        await wait_until(paged, what="PagerDuty")
        await wait_until(
            lambda: channels.posts()[-1:] and channels.posts()[-1]["title"].startswith("now: "), what="Slack"
        )

        shipped.give({"pagerduty": "", "slack": ""})
        shipped.signal(signal.SIGHUP)
        await wait_until(lambda: "no channel has a secret" in shipped.output, what="the refusal")
        assert shipped.running
        assert "pagerduty_configs" in shipped.made_config.read_text()
        assert await shipped.stop() == 0


def test_every_channel_can_be_left_out() -> None:
    """Whatever names a secret stands between the comments that leave it out with it."""
    config = CONFIG.read_text()
    for path in re.findall(r"_file: (\S+)", config):
        [block] = re.findall(rf"^ +# if {path}$.*?^ +# end$", config, re.MULTILINE | re.DOTALL)[:1]
        assert f"_file: {path}" in block
    assert len(re.findall(r"^ +# (?:if|end)\b", config, re.MULTILINE)) == 2 * len(
        re.findall("_configs:", config)
    )
