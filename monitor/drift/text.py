"""What people read: the alert body and its summary, made from an alert's members."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitor.drift.alert import Action, AlertBody, AlertNumber, Kind, Notice, NumberAction, Resolution, Status
from monitor.drift.alerts import Alert, Report
from monitor.drift.episodes import Track
from monitor.drift.snapshot import Dependencies


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A connection as people know it."""

    name: str
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What the configuration adds to every alert. The URLs end without a slash."""

    instance: str = "voicelink-monitor"
    external_url: str | None = None
    runbook_base_url: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    max_listed_numbers: int = 50


def body(
    made: Report,
    *,
    scope: str,
    watched: Mapping[str, Watched],
    wording: Wording,
    now: datetime,
    others: int = 0,
) -> AlertBody:
    """Return the body of one message about an alert.

    Args:
        made: The alert, its members and what happened since the last message.
        scope: The identity of the connection whose numbers are its members; for failures anything.
        watched: Every connection by identity.
        wording: What the configuration adds.
        now: The instant of the message.
        others: How many other connections have begun to fail for the same cause.
    """
    alert = made.alert
    open_now = made.status is Status.FIRING
    tracks = _told_of(made)
    numbers = [track for track in tracks if track.number is not None]
    numbers.sort(key=lambda track: track.key)
    numbers.sort(key=lambda track: track.since, reverse=True)
    common = _common(numbers)
    connection = _connection(alert, scope, watched)
    listed = numbers[: wording.max_listed_numbers]
    return AlertBody(
        alert_id=alert.id,
        kind=alert.kind,
        change=made.notice or Notice.UPDATED,
        status=made.status,
        resolution=made.resolution,
        severity=alert.severity,
        summary=summary(made, connection, watched, common, others=others),
        instance=wording.instance,
        connection=connection.name if connection else None,
        account=connection.account if connection else _account(alert),
        state=_state(alert),
        started_at=_instant(alert.started_at),
        updated_at=_instant(alert.updated_at if made.notice is None else now),
        resolved_at=None if open_now else _instant(now),
        version=alert.version,
        numbers_total=len(numbers),
        numbers_listed=len(listed),
        numbers=[_number(track) for track in listed],
        numbers_added=made.added if alert.kind.about_numbers else 0,
        numbers_ended=len(made.ended) if alert.kind.about_numbers else 0,
        connections=_connections(alert, tracks, connection, watched),
        common=common,
        actions=_actions(numbers),
        labels=dict(wording.labels),
        url=f"{wording.external_url}/alerts#{alert.id}" if wording.external_url else None,
        runbook_url=f"{wording.runbook_base_url}/{alert.kind.value}" if wording.runbook_base_url else None,
    )


def summary(
    made: Report,
    connection: Watched | None,
    watched: Mapping[str, Watched],
    common: Mapping[str, int | str],
    *,
    others: int = 0,
) -> str:
    """Return one line that says where, how many, what, and how it ended."""
    alert = made.alert
    tracks = _told_of(made)
    if alert.kind.about_numbers:
        name = connection.name if connection else "unknown connection"
        line = f"{name}: {_numbers_phrase(alert, len(tracks))}{_shared_phrase(common, len(tracks))}"
    else:
        line = _failure_phrase(alert, tracks, connection, watched)
    if made.status is Status.FIRING:
        return f"{line}, {_others_phrase(others)}" if others else line
    lasted = duration(made.ended[-1].at - alert.started_at) if made.ended else "a moment"
    return f"{line} - {_ending(made.resolution, alert.kind)} after {lasted}"


def _told_of(made: Report) -> tuple[Track, ...]:
    """Return the members; of a resolved alert the last ones, a number that ended twice as it was last."""
    if made.members:
        return made.members
    return tuple({end.track.key: end.track for end in made.ended}.values())


def _numbers_phrase(alert: Alert, count: int) -> str:
    counted = f"{count:,} number{'s' if count != 1 else ''}"
    match alert.kind:
        case Kind.NUMBER_REMOVED:
            return f"{counted} gone from the inventory"
        case Kind.RECONFIGURED:
            return f"{counted} reconfigured"
        case _:
            return f"{counted} {alert.group}"


_COMMON_WORDS = {
    "client_id": "client",
    "bot_id": "bot",
    "routing_target": "routing",
    "agent_id": "agent",
}


def _shared_phrase(common: Mapping[str, int | str], count: int) -> str:
    if not common or count < 2:  # noqa: PLR2004 - one number shares nothing with itself
        return ""
    # A routing that leads to the bot they share says the same twice.
    said = [name for name in common if name != "routing_target" or "bot_id" not in common]
    parts = [f"{word} {common[name]}" for name, word in _COMMON_WORDS.items() if name in said]
    return f", all of {', '.join(parts)}"


def _failure_phrase(
    alert: Alert, tracks: Sequence[Track], connection: Watched | None, watched: Mapping[str, Watched]
) -> str:
    causes = ", ".join(sorted({track.detail for track in tracks if track.detail}))
    because = f" ({causes})" if causes else ""
    name = connection.name if connection else alert.group
    some = f"{len(tracks):,} connection{'s' if len(tracks) != 1 else ''}"
    if len(tracks) == 1 and tracks[0].key in watched:
        some = watched[tracks[0].key].name
    phrases = {
        Kind.API_UNAVAILABLE: f"VoiceLink API unavailable for {some}",
        Kind.ACCOUNT_REJECTED: f"account {alert.group}: the API key is rejected for {some}",
        Kind.CONNECTION_REJECTED: f"{name}: the API rejects this connection",
        Kind.ANSWER_UNREADABLE: f"{name}: the API's answer cannot be read",
        Kind.SYNC_STALE: f"no fresh snapshot of {some}",
        Kind.RECEIVER_FAILING: f"receiver {alert.group} does not take alerts",
        Kind.TEST: "test alert: nothing is wrong",
    }
    return f"{phrases[alert.kind]}{because}"


def _others_phrase(others: int) -> str:
    return (
        "1 other connection is failing too"
        if others == 1
        else f"{others:,} other connections are failing too"
    )


_ENDINGS: Mapping[Resolution, str] = {
    Resolution.RECOVERED: "recovered",
    Resolution.REMOVED: "removed from the inventory",
    Resolution.ACCEPTED: "accepted as it is now",
    Resolution.IGNORED: "ignored by a rule, not recovered,",
    Resolution.UNCONFIGURED: "no longer watched, not recovered,",
    Resolution.MIXED: "over in several ways",
}


def _ending(resolution: Resolution | None, kind: Kind) -> str:
    if resolution is Resolution.REMOVED and kind is Kind.NUMBER_REMOVED:
        return "still gone, closed"
    return _ENDINGS[resolution or Resolution.RECOVERED]


def _connection(alert: Alert, scope: str, watched: Mapping[str, Watched]) -> Watched | None:
    if alert.kind.about_numbers:
        return watched.get(scope)
    if alert.kind in (Kind.CONNECTION_REJECTED, Kind.ANSWER_UNREADABLE):
        return watched.get(alert.group)
    return None


def _account(alert: Alert) -> str | None:
    return alert.group if alert.kind is Kind.ACCOUNT_REJECTED else None


def _state(alert: Alert) -> str | None:
    """Return the group's state; of a failing receiver its name."""
    return alert.group if alert.kind in (Kind.DRIFT, Kind.RECEIVER_FAILING) else None


