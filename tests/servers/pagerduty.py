"""A double of PagerDuty's Events API v2: enforces what its pages document, and keeps the alerts.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ (fields, lengths, what an action does)
https://developer.pagerduty.com/docs/events-api-v2/overview/ (512 kB; answers 202, 400, 429)
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tests.servers.webhook import Answer, Received

MAX_BYTES = 512_000
PATH = "/v2/enqueue"

_TOP = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
_PAYLOAD = {
    "summary",
    "source",
    "severity",
    "timestamp",
    "component",
    "group",
    "class",
    "custom_details",
}
_REQUIRED = ("summary", "source", "severity")
_SEVERITIES = {"critical", "error", "warning", "info"}


class PagerDuty:
    """Answers requests; give it to `WebhookSink.script`.

    `alerts` holds the events of each `dedup_key` in order, `open` the keys of open alerts. `busy` requests
    are answered with 429 first.
    """

    def __init__(self, routing_key: str, *, busy: int = 0, retry_after: str | None = None) -> None:
        self.alerts: dict[str, list[dict[str, Any]]] = {}
        self.open: set[str] = set()
        self._routing_key = routing_key
        self._busy = busy
        self._retry_after = retry_after

    def __call__(self, request: Received) -> Answer:
        """Take an event, or say what is wrong with it."""
        if (request.method, request.path) != ("POST", PATH):
            return Answer(status=404)
        if self._busy:
            self._busy -= 1
            return Answer(status=429, retry_after=self._retry_after)
        if len(request.body) > MAX_BYTES:
            return Answer(status=413)
        try:
            event = request.json()
        except ValueError:
            return _refused(["JSON parse error"])
        problems = list(problems_of(event))
        if not problems and event["routing_key"] != self._routing_key:
            problems = ["Invalid routing key"]
        if problems:
            return _refused(problems)
        return self._taken(event)

    def _taken(self, event: dict[str, Any]) -> Answer:
        key = event.get("dedup_key", "generated")
        if event["event_action"] == "trigger":
            self.open.add(key)
        elif event["event_action"] == "resolve":
            self.open.discard(key)
        self.alerts.setdefault(key, []).append(event)
        answer = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Answer(status=202, body=json.dumps(answer).encode())


def problems_of(event: Any) -> Iterator[str]:
    """Yield what PagerDuty's documentation does not allow in an event."""
    if not isinstance(event, dict):
        yield "Event object format is unrecognized"
        return
    yield from (f"'{name}' is unknown" for name in event.keys() - _TOP)
    key = event.get("routing_key")
    if not isinstance(key, str) or len(key) != 32:
        yield "Length of 'routing_key' is incorrect (should be 32 characters)"
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        yield "'event_action' is invalid"
    dedup_key = event.get("dedup_key")
    if dedup_key is None and action != "trigger":
        yield "'dedup_key' is missing or blank"
    if dedup_key is not None and not _text(dedup_key, 255):
        yield "'dedup_key' is too long or blank"
    if action == "trigger" or "payload" in event:
        yield from _payload_problems(event.get("payload"))
    yield from _link_problems(event)


def _payload_problems(payload: Any) -> Iterator[str]:
    if not isinstance(payload, dict):
        yield "'payload' is missing or invalid"
        return
    yield from (f"'payload.{name}' is unknown" for name in payload.keys() - _PAYLOAD)
    yield from (f"'payload.{name}' is missing or blank" for name in _REQUIRED if not payload.get(name))
    if not _text(payload.get("summary"), 1024):
        yield "'payload.summary' is too long"
    if payload.get("severity") not in _SEVERITIES:
        yield "'payload.severity' is invalid (must be one of 'critical', 'warning', 'error', 'info')"
    for name in ("source", "component", "group", "class"):
        if name in payload and not isinstance(payload[name], str):
            yield f"'payload.{name}' must be a string"
    if not isinstance(payload.get("custom_details", {}), dict):
        yield "'payload.custom_details' must be an object"
    yield from _timestamp_problems(payload.get("timestamp", "2026-03-01T12:00:00Z"))


def _timestamp_problems(value: Any) -> Iterator[str]:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        yield "'payload.timestamp' is invalid"


def _link_problems(event: dict[str, Any]) -> Iterator[str]:
    urls = [event["client_url"]] if "client_url" in event else []
    for link in event.get("links", []):
        urls.append(link.get("href"))
        if not isinstance(link.get("text", ""), str):
            yield "'links.text' must be a string"
    for url in urls:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            yield "a link is no URL"


def _text(value: Any, longest: int) -> bool:
    """Return whether this is a text of 1 to `longest` characters, counted in the strictest way."""
    return isinstance(value, str) and 0 < len(value.encode("utf-16-le")) // 2 <= longest


def _refused(problems: list[str]) -> Answer:
    answer = {"status": "invalid event", "message": "Event object is invalid", "errors": problems}
    return Answer(status=400, body=json.dumps(answer).encode())
