"""Records that are remembered, so that what was just stored need not be unpacked."""

from monitor.drift.policy import Records
from monitor.drift.snapshot import Snapshot
from monitor.store.remembered import MOST_NUMBERS, Remembered
from tests.fakes.stored import number


def _records(numbers: int) -> Records:
    return Records(snapshot=Snapshot(numbers=dict.fromkeys(map(str, range(numbers)), number("1"))))


def test_records_are_those_of_their_blob() -> None:
    """What another process has stored since is not what is remembered."""
    remembered, records = Remembered(), _records(3)
    remembered.add("a", b"one", records)
    assert remembered.get("a", b"one") is records
    assert remembered.get("a", b"two") is None
    assert remembered.get("b", b"one") is None
    remembered.add("a", b"two", records)
    assert remembered.get("a", b"one") is None


def test_records_remembered_are_bounded_by_their_numbers() -> None:
    """A fleet takes no more memory than one large connection; those that changed last are kept."""
    remembered, size = Remembered(), MOST_NUMBERS // 100
    for _ in range(2):
        for place in range(200):
            remembered.add(str(place), b"", _records(size))
    known = [place for place in range(200) if remembered.get(str(place), b"") is not None]
    assert known == list(range(200 - len(known), 200))
    assert MOST_NUMBERS / 2 < len(known) * size <= MOST_NUMBERS
    remembered.add("large", b"", _records(MOST_NUMBERS + 1))
    assert remembered.get("large", b"") is None
    assert remembered.get("199", b"") is not None
