"""The web port among clients that are slow, silent, deaf or too many, over real sockets."""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from monitor.errors import Resource, out_of_resources
from monitor.metrics import Metrics
from monitor.web.app import create_app
from monitor.web.listener import Limits
from monitor.web.server import WebServer, bind
from tests.descriptors import no_descriptors
from tests.fakes.loop import pass_by
from tests.integration.web.test_tls import Files
from tests.servers.process import wait_until

HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = Limits()
FEW = Limits(connections=4)
BIG = 8 << 20
"""Bytes, more than sockets buffer."""
_LOOK_S = 0.01


class Ready:
    """A daemon that is."""

    def not_ready(self) -> None:
        """Return no reason."""
        return

    def stuck(self) -> None:
        """Return that nothing is."""
        return


class Counts:
    """Counts as the metrics do."""

    def __init__(self) -> None:
        self.now = self.rejected = 0

    def web_connections(self, now: int) -> None:
        """Keep how many there are."""
        self.now = now

    def web_connection_rejected(self) -> None:
        """Count."""
        self.rejected += 1


@dataclass(kw_only=True)
class Site:
    """A server, and what a test knows of it."""

    server: WebServer
    port: int
    metrics: "Counts"
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[tuple[str, BaseException]] = field(default_factory=list)
    files: Files | None = None
    clients: list["Client"] = field(default_factory=list)

    async def connect(self, *, tls: bool | None = None) -> "Client":
        """Open a connection; over TLS if the server speaks it, unless told otherwise."""
        secure = self.files is not None if tls is None else tls
        context = self.files.context() if secure and self.files is not None else None
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="localhost" if context else None
        )
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    def counted(self) -> tuple[int, int]:
        """Return how many connections are open, and how many were rejected."""
        return self.metrics.now, self.metrics.rejected

    def is_empty(self) -> bool:
        """Return whether no connection is open."""
        return self.metrics.now == 0


