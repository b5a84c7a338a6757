"""PagerDuty over HTTP, against a double that enforces what its pages document."""

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from httpx_aiohttp import HttpxAiohttpClient

from monitor.drift.alert import AlertBody, Notice
from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.redactor import Redactor
from monitor.notify.pagerduty import PagerDutyReceiver
from monitor.secret import Secret
from tests.fakes.alerts import BODY, NUMBER, delivery_of, resolved
from tests.fakes.clock import FakeClock
from tests.golden.examples import EXAMPLES
from tests.servers.pagerduty import PATH, PagerDuty
from tests.servers.webhook import Answer, WebhookSink

KEY = "Rabcdefghijklmnopqrstuvwxyzabcde"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Return the program's kind of client."""
    async with HttpxAiohttpClient() as client:
        yield client


def receiver(http: httpx.AsyncClient, url: str, key: Secret | None = None) -> PagerDutyReceiver:
    """Return a receiver with a key."""
    return PagerDutyReceiver(
        "pd",
        routing_key=key or Secret(KEY),
        url=Address(url + PATH),
        http=http,
        redactor=Redactor([Secret(KEY)]),
        timeout_s=5.0,
    )


async def refused(pager: PagerDutyReceiver, body: AlertBody = BODY) -> DeliveryError:
    """Return how a message is refused."""
    with pytest.raises(DeliveryError) as caught:
        await pager.send(delivery_of(body))
    return caught.value


@pytest.mark.parametrize("example", EXAMPLES)
async def test_pagerduty_takes_every_kind_of_message(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, example: str
) -> None:
    """202 is delivered; the answer is fit for a log."""
    double = PagerDuty(KEY)
    webhook_sink.script(double)
    body = EXAMPLES[example]()
    answer = await receiver(http, webhook_sink.url).send(delivery_of(body))
    assert answer.startswith("202 Accepted")
    assert KEY not in answer
    assert [event["payload"]["severity"] for event in double.alerts[body.alert_id]] == [body.severity.value]


async def test_pagerduty_alert_from_opening_to_end(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """An update and who sees to it add to the same alert, and the resolve closes it."""
    double = PagerDuty(KEY)
    webhook_sink.script(double)
    pager = receiver(http, webhook_sink.url)
    await pager.send(delivery_of())
    await pager.send(delivery_of(msgspec.structs.replace(BODY, change=Notice.UPDATED, numbers_added=2)))
    await pager.send(delivery_of(msgspec.structs.replace(BODY, change=Notice.ACKNOWLEDGED)))
    assert double.open == {"a1"}
    await pager.send(delivery_of(resolved()))
    assert double.open == set()
    actions = [event["event_action"] for event in double.alerts["a1"]]
    assert actions == ["trigger", "trigger", "acknowledge", "resolve"]


async def test_pagerduty_takes_the_largest_message(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """Thousands of numbers with endless states stay below 512 kB on the wire."""
    webhook_sink.script(PagerDuty(KEY))
    number = msgspec.structs.replace(NUMBER, state="\U0001f600" * 10_000)
    body = msgspec.structs.replace(BODY, numbers=[number] * 1000, numbers_total=1000)
    assert (await receiver(http, webhook_sink.url).send(delivery_of(body))).startswith("202")


@pytest.mark.parametrize(
    ("retry_after", "wait_s"), [("30", 30.0), (None, None), ("soon", None)], ids=["asked", "silent", "noise"]
)
async def test_pagerduty_that_is_busy_is_tried_again(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, retry_after: str | None, wait_s: float | None
) -> None:
    """429 is tried again, not before Retry-After; then the message is taken."""
    webhook_sink.script(PagerDuty(KEY, busy=1, retry_after=retry_after))
    pager = receiver(http, webhook_sink.url)
    error = await refused(pager)
    assert (error.refusal, error.retry_after_s) == (Refusal.RETRY, wait_s)
    assert (await pager.send(delivery_of())).startswith("202")


async def test_pagerduty_that_refuses_the_key_fails_until_it_is_fixed(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """A wrong key is a 400 as well, but the message is fine: it must not be given up."""
    webhook_sink.script(PagerDuty("f" * 32))
    error = await refused(receiver(http, webhook_sink.url))
    assert error.refusal is Refusal.FAILING
    assert "Invalid routing key" in str(error)
    assert KEY not in str(error)


async def test_pagerduty_that_refuses_an_event_says_why(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """Any other 400 is dead, in PagerDuty's words."""
    webhook_sink.script([Answer(status=400, body=b'{"errors": ["summary is missing"]}')])
    error = await refused(receiver(http, webhook_sink.url))
    assert error.refusal is Refusal.DEAD
    assert "summary is missing" in str(error)


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        pytest.param(Answer(status=500), Refusal.RETRY, id="500"),
        pytest.param(Answer(status=503, body=KEY.encode()), Refusal.RETRY, id="503-quotes-the-key"),
        pytest.param(Answer(hang_up=True), Refusal.RETRY, id="hang-up"),
        pytest.param(Answer(status=413), Refusal.DEAD, id="413"),
        pytest.param(Answer(status=403), Refusal.FAILING, id="403"),
        pytest.param(Answer(status=404), Refusal.FAILING, id="404"),
        pytest.param(Answer(status=302, headers={"location": "/"}), Refusal.FAILING, id="redirect"),
    ],
)
async def test_pagerduty_refusals(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, answer: Answer, refusal: Refusal
) -> None:
    """Each kind of answer has its consequence, and none brings out the key."""
    webhook_sink.script([answer])
    error = await refused(receiver(http, webhook_sink.url))
    assert error.refusal is refusal
    assert KEY not in str(error)


async def test_pagerduty_out_of_reach_is_tried_again(http: httpx.AsyncClient) -> None:
    """A refused connection is told in words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await refused(receiver(http, f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert (error.refusal, str(error)) == (Refusal.RETRY, "connection refused")


async def test_pagerduty_key_is_read_at_each_try(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, tmp_path: Path
) -> None:
    """A key that was replaced in its file is the next message's."""
    file = tmp_path / "key"
    file.write_text("e" * 32)
    key = Secret(file=file)
    webhook_sink.script(PagerDuty(KEY))
    pager = receiver(http, webhook_sink.url, key)
    assert (await refused(pager)).refusal is Refusal.FAILING
    file.write_text(f"{KEY}\n")
    key.refresh()
    assert (await pager.send(delivery_of())).startswith("202")


async def test_pagerduty_message_that_cannot_be_read_is_dead(http: httpx.AsyncClient) -> None:
    """What an older program wrote and this one cannot read is not tried for ever."""
    delivery = replace(delivery_of(), body=b'{"alert_id": 1}')
    with pytest.raises(DeliveryError, match="cannot be read") as caught:
        await receiver(http, "http://127.0.0.1:9").send(delivery)
    assert caught.value.refusal is Refusal.DEAD


async def test_pagerduty_retry_after_that_is_a_date_is_measured_from_now(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """The other form of Retry-After."""
    clock = FakeClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    webhook_sink.script([Answer(status=503, retry_after="Sun, 01 Mar 2026 12:01:30 GMT")])
    url = Address(webhook_sink.url + PATH)
    pager = PagerDutyReceiver(
        "pd",
        routing_key=Secret(KEY),
        url=url,
        http=http,
        redactor=Redactor([Secret(KEY)]),
        timeout_s=5.0,
        clock=clock,
    )
    assert (await refused(pager)).retry_after_s == 90.0
