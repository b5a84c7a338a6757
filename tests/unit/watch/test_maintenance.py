"""Maintenance windows: when one is open, until when, and when the next one opens."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cron import parse_cron
from monitor.watch.maintenance import Maintenance, Window, ends_at, maintenance

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def at(text: str) -> datetime:
    """Return an instant like `2026-03-29 00:30`, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def every(cron: str, timezone: str, duration: timedelta) -> Window:
    """Return a recurring window for all connections."""
    return Window(connections=("*",), cron=parse_cron(cron, timezone), duration=duration)


def once(start: str | None, end: str) -> Window:
    """Return a window that comes once."""
    return Window(connections=("*",), start=at(start) if start else None, end=at(end))


@pytest.mark.parametrize(
    ("globs", "name", "covered"),
    [
        (("acme-*",), "acme-sales", True),
        (("acme-*",), "other", False),
        (("x", "acme-?"), "acme-1", True),
        (("ACME-*",), "acme-1", False),
        ((), "acme-1", False),
    ],
    ids=["glob", "another", "any of several", "case counts", "none"],
)
def test_window_covers_what_its_globs_match(globs: tuple[str, ...], name: str, covered: bool) -> None:
    """A window is for the connections whose name matches one of its patterns."""
    assert Window(connections=globs).covers(name) is covered


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-02-28 19:59", None),
        ("2026-02-28 20:30", "2026-02-28 22:30"),
        ("2026-02-28 22:29", "2026-02-28 22:30"),
        ("2026-02-28 22:30", None),
        ("2026-03-01 20:30", None),
    ],
    ids=["before", "first instant", "last minute", "its end is outside", "the next day"],
)
def test_cron_window_by_weekday_name_in_kolkata(now: str, until: str | None) -> None:
    """`sun` at two in Kolkata is Saturday evening in UTC, for as long as the duration says."""
    window = every("0 2 * * sun", "Asia/Kolkata", 2 * HOUR)
    assert window.open_until(at(now)) == (at(until) if until else None)


@pytest.mark.parametrize(
    ("cron", "now", "until"),
    [
        ("0 1 * * sun", "2026-03-29 00:30", "2026-03-29 02:00"),
        ("0 1 * * sun", "2026-03-29 01:59", "2026-03-29 02:00"),
        ("0 1 * * sun", "2026-10-24 23:30", "2026-10-25 01:00"),
        ("30 2 * * sun", "2026-03-29 01:30", "2026-03-29 03:00"),
        ("30 2 * * sun", "2026-10-25 00:30", "2026-10-25 02:30"),
        ("30 2 * * sun", "2026-10-25 02:00", "2026-10-25 02:30"),
    ],
    ids=[
        "across the hour that is missing",
        "and to its end",
        "across the hour that comes twice",
        "right after an hour that is missing",
        "at an hour that comes twice",
        "and not again at its second coming",
    ],
)
def test_duration_is_time_that_passes_across_a_clock_change(cron: str, now: str, until: str) -> None:
    """Two hours are two hours, whatever the clocks in Berlin do meanwhile."""
    assert every(cron, "Europe/Berlin", 2 * HOUR).open_until(at(now)) == at(until)


@pytest.mark.parametrize(
    ("now", "opens"),
    [("2026-03-28 12:00", "2026-03-29 00:00"), ("2026-03-29 00:00", "2026-04-04 23:00")],
    ids=["in winter time", "the next one in summer time"],
)
def test_next_opening_follows_local_time(now: str, opens: str) -> None:
    """One in the morning is an hour earlier in UTC once summer time holds."""
    assert every("0 1 * * sun", "Europe/Berlin", HOUR).opens_at(at(now)) == at(opens)


