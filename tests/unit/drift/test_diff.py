"""What changed between two snapshots."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.drift.diff import diff
from monitor.drift.snapshot import ActionItem, ChangeKind, Dependencies, Number
from tests.unit.drift.build import answer, broken, fleet, key, ready

APPEARED, CHANGED, RESOLVED = ChangeKind.APPEARED, ChangeKind.CHANGED, ChangeKind.RESOLVED
ADDED, REMOVED, RECONFIGURED = ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.RECONFIGURED
TWO_ISSUES = ("NO_BOT", "ROUTING_MISSING")


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        pytest.param(ready(1), ready(1), [], id="same"),
        pytest.param(ready(1), broken(1), [APPEARED], id="starts_drifting"),
        pytest.param(broken(1), ready(1), [RESOLVED], id="ready_again"),
        pytest.param(broken(1), broken(1, "ROUTING_MISSING"), [CHANGED], id="another_state"),
        pytest.param(broken(1), broken(1, "NO_BOT", TWO_ISSUES), [CHANGED], id="another_issue"),
        pytest.param(
            broken(1),
            msgspec.structs.replace(broken(1), action_items=(ActionItem("NO_BOT", "Other words"),)),
            [CHANGED],
            id="another_action",
        ),
        pytest.param(
            broken(1, "NO_BOT", TWO_ISSUES), broken(1, "NO_BOT", TWO_ISSUES[::-1]), [], id="issues_reordered"
        ),
        pytest.param(broken(1), broken(1, dependencies=Dependencies(7)), [], id="drifting_with_other_refs"),
        pytest.param(
            ready(1), ready(1, dependencies=Dependencies(7, 93)), [RECONFIGURED], id="another_client"
        ),
        pytest.param(
            ready(1), ready(1, dependencies=Dependencies(415, 94)), [RECONFIGURED], id="another_bot"
        ),
        pytest.param(
            ready(1), ready(1, dependencies=Dependencies(415, 93, "ws")), [RECONFIGURED], id="another_target"
        ),
        pytest.param(
            ready(1),
            ready(1, dependencies=Dependencies(415, 93, None, 5)),
            [RECONFIGURED],
            id="another_agent",
        ),
        pytest.param(ready(1), ready(1, state="ACTIVE"), [], id="ready_under_another_name"),
        pytest.param(ready(1), None, [REMOVED], id="gone"),
        pytest.param(broken(1), None, [REMOVED], id="gone_while_drifting"),
        pytest.param(None, ready(1), [ADDED], id="new"),
        pytest.param(None, broken(1), [ADDED, APPEARED], id="new_and_drifting"),
    ],
)
def test_diff_names_the_change(before: Number | None, after: Number | None, kinds: list[ChangeKind]) -> None:
    """Each pair of sides is the change that the design's words call it."""
    others = [ready(8), broken(9)]
    changes = diff(
        answer(*([before] if before else []), *others), answer(*([after] if after else []), *others)
    )
    assert [change.kind for change in changes] == kinds
    assert all((change.before, change.after) == (before, after) for change in changes)


def test_diff_of_a_first_snapshot_is_what_is_broken() -> None:
    """Nobody added the numbers just now, but what drifts has appeared."""
    changes = diff(None, answer(broken(3), ready(1), broken(2)))
    assert [(change.kind, change.key) for change in changes] == [(APPEARED, key(2)), (APPEARED, key(3))]


@given(
    states=st.lists(st.sampled_from(["ready", "NO_BOT", "EXPIRED", "absent"]), min_size=12, max_size=12),
    order=st.permutations(range(1, 7)),
)
def test_diff_never_depends_on_the_order_of_lists(states: list[str], order: list[int]) -> None:
    """The same numbers in another order give the same changes in the same order."""
    before, after = (
        {
            index: ready(index) if state == "ready" else broken(index, state)
            for index, state in enumerate(half, start=1)
            if state != "absent"
        }
        for half in (states[:6], states[6:])
    )
    shuffled = [answer(*(side[index] for index in order if index in side)) for side in (before, after)]
    assert diff(answer(*before.values()), answer(*after.values())) == diff(shuffled[0], shuffled[1])
    assert diff(answer(*after.values()), shuffled[1]) == ()


def test_diff_is_ordered_by_key() -> None:
    """Changes come in the order of their numbers, whatever they are."""
    changes = diff(answer(*fleet(5)), answer(broken(4), broken(2), ready(1), ready(3)))
    assert [change.key for change in changes] == [key(2), key(4), key(5)]
