"""The failing of connections and receivers, as alerts."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Kind, Notice, Resolution, Severity
from monitor.drift.alerts import Report
from monitor.drift.failures import (
    FailingReceiver,
    FailureRecords,
    FailureRules,
    FailureStep,
    Health,
    Streak,
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
    """Three connections of two accounts, stepped after every round of syncs."""

    def __init__(self, rules: FailureRules | None = None) -> None:
        self.rules = rules or FailureRules()
        self.now = START
        self.records = FailureRecords()
        self.streaks = {identity: Streak() for identity in ACCOUNTS}
        self.fresh_at = dict.fromkeys(ACCOUNTS, START)
        self.intervals = dict.fromkeys(ACCOUNTS, MINUTE)
        self.stale_after = STALE_AFTER
        self.vanished: set[str] = set()
        self.muted: set[str] = set()
        self.watched = list(ACCOUNTS)
        self.receivers: tuple[FailingReceiver, ...] = ()
        self.steps: list[FailureStep] = []

    def round(self, *outcomes: Outcome, after: timedelta = RECHECK) -> FailureStep:
        """Let each connection sync once with its outcome; those without one do not sync."""
        self.now += after
        for identity, outcome in zip(ACCOUNTS, outcomes, strict=False):
            self.streaks[identity] = self.streaks[identity].after(outcome)
            if outcome is OK:
                self.fresh_at[identity] = self.now
        return self.step()

    def rounds(self, many: int, *outcomes: Outcome, after: timedelta = RECHECK) -> FailureStep:
        """Let `many` rounds end alike; return the last."""
        return [self.round(*outcomes, after=after) for _ in range(many)][-1]

    def health(self) -> list[Health]:
        """Return the fleet as it is now."""
        return [
            Health(
                identity=identity,
                account=ACCOUNTS[identity],
                streak=self.streaks[identity],
                fresh_at=self.fresh_at[identity],
                interval=self.intervals[identity],
                stale_after=self.stale_after,
                vanished=identity in self.vanished,
                muted=identity in self.muted,
            )
            for identity in self.watched
        ]

    def step(self, after: timedelta = timedelta(0)) -> FailureStep:
        """Step without a sync."""
        self.now += after
        done = step(self.records, self.health(), self.receivers, self.rules, self.now)
        self.records = done.records
        self.steps.append(done)
        return done

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
    fleet.rounds(2, OK, OK, OK)
    assert {made.alert.kind for made in fleet.reports if made.notice is RESOLVED} == {
        Kind.API_UNAVAILABLE,
        Kind.ACCOUNT_REJECTED,
    }


@pytest.mark.parametrize(
    ("outcomes", "ends"),
    [
        pytest.param([OK], False, id="one_answer"),
        pytest.param([OK, OK], True, id="two_answers"),
        pytest.param([HELD, HELD], True, id="held_answers_are_answers"),
        pytest.param([OK, NETWORK, OK], False, id="not_in_a_row"),
        pytest.param([LIMITED, LIMITED, LIMITED], False, id="other_failures"),
    ],
)
def test_failures_end_only_when_connections_answer(outcomes: list[Outcome], *, ends: bool) -> None:
    """Time alone ends nothing."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    for outcome in outcomes:
        fleet.round(outcome, OK, OK)
    resolved = [made.resolution for made in fleet.reports if made.notice is RESOLVED]
    assert resolved == ([Resolution.RECOVERED] if ends else [])


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
    fleet.fresh_at |= {"id-2": fleet.now, "id-3": fleet.now}
    fleet.step(SECOND)
    assert fleet.said == [(OPENED, Kind.SYNC_STALE, "", 1)]
    fleet.round(OK, OK, OK)
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
    """The API answers again, but nothing was applied: the end of one is the begin of the other."""
    fleet = Fleet()
    fleet.rounds(3, NETWORK, OK, OK)
    fleet.step(STALE_AFTER)
    fleet.rounds(2, HELD, OK, OK)
    said = [(notice, kind) for notice, kind, *_ in fleet.said if kind is not Kind.SYNC_STALE]
    assert said == [(OPENED, Kind.API_UNAVAILABLE), (RESOLVED, Kind.API_UNAVAILABLE)]
    assert {track.key for track in fleet.records.tracks.values()} == {"id-1"}


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
    assert not any(done.ended for done in fleet.steps)
    fleet.vanished.clear()
    fleet.step(SECOND)
    assert fleet.reports[-1].notice is RESOLVED


def test_muted_connection_opens_no_failure_alert_until_the_window_ends() -> None:
    """What still fails at the end of a maintenance window alerts then; receivers are never muted."""
    fleet = Fleet()
    fleet.muted = {"id-1"}
    fleet.receivers = (FailingReceiver(name="hook", since=START, error="HTTP 401"),)
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
    fleet.rounds(2, OK, OK, OK)
    assert [notice for notice, *_ in fleet.said] == [OPENED, RESOLVED]


