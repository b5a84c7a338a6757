"""What an HTTP answer means for a message."""

import pytest

from monitor.errors import DeliveryError, Refusal
from monitor.http.request import HttpAnswer
from monitor.notify.http import refusal_of, require_taken


@pytest.mark.parametrize(
    ("statuses", "refusal"),
    [
        pytest.param([200, 201, 202, 204, 299], None, id="taken"),
        pytest.param([408, 425, 429, 500, 502, 503, 504, 599], Refusal.RETRY, id="may-pass"),
        pytest.param([100, 199, 600, 999], Refusal.RETRY, id="no-final-status"),
        pytest.param([400, 413, 422], Refusal.DEAD, id="never"),
        pytest.param([401, 403, 404], Refusal.FAILING, id="barred"),
        pytest.param([410], Refusal.GONE, id="gone"),
        pytest.param([300, 301, 302, 303, 304, 307, 308], Refusal.FAILING, id="redirect"),
        pytest.param([402, 405, 407, 409, 411, 415, 418, 451], Refusal.FAILING, id="other-4xx"),
    ],
)
def test_refusal_of_a_status(statuses: list[int], refusal: Refusal | None) -> None:
    """Each status means one thing for the next try."""
    assert {refusal_of(status) for status in statuses} == {refusal}


def test_require_taken_carries_what_the_other_side_asked() -> None:
    """A refusal has the status, the words, and the wait of the answer, and counts as answered."""
    with pytest.raises(DeliveryError, match="429 Too Many Requests: slow down") as caught:
        require_taken(HttpAnswer(status=429, text="slow down", retry_after_s=7.0))
    assert (caught.value.refusal, caught.value.retry_after_s) == (Refusal.RETRY, 7.0)
    assert caught.value.answered
