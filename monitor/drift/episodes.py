"""Follows each problem from first sight to its end: tracks and episodes.

A *track* follows one problem of one number (or the failing of one connection) from the first sync that saw
it. It becomes an *episode* when `confirm_syncs` syncs saw it, not necessarily in a row: only `resolve_syncs`
good ones in a row close a pending track. An episode ends when `resolve_syncs` syncs in a row were good and
`keep_firing_for` has passed since the first of them; the problem seen again before that is a flap, and the
episode continues.

What a sync shows of a track:

    kind            bad                            good                            gone
    drift           the number drifts              it is ready                     it is absent
    number_removed  it is absent                   it is present                   -
    reconfigured    ready, something is lost       ready, nothing is lost          it is absent

Anything else (unknown numbers; a reconfigured one that drifts) shows nothing and leaves the streaks alone,
as failed and held syncs do. What is lost is gone or switched off, of all that the number had since before the
change; where the rules make any reconfiguration a problem, whatever differs from before counts as lost.
"""

from datetime import datetime
from enum import Enum, auto

import msgspec

from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.plausibility import Hold
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Change, ChangeKind, Dependencies, Number, Snapshot


class Episode(msgspec.Struct, frozen=True, array_like=True):
    """A confirmed problem: member of one alert from `opened_at` to its end.

    `group` is fixed at confirmation: the state for a drift, see `failures` for the rest.
    """

    id: str
    alert_id: str
    group: str
    opened_at: datetime
    severity: Severity
    flaps: int = 0


class Track(msgspec.Struct, frozen=True, array_like=True):
    """One problem. `key` is a number's, or a connection's identity, or a receiver's name.

    `number` is as the last sync that showed the problem saw it (as it was, for a removed one); None for the
    failing of connections and receivers. `dependencies` are the number's, with earlier ones where the current
    are gone; for a reconfigured number the earlier ones. `detail` is a failure's cause in a word; for a
    removed number it says how many entries of the answer are unreadable, if any. `before` is the number
    before the problem, None if it is new; `back` is the number as it is while it is `good`. `previous_state`
    is the state before that of `number`.
    """

    kind: Kind
    key: str
    since: datetime
    number: Number | None = None
    previous_state: str | None = None
    dependencies: Dependencies = Dependencies()
    detail: str = ""
    seen: int = 1
    good: int = 0
    good_since: datetime | None = None
    gone: int = 0
    episode: Episode | None = None
    before: Number | None = None
    back: Number | None = None


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """A track whose episode ended."""

    track: Track
    at: datetime
    resolution: Resolution


class Seen(Enum):
    """What a sync shows of a track."""

    BAD = auto()
    GOOD = auto()
    GONE = auto()
    NOTHING = auto()


_KINDS = {ChangeKind.REMOVED: Kind.NUMBER_REMOVED, ChangeKind.RECONFIGURED: Kind.RECONFIGURED}
"""The changes that begin a track of their own."""


def track_id(kind: Kind, key: str) -> str:
    """Return the name of a track in the records of its connection."""
    return f"{kind}:{key}"


def observe(
    tracks: dict[str, Track],
    before: Snapshot | None,
    snapshot: Snapshot,
    changes: tuple[Change, ...],
    rules: Rules,
    now: datetime,
) -> dict[str, Track]:
    """Return the tracks after one more applied snapshot: the old ones advanced, new ones begun."""
    known = before.numbers if before is not None else {}
    advanced = {
        name: _advance(track, known.get(track.key), snapshot, rules, now) for name, track in tracks.items()
    }
    for number in snapshot.numbers.values():
        if number.drifting and number.key not in snapshot.unknown:
            name = track_id(Kind.DRIFT, number.key)
            was = known.get(number.key)
            if name not in advanced:
                advanced[name] = Track(
                    kind=Kind.DRIFT,
                    key=number.key,
                    since=now,
                    number=number,
                    previous_state=was.state if was is not None else None,
                    dependencies=number.dependencies.or_else(was.dependencies if was is not None else None),
                    before=was,
                )
    for change in changes:
        kind = _KINDS.get(change.kind)
        if kind is not None and kind in rules.alerting and change.before is not None:
            before_it = change.before.dependencies
            if change.after is not None and not rules.reconfigured(before_it, change.after.dependencies):
                continue
            track = Track(
                kind=kind,
                key=change.key,
                since=now,
                number=change.number,
                previous_state=change.before.state,
                dependencies=before_it,
                detail=_unreadable(snapshot) if kind is Kind.NUMBER_REMOVED else "",
                before=change.before,
            )
            advanced.setdefault(track_id(kind, change.key), track)
    return advanced


def count_held(tracks: dict[str, Track], held: Hold, snapshot: Snapshot, rules: Rules) -> dict[str, Track]:
    """Return the tracks with the sightings of held answers added: they count towards confirmation.

    `snapshot` is the answer being applied, the last of the held ones.
    """
    sightings = {
        Kind.DRIFT: held.drifting,
        Kind.NUMBER_REMOVED: held.missing,
        Kind.RECONFIGURED: held.lost,
    }

    def counted(track: Track) -> Track:
        extra = sightings.get(track.kind, {}).get(track.key, 0)
        if extra and _seen(track, snapshot, rules) is Seen.BAD:
            extra -= 1  # what the applied answer showed was counted already
        seen = max(track.seen, min(track.seen + extra, rules.confirm_syncs))
        return msgspec.structs.replace(track, seen=seen) if seen != track.seen else track

    return {name: counted(track) for name, track in tracks.items()}