def _connections(
    alert: Alert, tracks: Iterable[Track], connection: Watched | None, watched: Mapping[str, Watched]
) -> list[str]:
    if connection is not None:
        return [connection.name]
    if alert.kind is Kind.RECEIVER_FAILING:
        return []
    return sorted(watched[track.key].name for track in tracks if track.key in watched)


def _common(tracks: Sequence[Track]) -> dict[str, int | str]:
    """Return what all members hang on, or hung on before it was gone: the likely cause."""
    shared: dict[str, int | str] = {}
    for name in _COMMON_WORDS:
        values = {_ref(_dependencies(track), name) for track in tracks}
        value = values.pop() if len(values) == 1 else None
        if value is not None:
            shared[name] = value
    return shared


def _dependencies(track: Track) -> Dependencies:
    """Return what a member hangs on now, and before the change where that is gone."""
    return track.number.dependencies.or_else(track.dependencies) if track.number else track.dependencies


def _ref(dependencies: Dependencies, name: str) -> int | str | None:
    value: int | str | None = getattr(dependencies, name)
    return value


def _number(track: Track) -> AlertNumber:
    number = track.number
    if number is None:
        raise ValueError("only tracks of numbers are listed")
    return AlertNumber(
        key=number.key,
        phone_number=number.phone_number,
        state=number.state,
        previous_state=track.previous_state,
        issues=list(number.issues),
        action_items=[NumberAction(code=item.code, label=item.label) for item in number.action_items],
        did_id=number.did_id,
        client_id=_dependencies(track).client_id,
        since=_instant(track.since),
        flaps=track.episode.flaps if track.episode else 0,
    )


def _actions(tracks: Sequence[Track]) -> list[Action]:
    counts = Counter(
        (item.code, item.label)
        for track in tracks
        if track.number is not None
        for item in dict.fromkeys(track.number.action_items)
    )
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Action(code=code, label=label, numbers=many) for (code, label), many in ordered]


def duration(length: timedelta) -> str:
    """Return a length the way people say it: `45s`, `12m`, `3h 5m`, `2d 4h`."""
    seconds = max(int(length.total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes == 0:
        return f"{seconds}s"
    if hours == 0:
        return f"{minutes}m"
    if days == 0:
        return f"{hours}h {minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d {hours % 24}h" if hours % 24 else f"{days}d"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
