"""The client against real sockets that behave well, badly and maliciously."""

import asyncio
import contextlib
import gzip
import json
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.errors import Outcome, StartError, SyncError
from monitor.http.client import USER_AGENT, Network
from monitor.http.redactor import Redactor
from monitor.secret import Secret
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import RETRIES, VoiceLinkClient
from monitor.voicelink.connections import RemoteConnection

KEY = "rg_live_topsecret"
LIMIT = 300_000
BODY = (Path(__file__).parents[1] / "fixtures" / "voicelink-sync.json").read_bytes()

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class QuickClock(SystemClock):
    """Real time, but nothing sleeps: sleeps are noted, and time goes on by as much."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the real instant."""
        return super().now()

    def monotonic(self) -> float:
        """Return real seconds and those that were not slept."""
        return super().monotonic() + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        """Note the wish."""
        self.slept.append(seconds)


@dataclass
class Server:
    """A socket that reads one request and lets a handler answer; notes what it was sent."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """The base address, with a path as in production."""
        return f"http://127.0.0.1:{self.port}/api/v2"


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    """Run a server; hang up on everybody at the end."""
    seen = Server()
    open_tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            seen.requests.append(head + await reader.readexactly(length))
            await handler(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            open_tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(open_tasks):
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def asking(
    base_url: str, *, timeout_s: float = 5.0, clock: QuickClock | None = None
) -> AsyncIterator[VoiceLinkClient]:
    """Build a client, and close its connections at the end."""
    transport = Network().transport(max_connections=10)
    try:
        yield VoiceLinkClient(
            transport=transport,
            base_url=base_url,
            timeout_s=timeout_s,
            max_response_bytes=LIMIT,
            clock=clock or QuickClock(),
            redactor=Redactor([Secret(KEY)]),
            rng=random.Random(1),
        )
    finally:
        await transport.aclose()


def _budget(clock: QuickClock | None = None) -> AccountBudget:
    return AccountBudget(requests_per_minute=60, clock=clock or QuickClock(), on_wait=lambda _: None)


def answer(body: bytes = BODY, *headers: str, status: str = "200 OK", length: int | None = None) -> Handler:
    """Return a handler that sends one answer."""
    size = len(body) if length is None else length
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers])

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + b"\r\n\r\n" + body)

    return send


def sends(raw: bytes, *, then_hang: bool = False) -> Handler:
    """Return a handler that sends bytes as they are, and then hangs up, or does not."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if then_hang:
            await reader.read()  # until the client hangs up

    return send


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


def _failing(code: str) -> bytes:
    return json.dumps({"success": False, "error": {"code": code, "message": f"no {KEY}"}}).encode()


def _lying_bomb() -> bytes:
    return gzip.compress(b" " * 50_000_000)[:-4] + (1000).to_bytes(4, "little")


