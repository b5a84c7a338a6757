"""What moved in each alert, and how its body says so."""

from datetime import timedelta

import msgspec
import pytest

from monitor.drift.alert import AlertBody, Kind, encode_body, merged
from monitor.drift.alerts import KEPT_CHANGES
from monitor.drift.moves import moves, told, was_is
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Change, ChangeKind, Dependencies, Number
from monitor.drift.text import Wording
from tests.fakes.alerts import BODY
from tests.unit.drift.build import (
    EVERY_KIND,
    HOUR,
    MINUTE,
    OPENED,
    RESOLVED,
    UPDATED,
    Watch,
    broken,
    firing,
    fleet,
    key,
    member,
    ready,
)

A, C, R, ADDED, GONE, MOVED = (
    ChangeKind.APPEARED,
    ChangeKind.CHANGED,
    ChangeKind.RESOLVED,
    ChangeKind.ADDED,
    ChangeKind.REMOVED,
    ChangeKind.RECONFIGURED,
)
TOLD = {
    (Kind.DRIFT, A): A,
    (Kind.DRIFT, C): C,
    (Kind.DRIFT, R): R,
    (Kind.DRIFT, ADDED): R,
    (Kind.DRIFT, GONE): GONE,
    (Kind.DRIFT, MOVED): MOVED,
    (Kind.NUMBER_REMOVED, ADDED): R,
    (Kind.NUMBER_REMOVED, GONE): GONE,
    (Kind.RECONFIGURED, GONE): GONE,
    (Kind.RECONFIGURED, MOVED): MOVED,
}
"""What a change is in an alert of each kind; the pairs that are not here say nothing in it."""


def change(kind: ChangeKind, before: Number | None = None, after: Number | None = None) -> Change:
    """Return a change of the first number, ready unless told otherwise."""
    return Change(kind=kind, key=key(1), before=before, after=after if kind is not GONE else None)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.about_numbers])
@pytest.mark.parametrize("found", ChangeKind)
def test_change_of_a_member_is_told_in_the_alerts_that_it_concerns(kind: Kind, found: ChangeKind) -> None:
    """Every kind of alert and every kind of change; of a number that is in no alert nothing is told."""
    track = member(key(1), kind=kind, number=ready(1))
    tracks = {f"{kind}:{key(1)}": track}
    changes = [change(found, before=None if found is ADDED else ready(1), after=ready(1))]
    expected = TOLD.get((kind, found))
    made = moves(tracks, tracks, changes, ())
    assert [each.kind for each in made.get("a1", [])] == ([expected] if expected else [])
    pending = {name: msgspec.structs.replace(each, episode=None) for name, each in tracks.items()}
    assert moves(pending, pending, changes, ()) == {}


def test_a_number_that_comes_back_broken_is_told_once() -> None:
    """It was added and appeared; the alert says that it appeared."""
    tracks = {f"{Kind.DRIFT}:{key(1)}": member(key(1), number=broken(1))}
    found = [change(ADDED, after=broken(1)), change(A, after=broken(1))]
    assert [each.kind for each in moves(tracks, tracks, found, ())["a1"]] == [A]


def test_a_reconfigured_number_that_is_as_before_is_told_as_resolved() -> None:
    """And as reconfigured when it moves on."""
    watch = Watch(Rules(alerting=EVERY_KIND, any_reconfiguration=True, confirm_syncs=1))
    watch.sync(ready(1))
    for bot in (94, 95, 93):
        watch.sync(ready(1, dependencies=Dependencies(415, bot)), after=MINUTE)
    (alert,) = watch.records.alerts
    assert [each.kind for each in alert.changes] == [R, MOVED]
    assert told(alert.changes[1]).was == {"bot_id": 94}
    assert told(alert.changes[1]).is_ == {"bot_id": 95}


def test_opened_alert_tells_what_its_members_were_before() -> None:
    """From the last good snapshot to the present, however long confirmation took."""
    watch = Watch(Rules(confirm_syncs=3))
    watch.sync(ready(1))
    for state in ("EXPIRED", "NO_BOT", "ROUTING_MISSING"):
        watch.sync(broken(1, state))
    body = watch.last_body()
    assert (body.change, body.changes_total) == (OPENED, 1)
    (found,) = body.changes
    assert (found.change, found.previous_state, found.state) == (A, "READY", "ROUTING_MISSING")
    assert (found.previous_issues, found.issues) == ([], ["ROUTING_MISSING"])
    assert (found.was, found.is_) == ({"bot_id": 93}, {"bot_id": None})


