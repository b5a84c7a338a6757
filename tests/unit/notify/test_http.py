"""What receivers over HTTP share."""

import socket
import ssl
from datetime import UTC, datetime

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DeliveryError, Refusal
from monitor.notify.http import (
    MAX_DESCRIPTION,
    HttpAnswer,
    describe,
    no_answer_reason,
    refusal_of,
    require_taken,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("statuses", "refusal"),
    [
        pytest.param([200, 201, 202, 204, 299], None, id="taken"),
        pytest.param([408, 425, 429, 500, 502, 503, 504, 599], Refusal.RETRY, id="may-pass"),
        pytest.param([100, 199, 600, 999], Refusal.RETRY, id="no-final-status"),
        pytest.param([400, 413, 422], Refusal.DEAD, id="never"),
        pytest.param([401, 403, 404, 410], Refusal.FAILING, id="barred-or-gone"),
        pytest.param([300, 301, 302, 303, 304, 307, 308], Refusal.FAILING, id="redirect"),
        pytest.param([402, 405, 407, 409, 411, 415, 418, 451], Refusal.FAILING, id="other-4xx"),
    ],
)
def test_refusal_of_a_status(statuses: list[int], refusal: Refusal | None) -> None:
    """Each status means one thing for the next try."""
    assert {refusal_of(status) for status in statuses} == {refusal}


def test_require_taken_carries_what_the_other_side_asked() -> None:
    """A refusal has the status, the words, and the wait of the answer."""
    with pytest.raises(DeliveryError, match="429 Too Many Requests: slow down") as caught:
        require_taken(HttpAnswer(status=429, text="slow down", retry_after_s=7.0))
    assert (caught.value.refusal, caught.value.retry_after_s) == (Refusal.RETRY, 7.0)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        pytest.param(200, "", "200 OK", id="no-body"),
        pytest.param(200, "ok\n", "200 OK: ok", id="short"),
        pytest.param(299, "", "299", id="status-without-a-name"),
        pytest.param(400, "<b>\n  no\x1b[31m\u202e\x00", "400 Bad Request: <b> no [31m", id="control"),
        pytest.param(400, "bad +91 80112 23344!", "400 Bad Request: bad ***!", id="phone-number"),
        pytest.param(400, "bad 918011223344", "400 Bad Request: bad ***", id="phone-number-key"),
        pytest.param(400, "line 17, 3 errors", "400 Bad Request: line 17, 3 errors", id="small-numbers"),
        pytest.param(404, "no /hooks/s3cr3t", "404 Not Found: no ***", id="secret"),
    ],
)
def test_describe_is_one_clean_line(status: int, text: str, said: str) -> None:
    """An answer is shown without control characters, phone numbers and secrets."""
    assert (
        describe(HttpAnswer(status=status, text=text, retry_after_s=None), hide=["/hooks/s3cr3t", ""]) == said
    )


@given(text=st.text(max_size=1000))
def test_describe_is_short_and_printable(text: str) -> None:
    """Whatever the other side says, it fits into a log line."""
    said = describe(HttpAnswer(status=200, text=text, retry_after_s=None))
    assert len(said) <= MAX_DESCRIPTION + len("200 OK: ") + 1
    assert said.isprintable()


def test_describe_hides_a_secret_cut_by_the_limit() -> None:
    """A secret is hidden before the text is cut, so no half of it is left."""
    text = "x" * (MAX_DESCRIPTION - 3) + "hunter2-hunter2"
    said = describe(HttpAnswer(status=400, text=text, retry_after_s=None), hide=["hunter2-hunter2"])
    assert "hun" not in said


def caused(exc: Exception, *causes: Exception) -> Exception:
    """Return an exception with a chain of causes."""
    outer = exc
    for cause in causes:
        outer.__cause__ = cause
        outer = cause
    return exc


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        pytest.param(
            caused(httpx.ConnectTimeout("u"), ConnectionRefusedError(111, "u")),
            "connection refused",
            id="refused",
        ),
        pytest.param(
            caused(httpx.ConnectTimeout("u"), socket.gaierror(-2, "u")),
            "the host name does not resolve",
            id="dns",
        ),
        pytest.param(
            caused(httpx.ConnectError("u"), ssl.SSLCertVerificationError("u")),
            "its TLS certificate is not trusted",
            id="certificate",
        ),
        pytest.param(
            aiohttp.ServerDisconnectedError(), "closed the connection without an answer", id="hung-up"
        ),
        pytest.param(TimeoutError(), "no answer in time", id="timeout"),
        pytest.param(
            caused(httpx.ConnectError("u"), OSError(101, "u")),
            "no connection (Network is unreachable)",
            id="os",
        ),
        pytest.param(httpx.ReadError("https://u:s3cret@h/"), "no connection (ReadError)", id="unknown"),
    ],
)
def test_no_answer_reason_quotes_nothing(exc: Exception, words: str) -> None:
    """The reason is in our words; the exception's own may hold a URL."""
    assert no_answer_reason(exc) == words
