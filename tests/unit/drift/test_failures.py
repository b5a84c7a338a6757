"""The failing of connections and receivers, as alerts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Kind, Notice, Resolution, Severity
from monitor.drift.alerts import Report
from monitor.drift.episodes import Track
from monitor.drift.failures import (
    OUT_OF_REACH,
    REFUSALS,
    FailureRecords,
    FailureRules,
    FailureStep,
    Health,
    ReceiverHealth,
    Streak,
    ends_at,
    failing_too,
    kind_of,
    step,
)
from monitor.errors import Outcome
from tests.unit.drift.build import HOUR, MINUTE, OPENED, RECHECK, RESOLVED, SECOND, START, UPDATED

OK, HELD = Outcome.OK, Outcome.HELD
NETWORK, TIMEOUT, LIMITED = Outcome.NETWORK, Outcome.TIMEOUT, Outcome.RATE_LIMITED
STALE_AFTER = 5 * MINUTE
ACCOUNTS = {"id-1": "acme", "id-2": "acme", "id-3": "globex"}


class Fleet:
    """Three connections of two accounts and two receivers, stepped after every round of syncs."""

    def __init__(self, rules: FailureRules | None = None) -> None:
        self.rules = rules or FailureRules()
        self.now = START
        self.records = FailureRecords()
        self.streaks = {identity: Streak() for identity in ACCOUNTS}
        self.applied_at = dict.fromkeys(ACCOUNTS, START)
        self.since = START
        self.intervals = dict.fromkeys(ACCOUNTS, MINUTE)
        self.stale_after = STALE_AFTER
        self.vanished: set[str] = set()
        self.muted: set[str] = set()
        self.watched = list(ACCOUNTS)
        self.receivers = {name: ReceiverHealth(name=name, since=START) for name in ("hook", "chat")}
        self.steps: list[FailureStep] = []

    def round(self, *outcomes: Outcome, after: timedelta = RECHECK) -> FailureStep:
        """Let each connection sync once with its outcome; those without one do not sync."""
        self.now += after
        for identity, outcome in zip(ACCOUNTS, outcomes, strict=False):
            self.streaks[identity] = self.streaks[identity].after(outcome)
            if outcome is OK:
                self.applied_at[identity] = self.now
        return self.step()

    def rounds(self, many: int, *outcomes: Outcome, after: timedelta = RECHECK) -> FailureStep:
        """Let `many` rounds end alike; return the last."""
        return [self.round(*outcomes, after=after) for _ in range(many)][-1]

    def heal(self) -> FailureStep:
        """Let everything be well for long enough that every alert ends; return the last step."""
        self.vanished.clear()
        for name in self.receivers:
            self.accept(name)
        self.rounds(self.rules.resolve_syncs, OK, OK, OK)
        return self.round(OK, OK, OK, after=self.rules.keep_firing_for)

    def refuse(self, name: str, *, at_once: bool = True) -> None:
        """Let a receiver refuse a message; `at_once`: it says that its settings need fixing."""
        was = self.receivers[name]
        self.receivers[name] = replace(
            was,
            troubled_since=was.troubled_since or self.now,
            refused=at_once,
            refused_in_row=was.refused_in_row + 1,
            error="HTTP 410",
        )

    def lose(self, name: str) -> None:
        """Let a receiver be out of reach."""
        was = self.receivers[name]
        self.receivers[name] = replace(
            was, troubled_since=was.troubled_since or self.now, refused=False, error="connection refused"
        )

    def accept(self, name: str) -> None:
        """Let a receiver accept a message."""
        self.receivers[name] = ReceiverHealth(name=name, since=START, accepted_at=self.now)

    def health(self) -> list[Health]:
        """Return the fleet as it is now."""
        return [
            Health(
                identity=identity,
                account=ACCOUNTS[identity],
                streak=self.streaks[identity],
                applied_at=self.applied_at[identity],
                since=self.since,
                interval=self.intervals[identity],
                stale_after=self.stale_after,
                vanished=identity in self.vanished,
                muted=identity in self.muted,
            )
            for identity in self.watched
        ]

    def look(self, at: datetime) -> FailureStep:
        """Return what a step at an instant would do."""
        return step(self.records, self.health(), list(self.receivers.values()), self.rules, at)

    def step(self, after: timedelta = timedelta(0)) -> FailureStep:
        """Step without a sync."""
        self.now += after
        done = self.look(self.now)
        self.records = done.records
        self.steps.append(done)
        return done

    def track(self, name: str) -> Track:
        """Return a track by its name in the records."""
        return self.records.tracks[name]

    @property
    def sizes(self) -> list[int]:
        """How many members each open alert has, the first opened first."""
        homes = Counter(track.episode.alert_id for track in self.records.tracks.values() if track.episode)
        return [homes[alert.id] for alert in self.records.alerts]

    @property
    def reports(self) -> list[Report]:
        """Everything that receivers were told, in order."""
        return [made for done in self.steps for made in done.reports if made.notice is not None]

    @property
    def said(self) -> list[tuple[Notice | None, Kind, str, int]]:
        """What receivers were told: why, about what, which group, how many members."""
        return [(made.notice, made.alert.kind, made.alert.group, len(made.members)) for made in self.reports]


@pytest.mark.parametrize(
    ("outcome", "kind", "group"),
    [
        pytest.param(Outcome.NETWORK, Kind.API_UNAVAILABLE, "", id="network"),
        pytest.param(Outcome.TIMEOUT, Kind.API_UNAVAILABLE, "", id="timeout"),
        pytest.param(Outcome.SERVER_ERROR, Kind.API_UNAVAILABLE, "", id="server_error"),
        pytest.param(Outcome.UNAUTHORIZED, Kind.ACCOUNT_REJECTED, "acme", id="unauthorized"),
        pytest.param(Outcome.FORBIDDEN, Kind.ACCOUNT_REJECTED, "acme", id="forbidden"),
        pytest.param(Outcome.NOT_FOUND, Kind.CONNECTION_REJECTED, "acme/not_found", id="not_found"),
        pytest.param(Outcome.REJECTED, Kind.CONNECTION_REJECTED, "acme/rejected", id="rejected"),
        pytest.param(
            Outcome.INVALID_RESPONSE, Kind.ANSWER_UNREADABLE, "acme/invalid_response", id="unreadable"
        ),
        pytest.param(Outcome.TOO_LARGE, Kind.ANSWER_UNREADABLE, "acme/too_large", id="too_large"),
        pytest.param(Outcome.RATE_LIMITED, None, "", id="rate_limited"),
        pytest.param(Outcome.HELD, None, "", id="held"),
        pytest.param(Outcome.OK, None, "", id="ok"),
    ],
)
def test_failures_open_the_alert_of_their_outcome(outcome: Outcome, kind: Kind | None, group: str) -> None:
    """`failing_after` in a row, not before; in the group that the contract's table says."""
    fleet = Fleet()
    fleet.rounds(2, outcome, OK, OK)
    assert fleet.said == []
    fleet.round(outcome, OK, OK)
    assert fleet.said == ([(OPENED, kind, group, 1)] if kind else [])
    assert kind_of(outcome) is kind