def test_update_tells_what_moved_since_the_last_message_newest_first() -> None:
    """Each message begins anew; what it told is not told again."""
    watch = firing(Rules(keep_firing_for=HOUR))
    watch.sync(broken(1, "ROUTING_MISSING"), ready(2), after=MINUTE)
    watch.sync(broken(1, "EXPIRED"), ready(2), after=MINUTE)
    watch.wait(5 * MINUTE)
    body = watch.last_body()
    assert body.change is UPDATED
    assert [(each.previous_state, each.state) for each in body.changes] == [
        ("ROUTING_MISSING", "EXPIRED"),
        ("NO_BOT", "ROUTING_MISSING"),
    ]
    watch.sync(ready(1), ready(2), after=MINUTE)
    watch.sync(ready(1), ready(2), after=HOUR)
    body = watch.last_body()
    assert body.change is RESOLVED
    assert [(each.change, each.previous_state, each.state) for each in body.changes] == [
        (R, "EXPIRED", "READY")
    ]


def test_changes_are_capped_and_all_are_counted() -> None:
    """At most `max_listed_numbers`; the total says how many there were."""
    watch = Watch(Rules(confirm_syncs=1))
    watch.guard = type(watch.guard)(ratio=1.0)
    watch.sync(*fleet(80))
    watch.sync(*(broken(index) for index in range(1, 81)))
    body = watch.last_body(Wording(max_listed_numbers=3))
    assert (body.changes_total, [each.key for each in body.changes]) == (80, [key(1), key(2), key(3)])
    assert len(watch.last_body(Wording(max_listed_numbers=KEPT_CHANGES)).changes) == 80


def test_previous_state_is_the_one_before_the_current() -> None:
    """Not the one before the drift began; through a recovery it is the ready one."""
    watch = firing(Rules(keep_firing_for=HOUR))
    for state, before in (
        ("ROUTING_MISSING", "NO_BOT"),
        ("ROUTING_MISSING", "NO_BOT"),
        ("NO_BOT", "ROUTING_MISSING"),
    ):
        watch.sync(broken(1, state), ready(2))
        (track,) = watch.records.tracks.values()
        assert track.previous_state == before
    watch.sync(ready(1), ready(2))
    (track,) = watch.records.tracks.values()
    assert track.back == ready(1)
    watch.sync(broken(1), ready(2))
    (track,) = watch.records.tracks.values()
    assert (track.previous_state, track.back) == ("READY", None)


def test_number_that_is_ready_again_is_told_as_it_is() -> None:
    """The alert goes on for `keep_firing_for`; its body lists the number in its current state."""
    watch = firing(Rules(keep_firing_for=HOUR, update_interval=timedelta(0)), broken(3))
    watch.sync(ready(1), ready(2), broken(3, "EXPIRED"))
    body = watch.last_body()
    (one, other) = body.numbers
    assert (one.state, one.previous_state, one.issues, one.action_items) == ("READY", "NO_BOT", [], [])
    assert (other.state, other.previous_state) == ("EXPIRED", "NO_BOT")
    assert body.summary.startswith("acme-sales: 2 numbers, 1 EXPIRED and 1 ready again")
    assert [action.code for action in body.actions] == ["EXPIRED"]


@pytest.mark.parametrize(
    ("before", "after", "was", "now"),
    [
        pytest.param(Dependencies(1, 2), Dependencies(1, 2), {}, {}, id="nothing"),
        pytest.param(Dependencies(1, 2), Dependencies(1, 3), {"bot_id": 2}, {"bot_id": 3}, id="bot"),
        pytest.param(
            Dependencies(1, bot_active=True),
            Dependencies(1, bot_active=False),
            {"bot_active": True},
            {"bot_active": False},
            id="off",
        ),
        pytest.param(Dependencies(1, 2), Dependencies(1, unknown=("bot_id",)), {}, {}, id="unknown"),
    ],
)
def test_was_and_is_hold_only_what_differs(
    before: Dependencies, after: Dependencies, was: dict[str, object], now: dict[str, object]
) -> None:
    """What the answer does not say is no difference."""
    assert was_is(before, after) == (was, now)


def test_is_is_called_so_on_the_wire() -> None:
    """`is_` is Python's name for it."""
    moved = told(change(MOVED, ready(1), ready(1, dependencies=Dependencies(415, 94))))
    sent = msgspec.json.decode(encode_body(msgspec.structs.replace(BODY, changes=[moved])))
    assert list(sent["changes"][0])[-2:] == ["was", "is"]
    assert sent["changes"][0]["is"] == {"bot_id": 94}


def test_merged_message_tells_what_both_would_have_told() -> None:
    """The newer one's present, the changes of both with the newest first, and sums of what was counted."""

    def body(version: int, *changes: Change) -> AlertBody:
        found = [told(each) for each in changes]
        return msgspec.structs.replace(
            BODY, version=version, changes=found, changes_total=len(found), numbers_added=1, numbers_ended=2
        )

    older, newer = body(2, change(A, ready(1), broken(1))), body(3, change(R, broken(1), ready(1)))
    both = merged(newer, older)
    assert (both.version, both.changes_total, both.numbers_added, both.numbers_ended) == (3, 2, 2, 4)
    assert [each.change for each in both.changes] == [R, A]
    assert [each.change for each in merged(newer, older, most=1).changes] == [R]
