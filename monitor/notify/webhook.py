"""The webhook: a CloudEvents 1.0 JSON event, signed as Standard Webhooks specifies.

Event: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
Signature: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from urllib.parse import quote

import httpx
import msgspec

from monitor.clock import Clock, rfc3339
from monitor.drift.alert import Notice
from monitor.errors import DeliveryError, Refusal
from monitor.http.redactor import Redactor
from monitor.notify.delivery import Delivery, body_of
from monitor.notify.http import post, require_taken
from monitor.secret import Secret

CONTENT_TYPE = "application/cloudevents+json"

_SECRET_PREFIX = "whsec_"  # noqa: S105 - the scheme's public prefix
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True, eq=False)
class WebhookReceiver:
    """POSTs each message to one URL.

    Args:
        name: Its name in the config.
        url: Where to; read at each try.
        secrets: Each `whsec_` and base64, or the base64 alone; one may hold several, one a line. Every one
            signs each message, so that a secret can be replaced without a gap; none: no signature.
        headers: Sent along, an authorization for instance.
        http: The client; its transport, certificates and proxies.
        redactor: Hides secrets in answers.
        timeout_s: Seconds for one try.
        clock: For the timestamp of a try.
    """

    name: str
    url: Secret
    _: KW_ONLY
    secrets: Sequence[Secret]
    headers: Mapping[str, Secret]
    http: httpx.AsyncClient
    redactor: Redactor
    timeout_s: float
    clock: Clock

    async def send(self, delivery: Delivery) -> str:
        """Post the event; return what the server answered.

        Raises:
            DeliveryError: It was not accepted.
        """
        now = self.clock.now()
        timestamp = int(now.timestamp())
        content = render(delivery)
        headers = {name: value.reveal() for name, value in self.headers.items()}
        headers |= {
            "content-type": CONTENT_TYPE,
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
        }
        if self.secrets:
            try:
                keys = [signing_key(each) for secret in self.secrets for each in secret.reveal().split()]
            except ValueError as exc:  # its file was replaced by something else
                raise DeliveryError(Refusal.FAILING, f"the signing secret is not valid: {exc}") from exc
            signatures = [sign(key, delivery.id, timestamp, content) for key in keys]
            headers["webhook-signature"] = " ".join(signatures)
        url = self.url.reveal()
        answer = await post(self.http, url, content=content, headers=headers, redactor=self.redactor, now=now)
        return require_taken(answer)


def render(delivery: Delivery) -> bytes:
    """Return the event of a delivery as JSON; made of the delivery alone, so the same on every try.

    Raises:
        DeliveryError: The stored body cannot be read (`DEAD`).
    """
    body = body_of(delivery)
    event = {
        "specversion": "1.0",
        "id": delivery.id,
        "source": source_of(body.instance),
        "type": f"voicelink.alert.{delivery.change}",
        "subject": delivery.alert_id,
        # A reminder tells what has long been so: its event is that it is sent.
        "time": rfc3339(delivery.created_at) if delivery.change is Notice.REMINDER else body.updated_at,
        "datacontenttype": "application/json",
        "data": msgspec.Raw(delivery.body),
    }
    return msgspec.json.encode(event)


def source_of(instance: str) -> str:
    """Return an instance as the URI-reference that CloudEvents wants.

    An absolute URI stays as it is. Anything else becomes one path segment, percent-encoded where it must be,
    so that `prod` is `prod` and `prod eu/1` is `prod%20eu%2F1`.
    """
    if _ABSOLUTE_URI.fullmatch(instance):
        return instance
    return quote(instance, safe="!$&'()*+,;=@~")


def signing_key(secret: str) -> bytes:
    """Return the key in a Standard Webhooks secret; the prefix and the padding may be missing.

    Raises:
        ValueError: It is not base64, or empty. Never quotes it.
    """
    encoded = secret.removeprefix(_SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError(f"it must be {_SECRET_PREFIX} followed by base64") from exc
    if not key:
        raise ValueError("it is empty")
    return key


def sign(key: bytes, delivery_id: str, timestamp: int, content: bytes) -> str:
    """Return one signature of a try, for `webhook-signature`; `timestamp` in seconds since 1970."""
    signed = f"{delivery_id}.{timestamp}.".encode() + content
    digest = hmac.digest(key, signed, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode("ascii")
