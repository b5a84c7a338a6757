"""PagerDuty: Events API v2.

An alert is one PagerDuty alert, by `dedup_key`. `opened`, `updated` and `reminder` are triggers: the later
ones add fresh details to the open incident and page nobody again (where somebody had closed it by hand, they
open a new one: the trouble goes on). `resolved` is a resolve.

What PagerDuty shows: the first trigger's summary is the incident's title and stays so; details, links and
client come from the triggers. A resolve closes the incident whatever the cause, and PagerDuty's own examples
send it without a payload: nothing of it is shown on the incident, only in the log entry of the event. So the
resolve's summary says how it ended, "not recovered" included, for whoever looks there, and for automation
that reads it (event orchestration, webhooks). One more trigger before the resolve would show it more plainly,
but where somebody had closed the incident by hand it would open a new one and page: that is worse.

Limits: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ (summary 1,024 characters,
dedup_key 255), https://developer.pagerduty.com/docs/events-api-v2/overview/ (512 kB a request; answers 202,
400, 429, 5xx).
"""

import hashlib
from typing import Any

import httpx
import msgspec

from monitor.clock import Clock, SystemClock
from monitor.drift.alert import AlertBody, Kind, Notice
from monitor.errors import DeliveryError, Refusal
from monitor.http.request import HttpAnswer
from monitor.notify.delivery import Delivery, body_of
from monitor.notify.http import post, require_taken
from monitor.notify.wording import Message, clip, labels, links, message, one_line, units, when
from monitor.secret import Secret

MAX_SUMMARY = 1024
MAX_DEDUP_KEY = 255
MAX_BODY_BYTES = 500_000  # below 512 kB in both meanings, with room for the routing key
MAX_FIELD = 255
MAX_URL = 2000

_MOST_ITEMS = 1000


class PagerDutyReceiver:
    """Sends each message as an event.

    Args:
        name: Its name in the config.
        routing_key: The integration's key; read at each try.
        url: Where to, `https://events.pagerduty.com/v2/enqueue` for PagerDuty itself.
        http: The client; its transport, certificates and proxies.
        timeout_s: Seconds for one try.
        clock: Measures a Retry-After that is a date; the machine's if None.
    """

    def __init__(
        self,
        name: str,
        *,
        routing_key: Secret,
        url: str,
        http: httpx.AsyncClient,
        timeout_s: float,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self._routing_key = routing_key
        self._url = url
        self._http = http
        self._clock = clock or SystemClock()

    async def send(self, delivery: Delivery) -> str:
        """Post the event; return what PagerDuty answered.

        Raises:
            DeliveryError: It was not taken.
        """
        routing_key = self._routing_key.reveal()
        event = {"routing_key": routing_key, **render(body_of(delivery))}
        answer = await post(
            self._http,
            self._url,
            content=msgspec.json.encode(event),
            headers={"content-type": "application/json"},
            now=self._clock.now(),
        )
        try:
            return require_taken(answer, hide=[routing_key])
        except DeliveryError as exc:
            if _names_key(answer):
                # PagerDuty says 400 to a wrong key too, but the message is fine: somebody must mend the key.
                raise DeliveryError(Refusal.FAILING, str(exc)) from exc
            raise


def _names_key(answer: HttpAnswer) -> bool:
    """Whether an answer that refuses an event blames the routing key."""
    text = answer.text.casefold()
    return "routing key" in text or "routing_key" in text


def render(body: AlertBody) -> dict[str, Any]:
    """Return the event of an alert body, without the routing key, of at most `MAX_BODY_BYTES` as JSON."""
    items = min(max(len(body.numbers), len(body.connections)), _MOST_ITEMS)
    event = _event(body, items)
    while items and len(msgspec.json.encode(event)) > MAX_BODY_BYTES:
        items //= 2
        event = _event(body, items)
    return event


def _event(body: AlertBody, items: int) -> dict[str, Any]:
    told = message(body, max_items=items)
    event: dict[str, Any] = {
        "event_action": "resolve" if body.change is Notice.RESOLVED else "trigger",
        "dedup_key": dedup_key(body.alert_id),
        "client": one_line(f"VoiceLink drift monitor {body.instance}", MAX_FIELD),
        "payload": _payload(body, told),
    }
    if told.url and len(told.url) <= MAX_URL:
        event["client_url"] = told.url
    pages = [{"href": url, "text": name} for name, url in links(told) if len(url) <= MAX_URL]
    if pages:
        event["links"] = pages
    return event


def dedup_key(alert_id: str) -> str:
    """Return the key of an alert: its id, or if that is too long for PagerDuty, a digest of it."""
    if units(alert_id) <= MAX_DEDUP_KEY:
        return alert_id
    return hashlib.sha256(alert_id.encode()).hexdigest()


def _payload(body: AlertBody, told: Message) -> dict[str, Any]:
    where = f"{body.instance}/{body.connection}" if body.connection else body.instance
    payload = {
        "summary": clip(_summary(body, told), MAX_SUMMARY),
        "source": one_line(where, MAX_FIELD) or "voicelink-monitor",
        "severity": body.severity.value,
        "timestamp": body.updated_at,
        "component": one_line(_component(body) or "", MAX_FIELD),
        "group": one_line(body.account or "", MAX_FIELD),
        "class": one_line(_class(body), MAX_FIELD),
        "custom_details": _details(body, told),
    }
    return {name: value for name, value in payload.items() if value}


def _class(body: AlertBody) -> str:
    return body.state if body.kind is Kind.DRIFT and body.state else body.kind.value


def _component(body: AlertBody) -> str | None:
    return body.state if body.kind is Kind.RECEIVER_FAILING else body.connection


def _summary(body: AlertBody, told: Message) -> str:
    """Return the title of the incident; PagerDuty shows the severity beside it, so only a test is marked."""
    return told.title if body.kind is Kind.TEST else told.headline


def _details(body: AlertBody, told: Message) -> dict[str, Any]:
    """Return what stands in the incident's table of details, and what event rules can read."""
    members = [*told.members, *filter(None, [told.more_line])]
    details = {
        "what_to_do": list(told.to_do),
        "how_it_ended": told.ending,
        "likely_cause": told.cause,
        "since_the_last_message": told.changed,
        "numbers" if body.kind.about_numbers else "connections": members,
        "numbers_total": body.numbers_total or None,
        "when": when(told),
        "kind": body.kind.value,
        "state": one_line(body.state, MAX_FIELD) if body.state else None,
        "labels": labels(body),
        "alert_id": clip(body.alert_id, MAX_FIELD),
    }
    return {name: value for name, value in details.items() if value}
