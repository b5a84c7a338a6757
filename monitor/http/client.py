"""The HTTP clients that requests go through: httpx over aiohttp, pooled, without memory of cookies."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from monitor import __version__
from monitor.http.certificates import Authorities
from monitor.http.proxies import Proxies, Proxy, proxies_of
from monitor.http.redactor import Redactor
from monitor.secret import Secret

USER_AGENT = f"voicelink-drift-monitor/{__version__}"

_AUTHORIZATION = "Proxy-Authorization"
_KEEPALIVE_S = 30.0
"""Spans a recheck interval; shorter than the minute after which load balancers hang up."""
_CHUNK_BYTES = 120 * 1024
"""So much of a body is taken at a time; for pieces of 128 KiB and more, malloc maps memory each time."""


class Network:
    """How the process reaches others: through which proxies, and trusting which authorities.

    Args:
        environ: Variables that name proxies and certificates; nothing else reads any.
        transport: Takes the place of the network, in tests.

    `redactor` hides the secrets in what others answer: those of the proxies, and those that it learns.

    Raises:
        StartError: A variable cannot be used.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.proxies = proxies_of(environ or {})
        self.authorities = Authorities(environ)
        named = {proxy.secret_url for proxy in (self.proxies.http, self.proxies.https) if proxy is not None}
        self.redactor = Redactor(map(Secret, named))
        self._transport = transport

    def client(self, *, ca_file: Path | None = None, max_connections: int) -> httpx.AsyncClient:
        """Return an HTTP client; close it with `aclose`.

        It follows no redirects (a key must not travel), reads nothing of the environment by itself, and has
        no timeouts of its own: the whole request has a deadline where it is sent.

        Args:
            ca_file: PEM file of the authorities to trust instead of the system's.
            max_connections: Open connections at most, to all hosts.

        Raises:
            StartError: `ca_file` cannot be read.
        """
        return httpx.AsyncClient(
            headers={"User-Agent": USER_AGENT},
            timeout=httpx.Timeout(None),
            follow_redirects=False,
            trust_env=False,
            transport=self.transport(ca_file=ca_file, max_connections=max_connections),
        )

    def transport(self, *, ca_file: Path | None = None, max_connections: int) -> httpx.AsyncBaseTransport:
        """Return what such a client sends its requests through, which adds nothing to them.

        For one who asks often: of what a client does besides, a request that is made by hand needs nothing.
        Arguments and errors are those of `client`; close it with `aclose`.
        """
        limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=_KEEPALIVE_S)
        return self._transport or _Routed(self.proxies, self.authorities.context(ca_file), limits)


class _Routed(httpx.AsyncBaseTransport):
    """Sends each request directly or through the proxy that its address has."""

    def __init__(self, proxies: Proxies, trusted: ssl.SSLContext, limits: httpx.Limits) -> None:
        self._proxies = proxies
        self._ways = {
            proxy: _Transport(proxy=_for_httpx(proxy), verify=trusted, limits=limits)
            for proxy in {None, proxies.http, proxies.https}
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it."""
        proxy = self._proxies.of(request.url)
        if proxy is not None and proxy.authorization is not None and request.url.scheme == "http":
            # aiohttp sends the proxy's own headers to open a tunnel only.
            request.headers[_AUTHORIZATION] = proxy.authorization
        return await self._ways[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            await way.aclose()


class _Transport(AiohttpTransport):
    """aiohttp without cookies: accounts share this client, and one's cookie must not go with another."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(trust_env=False, **settings)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream.CHUNK_SIZE = _CHUNK_BYTES
        return response

    def get_client(self) -> ClientSession:
        connector = TCPConnector(
            limit=self.limits.max_connections or 0,
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
        )
        return ClientSession(connector=connector, cookie_jar=DummyCookieJar(), trust_env=False)


def _for_httpx(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None:
        return None
    return httpx.Proxy(
        proxy.url, headers={_AUTHORIZATION: proxy.authorization} if proxy.authorization else None
    )
