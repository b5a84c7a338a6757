"""Whether what was told was so, and what was so was told."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise, takewhile

from tests.world.events import FullDisk, Ignore, Jump, Kill, Maintenance, Refuse, Silence, Suspend, Without
from tests.world.evidence import (
    BELIEVED,
    CONFIRM,
    FAILING_AFTER,
    FAILURES,
    KEEP_FIRING_S,
    LISTING,
    RESOLVE,
    SLACK_S,
    STALE_S,
    UPDATE_S,
    Evidence,
    Key,
    Problem,
    listed,
    numbers_of,
)
from tests.world.provider import Condition, Served
from tests.world.receivers import Message

PARTIAL = frozenset({"empty", "most_lacking", "quarter_lacking"})
WHOLE = frozenset({"good", "unreadable_entry", "all_ready"})
HELD = PARTIAL | {"all_ready"}
_REPEATED_S = 8.0
"""A request that fails is repeated by the same sync so soon; what fails is synced again after ten seconds."""


class Trust(Evidence):
    """Compares the messages with what the provider served."""

    def checks(self) -> Iterator[Problem]:
        """Yield everything that was not as promised."""
        yield from self.lost()
        yield from self.false()
        yield from self.ends()
        yield from self.blind()
        yield from self.quieted()

    def lost(self) -> Iterator[Problem]:
        """Whatever was broken for long enough, and seen so, was told to everybody who wants to know."""
        for number, troubles in self.played.troubles.items():
            for begins_s, ends_s in troubles:
                run = self._steady(number, begins_s, ends_s)
                if run is None or self.disturbed(
                    begins_s,
                    ends_s,
                    self.setting(number[0]),
                    self.jumps(),
                    self.spans(FullDisk, by_s=60),
                ):
                    continue
                for name in LISTING:
                    if self.wants(name, number[0], run) and not self._heard(name, number, begins_s, ends_s):
                        yield Problem(
                            "lost",
                            ends_s,
                            f"{name} never heard that {number} was {run.state} from {begins_s:.0f} s on",
                        )

    def _steady(self, number: Key, begins_s: float, ends_s: float) -> Condition | None:
        """Return how a number was seen to be, if it was seen so for long enough."""
        connection, key = number
        run: list[Served] = []
        for answer in self.before(connection, ends_s):
            if answer.at_s < begins_s:
                continue
            if answer.how not in ("good", "unreadable_entry"):
                if answer.numbers is not None:
                    run = []
                continue
            run.append(answer)
            least_s = max(5 * 60.0, 3.0 * self.played.world.interval_s)
            if len(run) >= 2 * CONFIRM + 4 and answer.at_s - run[0].at_s >= least_s:
                seen = [each.numbers[key] for each in run if each.numbers is not None and key in each.numbers]
                if len(set(seen)) != 1 or len(seen) < len(run) or not seen[0].drifting:
                    return None
                return seen[0]
        return None

    def _heard(self, name: str, number: Key, begins_s: float, ends_s: float) -> bool:
        inbox = self.inboxes[name]
        quiet_s = next(last for first, last in self.played.world.quiet if last > ends_s)
        if any(
            number in listed(message.body)
            for message in inbox.messages
            if begins_s <= message.at_s <= quiet_s and message.body["kind"] == "drift"
        ):
            return True
        if number in numbers_of(self.firing(inbox, begins_s).values(), "drift"):
            return True
        if self.disturbed(begins_s, ends_s + 900, self.spans(Without, receiver=name, by_s=420)):
            return True
        # An update may be replaced by a newer one while a receiver refuses; a first message may not.
        return self.disturbed(begins_s, ends_s + 900, self.spans(Refuse, receiver=name, by_s=600))

    def false(self) -> Iterator[Problem]:
        """Nobody is told of a trouble that the provider never showed."""
        known: dict[str, set[Key]] = defaultdict(set)
        about: dict[str, set[str]] = defaultdict(set)
        for message in self.inboxes["log"].messages:
            body = message.body
            if message.change == "resolved":
                continue
            if body["kind"] in ("drift", "number_removed"):
                new = listed(body) - known[message.alert_id]
                known[message.alert_id] |= new
                for number in sorted(new):
                    yield from self._false_number(body["kind"], number, message.at_s)
            elif body["kind"] in FAILURES:
                fresh = set(body["connections"]) - about[message.alert_id]
                about[message.alert_id] |= fresh
                for connection in sorted(fresh):
                    yield from self._false_failure(body["kind"], connection, message)
            elif body["kind"] == "receiver_failing" and message.change == "opened":
                yield from self._false_receiver(body["state"], message)

    def _false_number(self, kind: str, number: Key, at_s: float) -> Iterator[Problem]:
        if self.disturbed(at_s, at_s, self.jumps()):
            return
        connection, key = number
        answers = [each for each in self.before(connection, at_s) if each.numbers is not None]
        text = _never_drifted(answers, key) if kind == "drift" else self._never_gone(answers, key)
        if text is not None:
            yield Problem("false", at_s, f"{number} is told to {text}")

    def _never_gone(self, answers: list[Served], key: str) -> str | None:
        missing = 0
        for answer in reversed(answers):
            if answer.numbers is not None and key in answer.numbers:
                break
            missing += 1
        lately = {answer.how for answer in answers[len(answers) - missing :]}
        if missing < CONFIRM:
            return f"be gone, but was missing {missing} times"
        excused = not self.promises.warned_answers_held and (missing > CONFIRM or "quarter_lacking" in lately)
        in_a_row = len(list(takewhile(lambda answer: answer.how in HELD, reversed(answers))))
        if lately <= PARTIAL and in_a_row < BELIEVED and not excused:
            return f"be gone: {missing} answers were partial"
        return None

    def _false_failure(self, kind: str, connection: str, message: Message) -> Iterator[Problem]:
        at_s = message.at_s
        if not connection.startswith("c") or self.disturbed(at_s - 600, at_s, self.setting(connection)):
            return
        answers = self.before(connection, at_s)
        if kind == "sync_stale":
            yield from self._false_stale(connection, answers, at_s)
            return
        # Who joined is told with the next update, and may have answered since.
        since_s = at_s - UPDATE_S - KEEP_FIRING_S - SLACK_S
        lately = [answer for answer in answers if answer.at_s > since_s] + answers[-FAILING_AFTER:]
        if all(answer.numbers is not None for answer in lately):
            yield Problem("false", at_s, f"{kind} is told of {connection}, which has long been answering")

    def _false_stale(self, connection: str, answers: list[Served], at_s: float) -> Iterator[Problem]:
        if self.disturbed(at_s - 600, at_s, self.jumps(), self.spans(FullDisk, by_s=STALE_S)):
            return
        suspended = self.disturbed(at_s - 900, at_s, self.spans(Suspend))
        if suspended and not self.promises.grace_after_suspension:
            return
        # While one replica is stopped, others go on.
        away = [] if self.played.world.ahead_s else [*self.played.down, *self.spans(Suspend)]
        awake_since_s = max((last for _, last in away if last <= at_s), default=0.0)
        last_good_s = max((answer.at_s for answer in answers if answer.how in WHOLE), default=0.0)
        # Held answers were not applied, so only the time since the monitor began to look is certain.
        if at_s - awake_since_s < STALE_S - 15:
            text = f"{connection} is told to be stale {at_s - awake_since_s:.0f} s after a start"
            yield Problem("false", at_s, text)
        elif at_s - last_good_s < 30 and not self._suspect(answers[-4:]):
            yield Problem("false", at_s, f"{connection} is told to be stale, but answers well")

    def _suspect(self, answers: list[Served]) -> bool:
        """Whether some of these answers differ so much that they may be held."""
        for one, other in pairwise(answers):
            if one.numbers is None or other.numbers is None:
                return True
            moved = [
                key
                for key in one.numbers.keys() | other.numbers.keys()
                if one.numbers.get(key) != other.numbers.get(key)
            ]
            if len(moved) >= 3:
                return True
        return False

    def _false_receiver(self, name: str, message: Message) -> Iterator[Problem]:
        if name == "am":
            tries = [how for at_s, how in self.played.receivers.alertmanager_posts if at_s <= message.at_s]
        else:
            tries = [
                each.how for each in self.played.receivers.inbox(name).attempts if each.at_s <= message.at_s
            ]
        if not tries or tries[-1] in ("taken", ""):
            yield Problem("false", message.at_s, f"{name} is told to fail, but took the last message")

    def ends(self) -> Iterator[Problem]:
        """What is told to have recovered has."""
        opened: dict[str, Message] = {}
        for message in self.inboxes["log"].messages:
            first = opened.setdefault(message.alert_id, message)
            body = message.body
            if message.change != "resolved" or body["resolution"] != "recovered":
                continue
            if body["kind"] == "drift":
                for number in sorted(listed(body)):
                    yield from self._number_recovered(number, message.at_s)
            elif body["kind"] == "receiver_failing":
                yield from self._receiver_recovered(body["state"], first, message)
            elif body["kind"] in FAILURES:
                for connection in body["connections"]:
                    yield from self._failure_recovered(body["kind"], connection, first, message)

    def _receiver_recovered(self, name: str, first: Message, last: Message) -> Iterator[Problem]:
        accepted = self._accepted(name, first.at_s - KEEP_FIRING_S, last.at_s)
        if self.promises.receiver_recovers_by_success and not accepted:
            yield Problem("false_end", last.at_s, f"{name} recovered, but took nothing")

    def _accepted(self, name: str, begins_s: float, ends_s: float) -> bool:
        if name == "am":
            posts = self.played.receivers.alertmanager_posts
            return any(begins_s <= at_s <= ends_s and how == "taken" for at_s, how in posts)
        tries = self.played.receivers.inbox(name).attempts
        return any(begins_s <= each.at_s <= ends_s and each.how == "taken" for each in tries)

    def _number_recovered(self, number: Key, at_s: float) -> Iterator[Problem]:
        connection, key = number
        answers = [each for each in self.before(connection, at_s) if each.numbers is not None][-1:]
        for answer in answers:
            condition = (answer.numbers or {}).get(key)
            if condition is not None and condition.drifting:
                lately = [each.how for each in self.before(connection, at_s)[-12:]]
                if "all_ready" in lately and not self.promises.warned_answers_held:
                    continue
                # The last answer may be held, or may not be written yet.
                earlier = [
                    (each.numbers or {}).get(key)
                    for each in self.before(connection, at_s - 3 * self.played.world.interval_s)
                    if each.numbers is not None
                ][-1:]
                if all(each is not None and each.drifting for each in earlier):
                    yield Problem(
                        "false_end", at_s, f"{number} recovered, but is served as {condition.state}"
                    )
                    return
        yield from self._ended_early(number, at_s)

    def _ended_early(self, number: Key, at_s: float) -> Iterator[Problem]:
        connection, key = number
        ready: list[Served] = []
        answers = [each for each in self.before(connection, at_s) if each.numbers is not None]
        for index, answer in reversed(list(enumerate(answers))):
            condition = (answer.numbers or {}).get(key)
            if condition is not None and condition.drifting:
                since_s = at_s - answer.at_s
                # A clock that is set ahead makes it so long.
                short = since_s < KEEP_FIRING_S and not self.disturbed(answer.at_s, at_s, self.spans(Jump))
                early = short or len(ready) < RESOLVE
                if early and not self._suspect(answers[max(index - 3, 0) :]):
                    text = f"{number} recovered {since_s:.0f} s after it drifted, ready {len(ready)} times"
                    yield Problem("false_end", at_s, text)
                return
            ready += [answer] if condition is not None and answer.how in WHOLE else []

    def _failure_recovered(
        self, kind: str, connection: str, first: Message, message: Message
    ) -> Iterator[Problem]:
        answers = [each for each in self.before(connection, message.at_s) if each.at_s >= first.at_s - 1]
        good = [each for each in answers if each.numbers is not None]
        if kind == "sync_stale":
            if not good and self.promises.stale_ends_by_snapshot:
                yield Problem("false_end", message.at_s, f"{connection} is fresh, but was not answered")
            return
        if connection.startswith("c") and len(good) < RESOLVE:
            yield Problem(
                "false_end", message.at_s, f"{kind} of {connection} recovered after {len(good)} answers"
            )
        lately = [
            each
            for each in answers
            if each.numbers is None
            and message.at_s - each.at_s < KEEP_FIRING_S - 20
            and not any(0 <= later.at_s - each.at_s < _REPEATED_S for later in good)
        ]
        if lately and self.promises.failures_keep_firing:
            since_s = message.at_s - lately[-1].at_s
            yield Problem(
                "flap", message.at_s, f"{kind} of {connection} ended {since_s:.0f} s after a failure"
            )

    def blind(self) -> Iterator[Problem]:
        """Where nothing is seen for long, somebody is told; and every connection is asked again and again."""
        disturbances = [
            *self.jumps(),
            *self.spans(FullDisk, by_s=STALE_S),
            *self.spans(Suspend, by_s=STALE_S),
            *self.spans(Kill, by_s=30),
        ]
        for look in self.played.looks:
            since_s = look.at_s - STALE_S - UPDATE_S - SLACK_S  # who joins is told with the next update
            if look.alive_since_s is None or look.alive_since_s > since_s - SLACK_S:
                continue
            if not self.disturbed(since_s, look.at_s, disturbances):
                yield from self._blind_at(look.at_s, since_s)

    def _blind_at(self, at_s: float, since_s: float) -> Iterator[Problem]:
        told = {
            name
            for message in self.firing(self.inboxes["log"], at_s).values()
            for name in message.body["connections"]
            if message.body["kind"] in FAILURES
        }
        for name in (f"c{index}" for index in range(len(self.played.world.connections))):
            if name in told or self.disturbed(since_s, at_s, self.setting(name)):
                continue
            seen_s = max(
                (each.at_s for each in self.before(name, at_s) if each.numbers is not None), default=0.0
            )
            if seen_s < since_s:
                yield Problem("blind", at_s, f"{name} is not seen, and nobody is told")

    def quieted(self) -> Iterator[Problem]:
        """Nothing begins that the config ignores, nor in a maintenance window."""
        known: dict[str, set[Key]] = defaultdict(set)
        about: dict[str, set[str]] = defaultdict(set)
        for message in self.inboxes["log"].messages:
            body = message.body
            if message.change == "resolved":
                continue
            new = listed(body) - known[message.alert_id]
            known[message.alert_id] |= new
            failing = set(body["connections"]) - about[message.alert_id] if not body["numbers"] else set()
            about[message.alert_id] |= failing
            for event in self.events:
                if not isinstance(event, Ignore | Maintenance | Silence):
                    continue
                begins_s, ends_s = event.at_s + 420, event.at_s + event.lasts_s
                name = f"c{event.connection}"
                if not begins_s < message.at_s < ends_s or self.disturbed(
                    begins_s - 420,
                    message.at_s,
                    self.played.down,
                    self.spans(Suspend, FullDisk, Jump, Without),
                ):
                    continue
                quiet = {each for each in new if each[0] == name and self._is_quiet(event, each, message)}
                if quiet or (name in failing and isinstance(event, Maintenance)):
                    yield Problem(
                        "quieted", message.at_s, f"{body['kind']} of {name} is told: {sorted(quiet)}"
                    )

    def _is_quiet(self, event: Ignore | Maintenance | Silence, number: Key, message: Message) -> bool:
        if isinstance(event, Silence) and event.until_ready:
            return False  # only some of them
        if isinstance(event, Maintenance) or not event.issue:
            return True
        issues = [each["issues"] for each in message.body["numbers"] if each["key"] == number[1]]
        return message.body["kind"] == "drift" and issues == [[event.issue]]


def _never_drifted(answers: list[Served], key: str) -> str | None:
    seen = [
        answer
        for answer in answers
        if answer.numbers and key in answer.numbers and answer.numbers[key].drifting
    ]
    if len(seen) < CONFIRM:
        return f"drift, but was served so {len(seen)} times"
    if not [answer for answer in answers[-6:] if answer in seen]:
        return "drift, but is not served so any more"
    return None
