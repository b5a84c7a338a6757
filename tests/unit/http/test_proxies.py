"""The proxy variables: which proxy a request goes through, and what cannot be used."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import StartError
from monitor.http.proxies import Proxies, Proxy, proxies_of

PROXY = "http://proxy.test:3128"
EVERY = {"ALL_PROXY": PROXY}


def way(url: str, environ: dict[str, str]) -> str | None:
    """Return the address of the proxy that a request goes through; None: it goes directly."""
    proxy = proxies_of(environ).of(httpx.URL(url))
    return None if proxy is None else proxy.url


def is_direct(url: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY has a request go directly."""
    return way(url, EVERY | {"NO_PROXY": no_proxy}) is None


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": "http://a:1"}, None, "http://a:1"),
        ({"ALL_PROXY": "http://a:1"}, "http://a:1", "http://a:1"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "http://a:1", "http://b:2"),
        ({"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:2"}, "http://a:1", None),
        ({"http_proxy": "http://a:1", "HTTP_PROXY": "socks5://b"}, "http://a:1", None),
        ({"http_proxy": "", "HTTP_PROXY": "http://b:2"}, "http://b:2", None),
        ({"all_proxy": "http://a:1", "ALL_PROXY": "http://b:2"}, "http://a:1", "http://a:1"),
        ({"HTTP_PROXY": "", "HTTPS_PROXY": "  ", "NO_PROXY": ""}, None, None),
        ({"FTP_PROXY": "socks://a", "Http_Proxy": "nonsense"}, None, None),
    ],
)
def test_proxies_follow_the_variables(environ: dict[str, str], http: str | None, https: str | None) -> None:
    """One for each scheme, else that for all; lower case comes first, and empty counts as absent."""
    assert way("http://host.test/", environ) == http
    assert way("https://host.test/", environ) == https


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://proxy.test:3128", Proxy(url="http://proxy.test:3128")),
        (" http://proxy.test:3128/ ", Proxy(url="http://proxy.test:3128")),
        ("HTTP://Proxy.Test:3128", Proxy(url="http://proxy.test:3128")),
        ("proxy.test:3128", Proxy(url="http://proxy.test:3128")),
        ("proxy", Proxy(url="http://proxy:80")),
        ("https://proxy.test", Proxy(url="https://proxy.test:443")),
        ("http://10.0.0.1:8080", Proxy(url="http://10.0.0.1:8080")),
        ("http://[fd00::1]:8080", Proxy(url="http://[fd00::1]:8080")),
        ("http://user@proxy:1", Proxy(url="http://proxy:1", credentials=("user", ""))),
        ("user:word@proxy:1", Proxy(url="http://proxy:1", credentials=("user", "word"))),
        ("http://u%40x:p%3A%2F%40@proxy:1", Proxy(url="http://proxy:1", credentials=("u@x", "p:/@"))),
        ("http://u:p@ss@proxy:1", Proxy(url="http://proxy:1", credentials=("u", "p@ss"))),
        (
            "http://u:%C3%A9@proxy:1",
            Proxy(url="http://proxy:1", credentials=("u", "é".encode().decode("latin-1"))),
        ),
    ],
)
def test_proxy_is_read_from_its_url(value: str, proxy: Proxy) -> None:
    """With or without scheme, port, path, user and password."""
    assert proxies_of({"HTTPS_PROXY": value}) == Proxies(https=proxy)


