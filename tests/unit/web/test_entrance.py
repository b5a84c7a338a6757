"""Who sent a request, and for which hosts one is answered: the pure parts."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.web.entrance import client_of, is_answered
from monitor.web.settings import WebSettings

EVIL, OWN, SIBLING, BELOW = "evil.example", "monitor.example.com", "other.example.com", "a.b.example.com"
REACHED = "192.0.2.7"
HOSTS = (
    "localhost",
    REACHED,
    "127.0.0.2",
    "localhost.evil.example",
    EVIL,
    OWN,
    SIBLING,
    BELOW,
    "example.com",
)
ALWAYS = {"localhost", REACHED}


@pytest.mark.parametrize(
    ("on_loopback", "allowed", "external_url", "answered"),
    [
        pytest.param(True, (), None, ALWAYS, id="loopback"),
        pytest.param(True, (), f"https://{OWN}:8443/voice", ALWAYS | {OWN}, id="loopback_external"),
        pytest.param(True, (EVIL,), None, ALWAYS | {EVIL}, id="loopback_named"),
        pytest.param(True, ("*.example.com",), None, ALWAYS | {OWN, SIBLING, BELOW}, id="loopback_domain"),
        pytest.param(True, ("*",), None, {*HOSTS, None}, id="loopback_any"),
        pytest.param(True, (EVIL, "*"), None, {*HOSTS, None}, id="loopback_any_too"),
        pytest.param(False, (), None, {*HOSTS, None}, id="elsewhere"),
        pytest.param(False, (), f"https://{OWN}", {*HOSTS, None}, id="elsewhere_external"),
        pytest.param(False, (OWN,), None, ALWAYS | {OWN}, id="elsewhere_named"),
        pytest.param(False, (SIBLING,), f"http://{OWN}", ALWAYS | {OWN, SIBLING}, id="elsewhere_both"),
        pytest.param(False, ("*.example.com",), None, ALWAYS | {OWN, SIBLING, BELOW}, id="elsewhere_domain"),
        pytest.param(False, ("*",), None, {*HOSTS, None}, id="elsewhere_any"),
    ],
)
def test_is_answered_for_host_by_listener_and_config(
    on_loopback: bool, allowed: tuple[str, ...], external_url: str | None, answered: set[str | None]
) -> None:
    """Every host on every listener: checked where the config names hosts or only this machine can connect."""
    settings = WebSettings(allowed_hosts=allowed, external_url=external_url)
    found = {host for host in (*HOSTS, None) if is_answered(host, REACHED, settings, on_loopback=on_loopback)}
    assert found == answered


TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXIES = st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="fd00::/8")
STRANGERS = st.ip_addresses().filter(
    lambda each: not any(each in network for network in TRUSTED) and not getattr(each, "ipv4_mapped", None)
)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("10.0.0.1", [], "10.0.0.1", id="says_nothing"),
        pytest.param("10.0.0.1", ["192.0.2.1"], "192.0.2.1", id="one"),
        pytest.param("10.0.0.1", ["192.0.2.1", "10.0.0.2"], "192.0.2.1", id="two_headers"),
        pytest.param("10.0.0.1", ["6.6.6.6, 192.0.2.1 ,10.0.0.2"], "192.0.2.1", id="spoofed"),
        pytest.param("192.0.2.9", ["192.0.2.1"], "192.0.2.9", id="stranger"),
        pytest.param("10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1", id="with_port"),
        pytest.param("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1", id="with_port_6"),
        pytest.param("::ffff:10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1", id="mapped"),
        pytest.param("10.0.0.1", ["192.0.2.1, unknown"], "10.0.0.1", id="garbage"),
        pytest.param("10.0.0.1", ["192.0.2.1,"], "10.0.0.1", id="nothing_last"),
        pytest.param("10.0.0.1", ["unknown, 10.0.0.3, 10.0.0.2"], "10.0.0.3", id="garbage_behind_proxies"),
        pytest.param("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", id="all_trusted"),
        pytest.param("", ["192.0.2.1"], "", id="no_address"),
        pytest.param("/run/monitor.sock", ["192.0.2.1"], "/run/monitor.sock", id="unix"),
    ],
)
def test_client_of_is_the_last_stranger(peer: str, forwarded: list[str], client: str) -> None:
    """Only what a trusted proxy adds is believed; what is no address ends it at the proxy that sent it."""
    assert client_of(peer, forwarded, TRUSTED) == client


@given(
    st.lists(st.text(alphabet="0123456789abcdef.:[], x") | STRANGERS.map(str), max_size=5),
    STRANGERS,
    st.lists(PROXIES, min_size=1, max_size=4),
)
def test_client_cannot_be_made_up(spoofed: list[str], client: object, proxies: list[object]) -> None:
    """Whatever a client sends along, the proxies' own entries tell who it is."""
    *between, nearest = proxies
    chain = [*spoofed, str(client), *map(str, between)]
    assert client_of(str(nearest), [", ".join(chain)], TRUSTED) == str(client)
    assert client_of(str(nearest), chain, TRUSTED) == str(client)


@given(STRANGERS, st.lists(st.text()))
def test_stranger_is_who_it_is(peer: object, forwarded: list[str]) -> None:
    """A peer that is no trusted proxy is never believed."""
    assert client_of(str(peer), forwarded, TRUSTED) == str(peer)
