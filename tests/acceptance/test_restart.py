"""A restart while the provider is away: everything is as it was."""

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, told_ends
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink


async def test_restart_with_the_api_down_keeps_gauges_alerts_and_deliveries(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Nothing is resolved, opened twice or forgotten; once the API is back all heals."""
    api = await provider(build_world(2, 10))
    daemon = run_daemon(settings(api, webhook_sink))
    api.do("remove_routing", numbers=3, connection="conn-0001")
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened", kind="drift")
    await webhook_sink.wait_for(1)
    await webhook_sink.close()
    api.do("unassign_agent", numbers=2, connection="conn-0002")
    [second] = await daemon.wait_for("alert.opened", connection="conn-0002")
    await daemon.wait_for("delivery.failed", alert_id=second["alert_id"])
    await daemon.until("voicelink_monitor_deliveries_pending", 1, receiver="hook")

    await api.down()
    for name in ("conn-0001", "conn-0002"):  # whose last answer has come
        await daemon.until("voicelink_up", 0, connection=name)
    before = await daemon.gauges()
    await daemon.stop()
    await daemon.start()
    await daemon.until("voicelink_up", 0, connection="conn-0001")
    [third] = await daemon.wait_for("alert.opened", kind="api_unavailable")

    async def waiting() -> bool:
        rows = (await daemon.get("/api/v1/deliveries?status=pending")).json()["items"]
        about = {row["alert_id"] for row in rows if row["receiver"] == "hook"}
        return about == {second["alert_id"], third["alert_id"]}

    await wait_until(waiting, what="messages about both alerts")
    assert await daemon.gauges() == before
    await daemon.until_firing({"drift": 2, "api_unavailable": 1})
    assert not daemon.events("alert.resolved")

    await webhook_sink.open()
    await api.up()
    api.do("restore_routing", numbers=3, connection="conn-0001")
    api.do("assign_agent", numbers=2, connection="conn-0002")
    told = await told_ends(webhook_sink, 3)
    found = {story[0]["alert_id"]: story for story in told}
    assert {opened["alert_id"], second["alert_id"]} < found.keys()
    assert all(changes(story).count("opened") == 1 for story in found.values())
    assert {story[-1]["resolution"] for story in found.values()} == {"recovered"}
    await daemon.stop()
