"""Decides which alert a failing connection or receiver belongs to, and when that is over.

    outcomes                             alert                 one for
    network timeout server_error         api_unavailable       all connections
    unauthorized forbidden               account_rejected      an account
    not_found rejected, unlisted         connection_rejected   an account and outcome
    invalid_response too_large           answer_unreadable     an account and outcome
    (any, and in no alert above)         sync_stale            all connections
    a receiver that refuses messages     receiver_failing      a receiver

`held` and `rate_limited` have no alert of their own: staleness sees them.

An episode ends, like that of a drift, when its subject has been good for `keep_firing_for`; bad again before
that is a flap, and the episode continues. Time alone, or a restart, is never good:

    alert               good
    receiver_failing    it accepted a message, and has refused none since
    sync_stale          a snapshot was applied after the episode began, and is not stale
    all others          `resolve_syncs` syncs in a row were answered, and it is listed

A step looks at how things stand, not at what happened: it may run late, twice, or after a restart.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from monitor.drift.advice import UNLISTED
from monitor.drift.alert import Kind, Resolution
from monitor.drift.alerts import Alert, Report, confirm, report, update_due_at
from monitor.drift.episodes import Ended, Track, track_id
from monitor.drift.instants import as_of
from monitor.drift.rules import Severities
from monitor.errors import Outcome

SCOPE = "failures"

REFUSALS = 3
"""A receiver that refused so many attempts in a row is failing, whatever it answered."""
OUT_OF_REACH = timedelta(minutes=5)
"""A receiver that has accepted nothing for so long is failing, even if it refused nothing."""

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

    `applied_at` is when a snapshot was last applied. `since` is when its watching began, or went on after a
    restart or a standstill of the process: it then has `stale_after` to get a snapshot. `interval` is the
    time between two syncs. `vanished`: discovery no longer lists it. `muted`: in a maintenance window.
    """

    identity: str
    account: str
    streak: Streak
    applied_at: datetime | None
    since: datetime
    interval: timedelta
    stale_after: timedelta
    vanished: bool = False
    muted: bool = False

    @property
    def stale_at(self) -> datetime:
        """When it is stale unless a snapshot is applied."""
        return max(self.applied_at or self.since, self.since) + self.stale_after

    @property
    def outdated_at(self) -> datetime | None:
        """When its snapshot is stale, whoever watched; None without one."""
        return self.applied_at + self.stale_after if self.applied_at is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverHealth:
    """How well a receiver is accepting messages.

    `troubled_since`: it has accepted none since then. `refused`: it says that its settings need fixing.
    `refused_in_row`: attempts since the last accepted one that it answered. `accepted_at` is when it last
    accepted one. `since` as in `Health`.
    """

    name: str
    since: datetime
    troubled_since: datetime | None = None
    refused: bool = False
    refused_in_row: int = 0
    accepted_at: datetime | None = None
    error: str = ""

    @property
    def accepting(self) -> bool:
        """Whether its last attempt was accepted; a receiver that was never sent anything is not."""
        return self.accepted_at is not None and self.troubled_since is None and not self.refused_in_row

    @property
    def failing_at(self) -> datetime | None:
        """When it is failing unless it accepts a message; None while it is not in trouble."""
        if self.troubled_since is None:
            return None
        at_once = self.refused or self.refused_in_row >= REFUSALS
        return self.troubled_since if at_once else max(self.troubled_since, self.since) + OUT_OF_REACH


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
    moved: tuple[Track, ...]
    ended: tuple[Ended, ...]
    reports: tuple[Report, ...]
    wakes_at: datetime | None


def kind_of(outcome: Outcome) -> Kind | None:
    """Return the alert kind that a failed sync's outcome belongs to."""
    return _KINDS.get(outcome)


def group_of(kind: Kind, *, account: str, cause: str) -> str:
    """Return what an alert about a connection that fails for this cause is one for."""
    match kind:
        case Kind.ACCOUNT_REJECTED:
            return account
        case Kind.CONNECTION_REJECTED | Kind.ANSWER_UNREADABLE:
            return f"{account}/{cause}"
        case _:
            return ""


def step(
    records: FailureRecords,
    healths: Sequence[Health],
    receivers: Sequence[ReceiverHealth],
    rules: FailureRules,
    now: datetime,
    *,
    foreign: Collection[str] = (),
) -> FailureStep:
    """Return the records after looking at every connection and receiver.

    Args:
        records: As the last step left them.
        healths: Every connection that is watched.
        receivers: Every receiver that is configured.
        rules: The rules for failures.
        now: The instant of the step.
        foreign: Connections that only other replicas watch: their failures stay as they are.
    """
    records = as_of(records, now)
    subjects: dict[tuple[bool, str], Health | ReceiverHealth] = {
        **{(False, health.identity): health for health in healths},
        **{(True, receiver.name): receiver for receiver in receivers},
    }
    kept: dict[str, Track] = {}
    ended: list[Ended] = []
    for name, track in records.tracks.items():
        subject = subjects.get((track.kind is Kind.RECEIVER_FAILING, track.key))
        if subject is None and track.key in foreign and track.kind is not Kind.RECEIVER_FAILING:
            kept[name] = track
            continue
        if subject is None:
            ended.append(Ended(track=track, at=now, resolution=Resolution.UNCONFIGURED))
            continue
        current = _advance(track, min(_good(track, subject, rules, now), rules.resolve_syncs), rules, now)
        over_at = ends_at(current, rules)
        if over_at is not None and now >= over_at:
            ended.append(Ended(track=current, at=now, resolution=Resolution.RECOVERED))
        else:
            kept[name] = current
    by_identity = {health.identity: health for health in healths}
    opened, alerts = confirm(
        [
            (track, _group(track, by_identity), rules.severities.kind(track.kind))
            for track in _begun(healths, receivers, kept, rules, now)
        ],
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
        moved=tuple(track for name, track in kept.items() if track.episode != records.tracks[name].episode),
        ended=tuple(ended),
        reports=tuple(reports),
        wakes_at=_wakes_at(healths, receivers, tracks, still_open, rules, now),
    )


