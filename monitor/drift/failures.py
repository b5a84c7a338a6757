"""Decides which alert a failing connection or receiver belongs to, and when that is over.

    outcomes                             alert                 one for
    network timeout server_error         api_unavailable       all connections
    unauthorized forbidden               account_rejected      an account
    not_found rejected, vanished         connection_rejected   an account and outcome
    invalid_response too_large           answer_unreadable     an account and outcome
    (any, and in no alert above)         sync_stale            all connections
    a receiver that refuses messages     receiver_failing      a receiver

A failure alert ends only when its connections answer again, `resolve_syncs` times in a row; `sync_stale` when
a snapshot is applied. `held` and `rate_limited` have no alert of their own: staleness sees them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from monitor.drift.alert import Kind, Resolution
from monitor.drift.alerts import Alert, Report, confirm, report, update_due_at
from monitor.drift.episodes import Ended, Track, track_id
from monitor.drift.instants import as_of
from monitor.drift.rules import Severities
from monitor.errors import Outcome

SCOPE = "failures"

_KINDS: Mapping[Outcome, Kind] = {
    Outcome.NETWORK: Kind.API_UNAVAILABLE,
    Outcome.TIMEOUT: Kind.API_UNAVAILABLE,
    Outcome.SERVER_ERROR: Kind.API_UNAVAILABLE,
    Outcome.UNAUTHORIZED: Kind.ACCOUNT_REJECTED,
    Outcome.FORBIDDEN: Kind.ACCOUNT_REJECTED,
    Outcome.NOT_FOUND: Kind.CONNECTION_REJECTED,
    Outcome.REJECTED: Kind.CONNECTION_REJECTED,
    Outcome.INVALID_RESPONSE: Kind.ANSWER_UNREADABLE,
    Outcome.TOO_LARGE: Kind.ANSWER_UNREADABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """How the last syncs of a connection ended.

    `failures` and `answers` count syncs in a row that failed or answered, `same_kind` the failures at the end
    of the row that belong to one alert kind.
    """

    outcome: Outcome | None = None
    failures: int = 0
    same_kind: int = 0
    answers: int = 0

    def after(self, outcome: Outcome) -> "Streak":
        """Return the streak with one more sync."""
        if outcome.answered:
            return Streak(outcome=outcome, answers=self.answers + 1)
        continues = self.outcome is not None and kind_of(self.outcome) is kind_of(outcome)
        return Streak(
            outcome=outcome,
            failures=self.failures + 1,
            same_kind=self.same_kind + 1 if continues else 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the syncs of one connection have been going.

    `fresh_at` is when a snapshot was last applied, or the watching began. `interval` is the time between two
    syncs. `vanished`: discovery no longer lists it. `muted`: in a maintenance window.
    """

    identity: str
    account: str
    streak: Streak
    fresh_at: datetime
    interval: timedelta
    stale_after: timedelta
    vanished: bool = False
    muted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingReceiver:
    """A receiver that refuses messages, or has been out of reach for long."""

    name: str
    since: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRules:
    """The rules for failures."""

    failing_after: int = 3
    resolve_syncs: int = 2
    keep_firing_for: timedelta = timedelta(minutes=5)
    update_interval: timedelta = timedelta(minutes=5)
    severities: Severities = field(default_factory=Severities)


class FailureRecords(msgspec.Struct, frozen=True, array_like=True):
    """Everything remembered about failures between two steps."""

    tracks: dict[str, Track] = {}
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureStep:
    """What a step over all connections and receivers did; fields as in `policy.Step`."""

    records: FailureRecords
    opened: tuple[Track, ...]
    ended: tuple[Ended, ...]
    reports: tuple[Report, ...]
    wakes_at: datetime | None


def kind_of(outcome: Outcome) -> Kind | None:
    """Return the alert kind that a failed sync's outcome belongs to."""
    return _KINDS.get(outcome)