def test_failures_severity_and_detail() -> None:
    """A blind monitor is critical; the member says the cause in a word."""
    fleet = Fleet()
    (made,) = fleet.rounds(3, TIMEOUT, OK, OK).reports
    assert made.alert.severity is Severity.CRITICAL
    assert [track.detail for track in made.members] == ["timeout"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        pytest.param(NETWORK, [(Kind.API_UNAVAILABLE, "", 3)], id="one_for_all"),
        pytest.param(
            Outcome.UNAUTHORIZED,
            [(Kind.ACCOUNT_REJECTED, "acme", 2), (Kind.ACCOUNT_REJECTED, "globex", 1)],
            id="by_account",
        ),
        pytest.param(
            Outcome.NOT_FOUND,
            [
                (Kind.CONNECTION_REJECTED, "acme/not_found", 2),
                (Kind.CONNECTION_REJECTED, "globex/not_found", 1),
            ],
            id="by_account_and_outcome",
        ),
    ],
)
def test_failures_of_many_are_grouped(outcome: Outcome, said: list[tuple[Kind, str, int]]) -> None:
    """One alert per cause."""
    fleet = Fleet()
    fleet.rounds(3, outcome, outcome, outcome)
    assert fleet.said == [(OPENED, *about) for about in said]


def test_failures_join_while_the_alert_grows() -> None:
    """A connection that fails within `update_interval` of the last one to join is the same cause."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(3, NETWORK, NETWORK, OK, after=5 * MINUTE / 3 - SECOND)
    fleet.rounds(3, NETWORK, NETWORK, NETWORK, after=5 * MINUTE / 3 - SECOND)
    assert fleet.sizes == [3]


def test_failures_that_come_later_open_their_own_alert() -> None:
    """An old failure must not hide a new one; only the rest of a rejected account joins however late."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(3, NETWORK, NETWORK, OK, after=5 * MINUTE / 3)
    assert fleet.said == [(OPENED, Kind.API_UNAVAILABLE, "", 1)] * 2
    assert fleet.sizes == [1, 1]
    fleet = Fleet()
    fleet.stale_after = 4 * HOUR
    fleet.rounds(3, Outcome.UNAUTHORIZED, OK, OK)
    fleet.rounds(3, Outcome.UNAUTHORIZED, Outcome.FORBIDDEN, OK, after=HOUR)
    assert fleet.sizes == [2]


