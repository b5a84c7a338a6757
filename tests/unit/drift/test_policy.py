"""One connection through its syncs: confirmed, grouped, told, ended."""

from datetime import timedelta

import pytest

from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Ignore, Rules, Severities
from monitor.drift.snapshot import Number, Refs
from tests.unit.drift.build import (
    EVERY_KIND,
    HOUR,
    MINUTE,
    OPENED,
    RECHECK,
    RESOLVED,
    SECOND,
    START,
    UPDATED,
    Watch,
    answer,
    broken,
    fleet,
    key,
    ready,
)

AT_ONCE = Rules(confirm_syncs=1, resolve_syncs=1, keep_firing_for=timedelta(0))
BOTH = ("NO_BOT", "ROUTING_MISSING")


# --- confirmation ---


@pytest.mark.parametrize(
    ("confirm_syncs", "seen", "opens_at"),
    [
        pytest.param(1, "t", 1, id="first_sight"),
        pytest.param(2, "tt", 2, id="two_in_a_row"),
        pytest.param(2, "tgt", 3, id="one_ready_between"),
        pytest.param(2, "tggt", None, id="two_ready_close_it"),
        pytest.param(2, "tggtt", 5, id="and_it_begins_anew"),
        pytest.param(3, "tgtgt", 5, id="three_with_gaps"),
        pytest.param(2, "tft", 3, id="failed_sync_between"),
        pytest.param(2, "tfff", None, id="failures_confirm_nothing"),
        pytest.param(2, "tat", 3, id="absent_once"),
        pytest.param(2, "tuu", None, id="unknown_confirms_nothing"),
        pytest.param(2, "tut", 3, id="unknown_between"),
        pytest.param(2, "tg", None, id="ready_in_between_does_not_open"),
    ],
)
def test_drift_is_confirmed_by_so_many_syncs(confirm_syncs: int, seen: str, opens_at: int | None) -> None:
    """Confirmed by `confirm_syncs` sights, not in a row; only two ready ones in a row close it before."""
    watch = Watch(Rules(confirm_syncs=confirm_syncs))
    opened = None
    for position, sight in enumerate(seen, start=1):
        drive(watch, sight)
        if opened is None and watch.open_keys:
            opened = position
    assert opened == opens_at


def drive(watch: Watch, sight: str) -> None:
    """Let the first of two numbers be t(roubled), g(ood), a(bsent), u(nknown), or the sync f(ail)."""
    match sight:
        case "t":
            watch.sync(broken(1), ready(2))
        case "g":
            watch.sync(ready(1), ready(2))
        case "a":
            watch.sync(ready(2))
        case "u":
            watch.sync(ready(2), skipped=1)
        case _:
            watch.wait()


def test_first_snapshot_confirms_like_any_other() -> None:
    """What was broken before we came alerts after the second sync, however much it is; it is never held."""
    watch = Watch()
    everything = [broken(index) for index in range(1, 31)]
    assert watch.sync(*everything).opened == ()
    assert len(watch.sync(*everything).opened) == 30
    assert watch.held == []


def test_held_answers_count_towards_confirmation() -> None:
    """When the third implausible answer is applied, what all three showed is confirmed at once."""
    watch = Watch()
    watch.sync(*fleet(10))
    most = fleet(10, *(broken(index) for index in range(1, 8)))
    assert not watch.sync(*most).opened
    assert not watch.sync(*most).opened
    assert len(watch.sync(*most).opened) == 7
    assert len(watch.held) == 2


def test_held_answers_confirm_only_what_they_showed() -> None:
    """A number that only the applied answer shows broken was seen once."""
    watch = Watch()
    watch.sync(*fleet(10))
    most = [broken(index) for index in range(1, 8)]
    watch.sync(*fleet(10, *most))
    watch.sync(*fleet(10, *most))
    watch.sync(*fleet(10, *most, broken(8)))
    assert watch.open_keys == {key(index) for index in range(1, 8)}


def test_held_answers_confirm_a_pending_drift_that_the_last_one_shows_ready() -> None:
    """Sights in held answers are never taken off: two held ones count as two."""
    watch = Watch(Rules(confirm_syncs=3))
    watch.sync(*fleet(10, broken(9)))
    most = [broken(index) for index in range(1, 8)]
    watch.sync(*fleet(10, *most, broken(9)))
    watch.sync(*fleet(10, *most, broken(9)))
    watch.sync(*fleet(10, *most))
    assert watch.records.tracks[f"drift:{key(9)}"].seen == 3


def test_held_answers_do_not_confirm_what_they_did_not_show() -> None:
    """A pending drift that unreadable entries may hide stays pending through a hold."""
    watch = Watch()
    watch.sync(*fleet(12, broken(12)))
    most = fleet(11, *(broken(index) for index in range(1, 9)))
    for _ in range(3):
        watch.sync(*most, skipped=1)
    assert len(watch.held) == 2
    assert watch.open_keys == {key(index) for index in range(1, 9)}


