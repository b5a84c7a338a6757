"""Slack over HTTP, against a double that enforces what its pages document."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from httpx_aiohttp import HttpxAiohttpClient

from monitor.errors import DeliveryError, Refusal
from monitor.http.redactor import Redactor
from monitor.notify.slack import SlackReceiver
from monitor.secret import Secret
from tests.fakes.alerts import BODY, NUMBER, delivery_of
from tests.golden.examples import EXAMPLES
from tests.servers.slack import PATH, Slack
from tests.servers.webhook import Answer, WebhookSink


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Return the program's kind of client."""
    async with HttpxAiohttpClient() as client:
        yield client


def receiver(http: httpx.AsyncClient, url: str) -> SlackReceiver:
    """Return a receiver that posts to a webhook."""
    return SlackReceiver("chat", url=Secret(url), http=http, redactor=Redactor([Secret(url)]), timeout_s=5.0)


async def refused(chat: SlackReceiver) -> DeliveryError:
    """Return how a message is refused."""
    with pytest.raises(DeliveryError) as caught:
        await chat.send(delivery_of())
    return caught.value


@pytest.mark.parametrize("example", EXAMPLES)
async def test_slack_takes_every_kind_of_message(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, example: str
) -> None:
    """200 is delivered."""
    double = Slack()
    webhook_sink.script(double)
    chat = receiver(http, webhook_sink.url + PATH)
    assert await chat.send(delivery_of(EXAMPLES[example]())) == "200 OK: ok"
    assert len(double.messages) == 1


async def test_slack_takes_the_largest_message(http: httpx.AsyncClient, webhook_sink: WebhookSink) -> None:
    """Hundreds of numbers with endless states fit."""
    webhook_sink.script(Slack())
    number = msgspec.structs.replace(NUMBER, state="<&>" * 5000)
    body = msgspec.structs.replace(BODY, numbers=[number] * 500, numbers_total=500, summary="&" * 9000)
    assert await receiver(http, webhook_sink.url + PATH).send(delivery_of(body)) == "200 OK: ok"


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        ("invalid_payload", Refusal.DEAD),
        ("invalid_blocks", Refusal.DEAD),
        ("action_prohibited", Refusal.FAILING),
        ("channel_not_found", Refusal.FAILING),
        ("no_service", Refusal.FAILING),
        ("channel_is_archived", Refusal.GONE),
        ("rollup_error", Refusal.RETRY),
    ],
)
async def test_slack_refusals(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, word: str, refusal: Refusal
) -> None:
    """Each word has its consequence, and is told."""
    double = Slack()
    double.refuse = word
    webhook_sink.script(double)
    error = await refused(receiver(http, webhook_sink.url + PATH))
    assert error.refusal is refusal
    assert word in str(error)


async def test_slack_that_limits_the_rate_is_obeyed(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """429 is tried again, not before Retry-After."""
    double = Slack()
    double.refuse, double.retry_after = "rate_limited", "30"
    webhook_sink.script(double)
    error = await refused(receiver(http, webhook_sink.url + PATH))
    assert (error.refusal, error.retry_after_s) == (Refusal.RETRY, 30.0)


@pytest.mark.parametrize(
    "quoted", [PATH, "s3cr3tt0ken", f"http://hooks.slack.com{PATH}?x=1"], ids=["path", "token", "url"]
)
async def test_slack_answer_that_quotes_the_url_is_hidden(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, quoted: str
) -> None:
    """The URL is the credential: no part of its path gets into an error."""
    webhook_sink.script([Answer(status=404, body=f"no {quoted} here".encode())])
    error = await refused(receiver(http, webhook_sink.url + PATH))
    assert "s3cr3t" not in str(error)


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        pytest.param(f"http://127.0.0.1:1{PATH}", Refusal.RETRY, id="refused"),
        pytest.param(f"http://nobody.invalid{PATH}", Refusal.RETRY, id="unknown-host"),
        pytest.param(f"http://[{PATH}", Refusal.FAILING, id="no-url"),
        pytest.param("s3cr3tt0ken", Refusal.FAILING, id="no-scheme"),
    ],
)
async def test_slack_out_of_reach_is_tried_again_without_telling_the_url(
    http: httpx.AsyncClient, url: str, refusal: Refusal
) -> None:
    """No failure of the connection quotes where it went."""
    error = await refused(receiver(http, url))
    assert error.refusal is refusal
    assert "s3cr3t" not in str(error)
