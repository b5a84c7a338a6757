"""One request, and its answer in a line."""

import gzip
import zlib
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.http.errors import Cause, NoAnswer
from monitor.http.redactor import Redactor
from monitor.http.request import MAX_ANSWER_BYTES, MAX_DESCRIPTION, HttpAnswer, request
from monitor.secret import Secret

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def client(answer: httpx.Response | Exception) -> httpx.AsyncClient:
    """Return a client whose server answers with this."""

    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        pytest.param("identity", b"fine", "fine", id="plain"),
        pytest.param("gzip", gzip.compress(b"fine"), "fine", id="gzip"),
        pytest.param("deflate", zlib.compress(b"fine"), "fine", id="deflate"),
        pytest.param("br", b"fine", "", id="unknown"),
        pytest.param("gzip", b"fine", "", id="not what it says"),
        pytest.param("gzip", gzip.compress(b" " * 10**6), " " * MAX_ANSWER_BYTES, id="bomb"),
        pytest.param("identity", b"x" * 10**6, "x" * MAX_ANSWER_BYTES, id="long"),
    ],
)
async def test_request_returns_the_start_of_the_body(encoding: str, body: bytes, text: str) -> None:
    """Whatever was not asked for is decompressed or dropped, and never large."""
    headers = {"content-encoding": encoding, "retry-after": "7"}
    response = httpx.Response(503, headers=headers, stream=httpx.ByteStream(body))
    answer = await request(client(response), "GET", "https://a.test/", redactor=Redactor(), now=NOW)
    assert answer == HttpAnswer(status=503, text=text, retry_after_s=7.0)


async def test_request_without_an_answer_says_why() -> None:
    """Exceptions of the libraries do not leave it."""
    with pytest.raises(NoAnswer) as caught:
        await request(
            client(ConnectionRefusedError(111, "u")), "GET", "https://a.test/", redactor=Redactor(), now=NOW
        )
    assert caught.value.cause is Cause.REFUSED


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
    ],
)
def test_describe_is_one_clean_line(status: int, text: str, said: str) -> None:
    """An answer is shown without control characters, phone numbers."""
    answer = HttpAnswer(status=status, text=text, retry_after_s=None)
    assert answer.describe() == said


@given(text=st.text(max_size=1000))
def test_describe_is_short_and_printable(text: str) -> None:
    """Whatever the other side says, it fits into a log line."""
    said = HttpAnswer(status=200, text=text, retry_after_s=None).describe()
    assert len(said) <= MAX_DESCRIPTION + len("200 OK: ")
    assert said.isprintable()


@pytest.mark.parametrize("start", [0, MAX_DESCRIPTION - 3, MAX_ANSWER_BYTES - 30, MAX_ANSWER_BYTES - 10])
async def test_answer_holds_no_part_of_a_secret(start: int) -> None:
    """Neither whole, nor cut by what is read of the body, nor by what is told of it."""
    secret = "https://h/hunter2-hunter3"
    body = b" " * start + b"see /hunter2-hunter3"
    answer = await request(
        client(httpx.Response(400, stream=httpx.ByteStream(body))),
        "GET",
        secret,
        redactor=Redactor([Secret(secret)]),
        now=NOW,
    )
    assert answer.text == f"{b' '.decode() * start}see ***"
    assert answer.describe() == "400 Bad Request: see ***"
