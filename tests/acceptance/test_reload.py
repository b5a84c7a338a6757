"""A reload: parse, build, swap; nothing is lost, and a bad file changes nothing."""

import hashlib
import signal
from typing import Any

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, stories
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink


async def reload(daemon: Daemon, config: dict[str, Any] | str) -> dict[str, Any]:
    """Write a config, send SIGHUP, and return the log line that says what became of it."""
    before = len(daemon.events("config.reloaded", "config.rejected"))
    daemon.configure(config)
    daemon.process.signal(signal.SIGHUP)
    return (await daemon.wait_for("config.reloaded", "config.rejected", count=before + 1))[-1]


def file_digest(daemon: Daemon) -> str:
    """Return the digest of the config file as it is on disk."""
    return f"sha256:{hashlib.sha256(daemon.config_file.read_bytes()).hexdigest()}"


async def test_reload_keeps_streaks_alerts_and_gauges_and_takes_new_connections(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """One that stays keeps its alert and counters, a new one begins, one that goes is unconfigured."""
    api = await provider(build_world(3, 10))
    config = settings(api, webhook_sink)
    everyone = config["accounts"][0]["connections"]
    config["accounts"][0]["connections"] = everyone[:2]
    daemon = run_daemon(config)
    api.do("remove_routing", numbers=2, connection="conn-0001")
    api.do("remove_routing", numbers=3, connection="conn-0002")
    await daemon.start()
    await daemon.wait_for("alert.opened", count=2)
    appeared = await daemon.value("voicelink_changes_total", connection="conn-0001", change="appeared")

    config["accounts"][0]["connections"] = [everyone[0] | {"name": "sales"}, everyone[2]]
    config["log"] = {"level": "info"}
    done = await reload(daemon, config)
    assert done["event"] == "config.reloaded"
    assert done["connections"] == 2
    [ended] = await daemon.wait_for("alert.resolved")
    assert (ended["connection"], ended["resolution"]) == ("conn-0002", "unconfigured")
    await daemon.until("voicelink_up", 1, connection="conn-0003")
    assert await daemon.value("voicelink_drift_numbers", connection="sales", state="ROUTING_MISSING") == 2
    assert await daemon.value("voicelink_changes_total", connection="sales", change="appeared") == appeared
    gone = {series for series in await daemon.metrics() if ("connection", "conn-0002") in series[1]}
    assert not gone
    assert await daemon.value("voicelink_monitor_config_last_reload_successful") == 1

    api.do("restore_routing", numbers=2, connection="conn-0001")
    await daemon.wait_for("alert.resolved", count=2)
    told = await wait_until(
        lambda: [s for s in stories(webhook_sink.requests).values() if s[-1]["resolution"] == "recovered"],
        what="the resolved of the renamed connection",
    )
    assert changes(told[0]) == ["opened", "resolved"]
    await daemon.stop()


async def test_reload_of_a_bad_file_keeps_the_old_config_and_says_so(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """Log, metric and page tell, also which content is active; alerts go on; a good file mends it."""
    api = await provider(build_world(1, 10))
    config = settings(api)
    daemon = run_daemon(config)
    await daemon.start()
    [started] = daemon.events("daemon.started")
    active = file_digest(daemon)
    assert started["config_file_digest"] == active
    refused = await reload(daemon, config | {"shedule": {"interval": "9s"}})
    assert refused["event"] == "config.rejected"
    assert "schedule" in refused["error"]
    assert await daemon.value("voicelink_monitor_config_last_reload_successful") == 0
    page = (await daemon.get("/")).text
    assert "shedule" in page
    assert active in page
    assert (await daemon.get("/api/v1/status")).json()["config_file_digest"] == active != file_digest(daemon)

    api.do("remove_routing", numbers=1)
    await daemon.wait_for("alert.opened", kind="drift")
    reloaded = await reload(daemon, config | {"instance": "mended"})
    assert (reloaded["event"], reloaded["config_file_digest"]) == ("config.reloaded", file_digest(daemon))
    assert file_digest(daemon) in (await daemon.get("/")).text
    assert await daemon.value("voicelink_monitor_config_last_reload_successful") == 1
    await daemon.stop()


async def test_reload_tells_a_new_receiver_what_fires_and_closes_what_a_removed_one_had(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """The new one gets the firing alerts as opened, once; the removed one's messages stop waiting."""
    api = await provider(build_world(1, 10))
    async with WebhookSink() as gone:
        daemon = run_daemon(settings(api, gone))
        api.do("remove_routing", numbers=1)
        await gone.close()
        await daemon.start()
        [opened] = await daemon.wait_for("alert.opened")
        await daemon.wait_for("delivery.failed")
    config = settings(api, webhook_sink)
    config["receivers"][0]["name"] = "new"
    await reload(daemon, config)
    await webhook_sink.wait_for(1)
    told = stories(webhook_sink.requests)
    assert [changes(story) for story in told.values()] == [["opened"]]
    assert opened["alert_id"] in told
    await daemon.until("voicelink_monitor_deliveries_pending", None, receiver="hook")
    await daemon.until("voicelink_monitor_deliveries_pending", 0, receiver="new")
    await daemon.stop()


async def test_reload_of_rules_acts_at_once(run_daemon: RunDaemon, provider: RunProvider) -> None:
    """A new ignore rule ends the alert as ignored while the API is down; without it, it opens again."""
    api = await provider(build_world(1, 10))
    config = settings(api)
    daemon = run_daemon(config)
    api.do("remove_routing", numbers=1)
    await daemon.start()
    await daemon.wait_for("alert.opened", kind="drift")
    await api.down()
    rule = {"issue": "ROUTING_MISSING", "reason": "spare"}
    await reload(daemon, config | {"ignore": [rule]})
    [ended] = await daemon.wait_for("alert.resolved", kind="drift")
    assert ended["resolution"] == "ignored"
    await daemon.until("voicelink_ignored_numbers", 1, connection="conn-0001", state="ROUTING_MISSING")
    await reload(daemon, config)
    await daemon.wait_for("alert.opened", count=2, kind="drift")
    await daemon.stop()


async def test_secret_file_is_read_again_when_it_changes(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """A key that was rotated on disk is used without a reload."""
    world = build_world(1, 10)
    api = await provider(world)
    config = settings(api)
    daemon = run_daemon(config)
    key_file = daemon.folder / "key"
    key_file.write_text("rg_live_wrong\n")
    account = config["accounts"][0]
    account["api_key_file"] = str(key_file)
    del account["api_key"]
    daemon.configure(config)
    await daemon.start()
    await daemon.wait_for("sync.failed", outcome="unauthorized")
    key_file.write_text(f"{world.accounts[0].key}\n")
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    await daemon.stop()