def test_proxy_does_not_show_its_password() -> None:
    """Not in its `repr`, and so in no message that holds one."""
    proxies = proxies_of({"HTTPS_PROXY": "http://us3r:p4ssword@proxy:1"})
    assert "p4ssword" not in repr(proxies)
    assert proxies.https is not None
    assert proxies.https.secret_url == "http://us3r:p4ssword@proxy:1"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("socks://s3cr3t:1080", "SOCKS"),
        ("socks5://u:s3cr3t@proxy:1080", "SOCKS"),
        ("SOCKS5H://s3cr3t", "SOCKS"),
        ("ftp://s3cr3t", "only http:// and https://"),
        ("s3cr3t://proxy", "only http:// and https://"),
        ("http://", "no host"),
        ("http://:3128", "no host"),
        ("http://u:s3cr3t@:3128", "no host"),
        ("http://s3cr3t:99999", "host or port"),
        ("http://s3cr3t:0", "host or port"),
        ("http://s3cr3t:port", "host or port"),
        ("http://s3cr3t host:1", "host or port"),
        ("http://[s3cr3t]:1", "host or port"),
        ("http://999.1.1.1:1", "host or port"),
        ("http://u:1/s3cr3t@proxy:3128", "percent-encode"),
        ("http://u%3A:s3cr3t@proxy:3128", "colon"),
    ],
)
def test_proxy_that_cannot_be_used_is_an_error_that_names_the_variable(
    variable: str, value: str, why: str
) -> None:
    """And says what is wrong, but not the value: it may hold a password."""
    with pytest.raises(StartError) as caught:
        proxies_of({variable: value})
    assert str(caught.value).startswith(f"{variable}: ")
    assert why in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://a.test/", "*", True),
        ("http://a.test/", "b.test, *", True),
        ("http://a.test/", "a.test", True),
        ("http://a.test./", "A.Test.", True),
        ("http://www.a.test/", "a.test", True),
        ("http://www.a.test/", ".a.test", True),
        ("http://a.test/", ".a.test", True),
        ("http://www.a.test/", "*.a.test", True),
        ("http://nota.test/", "a.test", False),
        ("http://a.test.b/", "a.test", False),
        ("http://localhost:9093/", "localhost", True),
        ("http://bücher.test/", "bücher.test", True),
        ("http://xn--bcher-kva.test/", "bücher.test", True),
        ("http://a.test:8080/", "a.test:8080", True),
        ("http://a.test:8081/", "a.test:8080", False),
        ("http://a.test/", "a.test:80", True),
        ("https://a.test/", "a.test:443", True),
        ("https://a.test/", "a.test:80", False),
        ("http://10.1.2.3/", "10.1.2.3", True),
        ("http://10.1.2.3:9/", "10.1.2.3:9", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://10.1.2.3/", "10.9.9.9/8", True),
        ("http://10.1.2.3/", "10.0.0.0/255.0.0.0", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://host.10.1.2.3.test/", "10.1.2.3", False),
        ("http://[::1]:9093/", "::1", True),
        ("http://[::1]:9093/", "[::1]", True),
        ("http://[::1]:9093/", "[::1]:9093", True),
        ("http://[::1]:9094/", "[::1]:9093", False),
        ("http://[::1]/", "localhost,::1,[::1]", True),
        ("http://[0:0:0:0:0:0:0:1]/", "::1", True),
        ("http://[fd07::5]/", "fd07::/64", True),
        ("http://[fd07::5]/", "[fd07::/64]", True),
        ("http://[fd08::5]/", "fd07::/64", False),
        ("http://[::ffff:10.1.2.3]/", "10.0.0.0/8", True),
        ("http://a.test/", "10.0.0.0/8", False),
        ("http://a.test/", " b.test ,, a.test , ", True),
        ("http://a.test/", "b.test a.test\tc.test", True),
        ("http://a.test/", ",", False),
    ],
)
def test_no_proxy_covers(url: str, no_proxy: str, direct: bool) -> None:
    """Hosts with all below them, addresses and networks, with or without a port, in any usual writing."""
    assert is_direct(url, no_proxy) is direct


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    "entry",
    [
        "s3cr3t/path",
        "http://s3cr3t",
        "s3cr3t:port",
        "s3cr3t:0",
        "s3cr3t:65536",
        "10.0.0.0/33",
        "10.0.0.0/8:80",
        "10.*",
        "192.168.1",
        "fd07::/129",
        "[::1",
        "::1]",
        "[]",
        "::1::",
        "*:80",
        "s3*cr3t",
        "s3cr3t..test",
        "<local>",
        "a" * 64 + ".test",
    ],
)
def test_no_proxy_entry_that_cannot_be_used_is_an_error_that_says_which(variable: str, entry: str) -> None:
    """By its place, not by its text."""
    with pytest.raises(StartError) as caught:
        proxies_of({variable: f"localhost, {entry} ,10.0.0.0/8"})
    assert str(caught.value).startswith(f"{variable}: entry 2 ")
    assert entry not in str(caught.value)


addresses = st.ip_addresses()


@st.composite
def networks(draw: st.DrawFn) -> str:
    """Return a network, as people write it: often with bits set behind its length."""
    address = draw(addresses)
    return f"{address}/{draw(st.integers(0, address.max_prefixlen))}"


@given(address=addresses, network=networks(), port=st.integers(1, 65535))
def test_no_proxy_networks_mean_what_ipaddress_means(
    address: IPv4Address | IPv6Address, network: str, port: int
) -> None:
    """Whichever the address and the network, also of one that was made to fit."""
    host = f"[{address}]" if ":" in str(address) else str(address)
    mapped = getattr(address, "ipv4_mapped", None) or address
    inside = any(each in ip_network(network, strict=False) for each in (address, mapped))
    assert is_direct(f"http://{host}:{port}/", network) is inside
    length = min(int(network.partition("/")[2]), address.max_prefixlen)
    assert is_direct(f"http://{host}:{port}/", f"{address}/{length}")
    assert is_direct(f"http://{host}:{port}/", str(address))
    assert is_direct(f"http://{host}:{port}/", f"{host}:{port}")


labels = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(name=names, below=names, other=names, dot=st.sampled_from(["", ".", "*."]))
def test_no_proxy_hosts_cover_themselves_and_what_is_below(
    name: str, below: str, other: str, dot: str
) -> None:
    """And nothing else, whatever its last letters are."""
    assert is_direct(f"https://{name}/", f"{dot}{name}")
    assert is_direct(f"https://{below}.{name}/", f"{dot}{name}")
    assert not is_direct(f"https://x{name}/", f"{dot}{name}")
    assert is_direct(f"https://{other}/", f"{dot}{name}") is (other == name or other.endswith(f".{name}"))


@given(
    st.dictionaries(
        st.sampled_from(["http_proxy", "HTTPS_PROXY", "all_proxy", "NO_PROXY"]),
        st.text() | st.from_regex(r"(http|https|socks5)://[\x20-\x7e]*", fullmatch=True),
    )
)
def test_any_value_is_used_or_refused(environ: dict[str, str]) -> None:
    """Nothing that stands in these variables is an internal error, at the start or at a request."""
    try:
        proxies = proxies_of(environ)
    except StartError as exc:
        assert str(exc).split(":")[0] in environ  # noqa: PT017 - either way is right
    else:
        for url in ("http://a.test/", "https://[::1]:8443/", "https://10.0.0.1/"):
            proxies.of(httpx.URL(url))
