"""Writes the alert body and its one-line summary from an alert's members."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitor.drift.advice import UNLISTED, Subject, first_step
from monitor.drift.alert import (
    GONE,
    Action,
    AlertBody,
    AlertNumber,
    Kind,
    Notice,
    NumberAction,
    Resolution,
    Status,
)
from monitor.drift.alerts import Report
from monitor.drift.episodes import Track
from monitor.drift.moves import told, was_is
from monitor.drift.naming import NO_NAMES, WORDS, in_common, listed, moved
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
    report: Report,
    *,
    scope: str,
    watched: Mapping[str, Watched],
    wording: Wording,
    now: datetime,
    others: int = 0,
    names: Mapping[str, str] = NO_NAMES,
) -> AlertBody:
    """Return the body of one message about an alert.

    Args:
        report: The alert, its members and what happened since the last message.
        scope: The identity of the connection whose numbers are its members; for failures anything.
        watched: Every connection by identity.
        wording: What the configuration adds.
        now: The instant of the message.
        others: How many other connections have begun to fail for the same cause.
        names: What the answer calls clients, bots and agents: `{"client:415": "Acme Sales"}`.
    """
    alert, kind = report.alert, report.alert.kind
    tracks = _last_members(report)
    # The newest first; of the same age, the lowest key.
    numbers = sorted((track for track in tracks if track.number is not None), key=lambda track: track.key)
    numbers.sort(key=lambda track: track.since, reverse=True)
    common = _common(numbers)
    shown = numbers[: wording.max_listed_numbers]
    firing = report.status is Status.FIRING
    actions = _actions([track for track in numbers if not (track.back and firing)])
    connection = _connection(report, scope, watched)
    if kind.about_numbers:
        connections = [connection.name] if connection else []
    else:
        # The members of a receiver's alert are receivers, which may be called like an identity.
        affected = [] if kind is Kind.RECEIVER_FAILING else tracks
        connections = sorted(watched[track.key].name for track in affected if track.key in watched)
    return AlertBody(
        alert_id=alert.id,
        kind=kind,
        change=report.notice or Notice.UPDATED,
        status=report.status,
        resolution=report.resolution,
        severity=alert.severity,
        summary=_summary(report, connection, watched, common, names, others),
        instance=wording.instance,
        connection=connection.name if connection else None,
        account=connection.account if connection else _account(report),
        state=alert.group if kind in (Kind.DRIFT, Kind.RECEIVER_FAILING) else None,
        started_at=instant(alert.started_at),
        updated_at=instant(alert.updated_at if report.notice is None else now),
        resolved_at=None if firing else instant(now),
        version=alert.version,
        numbers_total=len(numbers),
        numbers_listed=len(shown),
        numbers=[_number(track, firing=firing) for track in shown],
        numbers_added=report.added if kind.about_numbers else 0,
        numbers_ended=len(report.ended) if kind.about_numbers else 0,
        connections=connections,
        common=common,
        common_names=_common_names(common, names),
        changes_total=alert.changes_total,
        changes=[told(change) for change in alert.changes[: wording.max_listed_numbers]],
        first_step=first_step(
            _subject(report, connection, watched, common, names, actions), report.resolution
        ),
        widespread=False,
        part_of=None,
        acknowledged=None,
        acknowledgement_ended=None,
        actions=actions,
        labels=dict(wording.labels),
        url=f"{wording.external_url}/alerts/{alert.id}" if wording.external_url else None,
        runbook_url=f"{wording.runbook_base_url}/{kind.value}" if wording.runbook_base_url else None,
    )


def headline(kind: Kind, *, where: str, subject: str = "", group: str = "", cause: str = "") -> str:
    """Return what happened, in a line.

    Args:
        kind: What the alert is about.
        where: The connection, the account, or how many connections.
        subject: The number, or how many of them; of an account, how many connections.
        group: The state, unless the subject says it; the account or the receiver that it is about.
        cause: Why syncs or messages fail, if that is known.
    """
    phrases = {
        Kind.DRIFT: f"{where}: {subject}{group and ' '}{group}",
        Kind.NUMBER_REMOVED: f"{where}: {subject} gone from the inventory",
        Kind.RECONFIGURED: f"{where}: {subject} reconfigured",
        Kind.API_UNAVAILABLE: f"VoiceLink API unavailable for {where}",
        Kind.ACCOUNT_REJECTED: f"account {group}: the API denies access to {where}",
        Kind.CONNECTION_REJECTED: f"{where}: the API rejects {subject or 'this connection'}",
        Kind.ANSWER_UNREADABLE: f"{where}: the API's answer{subject and f' for {subject}'} is unreadable",
        Kind.SYNC_STALE: f"no recent snapshot of {where}",
        Kind.RECEIVER_FAILING: f"receiver {group} is not accepting alerts",
        Kind.TEST: "test alert: nothing is wrong",
    }
    if kind is Kind.CONNECTION_REJECTED and cause == UNLISTED:
        return f"{where}: discovery no longer lists {subject or 'this connection'}"
    return f"{phrases[kind]} ({cause})" if cause else phrases[kind]


def in_states(subject: str, states: Mapping[str, int]) -> str:
    """Return how many are in which state: `3 numbers NO_BOT`, `3 numbers, 2 ROUTING_MISSING and 1 NO_BOT`."""
    if len(states) == 1:
        return f"{subject} {next(iter(states))}"
    ordered = sorted(states.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{many:,} {state}" for state, many in ordered[:_MOST_STATES]]
    rest = sum(many for _, many in ordered[_MOST_STATES:])
    return f"{subject}, {listed([*parts, f'{rest:,} in other states' if rest else ''])}"


_MOST_STATES = 4


def shared(common: Mapping[str, int | str], many: int, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return what so many members share, as the end of a summary: `, all on client 415`; empty if nothing."""
    if not common or many == 1:
        return ""
    return f", {'both' if many == 2 else 'all'} on {in_common(common, names)}"  # noqa: PLR2004 - two are both


