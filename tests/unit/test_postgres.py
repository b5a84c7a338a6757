"""URLs of PostgreSQL: what libpq takes is taken, and what cannot work is said without the password."""

import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import pq

from monitor.postgres import PARAMETERS, PostgresUrl
from monitor.store.postgresql import require_sound


@pytest.mark.parametrize(
    ("url", "parameters"),
    [
        ("postgresql://u:p@h:1/d", {"user": "u", "password": "p", "host": "h", "port": "1", "dbname": "d"}),
        ("postgres://h", {"host": "h"}),
        (
            "postgresql://u@h1,h2:7/d",
            {"user": "u", "host": "h1,h2", "port": ",7", "dbname": "d", "target_session_attrs": "read-write"},
        ),
        (
            "postgresql://h1:5,[::1]:6/d?target_session_attrs=any",
            {"host": "h1,::1", "port": "5,6", "dbname": "d", "target_session_attrs": "any"},
        ),
        ("postgresql:///d?host=/var/run&user=a%40b", {"dbname": "d", "host": "/var/run", "user": "a@b"}),
        ("postgresql://%2Fvar%2Frun/d", {"host": "/var/run", "dbname": "d"}),
        (
            "postgresql://u:p@ss:9%!$&+'=@h/d",
            {"user": "u", "password": "p@ss:9%!$&+'=", "host": "h", "dbname": "d"},
        ),
        (
            "postgresql://h/d?sslmode=disable&options=-c%20geqo=off",
            {"host": "h", "dbname": "d", "sslmode": "disable", "options": "-c geqo=off"},
        ),
        ("postgresql://h/d?ssl=true", {"host": "h", "dbname": "d", "sslmode": "require"}),
    ],
)
def test_url_is_read_as_libpq_does(url: str, parameters: dict[str, str]) -> None:
    """An unescaped `@` or `%` in a password is part of it; of several hosts the primary is meant."""
    defaults = PostgresUrl.of("postgresql://h").parameters.keys() - {"host"}
    found = PostgresUrl.of(url).parameters
    assert {name: value for name, value in found.items() if name not in defaults} == parameters


def test_limits_have_defaults_and_are_overridden_in_the_url() -> None:
    """Nothing waits for ever, and nothing is prepared on the server, unless the URL says so."""
    plain = PostgresUrl.of("postgresql://h")
    assert (plain.prepare_threshold, plain.statement_timeout_s, plain.lock_timeout_s) == (None, 10, 5)
    assert plain.parameters["connect_timeout"] == "5"
    assert plain.parameters.keys() >= {"tcp_user_timeout", "keepalives_idle"}
    asked = "connect_timeout=2&tcp_user_timeout=0&statement_timeout=60&lock_timeout=7&prepare_threshold=0"
    given_url = PostgresUrl.of(f"postgresql://h?{asked}")
    assert (given_url.prepare_threshold, given_url.statement_timeout_s, given_url.lock_timeout_s) == (
        0,
        60,
        7,
    )
    assert given_url.parameters["connect_timeout"] == "2"
    assert given_url.parameters["tcp_user_timeout"] == "0"
    assert "prepare_threshold" not in given_url.parameters


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:s3cr/et@h/d", "percent-encoded"),
        ("postgresql://u:12/et@h/d", "percent-encoded"),
        ("postgresql://u:s3cr?et@h/d", "percent-encoded"),
        ("postgresql://u:s3cr?connect_timeout=et@h/d", "percent-encoded"),
        ("postgresql://u:s3cr#et@h/d", "percent-encoded"),
        ("postgresql://u:12?user=s3cr@h/d", "percent-encoded"),
        ("postgresql://u:s3cr[et@h/d", "percent-encoded"),
        ("postgresql://u:s3cr%FFet@h/d", "UTF-8"),
        ("postgresql://u:s3cr%00et@h/d", "NUL"),
        ("postgresql://u:s3cret@h/d?poolsize=5", 'unknown parameter "poolsize"'),
        ("postgresql://h/d?connect_timeout=soon", '"connect_timeout" is a whole number'),
        ("postgresql://h/d?prepare_threshold=x", '"prepare_threshold" is a whole number'),
        ("postgresql://h/d?statement_timeout=0", "at least 1"),
        ("postgresql://h/d?sslmode", '"sslmode" has no value'),
        ("postgresql://h/d?sslmode=a&sslmode=b", "given twice"),
        ("postgresql://h/d?port=x", "not a port"),
        ("postgresql://h/d?port=70000", "not a port"),
        ("postgresql://h/d?hostaddr=localhost", '"hostaddr" is not an IP address'),
        ("postgresql://h/d?client_encoding=latin1", '"client_encoding" can only be UTF8'),
        ("postgresql://u:s3cr\udcffet@h/d", "UTF-8"),
        ("postgresql://h:99999/d", "its port"),
        ("postgresql://h:x/d", "host or port"),
        ("postgresql://h1,/d", "host or port"),
        ("postgresql://a..b/d", "host name"),
        ("postgresql:///d", "write it like"),
        ("mysql://h/d", "write it like"),
    ],
)
def test_url_that_cannot_be_used_says_why(url: str, said: str) -> None:
    """The message names the parameter or the remedy, and nothing of the password."""
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        PostgresUrl.of(url)
    assert "s3cr" not in str(caught.value)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_password_works_or_is_refused(password: str) -> None:
    """What is accepted is what was written, and goes to the host that was written."""
    try:
        found = PostgresUrl.of(f"postgresql://drift:{password}@db.example/d").parameters
    except ValueError:
        return
    assert (found["user"], found["host"]) == ("drift", "db.example")
    assert found["password"] == password or "%" in password


