"""Puts an alert body into the sentences that all receivers for people share (pure).

Written for someone it has just woken: first what to do, then what the numbers have in common, what changed
since the last message, which numbers, since when, and finally how it ended. That someone has taken it on is a
line. Text from outside is cleaned to single lines here; a receiver adds only the markup of its own format.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.drift.alert import (
    Acknowledgement,
    Action,
    AlertBody,
    AlertChange,
    AlertNumber,
    Kind,
    Notice,
    Resolution,
)
from monitor.drift.naming import in_common, moved, names_of
from monitor.drift.text import counted, duration, times
from monitor.http.text import clean

MAX_ITEMS = 15
MAX_ACTIONS = 8
MAX_CHANGES = 8
MAX_LABELS = 12
MAX_LINE = 180
MAX_STEP = 500
MAX_HEADLINE = 900
MAX_NAME = 80

_NOTEWORTHY = timedelta(minutes=2)  # an alert always opens some seconds after the first sight


class Tone(StrEnum):
    """What a message means for its reader, at a glance."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    ACKNOWLEDGED = "acknowledged"
    """Someone has taken it on."""
    RECOVERED = "recovered"
    CLOSED = "closed"
    """Over, but not known to have recovered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An alert in words.

    `tag` and `headline` are the title. `brief`: all that is new is that someone has taken it on. `changed`
    says what is new since the last message, `changes` how numbers moved. `members` are lines about numbers,
    or names of connections; `more` counts those not shown.
    `first_seen_at` is set only if it was well before the alert. Texts from outside hold no line breaks or
    control characters and are of bounded length; the URLs are as given.
    """

    tone: Tone
    tag: str
    headline: str
    brief: bool
    taken_on: "TakenOn | None"
    to_do: tuple[str, ...]
    cause: str | None
    changed: str | None
    changes: tuple[str, ...]
    ending: str | None
    members_title: str
    members: tuple[str, ...]
    more: int
    started_at: datetime
    first_seen_at: datetime | None
    ended_at: datetime | None
    lasted: str
    facts: tuple[str, ...]
    url: str | None
    runbook_url: str | None

    @property
    def title(self) -> str:
        """The line that a phone shows."""
        return f"[{self.tag}] {self.headline}"

    @property
    def more_line(self) -> str | None:
        """The line below `members` if not all are shown."""
        return f"and {self.more:,} more" if self.more else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOn:
    """Who has acknowledged an alert that is still open, when, and what they said about it."""

    by: str
    at: datetime
    note: str


def compose(body: AlertBody, *, max_items: int = MAX_ITEMS) -> Message:
    """Return an alert body in words, with at most `max_items` members listed."""
    started_at = datetime.fromisoformat(body.started_at)
    ended_at = datetime.fromisoformat(body.resolved_at) if body.resolved_at else None
    brief = body.change is Notice.ACKNOWLEDGED
    shown = () if brief else tuple(clip(line, MAX_LINE) for line in _member_lines(body, max_items))
    return Message(
        tone=_tone(body),
        tag=_tag(body),
        headline=one_line(body.summary, MAX_HEADLINE) or f"{body.kind.value} alert",
        brief=brief,
        taken_on=taken_on(body.acknowledged) if body.acknowledged and not body.resolution else None,
        to_do=() if ended_at or brief else tuple(_to_do(body)),
        cause=None if brief else _cause(body),
        changed=_changed(body),
        changes=tuple(moves(body)) if body.change is Notice.UPDATED else (),
        ending=ending(body.kind, body.resolution) if body.resolution else None,
        members_title=("Numbers" if body.numbers_total > 1 else "Number")
        if lists_numbers(body)
        else "Connections",
        members=shown,
        more=0 if brief else _total(body) - len(shown),
        started_at=started_at,
        first_seen_at=_first_seen_at(body),
        ended_at=ended_at,
        lasted=duration((ended_at or datetime.fromisoformat(body.updated_at)) - started_at),
        facts=tuple(_facts(body)),
        url=body.url,
        runbook_url=body.runbook_url,
    )


