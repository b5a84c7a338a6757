"""The pure parts of the password check: headers, addresses, counting."""

import bcrypt
import pytest

from monitor.secret import Secret
from monitor.web.auth import WINDOW_S, WRONG_PER_WINDOW, Attempts, is_right, network_of, parse_basic

MOST = 4_096


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic YTpi", ("a", b"b")),
        ("basic  YTpi ", ("a", b"b")),
        ("Basic YTpiOmM=", ("a", b"b:c")),
        ("Basic w7w6w58=", ("ü", "ß".encode())),
        ("Basic YTo=", ("a", b"")),
        ("Basic Og==", ("", b"")),
        ("Basic YQ==", None),
        ("Basic YTpi!", None),
        ("Basic", None),
        ("YTpi", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_basic_reads_what_the_rfc_allows(header: str | None, found: tuple[str, bytes] | None) -> None:
    """The scheme in any case; the first colon ends the name; UTF-8; nothing else."""
    assert parse_basic(header) == found


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/monitor.sock", "/run/monitor.sock"),
        ("", ""),
    ],
)
def test_network_of_counts_a_customer_as_one(address: str, counted_as: str) -> None:
    """Somebody with a /64 has no more tries than somebody with one address."""
    assert network_of(address) == counted_as


def test_unknown_user_is_wrong_whatever_the_password() -> None:
    """The hash that is compared against in his place lets nobody in."""
    users = {name: Secret(bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()) for name in ("a", "b")}
    assert is_right(users, "a", b"right")
    assert not is_right(users, "c", b"right")


def test_attempts_slide_with_their_window() -> None:
    """The oldest of five wrong ones decides when the next may come."""
    attempts = Attempts()
    for second in range(WRONG_PER_WINDOW):
        assert attempts.begin("a", float(second)) is None
    assert attempts.begin("a", 10.0) == WINDOW_S - 10
    assert attempts.begin("b", 10.0) is None
    assert attempts.begin("a", WINDOW_S) is None
    assert attempts.begin("a", WINDOW_S) == 1.0


def test_attempts_that_were_right_do_not_count() -> None:
    """Only wrong passwords do."""
    attempts = Attempts()
    for _ in range(WRONG_PER_WINDOW * 3):
        assert attempts.begin("a", 0.0) is None
        attempts.take_back("a")
    assert attempts.begin("a", 0.0) is None


def test_attempts_remember_so_many_addresses() -> None:
    """Memory is bounded: the address that was quiet for longest is forgotten, the others are not."""
    attempts = Attempts()
    for _ in range(WRONG_PER_WINDOW):
        attempts.begin("first", 0.0)
    for _ in range(WRONG_PER_WINDOW):
        attempts.begin("second", 0.0)
    for place in range(MOST - 1):
        attempts.begin(f"{place}", 0.0)
    assert attempts.begin("second", 0.0) == WINDOW_S
    assert attempts.begin("first", 0.0) is None
