"""The chain as shipped: provider, monitor, Prometheus with our rules, Alertmanager with our route, on-call.

Only waiting times are shortened; every expression, label, grouping and inhibition is the shipped one.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, settings
from tests.conftest import StartAlertmanager, StartPrometheus
from tests.servers.process import free_port, wait_until
from tests.servers.prometheus import Alertmanager, Prometheus
from tests.servers.webhook import WebhookSink

DEPLOY = Path(__file__).parents[2] / "deploy"
CONNECTION = "conn-0001"
PATIENCE_S = 60.0


def shortened(text: str, **times: str) -> str:
    """Return a shipped file with every duration of these keys replaced.

    Raises:
        AssertionError: A key is not there: the file has changed, and the test would wait for long.
    """
    for key, value in times.items():
        text, count = re.subn(rf"\b{key}: \d+[smhd]\b", f"{key}: {value}", text)
        assert count, f"no {key}"
    return text


def replaced(text: str, **parts: str) -> str:
    """Return a shipped file with addresses replaced, keyed by the service that they name."""
    for service, address in parts.items():
        text, count = re.subn(rf'"{service}:\d+"', f'"{address}"', text)
        assert count, f"no address of {service}"
    return text


@dataclass(frozen=True, kw_only=True)
class Told:
    """One alert in one notification.

    Args:
        receiver: Who was told.
        at: When, aware UTC.
        together: How many alerts the notification had.
    """

    receiver: str
    at: datetime
    together: int
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class OnCall:
    """Who is told by Alertmanager: a sink with one path for each receiver."""

    sink: WebhookSink

    def told(self) -> Iterator[Told]:
        """Yield everything that came, oldest first."""
        for request in self.sink.requests:
            if "/oncall/" not in request.path:
                continue
            notice = request.json()
            for alert in notice["alerts"]:
                yield Told(
                    receiver=request.path.rpartition("/")[2],
                    at=request.at,
                    together=len(notice["alerts"]),
                    status=alert["status"],
                    labels=alert["labels"],
                    annotations=alert["annotations"],
                    started_at=datetime.fromisoformat(alert["startsAt"]),
                    ended_at=datetime.fromisoformat(alert["endsAt"]),
                )

    async def hears(self, status: str, name: str, **labels: str) -> Told:
        """Return the first such alert that was ever told, once it is."""

        def found() -> list[Told]:
            return [
                told
                for told in self.told()
                if (told.status, told.labels["alertname"]) == (status, name)
                and labels.items() <= told.labels.items()
            ]

        what = f"{status} {name} {labels}"
        return (await wait_until(found, PATIENCE_S, what))[0]

    def heard(self, name: str) -> list[Told]:
        """Return all that was told about an alert."""
        return [told for told in self.told() if told.labels["alertname"] == name]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """All of it, running."""

    provider: Provider
    daemon: Daemon
    prometheus: Prometheus
    alertmanager: Alertmanager
    on_call: OnCall

    async def knows(self, expression: str) -> None:
        """Wait until Prometheus has an answer."""

        async def answered() -> bool:
            return bool(await self.prometheus.query(expression))

        await wait_until(answered, PATIENCE_S, expression)

    async def state(self, name: str, state: str) -> None:
        """Wait until Alertmanager holds an alert in this state: active, or suppressed."""

        async def held() -> bool:
            alerts = await self.alertmanager.alerts()
            states = {each["status"]["state"] for each in alerts if each["labels"]["alertname"] == name}
            return states == {state}

        await wait_until(held, PATIENCE_S, f"{name} {state}")


def alertmanager_config(sink: WebhookSink) -> str:
    """Return the shipped route with quick groups and a webhook behind each of its receivers."""
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    route, rest = shortened(text, group_wait="1s", group_interval="1s").split("\nreceivers:\n")
    names = re.findall(r"^  - name: (\S+)$", rest, flags=re.MULTILINE)
    assert {"on-call", "team"} == set(names)
    receivers = [
        f"  - name: {name}\n    webhook_configs:\n      - url: {sink.url}/oncall/{name}\n" for name in names
    ]
    return f"{route}\nreceivers:\n{''.join(receivers)}"


QUICK = {
    "recording.rules.yml": {"interval": "1s"},
    "objective.rules.yml": {"for": "10m"},  # not what is looked at, and what fires by itself is looked at
    "health.rules.yml": {"for": "2s"},
    "drift.rules.yml": {"for": "1s", "keep_firing_for": "2s"},
}
"""The times of each rule file, shortened."""

PATIENT = QUICK | {"health.rules.yml": {}, "drift.rules.yml": {}}
"""As often as that, but an alert fires when it would."""


def prometheus_files(
    monitor: str, alertmanager: Alertmanager, *, drift_rules: bool, times: dict[str, dict[str, str]]
) -> dict[str, str]:
    """Return the shipped configuration and rules with quick intervals, wired to this chain."""
    folder = DEPLOY / "prometheus"
    config = shortened(
        (folder / "prometheus.yml").read_text(),
        scrape_interval="1s",
        scrape_timeout="1s",
        evaluation_interval="1s",
    )
    config = replaced(config, monitor=monitor, alertmanager=alertmanager.url.removeprefix("http://"))
    if drift_rules:
        assert "  # - rules/drift.rules.yml" in config
        config = config.replace("# - rules/drift", "- rules/drift")
    rules = {path.name: path.read_text() for path in (folder / "rules").iterdir()}
    assert set(rules) == set(times)
    shipped = {f"rules/{name}": shortened(text, **times[name]) for name, text in rules.items()}
    return {"prometheus.yml": config, **shipped}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Starts a chain."""

    run_daemon: RunDaemon
    provider: RunProvider
    prometheus: StartPrometheus
    alertmanager: StartAlertmanager
    sink: WebhookSink

    async def __call__(
        self, *, pushing: bool, times: dict[str, dict[str, str]] = QUICK, **sections: Any
    ) -> Chain:
        """Return it once Prometheus has seen a sync; `pushing`: the monitor tells Alertmanager by itself."""
        provider = await self.provider(build_world(1, 10))
        alertmanager = await self.alertmanager(alertmanager_config(self.sink))
        receiver = {
            "name": "am",
            "type": "alertmanager",
            "urls": [alertmanager.url],
            "resend_interval": "1s",
            "expire_after": "10m",
        }
        address = f"127.0.0.1:{free_port()}"
        daemon = self.run_daemon(
            settings(
                provider,
                # As much sooner than the rule about blindness as with the shipped times.
                drift={"failing_after": 1},
                web={"listen": address},
                receivers=[receiver] if pushing else [],
                **sections,
            )
        )
        await daemon.start()
        files = prometheus_files(address, alertmanager, drift_rules=not pushing, times=times)
        prometheus = await self.prometheus(files.pop("prometheus.yml"), files)
        chain = Chain(
            provider=provider,
            daemon=daemon,
            prometheus=prometheus,
            alertmanager=alertmanager,
            on_call=OnCall(self.sink),
        )
        await chain.knows("connection:voicelink_readiness:ratio == 1")
        return chain