def _summary(
    report: Report,
    connection: Watched | None,
    watched: Mapping[str, Watched],
    common: Mapping[str, int | str],
    names: Mapping[str, str],
    others: int,
) -> str:
    """Return one line that says where, how many, what is the matter now, and how it ended."""
    alert, tracks = report.alert, _last_members(report)
    if alert.kind.about_numbers:
        subject, back = counted(len(tracks), "number"), sum(1 for track in report.members if track.back)
        if alert.kind is Kind.DRIFT:
            subject = _in_states_now(subject, report)
        where = connection.name if connection else "unknown connection"
        line = headline(alert.kind, where=where, subject=subject, cause=_cause(tracks))
        line += _alike(tracks, common, names)
        line += _BACK[alert.kind].format(_some(back, len(tracks))) if back else ""
    else:
        known = [watched[track.key].name for track in tracks if track.key in watched]
        where, subject = counted(len(tracks), "connection"), ""
        if len(known) == len(tracks) == 1:
            where = known[0]
        elif alert.kind in (Kind.CONNECTION_REJECTED, Kind.ANSWER_UNREADABLE):
            where, subject = f"account {_account(report)}", where
        line = headline(alert.kind, where=where, subject=subject, group=alert.group, cause=_cause(tracks))
    if report.resolution is not None:
        lasted = duration(report.ended[-1].at - alert.started_at) if report.ended else "a moment"
        return f"{line} - {ending(alert.kind, report.resolution, lasted)}"
    if others:
        return f"{line}, {counted(others, 'other connection')} {'is' if others == 1 else 'are'} failing too"
    return line


def _cause(tracks: Sequence[Track]) -> str:
    """Return why syncs or messages fail, or what may hide numbers; empty if nothing says."""
    return ", ".join(sorted({track.detail for track in tracks if track.detail}))


