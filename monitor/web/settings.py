"""What the config says about the web side, read anew at every request, so that a reload counts at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import unquote, urlsplit

from monitor.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Who may ask for what, and under which address.

    Args:
        users: The bcrypt hashes of passwords, by user name; empty: no password is needed.
        operators: Globs of the names of users who may act; the others only read.
        lifecycle: Whether anything can be done over the web at all.
        external_url: Where people reach the monitor; its path is an optional prefix of every path.
        allowed_hosts: Names and addresses that requests may be for; `*.example.com` is any name below
            example.com, `*` any host.
        trusted_proxies: Whose X-Forwarded-For and X-Forwarded-Proto are believed.
        timezone: In which people's mornings are; that of the schedule.
    """

    users: Mapping[str, Secret] = field(default_factory=dict)
    operators: Sequence[str] = ("*",)
    lifecycle: bool = False
    external_url: str | None = None
    allowed_hosts: Sequence[str] = ()
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
    timezone: str = "UTC"

    @property
    def root(self) -> str:
        """What every link begins with: the path of `external_url` as it stands there, or nothing."""
        path = urlsplit(self.external_url or "").path.strip("/")
        return f"/{path}" if path else ""

    @property
    def prefix(self) -> str:
        """The same as requests bring it, decoded."""
        return unquote(self.root)

    def is_operator(self, user: str) -> bool:
        """Return whether a user may act."""
        return any(fnmatchcase(user, glob) for glob in self.operators)


Settings = Callable[[], WebSettings]
"""The settings of the active config."""
