"""The sentences that explanations of numbers and of alerts have in common, and their figures."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitor.drift.alert import Kind, Status
from monitor.drift.episodes import Track, ends_at
from monitor.drift.facts import AlertFacts, Syncs, Terms
from monitor.drift.failures import kind_of
from monitor.drift.rules import Rules
from monitor.drift.text import counted, duration

_UNITS = {"s": "s", "m": "min", "h": "h", "d": "d"}
_PUNCTUAL = timedelta(seconds=5)
"""A sync that should have begun a moment ago is not late yet."""


def when(instant: str | datetime) -> str:
    """Return an instant for people: `2026-03-01 12:00:05 UTC`."""
    at = instant if isinstance(instant, datetime) else datetime.fromisoformat(instant)
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(length: timedelta) -> str:
    """Return a length in words: `12 s`, `3 h 5 min`."""
    return re.sub(r"(\d+)([smhd])", lambda found: f"{found[1]} {_UNITS[found[2]]}", duration(length))


def due(syncs: Syncs, now: datetime) -> str:
    """Return when the next sync is due: `due in 12 s`."""
    late = now - syncs.due_at
    if late > _PUNCTUAL:
        return f"overdue since {when(syncs.due_at)}"
    return f"due in {span(-late)}" if late <= -timedelta(seconds=1) else "due now"


@dataclass(frozen=True, slots=True)
class Words:
    """What a sync sees of a kind of problem, what it sees when that is over, and that it is back."""

    seen: str
    good: str
    again: str


WORDS: Mapping[Kind, Words] = {
    Kind.DRIFT: Words("Drift", "Ready", "it drifts again"),
    Kind.NUMBER_REMOVED: Words("Absence", "Listed", "it goes missing again"),
    Kind.RECONFIGURED: Words("Reconfiguration", "Restored", "it is reconfigured again"),
}


def about_syncs(syncs: Syncs, terms: Terms, now: datetime) -> Iterator[str]:
    """Yield how the last syncs of a connection went, and what is not seen because of that."""
    streak = syncs.streak
    if streak.outcome is None:
        yield f"{syncs.name} has not been synced yet; the first sync is {due(syncs, now)}."
    elif not streak.failures:
        ago = f", {span(now - syncs.synced_at)} ago," if syncs.synced_at is not None else ""
        yield f"The last sync of {syncs.name}{ago} answered; the next is {due(syncs, now)}."
    else:
        yield _failed(syncs)
        if syncs.blind is None and kind_of(streak.outcome) is not None:
            in_row = f"{streak.failures:,} of {terms.failing_after} in a row that open an alert"
            yield f"Failed {in_row}; the next is {due(syncs, now)}."
    if syncs.blind is not None:
        yield f"{syncs.name} is in failure alert {syncs.blind}."
    elif syncs.applied_at is not None and now >= syncs.applied_at + terms.stale_after:
        yield f"Nothing has been applied since {when(syncs.applied_at)}: {syncs.name} cannot be seen."
    if syncs.vanished_at is not None:
        yield f"The provider has not listed {syncs.name} since {when(syncs.vanished_at)}."


def _failed(syncs: Syncs) -> str:
    streak = syncs.streak
    last = "The last sync" if streak.failures == 1 else f"The last {streak.failures:,} syncs"
    error = f": {syncs.error.rstrip('.')}" if syncs.error else ""
    known = f"known as of {when(syncs.applied_at)}" if syncs.applied_at is not None else "not known yet"
    return f"{last} of {syncs.name} failed ({streak.outcome}{error}), so its numbers are {known}."


def about_end(track: Track, next_sync: str, rules: Rules) -> Iterator[str]:
    """Yield how a problem will end, as far as it looks so now; `next_sync` says when there is news."""
    words, over_at = WORDS[track.kind], ends_at(track, rules)
    since = f" since {when(track.good_since)}" if track.good_since is not None else ""
    if track.gone:
        yield f"Absent from {track.gone} of {counted(rules.confirm_syncs, 'answer')} that end it{next_sync}."
    elif track.good >= rules.resolve_syncs and over_at is not None:
        yield f"{words.good}{since}, ends at {when(over_at)} unless {words.again}."
    elif track.good:
        needed = counted(rules.resolve_syncs, "sync")
        yield f"{words.good}{since}, in {track.good} of {needed} that end it{next_sync}."
    elif over_at is not None:
        yield f"It ends at {when(over_at)}, unless the number returns or its removal is accepted before."


def about_receivers(alert: AlertFacts) -> Iterator[str]:
    """Yield who was told of an alert, or why not; of a part, of the widespread alert that tells of it."""
    if alert.whole is not None:
        yield f"It is part of widespread alert {alert.whole.body.alert_id}, which receivers hear of instead."
    acknowledged = (alert.whole or alert).body.acknowledged
    if acknowledged is not None:
        by, note = acknowledged.by or "Someone", f": {acknowledged.note}" if acknowledged.note else ""
        quiet = "; no reminders are sent" if alert.body.status is Status.FIRING else ""
        yield f"{by} acknowledged it at {when(acknowledged.at)}{note}{quiet}."
    for each in alert.heard:
        if each.told_at is not None:
            yield f"{each.receiver} told at {when(each.told_at)}."
        elif each.refused is not None:
            yield f"{each.receiver} not told: {each.refused}."
        else:
            yield f"{each.receiver} not told yet: {each.waiting or 'nothing has been sent to it'}."