def test_failures_of_a_slow_connection_join_within_its_own_interval() -> None:
    """A connection that is synced hourly notices an outage an hour later: still the same cause."""
    fleet = Fleet()
    fleet.intervals["id-2"], fleet.stale_after = HOUR, 2 * HOUR
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(3, NETWORK, NETWORK, OK, after=HOUR / 3 - SECOND)
    fleet.rounds(3, NETWORK, NETWORK, NETWORK, after=2 * MINUTE)
    assert fleet.sizes == [2, 1]


@pytest.mark.parametrize(
    ("outcomes", "opened"),
    [
        pytest.param([NETWORK, TIMEOUT, Outcome.SERVER_ERROR], Kind.API_UNAVAILABLE, id="of_one_kind"),
        pytest.param([NETWORK, Outcome.UNAUTHORIZED, TIMEOUT], Kind.API_UNAVAILABLE, id="the_last_names_it"),
        pytest.param([LIMITED, LIMITED, Outcome.NOT_FOUND], Kind.CONNECTION_REJECTED, id="limits_count"),
        pytest.param([NETWORK, NETWORK, LIMITED], None, id="a_limit_names_nothing"),
        pytest.param([NETWORK, NETWORK, LIMITED, NETWORK], Kind.API_UNAVAILABLE, id="but_breaks_no_row"),
        pytest.param([NETWORK, NETWORK, OK, NETWORK, NETWORK], None, id="an_answer_breaks_it"),
        pytest.param([NETWORK, NETWORK, HELD, NETWORK, NETWORK], None, id="a_held_answer_too"),
    ],
)
def test_failures_of_mixed_causes_count_together(outcomes: list[Outcome], opened: Kind | None) -> None:
    """A connection that fails three times in a row is failing, whatever the causes."""
    fleet = Fleet()
    for outcome in outcomes:
        fleet.round(outcome, OK, OK)
    assert [kind for _, kind, _, _ in fleet.said] == ([opened] if opened else [])


def test_failures_of_another_cause_need_their_own_row() -> None:
    """Once in an alert, a single other failure does not open a second; three in a row do."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(2, Outcome.UNAUTHORIZED, OK, OK)
    fleet.round(NETWORK, OK, OK)
    assert len(fleet.said) == 1
    fleet.rounds(3, Outcome.UNAUTHORIZED, OK, OK)
    assert fleet.said[1:] == [(OPENED, Kind.ACCOUNT_REJECTED, "acme", 1)]
    fleet.heal()
    assert {made.alert.kind for made in fleet.reports if made.notice is RESOLVED} == {
        Kind.API_UNAVAILABLE,
        Kind.ACCOUNT_REJECTED,
    }


# --- how they end ---

KEPT = FailureRules().keep_firing_for


@pytest.mark.parametrize(
    ("outcomes", "ends"),
    [
        pytest.param([OK], False, id="one_answer"),
        pytest.param([OK, OK], True, id="two_answers"),
        pytest.param([HELD, HELD], True, id="held_answers_are_answers"),
        pytest.param([OK, NETWORK, OK], False, id="not_in_a_row"),
        pytest.param([LIMITED, LIMITED, LIMITED], False, id="other_failures"),
        pytest.param([], False, id="time_alone"),
    ],
)
def test_failures_end_only_when_connections_answer(outcomes: list[Outcome], *, ends: bool) -> None:
    """`resolve_syncs` answers in a row, and then nothing bad for `keep_firing_for`: never time alone."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    for outcome in outcomes:
        fleet.round(outcome, OK, OK)
    assert [notice for notice, *_ in fleet.said] == [OPENED]
    fleet.step(HOUR)
    resolved = [made.resolution for made in fleet.reports if made.alert.kind is Kind.API_UNAVAILABLE][1:]
    assert resolved == ([Resolution.RECOVERED] if ends else [])


