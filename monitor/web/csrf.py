"""Requests that a page elsewhere makes in a visitor's name: told apart, and refused.

A browser says where a request comes from (`Sec-Fetch-Site`, `Origin`); and what our own pages send carries a
token that only they can know. Programs that are no browser say neither, and have no visitor to abuse.

Source: https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from monitor.clock import Clock

TOKEN_FIELD = "csrf_token"  # noqa: S105 - the name of a field
TOKEN_HEADER = "x-csrf-token"  # noqa: S105 - the name of a header

_LIFETIME_S = 12 * 3600.0
_STAMP_BYTES = 8


class CsrfTokens:
    """Makes and checks tokens; they are good for one user, in this process, for twelve hours.

    Args:
        clock: The time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def make(self, user: str | None) -> str:
        """Return a token for a page that this user is shown."""
        stamp = int(self._clock.monotonic()).to_bytes(_STAMP_BYTES, "big")
        return base64.urlsafe_b64encode(stamp + self._sign(stamp, user)).decode()

    def valid(self, token: str, user: str | None) -> bool:
        """Return whether this is a token that this user's page was given not long ago."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return False
        stamp, signature = raw[:_STAMP_BYTES], raw[_STAMP_BYTES:]
        if not hmac.compare_digest(signature, self._sign(stamp, user)):
            return False
        return self._clock.monotonic() - int.from_bytes(stamp, "big") <= _LIFETIME_S

    def _sign(self, stamp: bytes, user: str | None) -> bytes:
        said = b"\x00" if user is None else b"\x01" + user.encode()
        return hmac.digest(self._key, stamp + said, hashlib.sha256)


def from_browser(headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from a browser: each says of a POST where it was made."""
    return "origin" in headers or "sec-fetch-site" in headers


def is_cross_site(headers: Mapping[str, str], trusted: Collection[str] = ()) -> bool:
    """Return whether a browser made this request for a page that is not ours.

    Args:
        headers: Of the request.
        trusted: Hosts (with port) that are ours besides the one the request names, as behind a proxy.

    Source: https://www.w3.org/TR/fetch-metadata/ and RFC 6454, section 7.
    """
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and _host(origin) not in {headers.get("host", "").lower(), *trusted}


def host_of(url: str | None) -> tuple[str, ...]:
    """Return the host (with port) of an address, as `trusted` wants it."""
    host = _host(url) if url else None
    return (host,) if host else ()


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
