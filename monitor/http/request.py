"""One request and the short answer to it, as receivers and the heartbeat use them."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import httpx

from monitor.http.address import Address
from monitor.http.errors import FOREIGN, Cause, NoAnswer, translated
from monitor.http.redactor import Redactor
from monitor.http.retry_after import retry_after_s
from monitor.http.text import redact

MAX_ANSWER_BYTES = 8192
MAX_DESCRIPTION = 200
READ_S = 2.0

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What the other side said. `text` is the start of its body, without secrets."""

    status: int
    text: str
    retry_after_s: float | None

    @property
    def is_success(self) -> bool:
        """Whether the status is of the class 2xx."""
        return 200 <= self.status <= 299  # noqa: PLR2004 - RFC 9110, section 15.3

    def describe(self) -> str:
        """Return the answer in one short line, without phone numbers."""
        try:
            status = f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            status = str(self.status)
        text = redact(self.text, MAX_DESCRIPTION)
        return f"{status}: {text}" if text else status


async def request(
    http: httpx.AsyncClient,
    method: str,
    url: str | Address,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    redactor: Redactor,
    now: datetime,
) -> HttpAnswer:
    """Send one request and return the answer, whatever its status.

    Redirects are not followed: a signature, a key and a customer's numbers must not travel on. There is no
    deadline but the caller's.

    Args:
        http: The client; its transport, certificates and proxies.
        method: GET or POST.
        url: Where to. User and password in it become a header; neither is sent in the URL.
        content: The body.
        headers: Added to those of HTTP itself.
        redactor: Hides the secrets that the answer may quote.
        now: Current time, aware; a Retry-After date is measured against it.

    Raises:
        NoAnswer: There was no answer.
        OutOfResources: This process could not ask.
    """
    address = _address(url)
    # No small answer that unpacks into a big one is asked for.
    sent = httpx.Headers({**(headers or {}), "accept-encoding": "identity"})
    if address.authorization is not None:
        if "authorization" in sent:
            raise NoAnswer(Cause.BAD_URL, "the URL holds a user name, but an Authorization header is set too")
        sent["authorization"] = address.authorization.reveal()
    with translated():
        asked = http.build_request(method, address.url, content=content, headers=sent, timeout=None)
        response = await http.send(asked, stream=True, follow_redirects=False)
    try:
        text = (await read_start(response, MAX_ANSWER_BYTES)).decode(errors="replace")
    finally:
        with contextlib.suppress(*FOREIGN):
            await response.aclose()
    text = redactor.hide_foreign(text)
    return HttpAnswer(status=response.status_code, text=text, retry_after_s=retry_after_s(response, now))


def _address(url: str | Address) -> Address:
    try:
        return url if isinstance(url, Address) else Address.of(url)
    except ValueError as exc:  # a file that held a URL was replaced by something else
        raise NoAnswer(Cause.BAD_URL, f"the URL cannot be used: {exc}") from exc


async def read_start(response: httpx.Response, limit_bytes: int) -> bytes:
    """Return the start of a body that people are to read, decompressed.

    What is long, slow, broken or compressed in an unknown way is cut short: the status says enough.
    """
    start = bytearray()
    with contextlib.suppress(*FOREIGN):
        async with asyncio.timeout(READ_S):
            async for chunk in raw_chunks(response):
                start += chunk
                if len(start) >= limit_bytes:
                    break
    if response.headers.get("content-encoding", "identity").strip().lower() in ("", "identity"):
        return bytes(start[:limit_bytes])
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(start, limit_bytes)
    except zlib.error:
        return b""


def raw_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Return the pieces of the body as sent.

    Not `aiter_raw`: it refuses a response that a test transport made of bytes.
    """
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the response of an async client streams asynchronously")
    return aiter(response.stream)
