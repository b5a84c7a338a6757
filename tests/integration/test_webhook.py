"""The webhook against a real server and the public packages that read it."""

import asyncio
import base64
import gzip
import json
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from httpx_aiohttp import HttpxAiohttpClient
from standardwebhooks.webhooks import Webhook

from monitor.clock import SystemClock
from monitor.drift.alert import encode_body
from monitor.errors import DeliveryError, Refusal
from monitor.http.redactor import Redactor
from monitor.notify.drain import Drain
from monitor.notify.webhook import WebhookReceiver
from monitor.secret import Secret
from tests.fakes.alerts import BODY, delivery_of
from tests.fakes.log import FakeLog
from tests.fakes.outbox import FakeOutbox, State
from tests.fakes.shortage import no_shortage
from tests.servers.webhook import Answer, WebhookSink

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, about").decode()
PATH = "/hooks/p4th-t0ken"


@pytest.fixture(params=[HttpxAiohttpClient, httpx.AsyncClient], ids=["aiohttp", "httpcore"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client, with the transport of the program and with that of httpx."""
    async with request.param() as client:
        yield client


def webhook(http: httpx.AsyncClient, url: str, *, secret: str | None = SECRET) -> WebhookReceiver:
    """Return a webhook to a URL."""
    return WebhookReceiver(
        "hook",
        Secret(url + PATH),
        secrets=() if secret is None else (Secret(secret),),
        headers={"authorization": Secret("Bearer t0k3n"), "x-team": Secret("voice")},
        http=http,
        redactor=Redactor([Secret(url + PATH), Secret("Bearer t0k3n")]),
        timeout_s=5.0,
        clock=SystemClock(),
    )


async def refused(hook: WebhookReceiver) -> DeliveryError:
    """Return how a webhook refuses a message."""
    with pytest.raises(DeliveryError) as caught:
        await hook.send(delivery_of())
    return caught.value


async def test_webhook_is_read_by_the_public_packages(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """The signature verifies, and the body is a CloudEvent that holds the alert."""
    webhook_sink.script([Answer(body=b"thanks")])
    assert await webhook(http, webhook_sink.url).send(delivery_of()) == "200 OK: thanks"
    [request] = webhook_sink.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    Webhook(SECRET).verify(request.body, headers)
    event = from_http_event(HTTPMessage(headers=headers, body=request.body))
    assert (request.method, request.path) == ("POST", PATH)
    assert headers["content-type"] == "application/cloudevents+json"
    assert (headers["authorization"], headers["x-team"]) == ("Bearer t0k3n", "voice")
    assert event.get_id() == headers["webhook-id"] == "d1"
    assert event.get_type() == "voicelink.alert.opened"
    assert (event.get_source(), event.get_subject()) == ("prod", "a1")
    assert event.get_data() == json.loads(encode_body(BODY))


async def test_webhook_without_secret_is_not_signed(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """No secret, no signature; the id and the timestamp are there all the same."""
    await webhook(http, webhook_sink.url, secret=None).send(delivery_of())
    headers = webhook_sink.requests[0].headers
    assert "webhook-signature" not in headers
    assert {"webhook-id", "webhook-timestamp"} <= {name.lower() for name in headers}


@pytest.mark.parametrize(
    ("answer", "refusal", "said"),
    [
        pytest.param(Answer(status=503, retry_after="7"), Refusal.RETRY, "503 Service", id="busy"),
        pytest.param(Answer(hang_up=True), Refusal.RETRY, "", id="hang-up"),
        pytest.param(Answer(status=401), Refusal.FAILING, "401 Unauthorized", id="barred"),
        pytest.param(
            Answer(status=404, body=b"Cannot POST " + PATH.encode()),
            Refusal.FAILING,
            "404 Not Found: Cannot POST ***",
            id="quotes-the-path",
        ),
        pytest.param(
            Answer(status=400, body=b"bad header Bearer t0k3n for +918011223344"),
            Refusal.DEAD,
            "400 Bad Request: bad header *** for ***",
            id="quotes-a-secret-and-a-number",
        ),
        pytest.param(Answer(status=413), Refusal.DEAD, "413 ", id="too-large"),
        pytest.param(Answer(status=400, body=b"\x00\x01\xff"), Refusal.DEAD, "400 Bad Request", id="binary"),
        pytest.param(
            Answer(status=500, body=gzip.compress(b"x" * 10**6), headers={"content-encoding": "gzip"}),
            Refusal.RETRY,
            "500 Internal Server Error",
            id="packed-though-not-asked",
        ),
    ],
)
async def test_webhook_refusals(
    http: httpx.AsyncClient, webhook_sink: WebhookSink, answer: Answer, refusal: Refusal, said: str
) -> None:
    """Each kind of answer has its consequence, told without secrets and numbers."""
    webhook_sink.script([answer])
    error = await refused(webhook(http, webhook_sink.url))
    assert error.refusal is refusal
    assert str(error).startswith(said)
    assert error.retry_after_s == (7.0 if answer.retry_after else None)
    assert "t0k" not in str(error)


async def test_webhook_ignores_a_retry_after_it_cannot_read(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """Nonsense in Retry-After leaves the wait to the backoff."""
    webhook_sink.script([Answer(status=429, retry_after="soon")])
    error = await refused(webhook(http, webhook_sink.url))
    assert (error.refusal, error.retry_after_s) == (Refusal.RETRY, None)


async def test_webhook_follows_no_redirect(http: httpx.AsyncClient, webhook_sink: WebhookSink) -> None:
    """A redirect is a failure of the receiver's setting; nothing is sent to where it points."""
    webhook_sink.script([Answer(status=307, headers={"location": webhook_sink.url + "/elsewhere"})])
    error = await refused(webhook(http, webhook_sink.url))
    assert error.refusal is Refusal.FAILING
    assert len(webhook_sink.requests) == 1


async def test_webhook_to_a_closed_port_is_tried_again(http: httpx.AsyncClient) -> None:
    """A refused connection is told in words, without the URL."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await refused(webhook(http, f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert (error.refusal, str(error)) == (Refusal.RETRY, "connection refused")


async def test_webhook_to_an_unknown_host_is_tried_again(http: httpx.AsyncClient) -> None:
    """A name that does not resolve may do so later."""
    error = await refused(webhook(http, "http://nobody.invalid"))
    assert (error.refusal, str(error)) == (Refusal.RETRY, "the host name does not resolve")


Serve = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers that answer any request with some bytes and keep the connection open."""
    servers: list[asyncio.Server] = []
    ended = asyncio.Event()

    async def start(answer: bytes) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await ended.wait()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    ended.set()
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(b"Content-Length: 9\r\n\r\nhalf", "202 Accepted: half", id="slow-body"),
        pytest.param(
            b"Content-Length: 900000000\r\n\r\n" + b"xyz " * 9_999,
            "202 Accepted: xyz xyz",
            id="endless-body",
        ),
    ],
)
async def test_webhook_counts_the_status_whatever_the_body(
    http: httpx.AsyncClient, serve: Serve, answer: bytes, said: str
) -> None:
    """2xx is delivered: a body that never comes or never ends does not send the message again."""
    hook = webhook(http, await serve(b"HTTP/1.1 202 Accepted\r\n" + answer))
    assert (await hook.send(delivery_of())).startswith(said)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 banana\r\n\r\n"])
