"""How episodes are grouped for people, and what they are told when."""

from datetime import timedelta

import pytest

from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.rules import Rules, Severities
from tests.unit.drift.build import (
    AT_ONCE,
    BOTH,
    HOUR,
    MINUTE,
    OPENED,
    RECHECK,
    RESOLVED,
    SECOND,
    START,
    UPDATED,
    Watch,
    broken,
    firing,
    fleet,
    key,
    ready,
)

# --- grouping and telling ---


def test_500_at_once_are_one_alert_that_says_so_and_lists_50() -> None:
    """One message, the whole count, a bounded list."""
    watch = Watch()
    watch.sync(*fleet(1000))
    many = fleet(1000, *(broken(index) for index in range(1, 501)))
    watch.sync(*many)
    watch.sync(*many)
    body = watch.last_body()
    assert watch.notices == [OPENED]
    assert (body.numbers_total, body.numbers_listed, len(body.numbers)) == (500, 50, 50)
    assert body.numbers_added == 500
    assert body.summary.startswith("acme-sales: 500 numbers NO_BOT")
    assert [(action.code, action.numbers) for action in body.actions] == [("NO_BOT", 500)]


def test_a_known_broken_number_does_not_swallow_the_page_for_499_others() -> None:
    """After `update_interval` new ones open an alert of their own."""
    watch = Watch()
    watch.sync(*fleet(1000, broken(1)))
    watch.sync(*fleet(1000, broken(1)))
    many = fleet(1000, *(broken(index) for index in range(1, 501)))
    watch.sync(*many, after=HOUR)
    watch.sync(*many)
    assert watch.notices == [OPENED, OPENED]
    assert [len(made.members) for made in watch.reports] == [1, 499]
    assert len({made.alert.id for made in watch.reports}) == 2


@pytest.mark.parametrize(
    ("later", "notices"),
    [
        pytest.param(5 * MINUTE - SECOND, [OPENED], id="inside_joins"),
        pytest.param(5 * MINUTE, [OPENED, OPENED], id="at_the_end_opens"),
    ],
)
def test_join_window_is_the_update_interval_after_opening(later: timedelta, notices: list[object]) -> None:
    """Joining is silent until the next update is due; too late is a new alert."""
    watch = Watch(Rules(confirm_syncs=1))
    watch.sync(*fleet(9, broken(1)))
    watch.sync(*fleet(9, broken(1), broken(2)), after=later)
    assert watch.notices == notices


def test_what_an_alert_remembers_of_its_ends_is_in_no_order_of_an_answer() -> None:
    """A replay, which reads the same numbers in another order, comes to the same records."""
    kept = []
    for order in (1, -1):
        watch = Watch(AT_ONCE)
        watch.sync(*fleet(9))
        watch.sync(*fleet(9, *(broken(index) for index in (1, 2, 3)))[::order])
        watch.sync(*fleet(9, broken(3))[::order])
        kept.append(watch.records.alerts)
    assert [end.track.key for end in kept[0][0].ended] == [key(1), key(2)]
    assert kept[0] == kept[1]


def test_joined_numbers_are_told_in_one_update() -> None:
    """Between opening and end, one `updated` at most per interval, with what came and went."""
    watch = Watch(Rules(confirm_syncs=1))
    watch.sync(*fleet(9, broken(1)))
    watch.sync(*fleet(9, broken(1), broken(2)), after=MINUTE)
    done = watch.sync(*fleet(9, broken(1), broken(2), broken(3)), after=MINUTE)
    assert done.wakes_at == START + RECHECK + 5 * MINUTE
    watch.wait(3 * MINUTE - SECOND)
    assert watch.notices == [OPENED]
    watch.wait(SECOND)
    body = watch.last_body()
    assert (body.change, body.version, body.numbers_total) == (UPDATED, 2, 3)
    assert (body.numbers_added, body.numbers_ended) == (2, 0)
    assert watch.wait(HOUR).reports == ()


def test_updates_keep_their_distance_and_tell_each_end_once() -> None:
    """The interval counts from the last message, and so does what ended."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(9, broken(1), broken(2), broken(3)))
    watch.sync(*fleet(9, broken(2), broken(3)), after=5 * MINUTE)
    watch.sync(*fleet(9, broken(3)), after=MINUTE)
    watch.wait(4 * MINUTE - SECOND)
    assert watch.notices == [OPENED, UPDATED]
    assert watch.last_body().numbers_ended == 1
    watch.wait(SECOND)
    assert watch.notices == [OPENED, UPDATED, UPDATED]
    body = watch.last_body()
    assert (body.numbers_total, body.numbers_added, body.numbers_ended) == (1, 0, 1)


def test_resolution_remembers_those_who_ended_earlier() -> None:
    """`mixed` is about all members, also those whose end was told in an update."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(9, broken(1), broken(2)))
    watch.sync(*fleet(9, broken(1)), after=5 * MINUTE)
    watch.sync(*fleet(8, first=2))
    story = [made for made in watch.reports if made.alert.kind is Kind.DRIFT]
    assert [made.notice for made in story] == [OPENED, UPDATED, RESOLVED]
    assert story[-1].resolution is Resolution.MIXED


