"""When connections are due, and what that costs."""

from datetime import UTC, datetime, timedelta

import pytest

from monitor.config import Config, Timing
from monitor.config.checks import budget_problem, questions

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
        ("*/5 * * * *", timedelta(minutes=5), timedelta(minutes=5)),
        ("*/5 * * * mon-fri", timedelta(minutes=5), timedelta(days=2, minutes=5)),
        ("*/5 9-17 * * *", timedelta(minutes=5), timedelta(hours=15, minutes=5)),
        ("* 0-5,18-23 1-7 * *", timedelta(minutes=1), timedelta(days=24, minutes=1)),
        ("0,10 8 * * *", timedelta(minutes=10), timedelta(hours=23, minutes=50)),
        ("0 0 * * mon-fri", timedelta(days=1), timedelta(days=3)),
    ],
    ids=["even", "five days", "daytime", "first week", "uneven", "weekends"],
)
def test_gaps_of_a_cron_are_the_same_whenever_it_is_read(
    cron: str, shortest: timedelta, longest: timedelta
) -> None:
    """Its need is judged by its closest times, its staleness by its farthest, however far ahead."""
    for hours in range(0, 14 * 24, 5):
        assert Timing(interval=every(1), cron=cron).gaps(NOW + timedelta(hours=hours)) == (shortest, longest)


def test_gaps_across_a_clock_change_are_real_time() -> None:
    """The hour that a clock change takes is not counted."""
    timing = Timing(interval=every(1), cron="30 1,3 29 mar *", timezone="Europe/Berlin")
    assert timing.gaps(NOW)[0] == timedelta(hours=1)


def of_web(**web: object) -> list[str]:
    """Return the warnings about this [web]."""
    config = Config.model_validate({"accounts": [{"name": "a", "api_key": "rg_live_1"}], "web": web})
    return [each for each in questions(config, NOW) if each.startswith("web.")]


def hashed(cost: int) -> str:
    """Return a hash of a cost."""
    return f"$2y${cost:02d}$" + "." * 53


@pytest.mark.parametrize(
    ("users", "operators", "warned"),
    [
        (["ops"], ["*"], False),
        (["ops", "viewer"], ["op?"], False),
        (["viewer"], ["ops", "OPS*"], True),
        (["viewer"], [], True),
        (["Ops"], ["ops"], True),
        ([], ["ops"], False),
    ],
)
def test_operators_that_match_no_user_are_questioned(
    users: list[str], operators: list[str], warned: bool
) -> None:
    """Where there are users and none may act, the config says so; without users the key means nothing."""
    found = of_web(basic_auth_users=dict.fromkeys(users, hashed(10)), operators=operators)
    assert found == ["web.operators: it matches no user of web.basic_auth_users, so no one can act"] * warned


@pytest.mark.parametrize(
    ("cron", "duration", "warned"),
    [
        ("* * * * *", "1m", True),
        ("*/30 * * * *", "29m", False),
        ("0 0 * * *", "1d", True),
        ("0 0 * * *", "23h", False),
        ("0 2 * * sun", "8d", True),
        ("0 9-17 * * mon-fri", "2h", False),
    ],
)
def test_maintenance_that_never_closes_is_questioned(cron: str, duration: str, warned: bool) -> None:
    """With each window open until the next one, the monitor would be silent for good."""
    accounts = [{"name": "a", "api_key": "rg_live_1"}]
    window = {"cron": cron, "duration": duration}
    config = Config.model_validate({"accounts": accounts, "maintenance": [window]})
    found = [each for each in questions(config, NOW) if each.startswith("maintenance[0].duration: ")]
    assert len(found) == warned


@pytest.mark.parametrize(("cost", "warned"), [(4, False), (14, False), (15, True), (31, True)])
def test_hash_that_takes_seconds_is_questioned(cost: int, warned: bool) -> None:
    """One costly hash slows every login down, as all are checked at the same cost."""
    found = of_web(basic_auth_users={"ops": hashed(cost)})
    assert [each.startswith("web.basic_auth_users.ops: at this cost a login") for each in found] == [
        True
    ] * warned