async def test_webhook_to_what_is_no_http_server_is_tried_again(
    http: httpx.AsyncClient, serve: Serve, answer: bytes
) -> None:
    """An answer that is not HTTP is an answer that did not come."""
    error = await refused(webhook(http, await serve(answer)))
    assert (error.refusal, str(error)) == (Refusal.RETRY, "the answer is not HTTP")


class Uncounted:
    """Metrics that no one reads."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count nothing."""

    def store_error(self) -> None:
        """Count nothing."""


async def test_webhook_is_the_same_on_every_try(webhook_sink: WebhookSink) -> None:
    """A message that the drain sends again has the same id and body, and a signature that holds."""
    clock = SystemClock()
    webhook_sink.script([503, Answer(hang_up=True), 200])
    outbox = FakeOutbox(clock)
    outbox.add("hook", "a1", body=encode_body(BODY))
    async with HttpxAiohttpClient() as http:
        drain = Drain(
            outbox=outbox,
            receivers=[webhook(http, webhook_sink.url)],
            clock=clock,
            rng=random.Random(1),
            metrics=Uncounted(),
            log=FakeLog().logger,
            shortage=no_shortage(),
        )
        running = asyncio.create_task(drain.run())
        requests = await webhook_sink.wait_for(3)
        await drain.close(5)
        await running
    assert outbox.states() == [State.DELIVERED]
    assert len({request.body for request in requests}) == 1
    assert {request.headers["webhook-id"] for request in requests} == {"d1"}
    for request in requests:
        Webhook(SECRET).verify(request.body, {k.lower(): v for k, v in request.headers.items()})
