"""The proxy variables of the environment, parsed once: which proxy a request goes through, if any.

| variable | says |
| --- | --- |
| HTTP_PROXY HTTPS_PROXY | the proxy for http:// and for https:// addresses |
| ALL_PROXY | the proxy for those of the two that have none of their own |
| NO_PROXY | hosts, addresses and networks that are reached without a proxy, or `*` for all |

As with curl, a lower-case variable comes before its upper-case twin, and an empty one counts as absent.
Unlike curl, which skips what it does not understand, a value that cannot be used is an error.

Source: https://curl.se/libcurl/c/CURLOPT_NOPROXY.html and https://curl.se/libcurl/c/CURLOPT_PROXY.html
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

import httpx

from monitor.errors import StartError

_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65535
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_ADDRESS_LIKE = re.compile(r"(?:.*\.)?[0-9]+\.?")
"""A host that ends in a number is an address, if a valid one: https://url.spec.whatwg.org/#host-parsing"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One HTTP proxy.

    `credentials` are user name and password, each byte of them as one character, as what the variable
    percent-encodes are bytes.
    """

    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def authorization(self) -> str | None:
        """The value of the header `Proxy-Authorization`, if the proxy is to get one."""
        if self.credentials is None:
            return None
        return f"Basic {b64encode(':'.join(self.credentials).encode('latin-1')).decode()}"

    @property
    def secret_url(self) -> str:
        """The URL with the credentials in it, for a library that takes them nowhere else."""
        if self.credentials is None:
            return self.url
        user, password = (quote(text, safe="") for text in self.credentials)
        return self.url.replace("://", f"://{user}:{password}@", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """One entry of NO_PROXY: a network, or a host with all below it (empty: every host), on `port` or any."""

    network: IPv4Network | IPv6Network | None = None
    host: str = ""
    port: int | None = None

    def covers(self, host: str, addresses: Sequence[IPv4Address | IPv6Address], port: int) -> bool:
        """Return whether a host is meant; `addresses` are what it is itself, none for a name."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return any(address in self.network for address in addresses)
        return not self.host or f".{host}".endswith(f".{self.host}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies in use."""

    http: Proxy | None = None
    https: Proxy | None = None
    direct: tuple[Direct, ...] = ()

    def of(self, url: httpx.URL) -> Proxy | None:
        """Return the proxy that a request goes through; None: it connects directly.

        Names are not resolved: a network in NO_PROXY covers hosts that are written as addresses.
        """
        proxy = {"http": self.http, "https": self.https}.get(url.scheme)
        if proxy is None or not self.direct:
            return proxy
        host, port = url.raw_host.decode("ascii").lower().rstrip("."), url.port or _PORTS[url.scheme]
        addresses = _addresses(host)
        return None if any(entry.covers(host, addresses, port) for entry in self.direct) else proxy


def proxies_of(environ: Mapping[str, str]) -> Proxies:
    """Return the proxies that the environment names.

    Raises:
        StartError: A value cannot be used. Names the variable, and never holds the value.
    """
    every, http, https = (_proxy(environ, name) for name in ("all_proxy", "http_proxy", "https_proxy"))
    return Proxies(http=http or every, https=https or every, direct=_no_proxy(environ))


def _given(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the variable that counts, and its value; empty if there is none."""
    for variable in (name, name.upper()):
        if value := environ.get(variable, "").strip():
            return variable, value
    return name, ""


def _proxy(environ: Mapping[str, str], name: str) -> Proxy | None:
    variable, value = _given(environ, name)
    if not value:
        return None
    try:
        return _parse_proxy(value if "://" in value else f"http://{value}")
    except ValueError as exc:
        raise StartError(
            f"{variable}: {exc}; write it like http://proxy.example:3128, or unset the variable"
        ) from None


def _parse_proxy(value: str) -> Proxy:
    """Return the proxy of a URL.

    Raises:
        ValueError: What is wrong with it, in words of our own: those of the library quote it.
    """
    if value.lower().startswith("socks"):
        raise ValueError("SOCKS proxies are not supported")
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError("only http:// and https:// proxies are supported")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("its host or port is not valid") from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise ValueError("percent-encode the special characters of its user name and password")
    host = parts.hostname or ""
    if not host:
        raise ValueError("it names no host")
    if port == 0 or not (_addresses(host) or _is_name(host)):
        raise ValueError("its host or port is not valid")
    netloc = f"[{host}]" if ":" in host else host
    return Proxy(
        url=f"{parts.scheme}://{netloc}:{port or _PORTS[parts.scheme]}", credentials=_credentials(parts)
    )


def _credentials(parts: SplitResult) -> tuple[str, str] | None:
    if parts.username is None:
        return None
    user, password = (
        unquote_to_bytes(text or "").decode("latin-1") for text in (parts.username, parts.password)
    )
    if ":" in user:
        raise ValueError("its user name must not hold a colon")
    return user, password


def _no_proxy(environ: Mapping[str, str]) -> tuple[Direct, ...]:
    variable, value = _given(environ, "no_proxy")
    entries = []
    for position, entry in enumerate(filter(None, re.split(r"[,\s]+", value)), start=1):
        try:
            entries.append(_parse_direct(entry))
        except ValueError:
            raise StartError(
                f"{variable}: entry {position} is neither *, a host, an address nor a network; write it like "
                "example.com, example.com:8443, 10.0.0.0/8 or fd00::/8"
            ) from None
    return tuple(entries)


def _parse_direct(entry: str) -> Direct:
    if entry == "*":
        return Direct()
    port = None
    if found := re.fullmatch(r"(\[[^\]]*\]|[^:\[\]/]*):([0-9]{1,5})", entry):
        entry, port = found[1], int(found[2])
        if not 0 < port <= _HIGHEST_PORT:
            raise ValueError
    bare = entry[1:-1] if entry.startswith("[") and entry.endswith("]") else entry
    try:
        return Direct(network=ip_network(bare, strict=False), port=port)
    except ValueError:
        host = entry.removeprefix("*.").removeprefix(".").rstrip(".").lower().encode("idna").decode()
        if not _is_name(host):
            raise
        return Direct(host=host, port=port)


def _is_name(host: str) -> bool:
    return _NAME.fullmatch(host) is not None and _ADDRESS_LIKE.fullmatch(host) is None


def _addresses(host: str) -> list[IPv4Address | IPv6Address]:
    """Return the address that a host is, and again as IPv4 if that is mapped into IPv6; none for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return []
    mapped = getattr(address, "ipv4_mapped", None)
    return [address] if mapped is None else [address, mapped]
