"""Counts for the gauges, and which states and issues they tell apart."""

from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Severity
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Ignore, Rules, Severities
from monitor.drift.snapshot import Counts, Snapshot
from monitor.drift.vocabulary import LIMIT, OTHER, REMEMBERED, Vocabulary, count
from tests.unit.drift.build import AT_ONCE, HOUR, MINUTE, START, Watch, answer, broken, fleet, ready

DAY = timedelta(days=1)


def nothing(code: str) -> bool:
    """Name no state and no issue."""
    del code
    return False


def counted(snapshot: Snapshot, known: Vocabulary | None = None) -> Counts:
    """Return the counts of a snapshot."""
    counts, _ = count(snapshot, known or Vocabulary(), nothing, START, ignored={"NO_BOT": 1})
    return counts


def words(first: int, last: int) -> list[str]:
    """Return as many different states."""
    return [f"S{index:04d}" for index in range(first, last + 1)]


def test_count_counts_states_drifts_and_issues() -> None:
    """A ready number counts in its state alone, a drifting one in its issues too."""
    counts = counted(answer(ready(1), broken(2), broken(3, "NO_BOT", ("NO_BOT", "ROUTING_MISSING"))))
    assert counts.states == {"READY": 1, "NO_BOT": 2}
    assert counts.drifting == {"NO_BOT": 2}
    assert counts.issues == {"NO_BOT": 2, "ROUTING_MISSING": 1}
    assert (counts.total, counts.total_drifting, counts.total_ignored, counts.folded) == (3, 2, 1, 0)


def test_ignored_numbers_are_counted_by_the_state_that_shows_them() -> None:
    """One without a count of its own is among the others; a state that drifts has a count, if only 0."""
    states = ["NO_BOT", *words(1, LIMIT + 1)]
    snapshot = answer(*(broken(index, state) for index, state in enumerate(states, 1)))
    counts, vocabulary = count(snapshot, Vocabulary(), nothing, START, ignored={states[0]: 1, states[-1]: 1})
    assert counts.ignored.keys() == counts.drifting.keys()
    assert counts.total_ignored == 2
    assert counts.ignored[vocabulary.group(states[-1])] >= 1
    assert all(counts.ignored[state] <= counts.drifting[state] for state in counts.drifting)


def test_count_takes_over_inventory_warnings_and_skips() -> None:
    """What the answer says of the rest of the inventory is shown as it is."""
    snapshot = Snapshot(numbers={}, inventory={"bots": 4}, warnings=("w1", "w2"), skipped=3)
    counts, _ = count(snapshot, Vocabulary(), nothing, START)
    assert counts == Counts(inventory={"bots": 4}, warnings=2, skipped=3)


def test_state_that_is_gone_stays_as_zero_for_a_day() -> None:
    """Its series must not vanish at once; it goes by the clock, without a sync."""
    watch = Watch(AT_ONCE)
    watch.sync(broken(1), ready(2))
    done = watch.sync(ready(1), ready(2))
    gone_at = watch.now
    assert done.counts is not None
    assert (done.counts.states, done.counts.drifting, done.counts.issues) == (
        {"NO_BOT": 0, "READY": 2},
        {"NO_BOT": 0},
        {"NO_BOT": 0},
    )
    assert done.wakes_at == gone_at + REMEMBERED == gone_at + DAY
    watch.wait(DAY - MINUTE)
    assert watch.steps[-1].counts == done.counts
    done = watch.wait(MINUTE)
    assert done.counts is not None
    assert (done.counts.states, done.counts.drifting, done.counts.issues) == ({"READY": 2}, {}, {})
    assert done.wakes_at is None


def test_sixty_states_are_fifty_and_other() -> None:
    """At most fifty alerts by state, one for the rest; each number keeps its real state."""
    watch = Watch(AT_ONCE)
    watch.read(answer(*fleet(200)))
    texts = words(1, 60)
    done = watch.read(answer(*fleet(200, *(broken(index, texts[index - 1]) for index in range(1, 61)))))
    assert done.counts is not None
    assert len(done.counts.states) == LIMIT + 1
    assert (done.counts.states["READY"], done.counts.states[OTHER], done.counts.drifting[OTHER]) == (
        140,
        11,
        11,
    )
    assert (len(done.counts.issues), done.counts.issues[OTHER], done.counts.folded) == (LIMIT + 1, 10, 21)
    groups = Counter(made.alert.group for made in watch.reports)
    assert (len(groups), groups[OTHER]) == (LIMIT, 1)
    body = next(made for made in watch.reports if made.alert.group == OTHER)
    assert len({track.number.state for track in body.members if track.number}) == 11


