"""What an HTTP answer means for a message.

| answer | means |
| --- | --- |
| 2xx | accepted |
| 408, 425, 429, 5xx, none at all | RETRY: may pass by itself |
| 400, 413, 422 | DEAD: this message will never be accepted |
| 3xx, 401, 403, 404, any other 4xx | FAILING: the receiver is set up wrongly |
| 410 | GONE: likewise, and it asks not to be tried again |

An unlisted 4xx says more often that the URL is wrong (405, 415, a proxy's 407) than that one message is, so
nothing is given up for it. Source of 410: RFC 9110, section 15.5.11; "disable the endpoint" in
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from collections.abc import Mapping
from datetime import datetime

import httpx

from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.errors import Cause, NoAnswer
from monitor.http.redactor import Redactor
from monitor.http.request import HttpAnswer, request

JSON: Mapping[str, str] = {"content-type": "application/json"}

_RETRIED = frozenset({408, 425, 429})
_DEAD = frozenset({400, 413, 422})
_GONE = 410


async def post(
    http: httpx.AsyncClient,
    url: str | Address,
    *,
    content: bytes,
    headers: Mapping[str, str] = JSON,
    redactor: Redactor,
    now: datetime,
) -> HttpAnswer:
    """POST once and return the answer, whatever its status; see `monitor.http.request`.

    Raises:
        DeliveryError: There was no answer (`RETRY`), or the URL cannot be used (`FAILING`).
        OutOfResources: This process could not ask.
    """
    try:
        return await request(http, "POST", url, content=content, headers=headers, redactor=redactor, now=now)
    except NoAnswer as exc:
        refusal = Refusal.FAILING if exc.cause is Cause.BAD_URL else Refusal.RETRY
        raise DeliveryError(refusal, str(exc)) from exc


def require_taken(answer: HttpAnswer) -> str:
    """Return a description of an answer that accepted the message.

    Raises:
        DeliveryError: It did not accept it.
    """
    refusal = refusal_of(answer.status)
    description = answer.describe()
    if refusal is not None:
        raise DeliveryError(refusal, description, retry_after_s=answer.retry_after_s, answered=True)
    return description


def refusal_of(status: int) -> Refusal | None:
    """Return what a status means for the next try; None: the message was accepted."""
    if 200 <= status <= 299:  # noqa: PLR2004 - the classes of RFC 9110, section 15
        return None
    if status in _DEAD:
        return Refusal.DEAD
    if status == _GONE:
        return Refusal.GONE
    if status in _RETRIED or not 300 <= status <= 499:  # noqa: PLR2004 - as above
        return Refusal.RETRY
    return Refusal.FAILING
