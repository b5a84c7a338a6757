"""How many wrong passwords are too many, by address and user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.web.attempts import (
    AT_ONCE,
    AT_ONCE_FROM_ADDRESS,
    FOR_USER,
    FOR_USER_FROM_ADDRESS,
    FROM_ADDRESS,
    Attempts,
    Limit,
    Wait,
)

MOST = 4_096


def fail(attempts: Attempts, address: str, user: bytes, now_s: float = 0.0) -> Wait | None:
    """Try a wrong password."""
    wait = attempts.begin(address, user, now_s)
    if wait is None:
        attempts.end(address, user, now_s, wrong=True)
    return wait


def exhaust(attempts: Attempts, address: str, user: bytes) -> None:
    """Try wrong passwords until there is to wait."""
    while fail(attempts, address, user) is None:
        pass


def test_wrong_passwords_lock_out_no_one_else() -> None:
    """Neither another user behind the same address, nor the same user at another one."""
    attempts = Attempts()
    exhaust(attempts, "a", b"ops")
    assert attempts.begin("a", b"other", 0.0) is None
    assert attempts.begin("b", b"ops", 0.0) is None


@pytest.mark.parametrize(
    ("limit", "address_of", "user_of"),
    [
        pytest.param(FOR_USER_FROM_ADDRESS, "a", b"ops", id="for_user_from_address"),
        pytest.param(FROM_ADDRESS, "a", None, id="from_address"),
        pytest.param(FOR_USER, None, b"ops", id="for_user"),
    ],
)
def test_limit_lets_a_burst_through_and_then_one_a_pause(
    limit: Limit, address_of: str | None, user_of: bytes | None
) -> None:
    """Each limit by itself: where the other part always differs, only this one counts."""
    attempts = Attempts()

    def tried(place: int, now_s: float) -> Wait | None:
        return fail(attempts, address_of or f"{place}", user_of or b"%d" % place, now_s)

    assert [tried(place, 0.0) for place in range(limit.burst)] == [None] * limit.burst
    assert tried(1000, 0.0) == Wait(seconds=limit.pause_s, wrong=True)
    assert tried(1001, limit.pause_s - 0.5) == Wait(seconds=0.5, wrong=True)
    assert tried(1002, limit.pause_s) is None
    assert tried(1003, limit.pause_s) == Wait(seconds=limit.pause_s, wrong=True)
    # Once all are forgotten, there is a whole burst again.
    later = limit.pause_s * (limit.burst + 2)
    assert [tried(2000 + place, later) for place in range(limit.burst)] == [None] * limit.burst
    assert tried(3000, later) is not None


def test_passwords_count_only_once_they_were_wrong() -> None:
    """Right ones never do, however many come one after the other."""
    attempts = Attempts()
    for place in range(FROM_ADDRESS.burst * 3):
        user = b"%d" % (place % 20)
        assert attempts.begin("a", user, 0.0) is None
        attempts.end("a", user, 0.0, wrong=False)


def test_passwords_that_are_being_checked_are_no_way_around_the_limit() -> None:
    """Twenty guesses at once are not twenty tries: of several passwords for a user at most one is right."""
    attempts = Attempts()
    begun = [attempts.begin("a", b"ops", 0.0) for _ in range(20)]
    assert begun.count(None) == FOR_USER_FROM_ADDRESS.burst


def test_one_address_cannot_fill_the_queue() -> None:
    """It is busy for it, which is no fault of a password, while others are checked."""
    attempts = Attempts()
    busy = Wait(seconds=1.0, wrong=False)
    begun = [attempts.begin("a", b"%d" % place, 0.0) for place in range(AT_ONCE_FROM_ADDRESS + 5)]
    assert begun == [None] * AT_ONCE_FROM_ADDRESS + [busy] * 5
    others = [attempts.begin(f"b{place}", b"ops", 0.0) for place in range(AT_ONCE)]
    assert others.count(None) == AT_ONCE - AT_ONCE_FROM_ADDRESS
    attempts.end("a", b"0", 0.0, wrong=False)
    assert attempts.begin("c", b"ops", 0.0) is None


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([b"x", b"y"]), st.integers(0, 30), st.booleans())
    )
)
def test_no_more_than_the_burst_and_one_a_pause_are_ever_wrong(
    tries: list[tuple[str, bytes, int, bool]],
) -> None:
    """In any time, whatever comes in whatever order."""
    attempts, wrong, now_s = Attempts(), [], 0.0
    for address, user, seconds, is_wrong in tries:
        now_s += seconds
        if attempts.begin(address, user, now_s) is None:
            attempts.end(address, user, now_s, wrong=is_wrong)
            wrong += [now_s] if is_wrong and (address, user) == ("a", b"x") else []
    limit = FOR_USER_FROM_ADDRESS
    for first, since_s in enumerate(wrong):
        for count, until_s in enumerate(wrong[first:], 1):
            assert count <= limit.burst + (until_s - since_s) / limit.pause_s


def test_memory_is_bounded() -> None:
    """Of many addresses and users those that were wrong last are kept."""
    attempts = Attempts()
    exhaust(attempts, "first", b"ops")
    exhaust(attempts, "last", b"ops")
    for place in range(MOST - 2):
        assert fail(attempts, f"{place}", b"%d" % place) is None
    assert attempts.begin("last", b"ops", 0.0) is not None
    fail(attempts, "one", b"more")
    fail(attempts, "and", b"another")
    assert attempts.begin("first", b"ops", 0.0) is None


def test_streak_is_news_once() -> None:
    """Its first wrong password is told; after ten quiet minutes the next one is."""
    attempts = Attempts()
    assert [attempts.is_news("a", now_s) for now_s in (0.0, 1.0, 600.0, 1200.0)] == [
        True,
        False,
        False,
        False,
    ]
    assert attempts.is_news("b", 1200.0)
    assert attempts.is_news("a", 1801.0)
