"""Finds what moved in each alert: which changes of numbers concern which members (pure).

    change         drift alert               number_removed alert    reconfigured alert
    appeared       appeared                  -                       -
    changed        changed                   -                       -
    resolved       resolved                  -                       -
    added          resolved, if it is ready  resolved                -
    removed        removed                   removed                 removed
    reconfigured   reconfigured              -                       reconfigured; resolved, if as before

A member that joins is a move too: from what the number was before the problem to what it is now.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from monitor.drift.alert import AlertChange, Kind
from monitor.drift.episodes import Track, track_id
from monitor.drift.naming import Value
from monitor.drift.snapshot import Change, ChangeKind, Dependencies

_TOLD: Mapping[Kind, Mapping[ChangeKind, ChangeKind]] = {
    Kind.DRIFT: {kind: kind for kind in ChangeKind if kind is not ChangeKind.ADDED}
    | {ChangeKind.ADDED: ChangeKind.RESOLVED},
    Kind.NUMBER_REMOVED: {
        ChangeKind.ADDED: ChangeKind.RESOLVED,
        ChangeKind.REMOVED: ChangeKind.REMOVED,
    },
    Kind.RECONFIGURED: {
        ChangeKind.REMOVED: ChangeKind.REMOVED,
        ChangeKind.RECONFIGURED: ChangeKind.RECONFIGURED,
    },
}
_JOINED = {
    Kind.DRIFT: ChangeKind.APPEARED,
    Kind.NUMBER_REMOVED: ChangeKind.REMOVED,
    Kind.RECONFIGURED: ChangeKind.RECONFIGURED,
}


def moves(
    members: Mapping[str, Track],
    advanced: Mapping[str, Track],
    changes: Iterable[Change],
    joined: Iterable[Track],
) -> dict[str, list[Change]]:
    """Return the moves of one step by the id of their alert.

    Args:
        members: The tracks before the step.
        advanced: The same after its answer.
        changes: What the answer changed.
        joined: The tracks that became members in this step.
    """
    found: dict[str, list[Change]] = {}
    for alert_id, move in (*_changed(members, advanced, changes), *map(_joining, joined)):
        found.setdefault(alert_id, []).append(move)
    return found


def _changed(
    members: Mapping[str, Track], advanced: Mapping[str, Track], changes: Iterable[Change]
) -> Iterator[tuple[str, Change]]:
    for change in changes:
        for kind, told in _TOLD.items():
            name = track_id(kind, change.key)
            member = members.get(name)
            if member is None or member.episode is None or change.kind not in told:
                continue
            if change.kind is ChangeKind.ADDED and kind is Kind.DRIFT and change.number.drifting:
                continue  # it `appeared` as well
            as_ = told[change.kind]
            if as_ is ChangeKind.RECONFIGURED and kind is Kind.RECONFIGURED and advanced[name].good:
                as_ = ChangeKind.RESOLVED
            yield member.episode.alert_id, msgspec.structs.replace(change, kind=as_)


def _joining(track: Track) -> tuple[str, Change]:
    if track.episode is None:
        raise ValueError("a track joins an alert by its episode")
    after = None if track.kind is Kind.NUMBER_REMOVED else track.number
    change = Change(kind=_JOINED[track.kind], key=track.key, before=track.before, after=after)
    return track.episode.alert_id, change


def told(change: Change) -> AlertChange:
    """Return a move as the alert body says it; what a new number depends on is no difference."""
    before, after = change.before, change.after
    was, now = depended(change)
    return AlertChange(
        key=change.key,
        phone_number=change.number.phone_number,
        change=change.kind,
        previous_state=before.state if before else None,
        state=after.state if after else None,
        previous_issues=list(before.issues) if before else [],
        issues=list(after.issues) if after else [],
        was=was,
        is_=now,
    )


def depended(change: Change) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return what a number depended on and depends on, as far as a change made a difference."""
    depends = change.after.dependencies if change.after else Dependencies()
    return was_is(change.before.dependencies if change.before else depends, depends)


def was_is(before: Dependencies, after: Dependencies) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return what a number depended on and depends on, as far as the two differ."""
    fields = after.differing(before)
    return {name: getattr(before, name) for name in fields}, {name: getattr(after, name) for name in fields}
