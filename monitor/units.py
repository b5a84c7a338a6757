"""Durations and sizes as people write them: `"1h30m"`, `"64MiB"`."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
DURATION_PATTERN = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d))+$"

_SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
SIZE_PATTERN = r"^[0-9]{1,9}(B|KiB|MiB|GiB|kB|MB|GB)$"


def parse_duration(text: object) -> timedelta:
    """Return the duration that a text like `500ms`, `15s` or `1h30m` writes.

    Raises:
        ValueError: It is not a duration; the text says how to write one, and never repeats the input.
    """
    if not isinstance(text, str) or not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError('not a duration; write it like "15s" or "5m" (units: ms s m h d)')
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta())
    except OverflowError:
        raise ValueError('too long a duration; write it like "90d"') from None


def parse_since(text: str, now: datetime) -> datetime:
    """Return the instant that a text means: so long before now, or a time, in UTC if it has no offset.

    Raises:
        ValueError: It is neither a duration nor a time.
    """
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError('use a duration like "2h", or a time like 2026-01-31T09:00:00Z') from None


def format_duration(duration: timedelta) -> str:
    """Return a duration as the config writes it, in as few parts as it takes."""
    rest, parts = duration, []
    for unit in ("d", "h", "m", "s", "ms"):
        number, rest = divmod(rest, _UNITS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: object) -> int:
    """Return the bytes that a text like `64MiB` writes.

    Raises:
        ValueError: It is not a size; the text says how to write one, and never repeats the input.
    """
    if not isinstance(text, str) or not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError('not a size; write it like "64MiB" (units: B KiB MiB GiB kB MB GB)')
    number = text.rstrip("BkKMGi")
    return int(number) * _SIZES[text[len(number) :]]


def format_size(size_bytes: int) -> str:
    """Return a size as the config writes it, in the biggest unit that divides it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size_bytes and size_bytes % _SIZES[unit] == 0:
            return f"{size_bytes // _SIZES[unit]}{unit}"
    return f"{size_bytes}B"
