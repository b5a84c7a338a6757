"""URLs as the config takes them and requests use them."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.http.address import Address, safe_url
from monitor.secret import STARS


def basic(userinfo: str) -> str:
    """Return the header of a user and a password."""
    return f"Basic {base64.b64encode(userinfo.encode()).decode()}"


@pytest.mark.parametrize(
    ("given_url", "url", "userinfo"),
    [
        pytest.param("https://h/p?q=1", "https://h/p?q=1", None, id="plain"),
        pytest.param("https://u:p@h:8443/p", "https://h:8443/p", "u:p", id="user and password"),
        pytest.param("https://u@h/", "https://h/", "u:", id="user alone"),
        pytest.param("https://@h/", "https://h/", None, id="empty"),
        pytest.param("https://u:a@b@h/", "https://h/", "u:a@b", id="an @ in the password"),
        pytest.param("https://ü:%C3%A9%3a%2F%40@h/", "https://h/", "ü:é:/@", id="percent-encoded UTF-8"),
        pytest.param("https://u:100%@h/", "https://h/", "u:100%", id="a percent sign that encodes nothing"),
        pytest.param("https://u:a+b@h/", "https://h/", "u:a+b", id="a plus stays one"),
        pytest.param("http://bücher.de/ä#f", "http://xn--bcher-kva.de/%C3%A4", None, id="IDNA, fragment"),
        pytest.param("http://[::1]:8080/", "http://[::1]:8080/", None, id="IPv6"),
    ],
)
def test_address_takes_user_info_out_of_the_url(given_url: str, url: str, userinfo: str | None) -> None:
    """What is sent is a URL without it and, if there was one, a header."""
    address = Address.of(given_url)
    assert address.url == url
    sent = address.authorization.reveal() if address.authorization is not None else None
    assert sent == (basic(userinfo) if userinfo is not None else None)


@given(st.text("".join(map(chr, range(33, 127))) + "äß€😀", min_size=1), st.text(max_size=20))
def test_address_keeps_every_character_of_a_login(user: str, password: str) -> None:
    """Whatever user and password are, percent-encoded they arrive as they were, and are not shown."""
    user = user.replace(":", "")
    url = f"https://{quote(user, safe='')}:{quote(password, safe='')}@host.example/path"
    address = Address.of(url)
    assert address.authorization is not None
    assert address.authorization.reveal() == basic(f"{user}:{password}")
    assert address.url == "https://host.example/path"
    assert address.shown == safe_url(url) == f"https://{STARS}:{STARS}@host.example/path"
    assert repr(address) == f"Address({address.shown})"
    assert [secret.reveal() for secret in address.secrets] == [basic(f"{user}:{password}")]


def test_address_with_a_query_may_hold_a_key() -> None:
    """Some services take it there, so it is neither shown nor quoted."""
    address = Address.of("https://h/v2?key=k3y")
    assert repr(address) == "Address(https://h/v2)"
    assert [secret.reveal() for secret in address.secrets] == ["https://h/v2?key=k3y"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://secret", "not a URL"),
        ("secret", "not a URL"),
        ("https://", "not a URL"),
        ("https://:secret@/", "not a URL"),
        ("https://u:sec/ret@h/", "not a URL"),
        ("https://secret:port/", "not a URL"),
        ("https://secret:65536/", "its port is not between 1 and 65535"),
        ("https://secret:0/", "its port is not between 1 and 65535"),
        ("https://secret..a/", "its host name has an empty label"),
        (f"https://{'secret' * 12}/", "one of over 63 characters"),
        ("https://xn--secret\u200d/", "not a URL"),
        ("https://xn--a/", "not a URL"),
        ("https://[/secret", "characters that no name has"),
        ("https://secret*/", "characters that no name has"),
        ("https://1.2.3.4.5/?secret", "its host is not an IP address"),
        ("https://2130706433/?secret", "its host is not an IP address"),
        ("https://[::1%25secret]/", "an address with a zone cannot be used in a URL"),
        ("https://sec%3Aret:p@h/", "a user's name cannot hold a colon"),
    ],
)
def test_address_that_no_request_can_use_is_refused(url: str, problem: str) -> None:
    """It says why, and never quotes it."""
    with pytest.raises(ValueError, match=problem) as caught:
        Address.of(url)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_address_is_read_or_refused(url: str) -> None:
    """No text makes it fail in any other way."""
    try:
        address = Address.of(f"http://{url}")
    except ValueError:
        return
    assert Address.of(address.url) == Address(address.url)


def test_joined_path_keeps_the_login() -> None:
    """A path is added once, whether or not the address ends in a slash."""
    for url in ("http://u:p@am/x", "http://u:p@am/x/"):
        joined = Address.of(url).joined("/api/v2/alerts")
        assert joined.url == "http://am/x/api/v2/alerts"
        assert joined.authorization is not None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@h/p?q=secret#secret", f"https://{STARS}:{STARS}@h/p"),
        ("postgresql://u:p@a,b/d?password=secret", f"postgresql://{STARS}:{STARS}@a,b/d"),
        ("https://u:1/secret@h/p", "https://…"),
        ("https://u:1?secret@h/p", "https://…"),
        ("https://u:secret@[h/", "…"),
        ("sqlite:////var/lib/m.db", "sqlite:////var/lib/m.db"),
    ],
)
def test_safe_url_shows_no_secret(url: str, shown: str) -> None:
    """User, password and query are hidden, and whatever may be an end of a password."""
    assert safe_url(url) == shown