def test_failing_receivers_are_an_alert_each() -> None:
    """By name, from the instant it began, until they take messages again."""
    fleet = Fleet()
    fleet.receivers = tuple(FailingReceiver(name=n, since=START, error="HTTP 410") for n in ("hook", "chat"))
    fleet.step(SECOND)
    assert sorted(group for _, _, group, _ in fleet.said) == ["chat", "hook"]
    fleet.receivers = fleet.receivers[:1]
    fleet.step(SECOND)
    assert fleet.said[-1] == (RESOLVED, Kind.RECEIVER_FAILING, "chat", 0)


def test_failing_receiver_named_like_a_connection_hides_no_staleness() -> None:
    """Names of receivers and identities of connections are different worlds."""
    fleet = Fleet()
    fleet.receivers = (FailingReceiver(name="id-1", since=START, error="HTTP 410"),)
    fleet.fresh_at |= {"id-2": START + HOUR, "id-3": START + HOUR}
    assert fleet.step(SECOND).wakes_at == START + STALE_AFTER
    fleet.step(STALE_AFTER)
    assert fleet.said[-1] == (OPENED, Kind.SYNC_STALE, "", 1)


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
        st.booleans(),
        st.sets(st.sampled_from(sorted(ACCOUNTS)), max_size=1),
    ),
    max_size=25,
)


def lived(rounds: list[tuple[timedelta, list[Outcome], bool, set[str]]], *, backwards: bool = False) -> Fleet:
    """Return a fleet after these rounds; `backwards` lists it the other way and restarts all the time."""
    fleet = Fleet()
    for after, outcomes, refused, vanished in rounds:
        if backwards:
            fleet.watched = list(reversed(ACCOUNTS))
            raw = msgspec.msgpack.encode(fleet.records)
            fleet.records = msgspec.msgpack.decode(raw, type=FailureRecords)
        fleet.receivers = (FailingReceiver(name="hook", since=START, error="e"),) if refused else ()
        fleet.vanished = vanished
        fleet.round(*outcomes, after=after)
    return fleet


@settings(max_examples=40, deadline=None)
@given(ROUNDS)
def test_failures_tell_each_alert_from_opened_to_resolved(
    rounds: list[tuple[timedelta, list[Outcome], bool, set[str]]],
) -> None:
    """One opened, some updated, one resolved; the books add up; when all is well nothing is open."""
    fleet = lived(rounds)
    fleet.vanished, fleet.receivers = set(), ()
    fleet.rounds(3, OK, OK, OK)
    assert fleet.records == FailureRecords()
    stories: dict[str, list[Report]] = {}
    for made in fleet.reports:
        stories.setdefault(made.alert.id, []).append(made)
    for story in stories.values():
        assert [made.notice for made in story] == [OPENED, *[UPDATED] * (len(story) - 2), RESOLVED]
        assert [made.alert.version for made in story] == list(range(1, len(story) + 1))


@settings(max_examples=40, deadline=None)
@given(ROUNDS)
def test_failures_never_depend_on_order_or_restarts(
    rounds: list[tuple[timedelta, list[Outcome], bool, set[str]]],
) -> None:
    """The same fleet listed the other way, restarted before every step: the same alerts and identities."""
    straight, turned = lived(rounds), lived(rounds, backwards=True)
    assert straight.records.tracks == turned.records.tracks
    assert sorted(straight.said, key=str) == sorted(turned.said, key=str)
    assert [done.wakes_at for done in straight.steps] == [done.wakes_at for done in turned.steps]


@settings(max_examples=40, deadline=None)
@given(ROUNDS)
def test_failures_never_wake_late(
    rounds: list[tuple[timedelta, list[Outcome], bool, set[str]]],
) -> None:
    """Nothing happens by time before `wakes_at`."""
    fleet = lived([*rounds, (RECHECK, [], False, set())])
    wakes_at = fleet.steps[-1].wakes_at
    latest = wakes_at - SECOND / 1000 if wakes_at else fleet.now + 1000 * HOUR
    instants: list[datetime] = [fleet.now, fleet.now + (latest - fleet.now) / 2, latest]
    for at in instants:
        idle = step(fleet.records, fleet.health(), fleet.receivers, fleet.rules, at)
        assert (idle.records, idle.opened, idle.ended, idle.reports) == (fleet.records, (), (), ())


@settings(max_examples=40, deadline=None)
@given(ROUNDS)
def test_failures_the_same_step_twice_changes_nothing(
    rounds: list[tuple[timedelta, list[Outcome], bool, set[str]]],
) -> None:
    """After every round nothing opens, ends or is told again; nor does all that is gone end twice."""
    fleet = Fleet()
    for after, outcomes, refused, vanished in rounds:
        fleet.receivers = (FailingReceiver(name="hook", since=START, error="e"),) if refused else ()
        fleet.vanished = vanished
        fleet.round(*outcomes, after=after)
        state = (fleet.health(), fleet.receivers, fleet.rules, fleet.now)
        for configured in (None, {"hook"}):
            again = step(fleet.records, *state, configured=configured)
            assert (again.records, again.opened, again.ended) == (fleet.records, (), ())
            assert again.reports == ()
        nothing: FailureStep = step(fleet.records, (), (), fleet.rules, fleet.now, configured=())
        gone = step(nothing.records, (), (), fleet.rules, fleet.now, configured=())
        assert (nothing.records, gone.records, gone.reports) == (FailureRecords(), FailureRecords(), ())