def test_parameters_are_those_of_the_driver() -> None:
    """All that libpq takes, except for connections that replicate a server."""
    known = {each.keyword.decode() for each in pq.Conninfo.get_defaults()}
    assert known - PARAMETERS == {"replication"}


LIBPQ = sorted(each.keyword.decode() for each in pq.Conninfo.get_defaults())


WORDS = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
USUAL = st.sampled_from(["0", "1", "5432", "require", "any", "random", "TLSv1.2", "UTF8", "127.0.0.1", "3.0"])


def refusal(name: str, value: str) -> str | None:
    """Return why a parameter of a URL is refused; None if it is taken as it is."""
    try:
        url = PostgresUrl.of(f"postgresql://drift@db.example/d?{name}={quote(value, safe='')}")
        require_sound(url)
    except ValueError as exc:
        return str(exc)
    assert url.parameters[name] == value
    return None


@pytest.mark.parametrize("name", LIBPQ)
@settings(max_examples=20)
@given(value=USUAL | WORDS | WORDS.map("s3cr".__add__))
def test_value_of_a_parameter_is_refused_by_its_name_or_accepted_by_libpq(name: str, value: str) -> None:
    """Before anything is connected, and without quoting it: what a `?` ends may be a password."""
    said = refusal(name, value)
    assert said is None or (f'"{name}"' in said and "s3cr" not in said)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("sslmode=bogus", "sslmode"),
        ("connect_timeout=2&sslmode=bogus&gssencmode=bogus", "sslmode"),
        ("sslnegotiation=direct", "sslnegotiation"),
        ("sslrootcert=system&sslmode=require", "sslmode"),
        ("service=nowhere", "service"),
    ],
)
def test_parameter_that_libpq_does_not_accept_is_named(asked: str, name: str) -> None:
    """The first that fails, also where it does so only together with others."""
    with pytest.raises(ValueError, match=f'"{name}"'):
        require_sound(PostgresUrl.of(f"postgresql://db.example/d?{asked}"))


@pytest.mark.parametrize(
    "asked", ["", "sslnegotiation=direct&sslmode=require", "target_session_attrs=primary"]
)
def test_parameters_that_libpq_accepts_may_stand(asked: str) -> None:
    """In any order, as long as they fit together."""
    require_sound(PostgresUrl.of(f"postgresql://db.example/d?{asked}"))