def step(
    records: FailureRecords,
    healths: Sequence[Health],
    receivers: Iterable[FailingReceiver],
    rules: FailureRules,
    now: datetime,
    *,
    configured: Collection[str] | None = None,
) -> FailureStep:
    """Return the records after looking at every connection and receiver.

    Args:
        records: As the last step left them.
        healths: Every connection that is watched.
        receivers: The failing ones.
        rules: The rules for failures.
        now: The instant of the step.
        configured: The names of all receivers; None: no alert ends because its receiver is gone.
    """
    records = as_of(records, now)
    by_identity = {health.identity: health for health in healths}
    failing = {receiver.name: receiver for receiver in receivers}
    kept: dict[str, Track] = {}
    ended: list[Ended] = []
    for name, track in records.tracks.items():
        if track.kind is Kind.RECEIVER_FAILING:
            gone = configured is not None and track.key not in configured
            resolution = None if track.key in failing else Resolution.RECOVERED
            resolution = Resolution.UNCONFIGURED if gone else resolution
        else:
            resolution = _over(track, by_identity.get(track.key), rules)
        if resolution is None:
            kept[name] = track
        else:
            ended.append(Ended(track=track, at=now, resolution=resolution))
    begun = _begun(healths, failing.values(), kept, rules, now)
    opened, alerts = confirm(
        [(track, _group(track, by_identity), rules.severities.kind(track.kind)) for track in begun],
        records.alerts,
        scope=SCOPE,
        update_interval=rules.update_interval,
        now=now,
        intervals={health.identity: health.interval for health in healths},
    )
    tracks = kept | {track_id(track.kind, track.key): track for track in opened}
    still_open, reports = report(
        alerts, tracks.values(), ended, update_interval=rules.update_interval, now=now
    )
    return FailureStep(
        records=FailureRecords(tracks=tracks, alerts=tuple(still_open)),
        opened=tuple(opened),
        ended=tuple(ended),
        reports=tuple(reports),
        wakes_at=_wakes_at(healths, tracks, still_open, rules, now),
    )


def _over(track: Track, health: Health | None, rules: FailureRules) -> Resolution | None:
    if health is None:
        return Resolution.UNCONFIGURED
    if track.kind is Kind.SYNC_STALE:
        return Resolution.RECOVERED if health.fresh_at > track.since else None
    answered = health.streak.answers >= rules.resolve_syncs and not health.vanished
    return Resolution.RECOVERED if answered else None


def _begun(
    healths: Sequence[Health],
    failing: Iterable[FailingReceiver],
    kept: Mapping[str, Track],
    rules: FailureRules,
    now: datetime,
) -> list[Track]:
    begun = [
        Track(kind=Kind.RECEIVER_FAILING, key=receiver.name, since=receiver.since, detail=receiver.error)
        for receiver in failing
        if track_id(Kind.RECEIVER_FAILING, receiver.name) not in kept
    ]
    failing_now = {track.key for track in kept.values() if track.kind is not Kind.RECEIVER_FAILING}
    for health in healths:
        kind = _kind(health, in_alert=health.identity in failing_now, rules=rules, now=now)
        if kind is None or health.muted or track_id(kind, health.identity) in kept:
            continue
        outcome = health.streak.outcome
        cause = "" if outcome in (None, Outcome.OK) else outcome.value
        cause = "unlisted" if health.vanished else cause
        begun.append(Track(kind=kind, key=health.identity, since=now, detail=cause))
    return begun


def _kind(health: Health, *, in_alert: bool, rules: FailureRules, now: datetime) -> Kind | None:
    """Return the kind of alert that this connection's failures belong to now.

    Failures of mixed causes count together towards the first alert; once a connection is in one, another
    cause needs `failing_after` of its own in a row.
    """
    if health.vanished:
        return Kind.CONNECTION_REJECTED
    streak = health.streak
    kind = kind_of(streak.outcome) if streak.outcome is not None else None
    needed = streak.same_kind if in_alert else streak.failures
    if kind is not None and needed >= rules.failing_after:
        return kind
    if not in_alert and now >= health.fresh_at + health.stale_after:
        return Kind.SYNC_STALE
    return None


def _group(track: Track, by_identity: Mapping[str, Health]) -> str:
    """Return what a confirmed track's alert is one for; `detail` is the outcome at confirmation."""
    match track.kind:
        case Kind.ACCOUNT_REJECTED:
            return by_identity[track.key].account
        case Kind.CONNECTION_REJECTED | Kind.ANSWER_UNREADABLE:
            return f"{by_identity[track.key].account}/{track.detail}"
        case Kind.RECEIVER_FAILING:
            return track.key
        case _:
            return ""


def _wakes_at(
    healths: Sequence[Health],
    tracks: Mapping[str, Track],
    alerts: Iterable[Alert],
    rules: FailureRules,
    now: datetime,
) -> datetime | None:
    in_alert = {track.key for track in tracks.values() if track.kind is not Kind.RECEIVER_FAILING}
    instants = [update_due_at(alert, rules.update_interval) for alert in alerts]
    instants += [
        health.fresh_at + health.stale_after
        for health in healths
        if health.identity not in in_alert and health.fresh_at + health.stale_after > now
    ]
    return min((instant for instant in instants if instant is not None), default=None)
