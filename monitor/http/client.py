"""The HTTP client that requests go through: httpx over aiohttp, pooled, without memory of cookies."""

import ssl
from pathlib import Path
from typing import Any

import httpx
from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from monitor import __version__
from monitor.errors import StartError

USER_AGENT = f"voicelink-drift-monitor/{__version__}"

_KEEPALIVE_S = 30.0
"""Spans a recheck interval; shorter than the minute after which load balancers hang up."""


class _Transport(AiohttpTransport):
    """aiohttp without cookies: accounts share this client, and one's cookie must not go with another."""

    def get_client(self) -> ClientSession:
        connector = TCPConnector(
            limit=self.limits.max_connections or 0,
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
        )
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar())


class _Client(HttpxAiohttpClient):
    """The client class of httpx-aiohttp, which reads the proxy variables, with a transport of its own."""

    # The signatures are httpx's: its constructor calls both by keyword, with all it was given.
    def _init_transport(  # type: ignore[override]
        self, *, transport: httpx.AsyncBaseTransport | None = None, **settings: Any
    ) -> httpx.AsyncBaseTransport:
        return transport or _Transport(**settings)

    def _init_proxy_transport(  # type: ignore[override]
        self, proxy: httpx.Proxy, **settings: Any
    ) -> httpx.AsyncBaseTransport:
        return _Transport(proxy=proxy, **settings)


def build_http(
    *,
    ca_file: Path | None,
    max_connections: int,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return the HTTP client; close it with `aclose`.

    It follows no redirects (a key must not travel), honours the proxy variables of the environment, and
    has no timeouts of its own: the whole request has a deadline in `VoiceLinkClient`.

    Args:
        ca_file: PEM file of the authorities to trust instead of the usual ones. Read now, once.
        max_connections: Open connections at most, to all hosts.
        transport: Takes the place of the network, in tests.

    Raises:
        StartError: `ca_file` cannot be read.
    """
    trusted: ssl.SSLContext | bool = True
    if ca_file is not None:
        try:
            trusted = ssl.create_default_context(cafile=ca_file)
        except OSError as exc:  # ssl.SSLError is one
            reason = exc.strerror or "it is not a PEM file"
            raise StartError(f"the CA file {ca_file} cannot be read: {reason}") from exc
    return _Client(
        headers={"User-Agent": USER_AGENT},
        verify=trusted,
        limits=httpx.Limits(max_connections=max_connections, keepalive_expiry=_KEEPALIVE_S),
        timeout=None,
        follow_redirects=False,
        transport=transport,
    )
