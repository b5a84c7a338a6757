"""Cursors: where a page ended, wrapped so that nobody takes them apart or has to quote them."""

import base64
import binascii

from monitor.store.paging import BadCursor

CURSOR_LENGTH = 2_000


def wrap(after: str) -> str:
    """Return a cursor that stands for the end of a page."""
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def unwrap(cursor: str) -> str:
    """Return what `wrap` was given.

    Raises:
        BadCursor: It never was.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error) as exc:
        raise BadCursor("no page ends there") from exc
