"""The ready share of a connection, against a model that looks at every second."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.store.availability import Gap, Move, Standing, measured

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPAN = 60


def at(second: int) -> datetime:
    """Return an instant of the span, which ends now at second 60."""
    return NOW + timedelta(seconds=second - SPAN)


def standing(numbers: int, drifting: int) -> Standing:
    """Return a connection that has been watched for long."""
    return Standing(
        identity="a", numbers=numbers, drifting=drifting, watched_since=at(-SPAN), blind_since=None
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]:
    """Return what was found when (numbers, drifting), oldest first, and when nothing could be seen."""
    instants = draw(st.lists(st.integers(-20, SPAN), min_size=1, max_size=12, unique=True).map(sorted))
    found = []
    for second in instants:
        numbers = draw(st.integers(0, 5))
        found.append((second, numbers, draw(st.integers(0, numbers))))
    edges = draw(st.lists(st.integers(-20, SPAN), max_size=8, unique=True).map(sorted))
    return found, [(edges[i], edges[i + 1]) for i in range(0, len(edges) - 1, 2)]


@given(histories(), st.integers(0, SPAN))
def test_share_is_that_of_every_second(
    history: tuple[list[tuple[int, int, int]], list[tuple[int, int]]], begin: int
) -> None:
    """Whatever came, went, broke and healed in between, and whenever the connection could not be seen."""
    found, blind = history
    shares, unknown = [], 0
    for second in range(begin, SPAN):
        if any(first <= second < last for first, last in blind):
            unknown += 1
            continue
        _, numbers, drifting = next((each for each in reversed(found) if each[0] <= second), found[0])
        if numbers:
            shares.append(1 - drifting / numbers)
    moves = [
        Move(at(second), numbers - before[1], drifting - before[2])
        for before, (second, numbers, drifting) in pairwise(found)
    ]
    gaps = [Gap(at(first), at(last)) for first, last in blind]
    result = measured(standing(*found[-1][1:]), moves[::-1], gaps[::-1], since=at(begin), now=NOW)
    assert result.since == at(begin)
    assert result.unknown_s == unknown
    assert result.ready == (pytest.approx(sum(shares) / len(shares)) if shares else None)


@pytest.mark.parametrize(
    ("blind", "unknown_s"),
    [
        pytest.param([Gap(at(10), at(30)), Gap(at(20), at(25))], 20, id="within another"),
        pytest.param([Gap(at(10), at(30)), Gap(at(20), at(40))], 30, id="overlapping"),
        pytest.param([Gap(at(50), at(90))], 10, id="beyond now"),
        pytest.param([Gap(at(70), at(90))], 0, id="in the future"),
        pytest.param([Gap(at(-10), at(90))], 60, id="all of it"),
    ],
)
def test_gaps_of_a_clock_that_jumped_count_once(blind: list[Gap], unknown_s: float) -> None:
    """Gaps that overlap, or lie ahead, take no more time than there is."""
    result = measured(standing(4, 1), [], blind, since=at(0), now=NOW)
    assert result.unknown_s == unknown_s
    assert result.ready == (0.75 if unknown_s < SPAN else None)


def test_counts_that_records_contradict_stay_a_share() -> None:
    """However many more changes are recorded than numbers are left, it lies between none and all."""
    moves = [Move(at(30), 1, 5), Move(at(20), 9, -9)]
    result = measured(standing(2, 1), moves, [], since=at(0), now=NOW)
    assert result.ready is not None
    assert 0 <= result.ready <= 1
