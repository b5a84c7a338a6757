"""The real daemon and the real Alertmanager: level with each other whatever happens to either."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, settings
from tests.conftest import StartAlertmanager
from tests.servers.process import wait_until
from tests.servers.prometheus import Alertmanager
from tests.servers.webhook import WebhookSink

CONNECTION = "conn-0001"


def quick_route(sink: WebhookSink) -> dict[str, Any]:
    """Return an Alertmanager's config that tells a webhook of each alert at once, and forgets in a second."""
    return {
        "global": {"resolve_timeout": "1s"},
        "route": {
            "receiver": "hook",
            "group_by": ["alertname", "connection", "phone_number", "severity"],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "hook", "webhook_configs": [{"url": sink.url}]}],
    }


def to(*urls: str, **more: Any) -> dict[str, Any]:
    """Return a receiver that posts every two seconds, for Alertmanagers at these addresses."""
    return {
        "name": "am",
        "type": "alertmanager",
        "urls": list(urls),
        "resend_interval": "2s",
        "expire_after": "60s",
        "timeout": "2s",
        **more,
    }


def told(sink: WebhookSink, status: str) -> list[dict[str, Any]]:
    """Return every alert that Alertmanager sent on with this status, oldest first."""
    return [
        alert for request in sink.requests for alert in request.json()["alerts"] if alert["status"] == status
    ]


async def firing(alertmanager: Alertmanager) -> list[dict[str, str]]:
    """Return the labels of what it holds as active, by phone number."""
    labels: list[dict[str, str]] = [alert["labels"] for alert in await alertmanager.alerts()]
    return sorted(labels, key=lambda each: each.get("phone_number", ""))


async def until_firing(alertmanager: Alertmanager, count: int) -> list[dict[str, str]]:
    """Return its active alerts once there are so many."""

    async def reached() -> bool:
        return len(await firing(alertmanager)) == count

    await wait_until(reached, what=f"{count} alerts at {alertmanager.url}")
    return await firing(alertmanager)


async def posts(daemon: Daemon, more: int) -> None:
    """Wait until so many more posts were accepted."""
    before = len(daemon.events("delivery.sent", receiver="am"))
    await daemon.wait_for("delivery.sent", count=before + more, receiver="am")


Break = Callable[[Provider], list[str]]


def breaks(count: int = 1) -> Break:
    """Return what takes the routing of the first numbers away, and returns them."""

    def apply(provider: Provider) -> list[str]:
        keys = provider.keys(count)
        for key in keys:
            provider.do("remove_routing", number=key)
        return [f"+{key}" for key in keys]

    return apply


def mend(provider: Provider, numbers: list[str]) -> None:
    """Give the numbers their routing back."""
    for number in numbers:
        provider.do("restore_routing", number=number)


