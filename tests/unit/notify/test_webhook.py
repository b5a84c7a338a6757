"""The webhook: event and signature."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from monitor.clock import SystemClock
from monitor.drift.alert import Notice, encode_body
from monitor.errors import DeliveryError, Refusal
from monitor.http.redactor import Redactor
from monitor.notify.webhook import WebhookReceiver, render, sign, signing_key, source_of
from monitor.secret import Secret
from tests.fakes.alerts import BODY, delivery_of, resolved
from tests.fakes.clock import FakeClock

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, about").decode()


def receiver(*secrets: Secret, sent: list[httpx.Request] | None = None) -> WebhookReceiver:
    """Return a webhook whose other side accepts, and records, everything."""

    def accept(request: httpx.Request) -> httpx.Response:
        if sent is not None:
            sent.append(request)
        return httpx.Response(200)

    return WebhookReceiver(
        "hook",
        Secret("http://127.0.0.1:9/"),
        secrets=secrets,
        headers={},
        http=httpx.AsyncClient(transport=httpx.MockTransport(accept)),
        redactor=Redactor(),
        timeout_s=1.0,
        clock=FakeClock(),
    )


def test_time_of_a_reminder_is_its_own() -> None:
    """Nothing has happened to the alert since: all its reminders would be as old as its last update."""
    sent = replace(
        delivery_of(msgspec.structs.replace(BODY, change=Notice.REMINDER)),
        created_at=datetime(2026, 3, 1, 16, tzinfo=UTC),
    )
    assert json.loads(render(sent))["time"] == "2026-03-01T16:00:00.000Z"


def test_render_is_a_cloudevent() -> None:
    """The event names the delivery, the instance, the change, and holds the body unchanged."""
    assert json.loads(render(delivery_of(resolved()))) == {
        "specversion": "1.0",
        "id": "d1",
        "source": "prod",
        "type": "voicelink.alert.resolved",
        "subject": "a1",
        "time": BODY.updated_at,
        "datacontenttype": "application/json",
        "data": json.loads(encode_body(resolved())),
    }


def test_render_depends_on_the_delivery_alone() -> None:
    """A later try has the same bytes."""
    first = delivery_of()
    later = replace(first, attempts=7, first_failed_at=datetime(2026, 3, 2, tzinfo=UTC), superseded=True)
    assert render(first) == render(later)


@pytest.mark.parametrize("change", list(Notice))
def test_render_names_every_change(change: Notice) -> None:
    """Every change has its event type."""
    body = msgspec.structs.replace(BODY, change=change)
    assert json.loads(render(delivery_of(body)))["type"] == f"voicelink.alert.{change.value}"


def test_render_refuses_an_unreadable_body() -> None:
    """A stored body that cannot be read will never be sent, so it is dead."""
    with pytest.raises(DeliveryError, match="cannot be read") as caught:
        render(replace(delivery_of(), body=b"{"))
    assert caught.value.refusal is Refusal.DEAD


@pytest.mark.parametrize(
    ("instance", "source"),
    [
        pytest.param("prod", "prod", id="plain"),
        pytest.param("voicelink-monitor", "voicelink-monitor", id="default"),
        pytest.param("prod eu/1", "prod%20eu%2F1", id="space-and-slash"),
        pytest.param("100%", "100%25", id="percent"),
        pytest.param("a#b?c", "a%23b%3Fc", id="reserved"),
        pytest.param("région", "r%C3%A9gion", id="not-ascii"),
        pytest.param("eu 1:a", "eu%201%3Aa", id="colon-is-no-scheme"),
        pytest.param("https://monitor.example.com/eu", "https://monitor.example.com/eu", id="uri"),
        pytest.param("urn:monitor:eu", "urn:monitor:eu", id="urn"),
        pytest.param("https://a b", "https%3A%2F%2Fa%20b", id="no-uri-after-all"),
    ],
)
def test_source_of_an_instance(instance: str, source: str) -> None:
    """An instance becomes a URI-reference; the usual ones stay as they are."""
    assert source_of(instance) == source


@given(
    key=st.binary(min_size=1, max_size=64),
    content=st.text(),
    delivery_id=st.text("abc123-", min_size=1),
    at=st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - the package takes it as UTC
    prefix=st.sampled_from(["", "whsec_"]),
    padded=st.booleans(),
)
def test_sign_agrees_with_the_reference(
    *, key: bytes, content: str, delivery_id: str, at: datetime, prefix: str, padded: bool
) -> None:
    """Any key in any of its spellings signs as the standardwebhooks package does."""
    encoded = base64.b64encode(key).decode()
    secret = prefix + (encoded if padded else encoded.rstrip("="))
    timestamp = int(at.replace(tzinfo=UTC).timestamp())
    theirs = Webhook(secret).sign(delivery_id, datetime.fromtimestamp(timestamp, UTC), content)
    assert sign(signing_key(secret), delivery_id, timestamp, content.encode()) == theirs


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_not base64!", "hunter2!", "whsec_a", "clé"])
def test_signing_key_is_base64(secret: str) -> None:
    """A secret that is none is refused, and never shown."""
    with pytest.raises(ValueError, match=r"base64|empty") as caught:
        signing_key(secret)
    assert len(secret) <= len("whsec_") or secret not in str(caught.value)


async def test_webhook_with_a_secret_file_gone_bad_is_failing(tmp_path: Path) -> None:
    """A secret file that is replaced by no secret makes the receiver fail, visibly and without a loss."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    secret = Secret(file=file)
    hook = receiver(secret)
    file.write_text("not base64 at all!")
    assert secret.refresh()
    with pytest.raises(DeliveryError, match="the signing secret is not valid") as caught:
        await hook.send(delivery_of())
    assert caught.value.refusal is Refusal.FAILING


@given(keys=st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=4), in_file=st.booleans())
async def test_webhook_is_verified_by_each_of_its_secrets(*, keys: list[bytes], in_file: bool) -> None:
    """While a secret is rotated, whoever has the new one or an old one accepts the message."""
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    given = [Secret("\n".join(secrets))] if in_file else [Secret(each) for each in secrets]
    sent: list[httpx.Request] = []
    hook = replace(receiver(*given, sent=sent), clock=SystemClock())
    await hook.send(delivery_of())
    assert len(sent[0].headers["webhook-signature"].split(" ")) == len(secrets)
    for secret in secrets:
        Webhook(secret).verify(sent[0].content.decode(), dict(sent[0].headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"another" + keys[0]).decode()).verify(
            sent[0].content.decode(), dict(sent[0].headers)
        )
