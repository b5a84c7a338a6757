"""What a host's name or address says by itself, without asking DNS."""

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-][A-Za-z0-9._-]*?)\.?(?::[0-9]*)?")


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine: a loopback address, `localhost` or a name below it.

    Any other name is not, whatever it resolves to: `localhost.example.com` and `127.0.0.1.example.com`
    belong to whoever owns the domain.

    Args:
        host: A name or an address, without port; an IPv6 address with or without brackets.

    Source: RFC 6761, section 6.3 (`localhost.` and names that end in `.localhost.`).
    """
    name = host.casefold().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = address_of(host)
    return address is not None and address.is_loopback


def host_of(authority: str) -> str | None:
    """Return the host that a Host header or an address bar names, in one form; None if it is no host.

    That is: lower case, without port, brackets and the dot of the root. An address is written as `address_of`
    prints it.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    address = address_of(found[1])
    return str(address) if address is not None else None if found[1].startswith("[") else found[1].lower()


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a text, None if it is none; an IPv6 one may have brackets and a zone.

    An IPv4 address that is mapped into IPv6 is returned as the IPv4 address it stands for.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def without_port(text: str) -> str:
    """Return an address or a host without its port; an IPv6 address has one only behind brackets."""
    found = re.fullmatch(r"(\[.*\]|[^:]*):[0-9]*", text)
    return found[1] if found else text
