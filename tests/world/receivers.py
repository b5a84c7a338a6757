"""The receivers: what they took, and how they refuse."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from tests.world.events import Refuse
from tests.world.loop import Elapsed

_PATIENCE_S = 60.0
_PAGED = {"trigger": "opened", "acknowledge": "acknowledged", "resolve": "resolved"}


@dataclass(frozen=True)
class Message:
    """One message that a receiver took. `repeated`: it had taken it before."""

    at_s: float
    id: str
    change: str
    alert_id: str
    body: Mapping[str, Any]
    repeated: bool = False


@dataclass(frozen=True)
class Attempt:
    """One request to a receiver. `how`: `taken`, or how it was refused."""

    at_s: float
    how: str
    alert_id: str
    change: str
    body: Mapping[str, Any]


@dataclass
class Inbox:
    """One receiver's view of the world."""

    name: str
    messages: list[Message] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    seen: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, at_s: float, delivery_id: str, body: Mapping[str, Any], raw: bytes) -> None:
        """Take a message, however often it comes."""
        before = self.seen.setdefault(delivery_id, raw)
        if before != raw:
            self.problems.append(f"{self.name}: {delivery_id} came with another body")
        change = body["change"]
        taken = Message(
            at_s, delivery_id, change, body["alert_id"], body, repeated=delivery_id in self._ids()
        )
        self.messages.append(taken)

    def _ids(self) -> set[str]:
        return {message.id for message in self.messages}


@dataclass
class Posted:
    """One alert as Alertmanager has it."""

    labels: Mapping[str, str]
    ends_at: datetime


class Receivers(httpx.AsyncBaseTransport):
    """Every receiver but the log, by host: `http://NAME/…`."""

    def __init__(self, elapsed: Elapsed, told: Callable[[str], None], took: Callable[[], None]) -> None:
        self._elapsed = elapsed
        self._told = told
        self._took = took
        self.inboxes: dict[str, Inbox] = {}
        self.refusing: list[tuple[Refuse, list[float]]] = []
        self.alertmanager: dict[frozenset[tuple[str, str]], Posted] = {}
        self.alertmanager_posts: list[tuple[float, str]] = []

    def inbox(self, name: str) -> Inbox:
        """Return the inbox of a receiver."""
        return self.inboxes.setdefault(name, Inbox(name))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take a request, or not."""
        name = request.url.host
        raw = await request.aread()
        how = self._how(name)
        await asyncio.sleep(0.05)
        taken = how in ("", "lost")
        if name == "am":
            self.alertmanager_posts.append((self._elapsed.s, how or "taken"))
            if taken:
                self._post(json.loads(raw))
        else:
            self._deliver(name, request, json.loads(raw), raw, how)
        if how == "refused":
            raise httpx.ConnectError("refused")
        if how in ("lost", "slow"):
            await asyncio.sleep(_PATIENCE_S)
        if how.isdecimal():
            headers = {"retry-after": "20"} if how == "429" else {}
            return httpx.Response(int(how), text="no", headers=headers)
        return httpx.Response(202, text="ok")

    def _how(self, name: str) -> str:
        for event, times in self.refusing:
            if event.receiver != name or (event.count and len(times) >= event.count):
                continue
            times.append(self._elapsed.s)
            if event.how == "every_second":
                return "" if len(times) % 2 else "500"
            return event.how
        return ""

    def _deliver(
        self, name: str, request: httpx.Request, event: Mapping[str, Any], raw: bytes, how: str
    ) -> None:
        body: Mapping[str, Any]
        if name == "pd":
            change = _PAGED[event["event_action"]]
            body = {"alert_id": event["dedup_key"], "change": change, **event["payload"]}
            delivery_id = ""
        else:
            body, delivery_id = event["data"], request.headers["webhook-id"]
        inbox = self.inbox(name)
        taken = how in ("", "lost")
        inbox.attempts.append(
            Attempt(self._elapsed.s, how or "taken", body["alert_id"], body["change"], body)
        )
        said = f"{name}: {body['change']} {body['alert_id'][:6]} {body.get('summary', '')}"
        self._told(said if not how else f"{said} ({how})")
        if taken:
            inbox.take(self._elapsed.s, delivery_id or f"{len(inbox.messages)}", body, raw)
            self._took()

    def _post(self, alerts: list[dict[str, Any]]) -> None:
        """Keep what is posted, until it is ended: a clock that is set back opens nothing again."""
        for alert in alerts:
            key = frozenset(alert["labels"].items())
            if "resolution" in alert["annotations"]:
                self.alertmanager.pop(key, None)
            else:
                self.alertmanager[key] = Posted(alert["labels"], datetime.fromisoformat(alert["endsAt"]))
        if alerts:
            self._took()

    def alertmanager_firing(self, now: datetime) -> list[Posted]:
        """Return what Alertmanager takes for firing."""
        return [posted for posted in self.alertmanager.values() if posted.ends_at > now]