def test_failures_end_at_the_instant_that_was_said() -> None:
    """`keep_firing_for` counts from the first answer; until then the alert says so, and asks to be woken."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    answering_since = fleet.now + RECHECK
    done = fleet.rounds(2, OK, OK, OK)
    track = fleet.track("api_unavailable:id-1")
    assert (track.good_since, ends_at(track, fleet.rules)) == (answering_since, answering_since + KEPT)
    assert done.wakes_at == answering_since + KEPT
    fleet.round(OK, OK, OK, after=KEPT - RECHECK - SECOND)
    assert fleet.said[1:] == []
    fleet.step(SECOND)
    assert [notice for notice, *_ in fleet.said] == [OPENED, RESOLVED]


FAILURE_KINDS = [kind for kind in Kind if not kind.about_numbers and kind is not Kind.TEST]
"""Every kind that a step over the fleet can open."""


def make_bad(fleet: Fleet, kind: Kind) -> None:
    """Let the first connection, or a receiver, fail for long enough for an alert of this kind."""
    outcomes = [outcome for outcome in Outcome if kind_of(outcome) is kind]
    if kind is Kind.RECEIVER_FAILING:
        fleet.refuse("hook")
        fleet.step(SECOND)
    elif kind is Kind.SYNC_STALE:
        fleet.rounds(9, LIMITED, OK, OK, after=STALE_AFTER / 8)
    else:
        fleet.rounds(3, outcomes[0], OK, OK)


def make_good(fleet: Fleet) -> None:
    """Let everything be well for a moment."""
    fleet.accept("hook")
    fleet.rounds(2, OK, OK, OK)


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_failures_flap_inside_keep_firing_for(kind: Kind) -> None:
    """Bad again before the end: the episode continues and counts the flap; receivers hear nothing."""
    fleet = Fleet()
    make_bad(fleet, kind)
    for flaps in (1, 2):
        make_good(fleet)
        before = len(fleet.steps)
        make_bad(fleet, kind)
        moved = [
            track.episode.flaps for done in fleet.steps[before:] for track in done.moved if track.episode
        ]
        assert moved == [flaps]
    assert [(notice, kind) for notice, kind, *_ in fleet.said] == [(OPENED, kind)]
    fleet.heal()
    assert [(notice, kind) for notice, kind, *_ in fleet.said] == [(OPENED, kind), (RESOLVED, kind)]
    assert [end.track.episode.flaps for done in fleet.steps for end in done.ended if end.track.episode] == [2]


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_failures_that_come_back_after_the_end_are_told_anew(kind: Kind) -> None:
    """An alert that was resolved is over: the next one has an identity of its own."""
    fleet = Fleet()
    for _ in range(2):
        make_bad(fleet, kind)
        fleet.heal()
    assert [notice for notice, *_ in fleet.said] == [OPENED, RESOLVED, OPENED, RESOLVED]
    assert len({made.alert.id for made in fleet.reports}) == 2
    assert fleet.records == FailureRecords()


FAILED = [outcome for outcome in Outcome if not outcome.answered]


@pytest.mark.parametrize("first", FAILED)
@pytest.mark.parametrize("second", FAILED)
def test_failures_of_one_cause_after_another(first: Outcome, second: Outcome) -> None:
    """One alert for each kind of alert, once; whatever failed, both end when it answers again."""
    fleet = Fleet()
    for outcome in (first, second, first, second):
        fleet.rounds(3, outcome, OK, OK)
    kinds = dict.fromkeys(kind for kind in (kind_of(first), kind_of(second)) if kind is not None)
    assert [(notice, kind) for notice, kind, *_ in fleet.said] == [(OPENED, kind) for kind in kinds]
    fleet.heal()
    assert {kind for notice, kind, *_ in fleet.said if notice is RESOLVED} == set(kinds)
    assert fleet.records == FailureRecords()


def test_failures_that_alternate_with_answers_are_one_alert() -> None:
    """4 x 401, 3 x ok, twenty times over: one alert, which counts its flaps."""
    fleet = Fleet()
    for _ in range(20):
        fleet.rounds(4, Outcome.UNAUTHORIZED, OK, OK)
        fleet.rounds(3, OK, OK, OK)
    assert [notice for notice, *_ in fleet.said] == [OPENED]
    episode = fleet.track("account_rejected:id-1").episode
    assert episode is not None
    assert episode.flaps == 19


def test_failures_seen_late_are_still_a_flap() -> None:
    """Between two looks it failed and answered once: fewer answers in a row than before say so."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(2, OK, OK, OK)
    fleet.streaks["id-1"] = Streak().after(NETWORK).after(OK)
    fleet.step(RECHECK)
    track = fleet.track("api_unavailable:id-1")
    assert (track.episode and track.episode.flaps, track.good, track.good_since) == (1, 1, fleet.now)


def test_failures_need_fewer_answers_after_a_reload_without_a_flap() -> None:
    """A smaller `resolve_syncs` is no failure."""
    fleet = Fleet(FailureRules(resolve_syncs=3))
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(3, OK, OK, OK)
    fleet.rules = FailureRules(resolve_syncs=2)
    fleet.step(SECOND)
    episode = fleet.track("api_unavailable:id-1").episode
    assert episode is not None
    assert episode.flaps == 0


def test_failures_end_when_a_clock_that_was_set_back_has_gone_on() -> None:
    """Good since the future is good since now: the end is `keep_firing_for` away, not an hour more."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(2, OK, OK, OK)
    fleet.now -= HOUR
    fleet.round(OK, OK, OK)
    fleet.round(OK, OK, OK, after=KEPT)
    assert [notice for notice, *_ in fleet.said] == [OPENED, RESOLVED]


def test_failures_of_a_connection_that_is_no_longer_watched_end_so() -> None:
    """`unconfigured`; the alert goes on for the others."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, NETWORK, OK)
    fleet.watched.remove("id-1")
    fleet.step(after=SECOND)
    assert fleet.said == [(OPENED, Kind.API_UNAVAILABLE, "", 2)]
    fleet.watched.remove("id-2")
    fleet.step(after=SECOND)
    assert fleet.reports[-1].resolution is Resolution.UNCONFIGURED