@dataclass
class Client:
    """A client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def healthy(self) -> bool:
        """Ask once; return whether there is a good answer."""
        try:
            self.writer.write(HEALTHY)
            return (await self.reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.IncompleteReadError):
            return False

    async def closed(self) -> None:
        """Wait until the server hangs up."""
        with contextlib.suppress(OSError):
            while await self.reader.read(1 << 16):
                pass
        self.writer.transport.abort()

    async def drip(self, every_s: float, *, start: bytes) -> float:
        """Send a byte now and then, until the server hangs up; return after how many seconds it does."""
        began_s = pass_by(0)
        closed = asyncio.create_task(self.closed())
        self.writer.write(start)
        while not closed.done():
            with contextlib.suppress(OSError):
                self.writer.write(b"x")
            await asyncio.wait([closed], timeout=_LOOK_S)
            pass_by(every_s)
        return pass_by(0) - began_s


def routes(site: Callable[[], Site]) -> APIRouter:
    """Return routes that wait, answer at length, and read what they are sent."""
    router = APIRouter()

    @router.get("/wait")
    async def wait() -> Response:
        await site().go_on.wait()
        return PlainTextResponse("ok\n")

    @router.get("/big")
    async def big() -> Response:
        return PlainTextResponse("x" * BIG)

    @router.post("/body")
    async def body(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    @router.post("/deaf")
    async def deaf() -> Response:
        return PlainTextResponse("ok\n", 401)

    return router


@contextlib.asynccontextmanager
async def serve(
    limits: Limits, files: Files | None = None, *, stop_timeout_s: int = 1
) -> AsyncIterator[Site]:
    """Serve on a free port."""
    metrics, sock, sites = Counts(), bind("127.0.0.1", 0), list[Site]()
    app = create_app(metrics=Metrics(version="1"), readiness=Ready(), routers=[routes(lambda: sites[0])])
    server = WebServer(
        app,
        sock,
        limits=limits,
        metrics=metrics,
        on_error=lambda doing, exc: sites[0].errors.append((doing, exc)),
        tls_cert_file=files.cert if files else None,
        tls_key_file=files.key if files else None,
        stop_timeout_s=stop_timeout_s,
    )
    sites.append(Site(server=server, port=sock.getsockname()[1], metrics=metrics, files=files))
    await server.start()
    try:
        yield sites[0]
    finally:
        sites[0].go_on.set()
        for client in sites[0].clients:
            client.writer.transport.abort()
        await server.stop()


@pytest.fixture(params=["plain", "tls"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files | None:
    """Return a certificate, or none."""
    return Files(tmp_path) if request.param == "tls" else None


async def test_client_that_sends_nothing_is_closed(files: Files | None) -> None:
    """An open connection without headers ends at their deadline; one that asks in time is served."""
    async with serve(LIMITS, files) as site:
        silent, asking = await site.connect(), await site.connect()
        pass_by(LIMITS.headers_s / 2)
        assert await asking.healthy()
        assert site.counted() == (2, 0)
        pass_by(LIMITS.headers_s / 2)
        await silent.closed()
        assert await asking.healthy()
        assert site.counted() == (1, 0)


async def test_client_that_never_shakes_hands_is_closed(tmp_path: Path) -> None:
    """A connection to the TLS port that says nothing ends at the deadline of the handshake."""
    async with serve(LIMITS, Files(tmp_path)) as site:
        silent = await site.connect(tls=False)
        pass_by(LIMITS.handshake_s / 2)
        asking = await site.connect()
        assert await asking.healthy()
        assert site.counted() == (2, 0)
        pass_by(LIMITS.handshake_s / 2)
        await silent.closed()
        assert await asking.healthy()
        assert site.errors == []


@pytest.mark.parametrize("first", [True, False], ids=["first request", "second request"])
async def test_headers_that_drip_are_cut_off(files: Files | None, *, first: bool) -> None:
    """The deadline counts from the first byte, however many follow."""
    async with serve(LIMITS, files) as site:
        client = await site.connect()
        if not first:
            assert await client.healthy()
        after_s = await client.drip(LIMITS.headers_s / 10, start=b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert LIMITS.headers_s / 2 < after_s < LIMITS.headers_s * 2


@pytest.mark.parametrize("path", ["/body", "/deaf"], ids=["read", "answered before"])
async def test_body_that_drips_is_cut_off(files: Files | None, path: str) -> None:
    """A body has one deadline for all of it, even where the answer does not wait for it."""
    async with serve(LIMITS, files) as site:
        client = await site.connect()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode()
        after_s = await client.drip(LIMITS.body_s / 10, start=head)
        assert LIMITS.body_s / 2 < after_s < LIMITS.body_s * 2


@pytest.mark.parametrize("ending", ["", "Connection: close\r\n"], ids=["keep-alive", "last"])
async def test_answer_that_nobody_reads_is_given_up(files: Files | None, ending: str) -> None:
    """What a client does not read holds neither its connection nor the memory of the answer."""
    async with serve(LIMITS, files) as site:
        client = await site.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can be read from
        client.writer.write(f"GET /big HTTP/1.1\r\nHost: x\r\n{ending}\r\n".encode())
        began_s = pass_by(0)

        def is_given_up() -> bool:
            pass_by(LIMITS.unread_s / 10)
            return site.is_empty()

        await wait_until(is_given_up, what="the end of the connection")
        assert LIMITS.unread_s < pass_by(0) - began_s < LIMITS.answer_s / 2


async def test_answer_that_is_read_slowly_is_brought_to_its_end(files: Files | None) -> None:
    """Whoever reads on, however slowly, gets all of it."""
    async with serve(LIMITS, files) as site:
        client = await site.connect()
        client.writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        read = len(await client.reader.readuntil(b"\r\n\r\n"))
        assert read
        left = BIG
        while left:
            left -= len(await client.reader.readexactly(min(left, BIG // 16)))
            pass_by(LIMITS.unread_s / 5)  # several reads make room for the server's next write
        assert await client.healthy()


async def test_answer_that_is_read_slowly_is_given_up_in_the_end(files: Files | None) -> None:
    """Reading a little now and then does not keep a connection for ever."""
    async with serve(Limits(unread_s=2 * LIMITS.answer_s), files) as site:
        client = await site.connect()
        client.writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        began_s = pass_by(0)
        while not site.is_empty():
            with contextlib.suppress(OSError):
                await client.reader.read(1)
            await asyncio.sleep(_LOOK_S)
            pass_by(LIMITS.answer_s / 10)
        assert LIMITS.answer_s / 2 < pass_by(0) - began_s < LIMITS.answer_s * 2


async def test_idle_client_is_closed(files: Files | None) -> None:
    """After its last answer, a connection may wait for so long."""
    async with serve(LIMITS, files) as site:
        client, other = await site.connect(), await site.connect()
        assert await client.healthy()
        assert await other.healthy()
        pass_by(LIMITS.idle_s / 2)
        assert await other.healthy()
        assert site.counted() == (2, 0)
        pass_by(LIMITS.idle_s / 2)
        await client.closed()
        assert await other.healthy()


async def test_oldest_silent_connection_makes_room(files: Files | None) -> None:
    """At the cap, whoever asks gets an answer; those that ask nothing go, the oldest first."""
    async with serve(FEW, files) as site:
        asking = await site.connect()
        assert await asking.healthy()
        silent = [await site.connect() for _ in range(3)]
        fresh = await site.connect()
        assert await fresh.healthy()
        await silent[0].closed()
        assert await asking.healthy()
        assert all([await client.healthy() for client in silent[1:]])
        assert site.counted() == (4, 1)


async def test_handshake_that_is_not_done_makes_room(tmp_path: Path) -> None:
    """A connection that has not even shaken hands has not sent its headers."""
    async with serve(FEW, Files(tmp_path)) as site:
        mute = [await site.connect(tls=False) for _ in range(4)]
        assert await (await site.connect()).healthy()
        await mute[0].closed()
        assert site.counted() == (4, 1)
        assert site.errors == []


async def test_new_connection_is_closed_where_all_others_are_at_work(files: Files | None) -> None:
    """Whoever has asked is answered; a new one beyond the cap is closed and counted."""
    async with serve(FEW, files) as site:
        busy = [await site.connect() for _ in range(3)]
        for client in busy:
            client.writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        asked = await site.connect()
        assert await asked.healthy()
        with pytest.raises((OSError, AssertionError)):
            assert await (await site.connect()).healthy()
        assert site.counted() == (4, 1)
        site.go_on.set()
        for client in busy:
            assert (await client.reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        assert await asked.healthy()


async def test_client_that_is_long_idle_makes_room(files: Files | None) -> None:
    """Connections that are kept open for later requests give way to one that has a request now."""
    async with serve(FEW, files) as site:
        idle = [await site.connect() for _ in range(4)]
        assert all([await client.healthy() for client in idle])
        pass_by(FEW.headers_s)
        assert await (await site.connect()).healthy()
        await idle[0].closed()
        assert site.counted() == (4, 1)


async def test_thousands_of_connections_keep_nobody_out(files: Files | None) -> None:
    """While connections pour in and stay, each request is answered."""
    async with serve(Limits(connections=50), files) as site:
        flood: deque[socket.socket] = deque()
        for turn in range(1000):
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", site.port))
            flood.append(sock)
            if turn % 100 == 0:
                assert await (await site.connect()).healthy()
        now, rejected = site.counted()
        for sock in flood:
            sock.close()
    assert now <= 50
    assert rejected >= 500


async def test_lack_of_descriptors_pauses_accepting() -> None:
    """It is told once a second, not once a loop; whoever waited is served when there are some again."""
    async with serve(FEW) as site:
        waiting = socket.socket()
        waiting.setblocking(False)
        loop = asyncio.get_running_loop()
        with no_descriptors():
            await loop.sock_connect(waiting, ("127.0.0.1", site.port))
            await loop.sock_sendall(waiting, HEALTHY)
            began_s = loop.time()
            await wait_until(lambda: site.errors, what="the lack")
            busy_s = time.process_time()
            await asyncio.sleep(0.5)
            busy_s = time.process_time() - busy_s
            pass_by(1)
            await wait_until(lambda: len(site.errors) > 1, what="the next try")
            passed_s = loop.time() - began_s
        told = [(doing, out_of_resources(exc)) for doing, exc in site.errors]
        assert len(told) <= 1 + passed_s
        assert {(doing, lack and lack.resource) for doing, lack in told} == {
            ("accepting connections", Resource.DESCRIPTORS)
        }
        assert busy_s < 0.25
        assert (await loop.sock_recv(waiting, 1000)).startswith(b"HTTP/1.1 200")
        waiting.close()


async def test_client_that_speaks_no_http_is_its_own_affair(caplog: pytest.LogCaptureFixture) -> None:
    """Strangers cannot fill the log with what they send."""
    async with serve(FEW) as site:
        client = await site.connect()
        client.writer.write(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert (await client.reader.read()).startswith(b"HTTP/1.1 400")
    assert caplog.messages == []


async def test_stop_does_not_wait_for_handshakes(tmp_path: Path) -> None:
    """A client that never shakes hands holds up no stop."""
    async with serve(Limits(handshake_s=200), Files(tmp_path), stop_timeout_s=200) as site:
        mute = await site.connect(tls=False)
        await wait_until(lambda: not site.is_empty(), what="the connection")
        async with asyncio.timeout(100):
            await site.server.stop()
        await mute.closed()