def ends_at(track: Track, rules: FailureRules) -> datetime | None:
    """Return the instant at which a failure is over unless it is seen again; None while it is bad."""
    if track.good < rules.resolve_syncs or track.good_since is None:
        return None
    return track.good_since + rules.keep_firing_for


def _good(track: Track, subject: Health | ReceiverHealth, rules: FailureRules, now: datetime) -> int:
    """Return how many syncs in a row a track has been good for; one acceptance or snapshot is enough."""
    match subject:
        case ReceiverHealth():
            return rules.resolve_syncs if subject.accepting else 0
        case Health() if track.kind is Kind.SYNC_STALE:
            applied = subject.applied_at is not None and (track.good or subject.applied_at > track.since)
            fresh = subject.outdated_at is not None and now < subject.outdated_at
            return rules.resolve_syncs if applied and fresh else 0
        case Health():
            return 0 if subject.vanished else subject.streak.answers


def _advance(track: Track, good: int, rules: FailureRules, now: datetime) -> Track:
    """Return the track as it stands after another look; fewer good ones in a row than before are a flap."""
    episode, good_since = track.episode, track.good_since
    if good < min(track.good, rules.resolve_syncs):
        good_since = None
        if episode is not None:
            episode = msgspec.structs.replace(episode, flaps=episode.flaps + 1)
    good_since = (good_since or now) if good else None
    return msgspec.structs.replace(track, good=good, good_since=good_since, episode=episode)


def _begun(
    healths: Sequence[Health],
    receivers: Sequence[ReceiverHealth],
    kept: Mapping[str, Track],
    rules: FailureRules,
    now: datetime,
) -> list[Track]:
    begun = [
        Track(
            kind=Kind.RECEIVER_FAILING,
            key=receiver.name,
            since=receiver.troubled_since or now,
            detail=receiver.error,
        )
        for receiver in receivers
        if receiver.failing_at is not None
        and now >= receiver.failing_at
        and track_id(Kind.RECEIVER_FAILING, receiver.name) not in kept
    ]
    failing_now = {track.key for track in kept.values() if track.kind is not Kind.RECEIVER_FAILING}
    for health in healths:
        kind = _kind(health, in_alert=health.identity in failing_now, rules=rules, now=now)
        if kind is None or health.muted or track_id(kind, health.identity) in kept:
            continue
        begun.append(Track(kind=kind, key=health.identity, since=now, detail=_cause(health)))
    return begun


def _cause(health: Health) -> str:
    outcome = health.streak.outcome
    if health.vanished:
        return UNLISTED
    return "" if outcome in (None, Outcome.OK) else outcome.value


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
    if not in_alert and now >= health.stale_at:
        return Kind.SYNC_STALE
    return None


def _group(track: Track, by_identity: Mapping[str, Health]) -> str:
    if track.kind is Kind.RECEIVER_FAILING:
        return track.key
    return group_of(track.kind, account=by_identity[track.key].account, cause=track.detail)


def failing_too(alert: Alert, healths: Sequence[Health], tracks: Iterable[Track]) -> int:
    """Return how many connections fail for an alert's cause, but have not failed for long enough yet."""
    in_alert = {track.key for track in tracks if track.kind is not Kind.RECEIVER_FAILING}
    return sum(
        1
        for health in healths
        if health.identity not in in_alert
        and health.streak.outcome is not None
        and kind_of(health.streak.outcome) is alert.kind
        and group_of(alert.kind, account=health.account, cause=_cause(health)) == alert.group
    )


def _wakes_at(
    healths: Sequence[Health],
    receivers: Sequence[ReceiverHealth],
    tracks: Mapping[str, Track],
    alerts: Iterable[Alert],
    rules: FailureRules,
    now: datetime,
) -> datetime | None:
    in_alert = {track.key for track in tracks.values() if track.kind is not Kind.RECEIVER_FAILING}
    later = [health.stale_at for health in healths if health.identity not in in_alert]
    later += [
        health.outdated_at
        for health in healths
        if health.outdated_at is not None and track_id(Kind.SYNC_STALE, health.identity) in tracks
    ]
    later += [receiver.failing_at for receiver in receivers if receiver.failing_at is not None]
    instants = [
        *(instant for instant in later if instant > now),
        *(update_due_at(alert, rules.update_interval) for alert in alerts),
        *(ends_at(track, rules) for track in tracks.values()),
    ]
    return min((instant for instant in instants if instant is not None), default=None)
