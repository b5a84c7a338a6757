"""The provider's refusals, and requests without an answer."""

import json

import pytest

from monitor.errors import Outcome
from monitor.http.errors import Cause, NoAnswer
from monitor.http.redactor import Redactor
from monitor.voicelink.failure import outcome_of_status, refused, unanswered


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (301, Outcome.REJECTED),
        (400, Outcome.REJECTED),
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.FORBIDDEN),
        (404, Outcome.NOT_FOUND),
        (409, Outcome.REJECTED),
        (418, Outcome.REJECTED),
        (429, Outcome.RATE_LIMITED),
        (500, Outcome.SERVER_ERROR),
        (503, Outcome.SERVER_ERROR),
        (599, Outcome.SERVER_ERROR),
    ],
)
def test_status_gives_the_outcome_of_the_contract(status: int, outcome: Outcome) -> None:
    """Every status has one outcome."""
    assert outcome_of_status(status) is outcome


def _enveloped(**error: object) -> bytes:
    return json.dumps({"success": False, "error": error}).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(
            _enveloped(code="CONFLICT", message="pick one"),
            "the API answered 409 CONFLICT: pick one",
            id="both",
        ),
        pytest.param(_enveloped(code="CONFLICT"), "the API answered 409 CONFLICT", id="code"),
        pytest.param(_enveloped(code=7, message="a\nb\x1b[0m"), "the API answered 409 7: a b [0m", id="odd"),
        pytest.param(b'{"error": "no"}', "the API answered 409 no", id="string"),
        pytest.param(b"<html>no</html>", "the API answered 409", id="not JSON"),
        pytest.param(b"\xff", "the API answered 409", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "the API answered 409", id="deep"),
        pytest.param(_enveloped(message="rg_live_topsecret"), "the API answered 409 ***", id="a key"),
    ],
)
def test_refusal_says_what_the_envelope_says(body: bytes, message: str) -> None:
    """Status, code and message of the envelope, on one line, as far as they are there."""
    assert str(refused(409, body, redactor=Redactor(), retry_after_s=None)) == message


def test_refusal_is_short() -> None:
    """An error of a megabyte is not logged as one."""
    body = _enveloped(code="C" * 10_000, message="m" * 1_000_000)
    assert len(str(refused(400, body, redactor=Redactor(), retry_after_s=None))) < 300


OUTCOMES = {Cause.TIMEOUT: Outcome.TIMEOUT, Cause.NOT_HTTP: Outcome.INVALID_RESPONSE}


@pytest.mark.parametrize("cause", list(Cause))
def test_request_without_an_answer_has_the_outcome_of_the_contract(cause: Cause) -> None:
    """Whatever keeps an answer away is the network, unless time ran out or it was no HTTP."""
    error = unanswered(NoAnswer(cause, "why"))
    assert (error.outcome, str(error)) == (OUTCOMES.get(cause, Outcome.NETWORK), "why")
