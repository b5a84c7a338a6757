"""A test alert through the receivers of the active config, at real servers."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.config import load_config
from monitor.daemon.receivers import ReceiverSet
from monitor.errors import UnknownName
from monitor.http.client import Network
from monitor.notify.alertmanager import PosterParts
from monitor.notify.log import LogReceiver
from tests.fakes.level import FakeLevel
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage
from tests.servers.webhook import Answer, WebhookSink
from tests.unit.notify.test_drain import Counts


@asynccontextmanager
async def receivers(sink: WebhookSink, log: FakeLog) -> AsyncIterator[ReceiverSet]:
    """Give a webhook and an Alertmanager at a server, beside the log."""
    clock, network = SystemClock(), Network()
    hook = {"name": "hook", "type": "webhook", "url": sink.url, "min_severity": "critical", "timeout": "30s"}
    am = {"name": "am", "type": "alertmanager", "urls": [sink.url]}
    environ = {
        "VOICELINK_API_KEY": "rg_live_s3cr3t",
        "VOICELINK_MONITOR_RECEIVERS": json.dumps([hook, am]),
    }

    def parts(http: httpx.AsyncClient) -> PosterParts:
        return PosterParts(
            redactor=network.redactor,
            level=FakeLevel(clock),
            http=http,
            clock=clock,
            rng=random.Random(1),
            metrics=Counts(),
            log=log.logger,
            shortage=no_shortage(),
        )

    config = load_config(None, environ, now=clock.now())
    made = ReceiverSet(config, network=network, clock=clock, log=LogReceiver(log.logger), parts=parts)
    try:
        yield made
    finally:
        await made.close()


async def test_every_receiver_can_be_tested_by_its_name(webhook_sink: WebhookSink) -> None:
    """Whatever its filters: opened and resolved, with the answers; an Alertmanager ends it by itself."""
    log, now = FakeLog(), SystemClock().now()
    async with receivers(webhook_sink, log) as made:
        tested = {name: await made.test(name, now) for name in made.names}
        with pytest.raises(UnknownName, match="no receiver is called hok; did you mean hook"):
            await made.test("hok", now)
    assert {name: (each.delivered, each.error) for name, each in tested.items()} == dict.fromkeys(
        ("log", "hook", "am"), (True, None)
    )
    assert [len(tested[name].answers) for name in ("log", "hook", "am")] == [2, 2, 1]
    told = [request.json() for request in webhook_sink.requests]
    assert [each["type"] for each in told[:2]] == ["voicelink.alert.opened", "voicelink.alert.resolved"]
    assert [each["labels"]["alertname"] for each in told[2]] == ["VoiceLinkTest"]
    assert log.events == ["alert.opened", "alert.resolved"]


async def test_receiver_that_refuses_a_test_says_why(webhook_sink: WebhookSink) -> None:
    """What it answered before that is said too."""
    webhook_sink.script([200, 401])
    async with receivers(webhook_sink, FakeLog()) as made:
        tested = await made.test("hook", SystemClock().now())
    assert (tested.delivered, len(tested.answers)) == (False, 1)
    assert "401" in str(tested.error)


async def test_receivers_are_closed_once_their_tests_have_ended(webhook_sink: WebhookSink) -> None:
    """A reload takes no connection away from a test that is under way."""
    webhook_sink.script([Answer(delay_s=0.3)])
    async with receivers(webhook_sink, FakeLog()) as made:
        testing = asyncio.create_task(made.test("hook", SystemClock().now()))
        await webhook_sink.wait_for(1)
        await made.close()
        assert testing.done()
        assert (await testing).delivered