def test_texts_that_never_come_twice_stay_bounded() -> None:
    """A state with the time of day in it makes no new series once there are fifty."""
    watch = Watch(AT_ONCE)
    for index in range(200):
        counts = watch.read(answer(*fleet(9), broken(10, f"SEEN AT {index:04d}"))).counts
        assert counts is not None
        assert len(counts.states) <= LIMIT + 1
        assert (counts.total, counts.total_drifting) == (10, 1)
        assert counts.states.get(OTHER, 0) == (1 if index >= LIMIT - 1 else 0)
    later = watch.read(answer(*fleet(9), broken(10, "NEW")), after=DAY)
    assert later.counts is not None
    assert set(later.counts.states) == {"READY", "NEW", OTHER}


def test_state_of_most_ready_numbers_is_never_folded() -> None:
    """Even if it comes when there are fifty already."""
    watch = Watch(AT_ONCE)
    watch.read(answer(*(broken(index + 1, word) for index, word in enumerate(words(1, 70)))))
    done = watch.read(answer(*(broken(i + 1, word) for i, word in enumerate(words(1, 70))), ready(80)))
    assert done.counts is not None
    assert done.counts.states["READY"] == 1
    assert len(done.counts.states) == LIMIT + 1


def test_what_rules_name_is_never_folded() -> None:
    """Severities and ignore rules go by names in any case; more of them than the limit are all kept."""
    named = words(1, 60)
    rules = Rules(
        confirm_syncs=1,
        severities=Severities.of(dict.fromkeys(map(str.lower, named[:58]), Severity.INFO), Severity.WARNING),
        ignores=(Ignore(state=named[58]), Ignore(issue=named[59].lower())),
    )
    watch = Watch(rules)
    every = [f"A{index}" for index in range(60)] + named
    done = watch.read(answer(*(broken(index + 1, word) for index, word in enumerate(every))))
    assert done.counts is not None
    assert set(done.counts.states) == {*named, OTHER}
    assert done.counts.states[OTHER] == 60


def test_folding_that_ends_leaves_a_zero_for_a_day() -> None:
    """`OTHER` is a series like the others."""
    watch = Watch(AT_ONCE, Guard(min_numbers=1000))
    watch.read(answer(*(broken(index + 1, word) for index, word in enumerate(words(1, 60)))))
    done = watch.read(answer(*fleet(60)), after=2 * DAY)
    assert done.counts is not None
    assert (done.counts.states["READY"], done.counts.states[OTHER], done.counts.folded) == (60, 0, 0)
    done = watch.wait(DAY)
    assert done.counts is not None
    assert (done.counts.states, done.counts.folded) == ({"READY": 60}, 0)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 130), max_size=120),
            st.sampled_from([MINUTE, HOUR, 25 * HOUR]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_vocabulary_is_bounded_complete_and_steady(
    syncs: list[tuple[list[int], timedelta]],
) -> None:
    """Never more than fifty and OTHER; every number counted; nobody moves while seen; order is no matter."""
    known, now = Vocabulary(), START
    for states, after in syncs:
        now += after
        shown = [
            ready(place, state=f"S{state}") if state % 3 else broken(place, f"S{state}")
            for place, state in enumerate(states)
        ]
        counts, after_it = count(answer(*shown), known, nothing, now)
        assert len(counts.states.keys() - {OTHER}) <= LIMIT
        assert len(counts.issues.keys() - {OTHER}) <= LIMIT
        assert len(counts.drifting) <= 2 * LIMIT
        assert counts.total == len(shown)
        assert counts.total_drifting == sum(number.drifting for number in shown)
        seen = {number.state for number in shown}
        assert (counts.states.get(OTHER, 0) > 0) is (not seen <= after_it.states.keys())
        assert set(counts.states) == set(after_it.states)
        again, steady = count(answer(*shown[::-1]), after_it, nothing, now + MINUTE)
        assert (again, steady) == (counts, after_it)
        known = after_it
