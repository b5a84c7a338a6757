"""When receivers are told: soon, once, and no more often than they asked for."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.world.events import FullDisk, Jump, Refuse, Restart, Suspend, Without
from tests.world.evidence import (
    BELIEVED,
    LISTING,
    REMIND_S,
    SLACK_S,
    UPDATE_S,
    Evidence,
    Key,
    Problem,
    listed,
)
from tests.world.provider import Condition
from tests.world.receivers import Message

_SOON_S = 2 * UPDATE_S + SLACK_S
"""Who joins an alert is told with its next update; a widespread one hears of that with its own."""
_MOST_ASKED = 25
"""So often may a connection be asked in a minute: three tries for each recheck, and some for a restart."""


class Pace(Evidence):
    """Looks at the time between what happened and what was told of it."""

    def checks(self) -> Iterator[Problem]:
        """Yield everything that was not as promised."""
        self._interrupted = [
            *((first - SLACK_S, last + 2 * SLACK_S) for first, last in self.played.down),
            *self.spans(Restart, Suspend, FullDisk, Jump, by_s=2 * SLACK_S),
        ]
        yield from self.late()
        for name in LISTING:
            yield from self.repeated(name)
        yield from self.hurried()
        yield from self.reminded()
        yield from self.pressed()

    def late(self) -> Iterator[Problem]:
        """Where nothing is in the way, a trouble is told as soon as it is confirmed."""
        for number, troubles in self.played.troubles.items():
            for begins_s, ends_s in troubles:
                seen = self._seen(number, begins_s, ends_s)
                if seen is None:
                    continue
                seen_s, condition = seen
                by_s = seen_s + _SOON_S
                if self.disturbed(begins_s - SLACK_S, by_s, self._interrupted, self.setting(number[0])):
                    continue
                wanting = [name for name in LISTING if self.wants(name, number[0], condition)]
                for name in wanting:
                    if not self._told(name, number, begins_s, by_s):
                        text = f"{number} was {condition.state} for {_SOON_S:.0f} s more, unknown to {name}"
                        yield Problem("late", by_s, text)

    def _seen(self, number: Key, begins_s: float, ends_s: float) -> tuple[float, Condition] | None:
        """Return when a number had been shown to drift so often and long that even a held answer counts."""
        connection, key = number
        first_s, seen = 0.0, 0
        for answer in self.before(connection, ends_s):
            if answer.at_s < begins_s or answer.numbers is None:
                continue
            condition = answer.numbers.get(key)
            if answer.how not in ("good", "unreadable_entry") or condition is None or not condition.drifting:
                seen = 0
                continue
            first_s, seen = first_s if seen else answer.at_s, seen + 1
            if seen > BELIEVED and answer.at_s >= first_s + self.played.world.interval_s:
                return answer.at_s, condition
        return None

    def _told(self, name: str, number: Key, begins_s: float, by_s: float) -> bool:
        if self.disturbed(begins_s, by_s, self._unreachable(name)):
            return True
        inbox = self.inboxes[name]
        told = [message for message in inbox.messages if begins_s <= message.at_s <= by_s]
        told += self.firing(inbox, begins_s).values()
        return any(message.body["kind"] == "drift" and number in listed(message.body) for message in told)

    def repeated(self, name: str) -> Iterator[Problem]:
        """A message comes again only if its answer may have been lost."""
        refusing = self.spans(Refuse, receiver=name, by_s=SLACK_S)
        last: dict[str, Message] = {}
        for message in self.inboxes[name].messages:
            before = last.get(message.id)
            last[message.id] = message
            if before is not None and not self.disturbed(
                before.at_s - 1, message.at_s + 1, self._interrupted, refusing
            ):
                text = f"{name} gets {message.change} of {message.alert_id[:6]} again, though it took it"
                yield Problem("repeated", message.at_s, text)

    def hurried(self) -> Iterator[Problem]:
        """An alert is not updated before the interval of updates is over, unless it gets worse."""
        for alert_id, stream in self._streams("log").items():
            for before, message in pairwise(stream):
                passed_s = message.at_s - before.at_s
                if (
                    message.change == "updated"
                    and message.body["severity"] == before.body["severity"]
                    and passed_s < UPDATE_S - 5
                    and not self.disturbed(before.at_s, message.at_s, self._interrupted)
                ):
                    text = f"{alert_id[:6]} is updated {passed_s:.0f} s after its last message"
                    yield Problem("hurried", message.at_s, text)

    def reminded(self) -> Iterator[Problem]:
        """Who wants reminders of what still fires gets them, in time, until somebody sees to it."""
        for alert_id, stream in self._streams("hook").items():
            for before, message in pairwise([*stream, None]):
                assert before is not None
                next_s = message.at_s if message is not None else self.ends_s
                silent_s = next_s - before.at_s
                if before.change == "resolved" or self.disturbed(
                    before.at_s, next_s, self._interrupted, self._unreachable("hook")
                ):
                    continue
                wanted = not before.body["acknowledged"]
                if wanted and silent_s > REMIND_S + SLACK_S:
                    yield Problem("unreminded", next_s, f"{alert_id[:6]} fired for {silent_s:.0f} s unsaid")
                early = not wanted or silent_s < REMIND_S - SLACK_S
                if message is not None and message.change == "reminder" and early:
                    text = f"a reminder of {alert_id[:6]} comes after {silent_s:.0f} s"
                    yield Problem("hurried", next_s, text)

    def pressed(self) -> Iterator[Problem]:
        """The provider is not asked again and again."""
        asked: dict[int, list[float]] = defaultdict(list)
        for at_s, connection in self.played.provider.asked:
            asked[connection].append(at_s)
        for connection, instants in asked.items():
            for first_s, last_s in zip(instants, instants[_MOST_ASKED:], strict=False):
                if last_s < first_s + 60:
                    text = f"c{connection} is asked more than {_MOST_ASKED} times in a minute"
                    yield Problem("pressed", last_s, text)

    def _streams(self, name: str) -> dict[str, list[Message]]:
        """Return what a receiver took about each alert, without repetitions."""
        streams: dict[str, list[Message]] = defaultdict(list)
        for message in self.inboxes[name].messages:
            if not message.repeated:
                streams[message.alert_id].append(message)
        return streams

    def _unreachable(self, name: str) -> list[tuple[float, float]]:
        """Return when a receiver was not to be had, and for how long a message may wait after that."""
        return [
            *self.spans(Without, receiver=name, by_s=420),
            *self.spans(Refuse, receiver=name, by_s=600),
        ]
