"""SIGTERM and SIGINT end the daemon in good order, whatever it is waiting for."""

import signal

import pytest

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, told_ends
from tests.servers.process import wait_until
from tests.servers.webhook import Answer, WebhookSink

_STOPS_WITHIN_S = 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_stop_amid_slow_work_ends_in_time_and_loses_nothing(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, number: signal.Signals
) -> None:
    """With the API and the webhook hanging it exits 0 in time; the next start goes on where it was."""
    api = await provider(build_world(2, 10))
    given = settings(api, webhook_sink, api={"timeout": "60s"})
    given["receivers"][0]["timeout"] = "60s"
    webhook_sink.script(lambda _: Answer(delay_s=60))
    daemon = run_daemon(given)
    api.do("remove_routing", numbers=2, connection="conn-0001")
    await daemon.start()
    await webhook_sink.wait_for(1)
    api.do("fault", delay="60s")
    asked = len(api.simulator.requests)
    await wait_until(lambda: len(api.simulator.requests) >= asked + 2, what="two requests that hang")

    daemon.process.signal(number)
    assert await daemon.process.wait(_STOPS_WITHIN_S) == 0
    assert daemon.lines()[-1]["event"] == "daemon.stopped"
    assert not daemon.stderr

    api.do("clear_faults")
    webhook_sink.script(())
    api.do("restore_routing", numbers=2, connection="conn-0001")
    await daemon.start()
    [story] = await told_ends(webhook_sink, 1)
    assert changes(story) == ["opened", "resolved"]
    opened = [request.body for request in webhook_sink.requests][:2]
    assert opened[0] == opened[1]
    await daemon.stop()