def test_held_answers_resolve_nothing() -> None:
    """An answer that would end most drifts in one step ends none until it is believed."""
    watch = Watch(AT_ONCE)
    watch.sync(*(broken(index) for index in range(1, 11)))
    for _ in range(2):
        assert watch.sync(*fleet(10), after=HOUR).ended == ()
    assert len(watch.sync(*fleet(10), after=HOUR).ended) == 10


def test_unknown_numbers_begin_nothing() -> None:
    """A number that only the snapshot before shows broken does not begin a trouble."""
    watch = Watch(AT_ONCE)
    watch.sync(broken(1), ready(2))
    watch.wait(unconfigured=True)
    assert watch.sync(ready(2), skipped=1).opened == ()
    assert len(watch.sync(broken(1), ready(2)).opened) == 1


# --- end ---


def firing(rules: Rules | None = None, *others: Number) -> Watch:
    """Return a connection whose first number drifts in an open alert."""
    watch = Watch(rules or Rules())
    for _ in range(max(watch.rules.confirm_syncs, 1)):
        watch.sync(broken(1), ready(2), *others)
    assert watch.notices == [OPENED]
    return watch


def test_episode_ends_after_ready_syncs_and_time() -> None:
    """It takes two ready syncs in a row and five minutes since the first of them."""
    watch = firing()
    watch.sync(ready(1), ready(2))
    done = watch.sync(ready(1), ready(2))
    assert done.wakes_at == watch.now - RECHECK + 5 * MINUTE
    assert not watch.wait(5 * MINUTE - RECHECK - SECOND).ended
    (end,) = watch.wait(SECOND).ended
    assert (end.resolution, end.track.key) == (Resolution.RECOVERED, key(1))
    assert watch.notices == [OPENED, RESOLVED]
    assert watch.records.alerts == ()


def test_episode_does_not_end_on_one_ready_sync() -> None:
    """However long ago it was: failed syncs since leave the streak at one."""
    watch = firing()
    watch.sync(ready(1), ready(2))
    assert not watch.wait(HOUR).ended
    assert len(watch.sync(ready(1), ready(2)).ended) == 1


def test_flap_continues_the_episode_and_is_counted() -> None:
    """Trouble before the end does not open a second episode; time begins anew."""
    watch = firing()
    episode = watch.records.tracks[f"drift:{key(1)}"].episode
    for _ in range(2):
        watch.sync(ready(1), ready(2))
        watch.sync(ready(1), ready(2))
        watch.sync(broken(1), ready(2))
    flapped = watch.records.tracks[f"drift:{key(1)}"].episode
    assert episode is not None
    assert flapped is not None
    assert (flapped.id, flapped.flaps) == (episode.id, 2)
    assert not watch.wait(HOUR).ended
    assert watch.notices == [OPENED]


def test_episode_keeps_its_group_whatever_its_state_becomes() -> None:
    """The alert's state is that at confirmation; the number shows its current one."""
    watch = firing()
    watch.sync(broken(1, "ROUTING_MISSING"), ready(2), after=5 * MINUTE)
    body = watch.last_body()
    assert (body.change, body.state) == (UPDATED, "NO_BOT")
    assert [number.state for number in body.numbers] == ["ROUTING_MISSING"]
    assert len(watch.records.alerts) == 1


def test_drift_of_a_number_that_goes_ends_as_removed() -> None:
    """Not recovered: the drift ends with the word `removed`, and the removal is an alert of its own."""
    watch = firing()
    watch.sync(ready(2))
    watch.sync(ready(2))
    said = [(made.alert.kind, made.notice, made.resolution) for made in watch.reports[1:]]
    assert said == [
        (Kind.DRIFT, RESOLVED, Resolution.REMOVED),
        (Kind.NUMBER_REMOVED, OPENED, None),
    ]


@pytest.mark.parametrize(
    ("sights", "kept"),
    [
        pytest.param("uuuuuuuu", True, id="unknown"),
        pytest.param("ffffffff", True, id="failed"),
        pytest.param("agaga", True, id="absent_and_ready_never_twice"),
        pytest.param("gugu", False, id="unknown_leaves_the_good_streak"),
        pytest.param("gfg", False, id="a_failure_leaves_the_good_streak"),
        pytest.param("gtg", True, id="trouble_breaks_the_good_streak"),
    ],
)
def test_episode_ends_only_on_what_was_seen(sights: str, *, kept: bool) -> None:
    """Missing data ends nothing."""
    watch = firing(Rules(keep_firing_for=timedelta(0), alerting=frozenset({Kind.DRIFT})))
    for sight in sights:
        drive(watch, sight)
    assert bool(watch.open_keys) is kept


# --- removed and reconfigured numbers ---


def test_number_removed_ends_when_it_returns() -> None:
    """Two sights of the number, and five minutes since the first."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    watch.sync(ready(2))
    body = watch.last_body()
    assert (body.kind, body.change, body.severity) == (Kind.NUMBER_REMOVED, OPENED, Severity.WARNING)
    assert [number.key for number in body.numbers] == [key(1)]
    assert body.common == {"client_id": 415, "bot_id": 93}
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2))
    watch.wait(5 * MINUTE)
    assert watch.last_body().resolution is Resolution.RECOVERED


def test_number_removed_ends_after_a_day() -> None:
    """After 24 hours it is simply gone, and says so once."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    gone_at = START + 2 * RECHECK
    watch.sync(ready(2))
    assert watch.sync(ready(2)).wakes_at == gone_at + 24 * HOUR
    watch.wait(gone_at + 24 * HOUR - watch.now - SECOND)
    assert watch.notices == [OPENED]
    watch.wait(SECOND)
    assert watch.last_body().resolution is Resolution.REMOVED
    assert watch.sync(ready(2)).reports == ()


