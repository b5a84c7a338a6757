"""The real daemon, when forty connections break for one cause."""

from typing import Any

from monitor.simulator import build_world
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, changes, settings, stories, told_ends
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink

CONNECTIONS = [f"conn-{place:04d}" for place in range(1, 41)]


def agents(api: Provider, step: str) -> None:
    """Take the agents of three numbers of every connection away, or give them back."""
    for connection in CONNECTIONS:
        api.do(step, numbers=3, connection=connection)


async def test_forty_connections_that_lose_an_agent_are_five_pages_and_a_widespread_one(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Each is told once and resolved once."""
    api = await provider(build_world(len(CONNECTIONS), 6))
    daemon = run_daemon(settings(api, webhook_sink, alerts={"update_interval": "5m"}))
    await daemon.start()
    for connection in CONNECTIONS:
        await daemon.until("voicelink_up", 1, connection=connection)

    agents(api, "unassign_agent")
    await daemon.until_firing({"drift": 6})

    async def all_open() -> bool:
        listed = (await daemon.get("/api/v1/alerts?status=firing&limit=100")).json()["items"]
        numbers = [int(each["numbers_total"]) for each in listed if not each["widespread"]]
        return sum(numbers) == 3 * len(CONNECTIONS)

    await wait_until(all_open, what="every number's alert")
    agents(api, "assign_agent")
    await told_ends(webhook_sink, 6)
    await daemon.stop()
    told = stories(webhook_sink.requests)

    assert [changes(story) for story in told.values()] == [["opened", "resolved"]] * 6
    ends: list[dict[str, Any]] = [story[-1] for story in told.values()]
    [wide] = [alert for alert in ends if alert["widespread"]]
    assert (wide["numbers_total"], wide["numbers_ended"], len(wide["connections"])) == (105, 105, 35)
    alone = [alert["connection"] for alert in ends if not alert["widespread"]]
    assert sorted(alone + wide["connections"]) == CONNECTIONS
    assert wide["resolution"] == "recovered"
