"""A clock that is set back: what would have happened within its own delay still happens."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Kind, Resolution
from monitor.drift.failures import FailureRecords, FailureRules, Health, ReceiverHealth, Streak
from monitor.drift.failures import step as failure_step
from monitor.drift.policy import Records
from monitor.errors import Outcome
from tests.unit.drift.build import HOUR, MINUTE, SECOND, START, answer, broken, fleet, key
from tests.unit.drift.lives import BASE, GUARD, NUMBERS, Event, Life, Sync, Wait, histories

modest = settings(max_examples=60)
SET_BACKS = st.sampled_from([7 * SECOND, 3 * MINUTE, HOUR, 30 * 24 * HOUR])
WELL = Sync(("ready",) * len(NUMBERS))
PATIENT = replace(GUARD, min_hold=5 * MINUTE)


def set_back(events: list[Event], back: timedelta) -> Life:
    """Return a life under the plain rules whose clock was set back after a history."""
    life = Life()
    life.guard = PATIENT
    life.live(events)
    life.now -= back
    life.variant = 0
    return life


def instants(record: Any) -> list[datetime]:
    """Return every instant anywhere in a record."""
    if isinstance(record, datetime):
        return [record]
    if isinstance(record, msgspec.Struct):
        record = [getattr(record, name) for name in record.__struct_fields__]
    if isinstance(record, dict):
        record = list(record.values())
    return [at for each in record for at in instants(each)] if isinstance(record, (list, tuple)) else []


@modest
@given(histories(), SET_BACKS)
def test_set_back_leaves_no_instant_of_tracks_and_alerts_in_the_future(
    events: list[Event], back: timedelta
) -> None:
    """The first step after it finds them, with or without an answer."""
    life = set_back(events, back)
    done = life.happen(Wait(), SECOND)
    assert all(at <= life.now for at in instants((done.records.tracks, done.records.alerts)))


@modest
@given(histories(), SET_BACKS)
def test_set_back_ends_what_is_well_within_its_own_delay(events: list[Event], back: timedelta) -> None:
    """Held for `min_hold` at most, then over after `resolve_syncs` answers and `keep_firing_for`."""
    life = set_back(events, back)
    life.happen(Wait(), SECOND)
    for _ in range(PATIENT.min_hold // MINUTE + BASE.resolve_syncs):
        life.happen(WELL, MINUTE)
    life.wait(BASE.keep_firing_for, accept_all=True)  # to be well again may be a change of its own
    left = life.records
    assert left == Records(snapshot=left.snapshot, vocabulary=left.vocabulary)


@modest
@given(histories(), SET_BACKS)
def test_set_back_lets_nothing_join_an_old_alert_for_longer(events: list[Event], back: timedelta) -> None:
    """What breaks an `update_interval` later is in an alert of its own, and someone is told."""
    life = set_back(events, back)
    old = {alert.id for alert in life.happen(Wait(), SECOND).records.alerts}
    life.happen(Wait(), BASE.update_interval)
    found = answer(*fleet(len(NUMBERS)), broken(7))
    for _ in range(PATIENT.min_hold // MINUTE + BASE.confirm_syncs):
        life.read(found, after=MINUTE)
    [mine] = [track.episode for done in life.steps for track in done.opened if track.key == key(7)]
    assert mine is not None
    assert mine.alert_id not in old


@modest
@given(histories(), SET_BACKS)
def test_set_back_tells_what_was_to_be_told_within_an_update_interval(
    events: list[Event], back: timedelta
) -> None:
    """A change that waits for its message waits no longer than it could have."""
    life = set_back(events, back)
    life.happen(Wait(), SECOND)
    life.happen(Wait(), BASE.update_interval)
    for alert in life.records.alerts:
        assert alert.shown_digest == alert.notified_digest


@pytest.mark.parametrize("kind", [Kind.API_UNAVAILABLE, Kind.RECEIVER_FAILING, Kind.SYNC_STALE])
@pytest.mark.parametrize("back", [7 * SECOND, HOUR])
def test_set_back_ends_a_failure_that_is_over_within_its_own_delay(kind: Kind, back: timedelta) -> None:
    """It was good already: it ends when `keep_firing_for` has passed by the new clock, without a flap."""
    rules, begun_at = FailureRules(), START
    connection = Health(
        identity="id-1",
        account="acme",
        streak=Streak(),
        applied_at=START - HOUR,
        since=START - HOUR,
        interval=MINUTE,
        stale_after=HOUR,
    )
    hook = ReceiverHealth(name="hook", since=START - HOUR)
    ill: dict[Kind, tuple[Health, ReceiverHealth]] = {
        Kind.API_UNAVAILABLE: (
            replace(connection, streak=Streak(outcome=Outcome.TIMEOUT, failures=3, same_kind=3)),
            hook,
        ),
        Kind.RECEIVER_FAILING: (
            replace(connection, applied_at=START),
            replace(hook, troubled_since=START, refused=True),
        ),
        Kind.SYNC_STALE: (connection, hook),
    }
    failing, refusing = ill[kind]
    opened = failure_step(FailureRecords(), [failing], [refusing], rules, begun_at)
    assert [track.kind for track in opened.opened] == [kind]

    well_at = begun_at + MINUTE
    well = replace(connection, streak=Streak(outcome=Outcome.OK, answers=2), applied_at=well_at)
    taking = replace(hook, accepted_at=well_at)
    good = failure_step(opened.records, [well], [taking], rules, well_at)
    assert good.ended == ()

    # The store has pulled in what it holds, somewhat earlier than this step does.
    now = well_at - back
    well, taking = replace(well, applied_at=now), replace(taking, accepted_at=now)
    after = failure_step(good.records, [well], [taking], rules, now + SECOND)
    assert all(at <= now + SECOND for at in instants((after.records.tracks, after.records.alerts)))
    over = failure_step(after.records, [well], [taking], rules, now + SECOND + rules.keep_firing_for)
    assert [(end.resolution, end.track.episode and end.track.episode.flaps) for end in over.ended] == [
        (Resolution.RECOVERED, 0)
    ]
