"""The config as a whole: its secrets; and as people may see it, with secrets starred."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from monitor.clock import rfc3339
from monitor.config.values import Listen
from monitor.http.address import Address, safe_url
from monitor.secret import STARS, Secret
from monitor.units import format_duration, format_size

_URLS = frozenset({"base_url", "external_url", "runbook_base_url"})
_WORDS_FOR_NONE = {"stale_after": "auto", "repeat_interval": "off"}


def public(config: BaseModel) -> dict[str, Any]:
    """Return the whole config as plain values fit for JSON, without any secret."""
    shown = {key: _shown(key, value) for key, value in config}
    return shown | {key: _shown(key, value) for key, value in (config.__pydantic_extra__ or {}).items()}


def _shown(key: str, value: Any) -> Any:
    match value:
        case BaseModel():
            return public(value)
        case tuple() | list():
            return [_shown(key, part) for part in value]
        case dict():
            return {name: _shown(name, part) for name, part in value.items()}
        case None:
            return _WORDS_FOR_NONE.get(key)
        case _:
            write = next((write for kind, write in _WRITTEN.items() if isinstance(value, kind)), None)
            if key == "max_response_size":
                write = format_size
            elif key in _URLS and isinstance(value, str):
                write = safe_url
            return write(value) if write is not None else value


def _shown_secret(secret: Secret) -> str:
    """Return the file of a secret, or stars; of a URL to post to also the host, which tells them apart."""
    if secret.file is not None:
        return str(secret.file)
    try:
        return f"{Address.of(secret.reveal()).origin}/{STARS}"
    except ValueError:
        return STARS


_WRITTEN: dict[type, Callable[[Any], str]] = {
    Secret: _shown_secret,
    Address: lambda address: address.shown,
    timedelta: format_duration,
    datetime: rfc3339,
    Listen: str,
    IPv4Network: str,
    IPv6Network: str,
    Path: str,
}
"""How the file writes values that JSON has no type for."""


def secrets_of(value: Any) -> Iterator[Secret]:
    """Yield every secret anywhere below a value of the config."""
    parts: Iterable[Any] = ()
    match value:
        case Secret():
            yield value
        case Address():
            parts = value.secrets
        case BaseModel():
            parts = [part for _, part in value]
        case dict():
            parts = value.values()
        case tuple() | list():
            parts = value
        case _:
            pass
    for part in parts:
        yield from secrets_of(part)
