"""Text from outside, made fit to keep, to log and to show."""

import re
from collections.abc import Iterable

_KEY_LIKE = re.compile(r"rg_[A-Za-z0-9]+_\S+|(?i:bearer)\s+\S+")
_PHONE_LIKE = re.compile(r"\+?\d(?:[ ().-]{0,3}\d){6,}")
"""E.164 in any spelling, or bare digits; seven of them at least."""
_SHORTEST_SECRET = 4


def clean(text: str, limit: int) -> str:
    """Return the text on one line: stripped, without control characters, at most `limit` characters."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text[: limit * 8])
        text = " ".join(text.split())
    return text[: limit * 2].strip()[:limit].rstrip()


def redact(text: str, limit: int, *, hide: Iterable[str] = ()) -> str:
    """Return the text on one line, without secrets and phone numbers, with an ellipsis where it was cut.

    Args:
        text: Whatever the other side said.
        limit: Characters at most.
        hide: Secrets that it may quote; whatever looks like an API key is hidden without being named.
    """
    # Before anything is cut, so that no half of a secret is left.
    for secret in sorted(hide, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = _PHONE_LIKE.sub("***", _KEY_LIKE.sub("***", clean(text, len(text))))
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
