"""The real daemon, when forty connections break for one cause."""

from collections import Counter
from typing import Any

from monitor.simulator import build_world
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, changes, settings, stories
from tests.conftest import StartAlertmanager
from tests.integration.deploy.shipped import DEPLOY, read_yaml
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink

CONNECTIONS = [f"conn-{place:04d}" for place in range(1, 41)]


def agents(api: Provider, step: str) -> None:
    """Take the agents of three numbers of every connection away, or give them back."""
    for connection in CONNECTIONS:
        api.do(step, numbers=3, connection=connection)


async def test_forty_connections_that_lose_an_agent_are_five_pages_and_a_widespread_one(
    run_daemon: RunDaemon,
    provider: RunProvider,
    webhook_sink: WebhookSink,
    alertmanager: StartAlertmanager,
) -> None:
    """Each is told once and resolved once, also by Alertmanager with the shipped grouping."""
    api = await provider(build_world(len(CONNECTIONS), 6))
    async with WebhookSink() as notified:
        shipped = read_yaml(DEPLOY / "alertmanager" / "alertmanager.yml")["route"]["routes"]
        [grouping] = [route["group_by"] for route in shipped if "group_by" in route]
        manager = await alertmanager(
            {
                "route": {
                    "receiver": "hook",
                    "group_by": grouping,
                    "group_wait": "10s",
                    "group_interval": "10s",
                    "repeat_interval": "1h",
                },
                "receivers": [{"name": "hook", "webhook_configs": [{"url": notified.url}]}],
            }
        )
        config = settings(api, webhook_sink, alerts={"update_interval": "5m"})
        config["receivers"].append(
            {"name": "am", "type": "alertmanager", "urls": [manager.url], "resend_interval": "1s"}
        )
        daemon = run_daemon(config)
        await daemon.start()
        for connection in CONNECTIONS:
            await daemon.until("voicelink_up", 1, connection=connection)

        agents(api, "unassign_agent")

        async def all_held() -> bool:
            return len(await manager.alerts()) == 3 * len(CONNECTIONS)

        await wait_until(all_held, 30, "every number at Alertmanager")
        await daemon.until_firing({"drift": 6})

        def notified_of(status: str) -> list[str]:
            return [
                each["groupLabels"]["alert_id"]
                for each in (request.json() for request in notified.requests)
                if each["status"] == status
            ]

        await wait_until(lambda: len(notified_of("firing")) >= 6, 30, "Alertmanager's notifications")
        agents(api, "assign_agent")

        await wait_until(lambda: len(notified_of("resolved")) == 6, 60, "the end of all notifications")
        await daemon.stop()
        told = stories(webhook_sink.requests)
        groups = Counter(notified_of("firing"))
        assert groups.keys() == set(notified_of("resolved")) == told.keys()
        assert set(groups.values()) == {1}

    assert [changes(story) for story in told.values()] == [["opened", "resolved"]] * 6
    ends: list[dict[str, Any]] = [story[-1] for story in told.values()]
    [wide] = [alert for alert in ends if alert["widespread"]]
    assert (wide["numbers_total"], wide["numbers_ended"], len(wide["connections"])) == (105, 105, 35)
    alone = [alert["connection"] for alert in ends if not alert["widespread"]]
    assert sorted(alone + wide["connections"]) == CONNECTIONS
    assert wide["resolution"] == "recovered"