async def test_alerts_outlive_resolve_timeout_and_end_when_the_number_is_ready(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """One alert per number, held for longer than resolve_timeout, told once, resolved with the reason."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)], alerts={"labels": {"team": "voice"}}))
    await daemon.start()
    numbers = breaks(2)(api)
    labels = await until_firing(manager, 2)
    assert [each["phone_number"] for each in labels] == numbers
    assert {each["alertname"] for each in labels} == {"VoiceLinkDrift"}
    assert {(each["connection"], each["team"], each["instance"]) for each in labels} == {
        (CONNECTION, "voice", "acceptance")
    }
    await posts(daemon, 3)
    assert await until_firing(manager, 2) == labels
    assert [alert["labels"] for alert in told(webhook_sink, "resolved")] == []
    mend(api, numbers)
    await until_firing(manager, 0)
    await wait_until(lambda: len(told(webhook_sink, "resolved")) == 2, what="both resolves")
    assert {alert["annotations"]["resolution"] for alert in told(webhook_sink, "resolved")} == {"recovered"}
    assert len(told(webhook_sink, "firing")) == 2
    await daemon.until("voicelink_monitor_deliveries_pending", 0, receiver="am")


async def test_restart_of_alertmanager_heals_itself(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """An Alertmanager that lost its memory has every alert again with the next post."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)]))
    await daemon.start()
    breaks(2)(api)
    before = await until_firing(manager, 2)
    await manager.kill()
    await daemon.wait_for("delivery.failed", receiver="am")
    await manager.start()
    assert await until_firing(manager, 2) == before


async def test_resolve_while_alertmanager_was_away_arrives_when_it_is_back(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """The page does not stay open: what ended meanwhile is told, also after a restart of the monitor."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)]))
    await daemon.start()
    numbers = breaks()(api)
    await until_firing(manager, 1)
    await wait_until(lambda: told(webhook_sink, "firing"), what="the page")
    await manager.stop()
    mend(api, numbers)
    await daemon.wait_for("alert.resolved")
    await daemon.until("voicelink_monitor_deliveries_pending", 1, receiver="am")
    await daemon.kill()
    await daemon.start()
    await manager.start()
    [end] = await wait_until(lambda: told(webhook_sink, "resolved"), what="the resolve")
    assert end["labels"]["phone_number"] == numbers[0]
    assert end["annotations"]["resolution"] == "recovered"


async def test_sigkill_of_the_monitor_neither_resolves_nor_duplicates(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """Alertmanager does not notice that the monitor died and came back.

    Nor is it forgotten who has acknowledged the alert: an annotation, while it stays the same alert.
    """
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)]))
    await daemon.start()
    breaks(3)(api)
    await until_firing(manager, 3)
    await wait_until(lambda: len(told(webhook_sink, "firing")) == 3, what="the pages")
    before = await manager.alerts()
    [opened] = daemon.events("alert.opened")
    command = [sys.executable, "-m", "monitor", "ack", opened["alert_id"][:8], "--by", "asha"]
    folder = daemon.config_file.parent
    await asyncio.to_thread(subprocess.run, command, cwd=folder, check=True, timeout=60)

    async def acknowledged() -> bool:
        said = [each["annotations"].get("acknowledged", "") for each in await manager.alerts()]
        return [text.partition(" at ")[0] for text in said] == ["Acknowledged by asha"] * 3

    await wait_until(acknowledged, what="the annotation")
    for _ in range(2):
        await daemon.kill()
        await daemon.start()
        await posts(daemon, 2)
    after = await manager.alerts()
    assert {each["fingerprint"]: each["startsAt"] for each in after} == {
        each["fingerprint"]: each["startsAt"] for each in before
    }
    assert await acknowledged()
    assert len(daemon.events("alert.acknowledged")) == 1
    assert (len(told(webhook_sink, "firing")), told(webhook_sink, "resolved")) == (3, [])


async def test_silence_for_one_number_holds(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """A number that is silenced in Alertmanager stays so across posts, and the others still page."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)]))
    await daemon.start()
    quiet, loud = (f"+{key}" for key in api.keys(2))
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        silence = {
            "matchers": [{"name": "phone_number", "value": quiet, "isRegex": False}],
            "startsAt": "2020-01-01T00:00:00Z",
            "endsAt": "2099-01-01T00:00:00Z",
            "createdBy": "on-call",
            "comment": "a spare number",
        }
        (await client.post(f"{manager.url}/api/v2/silences", json=silence)).raise_for_status()
    breaks(2)(api)
    await until_firing(manager, 2)
    await wait_until(lambda: told(webhook_sink, "firing"), what="the other number's page")
    await posts(daemon, 2)
    states = {each["labels"]["phone_number"]: each["status"]["state"] for each in await manager.alerts()}
    assert states == {quiet: "suppressed", loud: "active"}
    assert {alert["labels"]["phone_number"] for alert in told(webhook_sink, "firing")} == {loud}


async def test_config_label_that_changes_while_the_monitor_is_down_leaves_no_old_alert(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """The old set of labels ends with the first post after the start; the new one has the first startsAt."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)], alerts={"labels": {"team": "voice"}}))
    await daemon.start()
    breaks()(api)
    await until_firing(manager, 1)
    [before] = await manager.alerts()
    await daemon.stop()
    daemon.configure(settings(api, receivers=[to(manager.url)], alerts={"labels": {"team": "calls"}}))
    await daemon.start()

    async def moved() -> bool:
        return [each["team"] for each in await firing(manager)] == ["calls"]

    await wait_until(moved, what="the new labels alone")
    [after] = await manager.alerts()
    assert after["startsAt"] == before["startsAt"]


async def test_severity_that_rises_moves_the_alert_in_one_post(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """What was a warning is critical, and only that; a filter by severity hears of it then."""
    api = await provider()
    manager, strict = [await alertmanager(quick_route(webhook_sink)) for _ in range(2)]
    receivers = [to(manager.url), to(strict.url, name="strict", min_severity="critical")]
    severity = {"default": "warning", "ROUTING_MISSING": "warning", "NO_VOCOBASE_AGENT": "critical"}
    daemon = run_daemon(settings(api, receivers=receivers, severity=severity))
    await daemon.start()
    [number] = breaks()(api)
    [labels] = await until_firing(manager, 1)
    assert labels["severity"] == "warning"
    assert await firing(strict) == []
    api.do("unassign_agent", number=number)

    async def moved() -> bool:
        return [each["severity"] for each in await firing(manager)] == ["critical"]

    await wait_until(moved, what="the severity alone")
    [raised] = await until_firing(strict, 1)
    assert raised["state"] == labels["state"]


async def test_every_url_gets_everything_and_a_dead_one_is_reported(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """A cluster's members all hear it; one that is down delays nobody and shows in metric and log."""
    api = await provider()
    one, two = [await alertmanager(quick_route(webhook_sink)) for _ in range(2)]
    await two.kill()
    daemon = run_daemon(settings(api, receivers=[to(one.url, two.url)]))
    await daemon.start()
    breaks(2)(api)
    labels = await until_firing(one, 2)
    failed = await daemon.wait_for("delivery.failed", receiver="am", url=two.url)
    assert failed[0]["error"] == "connection refused"
    await daemon.until("voicelink_monitor_deliveries_pending", 2, receiver="am")
    await two.start()
    assert await until_firing(two, 2) == labels
    await daemon.until("voicelink_monitor_deliveries_pending", 0, receiver="am")


async def test_failing_connections_are_alerts_of_their_own(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """While the API is down each connection has its alert, and no number is taken for ready."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    daemon = run_daemon(settings(api, receivers=[to(manager.url)]))
    await daemon.start()
    [number] = breaks()(api)
    await until_firing(manager, 1)
    api.do("fault", status=503)
    both = await until_firing(manager, 2)
    assert {each["alertname"] for each in both} == {"VoiceLinkApiUnavailable", "VoiceLinkDrift"}
    assert {each["connection"] for each in both} == {CONNECTION}
    api.do("clear_faults")
    [left] = await until_firing(manager, 1)
    assert left["phone_number"] == number


async def test_alertmanager_that_refuses_us_is_an_alert_to_the_other_receivers(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """Somebody must mend it: the other Alertmanager and the log say which one, until it is."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    async with WebhookSink(lambda _: 401) as broken:
        receivers = [to(manager.url), to(broken.url, name="broken")]
        daemon = run_daemon(settings(api, receivers=receivers))
        await daemon.start()
        [labels] = await until_firing(manager, 1)
        assert (labels["alertname"], labels["receiver"]) == ("VoiceLinkReceiverFailing", "broken")
        [opened] = await daemon.wait_for("alert.opened", kind="receiver_failing")
        assert opened["state"] == "broken"
        broken.script(())
        await until_firing(manager, 0)
    assert not any("ReceiverFailing" in request.body.decode() for request in broken.requests)


async def test_reload_that_changes_a_label_leaves_no_old_alert(
    provider: RunProvider, run_daemon: RunDaemon, alertmanager: StartAlertmanager, webhook_sink: WebhookSink
) -> None:
    """SIGHUP moves every alert to its new labels at once; the alert of an added URL is there as well."""
    api = await provider()
    one, two = [await alertmanager(quick_route(webhook_sink)) for _ in range(2)]
    daemon = run_daemon(settings(api, receivers=[to(one.url)], alerts={"labels": {"team": "voice"}}))
    await daemon.start()
    breaks()(api)
    await until_firing(one, 1)
    daemon.configure(settings(api, receivers=[to(one.url, two.url)], alerts={"labels": {"team": "calls"}}))
    daemon.process.signal(signal.SIGHUP)
    for manager in (one, two):

        async def moved(manager: Alertmanager = manager) -> bool:
            return [each["team"] for each in await firing(manager)] == ["calls"]

        await wait_until(moved, what="the new labels alone")


LOGINS = {
    "basic": ({"basic_auth": {"username": "ops", "password": "p4th-t0ken"}}, "Basic b3BzOnA0dGgtdDBrZW4="),
    "bearer": ({"bearer_token": "h34der-t0ken"}, "Bearer h34der-t0ken"),
}


@pytest.mark.parametrize(("login", "header"), LOGINS.values(), ids=LOGINS)
async def test_login_is_sent_and_never_shown(
    provider: RunProvider,
    run_daemon: RunDaemon,
    webhook_sink: WebhookSink,
    login: dict[str, Any],
    header: str,
) -> None:
    """A proxy in front of Alertmanager sees who we are; log and page do not show it (see `run_daemon`)."""
    api = await provider()
    webhook_sink.script([401])
    daemon = run_daemon(settings(api, receivers=[to(f"{webhook_sink.url}/am", **login)]))
    await daemon.start()
    breaks()(api)
    requests = await webhook_sink.wait_for(2)
    assert {request.headers["Authorization"] for request in requests} == {header}
    assert {request.path for request in requests} == {"/am/api/v2/alerts"}


async def test_end_arrives_soon_when_the_replica_that_posts_is_killed(
    provider: RunProvider,
    run_daemon: RunDaemon,
    alertmanager: StartAlertmanager,
    webhook_sink: WebhookSink,
    postgres: str,
) -> None:
    """Another replica posts there in its place, long before the alert would expire."""
    api, manager = await provider(), await alertmanager(quick_route(webhook_sink))
    receiver = to(manager.url, expire_after="10m", timeout="30s")
    config = settings(api, receivers=[receiver], store={"url": postgres})
    poster, other = run_daemon(config), run_daemon(config)
    await poster.start()
    numbers = breaks(2)(api)
    await until_firing(manager, 2)
    await other.start()
    await posts(poster, 1)
    assert other.events("delivery.sent", receiver="am") == []
    await poster.kill()
    mend(api, numbers)

    async def ended() -> bool:
        return await firing(manager) == []

    await wait_until(ended, what="the ends")
    assert other.events("delivery.sent", receiver="am")