# --- staleness ---


@pytest.mark.parametrize("outcome", [HELD, LIMITED])
def test_stale_after_so_long_without_an_applied_snapshot(outcome: Outcome) -> None:
    """What has no alert of its own is seen by staleness, at the instant and not before."""
    fleet = Fleet()
    fleet.round(OK, OK, OK)
    done = fleet.round(outcome, OK, OK)
    assert done.wakes_at == START + RECHECK + STALE_AFTER
    fleet.step(STALE_AFTER - RECHECK - SECOND)
    assert fleet.said == []
    fleet.applied_at |= {"id-2": fleet.now, "id-3": fleet.now}
    fleet.step(SECOND)
    assert fleet.said == [(OPENED, Kind.SYNC_STALE, "", 1)]
    fleet.round(OK, OK, OK)
    fleet.round(OK, OK, OK, after=KEPT)
    assert fleet.reports[-1].resolution is Resolution.RECOVERED


def test_stale_is_one_for_all() -> None:
    """Nobody syncs: one alert."""
    fleet = Fleet()
    fleet.step(STALE_AFTER)
    assert fleet.said == [(OPENED, Kind.SYNC_STALE, "", 3)]


def test_stale_is_not_said_of_a_connection_in_a_failure_alert() -> None:
    """One cause, one alert."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, NETWORK, NETWORK)
    fleet.step(HOUR)
    assert {kind for _, kind, _, _ in fleet.said} == {Kind.API_UNAVAILABLE}


def test_stale_follows_a_failure_that_ended_in_held_answers() -> None:
    """The API answers again, but nothing was applied: the end of one is the beginning of the other."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.rounds(2, HELD, OK, OK)
    fleet.round(HELD, OK, OK, after=STALE_AFTER)
    said = {(notice, kind) for notice, kind, *_ in fleet.said[1:]}
    assert said == {(OPENED, Kind.SYNC_STALE), (RESOLVED, Kind.API_UNAVAILABLE)}
    assert {track.key for track in fleet.records.tracks.values()} == {"id-1"}


def stale() -> Fleet:
    """Return a fleet whose first connection has no recent snapshot, for a few minutes now."""
    fleet = Fleet()
    fleet.rounds(6, LIMITED, OK, OK, after=MINUTE)
    assert fleet.said == [(OPENED, Kind.SYNC_STALE, "", 1)]
    return fleet


def test_stale_is_not_ended_by_a_restart() -> None:
    """A process that starts has learned nothing: only an applied snapshot ends it."""
    fleet = stale()
    fleet.since = fleet.now + MINUTE
    fleet.applied_at |= {"id-2": fleet.since, "id-3": fleet.since}
    fleet.step(MINUTE)
    fleet.step(KEPT - SECOND)
    assert len(fleet.said) == 1
    fleet.heal()
    assert fleet.said[1:] == [(RESOLVED, Kind.SYNC_STALE, "", 0)]


@pytest.mark.parametrize("stood_still", [STALE_AFTER - SECOND, HOUR])
def test_stale_has_the_grace_of_a_start_after_a_standstill(stood_still: timedelta) -> None:
    """A process that was stopped pages only for what gets no snapshot after it went on."""
    fleet = Fleet()
    fleet.round(OK, OK, OK)
    fleet.since = fleet.now + stood_still
    assert fleet.step(stood_still).wakes_at == fleet.since + STALE_AFTER
    fleet.step(STALE_AFTER - SECOND)
    assert fleet.said == []
    fleet.step(SECOND)
    assert fleet.said == [(OPENED, Kind.SYNC_STALE, "", 3)]


def test_stale_again_before_the_end_is_a_flap() -> None:
    """One snapshot is not enough if it is the only one for `stale_after`."""
    fleet = stale()
    fleet.rules = FailureRules(keep_firing_for=2 * STALE_AFTER)
    fleet.round(OK, OK, OK)
    assert fleet.track("sync_stale:id-1").good_since == fleet.now
    fleet.applied_at |= {"id-2": fleet.now + HOUR, "id-3": fleet.now + HOUR}
    assert fleet.round(LIMITED).wakes_at == fleet.now - RECHECK + STALE_AFTER
    fleet.step(STALE_AFTER - RECHECK)
    track = fleet.track("sync_stale:id-1")
    assert (track.good_since, track.episode and track.episode.flaps) == (None, 1)