_BACK: Mapping[Kind, str] = {
    Kind.DRIFT: "",
    Kind.NUMBER_REMOVED: "; {} back",
    Kind.RECONFIGURED: "; {} configured as before",
}


def states_now(report: Report) -> dict[str, int]:
    """Return how many members are in which state now; of a resolved alert, how many were last."""
    firing = report.status is Status.FIRING
    return Counter(
        _READY if firing and track.back else track.number.state
        for track in _last_members(report)
        if track.number
    )


_READY = "ready again"
"""Instead of a state, of members that are ready, but not for long enough yet."""


def _in_states_now(subject: str, report: Report) -> str:
    states = states_now(report)
    if states.keys() == {_READY}:
        return f"{in_states(subject, _states(report.members))}, {_READY}"
    return in_states(subject, states)


def _states(tracks: Iterable[Track]) -> Counter[str]:
    return Counter(track.number.state for track in tracks if track.number)


def _some(part: int, total: int) -> str:
    if part < total:
        return f"{part:,} {'is' if part == 1 else 'are'}"
    return "it is" if total == 1 else "all are"


def _alike(tracks: Sequence[Track], common: Mapping[str, int | str], names: Mapping[str, str]) -> str:
    """Return the same change that all members went through, else what they have in common."""
    change = _moved_alike(tracks, names) if tracks and tracks[0].kind is Kind.RECONFIGURED else ""
    if change:
        return f", {'' if len(tracks) == 1 else 'both ' if len(tracks) == 2 else 'all '}{change}"  # noqa: PLR2004 - two are both
    return shared(common, len(tracks), names)


def _moved_alike(tracks: Sequence[Track], names: Mapping[str, str]) -> str:
    """Return what all reconfigured numbers lost, gained or had switched off alike."""
    pairs = [
        was_is(track.dependencies, track.number.dependencies) for track in tracks if track.number is not None
    ]
    (was, now), others = pairs[0], pairs[1:]
    alike = [
        name
        for name in was
        if all(name in old and (old[name], new[name]) == (was[name], now[name]) for old, new in others)
    ]
    return moved(
        {name: was[name] for name in alike},
        {name: now[name] for name in alike},
        names,
        many=len(tracks) > 1,
    )


_ENDINGS: Mapping[Resolution, str] = {
    Resolution.RECOVERED: "recovered after {}",
    Resolution.REMOVED: "removed from the inventory after {}",
    Resolution.ACCEPTED: "accepted after {}",
    Resolution.IGNORED: "ignored by a rule after {}, not recovered",
    Resolution.SILENCED: "silenced after {}, not recovered",
    Resolution.UNCONFIGURED: "no longer configured after {}, not recovered",
    Resolution.MIXED: "ended for several reasons after {}",
}


def ending(kind: Kind, resolution: Resolution, lasted: str) -> str:
    """Return how an alert ended, and after how long."""
    if kind is Kind.NUMBER_REMOVED and resolution is Resolution.REMOVED:
        return f"still missing after {lasted}, alert expired"
    if kind is Kind.TEST and resolution is Resolution.RECOVERED:
        return f"finished after {lasted}"
    return _ENDINGS[resolution].format(lasted)


