"""What receivers over HTTP share: one POST, what its answer means, and how to say it in a log.

| answer | means |
| --- | --- |
| 2xx | taken |
| 408, 425, 429, 5xx, none at all | RETRY: may pass by itself |
| 400, 413, 422 | DEAD: this message will never be taken |
| 3xx, 401, 403, 404, 410, any other 4xx | FAILING: the receiver is set up wrongly |

An unlisted 4xx says more often that the URL is wrong (405, 415, a proxy's 407) than that one message is, so
nothing is given up for it. Redirects are never followed: a signature, a key and a customer's numbers must
not travel on.
"""

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import aiohttp
import httpx

from monitor.errors import DeliveryError, Refusal
from monitor.http.retry_after import parse_retry_after

MAX_ANSWER_BYTES = 8192
MAX_DESCRIPTION = 200
READ_S = 2.0

_RETRIED = frozenset({408, 425, 429})
_DEAD = frozenset({400, 413, 422})

# httpx-aiohttp maps refused, DNS and disconnect errors to ConnectTimeout and lets others through as they are,
# so that the httpx class says little: look at what is beneath it.
_NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError)
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "the host name does not resolve"),
    (aiohttp.ClientConnectorDNSError, "the host name does not resolve"),
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted"),
    (aiohttp.ClientConnectorCertificateError, "its TLS certificate is not trusted"),
    (ssl.SSLError, "TLS failed"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "connection reset"),
    (aiohttp.ServerDisconnectedError, "closed the connection without an answer"),
    (httpx.RemoteProtocolError, "its answer is not HTTP"),
    (aiohttp.ClientResponseError, "its answer is not HTTP"),
    (TimeoutError, "no answer in time"),
)

# The numbers that we sent, as an answer may quote them: E.164 in any spelling, or bare digits.
_PHONE_NUMBER = re.compile(r"\+\d[\d ().-]{5,}\d|\d{7,}")
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What the other side said. `text` is the start of its body, empty where that is no plain text."""

    status: int
    text: str
    retry_after_s: float | None


async def post(
    http: httpx.AsyncClient, url: str, *, content: bytes, headers: Mapping[str, str], now: datetime
) -> HttpAnswer:
    """POST once and return the answer, whatever its status.

    Has no deadline of its own: the drain's covers it.

    Args:
        http: The client; its transport, certificates and proxies.
        url: Where to.
        content: The body.
        headers: Beside those of HTTP itself.
        now: Current time, aware; a Retry-After date is measured against it.

    Raises:
        DeliveryError: There was no answer (`RETRY`).
    """
    return await _ask(http, "POST", url, content=content, headers=headers, now=now)


async def get(http: httpx.AsyncClient, url: str, *, now: datetime) -> HttpAnswer:
    """GET once and return the answer, whatever its status; as `post`.

    Raises:
        DeliveryError: There was no answer (`RETRY`).
    """
    return await _ask(http, "GET", url, content=None, headers={}, now=now)


async def _ask(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    content: bytes | None,
    headers: Mapping[str, str],
    now: datetime,
) -> HttpAnswer:
    sent_headers = {**headers, "accept-encoding": "identity"}  # no small answer that unpacks into a big one
    try:
        request = http.build_request(method, url, content=content, headers=sent_headers, timeout=None)
        response = await http.send(request, stream=True, follow_redirects=False)
    except _NO_ANSWER as exc:
        raise DeliveryError(Refusal.RETRY, no_answer_reason(exc)) from exc
    # A body that is long, slow or broken is cut short; what counts is the status.
    text = await _read_start(response)
    retry_after_s = _retry_after_s(response.headers.get("retry-after"), now)
    return HttpAnswer(status=response.status_code, text=text, retry_after_s=retry_after_s)


def require_taken(answer: HttpAnswer, *, hide: Iterable[str] = ()) -> str:
    """Return a description of an answer that took the message.

    Args:
        answer: Any answer.
        hide: Secrets that it may quote.

    Raises:
        DeliveryError: It did not take it.
    """
    refusal = refusal_of(answer.status)
    description = describe(answer, hide=hide)
    if refusal is not None:
        raise DeliveryError(refusal, description, retry_after_s=answer.retry_after_s)
    return description


def refusal_of(status: int) -> Refusal | None:
    """Return what a status means for the next try; None: the message was taken."""
    if 200 <= status <= 299:  # noqa: PLR2004 - the classes of RFC 9110, section 15
        return None
    if status in _DEAD:
        return Refusal.DEAD
    if status in _RETRIED or not 300 <= status <= 499:  # noqa: PLR2004 - as above
        return Refusal.RETRY
    return Refusal.FAILING


def describe(answer: HttpAnswer, *, hide: Iterable[str] = ()) -> str:
    """Return an answer in one short line, without the secrets to hide and without phone numbers."""
    text = "".join(char if char.isprintable() else " " for char in answer.text)
    for secret in sorted(hide, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = " ".join(_PHONE_NUMBER.sub("***", text).split())
    if len(text) > MAX_DESCRIPTION:
        text = text[:MAX_DESCRIPTION] + "…"
    return f"{_status_line(answer.status)}: {text}" if text else _status_line(answer.status)


def no_answer_reason(exc: BaseException) -> str:
    """Return why there was no answer, in words that quote neither URL nor header."""
    causes = list(_causes(exc))
    for kind, words in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    errno = causes[-1].errno if isinstance(causes[-1], OSError) else None
    return f"no connection ({os.strerror(errno) if errno else type(causes[-1]).__name__})"


def _retry_after_s(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    try:
        return parse_retry_after(value, now)
    except ValueError:
        return None


async def _read_start(response: httpx.Response) -> str:
    """Read the start of a body for people to read; no failure here changes what the status said."""
    start = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in response.aiter_raw():
                start += chunk
                if len(start) > MAX_ANSWER_BYTES:
                    break
    except _NO_ANSWER:
        pass
    finally:
        with contextlib.suppress(*_NO_ANSWER):
            await response.aclose()
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return ""
    return start[:MAX_ANSWER_BYTES].decode(errors="replace")


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__  # httpcore raises `from None`
