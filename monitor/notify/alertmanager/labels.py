"""Under which labels each episode goes (pure).

Labels are an alert's identity: a silence matches them, and another set is another alert. So what an episode
is about is fixed when it is first posted, whatever a connection is called later. Severity, instance and the
config's labels follow the truth: when one of them changes, the old set ends and the same post begins the new
one.

An episode is posted once it passes the receiver's filters, and then to its end: people who were paged hear
of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from monitor.drift.alert import Kind
from monitor.drift.text import Wording
from monitor.notify.alertmanager.level import LabelMoves, LabelSet, LevelState, Member
from monitor.notify.routing import Route

ALERT_NAMES: Mapping[Kind, str] = {
    Kind.DRIFT: "VoiceLinkDrift",
    Kind.NUMBER_REMOVED: "VoiceLinkNumberRemoved",
    Kind.RECONFIGURED: "VoiceLinkReconfigured",
    Kind.API_UNAVAILABLE: "VoiceLinkApiUnavailable",
    Kind.ACCOUNT_REJECTED: "VoiceLinkAccountRejected",
    Kind.CONNECTION_REJECTED: "VoiceLinkConnectionRejected",
    Kind.ANSWER_UNREADABLE: "VoiceLinkAnswerUnreadable",
    Kind.SYNC_STALE: "VoiceLinkSyncStale",
    Kind.RECEIVER_FAILING: "VoiceLinkReceiverFailing",
    Kind.TEST: "VoiceLinkTest",
}

_FIXED = ("alertname", "connection", "account", "phone_number", "state", "receiver", "alert_id")


def labels_of(member: Member, wording: Wording, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the labels of an episode; those that name it are as `before`, if it was posted."""
    fixed = _naming(member) if before is None else {name: before[name] for name in _FIXED if name in before}
    moving = {"severity": member.severity.value, "instance": wording.instance}
    labels = {**wording.labels, **moving, **fixed}
    return {name: text for name, value in labels.items() if (text := clean(value))}


def clean(text: str) -> str:
    """Return a text that can be sent as UTF-8."""
    return text.encode(errors="replace").decode()


def admitted(member: Member, route: Route, *, alone: bool) -> bool:
    """Return whether a receiver's filters let an episode through.

    Args:
        member: The episode.
        route: The receiver and its filters.
        alone: It has one URL only, so that its own failing cannot be told through it.
    """
    if member.kind is Kind.RECEIVER_FAILING and member.track.key == route.receiver and alone:
        return False
    return route.passes(member.severity, [member.connection] if member.connection is not None else [])


def by_member(sets: Iterable[LabelSet]) -> dict[str, list[LabelSet]]:
    """Return the sets of each episode, by its id."""
    together: dict[str, list[LabelSet]] = {}
    for posted in sets:
        together.setdefault(posted.member_id, []).append(posted)
    return together


def slices(state: LevelState, size: int) -> Iterator[LevelState]:
    """Yield the state in parts of `size` episodes; each may be reconciled by itself."""
    known = by_member(state.sets)
    names = list(dict.fromkeys([*known, *state.members]))
    for start in range(0, len(names), size):
        part = names[start : start + size]
        yield replace(
            state,
            members={name: state.members[name] for name in part if name in state.members},
            sets=[posted for name in part for posted in known.get(name, ())],
        )


def reconcile(
    state: LevelState, route: Route, wording: Wording, *, alone: bool, now: datetime
) -> tuple[LevelState, LabelMoves]:
    """Return the state with the label sets as they are to be posted now, and what changed about them."""
    known = by_member(state.sets)
    sets: list[LabelSet] = []
    old: dict[tuple[str, str], LabelSet] = {}
    new: dict[tuple[str, str], LabelSet] = {}
    for member_id in dict.fromkeys([*known, *state.members]):
        before, member = known.get(member_id, []), state.members.get(member_id)
        if member is None:  # forgotten with all that is old
            after: list[LabelSet] = []
        elif member.ended_at is not None:
            after = _over(member, before, route, now)
        else:
            after = _open(member, before, route, wording, alone=alone, now=now)
        sets += after
        if after != before:
            old |= {(member_id, posted.fingerprint): posted for posted in before}
            new |= {(member_id, posted.fingerprint): posted for posted in after}
    moves = LabelMoves(
        begun=[posted for name, posted in new.items() if name not in old],
        changed=[posted for name, posted in new.items() if name in old and posted != old[name]],
        gone=[posted for name, posted in old.items() if name not in new],
    )
    return replace(state, read_at=now, sets=tuple(sets)), moves


def _over(member: Member, before: Iterable[LabelSet], route: Route, now: datetime) -> list[LabelSet]:
    """Return the sets of an episode that is over.

    Without `send_resolved` nothing is said of its end: Alertmanager notices it after `expire_after`.
    """
    return [
        posted if posted.ended_at is not None else _ended(posted, member.ended_at or now, now)
        for posted in before
        if posted.ended_at is not None or route.send_resolved
    ]


def _open(
    member: Member,
    before: list[LabelSet],
    route: Route,
    wording: Wording,
    *,
    alone: bool,
    now: datetime,
) -> list[LabelSet]:
    """Return the sets of an episode that goes on: the one that holds comes last."""
    live = next((posted for posted in before if posted.ended_at is None), None)
    if live is None and not admitted(member, route, alone=alone):
        return before
    first = live or (before[0] if before else None)
    labels = labels_of(member, wording, first.labels if first is not None else None)
    if live is not None and live.labels == labels:
        return before
    begun = LabelSet(member_id=member.id, labels=labels, changed_at=now)
    others = [posted for posted in before if posted.fingerprint != begun.fingerprint]
    return [
        *(posted if posted.ended_at is not None else _ended(posted, now, now) for posted in others),
        begun,
    ]


def _ended(posted: LabelSet, at: datetime, now: datetime) -> LabelSet:
    return replace(posted, ended_at=at, changed_at=now, accepted_at=None)


def _naming(member: Member) -> dict[str, str]:
    track = member.track
    named = {
        "alertname": ALERT_NAMES[member.kind],
        "connection": member.connection,
        "account": member.account,
        "phone_number": track.number.phone_number if track.number is not None else None,
        "state": member.group if member.kind is Kind.DRIFT else None,
        "receiver": track.key if member.kind is Kind.RECEIVER_FAILING else None,
        "alert_id": member.told_as,
    }
    return {name: value for name, value in named.items() if value}
