"""Receivers that refuse, and what they and the others are told then."""

import signal

import pytest

from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, stories
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink


async def heard(sink: WebhookSink, *expected: str) -> None:
    """Wait until a receiver was sent these messages, refused ones too, and no other."""

    def told() -> list[str]:
        return [request.json()["data"]["change"] for request in sink.requests]

    await wait_until(lambda: len(told()) >= len(expected), what=f"{expected}")
    assert told() == list(expected)


async def test_receiver_that_refused_the_first_message_hears_of_the_alert_with_the_next(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """The next message says `opened` to it, the end follows, and nothing stays dead."""
    api = await provider()
    daemon = run_daemon(settings(api, webhook_sink))
    webhook_sink.script([400])
    api.do("set_state", numbers=1, state="NO_BOT", issues=["NO_BOT"])
    await daemon.start()
    await daemon.until("voicelink_monitor_deliveries_dead", 1, receiver="hook")
    api.do("set_state", numbers=1, state="PENDING", issues=["NO_BOT"])
    await daemon.wait_for("alert.updated", kind="drift")
    await heard(webhook_sink, "opened", "opened")
    await daemon.until("voicelink_monitor_deliveries_dead", 0, receiver="hook")
    api.do("clear_state", numbers=1)
    await daemon.wait_for("alert.resolved", kind="drift")
    await heard(webhook_sink, "opened", "opened", "resolved")
    assert not daemon.events("alert.opened", kind="receiver_failing")
    await daemon.stop()


async def test_receiver_that_refused_all_of_an_alert_gets_no_lone_end(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """What it never accepted a message about does not end for it."""
    api = await provider()
    daemon = run_daemon(settings(api, webhook_sink))
    webhook_sink.script([400])
    api.do("remove_routing", numbers=1)
    await daemon.start()
    await daemon.until("voicelink_monitor_deliveries_dead", 1, receiver="hook")
    api.do("restore_routing", numbers=1)
    await daemon.wait_for("alert.resolved", kind="drift")
    api.do("unassign_agent", numbers=1)
    await daemon.wait_for("alert.opened", state="NO_VOCOBASE_AGENT")
    await heard(webhook_sink, "opened", "opened")
    assert len(stories(webhook_sink.requests)) == 2
    await daemon.stop()


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_receiver_that_refuses_everything_is_told_to_the_others(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, status: int
) -> None:
    """Three attempts in a row, over all alerts; it ends with the first message that is accepted."""
    api = await provider()
    async with WebhookSink() as other:
        daemon = run_daemon(settings(api, webhook_sink, other))
        webhook_sink.script(lambda _: status)
        await daemon.start()
        for place, key in enumerate(api.keys(3)):
            api.do("set_state", number=key, state=f"BROKEN_{place}", issues=["NO_BOT"])
        await daemon.wait_for("alert.opened", kind="receiver_failing", state="hook")

        def failing() -> list[str]:
            found = stories(other.requests).values()
            return next((changes(each) for each in found if each[0]["kind"] == "receiver_failing"), [])

        await wait_until(lambda: failing()[:1] == ["opened"], what="the others are told")
        webhook_sink.script([])
        api.do("unassign_agent", number=api.keys(4)[3])
        await wait_until(lambda: failing()[-1:] == ["resolved"], timeout_s=150, what="its end")
        await daemon.stop()
    assert [change for change in failing() if change != "updated"] == ["opened", "resolved"]
    told = [alert for story in stories(webhook_sink.requests).values() for alert in story]
    assert "receiver_failing" not in {alert["kind"] for alert in told}


async def test_receiver_that_was_removed_is_told_the_end_that_it_missed(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """It was removed while the alert fired, and comes back when it is over."""
    api = await provider()
    config = settings(api, webhook_sink)
    daemon = run_daemon(config)
    api.do("remove_routing", numbers=1)
    await daemon.start()
    await daemon.wait_for("delivery.sent", receiver="hook")
    daemon.configure(config | {"receivers": []})
    daemon.process.signal(signal.SIGHUP)
    await daemon.wait_for("config.reloaded")
    api.do("restore_routing", numbers=1)
    await daemon.wait_for("alert.resolved")
    daemon.configure(config)
    daemon.process.signal(signal.SIGHUP)
    await daemon.wait_for("delivery.sent", receiver="hook", count=2)
    await heard(webhook_sink, "opened", "resolved")
    await daemon.stop()


async def test_receiver_that_answers_gone_is_tried_at_a_start_a_reload_and_a_new_url(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """And never beside that; its alert opens at once and stays open, and nothing is lost."""
    api = await provider()
    config = settings(api, webhook_sink)
    daemon = run_daemon(config)
    url_file = daemon.folder / "url"
    url_file.write_text(config["receivers"][0].pop("url"))
    config["receivers"][0]["url_file"] = str(url_file)
    daemon.configure(config)
    webhook_sink.script(lambda _: 410)
    api.do("remove_routing", numbers=1)
    await daemon.start()
    [failing] = await daemon.wait_for("alert.opened", kind="receiver_failing", state="hook")
    assert "--retry-now hook" in failing["first_step"]
    api.do("unassign_agent", number=api.keys(2)[1])
    await daemon.until("voicelink_monitor_deliveries_pending", 2, receiver="hook")

    await daemon.stop()
    await daemon.start()
    tried = len(await webhook_sink.wait_for(2))
    [receiver] = [
        each for each in (await daemon.get("/api/v1/status")).json()["receivers"] if each["name"] == "hook"
    ]
    assert (receiver["pending"], receiver["dead"], receiver["gone_since"] is None) == (2, 0, False)
    url_file.write_text(f"{webhook_sink.url}/p4th-t0ken/new")
    tried = len(await webhook_sink.wait_for(tried + 1))
    assert webhook_sink.requests[-1].path.endswith("/new")

    webhook_sink.script([])
    daemon.process.signal(signal.SIGHUP)
    await daemon.until("voicelink_monitor_deliveries_pending", 0, receiver="hook")
    await daemon.wait_for("alert.resolved", kind="receiver_failing", state="hook")
    await daemon.stop()
    assert not daemon.events("delivery.dead")
    assert {each["next_try_at"] for each in daemon.events("delivery.failed", receiver="hook")} == {None}
    assert {story[-1]["change"] for story in stories(webhook_sink.requests).values()} == {"opened"}
