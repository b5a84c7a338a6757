"""What tables are made of: the kinds of value that keys hold, each with its check, JSON Schema and words.

Every check raises `problem(...)`: pydantic's own messages may quote the input, these never do.
"""

import base64
import binascii
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from monitor.config import mistakes
from monitor.cron import parse_cron
from monitor.errors import StartError
from monitor.http.address import Address
from monitor.http.hosts import host_of
from monitor.postgres import SCHEMES, PostgresUrl
from monitor.secret import Secret, file_stamp, trimmed
from monitor.units import DURATION_PATTERN, SIZE_PATTERN, format_duration, parse_duration, parse_size

PROBLEM = "problem"
"""The type of the validation errors that we word ourselves."""

_NAME_LENGTH = 100
_HIGHEST_PORT = 65535
_KEY_PREFIX = "rg_live_"
_LONGEST = timedelta(days=3650)
_MILLISECOND = timedelta(milliseconds=1)

Check = Callable[[Any], Any]


class Section(BaseModel):
    """One table: frozen, unknown keys refused, every key described by the text below it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        # A key that must be there, or go with another, is checked where it is absent too.
        validate_default=True,
    )


def chosen(value: Secret | None, file: Secret | None) -> Secret:
    """Return the one of two twins that was given; validation saw to it that one was.

    Raises:
        ValueError: Neither was given.
    """
    secret = value or file
    if secret is None:
        raise ValueError("this secret was not given")
    return secret


def problem(text: str) -> PydanticCustomError:
    """Return a validation error with exactly this text, which must not hold any value."""
    return PydanticCustomError(PROBLEM, "{text}", {"text": text})


def optional(check: Check) -> Check:
    """Return the check for a key that may be absent, which an empty text says too."""
    return lambda value: None if value is None or value == "" else check(value)


def text(value: Any) -> str:
    """Return a text that is not empty and holds nothing that breaks a line."""
    if not isinstance(value, str):
        raise problem("expected text in quotes")
    if not value.strip():
        raise problem("must not be empty")
    if (unprintable := mistakes.unseen(value)) is not None:
        raise problem(unprintable)
    return value


def name(value: Any) -> str:
    """Return a name; it becomes a label, a part of an address, and is matched by globs."""
    value = text(value)
    if value.startswith(_KEY_PREFIX):
        raise problem("this looks like an API key, not like a name")
    if len(value) > _NAME_LENGTH or value != value.strip() or re.search(r"[/*?\[\]]", value):
        raise problem(f"a name has at most {_NAME_LENGTH} characters, no / * ? [ ] and no space around it")
    return str(value)


def _at_least(minimum: timedelta) -> Check:
    def check(value: Any) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            parsed = parse_duration(value)
        except ValueError as exc:
            raise problem(str(exc)) from None
        if parsed < minimum:
            raise problem(f"must be at least {format_duration(minimum)}")
        if parsed > _LONGEST:
            raise problem(f"must be at most {format_duration(_LONGEST)}")
        return parsed

    return check


def duration(minimum: timedelta = timedelta()) -> BeforeValidator:
    """Return the check of a duration that is at least `minimum`."""
    return BeforeValidator(_at_least(minimum))


def duration_or(word: str, minimum: timedelta) -> BeforeValidator:
    """Return the check of a duration, or of the word that stands for None."""
    check = _at_least(minimum)

    def either(value: Any) -> Any:
        if value is None or value == word:
            return None
        try:
            return check(value)
        except PydanticCustomError as exc:
            raise problem(f'{exc.message()}; or "{word}"') from None

    return BeforeValidator(either)


def _size(value: Any) -> int:
    try:
        size_bytes = parse_size(value)
    except ValueError as exc:
        raise problem(str(exc)) from None
    if size_bytes == 0:
        raise problem("must be at least 1B")
    return size_bytes


def _timezone(value: Any) -> str:
    value = text(value)
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise problem("the time zone is unknown: use a name like UTC or Asia/Kolkata") from None
    return str(value)


def cron(value: Any, info: ValidationInfo) -> str | None:
    """Return a crontab line, checked in the table's `timezone` if it has one."""
    if value is None or value == "":
        return None
    value = text(value)
    try:
        parse_cron(value, info.data.get("timezone") or "UTC")
    except ValueError as exc:
        raise problem(str(exc)) from None
    return str(value)


