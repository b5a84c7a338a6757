"""Cursors and pages: what comes back is what went in, and nothing else is taken."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.store.paging import BadCursor, Instant, RowId, Text, cursor_of, page_of, parts_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
ROW_IDS = st.integers(0, 2**63 - 1)
INSTANTS = st.datetimes(timezones=st.just(UTC))


@given(TEXTS, TEXTS, ROW_IDS, INSTANTS)
def test_cursor_round_trips(name: str, key: str, row_id: int, at: datetime) -> None:
    """Any name, key, row and instant come back as they were, out of characters fit for a URL."""
    cursor = cursor_of(name, key, row_id, at)
    assert parts_of(cursor, tuple[Text, Text, RowId, Instant]) == (name, key, row_id, at)
    assert cursor.isascii()
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text() | TEXTS.map(cursor_of) | ROW_IDS.map(cursor_of))
@pytest.mark.parametrize("kind", [tuple[RowId, RowId], tuple[Instant, Text], tuple[Text, Text, Text]])
def test_any_other_text_is_a_bad_cursor(kind: type[tuple[Any, ...]], text: str) -> None:
    """Made-up text and another query's cursors raise `BadCursor`, never anything else."""
    with pytest.raises(BadCursor):
        parts_of(text, kind)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'["a\\u0000"]', tuple[Text]),
        (b"[-1]", tuple[RowId]),
        (b"[9223372036854775808]", tuple[RowId]),
        (b"[1.0]", tuple[RowId]),
        (b'["1"]', tuple[RowId]),
        (b'["2026-03-01T12:00:00"]', tuple[Instant]),
        (b'["0001-01-01T00:00:00+23:59"]', tuple[Instant]),
        (b'["a","b"]', tuple[Text]),
        (b"null", tuple[Text]),
        (b"", tuple[Text]),
        (b"\xff", tuple[Text]),
    ],
)
def test_content_that_no_database_takes_is_a_bad_cursor(content: bytes, kind: type[tuple[Any, ...]]) -> None:
    """NUL, rows beyond 64 bits and instants without a UTC form are refused before a database sees them."""
    with pytest.raises(BadCursor):
        parts_of(base64.urlsafe_b64encode(content).decode().rstrip("="), kind)


@given(st.lists(st.integers(), max_size=8), st.integers(1, 8))
def test_page_has_a_cursor_only_if_more_follow(found: list[int], limit: int) -> None:
    """Up to `limit` rows are shown; the cursor is the last one's, if any row was left out."""
    page = page_of(found, limit, str)
    assert page.rows == found[:limit]
    assert page.next == (str(found[limit - 1]) if len(found) > limit else None)
