"""The provider's refusals, and requests without an answer, as `SyncError`s."""

import json

import msgspec

from monitor.errors import DecodeError, Outcome, SyncError
from monitor.http.errors import Cause, NoAnswer
from monitor.http.redactor import Redactor
from monitor.http.text import redact
from monitor.voicelink.text import as_text
from monitor.voicelink.wire import Outline

UNREADABLE_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for JSON that it cannot read; the last for JSON nested without end."""

_CODE_LIMIT = 64
_MESSAGE_LIMIT = 200
_SHORTEST_KEY = 12

_BY_STATUS = {
    401: Outcome.UNAUTHORIZED,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    429: Outcome.RATE_LIMITED,
}
_SERVER_ERRORS = 500
_BY_CAUSE = {Cause.TIMEOUT: Outcome.TIMEOUT, Cause.NOT_HTTP: Outcome.INVALID_RESPONSE}
_OUTLINE = msgspec.json.Decoder(Outline)


def outcome_of_status(status: int) -> Outcome:
    """Return what a status other than 2xx means."""
    if status >= _SERVER_ERRORS:
        return Outcome.SERVER_ERROR
    return _BY_STATUS.get(status, Outcome.REJECTED)


def refused(status: int, body: bytes, *, redactor: Redactor, retry_after_s: float | None) -> SyncError:
    """Return the error for an answer with a status other than 2xx."""
    try:
        said = describe_error(_OUTLINE.decode(body).error, redactor)
    except UNREADABLE_JSON:
        said = ""
    message = f"the API answered {status}{said and ' '}{said}"
    return SyncError(outcome_of_status(status), message, retry_after_s=retry_after_s)


def decode_envelope(body: bytes) -> msgspec.Raw:
    """Return the `data` of a 2xx answer, unread; empty if there is none.

    Raises:
        SyncError: The answer says `success: false`.
        DecodeError: It cannot be read.
    """
    try:
        outline = _OUTLINE.decode(body)
    except UNREADABLE_JSON as exc:
        raise DecodeError("$", str(exc)) from exc
    if outline.success is False:
        said = describe_error(outline.error)
        raise SyncError(Outcome.REJECTED, f"the API answered success: false{said and ', '}{said}")
    if outline.success is not True:
        raise DecodeError("success", "neither true nor false")
    return outline.data


def without_key(body: bytes, key: str) -> bytes:
    """Return the body of an answer without the key that was sent: an echo of it would be kept and shown."""
    if len(key) < _SHORTEST_KEY or key.isalpha() or key.isdecimal():
        return body  # it may be a word of the answer
    for echo in {key, json.dumps(key)[1:-1]}:
        body = body.replace(echo.encode(), b"***")
    return body


def describe_error(error: object, redactor: Redactor | None = None) -> str:
    """Return `CODE: message` of an envelope's `error`, without keys or phone numbers; may be empty."""
    line = redactor.line if redactor is not None else redact
    if not isinstance(error, dict):
        return line(as_text(error), _MESSAGE_LIMIT)
    code = line(as_text(error.get("code")), _CODE_LIMIT)
    message = line(as_text(error.get("message")), _MESSAGE_LIMIT)
    return ": ".join(filter(None, (code, message)))


def unanswered(error: NoAnswer) -> SyncError:
    """Return the error for a request that got no answer."""
    return SyncError(_BY_CAUSE.get(error.cause, Outcome.NETWORK), str(error))
