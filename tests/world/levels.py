"""In quiet times everybody believes what is true: receivers, Alertmanager, gauges."""

from collections import Counter
from collections.abc import Iterator

from tests.world.events import Garble, Without
from tests.world.evidence import (
    CONFIRM,
    DEAD,
    EXPIRE_S,
    FAILURES,
    LISTING,
    Evidence,
    Key,
    Problem,
    listed,
    numbers_of,
)
from tests.world.plan import RECEIVERS
from tests.world.play import Look, Truth
from tests.world.provider import Condition, connection_of
from tests.world.receivers import Inbox, Message


class Levels(Evidence):
    """Compares what is believed with what is true, at the end of each quiet span."""

    def checks(self) -> Iterator[Problem]:
        """Yield everything that was not as promised."""
        yield from self.levels()
        yield from self.gauges()

    def levels(self) -> Iterator[Problem]:
        """At the end of each quiet span every receiver believes what is true."""
        for truth, look in zip(self.played.truths, self._last_looks(), strict=True):
            if self.disturbed(truth.at_s - 1500, truth.at_s, self.jumps()):
                continue
            for name in LISTING:
                yield from self._level(name, truth)
            yield from self._pager_level(truth)
            yield from self._alertmanager_level(truth, look)

    def _last_looks(self) -> list[Look]:
        return [
            max((look for look in self.played.looks if look.at_s <= truth.at_s), key=lambda look: look.at_s)
            for truth in self.played.truths
        ]

    def _level(self, name: str, truth: Truth) -> Iterator[Problem]:
        inbox = self.inboxes[name]
        firing = self.firing(inbox, truth.at_s)
        surely = {
            alert_id: message
            for alert_id, message in firing.items()
            if not self._excused_open(name, message, truth.at_s)
        }
        may = {
            (connection, key): condition
            for connection, numbers in truth.numbers.items()
            for key, condition in numbers.items()
            if condition.drifting
        }
        must = {number for number, condition in may.items() if self.wants(name, number[0], condition)}
        dead = self._dead_numbers(inbox, truth.at_s)
        for number in sorted(must - numbers_of(firing.values(), "drift") - dead):
            if not self._excused_unheard(name, number, truth.at_s):
                yield Problem(
                    "lost", truth.at_s, f"{name} does not know that {number} is {may[number].state}"
                )
        for number in sorted(numbers_of(surely.values(), "drift") - may.keys()):
            yield Problem("left_open", truth.at_s, f"{name} believes that {number} drifts")
        for message in firing.values():
            if message.body["kind"] == "drift" and not self.refused_last(inbox, message.alert_id, truth.at_s):
                yield from _outdated(name, message, may, truth.at_s)
        for message in surely.values():
            if message.body["kind"] in (*FAILURES, "receiver_failing"):
                yield Problem("left_open", truth.at_s, f"{name}: {message.body['summary']}")
        yield from self._removed_level(name, truth, firing, surely, dead)

    def _removed_level(
        self,
        name: str,
        truth: Truth,
        firing: dict[str, Message],
        surely: dict[str, Message],
        dead: set[Key],
    ) -> Iterator[Problem]:
        told = numbers_of(firing.values(), "number_removed")
        surely_told = numbers_of(surely.values(), "number_removed")
        for connection, numbers in truth.numbers.items():
            index = int(connection[1:])
            unreadable = self.disturbed(
                truth.at_s - 600, truth.at_s, self.spans(Garble, how="unreadable_entry")
            )
            if unreadable and not self.promises.unknown_ends:
                continue
            away = {
                (connection, number.key)
                for number in self.played.provider.numbers[index]
                if number.key not in numbers
            }
            for number in sorted({each for each in surely_told if each[0] == connection} - away):
                yield Problem("left_open", truth.at_s, f"{name} believes that {number} is gone")
            if name == "picky":
                continue  # a warning
            for number in sorted(away - told - dead):
                if self._known_before(number, truth.at_s) and not self._excused_unheard(
                    name, number, truth.at_s
                ):
                    yield Problem("lost", truth.at_s, f"{name} does not know that {number} is gone")

    def _known_before(self, number: Key, at_s: float) -> bool:
        """Whether the monitor knew a number before it went, and had time to see it gone."""
        connection, key = number
        answers = [
            each for each in self.before(connection, at_s) if each.how == "good" and each.numbers is not None
        ]
        showing = [each.at_s for each in answers if each.numbers is not None and key in each.numbers]
        gone = [each for each in answers if showing and each.at_s > showing[-1]]
        if len(showing) < CONFIRM + 1 or len(gone) < 2 * CONFIRM + 3:
            return False
        return not self.disturbed(showing[-3], at_s, self.setting(connection))

    def _excused_open(self, name: str, message: Message, at_s: float) -> bool:
        """Whether a receiver may believe in an alert that is over."""
        inbox = self.inboxes[name]
        if self.refused_last(inbox, message.alert_id, at_s):
            return True
        away = self.spans(Without, receiver=name, by_s=420)
        return not self.promises.receiver_remembered and self.disturbed(message.at_s, at_s, away)

    def _excused_unheard(self, name: str, number: Key, at_s: float) -> bool:
        """Whether a receiver may not have heard of a number."""
        del number
        inbox = self.inboxes[name]
        dead = any(each.how in DEAD for each in inbox.attempts if each.at_s <= at_s)
        return dead and not self.promises.routed_by_accepted

    def _dead_numbers(self, inbox: Inbox, at_s: float) -> set[Key]:
        """Return the numbers of messages that a receiver will never take."""
        return {
            number
            for each in inbox.attempts
            if each.how in DEAD and each.at_s <= at_s and self.refused_last(inbox, each.alert_id, at_s)
            for number in listed(each.body)
        }

    def _pager_level(self, truth: Truth) -> Iterator[Problem]:
        inbox = self.inboxes["pd"]
        if self.spans(Without, receiver="pd") and not self.promises.receiver_remembered:
            return
        incidents, alerts = (set(self.firing(self.inboxes[name], truth.at_s)) for name in ("pd", "log"))
        for alert_id in sorted(incidents - alerts):
            if not self.refused_last(inbox, alert_id, truth.at_s):
                yield Problem(
                    "left_open", truth.at_s, f"pd has an incident for {alert_id[:6]}, which is over"
                )
        for alert_id in sorted(alerts - incidents):
            if not self.refused_last(inbox, alert_id, truth.at_s) and not self._excused_unheard(
                "pd", ("", ""), truth.at_s
            ):
                yield Problem("lost", truth.at_s, f"pd has no incident for {alert_id[:6]}")

    def _alertmanager_level(self, truth: Truth, look: Look) -> Iterator[Problem]:
        if look.alive_since_s is None:
            yield Problem("down", truth.at_s, "the daemon is down in quiet times")
            return
        away = self.disturbed(truth.at_s - EXPIRE_S - 600, truth.at_s, self.spans(Without, receiver="am"))
        if away and not self.promises.receiver_remembered:
            return
        may = {
            (connection, key)
            for connection, numbers in truth.numbers.items()
            for key, condition in numbers.items()
            if condition.drifting
        }
        for number in sorted(may - look.firing):
            yield Problem("lost", truth.at_s, f"Alertmanager does not show {number}")
        for number in sorted(look.firing - may):
            yield Problem("left_open", truth.at_s, f"Alertmanager still shows {number}")

    def gauges(self) -> Iterator[Problem]:
        """In quiet times the gauges show the truth, and readiness is well."""
        for truth, look in zip(self.played.truths, self._last_looks(), strict=True):
            if look.alive_since_s is None or self.disturbed(truth.at_s - 1500, truth.at_s, self.jumps()):
                continue
            if look.not_ready is not None:
                yield Problem("not_ready", truth.at_s, look.not_ready)
            unreadable = self.disturbed(
                truth.at_s - 600, truth.at_s, self.spans(Garble, how="unreadable_entry")
            )
            for connection, numbers in truth.numbers.items():
                if unreadable and not self.promises.unknown_ends:
                    continue
                yield from self._gauges(connection, numbers, truth.at_s, look.metrics)
            yield from self._own_gauges(truth.at_s, look.metrics)

    def _own_gauges(self, at_s: float, metrics: dict[str, float]) -> Iterator[Problem]:
        firing = self.firing(self.inboxes["log"], at_s).values()
        wanted = Counter((message.body["kind"], message.body["severity"]) for message in firing)
        family = "voicelink_alerts_firing"
        series = {f'{family}{{kind="{kind}",severity="{how}"}}': n for (kind, how), n in wanted.items()}
        shown = {name: value for name, value in metrics.items() if name.startswith(family) and value}
        if shown != series:
            yield Problem("gauge", at_s, f"shows {shown}, not {series}")
        for name in ("log", *RECEIVERS):
            waiting = metrics.get(f'voicelink_monitor_deliveries_pending{{receiver="{name}"}}')
            if waiting != 0:
                yield Problem("gauge", at_s, f"{waiting} messages to {name} are pending")

    def _gauges(
        self, connection: str, numbers: dict[str, Condition], at_s: float, metrics: dict[str, float]
    ) -> Iterator[Problem]:
        drifting = [each for each in numbers.values() if each.drifting]
        for family, label, counted in (
            ("voicelink_numbers", "state", [each.state for each in numbers.values()]),
            ("voicelink_drift_numbers", "state", [each.state for each in drifting]),
            ("voicelink_issue_numbers", "issue", [issue for each in drifting for issue in each.issues]),
        ):
            wanted = Counter(counted)
            head = f'{family}{{connection="{connection}",{label}="'
            shown = {
                series.removeprefix(head).removesuffix('"}'): value
                for series, value in metrics.items()
                if series.startswith(head) and value
            }
            if shown != wanted:
                yield Problem("gauge", at_s, f"{family} of {connection} shows {shown}, not {dict(wanted)}")
        for family, value in (
            ("voicelink_up", 1),
            ("voicelink_sync_held", 0),
            ("voicelink_sync_consecutive_failures", 0),
            ("voicelink_sync_warnings", 0),
            ("voicelink_maintenance", 0),
        ):
            series = [each for each in metrics if each.startswith(f'{family}{{connection="{connection}"')]
            if not series or any(metrics[name] != value for name in series):
                yield Problem("gauge", at_s, f"{family} of {connection} is not {value}")


def _outdated(name: str, message: Message, may: dict[Key, Condition], at_s: float) -> Iterator[Problem]:
    """Yield what a receiver was told of numbers that still drift, if it is not so any more."""
    for number in message.body["numbers"]:
        condition = may.get((connection_of(number["key"]), number["key"]))
        told = number["state"], tuple(sorted(number["issues"]))
        if condition is not None and told != (condition.state, condition.issues):
            yield Problem("outdated", at_s, f"{name} takes {number['key']} for {told}, not {condition}")