def plain_text(message: Message) -> str:
    """Return a message as plain text, without its title."""
    parts = [
        acknowledged(message.taken_on) if message.taken_on else None,
        _listed("What to do:", message.to_do),
        message.ending,
        message.cause,
        "\n".join([f"Since the last message: {message.changed}", *(f"- {line}" for line in message.changes)])
        if message.changed
        else None,
        _listed(f"{message.members_title}:", [*message.members, *filter(None, [message.more_line])]),
        when(message),
        ", ".join(message.facts),
        "\n".join(f"{name}: {url}" for name, url in links(message)),
    ]
    return "\n\n".join(part for part in parts if part)


def instant(at: datetime) -> str:
    """Return an instant for people: `2026-03-01 12:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def when(message: Message, show: Callable[[datetime], str] = instant) -> str:
    """Return since when the alert is open, or from when to when it was; `show` writes an instant."""
    first = f" (first seen {show(message.first_seen_at)})" if message.first_seen_at else ""
    if message.ended_at is None:
        return f"Open since {show(message.started_at)}{first}."
    return f"Open from {show(message.started_at)} to {show(message.ended_at)}, {message.lasted}{first}."


def taken_on(known: Acknowledgement) -> TakenOn:
    """Return an acknowledgement with its texts cleaned."""
    return TakenOn(
        by=one_line(known.by or "", MAX_NAME) or "a user",
        at=datetime.fromisoformat(known.at),
        note=one_line(known.note or "", MAX_STEP),
    )


def acknowledged(
    taken: TakenOn, show: Callable[[datetime], str] = instant, quoted: Callable[[str], str] = str
) -> str:
    """Return who has taken an alert on, when, and what they said.

    Args:
        taken: The acknowledgement.
        show: Writes an instant.
        quoted: Writes what users have written.
    """
    note = f": {quoted(taken.note)}" if taken.note else "."
    return f"Acknowledged by {quoted(taken.by)} at {show(taken.at)}{note}"


def links(message: Message) -> list[tuple[str, str]]:
    """Return the name and address of each page about the alert."""
    named = (("Alert", message.url), ("Runbook", message.runbook_url))
    return [(name, url) for name, url in named if url]


def one_line(text: str, limit: int) -> str:
    """Return a text from outside as one line without control characters, of at most `limit` units."""
    return clip(clean(text, 4 * limit), limit)


def clip(pieces: str | Sequence[str], limit: int) -> str:
    """Return a text, or pieces that must stay whole, in at most `limit` units; an ellipsis marks a cut."""
    if units("".join(pieces)) <= limit:
        return "".join(pieces)
    kept, used = [], 1  # the ellipsis
    for piece in pieces:
        used += units(piece)
        if used > limit:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def units(text: str) -> int:
    """Return the length in UTF-16 units, the most that any service counts."""
    return len(text) + sum(char > "\uffff" for char in text)


def _tone(body: AlertBody) -> Tone:
    if body.change is Notice.ACKNOWLEDGED:
        return Tone.ACKNOWLEDGED
    match body.resolution:
        case None:
            return Tone(body.severity.value)
        case Resolution.RECOVERED:
            return Tone.RECOVERED
        case _:
            return Tone.CLOSED


def _tag(body: AlertBody) -> str:
    if body.kind is Kind.TEST:
        return "TEST" if body.change is not Notice.RESOLVED else "TEST, resolved"
    severity = body.severity.upper()
    match body.change:
        case Notice.OPENED:
            return severity
        case Notice.UPDATED:
            return f"{severity}, update"
        case Notice.REMINDER:
            return f"{severity}, still open"
        case Notice.ACKNOWLEDGED:
            return f"{severity}, acknowledged"
        case Notice.RESOLVED:
            return "RESOLVED" if _tone(body) is Tone.RECOVERED else "CLOSED"


def _to_do(body: AlertBody) -> Iterator[str]:
    """Yield the first step, and what else is to be done for how many numbers."""
    actions: Sequence[Action] = body.actions if body.kind is Kind.DRIFT else ()
    step = one_line(body.first_step, MAX_STEP) or "Look into this alert."
    if actions and actions[0].numbers < body.numbers_total:
        step = f"{step.removesuffix('.')}{_share(actions[0].numbers, body.numbers_total)}"
    yield step
    for action in actions[1:MAX_ACTIONS]:
        code, label = one_line(action.code, MAX_NAME), one_line(action.label, MAX_LINE)
        what = f"{label} ({code})" if label and code and label != code else label or code or "(unnamed)"
        yield f"{what}{_share(action.numbers, body.numbers_total)}"
    if len(actions) > MAX_ACTIONS:
        yield f"and {counted(len(actions) - MAX_ACTIONS, 'more action')}"


def _share(count: int, total: int) -> str:
    if total == 1:
        return ""
    return f": all {total:,} numbers" if count == total else f": {count:,} of {total:,} numbers"


def _cause(body: AlertBody) -> str | None:
    alone = body.numbers_total < 2  # noqa: PLR2004 - one number shares nothing with itself
    if alone or not body.common or body.resolution is not None:
        return None
    common = shared(body)
    two = body.numbers_total == 2  # noqa: PLR2004 - two are both
    who = "Both numbers" if two else f"All {body.numbers_total:,} numbers"
    match body.kind:
        case Kind.RECONFIGURED:
            return f"{who} are or were on {common}."
        case Kind.NUMBER_REMOVED:
            return f"{who} shared {common}; start there."
        case _:
            move = _moved_alike(body)
            they = "They both" if two else "They all"
            return f"{who} share {common}; start there.{f' {they} {move}.' if move else ''}"


def _moved_alike(body: AlertBody) -> str:
    """Return what all numbers lost or gained when they broke, if the message says that they did so alike."""
    if body.change is not Notice.OPENED or not 1 < body.numbers_total == len(body.changes):
        return ""
    names = _names(body)
    moves = {_moved(change, names, many=True) for change in body.changes}
    return moves.pop() if len(moves) == 1 else ""


def _names(body: AlertBody) -> dict[str, str]:
    """Return the names of clients, bots and agents, cleaned."""
    names = names_of(body.common, body.common_names)
    return {one_line(key, MAX_LINE): one_line(name, MAX_NAME) for key, name in names.items()}


def _changed(body: AlertBody) -> str | None:
    if body.change is not Notice.UPDATED:
        return None
    ended = body.acknowledgement_ended
    if ended is None:
        return _moved_on(body)
    rose = f"the severity rose to {body.severity}, which ends the acknowledgement by {taken_on(ended).by}"
    return f"{rose}; {_moved_on(body)}"


def _moved_on(body: AlertBody) -> str:
    """Return in short what is new about the members."""
    if not body.kind.about_numbers:
        connections = f"the connections (now {len(body.connections):,}) or " if body.connections else ""
        return f"{connections}the severity (now {body.severity}) changed."
    moves = []
    if body.numbers_added:
        moves.append(f"{body.numbers_added:,} joined")
    if body.numbers_ended:
        moves.append(f"{body.numbers_ended:,} ended")
    if not moves and body.changes:
        return "no number joined or ended, but these changed:"
    if not moves:
        return f"the same numbers, but states, issues or severity (now {body.severity}) changed."
    return f"{', '.join(moves)}; now {counted(body.numbers_total, 'number')}."


def shared(body: AlertBody) -> str:
    """Return what all members have in common, in words; empty if nothing."""
    common = {name: one_line(str(value), MAX_NAME) for name, value in body.common.items()}
    return in_common(common, _names(body))


def moves(body: AlertBody) -> Iterator[str]:
    """Yield how numbers moved since the last message; those that moved alike are on one line."""
    names = _names(body)
    alike: dict[str, list[AlertChange]] = {}
    for change in body.changes:
        alike.setdefault(_move(change, names), []).append(change)
    shown = 0
    for changes in list(alike.values())[:MAX_CHANGES]:
        # One that flapped has moved like this several times.
        numbers = list(dict.fromkeys(one_line(change.phone_number, MAX_NAME) for change in changes))
        more = f" and {len(numbers) - _ON_A_LINE:,} more" if len(numbers) > _ON_A_LINE else ""
        move = _move(changes[0], names, many=len(numbers) > 1)
        yield clip(f"{', '.join(numbers[:_ON_A_LINE])}{more}: {move}", 2 * MAX_LINE)
        shown += len(changes)
    if body.changes_total > shown:
        yield f"and {counted(body.changes_total - shown, 'more change')}"


_ON_A_LINE = 3


def _move(change: AlertChange, names: Mapping[str, str], *, many: bool = False) -> str:
    """Return a move in words: `NO_BOT → ROUTING_MISSING; lost bot Greeter (93)`."""
    before = one_line(change.previous_state or "", MAX_NAME)
    after = one_line(change.state or "", MAX_NAME) or "gone"
    parts = []
    if before != after:
        parts.append(f"{before or 'not seen before'} → {after}")
    elif change.issues != change.previous_issues:
        parts.append(f"issues {_codes(change.previous_issues)} → {_codes(change.issues)}")
    if change.state is not None:
        parts.append(_moved(change, names, many=many))
    return "; ".join(filter(None, parts)) or change.change.value


def _codes(codes: Sequence[str]) -> str:
    return ", ".join(one_line(code, MAX_NAME) for code in codes[:MAX_ACTIONS]) or "none"


def _moved(change: AlertChange, names: Mapping[str, str], *, many: bool = False) -> str:
    was, now = (
        {name: one_line(value, MAX_NAME) if isinstance(value, str) else value for name, value in side.items()}
        for side in (change.was, change.is_)
    )
    return clip(moved(was, now, names, many=many), MAX_LINE)


_RECOVERED: Mapping[Kind, str] = {
    Kind.DRIFT: "Recovered: ready again.",
    Kind.NUMBER_REMOVED: "Recovered: back in the inventory.",
    Kind.RECONFIGURED: "Recovered: configured as before.",
    Kind.API_UNAVAILABLE: "Recovered: the API answers again.",
    Kind.ACCOUNT_REJECTED: "Recovered: the API accepts the account again.",
    Kind.CONNECTION_REJECTED: "Recovered: the API accepts the connection again.",
    Kind.ANSWER_UNREADABLE: "Recovered: the API's answers are readable again.",
    Kind.SYNC_STALE: "Recovered: snapshots are up to date again.",
    Kind.RECEIVER_FAILING: "Recovered: the receiver is accepting alerts again.",
    Kind.TEST: "The test is over.",
}
_NOT_RECOVERED: Mapping[Resolution, str] = {
    Resolution.REMOVED: "Not recovered: removed from the inventory.",
    Resolution.ACCEPTED: "Accepted: a user confirmed that this is intended.",
    Resolution.IGNORED: "Not recovered: an ignore rule now covers this. It may still be broken.",
    Resolution.SILENCED: "Not recovered: a user silenced it. What still drifts when the silence ends "
    "alerts anew.",
    Resolution.UNCONFIGURED: "Not recovered: no longer configured, so the monitor no longer checks it. "
    "It may still be broken.",
    Resolution.MIXED: "Ended for several reasons: not everything recovered. The rest was removed, accepted, "
    "ignored or silenced, or is no longer checked.",
}


def ending(kind: Kind, resolution: Resolution) -> str:
    """Return the sentence that says how an alert or an episode of a kind ended."""
    if resolution is Resolution.RECOVERED:
        return _RECOVERED[kind]
    if resolution is Resolution.REMOVED and kind is Kind.NUMBER_REMOVED:
        return "Not recovered: still missing; the alert expired."
    return _NOT_RECOVERED[resolution]


def lists_numbers(body: AlertBody) -> bool:
    """Whether the members to list are numbers; of an alert about several connections they are these."""
    return body.kind.about_numbers and not (body.widespread and len(body.connections) > 1)


def _member_lines(body: AlertBody, most: int) -> Iterator[str]:
    if lists_numbers(body):
        shared = _Shared.of(body)
        yield from (_number_line(number, body, shared) for number in body.numbers[:most])
    elif len(body.connections) > 1:  # a single one is in the summary
        yield from (one_line(name, MAX_NAME) for name in body.connections[:most])


def _total(body: AlertBody) -> int:
    if lists_numbers(body):
        return max(body.numbers_total, len(body.numbers))
    return len(body.connections) if len(body.connections) > 1 else 0


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all listed numbers have in common, so that their lines need not repeat it.

    `moves` say by key what each number lost or gained when it broke; to be said in the first message only.
    """

    previous_state: bool
    client: bool
    since: bool
    moves: Mapping[str, str]

    @classmethod
    def of(cls, body: AlertBody) -> "_Shared":
        names = _names(body)
        found = body.changes if body.change is Notice.OPENED and not _moved_alike(body) else ()
        return cls(
            previous_state=len({number.previous_state for number in body.numbers}) == 1 < body.numbers_total,
            client="client_id" in body.common,
            since=_first_seen_at(body) is not None,
            moves={change.key: _moved(change, names) for change in found if change.state is not None},
        )


