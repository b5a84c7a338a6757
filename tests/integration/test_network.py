"""How the provider, receivers and the watchdog are reached: real proxies, real certificates, no redirects."""

import base64
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from monitor.config import load_config
from monitor.daemon.receivers import ReceiverSet
from monitor.daemon.watchlist import account_budgets, build_client
from monitor.errors import MonitorError
from monitor.http.client import Network
from monitor.http.request import request
from monitor.notify.alertmanager import PosterParts
from monitor.notify.log import LogReceiver
from tests.fakes.alerts import BODY, delivery_of
from tests.fakes.log import FakeLog
from tests.fakes.rig import HastyClock
from tests.fakes.shortage import no_shortage
from tests.servers.proxy import running_proxy
from tests.servers.tls import Tls, issued
from tests.servers.webhook import Answer, Received, WebhookSink

# Apprise imports `imghdr` where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

RECEIVERS = {
    "alertmanager": '{"urls": ["URL"]}',
    "webhook": '{"url": "URL"}',
    "pagerduty": '{"url": "URL", "routing_key": "r0ut1ng"}',
    "slack": '{"url": "URL"}',
    "apprise": '{"url": "APPRISE"}',
}
PARTIES = ("provider", "discovery", *RECEIVERS, "heartbeat")
"""Everybody who is asked over HTTP."""

DEAD = "127.0.0.1:9"

party = pytest.mark.parametrize("party", PARTIES)


async def ask(party: str, url: str, network: Network, ca_file: Path | None = None) -> None:
    """Send one request to a party that is configured to be at `url`, as the daemon does.

    Raises:
        MonitorError: It was not answered with a success.
    """
    clock, log, rng = HastyClock(), FakeLog(), random.Random(1)
    environ = {"VOICELINK_API_KEY": "rg_live_s3cr3t"}
    own = {} if ca_file is None else {"ca_file": str(ca_file)}
    if party in ("provider", "discovery"):
        environ |= {f"VOICELINK_MONITOR_API__{key.upper()}": value for key, value in own.items()}
        environ["VOICELINK_MONITOR_API__BASE_URL"] = url
    elif party == "heartbeat":
        environ |= {f"VOICELINK_MONITOR_HEARTBEAT__{key.upper()}": value for key, value in own.items()}
    else:
        keys = RECEIVERS[party].replace("URL", url).replace("APPRISE", url.replace("http", "json", 1))
        receiver = {"name": "r", "type": party, **json.loads(keys), **own}
        environ["VOICELINK_MONITOR_RECEIVERS"] = json.dumps([receiver])
    config = load_config(None, environ, now=clock.now())
    transport, client = build_client(config, network, clock, rng)

    def parts(http: httpx.AsyncClient) -> PosterParts:
        return PosterParts(
            redactor=network.redactor,
            level=None,  # type: ignore[arg-type]  # a test alert is not kept
            http=http,
            clock=clock,
            rng=rng,
            metrics=None,  # type: ignore[arg-type]  # nor counted
            log=log.logger,
            shortage=no_shortage(),
        )

    made = ReceiverSet(config, network=network, clock=clock, log=LogReceiver(log.logger), parts=parts)
    try:
        [budget] = account_budgets(config, clock, lambda *_: None, kept={}).values()
        asks: dict[str, Callable[..., Awaitable[object]]] = {
            "provider": partial(client.sync, connection_id=None),
            "discovery": client.list_connections,
        }
        if party in asks:
            await asks[party](key="rg_live_s3cr3t", budget=budget)
        elif party == "heartbeat":
            answer = await request(made.heartbeat, "GET", url, redactor=network.redactor, now=clock.now())
            if not answer.is_success:
                raise MonitorError(str(answer.status))
        elif party == "alertmanager":
            [alertmanager] = made.alertmanagers
            await alertmanager.send_test(BODY)
        else:
            await made.receivers[-1].send(delivery_of())
    finally:
        await made.close()
        await transport.aclose()


def well(_: Received) -> Answer:
    """Answer what every party takes for a success."""
    return Answer(body=b'{"success": true, "data": []}', headers={"Content-Type": "application/json"})


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """Return a certificate that no system trusts."""
    return issued(tmp_path)


@asynccontextmanager
async def server(*, host: str = "127.0.0.1", tls: Tls | None = None) -> AsyncIterator[WebhookSink]:
    """Run a server that plays any party."""
    async with WebhookSink(well, host=host, tls=tls.context if tls else None) as sink:
        yield sink


@party
async def test_plain_http_goes_through_the_proxy(party: str) -> None:
    """With its absolute address, and the credentials of the variable."""
    async with server() as sink, running_proxy() as proxy:
        network = Network({"HTTP_PROXY": f"us3r:p%40ss%C3%A9@{proxy.address}"})
        await ask(party, sink.url, network)
        [asked] = proxy.asked
        assert asked.target.startswith(sink.url)
        assert asked.authorization == f"Basic {base64.b64encode('us3r:p@ssé'.encode()).decode()}"
        [received] = sink.requests
        assert "proxy-authorization" not in received.headers


