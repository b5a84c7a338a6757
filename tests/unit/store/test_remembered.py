"""What is remembered of connections, so that it need not be read and unpacked again."""

from dataclasses import replace
from typing import Any

from monitor.drift.alert import Kind
from monitor.drift.episodes import Track
from monitor.drift.failures import Streak
from monitor.drift.policy import Records
from monitor.drift.snapshot import Snapshot
from monitor.store.claims import Claim
from monitor.store.remembered import MOST_NUMBERS, Known, Remembered
from tests.fakes.stored import MINUTE, NOW, number


def _known(numbers: int, epoch: int = 1) -> Known:
    snapshot = Snapshot(numbers=dict.fromkeys(map(str, range(numbers)), number("1")))
    return Known(
        epoch=epoch, wakes_at=None, watched_since=NOW, records=Records(snapshot=snapshot), counts=None
    )


def _claim(identity: str, epoch: int = 2, **values: Any) -> Claim:
    given = {
        "sync_due": True,
        "policy_due": False,
        "digest": None,
        "settled": True,
        "held": 0,
        "unchanged": 0,
        "wakes_at": None,
        "watched_since": NOW,
        "succeeded_at": None,
    }
    return Claim(identity=identity, epoch=epoch, due_at=NOW, streak=Streak(), **(given | values))


def test_connection_is_remembered_for_the_next_claim_only() -> None:
    """Whoever claimed it in between, made its policy due, or began to watch it anew may have changed it."""
    remembered, known = Remembered(), _known(3, epoch=7)
    remembered.add("a", known)
    assert remembered.get(_claim("a", 8)) is known
    assert [remembered.get(_claim("a", epoch)) for epoch in (1, 7, 9)] == [None, None, None]
    assert remembered.get(_claim("a", 8, wakes_at=NOW + MINUTE)) is None
    assert remembered.get(_claim("a", 8, watched_since=NOW + MINUTE)) is None
    assert remembered.get(_claim("b", 8)) is None
    assert remembered.pop("a") is known
    assert remembered.get(_claim("a", 8)) is None


def test_connections_remembered_are_bounded_by_their_numbers() -> None:
    """A fleet takes no more memory than one large connection; those that changed last are kept."""
    remembered, size = Remembered(), MOST_NUMBERS // 100
    for _ in range(2):
        for place in range(200):
            remembered.add(str(place), _known(size))
    kept = [place for place in range(200) if remembered.get(_claim(str(place))) is not None]
    assert kept == list(range(200 - len(kept), 200))
    assert MOST_NUMBERS / 2 < len(kept) * size <= MOST_NUMBERS
    remembered.add("large", _known(MOST_NUMBERS + 1))
    assert remembered.get(_claim("large")) is None
    assert remembered.get(_claim("199")) is not None


def test_numbers_that_are_gone_take_room_too() -> None:
    """A connection that lost all its numbers is as large as it was."""
    remembered, track = Remembered(), Track(kind=Kind.NUMBER_REMOVED, key="1", since=NOW)
    gone = Records(tracks=dict.fromkeys(map(str, range(MOST_NUMBERS)), track))
    remembered.add("a", replace(_known(0), records=gone))
    assert remembered.get(_claim("a")) is None
