"""The facts that explanations of numbers and alerts are made of, and what keeps a number quiet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from monitor.drift.alert import AlertBody, Kind, Resolution
from monitor.drift.episodes import Track, silent
from monitor.drift.failures import Streak
from monitor.drift.foresight import RulesAt, tracks_of
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Records
from monitor.drift.rules import Ignore, Rules, Silence
from monitor.drift.snapshot import Number


class QuietKind(StrEnum):
    """What keeps a number quiet."""

    IGNORE = "ignore"
    SILENCE = "silence"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What keeps a number quiet, why, until when and who asked for it; None: not known, or without end."""

    kind: QuietKind
    reason: str
    until: datetime | None
    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What decides about the numbers of a connection."""

    rules_at: RulesAt
    guard: Guard = field(default_factory=Guard)
    failing_after: int = 3
    stale_after: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Syncs:
    """How the syncs of a connection are going.

    `blind` is the id of the failure alert that it is in, if any.
    """

    name: str
    due_at: datetime
    streak: Streak = Streak()  # noqa: RUF009 - a frozen value
    error: str | None = None
    synced_at: datetime | None = None
    applied_at: datetime | None = None
    vanished_at: datetime | None = None
    blind: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What one receiver knows of an alert.

    `told_at` is when it first accepted a message. Else `waiting` says how the tries went, or `refused` why it
    gets none: a filter, or that it rejected the message. `own_log`: it is the monitor's own log.
    """

    receiver: str
    told_at: datetime | None = None
    waiting: str | None = None
    refused: str | None = None
    filtered: bool = False
    own_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """An alert, and who knows of it; of a part, also the widespread alert that it is part of."""

    body: AlertBody
    hearings: Sequence[Hearing] = ()
    whole: "AlertFacts | None" = None

    @property
    def heard(self) -> Sequence[Hearing]:
        """Who knows of it: of a part, who knows of the widespread alert."""
        return self.whole.hearings if self.whole is not None else self.hearings


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEpisode:
    """The last episode of a number that has ended."""

    alert_id: str
    kind: Kind
    opened_at: datetime
    ended_at: datetime
    resolution: Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFacts:
    """What is known of a number in one connection.

    `records` are the connection's. `syncs` are None once it is no longer watched, `terms` where the config
    does not have it. `since`: it has been in its state since then. `alerts` are those that its open episodes
    belong to, by id.
    """

    key: str
    phone_number: str
    connection: str
    records: Records
    syncs: Syncs | None
    terms: Terms | None
    since: datetime | None = None
    gone_at: datetime | None = None
    alerts: Mapping[str, AlertFacts] = field(default_factory=dict)
    past: PastEpisode | None = None

    @property
    def number(self) -> Number | None:
        """The number in the applied snapshot; None if it is gone."""
        snapshot = self.records.snapshot
        return snapshot.numbers.get(self.key) if snapshot is not None else None

    @property
    def tracks(self) -> list[Track]:
        """Its problems."""
        return tracks_of(self.records, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Numbers of one connection that are in an alert."""

    records: Records
    keys: Sequence[str]
    syncs: Syncs | None
    terms: Terms | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A connection or receiver in a failure alert; a receiver has no syncs."""

    name: str
    track: Track
    syncs: Syncs | None


UNKNOWN = Terms(rules_at=lambda _: Rules())
"""Where the config does not have a connection."""
_FOR_EVER = datetime.max.replace(tzinfo=UTC)
_MOST_WINDOWS = 100


def quieted_by(facts: NumberFacts, now: datetime) -> Quiet | None:
    """Return what keeps a number from paging now; None if nothing does, or if it pages already."""
    terms = facts.terms or UNKNOWN
    rules = terms.rules_at(now)
    open_ = [track for track in facts.tracks if not (track.good or track.gone)]
    audible = [track for track in open_ if not silent(track, rules, now)]
    if any(track.episode is not None for track in audible):
        return None
    if not audible and (rule := _lasting(covering(facts, rules, now), whole=not open_)):
        return quiet_of(rule)
    return window(terms.rules_at, now) if rules.muted else None


def covering(facts: NumberFacts, rules: Rules, now: datetime) -> list[Ignore]:
    """Return the rules and silences that cover a number as it is, or as its problems show it."""
    shown = [track.number for track in facts.tracks if track.number is not None]
    shown += [facts.number] if facts.number is not None else []
    return [rule for rule in rules.quieting if any(_covers(rule, number, now) for number in shown)]


def _covers(rule: Ignore, number: Number, now: datetime) -> bool:
    if not rule.covers(number, now):
        return False
    issues = {issue.casefold() for issue in (number.issues or (number.state,))}
    return rule.issue is None or rule.issue.casefold() in issues


def _lasting(rules: Sequence[Ignore], *, whole: bool) -> Ignore | None:
    """Return the rule that decides when quiet ends: of those for whole numbers the last, else the first."""
    of_numbers = [rule for rule in rules if rule.issue is None]
    if of_numbers:
        return max(of_numbers, key=lambda rule: rule.until or _FOR_EVER)
    of_issues = () if whole else rules
    return min(of_issues, key=lambda rule: rule.until or _FOR_EVER, default=None)


def quiet_of(rule: Ignore) -> Quiet:
    """Return what a rule or silence says about itself."""
    if isinstance(rule, Silence):
        return Quiet(kind=QuietKind.SILENCE, reason=rule.reason, until=rule.until, by=rule.by)
    return Quiet(kind=QuietKind.IGNORE, reason=rule.reason, until=rule.until, by=None)


def window(rules_at: RulesAt, now: datetime) -> Quiet:
    """Return the maintenance that is open, to the end of the last window without a gap; None: it has none."""
    until: datetime | None = now
    for _ in range(_MOST_WINDOWS):
        rules = rules_at(until or now)
        if not rules.muted or until is None:
            break
        until = rules.changes_at
    else:
        until = None
    return Quiet(kind=QuietKind.MAINTENANCE, reason="maintenance window", until=until, by=None)
