"""When a watched connection is due, and which rules hold for it."""

from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from monitor.cron import parse_cron
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Rules
from monitor.secret import Secret
from monitor.store.connections import ConnectionName
from monitor.voicelink.budget import AccountBudget
from monitor.watch.connection import Connection
from monitor.watch.maintenance import Window
from tests.fakes.clock import START, FakeClock

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def connection(
    trigger: BaseTrigger,
    *,
    identity: str = "c",
    interval: timedelta = MINUTE,
    windows: tuple[Window, ...] = (),
) -> Connection:
    """Return a connection with this trigger, rechecked after 15 seconds."""
    return Connection(
        names=ConnectionName(identity=identity, name=f"name of {identity}", account="acme"),
        connection_id=None,
        key=Secret("rg_live_1"),
        budget=AccountBudget(requests_per_minute=30, clock=FakeClock(), on_wait=lambda _: None),
        trigger=trigger,
        interval=interval,
        longest_interval=interval,
        recheck_interval=15 * SECOND,
        stale_after=5 * MINUTE,
        base_rules=Rules(),
        guard=Guard(),
        windows=windows,
    )


def every_minute(phase: timedelta = timedelta()) -> IntervalTrigger:
    """Return a trigger of one minute."""
    start = datetime(2020, 1, 1, tzinfo=UTC) + phase
    return IntervalTrigger(seconds=60, start_date=start, timezone=UTC)


@pytest.mark.parametrize(
    ("trigger", "after", "recheck", "wait"),
    [
        (every_minute(), 20 * SECOND, False, 40 * SECOND),
        (every_minute(), 20 * SECOND, True, 15 * SECOND),
        (every_minute(), 50 * SECOND, True, 10 * SECOND),
        (every_minute(), timedelta(), False, MINUTE),
        (every_minute(7 * SECOND), timedelta(), False, 7 * SECOND),
        (parse_cron("*/5 * * * *", "UTC"), MINUTE, False, 4 * MINUTE),
        (parse_cron("*/5 * * * *", "UTC"), timedelta(), False, 5 * MINUTE),
        (parse_cron("*/5 * * * *", "UTC"), MINUTE, True, 15 * SECOND),
    ],
    ids=[
        "interval",
        "recheck",
        "recheck not later than the regular one",
        "not again at its own instant",
        "its own phase",
        "cron",
        "cron not again at its own instant",
        "cron with recheck",
    ],
)
def test_next_due(trigger: BaseTrigger, after: timedelta, recheck: bool, wait: timedelta) -> None:
    """The next instant of the trigger, or sooner if something is open; always later than now."""
    now = START + after
    assert connection(trigger).next_due_at(now, recheck=recheck) == now + wait


@pytest.mark.parametrize(
    ("interval", "within"),
    [(MINUTE, 30), (10 * SECOND, 10), (60 * MINUTE, 30)],
    ids=["a minute", "shorter than the spread", "an hour"],
)
def test_first_due_is_spread_and_stable(interval: timedelta, within: float) -> None:
    """A start asks soon, not everybody at once, and the same connection always at the same place."""

    def firsts() -> list[float]:
        many = (connection(every_minute(), identity=f"c{i}", interval=interval) for i in range(200))
        return [(one.first_due_at(START) - START).total_seconds() for one in many]

    found = firsts()
    assert found == firsts()
    assert 0 <= min(found) <= 0.1 * within
    assert 0.9 * within <= max(found) < within


def test_maintenance_mutes_the_rules_until_it_ends() -> None:
    """What was computed once is computed again as soon as it may be otherwise."""
    window = Window(connections=("*",), start=START + MINUTE, end=START + 2 * MINUTE)
    one = connection(every_minute(), windows=(window,))
    seen = [
        (rules.muted, rules.changes_at)
        for rules in (one.rules(START + minutes * MINUTE) for minutes in (0, 1, 2, 3))
    ]
    assert seen == [
        (False, START + MINUTE),
        (True, START + 2 * MINUTE),
        (False, None),
        (False, None),
    ]


def test_overlapping_windows_mute_to_the_last_end() -> None:
    """The end of one window is no end while another is open."""
    windows = (
        Window(connections=("*",), end=START + MINUTE),
        Window(connections=("*",), end=START + 2 * MINUTE),
    )
    one = connection(every_minute(), windows=windows)
    assert [one.rules(START + minutes * MINUTE).muted for minutes in (0, 1, 2)] == [True, True, False]
