"""The two requests that the monitor makes of the provider, and nothing that could make another.

Read-only is structural: `_sync_request` and `_list_request` are the only places that form a request, the body
of the first says `import_dids: false` in its very text (the provider's default, true, writes), and both
addresses are fixed when the client is built.

One request, top to bottom:
    budget -> deadline starts -> send -> status -> body, bounded -> answer
    transient failure: back off, then the budget again, twice
"""

import asyncio
import random
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import msgspec

from monitor.clock import Clock
from monitor.errors import Outcome, SyncError
from monitor.http.client import USER_AGENT
from monitor.http.errors import NoAnswer, translated
from monitor.http.redactor import Redactor
from monitor.http.request import read_start
from monitor.http.retry_after import retry_after_s
from monitor.voicelink.body import ACCEPT_ENCODING, read_body
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.connections import PROVIDER, RemoteConnection, decode_connections
from monitor.voicelink.decode import yield_to_loop
from monitor.voicelink.failure import refused, unanswered, without_key

RETRIES = 2
"""Of a transient failure, within one sync."""
_BACKOFF_S = 0.25
"""Enough for a blip; at the default budget the pace, one request in 2 s, is what keeps tries apart."""
_BACKOFF_FACTOR = 3
_PATIENCE_S = 5.0
"""A failing server that asks for more than this is left alone until the next sync."""
_ERROR_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncAnswer:
    """A 2xx answer.

    `sent` is its decompressed body; it may quote the `key` that was asked with, so read `body` and compare
    `sent`. `duration_s`: how long its request took, without waiting for the budget.
    """

    sent: bytes = field(repr=False)
    key: str = field(repr=False)
    duration_s: float

    @property
    def body(self) -> bytes:
        """The body without the key: an echo of it would be kept and shown."""
        return without_key(self.sent, self.key)


