"""A daemon that is stopped (SIGSTOP, a laptop's lid, a paused VM) makes no noise when it wakes."""

import asyncio
import signal

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink

_STOPPED_S = 12.0
"""Longer than what counts as a stop, and than `stale_after`."""


async def test_daemon_that_was_stopped_pages_no_one_when_it_wakes(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """What was fresh before is not stale after; syncs go on, and what stays blind alerts in its time."""
    api = await provider(build_world(2, 10))
    daemon = run_daemon(settings(api, webhook_sink, drift={"stale_after": "5s"}))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0002")

    daemon.process.signal(signal.SIGSTOP)
    wakes_at_s = asyncio.get_running_loop().time() + _STOPPED_S
    await wait_until(lambda: asyncio.get_running_loop().time() >= wakes_at_s, what="the end of the stop")
    asked = len(api.simulator.requests)
    daemon.process.signal(signal.SIGCONT)
    await wait_until(lambda: len(api.simulator.requests) >= asked + 6, what="syncs after the stop")
    await wait_until(daemon.ready, what="readiness")
    assert daemon.events("alert.opened") == []
    assert daemon.events("heartbeat.withheld", "clock.set_back") == []

    api.do("fault", kind="status", status=429)
    [opened] = await daemon.wait_for("alert.opened")
    assert opened["kind"] == "sync_stale"
    await daemon.stop()
