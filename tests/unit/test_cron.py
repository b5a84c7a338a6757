"""Cron expressions: what is accepted, what is refused, and when they fire."""

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.cron import means_either_day, next_fire_at, parse_cron

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
        ("0 0 30 feb *", "UTC", "a day that never comes"),
        ("0 0 31 apr *", "UTC", "a day that never comes"),
    ],
)
def test_cron_that_cannot_be_read_is_refused(expression: str, timezone: str, problem: str) -> None:
    """The error says what is wrong and never what was given."""
    with pytest.raises(ValueError, match=problem) as caught:
        parse_cron(expression, timezone)
    for word in ("funday", "Olympus", "99"):
        assert word not in str(caught.value)


def test_cron_at_midnight_runs_on_the_day_after_a_spring_change() -> None:
    """APScheduler's trigger loses the first hour of that day: `0 0 * * *` would skip a Monday."""
    trigger = parse_cron("0 0 * * *", "US/Pacific")
    sunday = datetime(2026, 3, 8, 8, 0, tzinfo=UTC)  # midnight; at 02:00 the clocks go to 03:00
    assert next_fire_at(trigger, sunday) == datetime(2026, 3, 9, 7, 0, tzinfo=UTC)


_ZONES = (
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "Europe/Berlin",
    "Europe/Dublin",
    "Asia/Beirut",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Asia/Kolkata",
)
_MINUTE = timedelta(minutes=1)


@cache
def _transitions(zone: ZoneInfo) -> list[datetime]:
    """Return the instants of 2026 at which the zone's offset changes."""
    hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=each) for each in range(365 * 24)]
    return [
        later
        for earlier, later in pairwise(hours)
        if earlier.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset()
    ] or [datetime(2026, 6, 1, tzinfo=UTC)]


def _debian(expression: str, zone: ZoneInfo, start: datetime, minutes: int) -> list[datetime]:
    """Return when Debian's cron runs a line, minute by minute, by its manual alone."""
    minute, hour, _day, _month, weekday = expression.split()
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

    def among(field: str, value: int) -> bool:
        if field.startswith("*/"):
            return value % int(field[2:]) == 0
        return field == "*" or str(value) in field.split(",")

    def matches(local: datetime) -> bool:
        day = weekday == "*" or names[local.weekday()] in weekday.split(",")
        return day and among(minute, local.minute) and among(hour, local.hour)

    fires, by_clock = [], minute.startswith("*") or hour.startswith("*")
    for each in range(minutes):
        at = start + each * _MINUTE
        local = at.astimezone(zone)
        before = (at - _MINUTE).astimezone(zone)
        due = matches(local) and (by_clock or local.fold == 0)
        if not by_clock:
            skipped = before.replace(tzinfo=None) + _MINUTE
            while skipped < local.replace(tzinfo=None):  # minutes that the clock left out
                due = due or matches(skipped)
                skipped += _MINUTE
        if due:
            fires.append(at)
    return fires


_FIELD = st.one_of(
    st.just("*"),
    st.sampled_from(["*/5", "*/15", "*/7", "*/2"]),
    st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True).map(
        lambda few: ",".join(map(str, few))
    ),
)
_WEEKDAY = st.one_of(st.just("*"), st.sampled_from(["sun", "mon", "sat,sun"]))


@settings(max_examples=60)
@given(zone=st.sampled_from(_ZONES), minute=_FIELD, hour=_FIELD, weekday=_WEEKDAY, data=st.data())
def test_cron_fires_as_debians_manual_says_around_every_change_of_the_clocks(
    zone: str, minute: str, hour: str, weekday: str, data: st.DataObject
) -> None:
    """Equal to a search minute by minute, gaps and repeated hours included, wherever the chain begins."""
    place = ZoneInfo(zone)
    change = data.draw(st.sampled_from(_transitions(place)))
    start = change - timedelta(minutes=data.draw(st.integers(0, 20 * 60)))
    expression = f"{minute} {hour} * * {weekday}"
    expected = _debian(expression, place, start, 40 * 60)
    trigger = parse_cron(expression, zone)
    found: list[datetime] = []
    at = next_fire_at(trigger, start - _MINUTE)
    while at is not None and at < start + 40 * 60 * _MINUTE and len(found) <= len(expected):
        found.append(at)
        at = next_fire_at(trigger, at)
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "either"),
    [("0 2 13 * fri", True), ("0 2 * * fri", False), ("0 2 13 * *", False), ("0 2 */2 * fri", False)],
)
def test_cron_that_restricts_both_days_is_known(expression: str, either: bool) -> None:
    """It fires on days that match either one, as in crontab: a user must hear of it."""
    assert means_either_day(expression) is either
    thursday_13th = datetime(2026, 8, 13, 2, 0, tzinfo=UTC)
    if either:
        assert next_fire_at(parse_cron(expression, "UTC"), thursday_13th - _MINUTE) == thursday_13th