class VoiceLinkClient:
    """Asks the provider, read-only.

    Args:
        transport: From `Network.transport`; closed by the code that built it.
        base_url: Like `https://api.vocobase.com/api/v2`.
        timeout_s: For one whole request, from sending it to the last byte of its answer.
        max_response_bytes: Of an answer, compressed or not.
        clock: Measures requests, sleeps between tries.
        redactor: Hides secrets in answers.
        rng: The jitter of those sleeps.
        max_concurrent: Requests in flight, and answers in use, at the most: each takes memory. Those that
            wait for a budget do not count.
    """

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport,
        base_url: str,
        timeout_s: float,
        max_response_bytes: int,
        clock: Clock,
        redactor: Redactor,
        rng: random.Random,
        max_concurrent: int = 32,
    ) -> None:
        base = base_url.rstrip("/")
        self._transport = transport
        self._sync_url = httpx.URL(f"{base}/voicelink/sync")
        self._list_url = httpx.URL(f"{base}/telephony/connections?provider={PROVIDER}")
        self._headers = [
            (b"host", self._sync_url.netloc),
            (b"user-agent", USER_AGENT.encode()),
            (b"accept", b"application/json"),
            (b"accept-encoding", ACCEPT_ENCODING.encode()),
        ]
        self._redactor = redactor
        self._timeout_s = timeout_s
        self._max_response_bytes = max_response_bytes
        self._clock = clock
        self._rng = rng
        self._slots = asyncio.Semaphore(max_concurrent)
        self._max_concurrent = max_concurrent
        self._begun = 0

    @property
    def queued(self) -> int:
        """How many requests wait for nothing but a slot."""
        return max(self._begun - self._max_concurrent, 0)

    async def sync(
        self, *, key: str, connection_id: str | None, budget: AccountBudget, until: ExitStack | None = None
    ) -> SyncAnswer:
        """Return the provider's answer about one connection.

        Args:
            key: The API key.
            connection_id: None for a key with one active connection.
            budget: Of the key's account.
            until: Left when the answer has been used: until then it takes the place of another request.

        Raises:
            SyncError: With the outcome of the last try.
            OutOfResources: This process could not ask.
            StoreUnavailable: The budget is shared, and gave no slot.
        """
        return await self._ask(self._sync_request(key, connection_id), key, budget, until)

    async def list_connections(self, *, key: str, budget: AccountBudget) -> list[RemoteConnection]:
        """Return the VoiceLink connections of a key, inactive ones included.

        Raises:
            SyncError: With the outcome of the last try.
            DecodeError: The list cannot be read.
            OutOfResources: This process could not ask.
            StoreUnavailable: The budget is shared, and gave no slot.
        """
        answer = await self._ask(self._list_request(key), key, budget)
        return decode_connections(answer.body)

    def _sync_request(self, key: str, connection_id: str | None) -> httpx.Request:
        # `import_dids` is no parameter: no caller can ask for the form that writes.
        content = b'{"import_dids":false}'
        if connection_id is not None:
            content = b'{"connection_id":%b,"import_dids":false}' % msgspec.json.encode(connection_id)
        return self._request("POST", self._sync_url, key, content)

    def _list_request(self, key: str) -> httpx.Request:
        return self._request("GET", self._list_url, key)

    def _request(self, method: str, url: httpx.URL, key: str, content: bytes = b"") -> httpx.Request:
        """Return a request.

        Raises:
            SyncError: `unauthorized`, for a key that no header can carry; the libraries would print it.
        """
        if not (key.isascii() and key.isprintable()):
            raise SyncError(Outcome.UNAUTHORIZED, "the API key has characters that a header cannot carry")
        headers = [*self._headers, (b"authorization", b"Bearer %b" % key.encode())]
        if content:
            headers.append((b"content-type", b"application/json"))
        # As a stream: with `content`, httpx works out host and length anew for each request.
        request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(content))
        request.read()
        return request

    async def _ask(
        self, request: httpx.Request, key: str, budget: AccountBudget, until: ExitStack | None = None
    ) -> SyncAnswer:
        """Return the answer of the first try that gets one; every try takes its slot of the budget."""
        retries = 0
        while True:
            await budget.acquire()
            try:
                with ExitStack() as slot:
                    await self._take(slot)
                    answer = await self._try(request, key)
                    if until is not None:
                        until.push(slot.pop_all())
                    return answer
            except SyncError as exc:
                if exc.outcome is Outcome.RATE_LIMITED:
                    await budget.pause(exc.retry_after_s)
                asked_s = exc.retry_after_s or 0.0
                if not exc.outcome.transient or retries == RETRIES or asked_s > _PATIENCE_S:
                    raise
            backoff_s = _BACKOFF_S * _BACKOFF_FACTOR**retries * self._rng.uniform(0.5, 1.5)
            await self._clock.sleep(max(backoff_s, asked_s))
            retries += 1

    async def _take(self, slot: ExitStack) -> None:
        """Wait for one of the slots, which is given back when the stack is left."""
        self._begun += 1
        slot.callback(self._ended)
        await self._slots.acquire()
        slot.callback(self._slots.release)

    def _ended(self) -> None:
        self._begun -= 1

    async def _try(self, request: httpx.Request, key: str) -> SyncAnswer:
        """Make one request, within its deadline; every failure becomes a `SyncError`."""
        started_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                with translated():
                    sent = await self._exchange(request)
        except TimeoutError as exc:
            message = f"no complete answer within {self._timeout_s:g} s"
            raise SyncError(Outcome.TIMEOUT, message) from exc
        except NoAnswer as exc:
            raise unanswered(exc) from exc
        return SyncAnswer(sent=sent, key=key, duration_s=self._clock.monotonic() - started_s)

    async def _exchange(self, request: httpx.Request) -> bytes:
        response = await self._transport.handle_async_request(request)
        try:
            if response.is_success:
                return await read_body(response, self._max_response_bytes, yield_to_loop)
            said = await read_start(response, _ERROR_BODY_BYTES)
            wait_s = retry_after_s(response, self._clock.now())
            raise refused(response.status_code, said, redactor=self._redactor, retry_after_s=wait_s)
        finally:
            await response.aclose()
