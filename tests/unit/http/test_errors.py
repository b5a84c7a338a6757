"""Foreign exceptions translated."""

import errno
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest

from monitor.errors import OutOfResources
from monitor.http.errors import Cause, NoAnswer, translated

KEY: Any = SimpleNamespace(host="secret.test", port=443, is_ssl=True, ssl=True)
"""What aiohttp's own exceptions name: an address that must not be told."""


def caused(exc: Exception, *causes: Exception) -> Exception:
    """Return an exception with a chain of causes."""
    outer = exc
    for cause in causes:
        outer.__cause__ = cause
        outer = cause
    return exc


def bad_certificate() -> ssl.SSLCertVerificationError:
    """Return what OpenSSL says of a certificate that it does not know."""
    exc = ssl.SSLCertVerificationError("u")
    exc.verify_message = "self-signed certificate"
    return exc


FOREIGN = {
    "refused": (
        caused(httpx.ConnectTimeout("secret"), ConnectionRefusedError(111, "secret")),
        (Cause.REFUSED, "connection refused"),
    ),
    "dns": (
        caused(httpx.ConnectTimeout("secret"), socket.gaierror(-2, "secret")),
        (Cause.DNS, "the host name does not resolve"),
    ),
    "dns of aiohttp": (
        aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "secret")),
        (Cause.DNS, "the host name does not resolve"),
    ),
    "certificate": (
        caused(httpx.ConnectError("secret"), bad_certificate()),
        (Cause.TLS, "the TLS certificate is not trusted: self-signed certificate"),
    ),
    "certificate of aiohttp": (
        aiohttp.ClientConnectorCertificateError(KEY, bad_certificate()),
        (Cause.TLS, "the TLS certificate is not trusted: self-signed certificate"),
    ),
    "raw TLS error": (ssl.SSLError(1, "secret"), (Cause.TLS, "TLS failed")),
    "hang-up": (
        caused(httpx.ConnectTimeout("secret"), aiohttp.ServerDisconnectedError("secret")),
        (Cause.CLOSED, "the server closed the connection without an answer"),
    ),
    "cut short": (
        aiohttp.ClientPayloadError("secret"),
        (Cause.CLOSED, "the connection closed before the answer was complete"),
    ),
    "reset": (ConnectionResetError(104, "secret"), (Cause.CLOSED, "connection reset")),
    "timeout of httpx": (httpx.ReadTimeout("secret"), (Cause.TIMEOUT, "the connection timed out")),
    "timeout of aiohttp": (
        caused(httpx.ConnectTimeout("secret"), aiohttp.ConnectionTimeoutError("secret")),
        (Cause.TIMEOUT, "the connection timed out"),
    ),
    "the kernel gave up": (TimeoutError(110, "secret"), (Cause.UNREACHABLE, "the host does not respond")),
    "no route": (
        caused(httpx.ConnectError("secret"), OSError(101, "secret")),
        (Cause.UNREACHABLE, "no connection (Network is unreachable)"),
    ),
    "proxy away": (
        aiohttp.ClientProxyConnectionError(KEY, ConnectionRefusedError(111, "secret")),
        (Cause.PROXY, "the proxy cannot be reached"),
    ),
    "proxy refuses": (
        aiohttp.ClientHttpProxyError(KEY, (), status=407, message="secret"),
        (Cause.PROXY, "the proxy refused to connect: status 407"),
    ),
    "not HTTP": (
        aiohttp.ClientResponseError(KEY, (), status=400, message="secret"),
        (Cause.NOT_HTTP, "the answer is not HTTP"),
    ),
    "not HTTP either": (httpx.RemoteProtocolError("secret"), (Cause.NOT_HTTP, "the answer is not HTTP")),
    "unknown": (
        httpx.ReadError("https://u:secret@h/"),
        (Cause.UNREACHABLE, "no connection (ReadError)"),
    ),
    "bad URL": (httpx.InvalidURL("secret"), (Cause.BAD_URL, "the URL cannot be used")),
}


@pytest.mark.parametrize(("exc", "expected"), FOREIGN.values(), ids=FOREIGN)
def test_exception_is_translated_by_its_cause(exc: Exception, expected: tuple[Cause, str]) -> None:
    """What lies behind decides, and is told in our words: the exception's own may hold a URL."""
    with pytest.raises(NoAnswer) as caught, translated():
        raise exc
    assert (caught.value.cause, str(caught.value)) == expected


def test_every_cause_has_an_example() -> None:
    """The table above goes through all of them."""
    assert {cause for _, (cause, _) in FOREIGN.values()} == set(Cause)


@pytest.mark.parametrize(
    "lack",
    [
        caused(
            httpx.ConnectTimeout("secret"), aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "secret"))
        ),
        caused(httpx.ConnectTimeout("secret"), OSError(errno.ENOBUFS, "secret")),
        RuntimeError("can't start new thread"),
        MemoryError(),
    ],
)
def test_own_lack_of_resources_is_no_missing_answer(lack: Exception) -> None:
    """A request that could not be made says nothing about the other side."""
    with pytest.raises(OutOfResources), translated():
        raise lack


def test_other_exceptions_pass() -> None:
    """A bug is no failing network."""
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError
