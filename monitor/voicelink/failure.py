"""Foreign failures translated, once: exceptions and refusals become `SyncError`s.

By cause, not by class: httpx-aiohttp maps a refused connection, a failed name look-up and a server that hangs
up to `ConnectTimeout`, and lets some of aiohttp's own errors through.
"""

import os
import ssl

import aiohttp
import httpx
import msgspec

from monitor.errors import Outcome, SyncError
from monitor.voicelink.text import clean_any, redact
from monitor.voicelink.wire import Outline

TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError, OSError)
"""What a request may raise. `TimeoutError` and the errors of `ssl` and DNS are OSErrors."""
UNREADABLE_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for JSON that it cannot read; the last for JSON nested without end."""

_CODE_LIMIT = 64
_MESSAGE_LIMIT = 200

_BY_STATUS = {
    401: Outcome.UNAUTHORIZED,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    429: Outcome.RATE_LIMITED,
}
_SERVER_ERRORS = 500
_OUTLINE = msgspec.json.Decoder(Outline)


def outcome_of_status(status: int) -> Outcome:
    """Return what a status other than 2xx means."""
    if status >= _SERVER_ERRORS:
        return Outcome.SERVER_ERROR
    return _BY_STATUS.get(status, Outcome.REJECTED)


def refused(status: int, body: bytes, *, key: str, retry_after_s: float | None) -> SyncError:
    """Return the error for an answer with a status other than 2xx."""
    try:
        said = describe_error(_OUTLINE.decode(body).error, key=key)
    except UNREADABLE_JSON:
        said = ""
    message = f"the API answered {status}{said and ' '}{said}"
    return SyncError(outcome_of_status(status), message, retry_after_s=retry_after_s)


def unsuccessful(error: object) -> SyncError:
    """Return the error for a 2xx answer that says `success: false`."""
    said = describe_error(error)
    return SyncError(Outcome.REJECTED, f"the API answered success: false{said and ', '}{said}")


def describe_error(error: object, *, key: str = "") -> str:
    """Return `CODE: message` of an envelope's `error`, without keys or phone numbers; may be empty."""
    if not isinstance(error, dict):
        return redact(clean_any(error, _MESSAGE_LIMIT * 2), _MESSAGE_LIMIT, key=key)
    code = redact(clean_any(error.get("code"), _CODE_LIMIT * 2), _CODE_LIMIT, key=key)
    message = redact(clean_any(error.get("message"), _MESSAGE_LIMIT * 2), _MESSAGE_LIMIT, key=key)
    return ": ".join(filter(None, (code, message)))


def overdue(timeout_s: float) -> SyncError:
    """Return the error for a request that did not end within its deadline."""
    return SyncError(Outcome.TIMEOUT, f"no complete answer within {timeout_s:g} s")


def transport_failure(exc: BaseException) -> SyncError:
    """Return the error for an exception out of `TRANSPORT_ERRORS`.

    Its message names the cause in our words: the texts of those exceptions may hold a proxy's password.
    """
    cause = _foreign_cause(exc)
    match cause:
        case aiohttp.ServerTimeoutError() | httpx.TimeoutException():
            return SyncError(Outcome.TIMEOUT, "the connection timed out")
        case aiohttp.ClientHttpProxyError():
            return SyncError(Outcome.NETWORK, f"the proxy answered {cause.status}")
        case aiohttp.ClientResponseError():
            return SyncError(Outcome.INVALID_RESPONSE, "the answer is not HTTP")
        case _:
            return SyncError(Outcome.NETWORK, _network_problem(cause))


def _foreign_cause(exc: BaseException) -> BaseException:
    """Return aiohttp's exception behind httpx's, where there is one."""
    if isinstance(exc, httpx.HTTPError) and isinstance(exc.__cause__, aiohttp.ClientError | OSError):
        return exc.__cause__
    return exc


def _network_problem(cause: BaseException) -> str:
    match cause:
        case aiohttp.ClientConnectorDNSError():
            problem = "the host's name cannot be resolved"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            problem = f"TLS failed: {_tls_reason(cause)}"
        case aiohttp.ClientProxyConnectionError():
            problem = "the proxy cannot be reached"
        case aiohttp.ClientConnectorError(os_error=os_error):
            problem = f"no connection: {_os_reason(os_error)}"
        case aiohttp.ServerDisconnectedError():
            problem = "the server hung up before it answered"
        case aiohttp.ClientPayloadError():
            problem = "the answer was cut short"
        case OSError():
            problem = f"the connection broke: {_os_reason(cause)}"
        case _:
            problem = f"the connection broke ({type(cause).__name__})"
    return problem


def _os_reason(error: OSError) -> str:
    """Return what the number of the error says: its text may name addresses, even credentials."""
    return os.strerror(error.errno) if error.errno else "the host cannot be reached"


def _tls_reason(cause: BaseException) -> str:
    inner = getattr(cause, "certificate_error", None) or getattr(cause, "os_error", None) or cause
    reason = getattr(inner, "verify_message", None) or getattr(inner, "reason", None)
    return str(reason or "the handshake broke")
