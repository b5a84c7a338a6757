"""Replicas as processes: what one had under way goes on elsewhere when it is gone."""

from typing import Any

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, settings, stories
from tests.servers.process import wait_until
from tests.servers.webhook import Answer, Received, WebhookSink

FAILOVER_S = 20.0


async def test_what_a_killed_replica_had_under_way_goes_on_elsewhere(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, postgres: str
) -> None:
    """Its syncs and its messages, long before its leases and its requests would have ended."""
    api = await provider(build_world(1, 10))
    config: dict[str, Any] = settings(api, webhook_sink, store={"url": postgres}, api={"timeout": "60s"})
    config["receivers"][0]["timeout"] = "60s"
    killed = run_daemon(config)
    dead: list[Received] = []

    def never(request: Received) -> Answer:
        dead.append(request)
        return Answer(delay_s=300)

    webhook_sink.script(never)
    await killed.start()
    api.do("remove_routing", numbers=3, connection="conn-0001")
    await wait_until(lambda: dead, what="a message under way")
    api.do("fault", kind="delay", delay="300s", requests=1)
    asked = len(api.simulator.requests)
    await wait_until(lambda: len(api.simulator.requests) > asked, what="a sync under way")
    other = run_daemon(config)
    await other.start()
    before = len(other.events("sync.completed"))
    await killed.kill()
    webhook_sink.script(())
    await wait_until(
        lambda: len(other.events("sync.completed")) > before, what="a sync elsewhere", timeout_s=FAILOVER_S
    )
    await wait_until(
        lambda: len(webhook_sink.requests) > len(dead), what="the message elsewhere", timeout_s=FAILOVER_S
    )
    [story] = stories(webhook_sink.requests).values()
    assert story[0]["change"] == "opened"
    await other.stop()
