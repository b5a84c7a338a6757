"""The messages themselves: their order, how many pages a cause is, and what refusals lead to."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from tests.world.events import Break, FullDisk, Garble, Kill, Remove, Suspend, Without
from tests.world.evidence import (
    DEAD,
    FAILING_AFTER,
    KEEP_FIRING_S,
    LISTING,
    SLACK_S,
    UNNOTICED_S,
    UPDATE_S,
    WIDESPREAD,
    Evidence,
    Key,
    Problem,
    drifting,
    listed,
)
from tests.world.provider import CAUSES
from tests.world.receivers import Message


class Streams(Evidence):
    """Looks at what each receiver was sent."""

    def checks(self) -> Iterator[Problem]:
        """Yield everything that was not as promised."""
        yield from self.own_mistakes()
        yield from self.orders()
        yield from self.doubled()
        yield from self.storms()
        yield from self.refusals()

    def own_mistakes(self) -> Iterator[Problem]:
        """The daemon makes no mistakes of its own, and a message never comes with two bodies."""
        for text in self.played.problems:
            yield Problem("mistake", 0.0, text)
        for inbox in self.inboxes.values():
            for text in inbox.problems:
                yield Problem("two_bodies", 0.0, text)

    def orders(self) -> Iterator[Problem]:
        """Of each alert a receiver gets `opened`, then updates, then `resolved`, each once."""
        for name in LISTING:
            inbox = self.inboxes[name]
            away = self.spans(Without, receiver=name, by_s=420)
            streams: dict[str, list[Message]] = defaultdict(list)
            for message in inbox.messages:
                streams[message.alert_id].append(message)
            for alert_id, stream in streams.items():
                problem = _order(stream, again=self.disturbed(stream[0].at_s, self.ends_s, away))
                if problem is None:
                    continue
                dead = any(each.alert_id == alert_id and each.how in DEAD for each in inbox.attempts)
                if dead and not self.promises.routed_by_accepted:
                    continue
                if not self.promises.receiver_remembered and self.disturbed(
                    stream[0].at_s, self.ends_s, away
                ):
                    continue
                yield Problem("order", stream[-1].at_s, f"{name} {alert_id[:6]}: {problem}")
        yield from self._pager_order()

    def _pager_order(self) -> Iterator[Problem]:
        over: set[str] = set()
        for message in self.inboxes["pd"].messages:
            if message.alert_id in over and message.change != "resolved":
                away = self.disturbed(0.0, message.at_s, self.spans(Without, receiver="pd", by_s=420))
                if not away or self.promises.receiver_remembered:
                    yield Problem("order", message.at_s, f"pd {message.alert_id[:6]} opens again")
            if message.change == "resolved":
                over.add(message.alert_id)

    def doubled(self) -> Iterator[Problem]:
        """One trouble is in one alert, and one cause in one connection is one page."""
        yield from self._in_two_alerts()
        for event in self.events:
            if isinstance(event, Break):
                yield from self._one_page(event)

    def _in_two_alerts(self) -> Iterator[Problem]:
        members: dict[str, set[Key]] = {}
        kinds: dict[str, str] = {}
        for message in self.inboxes["log"].messages:
            kind, body = message.body["kind"], message.body
            if message.change == "resolved":
                members.pop(message.alert_id, None)
            elif kind in ("drift", "number_removed"):
                for other, theirs in members.items():
                    twice = sorted(theirs & drifting(body))
                    if self.disturbed(message.at_s, message.at_s, self.jumps()):
                        continue
                    if other != message.alert_id and kinds[other] == kind and twice:
                        yield Problem("doubled", message.at_s, f"{twice[0]} is in two alerts at once")
                members[message.alert_id] = drifting(body)
                kinds[message.alert_id] = kind

    def _one_page(self, event: Break) -> Iterator[Problem]:
        begins_s, ends_s = event.at_s, event.at_s + 900
        special = self.spans(Garble, by_s=120) + self.jumps() + self.spans(FullDisk, by_s=120)
        if self.disturbed(begins_s - 60, ends_s, special):
            return
        issue = event.state or CAUSES[event.cause]
        pages: dict[str, set[str]] = defaultdict(set)
        gone = {
            f"{connection}/{position}"
            for removal in self.events
            if isinstance(removal, Remove) and removal.at_s < ends_s
            for connection, position in removal.numbers
            if removal.at_s + removal.lasts_s > begins_s - 900
        }
        hit = {
            (f"c{number.connection}", number.key)
            for number in self.played.provider.hit(event)
            if f"{number.connection}/{number.position}" not in gone
        }
        fresh = {number for number in hit if self._was_well(number, begins_s)}
        for message in self.inboxes["log"].messages:
            if begins_s <= message.at_s <= ends_s and message.body["kind"] == "drift":
                for number in listed(message.body) & fresh:
                    if message.body["state"] == issue:
                        pages[number[0]].add(message.alert_id)
        for connection, alerts in pages.items():
            if len(alerts) > 1 and not self.disturbed(begins_s - 60, ends_s, self.setting(connection)):
                yield Problem("doubled", begins_s, f"{issue} in {connection} paged {len(alerts)} times")

    def _was_well(self, number: Key, at_s: float) -> bool:
        """Whether nothing was wrong with a number lately, and nothing else goes wrong with it soon."""
        troubles = self.played.troubles.get(number, [])
        near = [span for span in troubles if span[0] < at_s + 900 and span[1] > at_s - 900]
        return len(near) == 1 and near[0][0] >= at_s - 1

    def storms(self) -> Iterator[Problem]:
        """One cause in many connections is few pages."""
        first: dict[str, Message] = {}
        for message in self.inboxes["log"].messages:
            first.setdefault(message.alert_id, message)  # after a death the same line comes again
        opened = list(first.values())
        for index, message in enumerate(opened):
            body = message.body
            kind, cause = (
                body["kind"],
                body["state"] if body["kind"] == "drift" else _outcome(body["summary"]),
            )
            alike = [
                each
                for each in opened[:index]
                if each.body["kind"] == kind
                and each.body["account"] == body["account"]
                and 0 <= _began_s(message) - _began_s(each) < UPDATE_S - 10
                and (each.body["state"] if kind == "drift" else _outcome(each.body["summary"])) == cause
            ]
            if kind == "drift" and self.promises.widespread and len(alike) > WIDESPREAD:
                yield Problem("storm", message.at_s, f"{cause} pages for the {len(alike) + 1}th connection")
            grouped = kind in ("connection_rejected", "answer_unreadable") and self.promises.failures_grouped
            firing = self.firing(self.inboxes["log"], message.at_s - 0.01)
            if grouped and [each for each in alike if each.alert_id in firing]:
                yield Problem("storm", message.at_s, f"{kind} ({cause}) pages once more for the same account")

    def refusals(self) -> Iterator[Problem]:
        """Who refuses three messages in a row is failing, and is so until it takes messages for a while."""
        for name in ("hook", "picky", "pd"):
            failing = [
                message
                for message in self.inboxes["log"].messages
                if message.body["kind"] == "receiver_failing" and message.body["state"] == name
            ]
            if self.promises.refused_is_failing:
                yield from self._silent(name, failing)
            if self.promises.receiver_failing_keeps_firing:
                yield from self._flapping(name, failing)

    def _silent(self, name: str, failing: list[Message]) -> Iterator[Problem]:
        quiet = [
            *self.spans(FullDisk, by_s=60),
            *self.spans(Kill, by_s=60),
            *self.spans(Suspend, by_s=60),
            *self.spans(Without, receiver=name, by_s=60),
            *self.jumps(),
        ]
        attempts = self.inboxes[name].attempts
        row = 0
        for attempt in attempts:
            row = row + 1 if attempt.how.isdecimal() else 0  # who does not answer has more time
            at_s = attempt.at_s
            if row != FAILING_AFTER or self.disturbed(at_s - SLACK_S, at_s + SLACK_S, quiet):
                continue
            soon = [each for each in attempts if each.how == "taken" and 0 <= each.at_s - at_s < SLACK_S / 2]
            told = [each for each in failing if each.at_s <= at_s + SLACK_S]
            known = bool(told) and (told[-1].at_s >= at_s or told[-1].change != "resolved")
            if not soon and not known:  # who accepts again at once is not worth a word
                text = f"{name} refused {row} messages in a row ({attempt.how}), and nobody is told"
                yield Problem("silent_receiver", at_s, text)

    def _flapping(self, name: str, failing: list[Message]) -> Iterator[Problem]:
        for message in failing:
            if message.change != "resolved" or message.body["resolution"] != "recovered":
                continue
            since_s = message.at_s - KEEP_FIRING_S + 20
            attempts = self.inboxes[name].attempts
            taken = [each.at_s for each in attempts if each.how == "taken"]
            lately = [
                each.at_s
                for each in attempts
                if each.how != "taken"
                and since_s < each.at_s <= message.at_s
                and not any(0 < at_s - each.at_s < UNNOTICED_S for at_s in taken)
            ]
            if lately:
                text = f"{name} recovered {message.at_s - lately[-1]:.0f} s after it refused"
                yield Problem("flap", message.at_s, text)


def _order(stream: list[Message], *, again: bool) -> str | None:
    """Return what is wrong with the messages about one alert.

    Args:
        stream: The messages.
        again: Whether the receiver may hear of a version again, as it was away from the config.
    """
    once: list[Message] = []
    for message in stream:
        if once and message.id == once[-1].id:
            continue  # the same message again, before any other: nobody answered the first time
        if message.id in {each.id for each in once}:
            return f"{message.change} comes again after a newer message"
        once.append(message)
    changes = [message.change for message in once]
    if changes[0] != "opened":
        return f"begins with {changes[0]}"
    if changes.count("opened") > 1:
        return "is opened twice"
    if "resolved" in changes[:-1]:
        return f"goes on after its end: {changes[changes.index('resolved') + 1]}"
    versions = [
        message.body["version"] for message in once if message.change in ("opened", "updated", "resolved")
    ]
    if versions != sorted(versions) or (len(set(versions)) < len(versions) and not again):
        return f"has the versions {versions}"
    # Not its beginning: where the wall clock was set back, that is pulled into the past.
    return None if len({message.body["kind"] for message in once}) == 1 else "changes its kind"


def _began_s(message: Message) -> float:
    """Return when the alert of a message began: a process that is down tells of it later."""
    return datetime.fromisoformat(message.body["started_at"]).timestamp()


def _outcome(summary: str) -> str:
    """Return the outcome that the summary of a failure names."""
    return summary.rpartition("(")[2].partition(")")[0]
