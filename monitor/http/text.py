"""Text from outside, made fit to keep, to log and to show."""

import re

_KEY_LIKE = re.compile(r"rg_[A-Za-z0-9]+_\S+|(?i:bearer)\s+\S+")
_PHONE_LIKE = re.compile(r"\+?\d(?:[ ().-]{0,3}\d){6,}")
"""E.164 in any spelling, or bare digits; seven of them at least."""


def clean(text: str, limit: int) -> str:
    """Return the text on one line: stripped, without control characters, at most `limit` characters."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text[: limit * 8])
        text = " ".join(text.split())
    return text[: limit * 2].strip()[:limit].rstrip()


def redact(text: str, limit: int) -> str:
    """Return the text on one line, without phone numbers and API keys, with an ellipsis where it was cut.

    What looks like a key is hidden here; the secrets that are known, by a `Redactor`.
    """
    text = _PHONE_LIKE.sub("***", _KEY_LIKE.sub("***", clean(text, len(text))))
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
