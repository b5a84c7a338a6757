"""Joins the alerts of many connections that share a cause into one, and decides when that is told (pure).

A cause is an account, a kind and a state. The first alerts with one cause page by themselves, up to
`Spread.connections` within `update_interval`. Later ones open as *parts* of a *widespread* alert, which takes
parts while it has taken one within `update_interval`. A part sends nothing; its widespread alert does:

    last message   parts         since then                          told
    none           some fire                                         opened
    any            none fires                                        resolved
    any            some fire     the severity rose                   updated, at once
    any            some fire     members, states, issues changed     updated, `update_interval` later

Also, a part that is the first to pass a receiver's filters is told to that receiver at once, as opened.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from types import MappingProxyType
from typing import TypeVar

import msgspec
import xxhash

from monitor.drift.advice import Subject, first_step, waits
from monitor.drift.alert import (
    Acknowledgement,
    Action,
    AlertBody,
    AlertChange,
    AlertNumber,
    Kind,
    Notice,
    Resolution,
    Severity,
    Status,
    with_acknowledgement,
)
from monitor.drift.naming import names_of
from monitor.drift.text import Wording, counted, duration, ending, headline, in_states, instant, shared

Value = TypeVar("Value")

REFRESH = timedelta(seconds=5)
"""How soon the body that the page shows follows a change of a part."""

_NO_STATES: Mapping[str, int] = MappingProxyType({})
_MOVES = 50
"""The changes of a part that are kept for the next message, unless its body lists more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """When alerts with one cause become a widespread one. `wording` is what the config adds to it."""

    connections: int = 5
    update_interval: timedelta = timedelta(minutes=5)
    wording: Wording = field(default_factory=Wording)

    @property
    def on(self) -> bool:
        """Whether alerts are joined at all."""
        return self.connections > 0 and self.update_interval > timedelta(0)

    def recent(self, at: datetime, now: datetime) -> bool:
        """Whether an instant is within `update_interval`; another replica's may lie a little ahead."""
        return abs(now - at) < self.update_interval


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cause:
    """What the parts of a widespread alert have in common. `state` is empty where the kind has none."""

    account: str
    kind: Kind
    state: str


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What has happened in a part, each thing counted once.

    `added`, `ended` and `moved` count members that joined, members that ended, and changes, since it opened;
    `moves` are the newest changes. `seen` is what its body said of the three: since its last own message.
    `digest` is the fingerprint of its members and their states, `states` how many are in which state.
    """

    added: int = 0
    ended: int = 0
    moved: int = 0
    moves: tuple[AlertChange, ...] = ()
    seen: tuple[int, int, int] = (0, 0, 0)
    digest: int = 0
    states: dict[str, int] = {}

    @property
    def counts(self) -> tuple[int, int, int]:
        """What has joined, ended and changed."""
        return self.added, self.ended, self.moved

    def after(
        self, body: AlertBody, digest: int, *, told: bool, states: Mapping[str, int] = _NO_STATES
    ) -> "Tally":
        """Return the tally with what a body says anew; `told`: the part's next body begins to count again."""
        said = (body.numbers_added, body.numbers_ended, body.changes_total)
        added, ended, moved = (max(now - before, 0) for now, before in zip(said, self.seen, strict=True))
        return Tally(
            added=self.added + added,
            ended=self.ended + ended,
            moved=self.moved + moved,
            moves=(*body.changes[:moved], *self.moves)[: max(_MOVES, len(body.changes))],
            seen=(0, 0, 0) if told else said,
            digest=digest,
            states=dict(states),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part as it stands."""

    body: AlertBody
    tally: Tally

    @property
    def firing(self) -> bool:
        """Whether it is still open."""
        return self.body.status is Status.FIRING


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the last message of a widespread alert said.

    `tallies` are `added`, `ended` and `moved` of the parts that fired then, by id; `resolutions` the ways in
    which others had ended.
    """

    at: datetime
    digest: int
    tallies: dict[str, tuple[int, int, int]] = {}
    resolutions: tuple[Resolution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Widespread:
    """A widespread alert as the store has it. `told` is None before its first message."""

    id: str
    cause: Cause
    started_at: datetime
    updated_at: datetime
    severity: Severity
    version: int
    told: Told | None
    acknowledged: Acknowledgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a widespread alert and its parts found.

    `alert` is as it is afterwards. `notice` is why its receivers are told now; None: only its record changes.
    `tells_at` is when a change that they were not told of yet is due.
    """

    alert: Widespread
    notice: Notice | None
    body: AlertBody
    tells_at: datetime | None


def joins(spread: Spread, *, growing: bool, alone: int) -> bool:
    """Return whether an alert that opens becomes a part.

    Args:
        spread: The rules.
        growing: A widespread alert with its cause has taken a part within `update_interval`.
        alone: How many alerts with its cause have opened by themselves within `update_interval`.
    """
    return spread.on and (growing or alone >= spread.connections)


def at_once(alert: Widespread, part: AlertBody, *, others_fire: bool) -> bool:
    """Return whether a part's step is told at once: the last part ended, or it is worse than all before.

    Args:
        alert: The widespread alert, told before.
        part: The part after its step.
        others_fire: Another part fires.
    """
    if part.status is Status.RESOLVED:
        return not others_fire
    return part.severity.rank > alert.severity.rank


def look(
    alert: Widespread,
    parts: Sequence[Part],
    spread: Spread,
    now: datetime,
    *,
    alone: int = 0,
    heard_first: bool = False,
) -> Look:
    """Look at all parts; return what is told now, and the alert as it is afterwards.

    Args:
        alert: As it was.
        parts: Those that fire, and those that ended since the last message.
        spread: The rules.
        now: The current instant.
        alone: How many other connections have an alert of their own with its cause.
        heard_first: A receiver that has not heard of this alert is told in any case.
    """
    firing = [part for part in parts if part.firing]
    told = alert.told
    severity = max(
        [alert.severity, *(part.body.severity for part in firing)], key=lambda severity: severity.rank
    )
    digest = _digest(firing)
    waits_until = None
    if told is None:
        notice: Notice | None = Notice.OPENED
    elif not firing:
        notice = Notice.RESOLVED
    elif severity is not alert.severity:
        notice = Notice.UPDATED
    elif digest == told.digest:
        notice = None
    elif spread.recent(told.at, now):
        notice, waits_until = None, told.at + spread.update_interval
    else:
        notice = Notice.UPDATED
    ways = [*(told.resolutions if told is not None else ()), *_resolutions(parts)]
    after = replace(
        alert,
        updated_at=now if notice else alert.updated_at,
        severity=severity,
        version=alert.version + (notice is not None or heard_first),
    )
    body = _body(after, parts, notice, ways, spread.wording, now, alone)
    body = with_acknowledgement(body, alert.acknowledged, alert.severity)
    after = replace(after, acknowledged=body.acknowledged)
    if notice is not None:
        tallies = {part.body.alert_id: part.tally.counts for part in firing}
        said = Told(at=now, digest=digest, tallies=tallies, resolutions=tuple(dict.fromkeys(ways)))
        after = replace(after, told=said)
    return Look(alert=after, notice=notice, body=body, tells_at=waits_until)


def _resolutions(parts: Iterable[Part]) -> list[Resolution]:
    return [part.body.resolution for part in parts if part.body.resolution is not None]


def _digest(firing: Iterable[Part]) -> int:
    """Return a fingerprint of all members and their states; the order does not matter."""
    content = sorted((part.body.alert_id, part.tally.digest) for part in firing)
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(content)) >> 1


def _body(
    alert: Widespread,
    parts: Sequence[Part],
    notice: Notice | None,
    ways: Sequence[Resolution],
    wording: Wording,
    now: datetime,
    alone: int,
) -> AlertBody:
    """Return the body, made of those of the parts that fire; of a resolved alert, of the last ones."""
    cause, over = alert.cause, notice is Notice.RESOLVED
    left = [part for part in parts if part.firing or over]
    last = [part.body for part in left]
    resolution = None
    if over:
        resolution = ways[0] if len(set(ways)) == 1 else Resolution.MIXED
    listed = _newest(last, wording.max_listed_numbers)
    news = _since(alert.told, parts, wording.max_listed_numbers)
    actions, common = _actions(last), _shared(body.common for body in last)
    common_names = {
        name: value for name, value in _shared(body.common_names for body in last).items() if name in common
    }
    names, total = names_of(common, common_names), sum(body.numbers_total for body in last)
    about = Subject(
        kind=cause.kind,
        many=total,
        one=listed[0].phone_number if total == 1 and listed else "",
        action=actions[0].label if actions else "",
        code=actions[0].code if actions else cause.state,
        common=common,
        names=names,
        group=cause.account,
        back=all(waits(part.first_step) for part in last),
    )
    return AlertBody(
        alert_id=alert.id,
        kind=cause.kind,
        change=notice or Notice.UPDATED,
        status=Status.RESOLVED if over else Status.FIRING,
        resolution=resolution,
        severity=alert.severity,
        summary=_summary(alert, left, common, names, resolution, now, alone),
        instance=wording.instance,
        connection=None,
        account=cause.account,
        state=cause.state or None,
        started_at=instant(alert.started_at),
        updated_at=instant(alert.updated_at),
        resolved_at=instant(now) if over else None,
        version=alert.version,
        numbers_total=total,
        numbers_listed=len(listed),
        numbers=listed,
        numbers_added=news.added,
        numbers_ended=news.ended,
        connections=_connections(last),
        common=common,
        common_names=common_names,
        changes_total=news.moved,
        changes=list(news.moves),
        first_step=first_step(about, resolution),
        widespread=True,
        part_of=None,
        acknowledged=None,
        acknowledgement_ended=None,
        actions=actions,
        labels=dict(wording.labels),
        url=f"{wording.external_url}/alerts/{alert.id}" if wording.external_url else None,
        runbook_url=f"{wording.runbook_base_url}/{cause.kind.value}" if wording.runbook_base_url else None,
    )


def _newest(bodies: Iterable[AlertBody], most: int) -> list[AlertNumber]:
    """Return the newest numbers; each body lists its own like that, of the same age the lowest key first."""

    def order(number: AlertNumber) -> tuple[float, str]:
        return -datetime.fromisoformat(number.since).timestamp(), number.key

    # Not sorted as a whole: there may be fifty of a thousand connections.
    return list(islice(merge(*(body.numbers for body in bodies), key=order), most))


def _since(told: Told | None, parts: Sequence[Part], most: int) -> Tally:
    """Return what has happened in all parts since the last message, with at most so many moves."""
    before = told.tallies if told is not None else {}
    total = Tally()
    for part in sorted(parts, key=lambda part: (part.body.updated_at, part.body.alert_id), reverse=True):
        tally, (added, ended, moved) = part.tally, before.get(part.body.alert_id, (0, 0, 0))
        total = Tally(
            added=total.added + tally.added - added,
            ended=total.ended + tally.ended - ended,
            moved=total.moved + tally.moved - moved,
            moves=(*total.moves, *tally.moves[: tally.moved - moved])[:most],
        )
    return total


def _summary(
    alert: Widespread,
    left: Sequence[Part],
    common: Mapping[str, int | str],
    names: Mapping[str, str],
    resolution: Resolution | None,
    now: datetime,
    alone: int,
) -> str:
    cause, total = alert.cause, sum(part.body.numbers_total for part in left)
    subject, states = counted(total, "number"), Counter[str]()
    for part in left:
        states.update(part.tally.states)
    connections = _connections(part.body for part in left)
    line = headline(
        cause.kind,
        where=connections[0]
        if len(connections) == 1
        else f"{counted(len(connections), 'connection')} of {cause.account}",
        subject=in_states(subject, states) if cause.kind is Kind.DRIFT else subject,
    )
    line += shared(common, total, names)
    if resolution is not None:
        return f"{line} - {ending(cause.kind, resolution, duration(now - alert.started_at))}"
    if alone:
        own = "has an alert of its own" if alone == 1 else "have alerts of their own"
        return f"{line}; {counted(alone, 'other connection')} of {cause.account} {own}"
    return line


def _connections(bodies: Iterable[AlertBody]) -> list[str]:
    return sorted({name for body in bodies for name in body.connections})


def _shared(each: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    """Return what all have, with the same value."""
    first, *others = each
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def _actions(bodies: Iterable[AlertBody]) -> list[Action]:
    counts: Counter[tuple[str, str]] = Counter()
    for action in (action for body in bodies for action in body.actions):
        counts[action.code, action.label] += action.numbers
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Action(code=code, label=label, numbers=many) for (code, label), many in ordered]