GZIP = "Content-Encoding: gzip"
HALF = len(BODY) // 2


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        pytest.param(sends(b"", then_hang=True), Outcome.TIMEOUT, id="never answers"),
        pytest.param(
            sends(b"HTTP/1.1 200 OK\r\nConte", then_hang=True), Outcome.TIMEOUT, id="stops in the headers"
        ),
        pytest.param(drips, Outcome.TIMEOUT, id="drips beyond the deadline"),
        pytest.param(sends(b""), Outcome.NETWORK, id="hangs up at once"),
        pytest.param(sends(b"HTTP/1.1 200 OK\r\nConte"), Outcome.NETWORK, id="hangs up in the headers"),
        pytest.param(answer(BODY[:HALF], length=len(BODY)), Outcome.NETWORK, id="hangs up in the body"),
        pytest.param(
            sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
            Outcome.NETWORK,
            id="hangs up in a chunk",
        ),
        pytest.param(sends(b"SSH-2.0-OpenSSH_9.2\r\n"), Outcome.INVALID_RESPONSE, id="is no HTTP server"),
        pytest.param(answer(gzip.compress(b" " * 200_000_000, 9), GZIP), Outcome.TOO_LARGE, id="gzip bomb"),
        pytest.param(answer(_lying_bomb(), GZIP), Outcome.INVALID_RESPONSE, id="gzip bomb that lies"),
        pytest.param(
            answer(zlib.compress(b" " * 50_000_000), "Content-Encoding: deflate"),
            Outcome.TOO_LARGE,
            id="deflate bomb",
        ),
        pytest.param(
            answer(gzip.compress(BODY) + b"more", GZIP), Outcome.INVALID_RESPONSE, id="bytes after gzip"
        ),
        pytest.param(answer(gzip.compress(BODY)[:-30], GZIP), Outcome.INVALID_RESPONSE, id="truncated gzip"),
        pytest.param(answer(BODY, GZIP), Outcome.INVALID_RESPONSE, id="not gzip"),
        pytest.param(answer(BODY, "Content-Encoding: br"), Outcome.INVALID_RESPONSE, id="unasked encoding"),
        pytest.param(answer(b"", length=10**15), Outcome.TOO_LARGE, id="huge content-length"),
        pytest.param(answer(b" " * (LIMIT + 1)), Outcome.TOO_LARGE, id="one byte too many"),
        pytest.param(
            sends(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (LIMIT + 1)),
            Outcome.TOO_LARGE,
            id="too many, unannounced",
        ),
        pytest.param(answer(_failing("VALIDATION_ERROR"), status="400 X"), Outcome.REJECTED, id="400"),
        pytest.param(answer(_failing("UNAUTHORIZED"), status="401 X"), Outcome.UNAUTHORIZED, id="401"),
        pytest.param(answer(_failing("FORBIDDEN"), status="403 X"), Outcome.FORBIDDEN, id="403"),
        pytest.param(answer(_failing("NOT_FOUND"), status="404 X"), Outcome.NOT_FOUND, id="404"),
        pytest.param(answer(_failing("CONFLICT"), status="409 X"), Outcome.REJECTED, id="409"),
        pytest.param(answer(_failing("LIMIT_REACHED"), status="429 X"), Outcome.RATE_LIMITED, id="429"),
        pytest.param(answer(b"<html>", status="502 Bad Gateway"), Outcome.SERVER_ERROR, id="502"),
        pytest.param(
            answer(b"x", status="401 X", length=9), Outcome.UNAUTHORIZED, id="401 with its body cut short"
        ),
        pytest.param(
            answer(b"x" * 2_000_000, status="403 X"), Outcome.FORBIDDEN, id="403 with an endless body"
        ),
    ],
)
async def test_failure_has_the_outcome_of_the_contract(handler: Handler, outcome: Outcome) -> None:
    """Every way to fail is a SyncError with one outcome, tried again only if that may help."""
    timeout_s = 0.2 if outcome is Outcome.TIMEOUT else 5.0
    async with serving(handler) as server, asking(server.base_url, timeout_s=timeout_s) as client:
        with pytest.raises(SyncError) as caught:
            await client.sync(key=KEY, connection_id=None, budget=_budget())
        assert caught.value.outcome is outcome
        assert KEY not in str(caught.value)
        assert len(server.requests) == (1 + RETRIES if outcome.transient else 1)


async def test_refused_connection_is_network() -> None:
    """Nobody listens."""
    async with serving(answer()) as server:
        base_url = server.base_url
    async with asking(base_url) as client:
        with pytest.raises(SyncError, match="connection refused") as caught:
            await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert caught.value.outcome is Outcome.NETWORK


async def test_unknown_host_is_network() -> None:
    """The name does not exist (RFC 6761: `.invalid` never does)."""
    async with asking("http://nowhere.invalid") as client:
        with pytest.raises(SyncError, match="host name does not resolve") as caught:
            await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert caught.value.outcome is Outcome.NETWORK


