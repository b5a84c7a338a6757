"""Explains why an alert paged, or did not, and how it will end (pure); see `explain` for the verdicts."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from monitor.drift.alert import Status
from monitor.drift.episodes import Track, silent
from monitor.drift.episodes import ends_at as over_at
from monitor.drift.explain import Explanation, Verdict, routed
from monitor.drift.facts import UNKNOWN, AlertFacts, Failing, Members
from monitor.drift.failures import FailureRules, ends_at
from monitor.drift.foresight import moves_at, tracks_of
from monitor.drift.phrases import WORDS, about_end, about_receivers, about_syncs, due, span, when
from monitor.drift.rules import Rules
from monitor.drift.text import counted, ending, times

_NEVER = datetime.max.replace(tzinfo=UTC)
_MOST_WATCHED = 200
"""Numbers that are followed ahead to find the next instant."""
_MOST_LISTED = 10
"""Connections and numbers that are spoken of one by one."""


def explain_alert(
    alert: AlertFacts,
    members: Sequence[Members] = (),
    failing: Sequence[Failing] = (),
    rules: FailureRules | None = None,
    *,
    now: datetime,
) -> Explanation:
    """Return why an alert paged, or did not, and how it will end.

    Args:
        alert: The alert.
        members: The numbers in it, by connection.
        failing: The connections or receivers in it.
        rules: The rules for failures.
        now: The current instant.
    """
    failure_rules = rules or FailureRules()
    firing = alert.body.status is Status.FIRING
    instants = [_moves_at(each, now) for each in members]
    instants += [_failure_moves_at(each, failure_rules, now) for each in failing]
    return Explanation(
        subject=alert.body.alert_id,
        verdict=_verdict(alert, members, now) if firing else Verdict.ENDED,
        sentences=tuple(_about_alert(alert, members, failing, failure_rules, now)),
        next_at=min((at for at in instants if at is not None), default=None) if firing else None,
    )


def _verdict(alert: AlertFacts, members: Sequence[Members], now: datetime) -> Verdict:
    quiet = False
    for each in members:
        rules = (each.terms or UNKNOWN).rules_at(now)
        for track in _tracks(each, alert):
            if not silent(track, rules, now):
                return routed(alert)
            quiet = True
    return Verdict.SILENCED if quiet else routed(alert)


def _tracks(members: Members, alert: AlertFacts) -> list[Track]:
    found = (track for key in members.keys for track in tracks_of(members.records, key))
    return [track for track in found if track.episode is not None and track.kind is alert.body.kind]


def _moves_at(members: Members, now: datetime) -> datetime | None:
    terms, syncs = members.terms or UNKNOWN, members.syncs
    rules, snapshot = terms.rules_at(now), members.records.snapshot
    unknown = snapshot.unknown if snapshot is not None else {}
    tracks = [track for key in members.keys for track in tracks_of(members.records, key)]
    # Whatever moves first is among those that end first; most numbers of a large alert rest.
    moving = [track for track in tracks if track.key in unknown or not _rests(track, rules, now)]
    moving.sort(key=lambda track: over_at(track, rules) or _NEVER)
    keys = dict.fromkeys(track.key for track in moving[:_MOST_WATCHED] or tracks[:1])
    due_at = syncs.due_at if syncs is not None else None
    return moves_at(members.records, keys, terms.rules_at, terms.guard, due_at, now)


def _rests(track: Track, rules: Rules, now: datetime) -> bool:
    """Whether a problem stays as it is while the provider answers the same, whatever the time."""
    if track.episode is None or track.good or track.gone or over_at(track, rules) is not None:
        return False
    number = track.number
    return number is None or not any(rule.covers(number, now) for rule in rules.quieting)


def _failure_moves_at(failing: Failing, rules: FailureRules, now: datetime) -> datetime | None:
    ends = ends_at(failing.track, rules)
    if ends is not None:
        return max(ends, now)
    return max(failing.syncs.due_at, now) if failing.syncs is not None and failing.track.good else None


def _about_alert(
    alert: AlertFacts,
    members: Sequence[Members],
    failing: Sequence[Failing],
    rules: FailureRules,
    now: datetime,
) -> Iterator[str]:
    body = alert.body
    begun = datetime.fromisoformat(body.started_at)
    yield f"{body.summary}."
    if body.resolved_at is None:
        yield f"Open since {when(begun)} ({span(now - begun)}), with severity {body.severity}."
    else:
        lasted = span(datetime.fromisoformat(body.resolved_at) - begun)
        how = f": {ending(body.kind, body.resolution, lasted)}" if body.resolution is not None else ""
        yield f"It opened at {when(begun)} and ended at {when(body.resolved_at)}{how}."
    yield from about_receivers(alert)
    if body.resolved_at is not None:
        return
    if body.widespread:
        yield f"It stands for {counted(len(body.connections), 'connection')}, and ends with the last of them."
    else:
        for each in members:
            yield from _about_members(each, alert, now)
    yield from _some([line for each in failing for line in _about_failing(each, rules, now)])


def _about_members(members: Members, alert: AlertFacts, now: datetime) -> Iterator[str]:
    terms, syncs = members.terms or UNKNOWN, members.syncs
    rules, tracks = terms.rules_at(now), _tracks(members, alert)
    if syncs is not None:
        yield from about_syncs(syncs, terms, now)
    good = [track for track in tracks if track.good]
    if tracks:
        yield f"{WORDS[alert.body.kind].good} now: {len(good):,} of {counted(len(tracks), 'number')}."
    lines = []
    for track in (track for track in tracks if track.good or track.gone):
        name = track.number.phone_number if track.number is not None else track.key
        lines += [f"{name}: {line[0].lower()}{line[1:]}" for line in about_end(track, "", rules)]
    yield from _some(lines)
    flaps = sum(track.episode.flaps for track in tracks if track.episode is not None)
    if flaps:
        yield f"Its numbers flapped {times(flaps)}: good for a moment, then bad again."
    quiet = sum(silent(track, rules, now) for track in tracks)
    if quiet:
        yield (
            f"A rule or silence now covers {quiet:,} of {counted(len(tracks), 'number')}; "
            "the next step takes what it covers out of the alert."
        )


def _about_failing(failing: Failing, rules: FailureRules, now: datetime) -> Iterator[str]:
    track, syncs = failing.track, failing.syncs
    ends = ends_at(track, rules)
    next_sync = f"; the next is {due(syncs, now)}" if syncs is not None else ""
    if ends is not None and track.good_since is not None:
        word = "answering" if syncs is not None else "accepting messages"
        said = f"{word} since {when(track.good_since)}, ends at {when(ends)} unless it fails again"
    elif syncs is None:
        said = f"has accepted nothing since {when(track.since)}"
        said += f": {track.detail}" if track.detail else ""
    elif track.good:
        said = f"answered {track.good} of {counted(rules.resolve_syncs, 'sync')} that end it{next_sync}"
    elif syncs.streak.failures:
        row = f"failed {syncs.streak.failures:,} in a row ({syncs.streak.outcome})"
        said = f"{row}, {rules.failing_after} open an alert{next_sync}"
    else:
        applied = f" since {when(syncs.applied_at)}" if syncs.applied_at is not None else " yet"
        said = f"nothing has been applied{applied}{next_sync}"
    flaps = track.episode.flaps if track.episode is not None else 0
    yield f"{failing.name}: {said}{f'; it flapped {times(flaps)}' if flaps else ''}."


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:_MOST_LISTED]
    if len(lines) > _MOST_LISTED:
        yield f"And {len(lines) - _MOST_LISTED:,} more."