@party
async def test_https_goes_through_a_tunnel_of_the_proxy(party: str, tls: Tls) -> None:
    """The proxy sees the host and its credentials; the server's certificate is checked at the end."""
    async with server(tls=tls) as sink, running_proxy() as proxy:
        network = Network({"https_proxy": f"http://us3r:p4ss@{proxy.address}"})
        await ask(party, sink.url, network, tls.ca_file)
        [asked] = proxy.asked
        assert (asked.method, asked.target) == ("CONNECT", sink.url.removeprefix("https://"))
        assert asked.authorization == f"Basic {base64.b64encode(b'us3r:p4ss').decode()}"
        assert len(sink.requests) == 1
        with pytest.raises(MonitorError):
            await ask(party, sink.url, network)
        assert len(sink.requests) == 1


@party
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_proxy_may_be_reached_by_https_itself(party: str, secure: bool, tls: Tls) -> None:
    """Its certificate is checked as the server's is."""
    async with server(tls=tls if secure else None) as sink, running_proxy(tls.context) as proxy:
        await ask(party, sink.url, Network({"ALL_PROXY": f"https://{proxy.address}"}), tls.ca_file)
        assert [asked.method == "CONNECT" for asked in proxy.asked] == [secure]
        assert len(sink.requests) == 1
        with pytest.raises(MonitorError):
            await ask(party, sink.url, Network({"ALL_PROXY": f"https://{proxy.address}"}))


@party
@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("127.0.0.1", "10.0.0.0/8,127.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        ("::1", "localhost,::1,[::1]"),
        ("::1", "*"),
    ],
)
async def test_no_proxy_connects_directly(party: str, host: str, no_proxy: str) -> None:
    """Networks too, of IPv4 and IPv6; other hosts go through the proxy."""
    async with server(host=host) as sink, running_proxy() as proxy:
        await ask(party, sink.url, Network({"HTTP_PROXY": proxy.url, "NO_PROXY": no_proxy}))
        assert proxy.asked == []
        await ask(party, sink.url, Network({"HTTP_PROXY": proxy.url, "NO_PROXY": "10.0.0.0/8,fd07::/64"}))
        assert len(proxy.asked) == 1
        assert len(sink.requests) == 2


@party
async def test_nothing_but_the_network_reads_the_environment(
    party: str, tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for proxies, nor certificates, nor the passwords of `.netrc`, whatever libraries do by default."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login us3r password n3trc\n")
    netrc.chmod(0o600)
    variables = {
        "HTTP_PROXY": f"http://{DEAD}",
        "HTTPS_PROXY": f"http://{DEAD}",
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "NO_PROXY": "fd07::/64",
        "SSL_CERT_FILE": "/nonexistent.pem",
        "REQUESTS_CA_BUNDLE": "/nonexistent.pem",
        "CURL_CA_BUNDLE": "/nonexistent.pem",
        "NETRC": str(netrc),
        "HOME": str(tmp_path),
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
        monkeypatch.setenv(variable.lower(), value)
    async with server() as plain, server(tls=tls) as secure:
        await ask(party, plain.url, Network({}))
        await ask(party, secure.url, Network({}), tls.ca_file)
        for received in (*plain.requests, *secure.requests):
            assert not received.headers.get("authorization", "").startswith("Basic")


@party
async def test_certificates_are_checked_against_the_authorities_that_count(
    party: str, tls: Tls, tmp_path: Path
) -> None:
    """Those of `ca_file`, else those that SSL_CERT_FILE names, else the system's."""
    other = issued(tmp_path / "other").ca_file
    cases: list[tuple[Mapping[str, str], Path | None, bool]] = [
        ({}, None, False),
        ({}, tls.ca_file, True),
        ({}, other, False),
        ({"SSL_CERT_FILE": str(tls.ca_file)}, None, True),
        ({"SSL_CERT_FILE": str(other)}, None, False),
        ({"SSL_CERT_FILE": str(tls.ca_file)}, other, False),
        ({"SSL_CERT_FILE": str(other)}, tls.ca_file, True),
    ]
    async with server(tls=tls) as sink:
        for environ, ca_file, trusted in cases:
            sink.requests.clear()
            if trusted:
                await ask(party, sink.url, Network(environ), ca_file)
            else:
                with pytest.raises(MonitorError):
                    await ask(party, sink.url, Network(environ), ca_file)
            assert len(sink.requests) == trusted


@party
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(party: str, status: int) -> None:
    """To nobody else, and to nothing less secret: keys, signatures and numbers go where the config says."""
    async with server() as sink, server() as elsewhere:
        sink.script(lambda _: Answer(status=status, headers={"Location": f"{elsewhere.url}/further"}))
        with pytest.raises(MonitorError):
            await ask(party, sink.url, Network())
        sink.script(lambda _: Answer(status=status, headers={"Location": "/further"}))
        with pytest.raises(MonitorError):
            await ask(party, sink.url, Network())
        assert elsewhere.requests == []
        assert {received.path for received in sink.requests}.isdisjoint({"/further"})