def _number_line(number: AlertNumber, body: AlertBody, shared: _Shared) -> str:
    """Return a number with what the rest of the message does not say about it."""
    parts = []
    codes = dict.fromkeys([number.state, *number.issues])
    if body.kind is Kind.DRIFT and list(codes) != [body.state]:
        parts.append(", ".join(one_line(code, MAX_NAME) for code in codes))
    if number.previous_state not in (None, number.state) and not shared.previous_state:
        parts.append(f"was {one_line(str(number.previous_state), MAX_NAME)}")
    if number.client_id is not None and not shared.client:
        parts.append(f"client {one_line(str(number.client_id), MAX_NAME)}")
    if move := shared.moves.get(number.key):
        parts.append(move)
    since = datetime.fromisoformat(number.since)
    if not shared.since and abs(since - datetime.fromisoformat(body.started_at)) >= _NOTEWORTHY:
        parts.append(f"since {instant(since)}")
    if number.flaps:
        parts.append(f"flapped {times(number.flaps)}")
    return ": ".join(filter(None, [one_line(number.phone_number, MAX_NAME), "; ".join(parts)]))


def _first_seen_at(body: AlertBody) -> datetime | None:
    """Return when all numbers broke together, if that was well before the alert (a maintenance window)."""
    minutes = {number.since[:16] for number in body.numbers}
    if len(minutes) != 1:
        return None
    first = min(datetime.fromisoformat(number.since) for number in body.numbers)
    return first if datetime.fromisoformat(body.started_at) - first >= _NOTEWORTHY else None


def _facts(body: AlertBody) -> Iterator[str]:
    yield f"severity {body.severity}"
    if body.account:
        yield f"account {one_line(body.account, MAX_NAME)}"
    yield f"monitor {one_line(body.instance, MAX_NAME)}"
    yield from (f"{name}={value}" for name, value in labels(body).items())


def labels(body: AlertBody) -> dict[str, str]:
    """Return the labels from the config, cleaned, up to `MAX_LABELS`."""
    first = list(body.labels.items())[:MAX_LABELS]
    return {one_line(name, MAX_NAME): one_line(value, MAX_NAME) for name, value in first}


def _listed(title: str, lines: Sequence[str]) -> str | None:
    return "\n".join([title, *(f"- {line}" for line in lines)]) if lines else None
