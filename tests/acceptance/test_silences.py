"""A silence from the command line to the receiver, through a kill and a restart."""

import asyncio
import json
import subprocess
import sys
from typing import Any

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, stories
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink


async def silence(daemon: Daemon, *arguments: str) -> Any:
    """Use `silence`, in a process of its own, and return what it says for machines."""
    argv = [sys.executable, "-m", "monitor", "silence", *arguments, "--format", "json"]
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=daemon.folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_silence_holds_through_a_kill_and_what_still_drifts_alerts_when_it_ends(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """The daemon acts on it and logs it, though a command set it; the receiver is told how it ended."""
    api = await provider(build_world(1, 10))
    daemon = run_daemon(settings(api, webhook_sink))
    api.do("remove_routing", numbers=2)
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened")
    row = await silence(daemon, "add", "--alert", opened["alert_id"], "--for", "2h", "--reason", "known")
    [ended] = await daemon.wait_for("alert.resolved")
    assert (ended["alert_id"], ended["resolution"]) == (opened["alert_id"], "silenced")
    [started] = await daemon.wait_for("silence.started", silence_id=row["id"])
    assert (started["alert"], started["reason"]) == (opened["alert_id"], "known")
    await daemon.wait_for("action.performed", action="silence")

    await daemon.kill()
    await daemon.start()
    gauge = {"connection": "conn-0001", "state": "ROUTING_MISSING"}
    await daemon.until("voicelink_ignored_numbers", 2, **gauge)
    assert [each["id"] for each in await silence(daemon, "list")] == [row["id"]]
    await silence(daemon, "end", row["id"])
    await daemon.wait_for("silence.ended", silence_id=row["id"])
    await daemon.until("voicelink_ignored_numbers", 0, **gauge)
    await wait_until(lambda: len(stories(webhook_sink.requests)) == 2, what="a new alert")
    told = [changes(each) for each in stories(webhook_sink.requests).values()]
    assert sorted(told) == [["opened"], ["opened", "resolved"]]
    await daemon.stop()
