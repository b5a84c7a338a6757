"""Judges whether an answer is plausible: a partial one must neither page nor resolve anything.

An answer is implausible when at least `min_numbers` and more than `ratio` of the connection's numbers would
go missing, start drifting or stop drifting in one step, or when it is empty where there were numbers. It is
*held*: not applied. The `confirm_syncs`-th implausible answer in a row is applied as it stands. A first
snapshot is never held.
"""

from collections import Counter
from dataclasses import dataclass

import msgspec

from monitor.drift.snapshot import Change, ChangeKind, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """How much of a connection may change in one step."""

    ratio: float = 0.5
    min_numbers: int = 5
    confirm_syncs: int = 3


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """Implausible answers in a row, and how often they showed each number drifting or missing."""

    count: int
    reason: str
    drifting: dict[str, int] = {}
    missing: dict[str, int] = {}


_SUSPECT = {
    ChangeKind.REMOVED: "go missing",
    ChangeKind.APPEARED: "start drifting",
    ChangeKind.RESOLVED: "stop drifting",
}


def implausible(
    before: Snapshot | None, after: Snapshot, changes: tuple[Change, ...], guard: Guard
) -> str | None:
    """Return why the answer is implausible, or None."""
    if before is None or not before.numbers:
        return None
    known = len(before.numbers)
    if not after.numbers:
        return f"the answer is empty where there were {known} numbers"
    counts = Counter(change.kind for change in changes if change.kind in _SUSPECT and change.before)
    suspects = counts.total()
    if suspects < guard.min_numbers or suspects <= guard.ratio * known:
        return None
    parts = ", ".join(f"{counts[kind]} would {words}" for kind, words in _SUSPECT.items() if counts[kind])
    return f"of {known} numbers, {parts} in one step"


def hold(held: Hold | None, after: Snapshot, changes: tuple[Change, ...], reason: str) -> Hold:
    """Return the hold with one more implausible answer in it."""
    held = held or Hold(count=0, reason=reason)
    drifting = Counter(held.drifting)
    drifting.update(
        key for key, number in after.numbers.items() if number.drifting and key not in after.unknown
    )
    missing = Counter(held.missing)
    missing.update(change.key for change in changes if change.kind is ChangeKind.REMOVED)
    return Hold(count=held.count + 1, reason=reason, drifting=dict(drifting), missing=dict(missing))


def carry_unknown(before: Snapshot | None, after: Snapshot) -> Snapshot:
    """Return the answer with the numbers it may have failed to show.

    While an entry could not be read, a known number that the answer lacks is unknown, not removed: it is
    carried over as it was.
    """
    if not after.skipped or before is None:
        return after
    lacking = {key: number for key, number in before.numbers.items() if key not in after.numbers}
    return msgspec.structs.replace(after, numbers=after.numbers | lacking, unknown=frozenset(lacking))
