"""When connections are due, and what that costs."""

from datetime import UTC, datetime, timedelta

import pytest

from monitor.config import Timing
from monitor.config.checks import budget_problem

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def every(seconds: float) -> timedelta:
    """Return so many seconds."""
    return timedelta(seconds=seconds)


def test_budget_names_the_numbers() -> None:
    """The error says how many connections, how often, what they need and what there is."""
    assert budget_problem("acme", [every(60)] * 40, 30) == (
        "account acme: 40 connections every 60s need 40 requests a minute, its budget is 30: "
        "raise requests_per_minute or the interval"
    )


@pytest.mark.parametrize(
    ("gaps", "budget"),
    [([60] * 30, 30), ([1.5] * 3, 120), ([70] * 7, 6), ([], 1)],
    ids=["exactly", "fractions", "rounded", "nothing"],
)
def test_budget_that_suffices_is_fine(gaps: list[float], budget: int) -> None:
    """An account may use its budget up."""
    assert budget_problem("acme", [every(gap) for gap in gaps], budget) is None


def test_budget_of_mixed_intervals_says_more_than_it_has() -> None:
    """The need is rounded up, so that it never reads as if it were within the budget."""
    problem = budget_problem("acme", [every(60), every(59.99)], 2)
    assert problem is not None
    assert "2 connections need 2.1 requests a minute, its budget is 2" in problem


@pytest.mark.parametrize(
    ("cron", "shortest", "longest"),
    [
        ("*/5 * * * mon-fri", timedelta(minutes=5), timedelta(minutes=5)),
        ("0,10 8 * * *", timedelta(minutes=10), timedelta(hours=23, minutes=50)),
        ("0 0 * * mon-fri", timedelta(days=1), timedelta(days=3)),
    ],
    ids=["even", "uneven", "weekends"],
)
def test_gaps_of_a_cron_are_those_of_its_next_times(
    cron: str, shortest: timedelta, longest: timedelta
) -> None:
    """A cron's need is judged by its closest times, its staleness by its farthest."""
    assert Timing(interval=every(1), cron=cron).gaps(NOW) == (shortest, longest)


def test_gaps_across_a_clock_change_are_real_time() -> None:
    """The hour that a clock change takes is not counted."""
    timing = Timing(interval=every(1), cron="30 1,3 29 mar *", timezone="Europe/Berlin")
    assert timing.gaps(NOW)[0] == timedelta(hours=1)
