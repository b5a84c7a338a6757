"""The Retry-After header."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx


def retry_after_s(response: httpx.Response, now: datetime) -> float | None:
    """Return the seconds that an answer asks to wait; None if it does not, or nonsensically."""
    value: str | None = response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return parse_retry_after(value, now)
    except ValueError:
        return None


def parse_retry_after(value: str, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks to wait, never negative.

    Args:
        value: The raw header: delay in seconds, or an HTTP-date.
        now: Current time, aware; only an HTTP-date is measured against it.

    Raises:
        ValueError: `value` is neither form.

    Source: RFC 9110, section 10.2.3.
    """
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, OverflowError) as exc:
        raise ValueError("Retry-After is neither seconds nor a date") from exc
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)
