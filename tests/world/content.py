"""What messages say: of whom, how bad, what each number is, and what has moved."""

from collections.abc import Iterator
from typing import Any

from tests.world.evidence import CRITICAL, DEAD, LISTING, Evidence, Key, Problem, listed
from tests.world.provider import connection_of
from tests.world.receivers import Message

_PICKED = {"c0", "c2"}


class Content(Evidence):
    """Reads each message by itself, and beside the one before it."""

    def checks(self) -> Iterator[Problem]:
        """Yield everything that was not as promised."""
        served: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        for answer in self.played.provider.served:
            for key, condition in (answer.numbers or {}).items():
                served.setdefault(key, set()).add((condition.state, condition.issues))
        for name in LISTING:
            last: dict[str, Message] = {}
            for message in self.inboxes[name].messages:
                wrong = (
                    _shape(message)
                    or _severity(message.body)
                    or _unwanted(name, message)
                    or _unknown(message.body, served)
                    or self._unsaid(name, last.get(message.alert_id), message)
                )
                last[message.alert_id] = message
                if wrong is not None:
                    text = f"{name} {message.alert_id[:6]} ({message.change}): {wrong}"
                    yield Problem("content", message.at_s, text)

    def _unsaid(self, name: str, before: Message | None, message: Message) -> str | None:
        """Return which number has moved since the message before, without a word."""
        body = message.body
        if before is None or message.repeated or message.change not in ("opened", "updated"):
            return None
        if body["changes_total"] > len(body["changes"]) or self._missed(name, before, message):
            return None
        said = {(connection_of(change["key"]), change["key"]) for change in body["changes"]}
        was = _states(before.body)
        moved = {key for key, state in _states(body).items() if was.get(key) != state} - said
        return f"{min(moved)} has moved from {was.get(min(moved))}" if moved else None

    def _missed(self, name: str, before: Message, message: Message) -> bool:
        """Whether a receiver refused for good what was said between two messages."""
        return any(
            each.how in DEAD and each.alert_id == message.alert_id and before.at_s < each.at_s < message.at_s
            for each in self.inboxes[name].attempts
        )


def _shape(message: Message) -> str | None:
    """Return what a message contradicts itself in."""
    body = message.body
    over = message.change == "resolved"
    if (body["status"] == "resolved", body["resolution"] is not None) != (over, over):
        return f"is {body['status']} with the resolution {body['resolution']}"
    if not body["numbers_total"] == body["numbers_listed"] == len(body["numbers"]):
        return f"lists {len(body['numbers'])} of {body['numbers_total']}"
    if not body["first_step"] or not body["summary"]:
        return "says nothing to do"
    if missing := {connection for connection, _ in listed(body)} - set(body["connections"]):
        return f"does not name {missing}"
    return None


def _severity(body: Any) -> str | None:
    """Return how a new drift is misjudged."""
    if body["kind"] != "drift" or body["change"] != "opened" or body["version"] != 1:
        return None
    bad = CRITICAL & {code for number in body["numbers"] for code in (number["state"], *number["issues"])}
    return (
        f"is {body['severity']} with {sorted(bad)}" if (body["severity"] == "critical") != bool(bad) else None
    )


def _unwanted(name: str, message: Message) -> str | None:
    """Return why a receiver does not want to hear of an alert."""
    body = message.body
    if name != "picky" or message.change != "opened":
        return None
    if body["severity"] != "critical":
        return f"is only {body['severity']}"
    if body["connections"] and not _PICKED & set(body["connections"]):
        return f"is about {body['connections']}"
    return None


def _unknown(body: Any, served: dict[str, set[tuple[str, tuple[str, ...]]]]) -> str | None:
    """Return which number is told to drift as the provider never showed it."""
    if body["kind"] != "drift":
        return None
    for number in body["numbers"]:
        told = number["state"], tuple(sorted(number["issues"]))
        if told not in served.get(number["key"], set()):
            return f"{number['key']} is said to be {told}"
    return None


def _states(body: Any) -> dict[Key, str]:
    return {(connection_of(number["key"]), number["key"]): number["state"] for number in body["numbers"]}