def test_number_that_returned_before_the_day_was_over_recovered() -> None:
    """The 24 hours do not call a number removed that is back and only waits for `keep_firing_for`."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    watch.sync(ready(2))
    watch.sync(ready(1), ready(2), after=24 * HOUR - MINUTE)
    done = watch.sync(ready(1), ready(2))
    assert done.wakes_at == watch.now - RECHECK + 5 * MINUTE
    watch.wait(2 * MINUTE)
    assert watch.notices == [OPENED]
    watch.wait(5 * MINUTE)
    assert watch.last_body().resolution is Resolution.RECOVERED


def test_number_removed_needs_confirmation() -> None:
    """A number that one answer lacks is no news."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    watch.sync(ready(2))
    watch.sync(ready(1), ready(2))
    watch.sync(ready(1), ready(2))
    assert watch.reports == []
    assert watch.records.tracks == {}


def test_removed_numbers_are_one_alert_by_connection() -> None:
    """Whatever their state was."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(8, broken(1), broken(2, "EXPIRED")))
    watch.sync(*fleet(5, first=4))
    opened = [made for made in watch.reports if made.alert.kind is Kind.NUMBER_REMOVED]
    assert [len(made.members) for made in opened] == [3]


@pytest.mark.parametrize("by", ["key", "all"])
def test_accept_ends_removals_and_reconfigurations_but_no_drift(by: str) -> None:
    """Accepted as it is now: the word is `accepted`; a drift is not for accepting."""
    watch = Watch(Rules(alerting=EVERY_KIND))
    watch.sync(broken(1), ready(2), ready(3))
    for _ in range(2):
        watch.sync(broken(1), ready(2, refs=Refs(7, 93)))
    assert {made.alert.kind for made in watch.reports} == EVERY_KIND
    watch.wait(accepted={key(1), key(2), key(3)} if by == "key" else (), accept_all=by == "all")
    ended = {made.alert.kind: made.resolution for made in watch.reports if made.notice is RESOLVED}
    assert ended == {Kind.NUMBER_REMOVED: Resolution.ACCEPTED, Kind.RECONFIGURED: Resolution.ACCEPTED}
    for _ in range(3):
        assert watch.sync(broken(1), ready(2, refs=Refs(7, 93)), after=HOUR).reports == ()


def test_accept_of_one_number_leaves_the_others() -> None:
    """The alert goes on with those that nobody accepted."""
    watch = Watch(AT_ONCE)
    watch.sync(*fleet(6))
    watch.sync(*fleet(4, first=3))
    watch.wait(accepted=[key(1)])
    assert watch.open_keys == {key(2)}
    assert watch.notices == [OPENED]


def test_reconfigured_is_recorded_but_silent_by_default() -> None:
    """The change is there for the log and the page; no alert, nothing pending."""
    watch = Watch()
    watch.sync(ready(1))
    done = watch.sync(ready(1, refs=Refs(7, 93)))
    assert [change.kind.value for change in done.changes] == ["reconfigured"]
    assert (done.records.tracks, done.settled) == ({}, True)


def test_removed_can_be_recorded_only() -> None:
    """`removed = "record"`: the change alone."""
    watch = Watch(Rules(alerting=frozenset({Kind.DRIFT})))
    watch.sync(ready(1), ready(2))
    assert [change.kind.value for change in watch.sync(ready(2)).changes] == ["removed"]
    watch.sync(ready(2))
    assert watch.reports == []


def test_reconfigured_fires_until_reverted() -> None:
    """Other refs still are not the old ones; the old ones again end it."""
    watch = Watch(Rules(alerting=EVERY_KIND, keep_firing_for=timedelta(0)))
    watch.sync(ready(1))
    for bot in (94, 94, 95, 96):
        watch.sync(ready(1, refs=Refs(415, bot)), after=HOUR)
    assert watch.notices == [OPENED]
    watch.sync(broken(1))
    watch.sync(ready(1))
    watch.sync(ready(1))
    body = watch.last_body()
    assert (body.kind, body.change, body.resolution) == (Kind.RECONFIGURED, RESOLVED, Resolution.RECOVERED)


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
    assert done.ignored == (0 if opens else 1)


def test_ignored_counts_no_number_that_is_gone_or_ready() -> None:
    """Ignored numbers are among the drifting ones."""
    watch = Watch(Rules(ignores=(Ignore(),)))
    watch.sync(*fleet(6, broken(1), broken(2), broken(3)))
    assert watch.sync(*fleet(5, broken(2), first=2)).ignored == 1


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
    """The same rules and the same answer after a restart tell nobody anything."""
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
