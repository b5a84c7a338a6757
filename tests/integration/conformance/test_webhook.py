"""Every message of a webhook, read by the public packages that its receivers may use."""

import asyncio
import base64
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from httpx_aiohttp import HttpxAiohttpClient
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from monitor.clock import SystemClock, rfc3339
from monitor.drift.alert import AlertBody, Kind, Notice, encode_body
from monitor.http.redactor import Redactor
from monitor.notify.webhook import WebhookReceiver
from monitor.secret import Secret
from tests.fakes.alerts import delivery_of
from tests.golden.examples import EXAMPLES
from tests.servers.require import lacking, require
from tests.servers.webhook import Received, WebhookSink

HERE = Path(__file__).parent
NEW, OLD, STRANGE = (
    "whsec_" + base64.b64encode(f"a key of thirty-two bytes, {word}".encode()).decode()
    for word in ("newer", "older", "other")
)
INSTANCES = ("prod", "prod eu/1", "région 1%", "https://monitor.example.com/eu", "a#b?c", "日本")
"""What users call their monitor; the event's source is a URI-reference all the same."""


def bodies() -> list[AlertBody]:
    """Return messages of every kind and every change."""
    made = [make() for make in EXAMPLES.values()]
    changed = [msgspec.structs.replace(made[0], change=change) for change in Notice]
    named = zip([*made, *changed], cycle(INSTANCES), strict=False)
    return [msgspec.structs.replace(body, instance=instance) for body, instance in named]


async def sent(messages: Sequence[AlertBody], *secrets: str) -> list[Received]:
    """Send messages to a server, and return what arrived."""
    async with WebhookSink() as sink, HttpxAiohttpClient() as http:
        hook = WebhookReceiver(
            "hook",
            Secret(f"{sink.url}/"),
            secrets=[Secret(each) for each in secrets],
            headers={},
            http=http,
            redactor=Redactor(),
            timeout_s=30.0,
            clock=SystemClock(),
        )
        for place, body in enumerate(messages):
            await hook.send(delivery_of(body, id=f"msg_{place}"))
        return sink.requests


def told(body: AlertBody, place: int) -> dict[str, Any]:
    """Return what a receiver should read of a message."""
    return {
        "specversion": "1.0",
        "id": f"msg_{place}",
        "type": f"voicelink.alert.{body.change.value}",
        "subject": body.alert_id,
        "datacontenttype": "application/json",
        "data": json.loads(encode_body(body)),
    }


def headers_of(request: Received) -> dict[str, str]:
    """Return its headers as a server's framework gives them."""
    return {name.lower(): value for name, value in request.headers.items()}


async def test_every_message_passes_the_python_packages() -> None:
    """The CloudEvents SDK reads it, and Standard Webhooks accepts it with either secret, and no other."""
    messages = bodies()
    assert {body.kind for body in messages} == set(Kind)
    assert {body.change for body in messages} == set(Notice)
    for place, request in enumerate(await sent(messages, NEW, OLD)):
        headers = headers_of(request)
        for secret in (NEW, OLD):
            Webhook(secret).verify(request.body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(STRANGE).verify(request.body, headers)
        event = from_http_event(HTTPMessage(headers=headers, body=request.body))
        expected = told(messages[place], place)
        assert {
            "specversion": event.get_specversion(),
            "id": event.get_id(),
            "type": event.get_type(),
            "subject": event.get_subject(),
            "datacontenttype": event.get_datacontenttype(),
            "data": event.get_data(),
        } == expected
        assert httpx.URL(event.get_source()).raw_path, "a URI-reference"
        assert event.get_time() is not None


async def test_every_message_passes_the_npm_packages() -> None:
    """Likewise in JavaScript, where the CloudEvents SDK is strict about every attribute."""
    messages = bodies()
    by_new_alone = await sent(messages[:1], NEW)
    requests = [*await sent(messages, NEW, OLD), *by_new_alone]
    recorded = [
        {"headers": headers_of(request), "body": request.body.decode(), "secrets": [NEW, OLD]}
        for request in requests
    ]
    *results, lacks_old = await node(recorded)
    assert [result.get("error") for result in results] == [None] * len(messages)
    for place, (body, result) in enumerate(zip(messages, results, strict=True)):
        assert result.items() >= told(body, place).items()
        reminded_at = rfc3339(delivery_of(body).created_at)
        assert result["time"] == (reminded_at if body.change is Notice.REMINDER else body.updated_at)
    assert "No matching signature" in lacks_old["error"]


async def node(recorded: Sequence[Any]) -> Any:
    """Have the npm packages read recorded requests, all in one process."""
    command = require("node")
    if not (HERE / "node_modules/.package-lock.json").is_file():
        lacking("npm packages")
    process = await asyncio.create_subprocess_exec(
        command,
        HERE / "verify.mjs",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(json.dumps(recorded).encode())
    assert process.returncode == 0, errors.decode()
    return json.loads(out)


def test_npm_packages_are_pinned_without_an_address() -> None:
    """Whichever registry a machine uses, it gets these very files."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    packages = [each for name, each in lock["packages"].items() if name]
    assert all(each["integrity"].startswith("sha512-") and "resolved" not in each for each in packages)
