"""The heartbeat and reminders of the real process."""

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, stories
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink


async def test_heartbeat_is_sent_though_the_provider_is_down(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """A provider that does not answer is no reason to wake whoever watches the monitor."""
    api = await provider(build_world(1, 10))
    await api.down()
    daemon = run_daemon(settings(api, heartbeat={"url": f"{webhook_sink.url}/p4th-t0ken"}))
    await daemon.start()
    [beat] = await webhook_sink.wait_for(1)
    assert (beat.method, beat.path) == ("GET", "/p4th-t0ken")
    await daemon.stop()


async def test_heartbeat_that_is_refused_is_logged_once_without_its_address(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """The log says that nobody hears us."""
    api = await provider(build_world(1, 10))
    async with WebhookSink([404]) as sink:
        daemon = run_daemon(settings(api, heartbeat={"url": f"{sink.url}/p4th-t0ken"}))
        await daemon.start()
        [failed] = await daemon.wait_for("heartbeat.failed")
        assert "404" in failed["reason"]
        await daemon.stop()


async def test_reminder_repeats_what_still_fires_to_those_who_want_it(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Only the receiver with a repeat_interval is reminded, until the alert ends; version and id stay."""
    api = await provider(build_world(1, 10))
    async with WebhookSink() as silent:
        config = settings(api, webhook_sink, silent)
        config["receivers"][0]["repeat_interval"] = "1s"
        daemon = run_daemon(config)
        api.do("remove_routing", numbers=1)
        await daemon.start()

        def reminded() -> bool:
            told = [str(request.json()["data"]["change"]) for request in webhook_sink.requests]
            return told.count("reminder") > 1

        await wait_until(reminded, what="two reminders")
        api.do("restore_routing", numbers=1)
        await daemon.wait_for("alert.resolved")
        await wait_until(
            lambda: [s for s in stories(silent.requests).values() if changes(s)[-1] == "resolved"],
            what="the resolved",
        )
        told = [request.json()["data"] for request in webhook_sink.requests]
        assert {alert["alert_id"] for alert in told} == stories(silent.requests).keys()
        assert {alert["version"] for alert in told if alert["change"] == "reminder"} == {1}
        assert [changes(story) for story in stories(silent.requests).values()] == [["opened", "resolved"]]
        await daemon.stop()
