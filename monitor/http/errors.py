"""Why a request got no answer: the exceptions of httpx, aiohttp, ssl and the system, translated once.

By cause, not by class: httpx-aiohttp calls a refused connection, a failed name look-up and a lost connection
`ConnectTimeout`. The monitor's own client raises what aiohttp does.
"""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import aiohttp
import httpx

from monitor.errors import MonitorError, chain_of, out_of_resources

FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError)
"""What a request may raise. `TimeoutError` and the errors of `ssl` and DNS are OSErrors."""


class Cause(StrEnum):
    """Why there was no answer."""

    BAD_URL = "bad_url"
    DNS = "dns"
    REFUSED = "refused"
    CLOSED = "closed"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROXY = "proxy"
    NOT_HTTP = "not_http"
    UNREACHABLE = "unreachable"


class NoAnswer(MonitorError):  # noqa: N818 - named for what happened
    """A request got no answer.

    Args:
        cause: Why.
        message: The same in words; quotes neither the URL nor a header.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        self.cause = cause
        super().__init__(message)


_CAUSES: tuple[tuple[tuple[type[BaseException], ...], Cause, str], ...] = (
    ((socket.gaierror, aiohttp.ClientConnectorDNSError), Cause.DNS, "the host name does not resolve"),
    ((httpx.InvalidURL, aiohttp.InvalidURL), Cause.BAD_URL, "the URL cannot be used"),
    ((aiohttp.ClientProxyConnectionError,), Cause.PROXY, "the proxy cannot be reached"),
    ((aiohttp.ClientHttpProxyError,), Cause.PROXY, "the proxy refused to connect"),
    ((ssl.SSLCertVerificationError,), Cause.TLS, "the TLS certificate is not trusted"),
    ((aiohttp.ClientConnectorCertificateError,), Cause.TLS, "the TLS certificate is not trusted"),
    ((ssl.SSLError, aiohttp.ClientSSLError), Cause.TLS, "TLS failed"),
    ((ConnectionRefusedError,), Cause.REFUSED, "connection refused"),
    ((ConnectionResetError, BrokenPipeError), Cause.CLOSED, "connection reset"),
    ((aiohttp.ServerDisconnectedError,), Cause.CLOSED, "the server closed the connection without an answer"),
    ((aiohttp.ClientPayloadError,), Cause.CLOSED, "the connection closed before the answer was complete"),
    ((aiohttp.ClientResponseError, httpx.RemoteProtocolError), Cause.NOT_HTTP, "the answer is not HTTP"),
    ((aiohttp.ServerTimeoutError, httpx.TimeoutException), Cause.TIMEOUT, "the connection timed out"),
    ((TimeoutError,), Cause.UNREACHABLE, "the host does not respond"),
)
"""The first line that fits the exception, or one behind it, counts."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise `NoAnswer` in place of whatever the HTTP client raises.

    Raises:
        OutOfResources: The fault is this process's own.
    """
    try:
        yield
    except MonitorError:
        raise
    except Exception as exc:
        lack = out_of_resources(exc)
        if lack is not None:
            raise lack from exc
        if not isinstance(exc, FOREIGN):
            raise
        raise _no_answer(exc) from exc


def _no_answer(exc: BaseException) -> NoAnswer:
    chain = list(chain_of(exc))
    # httpx's class counts only where none of aiohttp or of the system is behind it.
    chain = [each for each in chain if isinstance(each, aiohttp.ClientError | OSError)] or chain
    for kinds, cause, words in _CAUSES:
        found = next((each for each in chain if isinstance(each, kinds)), None)
        if found is not None:
            return NoAnswer(cause, words + _detail(found))
    errno = next((each.errno for each in chain if isinstance(each, OSError) and each.errno), None)
    reason = os.strerror(errno) if errno else type(chain[-1]).__name__
    return NoAnswer(Cause.UNREACHABLE, f"no connection ({reason})")


def _detail(exc: BaseException) -> str:
    """Return what a proxy's status or OpenSSL's own words add; any other text may quote an address."""
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f": status {exc.status}"
    exc = getattr(exc, "certificate_error", None) or getattr(exc, "os_error", None) or exc
    reason = getattr(exc, "verify_message", None) or getattr(exc, "reason", None)
    return f": {reason}" if isinstance(exc, ssl.SSLError) and reason else ""