def finished(track: Track, rules: Rules, now: datetime) -> Resolution | None:
    """Return how the track is over, or None while it is not."""
    back = track.good >= rules.resolve_syncs
    if track.kind is Kind.NUMBER_REMOVED and not back and now >= track.since + rules.removed_after:
        return Resolution.REMOVED
    if track.gone >= rules.confirm_syncs:
        return Resolution.REMOVED
    if not back or track.good_since is None:
        return None
    if track.episode is not None and now < track.good_since + rules.keep_firing_for:
        return None
    return Resolution.RECOVERED


def ends_at(track: Track, rules: Rules) -> datetime | None:
    """Return the instant at which the track is over unless a sync says otherwise."""
    if track.kind is Kind.NUMBER_REMOVED and track.good < rules.resolve_syncs:
        return track.since + rules.removed_after
    if track.episode is not None and track.good >= rules.resolve_syncs and track.good_since is not None:
        return track.good_since + rules.keep_firing_for
    return None


def unsettled(track: Track, rules: Rules) -> bool:
    """Whether one more sync with the same answer would advance this track."""
    if track.good:
        return track.good < rules.resolve_syncs
    if track.gone:
        return track.gone < rules.confirm_syncs
    return track.seen < rules.confirm_syncs


def silent(track: Track, rules: Rules, now: datetime) -> bool:
    """Whether the rules keep this problem from alerting, whatever its age."""
    if track.kind not in rules.alerting:
        return True
    if track.number is None:
        return False
    if track.kind is Kind.DRIFT:
        return rules.audible_issues(track.number, now) is None
    return rules.silent_when_gone(track.number, now)


def silenced_as(track: Track, rules: Rules, now: datetime) -> Resolution:
    """Return how a silent problem ends: ignored where the config keeps it silent, else silenced."""
    by_config = not rules.silences or silent(track, rules.with_silences(()), now)
    return Resolution.IGNORED if by_config else Resolution.SILENCED


def severity(track: Track, rules: Rules, now: datetime) -> Severity:
    """Return how bad the problem is now; an open episode's severity only rises."""
    if track.kind is Kind.DRIFT and track.number is not None:
        current = rules.severities.number(track.number.state, rules.audible_issues(track.number, now) or ())
    else:
        current = rules.severities.kind(track.kind)
    if track.episode is None:
        return current
    return max(current, track.episode.severity, key=lambda severity: severity.rank)


def _seen(track: Track, snapshot: Snapshot, rules: Rules) -> Seen:
    number = snapshot.numbers.get(track.key)
    if track.key in snapshot.unknown:
        return Seen.NOTHING  # it may be among the entries that could not be read
    if track.kind is Kind.NUMBER_REMOVED:
        return Seen.BAD if number is None else Seen.GOOD
    if number is None:
        return Seen.GONE
    if track.kind is Kind.DRIFT:
        return Seen.BAD if number.drifting else Seen.GOOD
    if number.drifting:
        return Seen.NOTHING
    return Seen.BAD if rules.reconfigured(track.dependencies, number.dependencies) else Seen.GOOD


def _unreadable(snapshot: Snapshot) -> str:
    return f"unreadable entries: {snapshot.skipped}" if snapshot.skipped else ""


def _advance(track: Track, was: Number | None, snapshot: Snapshot, rules: Rules, now: datetime) -> Track:
    """Return the track after one more snapshot; `was` is its number in the snapshot before."""
    number, dependencies = snapshot.numbers.get(track.key), track.dependencies
    if track.kind is Kind.RECONFIGURED and not rules.any_reconfiguration and number is not None:
        dependencies = dependencies.gaining(number.dependencies)
    match _seen(track, snapshot, rules):
        case Seen.NOTHING:
            return track
        case Seen.GONE:
            return msgspec.structs.replace(
                track,
                gone=min(track.gone + 1, rules.confirm_syncs),
                good=0,
                good_since=None,
                back=None,
            )
        case Seen.GOOD:
            return msgspec.structs.replace(
                track,
                good=min(track.good + 1, rules.resolve_syncs),
                good_since=track.good_since or now,
                gone=0,
                dependencies=dependencies,
                back=number,
            )
        case Seen.BAD:
            episode = track.episode
            if episode is not None and track.good:
                episode = msgspec.structs.replace(episode, flaps=episode.flaps + 1)
            if track.kind is Kind.DRIFT and number is not None:
                dependencies = number.dependencies.or_else(dependencies)
            return msgspec.structs.replace(
                track,
                number=number or track.number,
                previous_state=was.state
                if number is not None and was is not None and was.state != number.state
                else track.previous_state,
                dependencies=dependencies,
                detail=_unreadable(snapshot) if track.kind is Kind.NUMBER_REMOVED else track.detail,
                seen=min(track.seen + 1, rules.confirm_syncs),
                good=0,
                good_since=None,
                gone=0,
                back=None,
                episode=episode,
            )
