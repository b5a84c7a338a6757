"""When a message is tried again."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DeliveryError, Refusal
from monitor.notify.delivery import Dead, Failed
from monitor.notify.retry import after_failure, backoff_s
from tests.fakes.alerts import delivery_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DELIVERY = delivery_of()


class Dice(random.Random):
    """Throws the same share of every range."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self._share = share

    def uniform(self, a: float, b: float) -> float:
        """Return the share of the range."""
        return a + (b - a) * self._share


@pytest.mark.parametrize(
    ("refusal", "attempts", "retry_after_s", "least_s", "most_s"),
    [
        pytest.param(Refusal.RETRY, 0, None, 0, 1, id="first"),
        pytest.param(Refusal.RETRY, 1, None, 0, 2, id="doubles"),
        pytest.param(Refusal.RETRY, 8, None, 0, 256, id="doubles-on"),
        pytest.param(Refusal.RETRY, 9, None, 0, 300, id="five-minutes"),
        pytest.param(Refusal.RETRY, 100_000, None, 0, 300, id="for-ever"),
        pytest.param(Refusal.RETRY, 0, 60.0, 60, 60, id="retry-after"),
        pytest.param(Refusal.RETRY, 9, 60.0, 60, 300, id="retry-after-is-the-least"),
        pytest.param(Refusal.RETRY, 0, 86_400.0, 3600, 3600, id="retry-after-has-a-cap"),
        pytest.param(Refusal.RETRY, 0, float("inf"), 3600, 3600, id="retry-after-without-end"),
        pytest.param(Refusal.FAILING, 0, None, 300, 330, id="failing"),
        pytest.param(Refusal.FAILING, 50, None, 300, 330, id="failing-does-not-grow"),
        pytest.param(Refusal.FAILING, 0, 900.0, 900, 900, id="failing-with-retry-after"),
    ],
)
def test_backoff_stays_in_its_range(
    refusal: Refusal, attempts: int, retry_after_s: float | None, least_s: float, most_s: float
) -> None:
    """Jitter reaches from one end of the range to the other."""
    assert backoff_s(refusal, attempts, retry_after_s, Dice(0.0)) == least_s
    assert backoff_s(refusal, attempts, retry_after_s, Dice(1.0)) == most_s


@given(attempts=st.integers(0, 10_000), seed=st.integers(), asked_s=st.none() | st.floats(0, 1e12))
def test_backoff_never_exceeds_its_bounds(attempts: int, seed: int, asked_s: float | None) -> None:
    """No message waits more than an hour, nor less than it was asked to."""
    for refusal in (Refusal.RETRY, Refusal.FAILING):
        wait_s = backoff_s(refusal, attempts, asked_s, random.Random(seed))
        assert min(asked_s or 0.0, 3600) <= wait_s <= 3600


@pytest.mark.parametrize(
    ("refusal", "failing_for", "superseded", "dead"),
    [
        pytest.param(Refusal.DEAD, None, False, True, id="refused-for-good"),
        pytest.param(Refusal.RETRY, None, False, False, id="first-failure"),
        pytest.param(Refusal.RETRY, None, True, False, id="first-failure-with-newer-behind"),
        pytest.param(Refusal.RETRY, timedelta(days=30), False, False, id="a-month-with-none-behind"),
        pytest.param(Refusal.RETRY, timedelta(hours=23, minutes=59), True, False, id="not-a-day-yet"),
        pytest.param(Refusal.RETRY, timedelta(days=1), True, True, id="a-day-with-newer-behind"),
        pytest.param(Refusal.FAILING, timedelta(days=1), True, True, id="failing-a-day-with-newer-behind"),
    ],
)
def test_after_failure_gives_up_only_where_it_must(
    refusal: Refusal, failing_for: timedelta | None, *, superseded: bool, dead: bool
) -> None:
    """Only refused messages die, and those that block newer ones for a day."""
    first_failed_at = None if failing_for is None else NOW - failing_for
    delivery = replace(DELIVERY, first_failed_at=first_failed_at, superseded=superseded)
    result = after_failure(delivery, DeliveryError(refusal, "503"), now=NOW, rng=Dice(0.5))
    assert isinstance(result, Dead if dead else Failed)
    assert "503" in result.error


WAITS_S = {
    Refusal.RETRY: {0: 1, 1: 2, 2: 4, 3: 8, 4: 16, 5: 32, 6: 64, 7: 128, 8: 256, 9: 300, 10: 300, 10**6: 300},
    Refusal.FAILING: dict.fromkeys([*range(11), 10**6], 330),
}


@pytest.mark.parametrize("attempts", [*range(11), 10**6])
@pytest.mark.parametrize("refusal", list(Refusal))
def test_after_failure_of_every_refusal_and_attempt(refusal: Refusal, attempts: int) -> None:
    """The longest wait of each pair; what is refused for good, or by a receiver that is gone, has none."""
    delivery = replace(DELIVERY, attempts=attempts)
    result = after_failure(delivery, DeliveryError(refusal, "no"), now=NOW, rng=Dice(1.0))
    if refusal is Refusal.DEAD:
        assert result == Dead(delivery=delivery, at=NOW, error="no")
        return
    wait_s = None if refusal is Refusal.GONE else WAITS_S[refusal][attempts]
    next_try_at = NOW + timedelta(seconds=wait_s) if wait_s is not None else None
    expected = Failed(delivery=delivery, at=NOW, next_try_at=next_try_at, refusal=refusal, error="no")
    assert result == expected


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("since", [None, NOW - timedelta(days=1)], ids=["at once", "parked"])
@pytest.mark.parametrize("refusal", list(Refusal))
def test_after_failure_says_whether_the_receiver_said_no(
    refusal: Refusal, since: datetime | None, *, answered: bool
) -> None:
    """However the try ends: refusals in a row are counted, a silent receiver is not one of them."""
    delivery = replace(DELIVERY, first_failed_at=since, superseded=True)
    result = after_failure(delivery, DeliveryError(refusal, "no", answered=answered), now=NOW, rng=Dice(0.5))
    assert result.answered is answered


def test_after_failure_says_when_the_next_try_is() -> None:
    """The next try is the backoff after now, and keeps why."""
    error = DeliveryError(Refusal.FAILING, "401 Unauthorized", retry_after_s=400)
    result = after_failure(DELIVERY, error, now=NOW, rng=Dice(0.5))
    assert result == Failed(
        delivery=DELIVERY,
        at=NOW,
        next_try_at=NOW + timedelta(seconds=400),
        refusal=Refusal.FAILING,
        error="401 Unauthorized",
    )
