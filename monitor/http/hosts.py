"""What a host's name or address says by itself, without asking DNS."""

import ipaddress


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
    try:
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