def test_stale_is_not_ended_by_a_clock_that_was_set_back() -> None:
    """What was applied before is no news; the next snapshot that is applied is."""
    fleet = stale()
    fleet.now -= HOUR
    fleet.applied_at = dict.fromkeys(ACCOUNTS, fleet.now)
    fleet.step(SECOND)
    fleet.step(KEPT)
    assert fleet.track("sync_stale:id-1").since == fleet.now - KEPT
    assert not any(made.notice is RESOLVED for made in fleet.reports)
    fleet.heal()
    assert fleet.records == FailureRecords()


# --- vanished, muted, receivers ---


def test_vanished_connection_is_rejected_at_once() -> None:
    """Once discovery no longer lists it, it alerts at once; listed and answering again ends that."""
    fleet = Fleet()
    fleet.rounds(2, OK, OK, OK)
    fleet.vanished.add("id-2")
    (made,) = fleet.step(SECOND).reports
    assert fleet.said == [(OPENED, Kind.CONNECTION_REJECTED, "acme/unlisted", 1)]
    assert made.members[0].detail == "unlisted"
    fleet.rounds(2, OK, OK, OK)
    fleet.round(OK, OK, OK, after=KEPT)
    assert not any(done.ended for done in fleet.steps)
    fleet.vanished.clear()
    fleet.step(SECOND)
    fleet.vanished.add("id-2")
    fleet.step(SECOND)
    fleet.heal()
    assert [notice for notice, *_ in fleet.said] == [OPENED, RESOLVED]


def test_muted_connection_opens_no_failure_alert_until_the_window_ends() -> None:
    """What still fails at the end of a maintenance window alerts then; receivers are never muted."""
    fleet = Fleet()
    fleet.muted = {"id-1"}
    fleet.refuse("hook")
    fleet.rounds(4, NETWORK, OK, OK)
    assert [kind for _, kind, *_ in fleet.said] == [Kind.RECEIVER_FAILING]
    fleet.muted.clear()
    fleet.step(SECOND)
    assert fleet.said[1:] == [(OPENED, Kind.API_UNAVAILABLE, "", 1)]


