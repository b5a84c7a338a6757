"""Counts a snapshot by state and issue, with a bound on how many of them are told apart.

The provider's vocabulary is open, so a connection keeps one: the states and issue codes that its gauges show
and that group its alerts. At most `LIMIT` of each, counting those that no number has now, which go after
`REMEMBERED`. What is beyond the limit counts and groups as `OTHER`. Never beyond it are the state of most
ready numbers, and what the rules name.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from monitor.drift.snapshot import Counts, Snapshot

LIMIT = 50
REMEMBERED = timedelta(days=1)
OTHER = "OTHER"

Names = dict[str, datetime | None]
"""Each name with the instant since which no number has had it; None while one has."""


class Vocabulary(msgspec.Struct, frozen=True, array_like=True):
    """The states and issues that a connection tells apart; `drifting` are states of drifting numbers."""

    states: Names = {}
    drifting: Names = {}
    issues: Names = {}

    def group(self, state: str) -> str:
        """Return the state that a number's real one is counted and grouped as."""
        return state if state in self.states else OTHER

    def forgets_at(self) -> datetime | None:
        """Return the instant at which a name goes that no number has."""
        gone = [at for names in (self.states, self.drifting, self.issues) for at in names.values() if at]
        return min(gone) + REMEMBERED if gone else None


def count(
    snapshot: Snapshot,
    known: Vocabulary,
    named: Callable[[str], bool],
    now: datetime,
    *,
    ignored: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Counts, Vocabulary]:
    """Return the counts of a snapshot, and the vocabulary after it.

    Args:
        snapshot: The applied one.
        known: The vocabulary before it.
        named: Whether a rule or silence names a state or an issue.
        now: The instant of the step.
        ignored: How many drifting numbers a rule or silence keeps quiet, by their real state.
    """
    troubled = [number for number in snapshot.numbers.values() if number.drifting]
    states = Counter([number.state for number in snapshot.numbers.values()])
    drifting = Counter([number.state for number in troubled])
    issues = Counter([issue for number in troubled for issue in number.issues])
    ready = states - drifting
    usual = max(ready, key=lambda state: (ready[state], state), default=None)
    learnt = _learn(known.states, states, lambda name: name == usual or named(name), now)
    drifting_as = _folded(drifting, learnt)
    vocabulary = Vocabulary(
        states=learnt,
        drifting=_learn(known.drifting, drifting_as, lambda name: name in drifting_as, now),
        issues=_learn(known.issues, issues, named, now),
    )
    counts = Counts(
        states=dict.fromkeys(vocabulary.states, 0) | _folded(states, vocabulary.states),
        drifting=dict.fromkeys(vocabulary.drifting, 0) | drifting_as,
        issues=dict.fromkeys(vocabulary.issues, 0) | _folded(issues, vocabulary.issues),
        inventory=dict(snapshot.inventory),
        warnings=len(snapshot.warnings),
        skipped=snapshot.skipped,
        ignored=dict.fromkeys(vocabulary.drifting, 0) | _folded(ignored, vocabulary.states),
        folded=len(states.keys() - vocabulary.states.keys()) + len(issues.keys() - vocabulary.issues.keys()),
    )
    return counts, vocabulary


def _folded(seen: Mapping[str, int], names: Names) -> dict[str, int]:
    folded: dict[str, int] = {}
    for name, many in seen.items():
        counted_as = name if name in names else OTHER
        folded[counted_as] = folded.get(counted_as, 0) + many
    return folded


def _learn(known: Names, seen: Mapping[str, int], kept: Callable[[str], bool], now: datetime) -> Names:
    """Return the names with those seen now, without those unseen for long, and no more than the limit."""
    names: Names = {}
    for name, since in known.items():
        gone_at = None if name in seen else since or now
        if gone_at is None or now < gone_at + REMEMBERED:
            names[name] = gone_at
    names |= dict.fromkeys(seen)
    if len(names) - (OTHER in names) <= LIMIT:
        return names

    def place(name: str) -> tuple[bool, bool, bool, float, str]:
        """Kept names first, then known ones (what was seen last before the rest), then the most frequent."""
        gone_at = names[name]
        order = -seen.get(name, 0) if gone_at is None else -gone_at.timestamp()
        return not kept(name), name not in known, gone_at is not None, order, name

    ordered = sorted(names.keys() - {OTHER}, key=place)
    chosen = set(ordered[: max(LIMIT, sum(map(kept, ordered)))])
    if not chosen.issuperset(seen):
        names[OTHER] = None
    return {name: since for name, since in names.items() if name in chosen or name == OTHER}
