"""What was seen of a world: the evidence that every check goes by.

Times are the world's, so a wall clock that was set says nothing here.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.world.events import Ignore, Jump, Maintenance, Silence, Without
from tests.world.play import Played
from tests.world.promises import Promises
from tests.world.provider import Condition, Served, connection_of
from tests.world.receivers import Inbox, Message

REMIND_S = 900.0
CONFIRM, RESOLVE, FAILING_AFTER = 2, 2, 3
KEEP_FIRING_S, UPDATE_S, STALE_S, EXPIRE_S = 180.0, 120.0, 300.0, 1800.0
SLACK_S = 60.0
UNNOTICED_S = 20.0
"""A receiver that takes a message so soon after it did not is not seen to have failed in between."""
BELIEVED = 3
"""Of so many answers in a row that would be held, the last is believed."""
WIDESPREAD = 2
"""`widespread_connections` of these worlds."""

FAILURES = ("api_unavailable", "account_rejected", "connection_rejected", "answer_unreadable", "sync_stale")
CRITICAL = frozenset({"NO_BOT", "ROUTING_MISSING", "NO_VOCOBASE_AGENT"})
DEAD = ("400",)
LISTING = ("log", "hook", "picky")
"""The receivers whose messages list the numbers."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Problem:
    """One broken promise. `kind` names the promise, so that a shrunk world still breaks the same one."""

    kind: str
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.at_s:8.1f} {self.kind}: {self.text}"


class Evidence:
    """Everything that was seen of a world, and the promises that it is held to."""

    def __init__(self, played: Played, promises: Promises) -> None:
        self.played = played
        self.promises = promises
        self.events = played.world.events
        self.ends_s = played.world.ends_s
        self.served: dict[str, list[Served]] = defaultdict(list)
        for answer in played.provider.served:
            self.served[f"c{answer.connection}"].append(answer)
        self.served_at = {name: [answer.at_s for answer in answers] for name, answers in self.served.items()}
        self.inboxes = {name: played.receivers.inbox(name) for name in (*LISTING, "pd")}

    def before(self, connection: str, at_s: float) -> list[Served]:
        """Return what was served of a connection until an instant."""
        until = bisect_right(self.served_at.get(connection, []), at_s)
        return self.served.get(connection, [])[:until]

    def spans(self, *kinds: type, by_s: float = 0.0, **fields: object) -> list[tuple[float, float]]:
        """Return when events of these kinds (and fields) were going on, widened on both sides."""
        return [
            (event.at_s - by_s, event.at_s + getattr(event, "lasts_s", getattr(event, "down_s", 0.0)) + by_s)
            for event in self.events
            if isinstance(event, kinds)
            and all(getattr(event, name) == value for name, value in fields.items())
        ]

    def disturbed(self, begins_s: float, ends_s: float, *spans: list[tuple[float, float]]) -> bool:
        """Whether any of the spans reaches into another one."""
        return any(first < ends_s and last > begins_s for group in spans for first, last in group)

    def setting(self, connection: str) -> list[tuple[float, float]]:
        """Return when the config said something special of a connection; reloads may come late."""
        index = int(connection[1:])
        return [
            *self.spans(Without, connection=index, by_s=420),
            *self.spans(Ignore, connection=index, by_s=420),
            *self.spans(Maintenance, connection=index, by_s=420),
            *self.spans(Silence, connection=index, by_s=420),
        ]

    def jumps(self) -> list[tuple[float, float]]:
        """Return when the clock was wrong, as long as that matters."""
        if self.promises.clock_set:
            return []
        return [(at_s - 5, at_s + 4000) for at_s, _ in self.spans(Jump)]

    def firing(self, inbox: Inbox, at_s: float) -> dict[str, Message]:
        """Return the alerts that fire for a receiver at an instant, by id, as it heard of them last."""
        last: dict[str, Message] = {}
        for message in inbox.messages:
            if message.at_s <= at_s:
                last[message.alert_id] = message
        return {name: message for name, message in last.items() if message.change != "resolved"}

    def refused_last(self, inbox: Inbox, alert_id: str, at_s: float) -> bool:
        """Whether the last message about an alert was one that the receiver will never take."""
        tries = [each for each in inbox.attempts if each.alert_id == alert_id and each.at_s <= at_s]
        return bool(tries) and tries[-1].how in DEAD

    # The checks

    def wants(self, name: str, connection: str, condition: Condition) -> bool:
        """Whether a receiver wants to hear of a number in this condition."""
        if name != "picky":
            return True
        return connection in ("c0", "c2") and bool(CRITICAL & set(condition.issues))


def listed(body: object) -> set[Key]:
    """Return the numbers that a message lists."""
    assert isinstance(body, dict)
    return {(connection_of(number["key"]), number["key"]) for number in body.get("numbers", ())}


def drifting(body: Mapping[str, Any]) -> set[Key]:
    """Return the numbers that a message lists, but for those it calls ready again: they may leave unsaid."""
    well = {number["key"] for number in body.get("numbers", ()) if number["state"] == "READY"}
    return {key for key in listed(body) if key[1] not in well}


def numbers_of(messages: Iterable[Message], kind: str) -> set[Key]:
    """Return the numbers that messages of a kind list."""
    return {number for message in messages if message.body["kind"] == kind for number in listed(message.body)}