def test_different_states_are_different_alerts() -> None:
    """Drift is grouped by connection and state at confirmation."""
    watch = Watch(AT_ONCE)
    watch.sync(broken(1), broken(2), broken(3, "EXPIRED"))
    assert sorted((made.alert.group, len(made.members)) for made in watch.reports) == [
        ("EXPIRED", 1),
        ("NO_BOT", 2),
    ]


def test_update_interval_zero_tells_every_change_and_joins_nothing() -> None:
    """With `0s` what is confirmed together is still one alert, what comes later another."""
    watch = Watch(Rules(confirm_syncs=1, update_interval=timedelta(0)))
    watch.sync(*fleet(9, broken(1), broken(2)))
    watch.sync(*fleet(9, broken(1), broken(2), broken(3)), after=SECOND)
    watch.sync(*fleet(9, broken(1, "NO_BOT", BOTH), broken(2), broken(3)), after=SECOND)
    told = [(made.notice, len(made.members)) for made in watch.reports]
    assert told == [(OPENED, 2), (OPENED, 1), (UPDATED, 2)]


def test_severity_only_rises_and_goes_at_once() -> None:
    """A worse issue is told before the interval is over; a milder state later takes nothing back."""
    watch = firing(Rules(severities=Severities.of({"ROUTING_MISSING": Severity.CRITICAL}, Severity.WARNING)))
    watch.sync(broken(1, "NO_BOT", BOTH), ready(2))
    assert watch.notices == [OPENED, UPDATED]
    assert watch.last_body().severity is Severity.CRITICAL
    watch.sync(broken(1), ready(2), after=HOUR)
    assert watch.last_body().severity is Severity.CRITICAL
    assert watch.notices == [OPENED, UPDATED, UPDATED]
    episode = watch.records.tracks[f"drift:{key(1)}"].episode
    assert episode is not None
    assert episode.severity is Severity.CRITICAL


def test_severity_rises_with_a_worse_number_that_joins() -> None:
    """The alert is as bad as its worst member."""
    rules = Rules(
        confirm_syncs=1, severities=Severities.of({"ROUTING_MISSING": Severity.CRITICAL}, Severity.INFO)
    )
    watch = Watch(rules)
    watch.sync(*fleet(9, broken(1)))
    watch.sync(*fleet(9, broken(1), broken(2, "NO_BOT", BOTH)))
    assert [(made.notice, made.alert.severity) for made in watch.reports] == [
        (OPENED, Severity.INFO),
        (UPDATED, Severity.CRITICAL),
    ]


def test_resolved_lists_the_last_members_and_adds_up() -> None:
    """What ended since the last message is listed once it is over."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(9, broken(1), broken(2), broken(3)))
    watch.sync(*fleet(9, broken(2), broken(3)))
    watch.sync(*fleet(9, broken(3)))
    watch.sync(*fleet(9))
    body = watch.last_body()
    assert (body.change, body.resolution, body.resolved_at) == (
        RESOLVED,
        Resolution.RECOVERED,
        body.updated_at,
    )
    assert sorted(number.key for number in body.numbers) == [key(1), key(2), key(3)]
    assert (body.numbers_total, body.numbers_added, body.numbers_ended) == (3, 0, 3)


def test_a_number_that_ended_and_came_back_is_listed_once() -> None:
    """Two episodes of one number in one alert are one number to people."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(9, broken(1), broken(2)))
    watch.sync(*fleet(9, broken(2)))
    watch.sync(*fleet(9, broken(1), broken(2)))
    watch.sync(*fleet(9))
    body = watch.last_body()
    assert [number.key for number in body.numbers] == [key(1), key(2)]
    assert (body.numbers_total, body.numbers_added, body.numbers_ended) == (2, 1, 3)


def test_a_number_that_came_and_went_between_two_messages_counts_in_both() -> None:
    """Told before + added - ended is what is told now."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(9, broken(1)))
    watch.sync(*fleet(9, broken(1), broken(2)))
    watch.sync(*fleet(9, broken(1), broken(3)))
    watch.wait(5 * MINUTE)
    body = watch.last_body()
    assert (body.numbers_total, body.numbers_added, body.numbers_ended) == (2, 2, 1)


def test_resolution_is_mixed_if_members_differ() -> None:
    """One recovered, one removed."""
    watch = Watch(Rules(confirm_syncs=1, resolve_syncs=1, keep_firing_for=timedelta(0)))
    watch.sync(*fleet(9, broken(1), broken(2)))
    watch.sync(*fleet(8, first=2))
    body = next(made for made in watch.reports if made.notice is RESOLVED)
    assert body.resolution is Resolution.MIXED
