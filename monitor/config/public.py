"""The config as people may see it: secrets starred, values written as the file writes them."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from monitor.clock import rfc3339
from monitor.config.units import format_duration, format_size
from monitor.config.values import Listen, safe_url
from monitor.secret import Secret

STARS = "**********"

_URLS = frozenset({"url", "urls", "base_url", "external_url", "runbook_base_url"})
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
            return _scalar(key, value)


def _scalar(key: str, value: Any) -> Any:
    match value:
        case Secret():
            return STARS if value.file is None else str(value.file)
        case timedelta():
            return format_duration(value)
        case datetime():
            return rfc3339(value)
        case Listen() | Path():
            return str(value)
        case _:
            return _plain(key, value)


def _plain(key: str, value: Any) -> Any:
    if key == "max_response_size":
        return format_size(value)
    return safe_url(value) if key in _URLS else value
