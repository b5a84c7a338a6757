"""The pure parts of the password check: headers, addresses, equal work."""

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.secret import Secret
from monitor.web.auth import is_right, network_of, parse_basic


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


def hashed(password: bytes, cost: int = 4) -> Secret:
    """Return a hash."""
    return Secret(bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode())


def test_unknown_user_is_wrong_whatever_the_password() -> None:
    """The salt that stands in for his hash lets nobody in."""
    users = {name: hashed(b"right") for name in ("a", "b")}
    assert is_right(users, "a", b"right")
    assert not is_right(users, "c", b"right")


class Work:
    """bcrypt, which says how much work it did: a step of the cost doubles it."""

    def __init__(self) -> None:
        self.done = 0

    def hash(self, password: bytes, salt: bytes) -> bytes:
        """Hash."""
        found = bcrypt.hashpw(password, salt)
        self.done += 2 ** int(salt[4:6])
        return found


@given(
    costs=st.lists(st.integers(min_value=4, max_value=7), min_size=1, max_size=4),
    password=st.sampled_from([b"right", b"wrong", b""]),
    broken=st.booleans(),
)
@settings(max_examples=40)
def test_every_answer_takes_the_same_work(costs: list[int], password: bytes, broken: bool) -> None:
    """Whether there is such a user, what its hash costs, and whether the password is right, no time tells."""
    users = {f"user-{place}": HASHES[cost] for place, cost in enumerate(costs)}
    if broken:
        users["broken"] = Secret("$2b$04$" + "x" * 53)
    for name in (*users, "nobody", ""):
        work = Work()
        right = is_right(users, name, password, work.hash)
        assert (right, work.done) == (password == b"right" and name.startswith("user-"), 2 ** max(costs))


HASHES = {cost: hashed(b"right", cost) for cost in range(4, 8)}