@pytest.mark.parametrize(
    ("start", "now", "expected"),
    [
        ("2026-03-01 10:00", "2026-03-01 09:59", (None, "2026-03-01 10:00")),
        ("2026-03-01 10:00", "2026-03-01 10:00", ("2026-03-01 12:00", None)),
        ("2026-03-01 10:00", "2026-03-01 12:00", (None, None)),
        (None, "2020-01-01 00:00", ("2026-03-01 12:00", None)),
    ],
    ids=["before", "from its start", "its end is outside", "open until its end"],
)
def test_window_that_comes_once(start: str | None, now: str, expected: tuple[str | None, str | None]) -> None:
    """It is open from its start to just before its end, and never again."""
    window = once(start, "2026-03-01 12:00")
    until, opens = expected
    assert window.open_until(at(now)) == (at(until) if until else None)
    assert window.opens_at(at(now)) == (at(opens) if opens else None)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], Maintenance(open=False, changes_at=None)),
        ([once(None, "2026-02-01 00:00")], Maintenance(open=False, changes_at=None)),
        (
            [once(None, "2026-03-01 12:30"), once(None, "2026-03-01 13:00")],
            Maintenance(open=True, changes_at=at("2026-03-01 12:30")),
        ),
        (
            [once("2026-03-01 14:00", "2026-03-01 15:00"), every("0 13 * * *", "UTC", HOUR)],
            Maintenance(open=False, changes_at=at("2026-03-01 13:00")),
        ),
    ],
    ids=["no windows", "all over", "overlapping: look again at the first end", "the next to open"],
)
def test_maintenance_of_several_windows(windows: list[Window], expected: Maintenance) -> None:
    """Any open window is maintenance; `changes_at` is never later than the next change."""
    assert maintenance(windows, at("2026-03-01 12:00")) == expected


def test_window_longer_than_its_period_never_closes() -> None:
    """A start inside the window prolongs it."""
    window = every("0 * * * *", "UTC", 90 * MINUTE)
    assert window.open_until(at("2026-03-01 12:10")) == at("2026-03-01 13:30")
    assert window.open_until(at("2026-03-01 13:20")) == at("2026-03-01 14:30")


def _starts(hour: int, minute: int, days: set[int], zone: ZoneInfo, around: date) -> list[datetime]:
    """Return the starts by hand, day by day; where the local time does not exist, right after the gap."""
    found = set()
    for offset in range(-10, 11):
        day = around + timedelta(days=offset)
        if day.weekday() not in days:
            continue
        local = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001 - of the zone below
        while local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local:
            local += MINUTE
        found.add(local.replace(tzinfo=zone).astimezone(UTC))
    return sorted(found)


@given(
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]),
    hour=st.integers(0, 23),
    minute=st.sampled_from([0, 1, 15, 30, 59]),
    days=st.sets(st.integers(0, 6), min_size=1),
    duration=st.integers(1, 50 * 60).map(lambda minutes: minutes * MINUTE),
    instant=st.one_of(
        st.integers(0, 21 * 24 * 60).map(lambda minutes: at("2026-03-20 00:00") + minutes * MINUTE),
        st.integers(0, 21 * 24 * 60).map(lambda minutes: at("2026-10-20 00:00") + minutes * MINUTE),
    ),
)
def test_cron_window_agrees_with_the_calendar(
    zone: str, hour: int, minute: int, days: set[int], duration: timedelta, instant: datetime
) -> None:
    """Open or not, until when, and when next: as counted day by day, also around clock changes."""
    names = ",".join(DAYS[day] for day in sorted(days))
    window = every(f"{minute} {hour} * * {names}", zone, duration)
    starts = _starts(hour, minute, days, ZoneInfo(zone), instant.date())
    open_now = [start + duration for start in starts if start <= instant < start + duration]
    assert window.open_until(instant) == max(open_now, default=None)
    assert window.opens_at(instant) == min(start for start in starts if start > instant)


def test_maintenance_ends_with_the_last_of_windows_in_a_row() -> None:
    """One that overlaps or follows at once goes on; one that is never closed has no end."""
    first, second = once(None, "2026-03-01 12:00"), once("2026-03-01 11:59", "2026-03-01 12:01")
    now = at("2026-03-01 11:59")
    assert ends_at([first], now) == at("2026-03-01 12:00")
    assert ends_at([first, second], now) == at("2026-03-01 12:01")
    assert ends_at([first, every("* * * * *", "UTC", 2 * MINUTE)], now) is None
    assert ends_at([first], at("2026-03-01 12:00")) is None
