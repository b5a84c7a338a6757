"""The process is killed at any moment, the receiver fails half the time: no alert is lost or told twice."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from typing import Any

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, changes, settings, stories
from tests.servers.process import wait_until
from tests.servers.webhook import Answer, Received, WebhookSink

_KILLS = 16
_SEED = 20260131
_ODD_ANSWERS: Mapping[int, Mapping[str, Any]] = {
    3: {"kind": "empty"},
    8: {"kind": "partial", "ratio": 0.8},
    12: {"kind": "empty"},
}
"""Single answers about the second connection, by turn: none may ever alert."""
_STEPS = ("drift.appeared", "drift.resolved", "alert.opened", "alert.updated", "alert.resolved")
"""What the daemon logs right after, or between, transactions."""


class Moody:
    """Answers each message badly up to twice, then takes it: errors, hang-ups, answers that come too late."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._left: dict[str, list[Answer]] = {}
        self.taken: set[str] = set()

    def __call__(self, received: Received) -> Answer:
        """Return the next answer for this message."""
        bad = [Answer(status=500), Answer(status=503), Answer(hang_up=True), Answer(delay_s=1.5)]
        name = received.headers["webhook-id"]
        left = self._left.setdefault(name, self._rng.choices(bad, k=self._rng.randrange(3)))
        if left:
            return left.pop()
        self.taken.add(name)
        return Answer()


class Chaos:
    """Breaks and heals the first ten numbers of the first connection, one at a time."""

    def __init__(self, api: Provider, rng: random.Random) -> None:
        self._api = api
        self._rng = rng
        self._keys = api.keys(10)
        self.broken: set[str] = set()

    @property
    def numbers(self) -> set[str]:
        """All numbers it plays with."""
        return set(self._keys)

    def step(self) -> None:
        """Break one number or heal one."""
        key = self._rng.choice(self._keys)
        self._api.do("restore_routing" if key in self.broken else "remove_routing", number=key)
        self.broken ^= {key}

    def heal(self) -> None:
        """Heal all."""
        for key in self.broken:
            self._api.do("restore_routing", number=key)
        self.broken.clear()


async def test_killed_at_any_moment_every_alert_is_told_once_and_in_order(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Sixteen kills: of each alert opened, updated, resolved arrive; what comes twice is the same."""
    rng = random.Random(_SEED)
    api = await provider(build_world(2, 12))
    moody = Moody(rng)
    webhook_sink.script(moody)
    daemon = run_daemon(settings(api, webhook_sink, drift={"keep_firing_for": "1s"}))
    chaos = Chaos(api, rng)
    for turn in range(_KILLS):
        if turn in _ODD_ANSWERS:
            api.do("fault", connection="conn-0002", requests=1, **_ODD_ANSWERS[turn])
        await daemon.start()
        for _ in range(rng.randrange(1, 4)):
            chaos.step()
        await moment(turn, daemon, webhook_sink, rng)
        await daemon.kill()
    await daemon.start()
    await wait_until(lambda: firing_numbers(daemon) >= chaos.broken, what="every broken number in an alert")
    chaos.heal()

    def quiet() -> bool:
        kept, alerts = stored(daemon)
        return "pending" not in kept.values() and set(alerts.values()) == {"resolved"}

    await daemon.until_firing({})
    await wait_until(quiet, what="every alert resolved and delivered")
    await daemon.stop()

    told = stories(webhook_sink.requests)
    assert_whole(told.values())
    assert {alert["connection"] for story in told.values() for alert in story} == {"conn-0001"}
    assert {number["key"] for story in told.values() for number in story[0]["numbers"]} <= chaos.numbers
    assert_delivered(daemon, webhook_sink, moody)


async def moment(turn: int, daemon: Daemon, sink: WebhookSink, rng: random.Random) -> None:
    """Wait for the moment of this turn's kill: any, just after a message came, just after a step was kept."""
    requests, steps = len(sink.requests), len(daemon.events(*_STEPS))
    with suppress(AssertionError):  # it did not come: a moment like any other
        match turn % 3:
            case 0:
                await asyncio.sleep(rng.uniform(0.1, 1.2))
            case 1:
                await wait_until(lambda: len(sink.requests) > requests, timeout_s=1.2)
            case _:
                await wait_until(lambda: len(daemon.events(*_STEPS)) > steps, timeout_s=1.2)


def firing_numbers(daemon: Daemon) -> set[str]:
    """Return the numbers in the alerts that fire, as the log last told of each."""
    last = {
        line["alert_id"]: line for line in daemon.events("alert.opened", "alert.updated", "alert.resolved")
    }
    return {
        number["key"] for alert in last.values() if alert["status"] == "firing" for number in alert["numbers"]
    }


def assert_whole(told: Collection[list[dict[str, Any]]]) -> None:
    """See that each alert opens once, ends once, and says nothing after its end."""
    assert len(told) > 2, "too little happened: this test shows nothing"
    for story in told:
        assert changes(story) == ["opened", *["updated"] * (len(story) - 2), "resolved"], changes(story)
        assert story[-1]["resolution"] == "recovered"
        assert [alert["version"] for alert in story] == sorted({alert["version"] for alert in story})
        assert {alert["status"] for alert in story[:-1]} == {"firing"}
        assert len({alert["started_at"] for alert in story}) == 1


def stored(daemon: Daemon) -> tuple[dict[str, str], dict[str, str]]:
    """Return the status of each message to the webhook, and of each alert, as the store has them."""
    with closing(sqlite3.connect(daemon.folder / "store.db")) as store:
        kept = dict(store.execute("SELECT id, status FROM deliveries WHERE receiver = 'hook'"))
        return kept, dict(store.execute("SELECT id, status FROM alerts"))


def assert_delivered(daemon: Daemon, sink: WebhookSink, moody: Moody) -> None:
    """See that the store and the receiver agree: the same messages, each taken, each told of in the log."""
    kept, alerts = stored(daemon)
    received = Counter(request.headers["webhook-id"] for request in sink.requests)
    assert set(kept.values()) == {"delivered"}
    assert moody.taken <= kept.keys() <= received.keys()
    assert set(alerts.values()) == {"resolved"}
    assert {line["alert_id"] for line in daemon.events("alert.opened")} == alerts.keys()
    assert {line["alert_id"] for line in daemon.events("alert.resolved")} == alerts.keys()
    assert max(received.values()) > 1, "nothing was ever repeated: this test shows nothing"
