"""The checker itself: it finds nothing wrong with a world, and does once something is made wrong."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from tests.world.events import Break, Silence, World
from tests.world.model import check
from tests.world.play import Played, play
from tests.world.promises import KEPT
from tests.world.receivers import Inbox, Message, Receivers

WORLD = World(
    seed=1,
    connections=(12, 8),
    accounts=(0, 0),
    interval_s=60,
    quiet=((2000, 2900), (3000, 3500)),
    events=(
        Break(at_s=400, lasts_s=9000, cause="routing", numbers=((0, 2), (0, 3))),
        Break(at_s=520, lasts_s=400, cause="expired", numbers=((1, 4),)),
        Break(at_s=700, lasts_s=9000, cause="state", numbers=((0, 2),), state="KYC_PENDING"),
        Silence(at_s=1450, lasts_s=540, connection=1),
    ),
)

Which = Callable[[Message], bool]


@pytest.fixture(scope="module")
def played() -> Played:
    """A world in which all goes well."""
    return play(WORLD)


def test_checker_finds_nothing_wrong_where_nothing_is(played: Played) -> None:
    """The monitor keeps its promises in this world."""
    assert check(played, KEPT) == []


def _of(connection: str, change: str) -> Which:
    return lambda message: message.change == change and message.body.get("connection") == connection


def _changed(
    name: str, which: Which, change: Callable[[Message], Iterable[Message]]
) -> Callable[[Played], Played]:
    """Return what puts others in place of some of the messages that a receiver took."""

    def changed(played: Played) -> Played:
        told = played.receivers.inbox(name).messages
        assert any(map(which, told))
        messages = [each for message in told for each in (change(message) if which(message) else [message])]
        messages.sort(key=lambda message: message.at_s)
        return _receiving(played, replace(played.receivers.inbox(name), messages=messages))

    return changed


def _receiving(played: Played, inbox: Inbox) -> Played:
    receivers = Receivers.__new__(Receivers)
    receivers.__dict__ |= played.receivers.__dict__
    receivers.inboxes = played.receivers.inboxes | {inbox.name: inbox}
    return replace(played, receivers=receivers)


def _none(_: Message) -> list[Message]:
    return []


def _twice(message: Message) -> list[Message]:
    return [message, replace(message, at_s=message.at_s + 300, repeated=True)]


def _again(message: Message) -> list[Message]:
    return [message, replace(message, at_s=message.at_s + 1, id=f"{message.id} again")]


def _at(seconds: float) -> Callable[[Message], list[Message]]:
    return lambda message: [replace(message, at_s=seconds)]


def _later(seconds: float) -> Callable[[Message], list[Message]]:
    return lambda message: [replace(message, at_s=message.at_s + seconds)]


def _saying(**fields: object) -> Callable[[Message], list[Message]]:
    return lambda message: [replace(message, body={**message.body, **fields})]


def _without_issues(message: Message) -> list[Message]:
    numbers = [{**number, "issues": []} for number in message.body["numbers"]]
    return [replace(message, body={**message.body, "numbers": numbers})]


def _stranger(played: Played) -> Played:
    told = next(filter(_of("c1", "opened"), played.receivers.inbox("hook").messages))
    inbox = played.receivers.inbox("picky")
    return _receiving(played, replace(inbox, messages=[*inbox.messages, told]))


def _showing(series: str, value: float) -> Callable[[Played], Played]:
    def shown(played: Played) -> Played:
        assert any(series in look.metrics for look in played.looks)
        looks = [
            replace(look, metrics={**look.metrics, series: value}) if look.metrics else look
            for look in played.looks
        ]
        return replace(played, looks=looks)

    return shown


def _asking(played: Played) -> Played:
    provider = type(played.provider).__new__(type(played.provider))
    provider.__dict__ |= played.provider.__dict__
    provider.asked = sorted([*provider.asked, *((1000.0 + second, 0) for second in range(30))])
    return replace(played, provider=provider)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("late", _changed("hook", _of("c1", "opened"), _later(600))),
        ("lost", _changed("picky", lambda message: message.body["connection"] == "c0", _none)),
        ("left_open", _changed("pd", lambda message: message.change == "resolved", _none)),
        ("left_open", _changed("log", _of("c1", "resolved"), _none)),
        ("order", _changed("hook", _of("c1", "resolved"), _again)),
        ("order", _changed("hook", _of("c1", "opened"), _none)),
        ("repeated", _changed("hook", _of("c1", "resolved"), _twice)),
        ("hurried", _changed("log", _of("c0", "updated"), _at(500))),
        ("hurried", _changed("hook", _of("c0", "reminder"), _at(1000))),
        ("unreminded", _changed("hook", _of("c0", "reminder"), _none)),
        ("false_end", _changed("log", _of("c1", "resolved"), _at(1050))),
        ("false", _changed("log", _of("c1", "opened"), _at(530))),
        ("outdated", _changed("picky", _of("c0", "updated"), _none)),
        ("content", _changed("log", _of("c0", "updated"), _without_issues)),
        ("content", _changed("log", _of("c0", "updated"), _saying(changes=[], changes_total=0))),
        ("content", _changed("log", _of("c0", "opened"), _saying(severity="warning"))),
        ("content", _changed("hook", _of("c1", "resolved"), _saying(resolution=None))),
        ("content", _stranger),
        ("quieted", _changed("log", _of("c1", "opened"), _at(1900))),
        ("gauge", _showing('voicelink_issue_numbers{connection="c0",issue="KYC_PENDING"}', 0)),
        ("gauge", _showing('voicelink_alerts_firing{kind="drift",severity="critical"}', 2)),
        ("gauge", _showing('voicelink_sync_held{connection="c1"}', 1)),
        ("gauge", _showing('voicelink_monitor_deliveries_pending{receiver="pd"}', 3)),
        ("pressed", _asking),
    ],
)
def test_checker_sees_what_is_wrong(played: Played, kind: str, wrong: Callable[[Played], Played]) -> None:
    """A promise that is broken is missed."""
    assert kind in {problem.kind for problem in check(wrong(played), KEPT)}
