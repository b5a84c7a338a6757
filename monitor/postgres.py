"""URLs of PostgreSQL as libpq reads them, with the limits that this program adds.

Source: https://www.postgresql.org/docs/current/libpq-connect.html (connection URIs, parameter key words).
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote

SCHEMES = ("postgresql://", "postgres://")

_FORM = 'write it like "postgresql://USER:PASSWORD@HOST/DATABASE"'
_ENCODE = (
    "special characters in the user and the password are written percent-encoded: "
    '"/" as %2F, "?" as %3F, "#" as %23, "@" as %40, "[" as %5B, "]" as %5D'
)
_HIGHEST_PORT = 65535

_TEXTS = frozenset(
    [
        "application_name",
        "channel_binding",
        "client_encoding",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "options",
        "passfile",
        "password",
        "port",
        "require_auth",
        "requirepeer",
        "scram_client_key",
        "scram_server_key",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "user",
    ]
)
_DEFAULTS = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""Whole numbers that libpq takes: a host that is gone is noticed within 20 seconds."""
_LIMITS = {"statement_timeout": 10, "lock_timeout": 5}
"""Whole seconds; not libpq's: the server is asked for these."""
_OURS = (*_LIMITS, "prepare_threshold")
PARAMETERS = _TEXTS | _DEFAULTS.keys()
"""What libpq knows and is of use here."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PostgresUrl:
    """How to connect.

    Args:
        parameters: libpq's.
        prepare_threshold: After how many executions a statement is prepared on the server; None: never, for a
            pooler such as PgBouncer gives the next transaction another connection.
        statement_timeout_s: How long a statement may take.
        lock_timeout_s: How long a statement may wait for a lock.
    """

    parameters: dict[str, str]
    prepare_threshold: int | None
    statement_timeout_s: int = field(default=_LIMITS["statement_timeout"])
    lock_timeout_s: int = field(default=_LIMITS["lock_timeout"])

    @classmethod
    def of(cls, url: str) -> "PostgresUrl":
        """Read a URL.

        Raises:
            ValueError: It cannot be used. Says why, without quoting user or password.
        """
        rest = _rest(url)
        place, _, query = rest.partition("?")
        authority, slash, database = place.partition("/")
        login, at, hosts = authority.rpartition("@")
        if "#" in rest or "@" in database or (at and re.search(r"[\[\]]", login)):
            raise ValueError(_ENCODE)
        # Not a port and a parameter, but what is left of a password with a question mark in it.
        misread = not at and ":" in hosts and "@" in query
        user, colon, password = login.partition(":")
        given = {
            **({"user": _decoded(user)} if user else {}),
            **({"password": _decoded(password)} if colon else {}),
            **_hosts(hosts, misread=misread),
            **({"dbname": _decoded(database)} if slash and database else {}),
        }
        asked = _asked(query, misread=misread)
        numbers = {name: asked.pop(name) for name in _OURS if name in asked}
        given |= asked
        if not given.keys() & {"host", "hostaddr", "service"}:
            raise ValueError(_FORM)
        defaults = {name: str(value) for name, value in _DEFAULTS.items()}
        if "," in given.get("host", ""):
            defaults["target_session_attrs"] = "read-write"  # of several, the one that is no standby
        prepare = numbers.get("prepare_threshold", "none")
        return cls(
            parameters=defaults | given,
            prepare_threshold=None if prepare == "none" else _number("prepare_threshold", prepare),
            **{f"{name}_s": _number(name, numbers[name], least=1) for name in _LIMITS if name in numbers},
        )


def _rest(url: str) -> str:
    for scheme in SCHEMES:
        if url.startswith(scheme):
            return url.removeprefix(scheme)
    raise ValueError(_FORM)


def _hosts(hosts: str, *, misread: bool) -> dict[str, str]:
    """Return the parameters for `host1:port1,host2`; an IPv6 address stands in brackets."""
    if not hosts:
        return {}
    names, ports = [], []
    for each in hosts.split(","):
        found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]+))(?::([0-9]*))?", each)
        if found is None or misread:
            raise ValueError(f"its host or port cannot be read; {_ENCODE}")
        name, port = _decoded(found[1] or found[2]), found[3] or ""
        if port and not _is_port(port):
            raise ValueError("its port is not between 1 and 65535")
        try:
            if not name.startswith("/"):
                name.encode("idna")  # as the resolver does
        except UnicodeError as exc:
            raise ValueError("its host name has an empty label, or one of over 63 characters") from exc
        names.append(name)
        ports.append(port)
    return {"host": ",".join(names), **({"port": ",".join(ports)} if any(ports) else {})}


def _asked(query: str, *, misread: bool) -> dict[str, str]:
    asked: dict[str, str] = {}
    for each in query.split("&") if query else ():
        if misread or not re.match(r"[a-z_]+(=|$)", each):
            raise ValueError(f"its parameters cannot be read; {_ENCODE}")
        name, value = _parameter(*each.partition("=")[::2])
        if name in asked:
            raise ValueError(f'the parameter "{name}" is given twice')
        asked[name] = value
    return asked


def _parameter(name: str, encoded: str) -> tuple[str, str]:
    value = _decoded(encoded)
    if name == "ssl" and value == "true":  # as libpq takes it from JDBC's URLs
        name, value = "sslmode", "require"
    if name not in PARAMETERS and name not in _OURS:
        raise ValueError(f'unknown parameter "{name}"')
    if not value:
        raise ValueError(f'the parameter "{name}" has no value')
    if name in _DEFAULTS:
        _number(name, value)
    elif name == "port" and not all(map(_is_port, value.split(","))):
        raise ValueError('the parameter "port" is not a port between 1 and 65535')
    elif name == "hostaddr" and not all(map(_is_address, value.split(","))):
        raise ValueError('the parameter "hostaddr" is not an IP address')
    elif name == "client_encoding" and value.lower().replace("-", "") not in ("utf8", "unicode"):
        raise ValueError('the parameter "client_encoding" can only be UTF8')
    return name, value


def _is_port(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,9}", value)) and 0 < int(value) <= _HIGHEST_PORT


def _is_address(value: str) -> bool:
    try:
        return bool(ip_address(value))
    except ValueError:
        return False


def _number(name: str, value: str, *, least: int = 0) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least:
        raise ValueError(f'the parameter "{name}" is a whole number, at least {least}')
    return int(value)


def _decoded(encoded: str) -> str:
    """Return what was percent-encoded; a `%` that encodes nothing stands for itself."""
    try:
        value = unquote(encoded, errors="strict")
        value.encode()
    except UnicodeError as exc:
        raise ValueError("it is not UTF-8, as it stands or percent-encoded") from exc
    if "\0" in value:
        raise ValueError("it holds a NUL character")
    return value