def _address(value: Any) -> Address:
    value = text(value)
    if re.search(r"\s", value):
        raise problem('not a URL; write it like "https://host.example/path"')
    try:
        return Address.of(value)
    except ValueError as exc:
        raise problem(str(exc)) from None


def _http_url(value: str) -> str:
    """Return the URL of a request, user and password in it allowed."""
    _address(value)
    return value


def login_url(value: Any) -> Address:
    """Return where requests go, user and password in it allowed."""
    if isinstance(value, Address):
        return value
    address = _address(value)
    return Address(address.url.rstrip("/"), address.authorization)


def base_address(value: Any) -> Address:
    """Return what paths are added to, user and password in it allowed."""
    address = login_url(value)
    if "?" in address.url or "#" in str(value):
        raise problem("paths are added to this URL, so it must not hold a ? or #")
    return address


def _base_url(why_no_login: str) -> Check:
    """Return the check of a URL that paths are added to, and that holds no user name or password."""

    def check(value: Any) -> str:
        if base_address(value).authorization is not None:
            raise problem(f"a URL must not hold a user name or password here: {why_no_login}")
        return str(value).rstrip("/")

    return check


def _existing_file(value: Any) -> Path:
    path = Path(text(value))
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise problem(mistakes.not_a_path(str(value)) or "there is no such file") from None
    except OSError as exc:
        raise problem(f"the file cannot be reached: {exc.strerror}") from None
    if not is_file:
        raise problem("it is not a file")
    return path


def _token(value: str) -> str:
    if not value.isascii() or not value.isprintable() or re.search(r"\s", value):
        raise problem("a key has only printable ASCII characters and no white space")
    return value


def _webhook_secret(value: str) -> str:
    try:
        key = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise problem('a webhook secret is base64 after "whsec_", as `openssl rand -base64 32` makes it')
    return value


