"""Silence, reloads, restarts, and when policy wants another sync."""

from datetime import timedelta

import pytest

from monitor.drift.alert import Kind, Resolution
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Ignore, Rules
from tests.unit.drift.build import (
    BOTH,
    HOUR,
    MINUTE,
    OPENED,
    RESOLVED,
    SECOND,
    START,
    UPDATED,
    Watch,
    answer,
    broken,
    drive,
    firing,
    fleet,
    key,
    ready,
)

# --- silence ---


@pytest.mark.parametrize(
    ("rule", "opens"),
    [
        pytest.param(Ignore(issue="NO_BOT"), False, id="issue"),
        pytest.param(Ignore(state="no_bot"), False, id="state"),
        pytest.param(Ignore(number=f"+{key(1)}"), False, id="number"),
        pytest.param(Ignore(issue="EXPIRED"), True, id="another_issue"),
        pytest.param(Ignore(number=f"+{key(2)}"), True, id="another_number"),
    ],
)
def test_ignored_drift_is_counted_but_silent(rule: Ignore, *, opens: bool) -> None:
    """Recording goes on; only the alert does not come."""
    watch = Watch(Rules(ignores=(rule,)))
    watch.sync(broken(1), ready(2))
    done = watch.sync(broken(1), ready(2))
    assert bool(watch.reports) is opens
    assert done.counts is not None
    assert done.counts.total_ignored == (0 if opens else 1)


def test_ignored_counts_no_number_that_is_gone_or_ready() -> None:
    """Ignored numbers are among the drifting ones."""
    watch = Watch(Rules(ignores=(Ignore(),)))
    watch.sync(*fleet(6, broken(1), broken(2), broken(3)))
    counts = watch.sync(*fleet(5, broken(2), first=2)).counts
    assert counts is not None
    assert counts.total_ignored == 1


def test_ignore_that_ends_lets_the_drift_alert_by_the_clock() -> None:
    """At `until` the timer opens it: no sync is needed, the API may be down."""
    until = START + HOUR
    watch = Watch(Rules(ignores=(Ignore(until=until),)))
    watch.sync(broken(1), ready(2))
    assert watch.sync(broken(1), ready(2)).wakes_at == until
    watch.wait(until - watch.now - SECOND)
    assert watch.notices == []
    watch.wait(SECOND)
    assert watch.notices == [OPENED]


def test_ignoring_an_open_episode_ends_it_as_ignored() -> None:
    """It did not recover, and says so; without the rule it alerts again."""
    watch = firing()
    watch.rules = Rules(ignores=(Ignore(),))
    watch.wait()
    assert watch.last_body().resolution is Resolution.IGNORED
    watch.rules = Rules()
    watch.wait()
    assert watch.notices == [OPENED, RESOLVED, OPENED]
    assert len({made.alert.id for made in watch.reports}) == 2


def test_ignoring_an_episode_that_only_waits_for_time_leaves_nothing() -> None:
    """The number is ready: nothing is pending that could alert again."""
    watch = firing()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2))
    watch.rules = Rules(ignores=(Ignore(),))
    watch.wait()
    assert watch.last_body().resolution is Resolution.IGNORED
    assert watch.records.tracks == {}


def test_another_issue_of_an_ignored_number_alerts() -> None:
    """Only the issue was taken off the list."""
    watch = Watch(Rules(ignores=(Ignore(issue="NO_BOT"),)))
    watch.sync(broken(1), ready(2))
    watch.sync(broken(1, "NO_BOT", BOTH), ready(2))
    assert watch.notices == [OPENED]


def test_maintenance_opens_nothing_and_what_is_left_alerts_at_its_end() -> None:
    """By the clock: the window's end is an instant to act."""
    end = START + HOUR
    watch = Watch(Rules(muted=True, changes_at=end))
    watch.sync(broken(1), broken(2))
    done = watch.sync(broken(1), ready(2))
    assert (done.opened, done.wakes_at) == ((), end)
    watch.sync(broken(1), ready(2))
    watch.wait(end - watch.now)
    watch.rules = Rules()
    watch.wait(timedelta(0))
    assert watch.notices == [OPENED]
    assert watch.open_keys == {key(1)}


def test_maintenance_leaves_open_alerts_alone() -> None:
    """What was opened before is still updated, and may end."""
    watch = firing()
    watch.rules = Rules(muted=True)
    watch.sync(broken(1, "EXPIRED"), ready(2), after=5 * MINUTE)
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2), after=5 * MINUTE)
    assert watch.notices == [OPENED, UPDATED, RESOLVED]


def test_unconfigured_ends_everything_with_the_word() -> None:
    """Open episodes end, pending ones are dropped, nothing opens."""
    watch = firing()
    watch.sync(broken(1), broken(2))
    watch.wait(unconfigured=True)
    assert watch.last_body().resolution is Resolution.UNCONFIGURED
    assert watch.records.tracks == {}
    assert watch.records.alerts == ()


# --- reload ---


def test_reload_with_fewer_confirmations_opens_what_is_pending() -> None:
    """The rules count as they hold now."""
    watch = Watch(Rules(confirm_syncs=3))
    watch.sync(broken(1), ready(2))
    watch.sync(broken(1), ready(2))
    watch.rules = Rules(confirm_syncs=2)
    assert len(watch.wait().opened) == 1


def test_reload_with_more_resolving_syncs_asks_for_more() -> None:
    """An episode that was about to end waits for the third ready sync."""
    watch = firing()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2))
    watch.rules = Rules(resolve_syncs=3)
    done = watch.wait(HOUR)
    assert (done.ended, done.settled) == ((), False)
    assert len(watch.sync(ready(1), ready(2)).ended) == 1


def test_restart_re_alerts_nothing() -> None:
    """The same rules and the same answer after a restart notify no one."""
    watch = firing()
    renewed = Watch(watch.rules)
    renewed.records, renewed.now = watch.records, watch.now
    for _ in range(3):
        renewed.sync(broken(1), ready(2), after=HOUR)
    assert renewed.reports == []


# --- settled ---


@pytest.mark.parametrize(
    ("sights", "settled"),
    [
        pytest.param("g", True, id="all_ready"),
        pytest.param("t", False, id="pending"),
        pytest.param("tt", True, id="open"),
        pytest.param("ttg", False, id="ready_once"),
        pytest.param("ttgg", True, id="waits_for_time_only"),
        pytest.param("tta", False, id="absent_once"),
        pytest.param("ga", False, id="removal_pending"),
        pytest.param("gaa", True, id="removal_open"),
    ],
)
def test_settled_says_whether_a_recheck_is_worth_it(sights: str, *, settled: bool) -> None:
    """What one more sync with the same answer would bring further is not settled."""
    watch = Watch()
    for sight in sights:
        drive(watch, sight)
    assert watch.steps[-1].settled is settled


def test_guard_is_the_connections_own() -> None:
    """A looser guard lets through what the default holds."""
    watch = Watch(guard=Guard(ratio=0.9))
    watch.read(answer(*fleet(10)))
    watch.read(answer(*fleet(10, *(broken(index) for index in range(1, 8)))))
    assert watch.held == []


def test_settled_waits_for_the_end_of_a_drift_whose_number_is_gone() -> None:
    """Also when removals are recorded only."""
    watch = firing(Rules(alerting=frozenset({Kind.DRIFT})))
    assert watch.sync(ready(2)).settled is False
    assert watch.sync(ready(2)).settled is True
