"""The Retry-After header."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.http.retry_after import parse_retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("0", 0.0, id="zero"),
        pytest.param(" 120 ", 120.0, id="seconds"),
        pytest.param("Sun, 01 Mar 2026 12:00:30 GMT", 30.0, id="date"),
        pytest.param("Sun, 01 Mar 2026 11:00:00 GMT", 0.0, id="date gone by"),
        pytest.param("Sun, 01 Mar 2026 12:01:00 -0000", 60.0, id="date without a zone"),
        pytest.param("Sunday, 01-Mar-26 12:00:05 GMT", 5.0, id="obsolete date"),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float) -> None:
    """Seconds and dates become seconds from now."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "१२", "Sun, 99 Mar 2026"])
def test_retry_after_of_another_form_is_an_error(value: str) -> None:
    """What is neither form is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        parse_retry_after(value, NOW)


@given(st.text())
def test_retry_after_never_fails_otherwise(value: str) -> None:
    """Whatever a server sends, it is seconds to wait or a ValueError."""
    try:
        assert parse_retry_after(value, NOW) >= 0
    except ValueError:
        return
