"""The records that were stored last, unpacked: a connection that changes is soon read again."""

from collections import OrderedDict

from monitor.drift.policy import Records

MOST_NUMBERS = 20_000
"""Of all connections together: ten megabytes."""


class Remembered:
    """Records of the connections that changed last, each for as long as its blob is the one in the store."""

    def __init__(self) -> None:
        self._kept = OrderedDict[str, tuple[bytes, Records]]()
        self._numbers = 0

    def add(self, identity: str, blob: bytes, records: Records) -> None:
        """Remember a connection's records by the blob that they are stored as."""
        self._forget(identity)
        if (numbers := _size(records)) > MOST_NUMBERS:
            return
        self._kept[identity] = blob, records
        self._numbers += numbers
        while self._numbers > MOST_NUMBERS:
            self._forget(next(iter(self._kept)))

    def get(self, identity: str, blob: bytes) -> Records | None:
        """Return the records that a connection's blob holds, if they are remembered."""
        known = self._kept.get(identity)
        return known[1] if known is not None and known[0] == blob else None

    def _forget(self, identity: str) -> None:
        if (known := self._kept.pop(identity, None)) is not None:
            self._numbers -= _size(known[1])


def _size(records: Records) -> int:
    """Return how much records take, in numbers: what they hold beside those is worth ten."""
    return 10 + (len(records.snapshot.numbers) if records.snapshot is not None else 0)