async def test_broken_tls_is_network() -> None:
    """A server that speaks no TLS where it should."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, asking(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(SyncError, match="TLS failed") as caught:
            await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert caught.value.outcome is Outcome.NETWORK


async def test_redirect_is_not_followed() -> None:
    """A key must not travel to another address."""
    async with serving(answer()) as elsewhere:
        moved = answer(b"", f"Location: {elsewhere.base_url}/voicelink/sync", status="307 Moved")
        async with serving(moved) as server, asking(server.base_url) as client:
            with pytest.raises(SyncError, match="307") as caught:
                await client.sync(key=KEY, connection_id=None, budget=_budget())
        assert caught.value.outcome is Outcome.REJECTED
        assert elsewhere.requests == []


def _raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(body) + engine.flush()


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(answer(), id="plain"),
        pytest.param(answer(gzip.compress(BODY), GZIP), id="gzip"),
        pytest.param(answer(zlib.compress(BODY), "Content-Encoding: deflate"), id="deflate"),
        pytest.param(
            answer(_raw_deflate(BODY), "Content-Encoding: deflate"), id="deflate without its header"
        ),
        pytest.param(answer(BODY, "Content-Encoding: identity"), id="identity"),
        pytest.param(sends(b"HTTP/1.1 200 OK\r\n\r\n" + BODY), id="ended by hanging up"),
        pytest.param(answer(BODY, status="203 Other"), id="another 2xx"),
    ],
)
async def test_answer_is_the_decompressed_body(handler: Handler) -> None:
    """However it was sent, the answer is the same bytes."""
    async with serving(handler) as server, asking(server.base_url) as client:
        got = await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert got.body == BODY
    assert got.duration_s > 0


async def test_large_compressed_answer_is_read_whole() -> None:
    """An answer that fits is inflated to its last byte, slice by slice, up to the very limit."""
    body = random.Random(1).randbytes(LIMIT // 2).hex().encode()
    async with serving(answer(gzip.compress(body), GZIP)) as server, asking(server.base_url) as client:
        got = await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert len(body) == LIMIT
    assert got.body == body


async def test_key_that_an_answer_quotes_is_not_read() -> None:
    """An echo of it would be kept, and shown; nor does a log of the answer hold it."""
    quoted = json.dumps({"warnings": [f"asked with {KEY}"]}).encode()
    async with serving(answer(quoted)) as server, asking(server.base_url) as client:
        got = await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert got.sent == quoted
    assert json.loads(got.body) == {"warnings": ["asked with ***"]}
    assert KEY not in repr(got)


async def test_connections_are_kept_for_the_next_request() -> None:
    """Whatever was answered, once it was read whole: a TLS handshake costs more than a sync."""
    answers = [(200, BODY), (200, b""), (404, b"{}"), (429, b"")]
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for status, body in answers:
            await reader.readuntil(b'"import_dids":false}')
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        for status, _ in answers:
            with contextlib.nullcontext() if status == 200 else pytest.raises(SyncError, match=str(status)):
                await client.sync(key=KEY, connection_id=None, budget=_budget())
    assert opened == 1


async def test_client_sends_two_read_only_requests_and_no_cookies() -> None:
    """On the wire: the sync with `import_dids: false`, the list, nothing else; accounts share no cookie."""
    async with serving(answer(BODY, "Set-Cookie: a=b")) as server, asking(server.base_url) as client:
        await client.sync(key=KEY, connection_id="c-1", budget=_budget())
        await client.sync(key=KEY, connection_id=None, budget=_budget())
        with pytest.raises(SyncError):
            await client.list_connections(key=KEY, budget=_budget())
    lines = [request.split(b"\r\n")[0] for request in server.requests]
    assert lines == [
        b"POST /api/v2/voicelink/sync HTTP/1.1",
        b"POST /api/v2/voicelink/sync HTTP/1.1",
        b"GET /api/v2/telephony/connections?provider=voicelink HTTP/1.1",
    ]
    bodies = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
    assert [json.loads(body) if body else None for body in bodies] == [
        {"connection_id": "c-1", "import_dids": False},
        {"import_dids": False},
        None,
    ]
    for request in server.requests:
        head = request.partition(b"\r\n\r\n")[0].decode()
        assert f"\r\nauthorization: Bearer {KEY}" in head
        assert f"\r\nuser-agent: {USER_AGENT}" in head
        assert "cookie" not in head.lower()
        assert KEY not in head.split("\r\n")[0]


async def test_unreadable_ca_file_is_told_at_the_start(tmp_path: Path) -> None:
    """A CA file that is missing, or no PEM, is an error that names it."""
    garbage = tmp_path / "ca.pem"
    garbage.write_text("no certificate")
    for file in (garbage, tmp_path / "missing.pem"):
        with pytest.raises(StartError, match=file.name):
            Network().transport(ca_file=file, max_connections=1)


class Recorder(httpx.AsyncBaseTransport):
    """Answers from a list, the last one for ever; notes the requests."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Note it, and answer."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def _recorded(recorder: Recorder, clock: QuickClock, max_concurrent: int = 32) -> VoiceLinkClient:
    return VoiceLinkClient(
        max_concurrent=max_concurrent,
        transport=recorder,
        base_url="https://api.test/api/v2/",
        timeout_s=5,
        max_response_bytes=LIMIT,
        clock=clock,
        redactor=Redactor(),
        rng=random.Random(1),
    )


