"""URLs that requests go to: checked as the client will read them, with user and password taken out."""

import base64
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from monitor.secret import STARS, Secret

_SCHEMES = ("http", "https")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a request goes.

    Args:
        url: Absolute, http or https, as it is sent: without user info and without fragment.
        authorization: The header that says what the user info said; None if there was none.
    """

    url: str
    authorization: Secret | None = None

    @classmethod
    def of(cls, given: str) -> "Address":
        """Read a URL.

        Raises:
            ValueError: It cannot be requested. Says why, without quoting it.
        """
        try:
            url = httpx.URL(given)
            host, port = url.host, url.port
        except (httpx.InvalidURL, ValueError) as exc:  # the second for a host that is no IDNA name
            raise ValueError('not a URL; write it like "https://host.example/path"') from exc
        if url.scheme not in _SCHEMES or not host:
            raise ValueError('not a URL; write it like "https://host.example/path"')
        if port is not None and not 0 < port <= _HIGHEST_PORT:
            raise ValueError("its port is not between 1 and 65535")
        _check_host(url.raw_host.decode("ascii"))
        bare = url.copy_with(userinfo=b"", fragment=None)
        return cls(str(bare), _basic(url.userinfo) if url.userinfo else None)

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def secrets(self) -> list[Secret]:
        """What of it must not be shown: the login, and a query, which may hold a key."""
        login = [self.authorization] if self.authorization is not None else []
        return [*login, Secret(self.url)] if "?" in self.url else login

    @property
    def shown(self) -> str:
        """The URL for people: see `safe_url`."""
        scheme, _, rest = self.url.partition("://")
        return safe_url(f"{scheme}://{STARS}:{STARS}@{rest}" if self.authorization is not None else self.url)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}"

    def joined(self, path: str) -> "Address":
        """Return the address of a path below this one."""
        return Address(self.url.rstrip("/") + path, self.authorization)


def safe_url(url: str) -> str:
    """Return a URL of any scheme for people: stars for user and password, no query, no fragment.

    An `@` after the host may end a password with an unescaped `/` or `?` in it: then only the scheme is left.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    if "@" in parts.path + parts.query + parts.fragment:
        return f"{parts.scheme}://…"
    userinfo, _, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{f'{STARS}:{STARS}@' if userinfo else ''}{host}{parts.path}"


def _check_host(host: str) -> None:
    """Refuse what aiohttp or the system's resolver would stumble over rather than not find.

    Raises:
        ValueError: It does.
    """
    try:
        if host.replace(".", "").isdigit():
            ipaddress.IPv4Address(host)
        elif ":" not in host:
            if re.search(r"[^A-Za-z0-9._-]", host):
                raise ValueError("its host name has characters that no name has")
            host.encode("idna")
        elif ipaddress.IPv6Address(host).scope_id is not None:
            raise ValueError("an address with a zone cannot be used in a URL")
    except UnicodeError as exc:
        raise ValueError("its host name has an empty label, or one of over 63 characters") from exc
    except ipaddress.AddressValueError as exc:
        raise ValueError("its host is not an IP address") from exc


def _basic(userinfo: bytes) -> Secret:
    """Return the header for user info. Source: RFC 7617; the bytes are what was percent-encoded.

    Raises:
        ValueError: The user's name holds a colon, which would end it.
    """
    user, _, password = userinfo.partition(b":")
    name = unquote_to_bytes(user)
    if b":" in name:
        raise ValueError("a user's name cannot hold a colon")
    token = base64.b64encode(name + b":" + unquote_to_bytes(password)).decode("ascii")
    return Secret(f"Basic {token}")
