"""Counts for the gauges, and dependencies that remember."""

import pytest

from monitor.drift.snapshot import Change, ChangeKind, Counts, Dependencies, Snapshot, count
from tests.unit.drift.build import answer, broken, ready


def test_count_counts_states_drifts_and_issues() -> None:
    """A ready number counts in its state alone, a drifting one in its issues too."""
    counts = count(answer(ready(1), broken(2), broken(3, "NO_BOT", ("NO_BOT", "ROUTING_MISSING"))), ignored=1)
    assert counts.states == {"READY": 1, "NO_BOT": 2}
    assert counts.drifting == {"NO_BOT": 2}
    assert counts.issues == {"NO_BOT": 2, "ROUTING_MISSING": 1}
    assert (counts.total, counts.total_drifting, counts.ignored) == (3, 2, 1)


def test_count_keeps_what_was_once_seen_as_zero() -> None:
    """A state or issue that is gone stays as 0: a series must not vanish."""
    seen = count(answer(broken(1), ready(2)))
    counts = count(answer(ready(1), ready(2)), seen)
    assert counts.states == {"READY": 2, "NO_BOT": 0}
    assert counts.drifting == {"NO_BOT": 0}
    assert counts.issues == {"NO_BOT": 0}


def test_count_takes_over_inventory_warnings_and_skips() -> None:
    """What the answer says of the rest of the inventory is shown as it is."""
    snapshot = Snapshot(numbers={}, inventory={"bots": 4}, warnings=("w1", "w2"), skipped=3)
    assert count(snapshot) == Counts(inventory={"bots": 4}, warnings=2, skipped=3)


@pytest.mark.parametrize(
    ("now", "before", "together"),
    [
        pytest.param(
            Dependencies(1, 2, "ws", 3),
            Dependencies(9, 9, "sip", 9),
            Dependencies(1, 2, "ws", 3),
            id="present_wins",
        ),
        pytest.param(
            Dependencies(1),
            Dependencies(9, 8, "sip", 7),
            Dependencies(1, 8, "sip", 7),
            id="gone_is_as_before",
        ),
        pytest.param(Dependencies(0, 0), Dependencies(9, 9), Dependencies(0, 0), id="zero_is_a_value"),
        pytest.param(Dependencies(1), None, Dependencies(1), id="no_before"),
    ],
)
def test_refs_remember_what_is_gone(
    now: Dependencies, before: Dependencies | None, together: Dependencies
) -> None:
    """Earlier dependencies stand in where the answer names none now."""
    assert now.or_else(before) == together


def test_change_number_is_the_newest_side() -> None:
    """A removed number is shown as it was."""
    assert Change(ChangeKind.REMOVED, "1", ready(1), None).number == ready(1)
    assert Change(ChangeKind.APPEARED, "1", ready(1), broken(1)).number == broken(1)
    with pytest.raises(ValueError, match="at least one side"):
        _ = Change(ChangeKind.REMOVED, "1", None, None).number
