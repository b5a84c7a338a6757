"""Finds when something next happens to numbers, by running the policy ahead on their records (pure).

The provider is taken to give the same answer again. What moves is a track, an episode, or whether a number is
known; gauges, updates of alerts and reminders do not count.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from monitor.drift.alert import Kind
from monitor.drift.episodes import Track, ends_at, track_id
from monitor.drift.plausibility import Guard, Hold, seen_again
from monitor.drift.policy import Records, Step, judge, step
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Snapshot

RulesAt = Callable[[datetime], Rules]
"""The rules of a connection at an instant, maintenance windows included."""

_MOST_LOOKS = 50
"""Instants looked at ahead: a weekly window goes on for ever."""

NUMBER_KINDS = tuple(kind for kind in Kind if kind.about_numbers)


def tracks_of(records: Records, key: str) -> list[Track]:
    """Return the tracks of a number."""
    named = (track_id(kind, key) for kind in NUMBER_KINDS)
    return [records.tracks[name] for name in named if name in records.tracks]


def in_hold(held: Hold, key: str) -> int:
    """Return how many of the held answers showed this number in trouble."""
    return max(shown.get(key, 0) for shown in (held.drifting, held.missing, held.lost))


def moves_at(
    records: Records,
    keys: Collection[str],
    rules_at: RulesAt,
    guard: Guard,
    due_at: datetime | None,
    now: datetime,
) -> datetime | None:
    """Return the next instant at which something happens to one of these numbers; None if nothing will.

    Args:
        records: The connection's records.
        keys: The numbers.
        rules_at: Its rules.
        guard: Which of its answers are believed.
        due_at: When its next sync is due; None if no sync will come.
        now: The current instant, which is returned where the policy has not acted yet.
    """
    keys = frozenset(keys)
    about = _about(records, keys)
    sync_at = max(due_at, now) if due_at is not None else None
    held = records.hold
    if held is not None and not (about.tracks or any(in_hold(held, key) for key in keys)):
        held = None
    for at in islice(_instants(about, rules_at, sync_at, now), _MOST_LOOKS):
        if at == sync_at and held is not None:
            return at  # another answer like it moves the hold, or ends it
        if _moved(about, _look(about, rules_at(at), guard, at, synced=at == sync_at), keys):
            return at
    return None


def _about(records: Records, keys: Collection[str]) -> Records:
    """Return the part of the records that these numbers are about."""
    tracks = {track_id(track.kind, track.key): track for key in keys for track in tracks_of(records, key)}
    homes = {track.episode.alert_id for track in tracks.values() if track.episode is not None}
    snapshot = records.snapshot
    if snapshot is not None:
        # One number more, where there is one: an answer without any number is not believed.
        spare = next((key for key in snapshot.numbers if key not in keys and key not in snapshot.unknown), "")
        kept = {key: snapshot.numbers[key] for key in (*keys, spare) if key in snapshot.numbers}
        unknown = {key: snapshot.unknown[key] for key in keys if key in snapshot.unknown}
        snapshot = msgspec.structs.replace(snapshot, numbers=kept, unknown=unknown)
    return Records(
        snapshot=snapshot,
        tracks=tracks,
        alerts=tuple(alert for alert in records.alerts if alert.id in homes),
        vocabulary=records.vocabulary,
    )


def _instants(
    about: Records, rules_at: RulesAt, sync_at: datetime | None, now: datetime
) -> Iterator[datetime]:
    """Yield now, and the instants at which a sync, time or a rule may move something, in order."""
    rules = rules_at(now)
    planned = {at for track in about.tracks.values() if (at := ends_at(track, rules)) and at > now}
    if sync_at is not None:
        planned.add(sync_at)
    at = now
    yield now
    while True:
        later = [each for each in (*planned, rules_at(at).wakes_at(at)) if each is not None and each > at]
        if not later:
            return
        at = min(later)
        yield at


def _look(about: Records, rules: Rules, guard: Guard, at: datetime, *, synced: bool) -> Step:
    """Return the step at an instant: after the same answer once more, or after time alone."""
    if not synced or about.snapshot is None:
        return step(about, rules, at, scope="", verdict=None)
    patient = Guard(confirm_syncs=guard.confirm_syncs, min_hold=guard.min_hold, min_numbers=_NEVER)
    verdict = judge(about, seen_again(about.snapshot), patient, at)
    if verdict.reason is not None:
        return step(about, rules, at, scope="", verdict=None)
    return step(about, rules, at, scope="", verdict=verdict)


_NEVER = 2**62
"""So many numbers change in no answer: of these few, any change would be much."""


def _moved(before: Records, done: Step, keys: Collection[str]) -> bool:
    tracks = {name: track for name, track in done.records.tracks.items() if track.key in keys}
    return tracks != before.tracks or _known(done.records.snapshot) != _known(before.snapshot)


def _known(snapshot: Snapshot | None) -> Any:
    """Return which numbers are known, and how."""
    return snapshot and (snapshot.numbers, snapshot.unknown)
