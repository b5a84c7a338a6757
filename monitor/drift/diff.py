"""Finds the differences between two snapshots of a connection; the order of lists never matters."""

from collections.abc import Set as AbstractSet

from monitor.drift.snapshot import Change, ChangeKind, Number, Snapshot


def diff(
    before: Snapshot | None, after: Snapshot, among: AbstractSet[str] | None = None
) -> tuple[Change, ...]:
    """Return what changed, ordered by key; `among` are the keys that may have, if that is known.

    Of a first snapshot (`before` is None) only what is broken is a change: its numbers were not just added.
    A new number that drifts is both `added` and `appeared`. Unknown numbers never differ: they were carried
    over.
    """
    if before is None:
        return tuple(
            Change(kind=ChangeKind.APPEARED, key=key, before=None, after=number)
            for key, number in sorted(after.numbers.items())
            if number.drifting
        )
    if after is before:
        return ()
    known, found = before.numbers, after.numbers
    among = known.keys() | found.keys() if among is None else among
    return tuple(
        Change(kind=kind, key=key, before=was, after=now)
        for key in sorted(among)
        if (was := known.get(key)) != (now := found.get(key))
        for kind in _kinds(was, now)
    )


def _kinds(before: Number | None, after: Number | None) -> tuple[ChangeKind, ...]:
    if after is None:
        return (ChangeKind.REMOVED,)
    if before is None:
        return (ChangeKind.ADDED, ChangeKind.APPEARED) if after.drifting else (ChangeKind.ADDED,)
    match before.drifting, after.drifting:
        case False, True:
            return (ChangeKind.APPEARED,)
        case True, False:
            return (ChangeKind.RESOLVED,)
        case True, True:
            return (ChangeKind.CHANGED,) if _problem(before) != _problem(after) else ()
        case _:
            return (ChangeKind.RECONFIGURED,) if after.dependencies.differing(before.dependencies) else ()


def _problem(number: Number) -> tuple[object, ...]:
    return number.state, frozenset(number.issues), frozenset(number.action_items)