@pytest.fixture
def chain(
    run_daemon: RunDaemon,
    provider: RunProvider,
    prometheus: StartPrometheus,
    alertmanager: StartAlertmanager,
    webhook_sink: WebhookSink,
) -> Start:
    """Return what starts a chain, which ends with the test."""
    return Start(
        run_daemon=run_daemon,
        provider=provider,
        prometheus=prometheus,
        alertmanager=alertmanager,
        sink=webhook_sink,
    )


def glance(title: str) -> str:
    """Return what a panel of the shipped dashboard asks about everything of the monitor."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "voicelink.json").read_text())
    [panel] = [panel for panel in dashboard["panels"] if panel["title"] == title]
    expression: str = panel["targets"][0]["expr"]
    return re.sub(r"\$\w+", ".*", expression.replace("$job", "voicelink-monitor"))


def check_times(begun_at: datetime, fired: Told, mended_at: datetime, resolved: Told) -> None:
    """See that the alert says when it began and ended, and that on-call hears it after that, each once."""
    assert begun_at <= fired.started_at <= fired.at
    assert resolved.started_at == fired.started_at
    assert mended_at <= resolved.ended_at <= resolved.at


async def test_no_rule_fires_on_a_healthy_monitor(chain: Start) -> None:
    """Every rule can be evaluated and none has a reason to fire, though a number drifts that is ignored."""
    ignore = [{"connection": CONNECTION, "state": "ROUTING_MISSING", "reason": "a spare one"}]
    running = await chain(pushing=False, times=PATIENT, ignore=ignore)
    running.provider.do("remove_routing", numbers=1, connection=CONNECTION)
    await running.knows("connection:voicelink_drift_numbers:sum == 1")
    await running.knows("connection:voicelink_unready_numbers:sum == 0")
    await running.knows("connection:voicelink_readiness_burn:rate5m == 0")
    for expression in OTHERS:
        await running.knows(f"{expression} == 0")

    async def settled() -> bool:
        rules = await running.prometheus.rules()
        assert not [rule for rule in rules if rule["health"] == "err"]
        return all(rule["health"] == "ok" and not rule.get("alerts") for rule in rules)

    await wait_until(settled, PATIENCE_S, "every rule to be evaluated, without an alert that is pending")
    assert not await running.prometheus.query('max_over_time(ALERTS{alertstate="firing"}[1h])')


OTHERS = (
    'prometheus_rule_evaluation_failures_total{rule_group=~".+;voicelink-health"}',
    'alertmanager_notifications_failed_total{integration="webhook"}',
)
"""What Prometheus and Alertmanager export and the rules go by."""


async def test_chain_where_prometheus_alerts(chain: Start) -> None:
    """Drift, blindness and a dead monitor reach on-call and end, each with its times; blind beats drift."""
    running = await chain(pushing=False)
    on_call = running.on_call
    await running.knows(f"({glance('Drifting now')}) == 0")

    broken_at = datetime.now(UTC)
    running.provider.do("remove_routing", numbers=3, connection=CONNECTION)
    drift = {"connection": CONNECTION, "state": "ROUTING_MISSING"}
    drifting = await on_call.hears("firing", "VoiceLinkNumbersDrifting", **drift)
    assert (drifting.receiver, drifting.together) == ("on-call", 1)
    assert "3 numbers ROUTING_MISSING" in drifting.annotations["summary"]
    await running.knows(f"({glance('Drifting now')}) == 3")
    await running.knows(f"({glance('Is the monitor healthy?')}) == 0")

    down_at = datetime.now(UTC)
    await running.provider.down()
    blind = await on_call.hears("firing", "VoiceLinkConnectionBlind", connection=CONNECTION)
    assert blind.receiver == "on-call"
    await running.knows(f"({glance('Connections blind')}) == 1")
    await running.state("VoiceLinkNumbersDrifting", "suppressed")
    up_at = datetime.now(UTC)
    await running.provider.up()
    check_times(down_at, blind, up_at, await on_call.hears("resolved", "VoiceLinkConnectionBlind"))
    await running.state("VoiceLinkNumbersDrifting", "active")

    mended_at = datetime.now(UTC)
    running.provider.do("restore_routing", numbers=3, connection=CONNECTION)
    check_times(broken_at, drifting, mended_at, await on_call.hears("resolved", "VoiceLinkNumbersDrifting"))

    killed_at = datetime.now(UTC)
    await running.daemon.kill()
    dead = await on_call.hears("firing", "VoiceLinkMonitorDown")
    assert dead.receiver == "on-call"
    await running.knows(f"({glance('Is the monitor healthy?')}) > 0")
    back_at = datetime.now(UTC)
    await running.daemon.start()
    check_times(killed_at, dead, back_at, await on_call.hears("resolved", "VoiceLinkMonitorDown"))

    names = {told.labels["alertname"] for told in on_call.told()}
    assert names == {"VoiceLinkNumbersDrifting", "VoiceLinkConnectionBlind", "VoiceLinkMonitorDown"}


async def test_chain_where_the_monitor_alerts(chain: Start) -> None:
    """The monitor's own alerts come grouped, explain blindness, outlive its death, end with their reason."""
    running = await chain(pushing=True)
    on_call = running.on_call

    broken_at = datetime.now(UTC)
    running.provider.do("remove_routing", numbers=3, connection=CONNECTION)
    drifting = await on_call.hears("firing", "VoiceLinkDrift", connection=CONNECTION)
    assert (drifting.receiver, drifting.together) == ("on-call", 3)
    numbers = {told.labels["phone_number"] for told in on_call.heard("VoiceLinkDrift")}
    assert len(numbers) == 3

    await running.provider.down()
    await on_call.hears("firing", "VoiceLinkApiUnavailable", connection=CONNECTION)
    await running.state("VoiceLinkConnectionBlind", "suppressed")
    await running.state("VoiceLinkDrift", "suppressed")
    await running.provider.up()
    explained = await on_call.hears("resolved", "VoiceLinkApiUnavailable")
    assert not [told for told in on_call.heard("VoiceLinkConnectionBlind") if told.at < explained.ended_at]
    await running.state("VoiceLinkDrift", "active")

    await running.daemon.kill()
    await on_call.hears("firing", "VoiceLinkMonitorDown")
    await running.state("VoiceLinkDrift", "active")
    assert not [told for told in on_call.heard("VoiceLinkDrift") if told.status == "resolved"]
    await running.daemon.start()
    await on_call.hears("resolved", "VoiceLinkMonitorDown")

    mended_at = datetime.now(UTC)
    running.provider.do("restore_routing", numbers=3, connection=CONNECTION)
    recovered = await on_call.hears(
        "resolved", "VoiceLinkDrift", phone_number=drifting.labels["phone_number"]
    )
    check_times(broken_at, drifting, mended_at, recovered)
    assert recovered.annotations["resolution"] == "recovered"
