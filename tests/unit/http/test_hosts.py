"""Hosts have one form each; loopback is told by exact names and by address, never by how a name begins."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.http.hosts import host_of, is_loopback, without_port


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "page.localhost",
        "127.0.0.1",
        "127.255.0.9",
        "::1",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1",
    ],
)
def test_is_loopback_knows_this_machine(host: str) -> None:
    """Loopback addresses of both families and the names that RFC 6761 reserves are this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "localhost.example.com",
        "localhost.localdomain",
        "mylocalhost",
        "127.example.com",
        "127.0.0.1.example.com",
        "127.0.0.1:8790",
        "[127.0.0.1",
        "128.0.0.1",
        "0.0.0.0",
        "::",
        "::2",
        "::ffff:10.0.0.1",
    ],
)
def test_is_loopback_knows_others(host: str) -> None:
    """A name that only begins like this machine's belongs to someone else; "any address" is not loopback."""
    assert not is_loopback(host)


@given(st.ip_addresses(v=4))
def test_is_loopback_is_the_network_127(address: ipaddress.IPv4Address) -> None:
    """Of IPv4, exactly 127.0.0.0/8 is loopback, written plainly or mapped into IPv6."""
    expected = address in ipaddress.ip_network("127.0.0.0/8")
    assert is_loopback(str(address)) is expected
    assert is_loopback(f"[::ffff:{address}]") is expected


@given(st.from_regex(r"[a-z0-9-]{1,10}(\.[a-z0-9-]{1,10}){0,3}", fullmatch=True))
def test_is_loopback_is_never_a_name_in_a_foreign_domain(prefix: str) -> None:
    """Whatever stands before it, a name in a real domain is not this machine."""
    assert not is_loopback(f"{prefix}.example.com")
    assert is_loopback(f"{prefix}.localhost")


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("monitor.example.com", "monitor.example.com"),
        ("Monitor.Example.COM.:8790", "monitor.example.com"),
        ("monitor_1:8790", "monitor_1"),
        ("monitor:", "monitor"),
        ("127.0.0.1:8790", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[0:0::1]:8790", "::1"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1"),
        ("", None),
        (".", None),
        (":80", None),
        ("::1", None),
        ("[127.0.0.1]:x", None),
        ("[dead]", None),
        ("a:80:80", None),
        ("user@localhost", None),
        ("localhost/", None),
        ("localhost, evil.example", None),
        ("evil.example\tlocalhost", None),
        ("ÿ", None),
    ],
)
def test_host_of_gives_each_host_one_form(authority: str, host: str | None) -> None:
    """Case, port, brackets and the last dot do not matter; what is no host has none."""
    assert host_of(authority) == host


@given(st.text())
def test_host_of_never_leaves_anything_to_escape(authority: str) -> None:
    """Whatever is sent, the host is fit to be compared and repeated, and is its own host."""
    host = host_of(authority)
    assert host is None or set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-:")
    if host is not None:
        assert host_of(f"[{host}]" if ":" in host else host) == host


@given(st.ip_addresses(), st.integers(min_value=0, max_value=65535))
def test_port_is_told_from_an_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """The last group of an IPv6 address is no port."""
    bare = f"[{address}]" if address.version == 6 else str(address)
    assert without_port(f"{bare}:{port}") == bare
    assert without_port(str(address)) == str(address)
