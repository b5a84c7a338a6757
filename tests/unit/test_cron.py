"""Cron expressions: what is accepted, what is refused, and when they fire."""

from datetime import UTC, datetime

import pytest

from monitor.cron import next_fire_at, parse_cron

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("expression", "timezone", "expected"),
    [
        ("*/5 * * * *", "UTC", "2026-03-01T12:05:00+00:00"),
        ("0 2 * * mon", "UTC", "2026-03-02T02:00:00+00:00"),
        ("0 2 * * sun", "UTC", "2026-03-08T02:00:00+00:00"),
        ("0 2 * * MON-Fri", "UTC", "2026-03-02T02:00:00+00:00"),
        ("0 18 * * */2", "UTC", "2026-03-01T18:00:00+00:00"),
        ("30 3 * * *", "Asia/Kolkata", "2026-03-01T22:00:00+00:00"),
        ("0 0 1 jan *", "UTC", "2027-01-01T00:00:00+00:00"),
    ],
    ids=["steps", "mon", "sun", "any case", "each second day", "in a zone", "month by name"],
)
def test_cron_fires_when_it_says(expression: str, timezone: str, expected: str) -> None:
    """The first instant after now, in UTC whatever the zone, so that instants can be subtracted."""
    found = next_fire_at(parse_cron(expression, timezone), NOW)
    assert found is not None
    assert found.isoformat() == expected


def test_cron_never_fires_at_the_instant_it_is_asked_after() -> None:
    """`after` itself is past: else a chain of instants would stand still."""
    trigger = parse_cron("0 12 * * *", "UTC")
    assert next_fire_at(trigger, NOW) == datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def test_cron_that_never_fires_says_so() -> None:
    """There is no thirtieth of February."""
    assert next_fire_at(parse_cron("0 0 30 feb *", "UTC"), NOW) is None


@pytest.mark.parametrize(
    ("expression", "timezone", "problem"),
    [
        ("* * * *", "UTC", "has five fields .* not 4"),
        ("", "UTC", "has five fields .* not 0"),
        ("0 0 * * * *", "UTC", "has five fields .* not 6"),
        ("0 2 * * 0", "UTC", "weekdays by name"),
        ("0 2 * * 1-5", "UTC", "weekdays by name"),
        ("0 2 * * mon", "Mars/Olympus", "time zone is unknown"),
        ("0 2 * * mon", "", "time zone is unknown"),
        ("0 2 * * mon", "../UTC", "time zone is unknown"),
        ("99 2 * * mon", "UTC", "not a cron expression"),
        ("0 2 * * funday", "UTC", "not a cron expression"),
        ("a b c d e", "UTC", "not a cron expression"),
    ],
)
def test_cron_that_cannot_be_read_is_refused(expression: str, timezone: str, problem: str) -> None:
    """The error says what is wrong and never what was given."""
    with pytest.raises(ValueError, match=problem) as caught:
        parse_cron(expression, timezone)
    for word in ("funday", "Olympus", "99"):
        assert word not in str(caught.value)
