"""The state of the connections that changed last, unpacked: one that changes is soon read again."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from monitor.drift.policy import Records
from monitor.drift.snapshot import Counts
from monitor.store.claims import Claim

MOST_NUMBERS = 20_000
"""Of all connections together: ten megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store held of a connection, without silences, while a claim with this epoch was held.

    `wakes_at` and `watched_since` are what the next claim finds unless something else has written since.
    """

    epoch: int
    wakes_at: datetime | None
    watched_since: datetime
    records: Records
    counts: Counts | None

    @property
    def size(self) -> int:
        """How much it takes, in numbers: what there is beside those is worth ten."""
        snapshot = self.records.snapshot
        return 10 + len(self.records.tracks) + (len(snapshot.numbers) if snapshot is not None else 0)

    def holds_for(self, claim: Claim) -> bool:
        """Whether nothing else has written since: no claim came between, and nobody made the policy due.

        Not by what is due: who made it so may go by a clock that is ahead. Nor by the epoch alone: one that
        is watched again counts anew.
        """
        expected = self.epoch + 1, self.wakes_at, self.watched_since
        return (claim.epoch, claim.wakes_at, claim.watched_since) == expected


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

    def get(self, claim: Claim) -> Known | None:
        """Return what is known of a connection as of this claim."""
        known = self._known.get(claim.identity)
        return known if known is not None and known.holds_for(claim) else None

    def pop(self, identity: str) -> Known | None:
        """Forget a connection; return what was known."""
        known = self._known.pop(identity, None)
        self._numbers -= known.size if known is not None else 0
        return known
