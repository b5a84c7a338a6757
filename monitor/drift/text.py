"""Writes the alert body and its one-line summary from an alert's members."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitor.drift.alert import Action, AlertBody, AlertNumber, Kind, Notice, NumberAction, Resolution, Status
from monitor.drift.alerts import Report
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
    report: Report,
    *,
    scope: str,
    watched: Mapping[str, Watched],
    wording: Wording,
    now: datetime,
    others: int = 0,
) -> AlertBody:
    """Return the body of one message about an alert.

    Args:
        report: The alert, its members and what happened since the last message.
        scope: The identity of the connection whose numbers are its members; for failures anything.
        watched: Every connection by identity.
        wording: What the configuration adds.
        now: The instant of the message.
        others: How many other connections have begun to fail for the same cause.
    """
    alert, kind = report.alert, report.alert.kind
    tracks = _last_members(report)
    # The newest first; of the same age, the lowest key.
    numbers = sorted((track for track in tracks if track.number is not None), key=lambda track: track.key)
    numbers.sort(key=lambda track: track.since, reverse=True)
    common = _common(numbers)
    listed = numbers[: wording.max_listed_numbers]
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
        summary=_summary(report, connection, watched, common, others),
        instance=wording.instance,
        connection=connection.name if connection else None,
        account=connection.account if connection else _account(report),
        state=alert.group if kind in (Kind.DRIFT, Kind.RECEIVER_FAILING) else None,
        started_at=instant(alert.started_at),
        updated_at=instant(alert.updated_at if report.notice is None else now),
        resolved_at=None if report.status is Status.FIRING else instant(now),
        version=alert.version,
        numbers_total=len(numbers),
        numbers_listed=len(listed),
        numbers=[_number(track) for track in listed],
        numbers_added=report.added if kind.about_numbers else 0,
        numbers_ended=len(report.ended) if kind.about_numbers else 0,
        connections=connections,
        common=common,
        common_names={},
        changes_total=0,
        changes=[],
        first_step=_first_step(kind, _actions(numbers)),
        widespread=False,
        part_of=None,
        acknowledged=None,
        actions=_actions(numbers),
        labels=dict(wording.labels),
        url=f"{wording.external_url}/alerts#{alert.id}" if wording.external_url else None,
        runbook_url=f"{wording.runbook_base_url}/{kind.value}" if wording.runbook_base_url else None,
    )


def headline(kind: Kind, *, where: str, subject: str = "", group: str = "", cause: str = "") -> str:
    """Return what happened, in a line.

    Args:
        kind: What the alert is about.
        where: The connection, the account, or how many connections.
        subject: The number, or how many of them; of an account, how many connections.
        group: The state, the account or the receiver that it is about.
        cause: Why syncs or messages fail, if that is known.
    """
    phrases = {
        Kind.DRIFT: f"{where}: {subject} {group}",
        Kind.NUMBER_REMOVED: f"{where}: {subject} gone from the inventory",
        Kind.RECONFIGURED: f"{where}: {subject} reconfigured",
        Kind.API_UNAVAILABLE: f"VoiceLink API unavailable for {where}",
        Kind.ACCOUNT_REJECTED: f"account {group}: API key rejected for {where}",
        Kind.CONNECTION_REJECTED: f"{where}: the API rejects {subject or 'this connection'}",
        Kind.ANSWER_UNREADABLE: f"{where}: the API's answer{subject and f' for {subject}'} is unreadable",
        Kind.SYNC_STALE: f"no recent snapshot of {where}",
        Kind.RECEIVER_FAILING: f"receiver {group} is not accepting alerts",
        Kind.TEST: "test alert: nothing is wrong",
    }
    return f"{phrases[kind]} ({cause})" if cause else phrases[kind]


def in_common(common: Mapping[str, int | str]) -> str:
    """Return what all members share, in words: `client 415, bot 93 and agent 7`; empty if nothing."""
    parts = [f"{word} {common[name]}" for name, word in _DEPENDENCY_WORDS.items() if name in common]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def shared(common: Mapping[str, int | str], many: int) -> str:
    """Return what so many members share, as the end of a summary: `, all on client 415`; empty if nothing."""
    if not common or many == 1:
        return ""
    # A routing that leads to the bot they share says the same twice.
    hidden = "routing_target" if "bot_id" in common else ""
    words = in_common({name: value for name, value in common.items() if name != hidden})
    return f", {'both' if many == 2 else 'all'} on {words}"  # noqa: PLR2004 - two are both


_DEPENDENCY_WORDS = {
    "client_id": "client",
    "bot_id": "bot",
    "routing_target": "routing",
    "agent_id": "agent",
}


def _summary(
    report: Report,
    connection: Watched | None,
    watched: Mapping[str, Watched],
    common: Mapping[str, int | str],
    others: int,
) -> str:
    """Return one line that says where, how many, what, and how it ended."""
    alert, tracks = report.alert, _last_members(report)
    if alert.kind.about_numbers:
        where = connection.name if connection else "unknown connection"
        line = headline(alert.kind, where=where, subject=counted(len(tracks), "number"), group=alert.group)
        line += shared(common, len(tracks))
    else:
        names = [watched[track.key].name for track in tracks if track.key in watched]
        where, subject = counted(len(tracks), "connection"), ""
        if len(names) == len(tracks) == 1:
            where = names[0]
        elif alert.kind in (Kind.CONNECTION_REJECTED, Kind.ANSWER_UNREADABLE):
            where, subject = f"account {_account(report)}", where
        causes = ", ".join(sorted({track.detail for track in tracks if track.detail}))
        line = headline(alert.kind, where=where, subject=subject, group=alert.group, cause=causes)
    if report.resolution is not None:
        lasted = duration(report.ended[-1].at - alert.started_at) if report.ended else "a moment"
        return f"{line} - {ending(alert.kind, report.resolution, lasted)}"
    if others:
        return f"{line}, {counted(others, 'other connection')} {'is' if others == 1 else 'are'} failing too"
    return line


_ENDINGS: Mapping[Resolution, str] = {
    Resolution.RECOVERED: "recovered after {}",
    Resolution.REMOVED: "removed from the inventory after {}",
    Resolution.ACCEPTED: "accepted after {}",
    Resolution.IGNORED: "ignored by a rule after {}, not recovered",
    Resolution.UNCONFIGURED: "no longer configured after {}, not recovered",
    Resolution.MIXED: "ended in several ways after {}",
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


_FIRST_STEPS: Mapping[Kind, str] = {
    Kind.DRIFT: "Check the numbers in VoiceLink and Vocobase; the API names no action.",
    Kind.NUMBER_REMOVED: "Find out why the provider no longer lists these numbers.",
    Kind.RECONFIGURED: "Check whether the client, routing, bot or agent was changed on purpose.",
    Kind.API_UNAVAILABLE: "Check that the VoiceLink API is up and reachable from the monitor.",
    Kind.ACCOUNT_REJECTED: "Check the API key in the config, and ask the provider whether the account is "
    "suspended or out of balance.",
    Kind.CONNECTION_REJECTED: "Check that the connection exists and is active at the provider, and that its "
    "id in the config is correct.",
    Kind.ANSWER_UNREADABLE: "Look in the monitor's log for what is wrong with the answer, and report it to "
    "the provider.",
    Kind.SYNC_STALE: "Look in the monitor's log for why no answer is applied: rate limits, held answers or "
    "slow syncs.",
    Kind.RECEIVER_FAILING: "Fix the receiver's URL or credentials; queued messages are then delivered.",
    Kind.TEST: "Nothing. Someone is testing that alerts arrive here.",
}


def _first_step(kind: Kind, actions: Sequence[Action]) -> str:
    if kind is Kind.DRIFT and actions and actions[0].label.strip():
        return actions[0].label.strip().rstrip(".") + "."
    return _FIRST_STEPS[kind]


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
    for name in _DEPENDENCY_WORDS:
        values = {getattr(_dependencies(track), name) for track in tracks}
        value = values.pop() if len(values) == 1 else None
        if value is not None:
            shared[name] = value
    return shared


def _dependencies(track: Track) -> Dependencies:
    """Return what a member depends on now, and before the change where that is gone."""
    return track.number.dependencies.or_else(track.dependencies) if track.number else track.dependencies


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
        since=instant(track.since),
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


def instant(at: datetime) -> str:
    """Return an instant as the alert body writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
