"""Finds the differences between two snapshots of a connection; the order of lists never matters."""

from monitor.drift.snapshot import Change, ChangeKind, Number, Snapshot


def diff(before: Snapshot | None, after: Snapshot) -> tuple[Change, ...]:
    """Return what changed, ordered by key.

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
    changed = [key for key, number in after.numbers.items() if before.numbers.get(key) != number]
    removed = [key for key in before.numbers if key not in after.numbers]
    return tuple(
        Change(kind=kind, key=key, before=before.numbers.get(key), after=after.numbers.get(key))
        for key in sorted(changed + removed)
        for kind in _kinds(before.numbers.get(key), after.numbers.get(key))
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
