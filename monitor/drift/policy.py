"""Advances one connection's records: after a sync, on a timer, after a reload.

`judge` decides whether an answer is believed, `step` does the rest: confirm, end, group, report. Both are
pure functions of the records, which are all that is kept between two calls: replaying from any stored point
gives the same.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from monitor.drift.alert import Kind, Resolution
from monitor.drift.alerts import Alert, Report, confirm, report, update_due_at
from monitor.drift.answers import Difference, difference
from monitor.drift.diff import diff
from monitor.drift.episodes import (
    Ended,
    Track,
    count_held,
    ends_at,
    finished,
    observe,
    severity,
    silenced_as,
    silent,
    track_id,
    unsettled,
)
from monitor.drift.instants import as_of
from monitor.drift.moves import moves
from monitor.drift.plausibility import Guard, Hold, believed, carry_over, hold, implausible
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Change, Counts, Number, Snapshot
from monitor.drift.vocabulary import Vocabulary, count


class Records(msgspec.Struct, frozen=True, array_like=True):
    """Everything remembered about one connection between two steps.

    `skips` counts the answers in a row with unreadable entries, up to `confirm_syncs`.
    """

    snapshot: Snapshot | None = None
    hold: Hold | None = None
    tracks: dict[str, Track] = {}
    alerts: tuple[Alert, ...] = ()
    vocabulary: Vocabulary = Vocabulary()
    skips: int = 0


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an answer is applied. `reason` says why not.

    `said` is what the answer says beyond the snapshot before it; `snapshot` is what is applied of it.
    """

    records: Records
    said: Difference
    snapshot: Snapshot
    changes: tuple[Change, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step did.

    `opened`, `moved` and `ended` are episodes that began, changed and ended. `wakes_at` is the next instant
    at which the policy has something to do without a sync. `settled`: another sync with the same answer
    would change nothing. `counts` are those of the snapshot, if there is one. `names` are what clients, bots
    and agents are called now, or were before. `skipping`: answers have unreadable entries again and again,
    since now. `came` are numbers that the snapshot before lacked or wrote otherwise, `went` the keys of those
    that it had and this one lacks.
    """

    records: Records
    changes: tuple[Change, ...] = ()
    came: tuple[Number, ...] = ()
    went: tuple[str, ...] = ()
    opened: tuple[Track, ...] = ()
    moved: tuple[Track, ...] = ()
    ended: tuple[Ended, ...] = ()
    reports: tuple[Report, ...] = ()
    wakes_at: datetime | None = None
    settled: bool = True
    counts: Counts | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    skipping: bool = False


def judge(records: Records, answer: Snapshot, guard: Guard, now: datetime) -> Judgement:
    """Return whether the answer is applied, and the records with the hold that it begins, goes on or ends."""
    records = as_of(records, now)
    said = difference(records.snapshot, answer)
    tracked = (track.key for track in records.tracks.values())
    answer = carry_over(records.snapshot, answer, tracked, guard, now)
    changes = diff(records.snapshot, answer, among=said.keys)
    reason = implausible(records.snapshot, answer, changes, guard)
    held = hold(records.hold, answer, changes, reason, now) if reason is not None else None
    if held is not None and believed(held, guard, now):
        reason = None
    records = msgspec.structs.replace(records, hold=held)
    return Judgement(records=records, said=said, snapshot=answer, changes=changes, reason=reason)


def step(
    records: Records,
    rules: Rules,
    now: datetime,
    *,
    scope: str,
    verdict: Judgement | None = None,
    accepted: frozenset[str] = frozenset(),
    accept_all: bool = False,
    unconfigured: bool = False,
) -> Step:
    """Return the records after an applied answer, or after time alone when there is no verdict.

    Args:
        records: As the last step left them.
        rules: The connection's rules as they hold now.
        now: The instant of the step.
        scope: The connection's identity.
        verdict: The answer that is applied.
        accepted: Keys whose removal or reconfiguration a user accepted.
        accept_all: Accept every removal and reconfiguration.
        unconfigured: The connection is no longer watched; every episode ends.
    """
    stored = records.tracks
    records = as_of(records, now) if verdict is None else verdict.records
    tracks = records.tracks
    snapshot, skips = records.snapshot, records.skips
    names = snapshot.names if snapshot is not None else {}
    changes: tuple[Change, ...] = ()
    came: tuple[Number, ...] = ()
    went: tuple[str, ...] = ()
    if verdict is not None:
        changes = verdict.changes
        came, went = _traffic(snapshot, verdict)
        tracks = observe(tracks, records.snapshot, verdict.snapshot, verdict.changes, rules, now)
        if verdict.records.hold is not None:
            tracks = count_held(tracks, verdict.records.hold, verdict.snapshot, rules)
        snapshot = verdict.snapshot
        skips = min(skips + 1, rules.confirm_syncs) if snapshot.skipped else 0
        names = names | snapshot.names

    advanced = tracks
    tracks, ended = _end(tracks, rules, now, accepted, accept_all=accept_all, unconfigured=unconfigured)
    counts, vocabulary = None, records.vocabulary
    if snapshot is not None:
        ignored = Counter(
            track.number.state
            for track in tracks.values()
            if track.number is not None and _is_ignored(track, rules, now)
        )
        counts, vocabulary = count(snapshot, vocabulary, rules.names, now, ignored=ignored)
    ready = [
        (
            track,
            vocabulary.group(track.number.state) if track.kind is Kind.DRIFT and track.number else "",
            severity(track, rules, now),
        )
        for track in tracks.values()
        if not unconfigured and _opens(track, rules, now)
    ]
    confirmed, alerts = confirm(
        ready, records.alerts, scope=scope, update_interval=rules.update_interval, now=now
    )
    opened = {track_id(track.kind, track.key): track for track in confirmed}
    tracks = {name: _raised(track, rules, now) for name, track in (tracks | opened).items()}
    still_open, reports = report(
        alerts,
        tracks.values(),
        ended,
        moves=moves(records.tracks, advanced, changes, confirmed),
        update_interval=rules.update_interval,
        now=now,
    )
    if snapshot is not None and verdict is not None:
        snapshot = msgspec.structs.replace(snapshot, names=_kept_names(names, snapshot, tracks, still_open))
    return Step(
        records=Records(
            snapshot=snapshot,
            hold=records.hold if verdict is None else None,
            tracks=tracks,
            alerts=tuple(still_open),
            vocabulary=vocabulary,
            skips=skips,
        ),
        changes=changes,
        came=came,
        went=went,
        opened=tuple(opened.values()),
        moved=tuple(_moved(stored, tracks)),
        ended=tuple(ended),
        reports=tuple(reports),
        wakes_at=_wakes_at(tracks, still_open, vocabulary, rules, now),
        settled=not (snapshot is not None and snapshot.unknown)
        and not 0 < skips < rules.confirm_syncs
        and not any(unsettled(track, rules) for track in tracks.values()),
        counts=counts,
        names=names,
        skipping=records.skips < skips == rules.confirm_syncs,
    )


def _traffic(before: Snapshot | None, verdict: Judgement) -> tuple[tuple[Number, ...], tuple[str, ...]]:
    """Return the numbers that came, or are written otherwise now, and the keys of those that went."""
    known = before.numbers if before is not None else {}
    said, numbers = verdict.said, verdict.snapshot.numbers
    came = [
        numbers[key]
        for key, number in said.numbers.items()
        if (was := known.get(key)) is None or was.phone_number != number.phone_number
    ]
    return tuple(came), tuple([key for key in said.gone if key not in numbers])


def _is_ignored(track: Track, rules: Rules, now: datetime) -> bool:
    """Whether the track's number drifts, and a rule or silence keeps it quiet."""
    return track.kind is Kind.DRIFT and not track.good and not track.gone and silent(track, rules, now)


def _kept_names(
    names: dict[str, str], snapshot: Snapshot, tracks: Mapping[str, Track], alerts: list[Alert]
) -> dict[str, str]:
    """Return the names of the answer, and earlier ones of what is gone where somebody may still be told."""
    if len(names) == len(snapshot.names):
        return snapshot.names
    followed = [*tracks.values(), *(end.track for alert in alerts for end in alert.ended)]
    known = [track.dependencies for track in followed]
    known += [track.number.dependencies for track in followed if track.number is not None]
    used = {key for dependencies in known for key in dependencies.name_keys}
    return {key: name for key, name in names.items() if key in used or key in snapshot.names}


def _opens(track: Track, rules: Rules, now: datetime) -> bool:
    """Whether the track becomes an episode now: confirmed, still bad, and not silenced."""
    if track.episode is not None or track.good or track.gone or rules.muted:
        return False
    return track.seen >= rules.confirm_syncs and not silent(track, rules, now)


def _end(
    tracks: Mapping[str, Track],
    rules: Rules,
    now: datetime,
    accepted: frozenset[str],
    *,
    accept_all: bool,
    unconfigured: bool,
) -> tuple[dict[str, Track], list[Ended]]:
    kept: dict[str, Track] = {}
    ended: list[Ended] = []
    for name, track in tracks.items():
        resolution = finished(track, rules, now)
        if unconfigured:
            resolution = Resolution.UNCONFIGURED
        elif track.kind is not Kind.DRIFT and (accept_all or track.key in accepted):
            resolution = Resolution.ACCEPTED
        if resolution is None and track.episode is not None and silent(track, rules, now):
            # The problem persists in silence: it may alert again when the rule or silence is gone.
            pending = msgspec.structs.replace(track, episode=None)
            if finished(pending, rules, now) is None:
                kept[name] = pending
            ended.append(Ended(track=track, at=now, resolution=silenced_as(track, rules, now)))
        elif resolution is None:
            kept[name] = track
        elif track.episode is not None:
            ended.append(Ended(track=track, at=now, resolution=resolution))
    return kept, ended


def _raised(track: Track, rules: Rules, now: datetime) -> Track:
    """Return the track with the severity that its episode has now."""
    if track.episode is None:
        return track
    episode = msgspec.structs.replace(track.episode, severity=severity(track, rules, now))
    return msgspec.structs.replace(track, episode=episode) if episode != track.episode else track


def _moved(before: Mapping[str, Track], after: Mapping[str, Track]) -> list[Track]:
    return [
        track
        for name, track in after.items()
        if track.episode is not None
        and (was := before.get(name)) is not None
        and was.episode is not None
        and (was.episode, was.number, was.back) != (track.episode, track.number, track.back)
    ]


def _wakes_at(
    tracks: Mapping[str, Track], alerts: list[Alert], vocabulary: Vocabulary, rules: Rules, now: datetime
) -> datetime | None:
    instants = [
        vocabulary.forgets_at(),
        rules.wakes_at(now) if tracks else None,
        *(ends_at(track, rules) for track in tracks.values()),
        *(update_due_at(alert, rules.update_interval) for alert in alerts),
    ]
    return min((instant for instant in instants if instant is not None), default=None)
