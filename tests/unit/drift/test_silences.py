"""What silences may be asked for, what they do to the alerts of a connection, and when they are done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Kind, Resolution
from monitor.drift.rules import Ignore, Rules, Silence
from monitor.drift.silences import (
    Fit,
    NewSilence,
    done_waiting,
    in_trouble,
    in_words,
    notes,
    planned,
)
from monitor.errors import Invalid
from tests.unit.drift.build import (
    BOTH,
    EVERY_KIND,
    HOUR,
    MINUTE,
    OPENED,
    RESOLVED,
    SECOND,
    START,
    Watch,
    broken,
    fleet,
    key,
    ready,
)
from tests.unit.drift.lives import LOOKS, Event, Life, Sync, histories

NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
ALL = Silence(id="s1")
ANYTHING: dict[str, Any] = {"number": "+91*", "for_": "2h", "reason": "why"}


def asked(**given: Any) -> NewSilence:
    """Return a request with these fields, else one that is right."""
    return NewSilence(**(ANYTHING | given))


def firing(rules: Rules | None = None) -> Watch:
    """Return a connection of which the first number is in a firing alert."""
    watch = Watch(rules)
    for _ in range(2):
        watch.sync(broken(1), ready(2))
    assert watch.notices == [OPENED]
    return watch


@pytest.mark.parametrize(
    ("ends", "until"),
    [
        ({"for_": "2h"}, NOW + 2 * HOUR),
        ({"for_": " 1h30m "}, NOW + 90 * MINUTE),
        ({"for_": None, "until": "2026-02-02T09:00:00+05:30"}, datetime(2026, 2, 2, 3, 30, tzinfo=UTC)),
        ({"for_": None, "until": "2026-02-02 09:00"}, datetime(2026, 2, 2, 9, 0, tzinfo=UTC)),
        ({"for_": None, "until": "2026-02-02T00:00:00"}, datetime(2026, 2, 2, tzinfo=UTC)),
        ({"for_": None, "until": "2026-01-31"}, datetime(2026, 2, 1, tzinfo=UTC)),
        ({"for_": None, "until": "9999-12-31"}, datetime.max.replace(tzinfo=UTC)),
        ({"for_": None, "until_ready": True}, None),
        ({"for_": "", "until": "", "until_ready": True}, None),
    ],
)
def test_silence_ends_as_asked(ends: dict[str, Any], until: datetime | None) -> None:
    """After a time, at an instant (in UTC without an offset), with a day, or when its numbers are ready."""
    plan = planned(asked(**ends), NOW)
    assert (plan.until, plan.until_ready) == (until, until is None)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"for_": None}, "until"),
        ({"until": "2026-02-02"}, "until"),
        ({"until_ready": True}, "until_ready"),
        ({"for_": "0s"}, "for"),
        ({"for_": "-2h"}, "for"),
        ({"for_": "two hours"}, "for"),
        ({"for_": "99999999d"}, "for"),
        ({"for_": "999999999d"}, "for"),
        ({"for_": None, "until": "2026-01-31T08:59:59Z"}, "until"),
        ({"for_": None, "until": "2026-01-30"}, "until"),
        ({"for_": None, "until": "monday"}, "until"),
        ({"for_": None, "until": "2026-W50"}, "until"),
        ({"for_": None, "until": "9999-12-31T23:59:59-12:00"}, "until"),
        ({"number": None}, "connection"),
        ({"number": "  "}, "number"),
        ({"connection": ""}, "connection"),
        ({"alert": ""}, "alert"),
        ({"reason": None}, "reason"),
        ({"reason": " "}, "reason"),
        ({"reason": "two\nlines"}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"state": "NO\0BOT"}, "state"),
        ({"by": "\ud800"}, "by"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_field_that_is_wrong(
    given: dict[str, Any], field: str
) -> None:
    """No end or two, one that has passed, nothing to match, no reason, text that no database takes."""
    with pytest.raises(Invalid) as refused:
        planned(asked(**given), NOW)
    assert refused.value.field == field
    assert str(refused.value)


@pytest.mark.parametrize(
    "written", ["+91 80 1122-3344", "+918011223344", " +91(80)11223344 ", "+91.80.1122.3344"]
)
def test_number_is_taken_in_any_form(written: str) -> None:
    """Spaces and separators are how people write numbers; a set of a glob keeps its dash."""
    assert planned(asked(number=written), NOW).number == "+918011223344"
    assert planned(asked(number="+9180112233[0-4] 4"), NOW).number == "+9180112233[0-4] 4"


@given(
    number=st.sampled_from([key(1), f"+{key(1)}", "*1", "+9180*"]),
    connection=st.sampled_from([None, "acme-*"]),
    at=st.timedeltas(timedelta(0), 3 * HOUR),
)
def test_silence_matches_what_the_same_ignore_rule_matches(
    number: str, connection: str | None, at: timedelta
) -> None:
    """A silence is an ignore rule with an end."""
    plan = planned(asked(number=number, connection=connection), START)
    silence = Silence(id="s", connection=plan.rule.connection, number=plan.rule.number, until=plan.until)
    for each in (broken(1), ready(2)):
        assert silence.covers(each, START + at) is plan.rule.covers(each, START + at)
    assert silence.covers(broken(1), START + at) is (at < 2 * HOUR)


def test_silenced_drift_opens_nothing_and_alerts_by_the_clock_when_the_silence_ends() -> None:
    """No sync is needed, and the alert is a new one."""
    until = START + HOUR
    watch = Watch(Rules(silences=(Silence(id="s1", until=until),)))
    watch.sync(broken(1), ready(2))
    done = watch.sync(broken(1), ready(2))
    assert (watch.notices, done.wakes_at) == ([], until)
    assert done.counts is not None
    assert done.counts.ignored == {"NO_BOT": 1}
    watch.wait(until - watch.now - SECOND)
    assert watch.notices == []
    watch.wait(SECOND)
    assert watch.notices == [OPENED]


def test_silencing_an_open_episode_ends_it_as_silenced_and_ending_the_silence_opens_another() -> None:
    """It did not recover, and says so."""
    watch = firing()
    watch.rules = Rules(silences=(ALL,))
    watch.wait()
    body = watch.last_body()
    assert (body.change, body.resolution) == (RESOLVED, Resolution.SILENCED)
    assert "silenced" in body.summary
    watch.rules = Rules()
    watch.wait()
    assert watch.notices == [OPENED, RESOLVED, OPENED]
    assert len({made.alert.id for made in watch.reports}) == 2


@pytest.mark.parametrize(
    ("rules", "resolution"),
    [
        (Rules(silences=(ALL,)), Resolution.SILENCED),
        (Rules(ignores=(Ignore(),)), Resolution.IGNORED),
        (Rules(ignores=(Ignore(),), silences=(ALL,)), Resolution.IGNORED),
        (
            Rules(ignores=(Ignore(issue="NO_BOT"),), silences=(Silence(id="s1", issue=BOTH[1]),)),
            Resolution.SILENCED,
        ),
    ],
)
def test_what_the_config_alone_would_ignore_ends_as_ignored(rules: Rules, resolution: Resolution) -> None:
    """A silence is named where it makes the difference, also where it takes the last issue."""
    watch = Watch()
    for _ in range(2):
        watch.sync(broken(1, "NO_BOT", BOTH), ready(2))
    watch.rules = rules
    watch.wait()
    assert watch.last_body().resolution is resolution


@pytest.mark.parametrize("kind", [Kind.NUMBER_REMOVED, Kind.RECONFIGURED])
def test_removed_and_reconfigured_numbers_are_silenced_like_drifting_ones(kind: Kind) -> None:
    """A silence of a number is about all that may be said of it; one of an issue is not."""
    watch = Watch(Rules(alerting=EVERY_KIND))
    watch.sync(*fleet(10))
    lost = ready(1, dependencies=replace_bot())
    for _ in range(2):
        watch.sync(*(fleet(9, first=2) if kind is Kind.NUMBER_REMOVED else fleet(10, lost)))
    assert [made.alert.kind for made in watch.reports] == [kind]
    watch.rules = Rules(alerting=EVERY_KIND, silences=(Silence(id="s1", issue="NO_BOT"),))
    watch.wait()
    assert watch.notices == [OPENED]
    watch.rules = Rules(alerting=EVERY_KIND, silences=(Silence(id="s1", keys=frozenset({key(1)})),))
    watch.wait()
    assert watch.last_body().resolution is Resolution.SILENCED
    watch.rules = Rules(alerting=EVERY_KIND)
    watch.wait()
    assert watch.notices == [OPENED, RESOLVED, OPENED]


def replace_bot() -> Any:
    """Return the dependencies of a number that has lost its bot."""
    return msgspec.structs.replace(ready(1).dependencies, bot_id=None)


def test_silence_of_certain_numbers_leaves_the_others_alone() -> None:
    """What drifts later alerts, though it is in the same state."""
    watch = Watch(Rules(silences=(Silence(id="s1", keys=frozenset({key(1)})),)))
    for _ in range(2):
        watch.sync(broken(1), broken(2), *fleet(8, first=3))
    assert watch.open_keys == {key(2)}


def test_silence_that_waits_is_done_when_each_number_is_ready_for_good_or_gone() -> None:
    """One good sync is not enough where two are asked for; a number that left has nothing to wait for."""
    keys = frozenset({key(1), key(2)})
    waiting = Silence(id="s1", keys=keys, until_ready=True)
    watch = Watch(Rules(alerting=EVERY_KIND, silences=(waiting,)))
    for _ in range(2):
        watch.sync(broken(1), broken(2), *fleet(8, first=3))

    def done() -> list[tuple[str, str]]:
        return done_waiting(watch.rules.silences, watch.records.tracks)

    assert in_trouble(Ignore(), watch.records.tracks, watch.now) == keys
    watch.sync(ready(1), broken(2), *fleet(8, first=3))
    assert done() == []
    assert in_trouble(Ignore(), watch.records.tracks, watch.now) == {key(2)}
    watch.sync(ready(1), *fleet(8, first=3))
    assert done() == [("s1", key(1))]
    watch.sync(ready(1), *fleet(8, first=3))
    assert done() == [("s1", key(1)), ("s1", key(2))]
    assert done_waiting([replace(waiting, until_ready=False)], watch.records.tracks) == []
    assert watch.reports == []
    watch.rules = Rules(alerting=EVERY_KIND)
    watch.wait()
    assert [made.alert.kind for made in watch.reports] == [Kind.NUMBER_REMOVED]


def test_state_and_issue_of_a_silence_are_never_folded() -> None:
    """They are named by a person, like those of an ignore rule."""
    rules = Rules(silences=(Silence(id="s1", state="odd"), Silence(id="s2", issue="rare")))
    assert rules.names("ODD")
    assert rules.names("Rare")
    assert not rules.names("NO_BOT")


@pytest.mark.parametrize(
    ("rule", "fit", "said"),
    [
        (Ignore(), Fit(connections=True, matches=True), []),
        (Ignore(), Fit(connections=True), ["matches no numbers now"]),
        (Ignore(), Fit(), ["matches no connections"]),
        (Ignore(until=NOW + timedelta(days=1)), Fit(connections=True, matches=True), ["ends within a day"]),
        (Ignore(until=NOW + timedelta(days=1, seconds=1)), Fit(connections=True, matches=True), []),
        (Ignore(until=NOW + HOUR), Fit(), ["matches no connections", "ends within a day"]),
        (Ignore(until=NOW), Fit(), ["has ended"]),
    ],
)
def test_what_matches_nothing_or_ends_soon_is_said(rule: Ignore, fit: Fit, said: list[str]) -> None:
    """Of a rule of the config as of a silence."""
    assert notes(rule, fit, NOW) == said


def test_matchers_are_said_in_words() -> None:
    """What is not given is left out."""
    assert in_words(Ignore(connection="acme-*", state="NO_BOT")) == "connection acme-*, state NO_BOT"
    assert in_words(Silence(id="s"), "5f0c") == "alert 5f0c"
    assert in_words(Ignore()) == "everything"


NOBODY = Silence(id="s1", keys=frozenset({"nobody"}))
modest = settings(max_examples=60)
STRETCHES = st.tuples(st.integers(0, 20), st.integers(0, 20))


def lived(events: list[Event], stretch: tuple[int, int], silence: Silence = ALL) -> Life:
    """Return a life in which a silence holds for a stretch of the events."""
    life = Life()
    for place, event in enumerate(events):
        life.silences = (silence,) if stretch[0] <= place < stretch[1] else ()
        life.live([event])
        if life.silences == (ALL,):
            assert life.open_keys == set()
    return life


@modest
@given(events=histories(), stretch=STRETCHES)
def test_silence_that_covers_nothing_changes_nothing(events: list[Event], stretch: tuple[int, int]) -> None:
    """Step by step, everything is as if it had never been set."""
    assert lived(events, stretch, NOBODY).steps == lived(events, (0, 0)).steps


@modest
@given(events=histories(), stretch=STRETCHES, last=st.lists(st.sampled_from(LOOKS), min_size=6, max_size=6))
def test_no_drift_is_lost_in_a_silence(
    events: list[Event], stretch: tuple[int, int], last: list[str]
) -> None:
    """While it holds nothing is open; once it has ended, the same drifts are as if it had never been set."""

    def drifts(stretch: tuple[int, int]) -> set[str]:
        life = lived(events, stretch)
        life.silences, life.variant = (), 0
        for _ in range(8):
            life.happen(Sync(tuple(last)), MINUTE)
        return {
            track.key
            for track in life.records.tracks.values()
            if track.kind is Kind.DRIFT and track.episode is not None and not track.good and not track.gone
        }

    assert (
        drifts(stretch)
        == drifts((0, 0))
        == {key(index) for index, name in enumerate(last, 1) if name in ("NO_BOT", "EXPIRED", "both")}
    )
