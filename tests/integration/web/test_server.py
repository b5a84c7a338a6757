"""The web side over real sockets."""

import asyncio
import contextlib
import gzip
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.responses import PlainTextResponse, Response

from monitor.errors import StartError
from monitor.metrics import ConnectionView, Metrics
from monitor.web.app import SECURITY_HEADERS, create_app
from monitor.web.server import WebServer, bind
from monitor.web.status import MonitorStatus
from tests.integration.web.site import unexpected

VIEW = ConnectionView(
    identity="a",
    name="acme-sales",
    account="acme",
    connection_id=None,
    interval_s=60.0,
    counts=None,
    up=None,
    held=False,
    consecutive_failures=0,
    last_success_at=None,
    last_duration_s=None,
    maintenance=False,
)


class Daemon:
    """A stand-in for the rest of the daemon."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.stands_still: str | None = None

    def not_ready(self) -> str | None:
        """Return the reason the test set."""
        return self.reason

    def stuck(self) -> str | None:
        """Return what the test set."""
        return self.stands_still

    async def status(self) -> MonitorStatus:
        """Return a small status."""
        return MonitorStatus(
            instance="prod",
            version="1.2.3",
            connections=[VIEW],
            receivers=[],
            config_error=None,
            store_ok=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """A running server, what it shows, and a client of it."""

    server: WebServer
    daemon: Daemon
    client: httpx.AsyncClient
    port: int


@contextlib.asynccontextmanager
async def serve(*routers: APIRouter, stop_timeout_s: int = 3) -> AsyncIterator[Web]:
    """Serve a small application on a free port."""
    daemon, metrics = Daemon(), Metrics(version="1.2.3")
    metrics.set_connection(VIEW)
    app = create_app(metrics=metrics, readiness=daemon, routers=routers)
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = WebServer(app, sock, metrics=metrics, on_error=unexpected, stop_timeout_s=stop_timeout_s)
    await server.start()
    async with httpx.AsyncClient(timeout=60, base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield Web(server=server, daemon=daemon, client=client, port=port)
        await server.stop()


def route(path: str, answer: Callable[[], Awaitable[Response]]) -> APIRouter:
    """Return a router with one route of the test's own."""
    router = APIRouter()
    router.add_api_route(path, answer, methods=["GET"], response_model=None)
    return router


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        pytest.param("/metrics", "text/plain; version=0.0.4; charset=utf-8", id="metrics"),
        pytest.param("/-/healthy", "text/plain; charset=utf-8", id="healthy"),
        pytest.param("/-/ready", "text/plain; charset=utf-8", id="ready"),
        pytest.param("/static/monitor.css", "text/css; charset=utf-8", id="style"),
    ],
)
async def test_route_answers_get_and_head_alike(path: str, content_type: str) -> None:
    """Each route answers GET with a body and HEAD without, with the same type and the security headers."""
    async with serve() as web:
        got, headed = await web.client.get(path), await web.client.head(path)
    for response in (got, headed):
        assert response.status_code == 200
        assert response.headers["content-type"] == content_type
        assert {name: response.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert "server" not in response.headers
    assert got.content
    assert not headed.content


@pytest.mark.parametrize(
    ("method", "path", "code", "text"),
    [
        pytest.param("GET", "/nothing", 404, "404 Not Found\n", id="unknown"),
        pytest.param("GET", "/static/../app.py", 404, "404 Not Found\n", id="out-of-the-static-folder"),
        pytest.param("GET", "/docs", 404, "404 Not Found\n", id="no-interactive-docs"),
        pytest.param("POST", "/metrics", 405, "405 Method Not Allowed\n", id="method"),
        pytest.param("DELETE", "/metrics", 405, "405 Method Not Allowed\n", id="method-of-a-page"),
    ],
)
async def test_error_is_plain_and_carries_the_headers(method: str, path: str, code: int, text: str) -> None:
    """What is not there says so in plain words."""
    async with serve() as web:
        response = await web.client.request(method, path)
    assert (response.status_code, response.text) == (code, text)
    assert {name: response.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_internal_error_tells_the_client_nothing() -> None:
    """A route's bug is a plain 500 with the headers, and the server goes on."""

    async def fail() -> Response:
        raise RuntimeError("inside")

    async with serve(route("/fail", fail)) as web:
        response = await web.client.get("/fail")
        assert (await web.client.get("/-/healthy")).text == "ok\n"
    assert (response.status_code, response.text) == (500, "500 Internal Server Error\n")
    assert {name: response.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_healthy_says_what_stands_still() -> None:
    """Health is 503 with the reason where a restart would help."""
    async with serve() as web:
        web.daemon.stands_still = "the schedule has not run for 60 s"
        response = await web.client.get("/-/healthy")
        assert (response.status_code, response.text) == (503, "the schedule has not run for 60 s\n")


async def test_ready_says_why_not() -> None:
    """Readiness is 503 with the reason while there is one; health does not care."""
    async with serve() as web:
        web.daemon.reason = "the store is unavailable"
        response = await web.client.get("/-/ready")
        assert (response.status_code, response.text) == (503, "the store is unavailable\n")
        assert (await web.client.get("/-/healthy")).status_code == 200
        web.daemon.reason = None
        assert (await web.client.get("/-/ready")).status_code == 200


async def test_metrics_come_in_the_format_and_coding_asked_for() -> None:
    """OpenMetrics by Accept, gzip by Accept-Encoding; both hold the same connection."""
    headers = {"accept": "application/openmetrics-text;version=1.0.0", "accept-encoding": "gzip"}
    async with serve() as web:
        text = await web.client.get("/metrics", headers={"accept-encoding": "identity"})
        async with web.client.stream("GET", "/metrics", headers=headers) as response:
            packed = b"".join([piece async for piece in response.aiter_raw()])
    assert "content-encoding" not in text.headers
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    names = {family.name for family in parse_text(text.text)}
    assert "voicelink_connection_info" in names
    families = parse_openmetrics(gzip.decompress(packed).decode())  # type: ignore[no-untyped-call]  # as published
    assert {family.name for family in families} == names


async def test_stop_does_not_wait_for_idle_connections() -> None:
    """An open keep-alive connection is closed by a stop, and nothing listens afterwards."""
    async with serve() as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        await web.server.stop()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", web.port)


async def test_stop_lets_a_request_in_flight_end() -> None:
    """A request that was begun before the stop is answered."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Response:
        begun.set()
        await go_on.wait()
        return PlainTextResponse("done")

    async with serve(route("/slow", slow)) as web:
        request = asyncio.create_task(web.client.get("/slow"))
        await begun.wait()
        stop = asyncio.create_task(web.server.stop())
        await asyncio.sleep(0)
        go_on.set()
        assert (await request).text == "done"
        await stop


async def test_stop_cuts_off_a_request_that_does_not_end() -> None:
    """A request that hangs does not hold up the stop for longer than its time."""
    begun = asyncio.Event()

    async def hang() -> Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serve(route("/hang", hang), stop_timeout_s=1) as web:
        request = asyncio.create_task(web.client.get("/hang"))
        await begun.wait()
        async with asyncio.timeout(30):
            await web.server.stop()
        with pytest.raises(httpx.HTTPError):
            (await request).raise_for_status()


async def test_stop_frees_the_port() -> None:
    """A server that has served closes its socket."""
    daemon = Daemon()
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    metrics = Metrics(version="1")
    app = create_app(metrics=metrics, readiness=daemon)
    server = WebServer(app, sock, metrics=metrics, on_error=unexpected)
    await server.start()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/-/healthy")).text == "ok\n"
    await server.stop()
    assert sock.fileno() == -1


async def test_server_leaves_signals_to_the_daemon() -> None:
    """No handler is another while it serves."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_stop_before_start_frees_the_port() -> None:
    """A server that never started gives its socket back."""
    sock = bind("127.0.0.1", 0)
    daemon = Daemon()
    metrics = Metrics(version="1")
    app = create_app(metrics=metrics, readiness=daemon)
    await WebServer(app, sock, metrics=metrics, on_error=unexpected).stop()
    assert sock.fileno() == -1


def test_bind_says_which_address_is_taken() -> None:
    """A port in use is an error that says which, and what to do."""
    with contextlib.closing(bind("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartError) as caught:
            bind("127.0.0.1", port)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: address already in use; "
        "change web.listen or stop the other process"
    )


def test_bind_says_that_an_address_is_not_ours() -> None:
    """An address of another machine is an error of its own (192.0.2.0/24 is nobody's: RFC 5737)."""
    with pytest.raises(StartError, match=r"^cannot listen on 192\.0\.2\.1:0: .+; change web\.listen$"):
        bind("192.0.2.1", 0)


def test_bind_takes_ipv6() -> None:
    """An IPv6 address needs no brackets."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6")
    with contextlib.closing(bind("::1", 0)) as sock:
        assert sock.family is socket.AF_INET6


def test_certificate_that_cannot_be_read_is_a_start_error() -> None:
    """A wrong TLS file is told before anything is served."""
    daemon = Daemon()
    metrics = Metrics(version="1")
    app = create_app(metrics=metrics, readiness=daemon)
    with (
        contextlib.closing(bind("127.0.0.1", 0)) as sock,
        pytest.raises(StartError, match=r"web\.tls_cert_file"),
    ):
        WebServer(
            app, sock, metrics=metrics, on_error=unexpected, tls_cert_file=Path("/nonexistent/cert.pem")
        )
