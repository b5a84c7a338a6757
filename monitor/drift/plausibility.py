"""Judges whether an answer is plausible: a partial one must neither page nor resolve anything.

An answer is implausible when at least `min_numbers` and more than `ratio` of the connection's numbers would
go missing, start drifting, stop drifting or lose what they depend on in one step, when it is empty where
there were numbers, or when it comes with a new warning and lacks numbers or ends drift. It is *held*: not
applied. The `confirm_syncs`-th implausible answer in a row is applied as it stands, no sooner than `min_hold`
after the first. A first snapshot is never held.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from monitor.drift.naming import listed
from monitor.drift.snapshot import Change, ChangeKind, Dependencies, Missing, Number, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """How much of a connection may change in one step; what is too much is held for at least `min_hold`."""

    ratio: float = 0.5
    min_numbers: int = 5
    confirm_syncs: int = 3
    min_hold: timedelta = timedelta(0)


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """Implausible answers in a row since an instant, and how often they showed each number in trouble.

    `lost`: it lost, or had switched off, something it depends on.
    """

    count: int
    reason: str
    since: datetime
    drifting: dict[str, int] = {}
    missing: dict[str, int] = {}
    lost: dict[str, int] = {}


_SUSPECT = {
    ChangeKind.REMOVED: "go missing",
    ChangeKind.APPEARED: "start drifting",
    ChangeKind.RESOLVED: "stop drifting",
    ChangeKind.RECONFIGURED: "lose what they depend on",
}


def implausible(
    before: Snapshot | None, after: Snapshot, changes: tuple[Change, ...], guard: Guard
) -> str | None:
    """Return why the answer is implausible, or None."""
    if before is None or not before.numbers:
        return None
    known = len(before.numbers)
    if not after.numbers:
        return f"the answer is empty; the last one had {_counted(known)}"
    counts = Counter(
        [
            change.kind
            for change in changes
            if change.kind in _SUSPECT
            and change.before
            and (change.kind is not ChangeKind.RECONFIGURED or change.lost)
        ]
    )
    if guard.min_numbers <= (suspects := counts.total()) and suspects > guard.ratio * known:
        return f"{_moves(counts, known)} at once"
    fresh = [warning for warning in after.warnings if warning not in before.warnings]
    if fresh and (counts[ChangeKind.REMOVED] or counts[ChangeKind.RESOLVED]):
        return f"{_moves(counts, known)}, in an answer with a new warning: {fresh[0]}"
    return None


def _moves(counts: Counter[ChangeKind], known: int) -> str:
    """Return in words how many of the known numbers would do what."""
    first, *others = [kind for kind in _SUSPECT if counts[kind]]
    return listed(
        [
            f"{counts[first]:,} of {_counted(known)} would {_SUSPECT[first]}",
            *(f"{counts[kind]:,} {_SUSPECT[kind]}" for kind in others),
        ]
    )


def _counted(known: int) -> str:
    return f"{known:,} number{'' if known == 1 else 's'}"


def hold(held: Hold | None, after: Snapshot, changes: tuple[Change, ...], reason: str, now: datetime) -> Hold:
    """Return the hold with one more implausible answer in it."""
    held = held or Hold(count=0, reason=reason, since=now)
    drifting, missing, lost = Counter(held.drifting), Counter(held.missing), Counter(held.lost)
    drifting.update(
        key for key, number in after.numbers.items() if number.drifting and key not in after.unknown
    )
    missing.update(change.key for change in changes if change.kind is ChangeKind.REMOVED)
    lost.update(change.key for change in changes if change.kind is ChangeKind.RECONFIGURED and change.lost)
    return Hold(
        count=held.count + 1,
        reason=reason,
        since=held.since,
        drifting=dict(drifting),
        missing=dict(missing),
        lost=dict(lost),
    )


def believed(held: Hold, guard: Guard, now: datetime) -> bool:
    """Whether implausible answers have come so often, and for so long, that the last is applied."""
    return _long_enough(held.count, held.since, guard, now)


def carry_over(
    before: Snapshot | None, after: Snapshot, tracked: Iterable[str], guard: Guard, now: datetime
) -> Snapshot:
    """Return the answer with what it does not say, or may have failed to show, as it was before.

    While an entry could not be read, a number that the answer lacks is unknown, not removed, if it was known
    or has a track. But not for ever: after as many answers as an implausible one is held for, it is missing.
    """
    if before is None:
        return after
    numbers = _filled(before, after)
    unknown: dict[str, Missing] = {}
    if after.skipped:
        for key in {*before.numbers, *tracked} - after.numbers.keys():
            if (missing := _missing(key, before, guard, now)) is not None:
                unknown[key] = missing
        numbers |= {key: before.numbers[key] for key in before.numbers if key in unknown}
    if not numbers and not unknown:
        return after
    return msgspec.structs.replace(after, numbers=after.numbers | numbers, unknown=unknown)


def seen_again(snapshot: Snapshot) -> Snapshot:
    """Return the answer that a snapshot was made of, as it looks when it comes again."""
    if not snapshot.unknown:
        return snapshot
    numbers = {key: number for key, number in snapshot.numbers.items() if key not in snapshot.unknown}
    return msgspec.structs.replace(snapshot, numbers=numbers, unknown={})


def _filled(before: Snapshot, after: Snapshot) -> dict[str, Number]:
    """Return the numbers of which the answer does not say all, with the rest as it was before."""
    numbers: dict[str, Number] = {}
    # Thousands of numbers may depend on the same few things.
    known: dict[tuple[Dependencies, Dependencies], Dependencies] = {}
    for key, number in after.numbers.items():
        said = number.dependencies
        if said.unknown and (was := before.numbers.get(key)) is not None and was.dependencies != said:
            both = said, was.dependencies
            if both not in known:
                known[both] = said.filled(was.dependencies)
            numbers[key] = msgspec.structs.replace(number, dependencies=known[both])
    return numbers


def _missing(key: str, before: Snapshot, guard: Guard, now: datetime) -> Missing | None:
    """Return for how long answers have lacked a number; None if that is long enough to believe it."""
    lacked = before.unknown.get(key)
    if lacked is None:
        if key not in before.numbers and before.skipped:
            return None
        lacked = Missing(count=0, since=now)
    missing = Missing(count=min(lacked.count + 1, guard.confirm_syncs), since=lacked.since)
    return None if _long_enough(missing.count, missing.since, guard, now) else missing


def _long_enough(count: int, since: datetime, guard: Guard, now: datetime) -> bool:
    return count >= guard.confirm_syncs and now >= since + guard.min_hold
