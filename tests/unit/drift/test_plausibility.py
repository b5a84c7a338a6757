"""When an answer is held, and what a hold remembers."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from monitor.drift.diff import diff
from monitor.drift.plausibility import Guard, carry_over, hold, implausible, seen_again
from monitor.drift.policy import Records, judge
from monitor.drift.snapshot import ChangeKind, Missing, Number, Snapshot
from tests.unit.drift.build import MINUTE, SECOND, START, Watch, answer, broken, fleet, key, ready

TEN = answer(*fleet(10))
HALF_BROKEN = answer(*fleet(10, *(broken(index) for index in range(1, 6))))


def numbers_from(first: int, *, broken_ones: int = 0, total: int = 10) -> list[Number]:
    """Return the numbers from `first` to `total`, the first few of them broken."""
    return [
        broken(index) if index < first + broken_ones else ready(index) for index in range(first, total + 1)
    ]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        pytest.param(TEN, answer(*numbers_from(6)), None, id="exactly_the_ratio"),
        pytest.param(TEN, answer(*numbers_from(7)), "6 of 10 numbers would go missing at once", id="missing"),
        pytest.param(
            TEN,
            answer(*numbers_from(1, broken_ones=6)),
            "6 of 10 numbers would start drifting at once",
            id="start",
        ),
        pytest.param(
            answer(*numbers_from(1, broken_ones=6)),
            TEN,
            "6 of 10 numbers would stop drifting at once",
            id="stop",
        ),
        pytest.param(
            TEN,
            answer(*numbers_from(4, broken_ones=3)),
            "3 of 10 numbers would go missing and 3 start drifting at once",
            id="together",
        ),
        pytest.param(answer(*fleet(4)), answer(ready(1)), None, id="under_min_numbers"),
        pytest.param(
            answer(*fleet(5)), answer(ready(9)), "5 of 5 numbers would go missing", id="at_min_numbers"
        ),
        pytest.param(
            answer(ready(1)), answer(), "the answer is empty; the last one had 1 number", id="empty"
        ),
        pytest.param(None, answer(*numbers_from(1, broken_ones=10)), None, id="first_snapshot"),
        pytest.param(None, answer(), None, id="first_and_empty"),
        pytest.param(answer(), answer(*numbers_from(1, broken_ones=10)), None, id="nothing_known_before"),
        pytest.param(TEN, answer(*fleet(30)), None, id="many_added"),
        pytest.param(
            TEN, answer(*fleet(10), *(broken(index) for index in range(11, 31))), None, id="many_added_broken"
        ),
        pytest.param(
            answer(*numbers_from(1, broken_ones=10)),
            answer(*(broken(index, "EXPIRED") for index in range(1, 11))),
            None,
            id="all_change_their_state",
        ),
    ],
)
def test_implausible_tells_partial_answers(
    before: Snapshot | None, after: Snapshot, reason: str | None
) -> None:
    """More than the ratio and at least `min_numbers`, or an empty answer; never a first one."""
    said = implausible(before, after, diff(before, after), Guard())
    assert said is None if reason is None else said is not None and reason in said


def test_judge_applies_the_third_implausible_answer_in_a_row() -> None:
    """Two are held, the third is applied as it stands."""
    records = Records(snapshot=TEN)
    shrunk = answer(*numbers_from(8))
    reasons = []
    for _ in range(3):
        verdict = judge(records, shrunk, Guard(), START)
        reasons.append(verdict.reason is None)
        records = verdict.records
    assert reasons == [False, False, True]
    assert verdict.snapshot == shrunk
    assert len(verdict.changes) == 7


def test_judge_counts_different_implausible_answers_together() -> None:
    """In a row means implausible each time, not the same each time."""
    records = Records(snapshot=TEN)
    answers = [answer(), answer(*numbers_from(8)), answer(*numbers_from(1, broken_ones=9))]
    verdicts = []
    for found in answers:
        verdicts.append(judge(records, found, Guard(), START))
        records = verdicts[-1].records
    assert [verdict.reason is None for verdict in verdicts] == [False, False, True]


def test_judge_ends_the_hold_with_an_answer_like_the_applied_one() -> None:
    """After a plausible answer the count begins anew."""
    held = judge(Records(snapshot=TEN), answer(), Guard(), START).records
    assert held.hold is not None
    plausible = judge(held, TEN, Guard(), START)
    assert (plausible.reason, plausible.records.hold) == (None, None)
    again = judge(plausible.records, answer(), Guard(), START).records
    assert again.hold is not None
    assert again.hold.count == 1


def test_hold_counts_sightings_by_number() -> None:
    """A hold remembers how often each number drifted, and how often it was missing."""
    first, second = answer(broken(1), broken(2)), answer(broken(1), ready(3))
    before = answer(ready(1), ready(2), ready(3))
    held = hold(None, first, diff(before, first), "why", START)
    held = hold(held, second, diff(before, second), "why", START)
    assert held.count == 2
    assert held.drifting == {key(1): 2, key(2): 1}
    assert held.missing == {key(3): 1, key(2): 1}


def test_hold_does_not_count_what_the_answer_did_not_show() -> None:
    """A broken number that an unreadable entry may hide is carried over, but does not count as seen."""
    before = answer(broken(1), *fleet(9, first=2))
    found = carry_over(before, answer(broken(2), skipped=1), (), Guard(), START)
    assert hold(None, found, diff(before, found), "why", START).drifting == {key(2): 1}


def test_carry_over_keeps_numbers_while_entries_are_unreadable() -> None:
    """What an answer with skipped entries lacks is unknown: as it was, and no change."""
    before = answer(ready(1), broken(2), ready(3))
    found = carry_over(before, answer(broken(3), skipped=1), (), Guard(), START)
    assert found.numbers == {key(1): ready(1), key(2): broken(2), key(3): broken(3)}
    assert found.unknown == dict.fromkeys([key(1), key(2)], Missing(1, START))
    assert [change.key for change in diff(before, found)] == [key(3)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(answer(ready(1), ready(2)), answer(ready(1)), id="all_readable"),
        pytest.param(None, answer(ready(1), skipped=2), id="first_snapshot"),
    ],
)
def test_carry_over_leaves_other_answers_alone(before: Snapshot | None, after: Snapshot) -> None:
    """Without skipped entries, or without a snapshot before, the answer is what it is."""
    assert carry_over(before, after, (), Guard(), START) is after


def test_judge_does_not_hold_what_unreadable_entries_hide() -> None:
    """Nine unknown numbers are neither missing nor a reason to hold."""
    verdict = judge(Records(snapshot=TEN), answer(ready(1), skipped=9), Guard(), START)
    assert (verdict.reason, verdict.changes) == (None, ())


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        pytest.param(answer(*fleet(9)), answer(*fleet(8)), True, id="lacks_a_number"),
        pytest.param(answer(*fleet(9, broken(1))), answer(*fleet(9)), True, id="ends_drift"),
        pytest.param(answer(*fleet(9)), answer(*fleet(9, broken(1))), False, id="begins_drift"),
        pytest.param(answer(*fleet(9)), answer(*fleet(10)), False, id="adds_a_number"),
        pytest.param(answer(*fleet(9)), answer(*fleet(9)), False, id="changes_nothing"),
    ],
)
@pytest.mark.parametrize(
    ("known", "new"), [((), ("w",)), (("w", "v"), ("v", "x")), (("w",), ()), (("w",), ("w",))]
)
def test_new_warning_makes_what_is_missing_implausible(
    before: Snapshot, after: Snapshot, known: tuple[str, ...], new: tuple[str, ...], *, held: bool
) -> None:
    """Only one that the applied answer did not have, and only where it may have hidden something."""
    before, after = replace(before, warnings=known), replace(after, warnings=new)
    said = implausible(before, after, diff(before, after), Guard())
    assert (said is not None) is (held and not set(new) <= set(known))


@pytest.mark.parametrize(
    ("seconds", "applied"),
    [
        pytest.param([0, 15, 30], [False, False, False], id="too_soon"),
        pytest.param([0, 15, 30, 45, 60], [False] * 4 + [True], id="after_an_interval"),
        pytest.param([0, 60], [False, False], id="too_few"),
        pytest.param([0, 1, 3600], [False, False, True], id="long_after"),
        pytest.param([0, 15, -3600, -3560, -3540], [False] * 4 + [True], id="clock_set_back"),
    ],
)
def test_hold_lasts_for_some_answers_and_some_time(seconds: list[int], applied: list[bool]) -> None:
    """Both `confirm_syncs` and `min_hold`, from the first held answer on."""
    guard, records, found = Guard(min_hold=MINUTE), Records(snapshot=TEN), []
    for after_s in seconds:
        verdict = judge(records, answer(), guard, START + after_s * SECOND)
        records = verdict.records
        found.append(verdict.reason is None)
    assert found == applied


@pytest.mark.parametrize(
    ("seconds", "missing"),
    [
        pytest.param([0, 15, 30], [False, False, False], id="too_soon"),
        pytest.param([0, 15, 30, 45, 60], [False] * 4 + [True], id="after_an_interval"),
        pytest.param([0, 60], [False, False], id="too_few"),
        pytest.param([0, 15, -3600, -3560, -3540], [False] * 4 + [True], id="clock_set_back"),
    ],
)
def test_number_is_unknown_for_some_answers_and_some_time(seconds: list[int], missing: list[bool]) -> None:
    """As long as an implausible answer is held; then it is removed like any other."""
    watch = Watch(guard=Guard(min_hold=MINUTE))
    watch.read(TEN)
    found = []
    for after_s in seconds:
        watch.now = START + after_s * SECOND
        watch.read(answer(*fleet(9), skipped=1), after=timedelta(0))
        found.append(any(change.kind is ChangeKind.REMOVED for change in watch.steps[-1].changes))
        assert watch.steps[-1].settled is False
    assert found == missing


def test_seen_again_is_the_answer_as_it_came() -> None:
    """What was carried over is taken out, so that the same body counts once more."""
    found = answer(*fleet(9), skipped=1)
    applied = carry_over(TEN, found, (), Guard(), START)
    assert applied.numbers == TEN.numbers
    assert seen_again(applied) == found
    assert seen_again(TEN) is TEN
