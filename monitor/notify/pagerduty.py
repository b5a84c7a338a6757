"""PagerDuty: Events API v2.

An alert is one PagerDuty alert, by `dedup_key`. `opened`, `updated` and `reminder` are triggers: the later
ones add details to the open incident and page no one again (if it was closed by hand, they open a new one,
because the problem persists). `acknowledged` is an acknowledge: PagerDuty no longer escalates, for as long as
its service is set to; a later trigger does not end that. `resolved` is a resolve.

What PagerDuty shows: the first trigger's summary stays the incident's title; details, links and client come
from the triggers. A resolve closes the incident whatever the cause; nothing of its payload is shown on the
incident, only in the log entry of the event. So the resolve's summary says how it ended, "not recovered"
included, for people who look there and for automation that reads it (event orchestration, webhooks). Another
trigger before the resolve would show it better, but if the incident had been closed by hand it would open a
new one and page, which is worse.

Limits: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ (summary 1,024 characters,
dedup_key 255), https://developer.pagerduty.com/docs/events-api-v2/overview/ (512 kB a request; answers 202,
400, 429, 5xx).
"""

import hashlib
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import httpx
import msgspec

from monitor.clock import Clock, SystemClock
from monitor.drift.alert import AlertBody, Kind, Notice
from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.redactor import Redactor
from monitor.notify.delivery import Delivery, body_of
from monitor.notify.http import post, require_taken
from monitor.notify.wording import (
    Message,
    acknowledged,
    clip,
    compose,
    labels,
    links,
    lists_numbers,
    one_line,
    units,
    when,
)
from monitor.secret import Secret

MAX_SUMMARY = 1024
MAX_DEDUP_KEY = 255
MAX_BODY_BYTES = 500_000  # below 512 kB in both meanings, with room for the routing key
MAX_FIELD = 255
MAX_URL = 2000

_MOST_ITEMS = 1000

_ACTIONS = {
    Notice.OPENED: "trigger",
    Notice.UPDATED: "trigger",
    Notice.REMINDER: "trigger",
    Notice.ACKNOWLEDGED: "acknowledge",
    Notice.RESOLVED: "resolve",
}


@dataclass(frozen=True, slots=True, eq=False)
class PagerDutyReceiver:
    """Sends each message as an event.

    Args:
        name: Its name in the config.
        routing_key: The integration's key; read at each try.
        url: Where to, `https://events.pagerduty.com/v2/enqueue` for PagerDuty itself.
        http: The client; its transport, certificates and proxies.
        redactor: Hides secrets in answers.
        timeout_s: Seconds for one try.
        clock: Measures a Retry-After that is a date.
    """

    name: str
    _: KW_ONLY
    routing_key: Secret
    url: Address
    http: httpx.AsyncClient
    redactor: Redactor
    timeout_s: float
    clock: Clock = field(default_factory=SystemClock)

    async def send(self, delivery: Delivery) -> str:
        """Post the event; return what PagerDuty answered.

        Raises:
            DeliveryError: It was not accepted.
        """
        routing_key = self.routing_key.reveal()
        event = {"routing_key": routing_key, **render(body_of(delivery))}
        content, now = msgspec.json.encode(event), self.clock.now()
        answer = await post(self.http, self.url, content=content, redactor=self.redactor, now=now)
        try:
            return require_taken(answer)
        except DeliveryError as exc:
            said = answer.text.casefold()
            if "routing key" in said or "routing_key" in said:
                # PagerDuty answers 400 to a wrong key too: the message is fine, the receiver needs fixing.
                raise DeliveryError(Refusal.FAILING, str(exc)) from exc
            raise


def render(body: AlertBody) -> dict[str, Any]:
    """Return the event of an alert body, without the routing key, of at most `MAX_BODY_BYTES` as JSON."""
    items = min(max(len(body.numbers), len(body.connections)), _MOST_ITEMS)
    event = _event(body, items)
    while items and len(msgspec.json.encode(event)) > MAX_BODY_BYTES:
        items //= 2
        event = _event(body, items)
    return event


def _event(body: AlertBody, items: int) -> dict[str, Any]:
    message = compose(body, max_items=items)
    event: dict[str, Any] = {
        "event_action": _ACTIONS[body.change],
        "dedup_key": dedup_key(body.alert_id),
        "client": one_line(f"VoiceLink drift monitor {body.instance}", MAX_FIELD),
        "payload": _payload(body, message),
    }
    if message.url and len(message.url) <= MAX_URL:
        event["client_url"] = message.url
    pages = [{"href": url, "text": name} for name, url in links(message) if len(url) <= MAX_URL]
    if pages:
        event["links"] = pages
    return event


def dedup_key(alert_id: str) -> str:
    """Return the key of an alert: its id, or if that is too long for PagerDuty, a digest of it."""
    if units(alert_id) <= MAX_DEDUP_KEY:
        return alert_id
    return hashlib.sha256(alert_id.encode()).hexdigest()


def _payload(body: AlertBody, message: Message) -> dict[str, Any]:
    where = f"{body.instance}/{body.connection}" if body.connection else body.instance
    component = body.state if body.kind is Kind.RECEIVER_FAILING else body.connection
    drifting = body.kind is Kind.DRIFT and body.state
    # PagerDuty shows the severity beside the title, so only a test carries its tag.
    summary = message.title if body.kind is Kind.TEST else message.headline
    payload = {
        "summary": clip(summary, MAX_SUMMARY),
        "source": one_line(where, MAX_FIELD) or "voicelink-monitor",
        "severity": body.severity.value,
        "timestamp": body.updated_at,
        "component": one_line(component or "", MAX_FIELD),
        "group": one_line(body.account or "", MAX_FIELD),
        "class": one_line(drifting or body.kind.value, MAX_FIELD),
        "custom_details": _details(body, message),
    }
    return {name: value for name, value in payload.items() if value}


def _details(body: AlertBody, message: Message) -> dict[str, Any]:
    """Return the incident's table of details, which event rules can read."""
    members = [*message.members, *filter(None, [message.more_line])]
    details = {
        "acknowledged": acknowledged(message.taken_on) if message.taken_on else None,
        "what_to_do": list(message.to_do),
        "how_it_ended": message.ending,
        "likely_cause": message.cause,
        "since_the_last_message": message.changed,
        "changes": list(message.changes),
        "numbers" if lists_numbers(body) else "connections": members,
        "numbers_total": body.numbers_total or None,
        "when": when(message),
        "kind": body.kind.value,
        "state": one_line(body.state, MAX_FIELD) if body.state else None,
        "labels": labels(body),
        "alert_id": clip(body.alert_id, MAX_FIELD),
    }
    return {name: value for name, value in details.items() if value}