def test_muted_connection_ends_what_was_open() -> None:
    """Windows silence opening only."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.muted = {"id-1"}
    fleet.heal()
    assert [notice for notice, *_ in fleet.said] == [OPENED, RESOLVED]


def test_failing_receivers_are_an_alert_each() -> None:
    """By name, from the instant it began, until they accept messages again."""
    fleet = Fleet()
    fleet.refuse("hook")
    fleet.refuse("chat")
    fleet.step(SECOND)
    assert sorted(group for _, _, group, _ in fleet.said) == ["chat", "hook"]
    fleet.accept("chat")
    fleet.round(OK, OK, OK)
    fleet.round(OK, OK, OK, after=KEPT)
    assert fleet.said[-1] == (RESOLVED, Kind.RECEIVER_FAILING, "chat", 0)
    assert fleet.track("receiver_failing:hook").since == START


@pytest.mark.parametrize(
    ("refusals", "at_once", "opened"),
    [
        pytest.param(1, True, True, id="settings_are_wrong"),
        pytest.param(REFUSALS - 1, False, False, id="refused_a_few"),
        pytest.param(REFUSALS, False, True, id="refused_in_a_row"),
    ],
)
def test_failing_receiver_refuses(refusals: int, *, at_once: bool, opened: bool) -> None:
    """At once where its settings need fixing, else after some refusals in a row."""
    fleet = Fleet()
    for _ in range(refusals):
        fleet.refuse("hook", at_once=at_once)
        fleet.step(SECOND)
    assert [kind for _, kind, *_ in fleet.said] == ([Kind.RECEIVER_FAILING] if opened else [])


def test_failing_receiver_is_out_of_reach_for_long() -> None:
    """At the instant, and not before."""
    fleet = Fleet()
    fleet.applied_at = dict.fromkeys(ACCOUNTS, START + HOUR)
    fleet.lose("hook")
    assert fleet.step(OUT_OF_REACH - SECOND).wakes_at == START + OUT_OF_REACH
    assert fleet.said == []
    fleet.step(SECOND)
    assert fleet.said == [(OPENED, Kind.RECEIVER_FAILING, "hook", 1)]


def test_failing_receiver_recovers_only_by_accepting_a_message() -> None:
    """Neither another error, nor silence, nor that all is forgotten of it says that it works."""
    fleet = Fleet()
    fleet.refuse("hook")
    fleet.round(OK, OK, OK)
    fleet.lose("hook")
    fleet.round(OK, OK, OK, after=HOUR)
    fleet.receivers["hook"] = ReceiverHealth(name="hook", since=START)
    fleet.rounds(2, OK, OK, OK, after=HOUR)
    receivers = [made.notice for made in fleet.reports if made.alert.kind is Kind.RECEIVER_FAILING]
    assert receivers == [OPENED]
    fleet.heal()
    assert fleet.said[-1] == (RESOLVED, Kind.RECEIVER_FAILING, "hook", 0)


def test_failing_receiver_that_refuses_every_second_message_is_one_alert() -> None:
    """It never accepts for `keep_firing_for` on end."""
    fleet = Fleet()
    for _ in range(20):
        fleet.refuse("hook")
        fleet.round(OK, OK, OK, after=MINUTE)
        fleet.accept("hook")
        fleet.round(OK, OK, OK, after=MINUTE)
    assert fleet.said == [(OPENED, Kind.RECEIVER_FAILING, "hook", 1)]


def test_failing_receiver_that_is_removed_ends_so() -> None:
    """`unconfigured`: nobody knows whether it works."""
    fleet = Fleet()
    fleet.refuse("hook")
    fleet.step(SECOND)
    del fleet.receivers["hook"]
    fleet.step(SECOND)
    assert fleet.reports[-1].resolution is Resolution.UNCONFIGURED


def test_failing_receiver_named_like_a_connection_hides_no_staleness() -> None:
    """Names of receivers and identities of connections are different worlds."""
    fleet = Fleet()
    fleet.receivers["id-1"] = ReceiverHealth(name="id-1", since=START)
    fleet.refuse("id-1")
    fleet.applied_at |= {"id-2": START + HOUR, "id-3": START + HOUR}
    assert fleet.step(SECOND).wakes_at == START + STALE_AFTER
    fleet.step(STALE_AFTER)
    assert fleet.said[-1] == (OPENED, Kind.SYNC_STALE, "", 1)


@pytest.mark.parametrize(
    ("outcomes", "others"),
    [
        pytest.param([NETWORK, TIMEOUT, OK], 1, id="same_kind"),
        pytest.param([NETWORK, TIMEOUT, NETWORK], 2, id="all_accounts"),
        pytest.param([Outcome.NOT_FOUND, Outcome.NOT_FOUND, Outcome.NOT_FOUND], 1, id="of_its_account"),
        pytest.param([Outcome.NOT_FOUND, Outcome.REJECTED, OK], 0, id="another_outcome"),
        pytest.param([Outcome.UNAUTHORIZED, Outcome.FORBIDDEN, OK], 1, id="account"),
        pytest.param([NETWORK, Outcome.FORBIDDEN, LIMITED], 0, id="other_kinds"),
    ],
)
def test_failing_too_counts_what_may_join(outcomes: list[Outcome], others: int) -> None:
    """Those that have begun to fail for the same cause, in no alert yet."""
    fleet = Fleet()
    fleet.rounds(2, outcomes[0], OK, OK)
    fleet.round(*outcomes)
    (alert,) = fleet.records.alerts
    assert failing_too(alert, fleet.health(), fleet.records.tracks.values()) == others


@pytest.mark.parametrize(
    ("outcomes", "streak"),
    [
        pytest.param([], Streak(), id="none"),
        pytest.param([OK, HELD], Streak(outcome=HELD, answers=2), id="answers"),
        pytest.param([OK, LIMITED], Streak(outcome=LIMITED, failures=1, same_kind=1), id="first_failure"),
        pytest.param(
            [NETWORK, TIMEOUT], Streak(outcome=TIMEOUT, failures=2, same_kind=2), id="one_kind_two_outcomes"
        ),
        pytest.param(
            [NETWORK, LIMITED, NETWORK], Streak(outcome=NETWORK, failures=3, same_kind=1), id="kinds_mixed"
        ),
        pytest.param([NETWORK, OK], Streak(outcome=OK, answers=1), id="answered_again"),
    ],
)
def test_streak_counts_the_last_row(outcomes: Sequence[Outcome], streak: Streak) -> None:
    """Failures, those of one kind among them, and answers: each in a row."""
    counted = Streak()
    for outcome in outcomes:
        counted = counted.after(outcome)
    assert counted == streak


# --- whatever happens ---

ROUNDS = st.lists(
    st.tuples(
        st.sampled_from([RECHECK, MINUTE, STALE_AFTER]),
        st.lists(
            st.sampled_from([OK, OK, HELD, LIMITED, NETWORK, Outcome.UNAUTHORIZED, Outcome.NOT_FOUND]),
            max_size=3,
        ),
        st.sampled_from(["nothing", "accept", "accept", "refuse", "lose"]),
        st.sets(st.sampled_from(sorted(ACCOUNTS)), max_size=1),
    ),
    max_size=25,
)
Round = tuple[timedelta, list[Outcome], str, set[str]]


def live(fleet: Fleet, round_: Round) -> None:
    """Let a round happen to a fleet."""
    after, outcomes, hook, vanished = round_
    if hook != "nothing":
        getattr(fleet, hook)("hook")
    fleet.vanished = set(vanished)
    fleet.round(*outcomes, after=after)


def lived(rounds: list[Round], *, backwards: bool = False) -> Fleet:
    """Return a fleet after these rounds; `backwards` lists it the other way and restarts all the time."""
    fleet = Fleet()
    for each in rounds:
        if backwards:
            fleet.watched = list(reversed(ACCOUNTS))
            raw = msgspec.msgpack.encode(fleet.records)
            fleet.records = msgspec.msgpack.decode(raw, type=FailureRecords)
        live(fleet, each)
    return fleet


@settings(max_examples=40)
@given(ROUNDS)
def test_failures_tell_each_alert_from_opened_to_resolved(rounds: list[Round]) -> None:
    """One opened, some updated, one resolved; the books add up; when all is well nothing is open."""
    fleet = lived(rounds)
    fleet.heal()
    assert fleet.records == FailureRecords()
    stories: dict[str, list[Report]] = {}
    for made in fleet.reports:
        stories.setdefault(made.alert.id, []).append(made)
    for story in stories.values():
        assert [made.notice for made in story] == [OPENED, *[UPDATED] * (len(story) - 2), RESOLVED]
        assert [made.alert.version for made in story] == list(range(1, len(story) + 1))


@settings(max_examples=40)
@given(ROUNDS)
def test_failures_never_depend_on_order_or_restarts(rounds: list[Round]) -> None:
    """The same fleet listed the other way, restarted before every step: the same alerts and identities."""
    straight, turned = lived(rounds), lived(rounds, backwards=True)
    assert straight.records.tracks == turned.records.tracks
    assert sorted(straight.said, key=str) == sorted(turned.said, key=str)
    assert [done.wakes_at for done in straight.steps] == [done.wakes_at for done in turned.steps]


@settings(max_examples=40)
@given(ROUNDS)
def test_failures_never_wake_late(rounds: list[Round]) -> None:
    """Nothing happens by time before `wakes_at`."""
    fleet = lived([*rounds, (RECHECK, [], "nothing", set())])
    wakes_at = fleet.steps[-1].wakes_at
    latest = wakes_at - SECOND / 1000 if wakes_at else fleet.now + 1000 * HOUR
    instants: list[datetime] = [fleet.now, fleet.now + (latest - fleet.now) / 2, latest]
    for at in instants:
        idle = fleet.look(at)
        assert idle.records == fleet.records
        assert (idle.opened, idle.moved, idle.ended, idle.reports) == ((), (), (), ())


@settings(max_examples=40)
@given(ROUNDS)
def test_failures_the_same_step_twice_changes_nothing(rounds: list[Round]) -> None:
    """After every round nothing opens, ends or is told again; nor does all that is gone end twice."""
    fleet = Fleet()
    for each in rounds:
        live(fleet, each)
        again = fleet.look(fleet.now)
        assert again.records == fleet.records
        assert (again.opened, again.moved, again.ended, again.reports) == ((), (), (), ())
        nothing = step(fleet.records, (), (), fleet.rules, fleet.now)
        gone = step(nothing.records, (), (), fleet.rules, fleet.now)
        assert (nothing.records, gone.records, gone.reports) == (FailureRecords(), FailureRecords(), ())


class Counted(Fleet):
    """A fleet that notes when each connection and receiver was last seen failing, by plain counting."""

    def __init__(self) -> None:
        super().__init__()
        self.bad_at: dict[str, datetime] = {}
        self.opened_at: dict[str, datetime] = {}

    def step(self, after: timedelta = timedelta(0)) -> FailureStep:
        """Step, and check each beginning and end."""
        self.now += after
        failing = [identity for identity, streak in self.streaks.items() if streak.failures]
        refusing = [name for name, each in self.receivers.items() if each.troubled_since]
        self.bad_at |= dict.fromkeys([*failing, *self.vanished, *refusing], self.now)
        done = super().step()
        for track in done.opened:
            name = f"{track.kind}:{track.key}"
            assert self.now >= self.opened_at.get(name, self.now - KEPT) + KEPT
            self.opened_at[name] = self.now
        for track in (end.track for end in done.ended):
            if track.kind is Kind.SYNC_STALE:
                assert track.since < self.applied_at[track.key] > self.now - STALE_AFTER
            else:
                assert self.now >= self.bad_at[track.key] + KEPT
        return done


@settings(max_examples=200)
@given(ROUNDS, st.integers(1, 4))
def test_failures_that_alternate_open_at_most_one_alert_per_keep_firing_for(
    rounds: list[Round], times: int
) -> None:
    """Whatever the provider or a receiver does in turns: an end needs `keep_firing_for` without a failure."""
    fleet = Counted()
    for each in rounds * times:
        live(fleet, each)
    fleet.heal()
    assert fleet.records == FailureRecords()
