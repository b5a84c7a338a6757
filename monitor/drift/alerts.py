"""Groups episodes into alerts, and decides when receivers are notified.

The first confirmed episode of a group opens an alert. Those confirmed within `update_interval` join it, later
ones open a new one: a known broken number must not swallow the page for 499 new ones. Failing connections
join while the alert has grown within the longer of `update_interval` and their own interval, those of a
rejected account always: one cause is one alert, but an old failure hides no new one. Between opening and end
at most one `updated` per `update_interval` is sent, when members, their states or issues changed; a rise of
severity is sent at once. An alert ends with its last episode.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType

import msgspec
import xxhash

from monitor.drift.alert import Kind, Notice, Resolution, Severity, Status
from monitor.drift.episodes import Ended, Episode, Track
from monitor.drift.snapshot import Change

KEPT_CHANGES = 1000
"""The most changes that an alert remembers until its next message, which may list all of these."""


class Alert(msgspec.Struct, frozen=True, array_like=True):
    """An open alert, and what the last message about it said.

    `notified` are the ids of the episodes in the last message, `notified_digest` their content then;
    `shown_digest` is the content as last recorded. `ended` are the episodes that ended since the last
    message, `resolutions` the ways in which members ended so far. `grown_at` is when an episode last joined,
    `joined` how many have so far. `changes` are the moves of members since the last message, newest first.
    """

    id: str
    kind: Kind
    group: str
    started_at: datetime
    updated_at: datetime
    notified_at: datetime
    severity: Severity
    grown_at: datetime
    joined: int = 0
    version: int = 0
    notified: frozenset[str] = frozenset()
    notified_digest: int = 0
    shown_digest: int = 0
    ended: tuple[Ended, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    changes: tuple[Change, ...] = ()
    changes_total: int = 0


class Report(msgspec.Struct, frozen=True):
    """An alert as it stands after a step.

    `notice` is why receivers are notified, None if only the record changes. `members` are its open episodes,
    `ended` those that ended since the last message. `added` counts those that joined since, including those
    that ended again: members of the last message + added - ended = members.
    """

    alert: Alert
    notice: Notice | None
    members: tuple[Track, ...]
    ended: tuple[Ended, ...]
    added: int

    @property
    def status(self) -> Status:
        """Resolved once no member is left."""
        return Status.FIRING if self.members else Status.RESOLVED

    @property
    def resolution(self) -> Resolution | None:
        """How it ended: the one way in which all members did, or `mixed`."""
        if self.members:
            return None
        ways = set(self.alert.resolutions)
        return ways.pop() if len(ways) == 1 else Resolution.MIXED


def new_id(*parts: str) -> str:
    """Return an identity made of its parts alone, so that replaying a step gives the same one.

    Of ten million, two are the same by a chance of three in a million.
    """
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def confirm(
    tracks: Iterable[tuple[Track, str, Severity]],
    alerts: Sequence[Alert],
    *,
    scope: str,
    update_interval: timedelta,
    now: datetime,
    intervals: Mapping[str, timedelta] = MappingProxyType({}),
) -> tuple[list[Track], list[Alert]]:
    """Open an episode for each confirmed track, in an alert that may still be joined or in a new one.

    Args:
        tracks: The confirmed tracks with their group and severity.
        alerts: The open alerts.
        scope: What these tracks belong to: a connection's identity, or `failures.SCOPE`.
        update_interval: For how long an alert may be joined.
        now: The instant of confirmation.
        intervals: The time between two syncs of each failing connection, by key: the longer, the later it
            joins.

    Returns:
        The tracks with their episodes, and all open alerts.
    """
    current = {alert.id: alert for alert in alerts}
    # Of one group the last one opened has also grown last.
    latest = {(alert.kind, alert.group): alert for alert in alerts}
    confirmed: list[Track] = []
    # In the order of keys: an identity made from the first of them must not depend on an answer's order.
    for track, group, severity in sorted(tracks, key=lambda ready: (ready[0].key, ready[0].kind)):
        alert = latest.get((track.kind, group))
        window = max(update_interval, intervals.get(track.key, update_interval))
        if alert is None or not _may_be_joined(alert, window, now):
            alert = Alert(
                id=new_id(scope, track.kind, group, now.isoformat(), track.key),
                kind=track.kind,
                group=group,
                started_at=now,
                updated_at=now,
                notified_at=now,
                severity=severity,
                grown_at=now,
            )
        alert = msgspec.structs.replace(alert, grown_at=now, joined=alert.joined + 1)
        current[alert.id] = latest[track.kind, group] = alert
        episode = Episode(
            id=new_id(alert.id, track.key, now.isoformat()),
            alert_id=alert.id,
            group=group,
            opened_at=now,
            severity=severity,
        )
        confirmed.append(msgspec.structs.replace(track, episode=episode))
    return confirmed, list(current.values())


def _may_be_joined(alert: Alert, window: timedelta, now: datetime) -> bool:
    if alert.version == 0 or alert.kind is Kind.ACCOUNT_REJECTED:  # what is confirmed together is one alert
        return True
    return now < (alert.started_at if alert.kind.about_numbers else alert.grown_at) + window


def report(
    alerts: Sequence[Alert],
    tracks: Iterable[Track],
    ended: Iterable[Ended],
    *,
    moves: Mapping[str, Sequence[Change]] = MappingProxyType({}),
    update_interval: timedelta,
    now: datetime,
) -> tuple[list[Alert], list[Report]]:
    """Decide for each alert whether receivers are notified, or only the record changes.

    Args:
        alerts: The open alerts.
        tracks: All tracks; those with an episode are the members.
        ended: The episodes that ended in this step.
        moves: What moved in this step, by the id of the alert, the lowest key first.
        update_interval: The shortest time between two updates of an alert.
        now: The instant of the step.

    Returns:
        The alerts that stay open, and a report of every alert that changed.
    """
    members: dict[str, list[Track]] = {alert.id: [] for alert in alerts}
    for track in tracks:
        if track.episode is not None:
            members[track.episode.alert_id].append(track)
    gone: dict[str, list[Ended]] = {alert.id: [] for alert in alerts}
    for end in sorted(ended, key=lambda end: end.track.key):  # not as the answer happens to list them
        if end.track.episode is not None:
            gone[end.track.episode.alert_id].append(end)
    still_open: list[Alert] = []
    changed: list[Report] = []
    for alert in alerts:
        grown = _with_moves(alert, moves.get(alert.id, ()))
        made = _report(grown, members[alert.id], gone[alert.id], update_interval, now)
        if made.notice or made.alert != alert:
            changed.append(made)
        if made.members:
            still_open.append(made.alert if made.notice is None else _notified(made, now))
    return still_open, changed


def update_due_at(alert: Alert, update_interval: timedelta) -> datetime | None:
    """Return the instant at which an update of this alert is sent; None if nothing changed."""
    return alert.notified_at + update_interval if alert.shown_digest != alert.notified_digest else None


def _report(
    alert: Alert, members: list[Track], ended: list[Ended], update_interval: timedelta, now: datetime
) -> Report:
    worst = max(
        [alert.severity, *(track.episode.severity for track in members if track.episode)],
        key=lambda severity: severity.rank,
    )
    digest = _digest(members)
    notice = _notice(alert, members, digest, worst, update_interval, now)
    ways = dict.fromkeys([*alert.resolutions, *(end.resolution for end in ended)])
    moved = digest != alert.shown_digest or worst is not alert.severity
    current = msgspec.structs.replace(
        alert,
        severity=worst,
        updated_at=now if moved else alert.updated_at,
        version=alert.version + 1 if notice else alert.version,
        shown_digest=digest,
        ended=(*alert.ended, *ended),
        resolutions=tuple(ways),
    )
    met = [*members, *(end.track for end in current.ended)]
    added = sum(1 for track in met if track.episode and track.episode.id not in alert.notified)
    return Report(alert=current, notice=notice, members=tuple(members), ended=current.ended, added=added)


def _with_moves(alert: Alert, moved: Sequence[Change]) -> Alert:
    if not moved:
        return alert
    return msgspec.structs.replace(
        alert,
        changes=(*moved, *alert.changes)[:KEPT_CHANGES],
        changes_total=alert.changes_total + len(moved),
    )


def _notice(
    alert: Alert,
    members: list[Track],
    digest: int,
    worst: Severity,
    update_interval: timedelta,
    now: datetime,
) -> Notice | None:
    if alert.version == 0:
        return Notice.OPENED
    if not members:
        return Notice.RESOLVED
    if worst is not alert.severity:
        return Notice.UPDATED
    if digest != alert.notified_digest and now >= alert.notified_at + update_interval:
        return Notice.UPDATED
    return None


def _notified(made: Report, now: datetime) -> Alert:
    return msgspec.structs.replace(
        made.alert,
        notified_at=now,
        notified=frozenset(track.episode.id for track in made.members if track.episode),
        notified_digest=made.alert.shown_digest,
        ended=(),
        changes=(),
        changes_total=0,
    )


def _digest(members: list[Track]) -> int:
    """Return a fingerprint of who is in the alert, and how; the order does not matter."""
    content = sorted(
        (
            track.key,
            track.number.state if track.number else track.detail,
            sorted(track.number.issues) if track.number else [],
            track.number.dependencies if track.number and track.kind is Kind.RECONFIGURED else None,
        )
        for track in members
    )
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(content)) >> 1
