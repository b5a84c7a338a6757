"""Durations and sizes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.units import format_duration, format_size, parse_duration, parse_since, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("15s", 15),
        ("5m", 300),
        ("1h", 3600),
        ("2d", 172800),
        ("1h30m", 5400),
        ("0s", 0),
        ("1.5s", 1.5),
    ],
)
def test_duration_is_read_in_every_unit(text: str, seconds: float) -> None:
    """Each unit, a sum of them, and a fraction are durations."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 m", "-5m", "5M", "m", "5m ", "1e3s", "٣s", "99999999999d", "999999999d999999999d", 5, None],
)
def test_duration_refuses_anything_else_without_quoting_it(text: object) -> None:
    """What is no duration is refused, with an example and without the input."""
    with pytest.raises(ValueError, match='write it like "') as error:
        parse_duration(text)
    assert "99999" not in str(error.value)


@given(st.integers(min_value=0, max_value=10**12))
def test_duration_survives_being_written_and_read(milliseconds: int) -> None:
    """What is written is read back as the same duration."""
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64MiB", 67108864),
        ("1GiB", 2**30),
        ("10KiB", 10240),
        ("7B", 7),
        ("3kB", 3000),
        ("2MB", 2 * 10**6),
        ("1GB", 10**9),
    ],
)
def test_size_is_read_in_every_unit(text: str, size_bytes: int) -> None:
    """Binary and decimal units are sizes."""
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "64", "64mib", "64 MiB", "-1B", "1.5MiB", 64])
def test_size_refuses_anything_else(text: object) -> None:
    """What is no size is refused with an example."""
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**9 - 1))
def test_size_survives_being_written_and_read(size_bytes: int) -> None:
    """What is written is read back as the same size."""
    assert parse_size(format_size(size_bytes)) == size_bytes


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01T10:00:00+01:00", datetime(2026, 2, 1, 9, tzinfo=UTC)),
    ],
)
def test_since_is_a_duration_before_now_or_a_time(text: str, at: datetime) -> None:
    """A time without an offset is in UTC."""
    assert parse_since(text, NOW) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2", "999999999d", "0001-01-01T00:00:00+14:00"])
def test_since_that_is_neither_is_refused(text: str) -> None:
    """Nor is one before all calendars."""
    with pytest.raises(ValueError, match="use a duration"):
        parse_since(text, NOW)