def _webhook_secrets(value: str) -> str:
    """Check each line of a file that holds one secret a line."""
    for place, line in enumerate(value.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            _pasted(_webhook_secret)(line)
        except PydanticCustomError as exc:
            raise problem(f"line {place}: {exc.message()}") from None
    return value


def _service_url(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", value):
        raise problem('not a URL; write it like "scheme://…"')
    return value


def _database_url(value: str) -> str:
    file = value.removeprefix("sqlite:///")
    if value.startswith(SCHEMES):
        try:
            PostgresUrl.of(value)
        except ValueError as exc:
            raise problem(str(exc)) from None
    elif file != value and "?" in file:
        raise problem("a SQLite URL takes no options: leave out the question mark and what follows it")
    elif file in (value, "", ":memory:"):
        raise problem('write it like "sqlite:///voicelink-monitor.db" or "postgresql://user@host/database"')
    return value


def _bcrypt_hash(value: str) -> str:
    if not re.fullmatch(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}", value):
        raise problem('not a bcrypt hash; make one with `htpasswd -nB NAME` (it begins with "$2y$")')
    return value


def _header_value(value: Any) -> str:
    value = text(value)
    if not value.isascii():
        raise problem("a header's value is ASCII")
    return str(value)


def _pasted(check: Callable[[str], str]) -> Check:
    """Return the check of a secret whose form is known: it drops or tells what people paste along with it."""

    def whole(value: Any) -> str:
        value = text(trimmed(value) if isinstance(value, str) else value)
        if (mistake := mistakes.pasted(value)) is not None:
            raise problem(mistake)
        return check(value)

    return whole


def _secret(check: Check) -> Check:
    return lambda value: value if isinstance(value, Secret) else Secret(check(value))


def _secret_file(check: Check) -> Check:
    def read(value: Any) -> Secret:
        if isinstance(value, Secret):
            return value
        path = Path(text(value))
        try:
            return Secret(file=path, check=check)
        except PydanticCustomError:
            raise
        except (StartError, ValueError) as exc:
            # Who puts the secret itself where its file belongs must not read it in a log.
            shown = isinstance(exc, StartError) and (path.is_absolute() or file_stamp(path) is not None)
            mistake = mistakes.not_a_path(str(value))
            raise problem(mistake or (str(exc) if shown else "there is no such secret file")) from None

    return read


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen; `host` is an address without brackets, or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(value: Any) -> Listen:
    if isinstance(value, Listen):
        return value
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", text(value))
    if found is None or int(found[3]) > _HIGHEST_PORT:
        raise problem('write it like "127.0.0.1:8790" or "[::1]:8790"')
    return Listen(found[1] or found[2], int(found[3]))


def _host(value: Any) -> str:
    """Return a host in the form that requests are compared with, `*`, or `*.` before a domain."""
    given = text(value)
    if given == "*":
        return given
    try:
        name = given.removeprefix("*.").encode("idna").decode()
    except UnicodeError:
        name = ""
    bare = f"[{name}]" if ":" in name and "[" not in name else name
    host = host_of(bare)
    if host is None or ("[" in bare and not bare.endswith("]")):
        raise problem('write it like "monitor.example.com", "*.example.com" or "192.0.2.7", without a port')
    return f"*.{host}" if given.startswith("*.") else host


def _network(value: Any) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(text(value))
    except ValueError:
        raise problem('not an address or a network; write it like "192.0.2.7" or "10.0.0.0/8"') from None


def _connection_id(value: Any) -> str:
    """Return a connection's id: the API documents UUIDs, and answers 400 to anything else."""
    value = text(value)
    if value.startswith(_KEY_PREFIX):
        raise problem("this looks like an API key, not like a connection's id")
    try:
        return str(UUID(value))
    except ValueError:
        raise problem(
            'not a UUID; write it as the provider shows it, like "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"'
        ) from None


def _instant(value: Any) -> Any:
    """Return a datetime or date out of itself or its ISO 8601 text."""
    if isinstance(value, date):
        return value
    try:
        return datetime.fromisoformat(value) if "T" in value or " " in value else date.fromisoformat(value)
    except (ValueError, TypeError):
        raise problem("not a date; write it like 2026-12-31 or 2026-12-31T18:00:00Z") from None


def _until(value: Any) -> datetime:
    """Return the first instant after an instant or, for a date, after that whole day in UTC."""
    at = _instant(value)
    try:
        if not isinstance(at, datetime):
            end = datetime.max.replace(tzinfo=UTC)
            return end if at == date.max else datetime.combine(at, time(), UTC) + timedelta(days=1)
        if at.tzinfo is None:
            raise problem("a time needs an offset; write it like 2026-12-31T18:00:00Z")
        return at.astimezone(UTC)
    except OverflowError:
        raise problem("not a date; write it like 2026-12-31 or 2026-12-31T18:00:00Z") from None


def local_instant(value: Any, info: ValidationInfo) -> datetime | None:
    """Return an aware instant in UTC; one without offset is meant in the table's `timezone`."""
    if value is None or value == "":
        return None
    at = _instant(value)
    if not isinstance(at, datetime):
        raise problem("a time is needed too; write it like 2026-12-31T18:00:00Z")
    zone = ZoneInfo(info.data.get("timezone") or "UTC")
    try:
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise problem("not a date; write it like 2026-12-31T18:00:00Z") from None


@dataclass(frozen=True, slots=True)
class Exclusive:
    """The check, for the last of `keys`, that only one of them is given (if `required`: just one).

    A key that failed its own check is absent from `info.data`; then there is nothing to say here.
    """

    keys: tuple[str, ...]
    required: bool

    def __call__(self, value: Any, info: ValidationInfo) -> Any:
        """Return the value of the last key."""
        others, listed = self.keys[:-1], " or ".join(self.keys)
        if any(key not in info.data for key in others):
            return value
        given = sum(part is not None for part in (value, *(info.data[key] for key in others)))
        if given > 1:
            raise problem(f"give {listed}, not both")
        if self.required and not given:
            raise problem(f"missing: give {listed}")
        return value


def exclusive(*keys: str, required: bool = False) -> AfterValidator:
    """Return the check, for the last of `keys`, that only one of them is given (if `required`: just one)."""
    return AfterValidator(Exclusive(keys, required))


def _schema(kind: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


_DURATION = _schema("string", pattern=DURATION_PATTERN)

_HTTP = "^https?://"

Text = Annotated[str, BeforeValidator(text), _schema("string", minLength=1)]
Name = Annotated[str, BeforeValidator(name), _schema("string", minLength=1, maxLength=_NAME_LENGTH)]
Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict(), Field(le=1_000_000_000)]
Fraction = Annotated[float, Strict()]
SeverityWord = Literal["critical", "warning", "info"]
Duration = Annotated[timedelta, duration(), _DURATION]
LongDuration = Annotated[timedelta, duration(timedelta(seconds=1)), _DURATION]
Timeout = Annotated[timedelta, duration(_MILLISECOND), _DURATION]
Recheck = Annotated[timedelta, duration(100 * _MILLISECOND), _DURATION]
Size = Annotated[int, BeforeValidator(_size), _schema("string", pattern=SIZE_PATTERN)]
TimeZone = Annotated[str, BeforeValidator(_timezone), _schema("string")]
Cron = Annotated[str | None, BeforeValidator(cron), _schema("string")]
ApiUrl = Annotated[
    str,
    BeforeValidator(_base_url("it would take the place of the API key")),
    _schema("string", pattern=_HTTP),
]
PageUrl = Annotated[
    str | None, BeforeValidator(optional(_base_url("every alert would show it"))), _schema("string")
]
LoginUrl = Annotated[Address, BeforeValidator(login_url), _schema("string", pattern=_HTTP)]
BaseUrl = Annotated[Address, BeforeValidator(base_address), _schema("string", pattern=_HTTP)]
OptionalFile = Annotated[Path | None, BeforeValidator(optional(_existing_file)), _schema("string")]
OptionalText = Annotated[str | None, BeforeValidator(optional(text)), _schema("string")]
OptionalId = Annotated[str | None, BeforeValidator(optional(_connection_id)), _schema("string")]
ListenAddress = Annotated[Listen, BeforeValidator(_listen), _schema("string", pattern=r"^.+:[0-9]+$")]
Host = Annotated[str, BeforeValidator(_host), _schema("string", minLength=1)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network), _schema("string")]
Until = Annotated[datetime | None, BeforeValidator(optional(_until)), _schema("string")]
LocalInstant = Annotated[datetime | None, BeforeValidator(local_instant), _schema("string")]

_SECRET = _schema("string", writeOnly=True)
_PATH = _schema("string")


def _given(check: Check) -> BeforeValidator:
    return BeforeValidator(optional(_secret(check)))


def _in_file(check: Check) -> BeforeValidator:
    return BeforeValidator(optional(_secret_file(check)))


Token = Annotated[Secret | None, _given(_pasted(_token)), _SECRET]
TokenFile = Annotated[Secret | None, _in_file(_pasted(_token)), _PATH]
SigningSecret = Annotated[Secret | None, _given(_pasted(_webhook_secret)), _SECRET]
SigningSecretFile = Annotated[Secret | None, _in_file(_pasted(_webhook_secret)), _PATH]
SigningSecrets = Annotated[
    tuple[Annotated[Secret, BeforeValidator(_secret(_pasted(_webhook_secret))), _SECRET], ...] | None,
    Field(min_length=1),
    _schema("array", items={"type": "string", "writeOnly": True}, minItems=1),
]
SigningSecretsFile = Annotated[Secret | None, _in_file(_webhook_secrets), _PATH]
SecretUrl = Annotated[Secret | None, _given(_pasted(_http_url)), _SECRET]
SecretUrlFile = Annotated[Secret | None, _in_file(_pasted(_http_url)), _PATH]
ServiceUrl = Annotated[Secret | None, _given(_pasted(_service_url)), _SECRET]
ServiceUrlFile = Annotated[Secret | None, _in_file(_pasted(_service_url)), _PATH]
DatabaseUrl = Annotated[Secret | None, _given(_pasted(_database_url)), _SECRET]
DatabaseUrlFile = Annotated[Secret | None, _in_file(_pasted(_database_url)), _PATH]
Password = Annotated[Secret | None, _given(text), _SECRET]
PasswordFile = Annotated[Secret | None, _in_file(text), _PATH]
PasswordHash = Annotated[Secret, BeforeValidator(_secret(_pasted(_bcrypt_hash))), _SECRET]
HeaderValue = Annotated[Secret, BeforeValidator(_secret(_header_value)), _SECRET]
