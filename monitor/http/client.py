"""The HTTP clients that requests go through: httpx over aiohttp, pooled, without memory of cookies."""

import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from httpx_aiohttp import AiohttpTransport

from monitor import __version__
from monitor.http.certificates import Authorities
from monitor.http.proxies import Proxies, proxies_of
from monitor.http.redactor import Redactor
from monitor.secret import Secret

USER_AGENT = f"voicelink-drift-monitor/{__version__}"

_AUTHORIZATION = "Proxy-Authorization"
_KEEPALIVE_S = 30.0
"""Spans a recheck interval; shorter than the minute after which load balancers hang up."""


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
        return self._transport or _Transport(self.proxies, self.authorities.context(ca_file), limits)


class _Transport(AiohttpTransport):
    """Sends each request directly or through the proxy that its address has.

    Without cookies: accounts share this client, and one's cookie must not go with another. What aiohttp
    raises and reads is passed on as it is: `errors` knows both libraries, and a body need not be copied.
    """

    def __init__(self, proxies: Proxies, trusted: ssl.SSLContext, limits: httpx.Limits) -> None:
        super().__init__(verify=trusted, trust_env=False, limits=limits)
        self._proxies = proxies

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(self.client, ClientSession):
            self.client = self.get_client()
        proxy = self._proxies.of(request.url)
        login = {_AUTHORIZATION: proxy.authorization} if proxy and proxy.authorization else {}
        if login and request.url.scheme == "http":
            request.headers.update(login)  # aiohttp sends the proxy's own headers to open a tunnel only
        response = await self.client.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=request.content or None,
            allow_redirects=False,
            proxy=proxy.url if proxy else None,
            proxy_headers=login,
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    def get_client(self) -> ClientSession:
        connector = TCPConnector(
            limit=self.limits.max_connections or 0,
            keepalive_timeout=self.limits.keepalive_expiry,
            ssl=self.ssl_context,
        )
        return ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(), auto_decompress=False
        )


class _Body(httpx.AsyncByteStream):
    """The body of an answer, in the pieces that the network brings."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_any()

    async def aclose(self) -> None:
        self._response.release()
