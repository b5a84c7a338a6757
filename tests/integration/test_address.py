"""Whatever URL the config takes, the real client can send to."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.clock import SystemClock
from monitor.config.receivers import WebhookConfig
from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.client import Network
from monitor.http.errors import NoAnswer
from monitor.http.redactor import Redactor
from monitor.http.request import request
from monitor.notify.delivery import Receiver
from monitor.notify.pagerduty import PagerDutyReceiver
from monitor.notify.slack import SlackReceiver
from monitor.notify.webhook import WebhookReceiver
from monitor.secret import Secret
from tests.fakes.alerts import delivery_of
from tests.servers.webhook import WebhookSink

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USER, PASSWORD = "mön:itor"[:3], "p4ss/w@rd: 100%+é😀"
USERINFO = f"{quote(USER)}:{quote(PASSWORD, safe='')}"
BASIC = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The program's own client."""
    async with Network().client(max_connections=4) as client:
        yield client


def named(sink: WebhookSink, path: str) -> str:
    """Return a URL of the sink with a login."""
    return sink.url.replace("://", f"://{USERINFO}@") + path


async def test_login_in_a_url_reaches_every_type_of_receiver(
    http: httpx.AsyncClient, webhook_sink: WebhookSink
) -> None:
    """It arrives as Basic authorization, not in the path."""
    url = named(webhook_sink, "/here?a=b")
    receivers: list[Receiver] = [
        WebhookReceiver(
            "hook",
            Secret(url),
            secrets=(),
            headers={},
            http=http,
            redactor=Redactor(),
            timeout_s=5.0,
            clock=SystemClock(),
        ),
        SlackReceiver("chat", url=Secret(url), http=http, redactor=Redactor(), timeout_s=5.0),
        PagerDutyReceiver(
            "pd",
            routing_key=Secret("k3y"),
            url=Address.of(url),
            http=http,
            redactor=Redactor(),
            timeout_s=5.0,
        ),
    ]
    for receiver in receivers:
        await receiver.send(delivery_of())
    heard = [(each.path, each.headers.get("authorization")) for each in webhook_sink.requests]
    assert heard == [("/here?a=b", BASIC)] * len(receivers)


async def test_url_that_its_file_no_longer_holds_is_for_a_person_to_fix(
    http: httpx.AsyncClient, tmp_path: Path, webhook_sink: WebhookSink
) -> None:
    """A receiver whose file was replaced by nonsense is failing, and the nonsense is not told."""
    file = tmp_path / "url"
    file.write_text(webhook_sink.url)
    url = Secret(file=file)
    hook = WebhookReceiver(
        "hook",
        url,
        secrets=(),
        headers={},
        http=http,
        redactor=Redactor(),
        timeout_s=5.0,
        clock=SystemClock(),
    )
    await hook.send(delivery_of())
    file.write_text("https://s3cr3t:port/")
    url.refresh()
    with pytest.raises(DeliveryError, match="the URL cannot be used: not a URL") as caught:
        await hook.send(delivery_of())
    assert caught.value.refusal is Refusal.FAILING
    assert "s3cr3t" not in str(caught.value)


HOSTS = (
    st.sampled_from(
        ["example.com", "h", "a_b", "a..b", "a.", ".a", "xn--a", "xn--", "xn--bcher-kva.de", "bücher.de"]
    )
    | st.sampled_from(["☃.net", "-a", "a-", "*", "a*b", "EXAMPLE", "a" * 63, "a" * 64, "ß.de", "a,b", "(a)"])
    | st.sampled_from(["a%41b", "999.1.1.1", "a'b", "1.2.3.4.5", "a" * 300, "\uff11.2.3.4", "a\u200db"])
    | st.sampled_from(["[::1]", "[::1%25lo]", "[v1.x]", "[::g]", "127.0.0.1"])
    | st.text(max_size=6)
)
PORTS = st.sampled_from(["", ":", ":80", ":0", ":65536", ":-1", ":0080", ":\uff18\uff10", ":1_0", ":x"])
PATHS = (
    st.just("")
    | st.text(max_size=10).map("/{}".format)
    | st.sampled_from(
        ["/%", "/%2", "/%zz", "/%2F%2f", "/a/../b", "/..", "//x", "/;a=b", "/\\x", "/é/%C3%A9", "/a b"]
    )
)
ENDS = st.just("") | st.text(max_size=8).map("?{}".format) | st.text(max_size=8).map("#{}".format)
LOGINS = st.just("") | st.text(max_size=6).map("{}@".format) | st.just("u:p@")
URLS = st.builds(
    "{}://{}{}{}{}{}".format, st.sampled_from(["http", "HTTP"]), LOGINS, HOSTS, PORTS, PATHS, ENDS
)


class Everywhere:
    """A server that is found under every name and port; `heard` is what it was asked last."""

    def __init__(self) -> None:
        self.heard: tuple[str, str | None] = ("", None)
        self.port = 0

    async def answer(self, asked: web.BaseRequest) -> web.Response:
        """Note a request."""
        self.heard = asked.raw_path, asked.headers.get("authorization")
        return web.Response(text="ok")

    async def find(self, host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        """Take the place of `getaddrinfo`, which encodes names this way first."""
        host.encode("idna")
        where = ("127.0.0.1", self.port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]


@settings(max_examples=30)
@given(st.lists(URLS, min_size=30, max_size=30))
def test_every_url_that_the_config_takes_can_be_sent_to(urls: list[str]) -> None:
    """Hosts, ports, escapes, logins of any kind: refused by the config, or requested as they stand."""
    asyncio.run(_send_to_all(urls))


async def _send_to_all(urls: list[str]) -> None:
    everywhere = Everywhere()
    runner = web.ServerRunner(web.Server(everywhere.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    everywhere.port = runner.addresses[0][1]
    asyncio.get_running_loop().getaddrinfo = everywhere.find  # type: ignore[method-assign, assignment]
    try:
        async with Network().client(max_connections=1) as http:
            for url in urls:
                await _send(http, url, everywhere)
    finally:
        await runner.cleanup()


async def _send(http: httpx.AsyncClient, url: str, everywhere: Everywhere) -> None:
    try:
        config = WebhookConfig.model_validate({"name": "h", "type": "webhook", "url": url})
    except ValidationError:
        return
    address = Address.of(config.address.reveal())
    everywhere.heard = ("", None)
    if httpx.URL(address.url).host in ("127.0.0.1", "::1"):  # no name to look up, and nothing listens there
        with pytest.raises(NoAnswer, match="connection refused"):
            await request(http, "GET", address, redactor=Redactor(), now=NOW)
        return
    answer = await request(http, "GET", address, redactor=Redactor(), now=NOW)
    assert answer.text == "ok"
    path, authorization = everywhere.heard
    sent = httpx.URL(address.url)
    asked = sent.raw_path.decode() if sent.query else sent.raw_path.decode().removesuffix("?")
    assert unquote(path) == unquote(asked)
    assert authorization == (address.authorization.reveal() if address.authorization else None)
