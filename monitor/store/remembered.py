"""The state of the connections that changed last, unpacked: one that changes is soon read again."""

from collections import OrderedDict
from dataclasses import dataclass

from monitor.drift.policy import Records
from monitor.drift.snapshot import Counts

MOST_NUMBERS = 20_000
"""Of all connections together: ten megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store held of a connection, without silences, while a claim with this epoch was held."""

    epoch: int
    records: Records
    counts: Counts | None

    @property
    def size(self) -> int:
        """How much it takes, in numbers: what there is beside those is worth ten."""
        return 10 + (len(self.records.snapshot.numbers) if self.records.snapshot is not None else 0)


class Remembered:
    """What is known of connections: true of the next claim, not if another one came between."""

    def __init__(self) -> None:
        self._known = OrderedDict[str, Known]()
        self._numbers = 0

    def add(self, identity: str, known: Known) -> None:
        """Remember a connection, for as long as there is room."""
        self.pop(identity)
        if known.size > MOST_NUMBERS:
            return
        self._known[identity] = known
        self._numbers += known.size
        while self._numbers > MOST_NUMBERS:
            self.pop(next(iter(self._known)))

    def get(self, identity: str, epoch: int) -> Known | None:
        """Return what is known of a connection as of the claim with this epoch."""
        known = self._known.get(identity)
        return known if known is not None and known.epoch + 1 == epoch else None

    def pop(self, identity: str) -> Known | None:
        """Forget a connection; return what was known."""
        known = self._known.pop(identity, None)
        self._numbers -= known.size if known is not None else 0
        return known