async def test_no_public_method_can_form_another_request() -> None:
    """Read-only is structural: all public methods together send two requests."""
    public = {name for name in dir(VoiceLinkClient) if not name.startswith("_")}
    assert public == {"sync", "list_connections", "queued"}
    listed = {"success": True, "data": [{"id": "c-1", "name": "Sales", "status": "ACTIVE"}]}
    recorder = Recorder(httpx.Response(200, json=listed))
    client = _recorded(recorder, QuickClock())
    for connection_id in (None, "c-1", '","import_dids":true,"x":"'):
        await client.sync(key=KEY, connection_id=connection_id, budget=_budget())
    remotes = await client.list_connections(key=KEY, budget=_budget())
    assert remotes == [RemoteConnection(id="c-1", name="Sales", active=True)]
    *syncs, listing = recorder.requests
    for request in syncs:
        assert (request.method, str(request.url)) == ("POST", "https://api.test/api/v2/voicelink/sync")
        sent = json.loads(request.content)
        assert sent["import_dids"] is False
        assert set(sent) <= {"import_dids", "connection_id"}
    assert (listing.method, listing.content) == ("GET", b"")
    assert str(listing.url) == "https://api.test/api/v2/telephony/connections?provider=voicelink"


async def test_transient_failure_is_tried_again_out_of_the_same_budget() -> None:
    """Two retries, each after a back-off and in a slot of its own."""
    clock, waits = QuickClock(), list[float]()
    budget = AccountBudget(requests_per_minute=20, clock=clock, on_wait=waits.append)
    recorder = Recorder(httpx.Response(500), httpx.Response(502), httpx.Response(200, content=BODY))
    got = await _recorded(recorder, clock).sync(key=KEY, connection_id=None, budget=budget)
    assert got.body == BODY
    assert len(recorder.requests) == 3
    assert len(waits) == 2
    assert 5.9 < sum(clock.slept) < 6.1  # two slots of 3 s hold both back-offs


async def test_only_so_many_answers_are_in_use_at_once() -> None:
    """One that waits for the store takes memory: until it has been used, the next is not asked for."""
    recorder = Recorder(httpx.Response(200, content=BODY))
    client = _recorded(recorder, QuickClock(), max_concurrent=2)
    used = [asyncio.Event() for _ in range(5)]

    async def use(until_used: asyncio.Event) -> None:
        with contextlib.ExitStack() as until:
            await client.sync(key=KEY, connection_id=None, budget=_budget(), until=until)
            await until_used.wait()

    async with asyncio.TaskGroup() as group:
        for each in used:
            group.create_task(use(each))
        for many, each in enumerate(used):
            for _ in range(50):
                await asyncio.sleep(0)
            assert (len(recorder.requests), client.queued) == (min(many + 2, 5), max(3 - many, 0))
            each.set()
    assert client.queued == 0


@pytest.mark.parametrize(
    ("retry_after", "tries"),
    [
        pytest.param("4", 1 + RETRIES, id="a moment"),
        pytest.param("60", 1, id="longer: the next sync will do"),
    ],
)
async def test_failing_server_may_ask_for_a_moment(retry_after: str, tries: int) -> None:
    """A 503 with Retry-After is obeyed if that takes seconds; else the sync fails and says so."""
    clock = QuickClock()
    recorder = Recorder(httpx.Response(503, headers={"Retry-After": retry_after}))
    with pytest.raises(SyncError) as caught:
        await _recorded(recorder, clock).sync(key=KEY, connection_id=None, budget=_budget(clock))
    assert len(recorder.requests) == tries
    assert caught.value.retry_after_s == float(retry_after)
    assert clock.slept == [4.0] * (tries - 1)


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [({"Retry-After": "17"}, 17), ({}, 60), ({"Retry-After": "soon"}, 60)],
    ids=["told", "not told", "told nonsense"],
)
async def test_rate_limited_account_pauses(headers: dict[str, str], pause_s: int) -> None:
    """A 429 is not tried again: the whole account waits."""
    clock = QuickClock()
    budget = _budget(clock)
    recorder = Recorder(httpx.Response(429, headers=headers))
    with pytest.raises(SyncError) as caught:
        await _recorded(recorder, clock).sync(key=KEY, connection_id=None, budget=budget)
    assert caught.value.outcome is Outcome.RATE_LIMITED
    assert len(recorder.requests) == 1
    await budget.acquire()
    assert pause_s - 1 < sum(clock.slept) <= pause_s


@pytest.mark.parametrize("key", ["rg_live_\nx", "rg_live_é"], ids=["newline", "not ASCII"])
async def test_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    """The libraries would print it in their error."""
    recorder = Recorder(httpx.Response(200))
    with pytest.raises(SyncError) as caught:
        await _recorded(recorder, QuickClock()).sync(key=key, connection_id=None, budget=_budget())
    assert caught.value.outcome is Outcome.UNAUTHORIZED
    assert caught.value.__cause__ is None
    assert key not in str(caught.value)
    assert recorder.requests == []