def counted(count: int, noun: str) -> str:
    """Return how many there are: `1 number`, `1,234 numbers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def times(count: int) -> str:
    """Return how often: `once`, `3 times`."""
    return "once" if count == 1 else f"{count:,} times"


def _subject(
    report: Report,
    connection: Watched | None,
    watched: Mapping[str, Watched],
    common: Mapping[str, int | str],
    names: Mapping[str, str],
    actions: Sequence[Action],
) -> Subject:
    """Return what the first step is about."""
    alert, tracks = report.alert, _last_members(report)
    numbers = [track.number for track in tracks if track.number is not None]
    known = [watched[track.key].name for track in tracks if track.key in watched]
    states = _states(tracks).most_common(1)
    base = actions[0] if actions else Action(code=states[0][0] if states else "", label="", numbers=0)
    ones = [number.phone_number for number in numbers] if alert.kind.about_numbers else known
    return Subject(
        kind=alert.kind,
        many=len(tracks),
        one=ones[0] if len(ones) == 1 else "",
        action=base.label,
        code=base.code,
        common=common,
        names=names,
        connection=connection.name if connection else None,
        group=_account(report) or alert.group,
        cause=_cause(tracks),
        moved=_moved_alike(tracks, names) if alert.kind is Kind.RECONFIGURED else "",
        back=all(track.back for track in tracks),
    )


def _last_members(report: Report) -> tuple[Track, ...]:
    """Return the members; of a resolved alert the last ones, a number that ended twice as it was last."""
    return report.members or tuple({end.track.key: end.track for end in report.ended}.values())


def _connection(report: Report, scope: str, watched: Mapping[str, Watched]) -> Watched | None:
    """Return the connection that an alert is about, if it has only ever been about one."""
    alert = report.alert
    if alert.kind.about_numbers:
        return watched.get(scope)
    if alert.kind in (Kind.CONNECTION_REJECTED, Kind.ANSWER_UNREADABLE) and alert.joined == 1:
        return watched.get(_last_members(report)[0].key)
    return None


def _account(report: Report) -> str | None:
    """Return the account that an alert about failures is about, if it is one account's."""
    match report.alert.kind:
        case Kind.ACCOUNT_REJECTED:
            return report.alert.group
        case Kind.CONNECTION_REJECTED | Kind.ANSWER_UNREADABLE:
            return report.alert.group.rpartition("/")[0]
        case _:
            return None


def _common(tracks: Sequence[Track]) -> dict[str, int | str]:
    """Return what all members depend on, or depended on before it was gone: the likely cause."""
    shared: dict[str, int | str] = {}
    dependencies = [_dependencies(track) for track in tracks]
    for name in WORDS:
        values = {getattr(each, name) for each in dependencies}
        value = values.pop() if len(values) == 1 else None
        if value is not None:
            shared[name] = value
    return shared


def _common_names(common: Mapping[str, int | str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the names of what all members depend on, as far as the answer gives them."""
    found = {field: names.get(f"{WORDS[field]}:{value}") for field, value in common.items()}
    return {field: name for field, name in found.items() if name}


def _dependencies(track: Track) -> Dependencies:
    """Return what a member depends on now, and before the change where that is gone."""
    return track.number.dependencies.or_else(track.dependencies) if track.number else track.dependencies


def _number(track: Track, *, firing: bool) -> AlertNumber:
    number = track.number
    if number is None:
        raise ValueError("only tracks of numbers are listed")
    current = track.back if track.back and firing else number
    gone = track.kind is Kind.NUMBER_REMOVED and track.back is None
    return AlertNumber(
        key=number.key,
        phone_number=number.phone_number,
        state=GONE if gone else current.state,
        previous_state=track.previous_state if current.state == number.state and not gone else number.state,
        issues=list(current.issues),
        action_items=[NumberAction(code=item.code, label=item.label) for item in current.action_items],
        did_id=number.did_id,
        client_id=_dependencies(track).client_id,
        since=instant(track.since),
        flaps=track.episode.flaps if track.episode else 0,
    )


def _actions(tracks: Sequence[Track]) -> list[Action]:
    """Return what to do, for the most numbers first, then as the provider orders it."""
    counts: Counter[NumberAction] = Counter()
    places: Counter[NumberAction] = Counter()
    for track in tracks:
        items = dict.fromkeys(track.number.action_items) if track.number is not None else ()
        for place, item in enumerate(items):
            action = NumberAction(code=item.code, label=item.label)
            counts[action] += 1
            places[action] += place
    ordered = sorted(counts, key=lambda each: (-counts[each], places[each], each.code, each.label))
    return [Action(code=each.code, label=each.label, numbers=counts[each]) for each in ordered]


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


def instant(at: datetime) -> str:
    """Return an instant as the alert body writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
