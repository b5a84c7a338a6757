"""What every request passes first: who sent it, for which host, under which path."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.http.hosts import address_of, host_of, without_port
from monitor.web.problems import refusal
from monitor.web.settings import Settings, WebSettings

OPEN_PATHS = frozenset({"/-/healthy", "/-/ready"})
"""The probes: they answer anybody, under any host."""

_ABSOLUTE = re.compile(r"https?://([^/]*)(.*)", re.IGNORECASE | re.DOTALL)


class Entrance:
    """ASGI middleware that reads what proxies say, takes the prefix away, and refuses foreign hosts.

    A page of another site can let a name of its own resolve to this machine; its visitors' browsers then show
    it what the monitor answers (DNS rebinding). Such a request still names the site in its Host header.

    Args:
        app: Gets `client`, `scheme` and `path` as the client meant them.
        settings: Of the active config.
        on_loopback: Whether the listener's address is a loopback one, where only this machine's own names are
            answered unless the config has more.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, on_loopback: bool) -> None:
        self._app = app
        self._settings = settings
        self._on_loopback = on_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        settings, headers = self._settings(), Headers(scope=scope)
        # In place: errors are answered further out, and go by the path too.
        scope.update(believed(scope, headers, settings.trusted_proxies))
        authority, path = headers.get("host", ""), scope["path"]
        if absolute := _ABSOLUTE.fullmatch(scope["raw_path"].decode("latin-1")):
            # The target's own host counts, whatever the header says (RFC 9112, section 3.2.2).
            authority, path = absolute[1], unquote(absolute[2]) or "/"
        if (path + "/").startswith(settings.prefix + "/"):
            path = path.removeprefix(settings.prefix) or "/"
        scope["path"] = path

        server = address_of(scope["server"][0]) if scope.get("server") else None
        reached = str(server) if server is not None else None
        # A client that names no host means the address; browsers always name one.
        host = host_of(authority) if authority else reached
        if path in OPEN_PATHS or is_answered(host, reached, settings, on_loopback=self._on_loopback):
            await self._app(scope, receive, send)
            return
        shown = f'the host "{host}"' if host else "the host that this request names"
        detail = f"this monitor does not answer for {shown}; if it should, add it to web.allowed_hosts"
        await refusal(path, HTTPStatus.MISDIRECTED_REQUEST, detail)(scope, receive, send)


def is_answered(host: str | None, reached: str | None, settings: WebSettings, *, on_loopback: bool) -> bool:
    """Return whether requests for a host are answered.

    Args:
        host: What the request names, from `host_of`; None if that is no host.
        reached: The address that the connection reached.
        settings: Name further hosts.
        on_loopback: Whether the listener's address is a loopback one.
    """
    allowed = settings.allowed_hosts
    if "*" in allowed or not (allowed or on_loopback):
        return True
    if host is None:
        return False
    external = host_of(urlsplit(settings.external_url or "").netloc)
    if host in ("localhost", reached, external):
        return True
    return any(host == entry or (entry.startswith("*.") and host.endswith(entry[1:])) for entry in allowed)


def believed(
    scope: Scope, headers: Headers, trusted: Sequence[IPv4Network | IPv6Network]
) -> dict[str, object]:
    """Return the client and the scheme of a request as trusted proxies tell them; nothing without any."""
    peer = scope["client"][0] if scope.get("client") else ""
    client = client_of(peer, headers.getlist("x-forwarded-for"), trusted)
    if not _is_trusted(peer, trusted):
        return {}
    scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip().lower()
    said = {"scheme": scheme} if scheme in ("http", "https") else {}
    return {"client": (client, 0), **said}


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the address that a request came from: the last one that no trusted proxy has.

    Each proxy adds at the end whom it was asked by, so what stands further left than the first stranger is
    only what the stranger says. What is no address ends the list too.

    Args:
        peer: The address of the connection.
        forwarded: The X-Forwarded-For headers, in order.
        trusted: The proxies that are believed.
    """
    client = peer
    for entry in reversed(",".join(forwarded).split(",")):
        address = address_of(without_port(entry.strip()))
        if address is None or not _is_trusted(client, trusted):
            break
        client = str(address)
    return client


def _is_trusted(peer: str, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = address_of(peer)
    return address is not None and any(address in network for network in trusted)
