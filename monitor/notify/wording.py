"""What people read of an alert, in sentences that every receiver for people shares (pure).

Written for somebody who was woken by it: first what to do, then what the numbers have in common, which ones,
since when, what is new since the last message, and at the end how it ended. Everything that came from
outside is one clean line here; a receiver only adds the marks of its own format.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.drift.alert import AlertBody, AlertNumber, Kind, Notice, Resolution
from monitor.drift.text import duration

MAX_ITEMS = 15
MAX_ACTIONS = 8
MAX_LABELS = 12
MAX_LINE = 180
MAX_HEADLINE = 900
MAX_NAME = 80

_WORTH_TELLING = timedelta(minutes=2)  # between first sight and alert there are always some seconds


class Tone(StrEnum):
    """What a message means for its reader, at a glance."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    RECOVERED = "recovered"
    CLOSED = "closed"
    """Over, but nobody can say that the trouble is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An alert in words.

    `tag` and `headline` are the title. `members` are lines about numbers, or names of connections, `more`
    those that are not shown. `first_seen_at` is only there if it was well before the alert. Texts from
    outside hold no line breaks and no control characters, and are of bounded length; the URLs are as given.
    """

    tone: Tone
    tag: str
    headline: str
    to_do: tuple[str, ...]
    cause: str | None
    changed: str | None
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
        """The one line that a phone shows."""
        return f"[{self.tag}] {self.headline}"

    @property
    def more_line(self) -> str | None:
        """What stands below `members` if not all are there."""
        return f"and {self.more:,} more" if self.more else None


def message(body: AlertBody, *, max_items: int = MAX_ITEMS) -> Message:
    """Return an alert body in words, with at most so many members."""
    started_at = datetime.fromisoformat(body.started_at)
    ended_at = datetime.fromisoformat(body.resolved_at) if body.resolved_at else None
    shown = tuple(clip(line, MAX_LINE) for line in _member_lines(body, max_items))
    return Message(
        tone=_tone(body),
        tag=_tag(body),
        headline=one_line(body.summary, MAX_HEADLINE) or f"{body.kind.value} alert",
        to_do=() if ended_at else tuple(_to_do(body)),
        cause=_cause(body),
        changed=_changed(body),
        ending=_ending(body),
        members_title=_members_title(body),
        members=shown,
        more=_total(body) - len(shown),
        started_at=started_at,
        first_seen_at=_first_seen_at(body),
        ended_at=ended_at,
        lasted=duration((ended_at or datetime.fromisoformat(body.updated_at)) - started_at),
        facts=tuple(_facts(body)),
        url=body.url,
        runbook_url=body.runbook_url,
    )


def plain_text(told: Message) -> str:
    """Return a message as plain text, without its title."""
    parts = [
        _listed("What to do:", told.to_do),
        told.ending,
        f"Likely cause: {told.cause}" if told.cause else None,
        f"Since the last message: {told.changed}" if told.changed else None,
        _listed(f"{told.members_title}:", [*told.members, *filter(None, [told.more_line])]),
        when(told),
        ", ".join(told.facts),
        "\n".join(f"{name}: {url}" for name, url in links(told)),
    ]
    return "\n\n".join(part for part in parts if part)


def when(told: Message) -> str:
    """Return since when, or from when to when, in UTC."""
    first = f" (first seen {instant(told.first_seen_at)})" if told.first_seen_at else ""
    if told.ended_at is None:
        return f"Since {instant(told.started_at)}{first}."
    return f"From {instant(told.started_at)} to {instant(told.ended_at)}, {told.lasted}{first}."


def links(told: Message) -> list[tuple[str, str]]:
    """Return the name and address of each page about the alert."""
    named = (("Alert", told.url), ("Runbook", told.runbook_url))
    return [(name, url) for name, url in named if url]


def instant(at: datetime) -> str:
    """Return an instant for people: `2026-03-01 12:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def one_line(text: str, limit: int) -> str:
    """Return a text from outside as one line without control characters, of at most `limit` units."""
    clean = "".join(char if char.isprintable() else " " for char in text[: 4 * limit])
    return clip(" ".join(clean.split()), limit)


def clip(text: str, limit: int) -> str:
    """Return a text of at most `limit` units, with an ellipsis where it was cut."""
    if units(text) <= limit:
        return text
    kept, used = [], 1  # the ellipsis
    for char in text:
        used += units(char)
        if used > limit:
            break
        kept.append(char)
    return "".join(kept) + "…"


def units(text: str) -> int:
    """Return the length in UTF-16 units: whoever counts characters otherwise counts no more."""
    return len(text) + sum(char > "\uffff" for char in text)


def _tone(body: AlertBody) -> Tone:
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
        case Notice.RESOLVED:
            return "RESOLVED" if _tone(body) is Tone.RECOVERED else "CLOSED"


_ADVICE: Mapping[Kind, str] = {
    Kind.DRIFT: "The API names no action: look at the numbers in VoiceLink and in Vocobase.",
    Kind.NUMBER_REMOVED: "Find out why the provider lists them no more. "
    "If that is meant to be: voicelink-monitor accept {connection}",
    Kind.RECONFIGURED: "Check that client, routing, bot and agent are meant to have changed. "
    "If they are: voicelink-monitor accept {connection}",
    Kind.API_UNAVAILABLE: "Check that the VoiceLink API answers, and the network between it and the monitor. "
    "Until then nobody sees numbers break.",
    Kind.ACCOUNT_REJECTED: "Check the API key in the config, and with the provider that the account is not "
    "suspended or out of balance. Until then nobody sees its numbers break.",
    Kind.CONNECTION_REJECTED: "Check with the provider that the connection exists and is active, and that "
    "its id in the config is right. Until then nobody sees its numbers break.",
    Kind.ANSWER_UNREADABLE: "Read in the monitor's log what is wrong with the answer, and tell the provider; "
    "too_large: raise api.max_response_size. Until then nobody sees numbers break.",
    Kind.SYNC_STALE: "Read in the monitor's log why no answer is applied (rate limits, held answers, slow "
    "syncs). Until then nobody sees numbers break.",
    Kind.RECEIVER_FAILING: "Mend the receiver's address or credentials. Its messages wait, and go out then.",
    Kind.TEST: "Nothing. Somebody is testing that alerts arrive here.",
}


def _to_do(body: AlertBody) -> Iterator[str]:
    if body.kind is not Kind.DRIFT or not body.actions:
        name = one_line(body.connection or "", MAX_NAME) or "CONNECTION"
        yield _ADVICE[body.kind].format(connection=name)
        return
    for action in body.actions[:MAX_ACTIONS]:
        code, label = one_line(action.code, MAX_NAME), one_line(action.label, MAX_LINE)
        what = f"{label} ({code})" if label and code and label != code else label or code or "(unnamed)"
        yield f"{what}{_share(action.numbers, body.numbers_total)}"
    if len(body.actions) > MAX_ACTIONS:
        yield f"and {len(body.actions) - MAX_ACTIONS:,} more kinds of action"


def _share(count: int, total: int) -> str:
    if total == 1:
        return ""
    return f": all {total:,} numbers" if count == total else f": {count:,} of {total:,} numbers"


_COMMON_WORDS = {"client_id": "client", "bot_id": "bot", "routing_target": "routing", "agent_id": "agent"}


def _cause(body: AlertBody) -> str | None:
    alone = body.numbers_total < 2  # noqa: PLR2004 - one number shares nothing with itself
    if alone or not body.common or body.resolution is not None:
        return None
    parts = [
        f"{word} {one_line(str(body.common[name]), MAX_NAME)}"
        for name, word in _COMMON_WORDS.items()
        if name in body.common
    ]
    who = "both numbers" if body.numbers_total == 2 else f"all {body.numbers_total:,} numbers"  # noqa: PLR2004 - two are both
    if body.kind is Kind.RECONFIGURED:
        return f"{who} hang on {_and(parts)} now."
    verb = "hung" if body.kind is Kind.NUMBER_REMOVED else "hang"
    return f"{who} {verb} on {_and(parts)}; look there first."


def _changed(body: AlertBody) -> str | None:
    if body.change is not Notice.UPDATED:
        return None
    if not body.kind.about_numbers:
        return "connections or causes changed."
    moves = []
    if body.numbers_added:
        moves.append(f"{body.numbers_added:,} joined")
    if body.numbers_ended:
        moves.append(f"{body.numbers_ended:,} ended")
    if not moves:
        return f"no number joined or ended, but states, issues or the severity (now {body.severity}) changed."
    return f"{', '.join(moves)}; {body.numbers_total:,} now."


_RECOVERED: Mapping[Kind, str] = {
    Kind.DRIFT: "Recovered: ready again.",
    Kind.NUMBER_REMOVED: "Recovered: back in the inventory.",
    Kind.RECONFIGURED: "Recovered: configured as before.",
    Kind.API_UNAVAILABLE: "Recovered: the API answers again.",
    Kind.ACCOUNT_REJECTED: "Recovered: the API accepts the account again.",
    Kind.CONNECTION_REJECTED: "Recovered: the API accepts the connection again.",
    Kind.ANSWER_UNREADABLE: "Recovered: the answers can be read again.",
    Kind.SYNC_STALE: "Recovered: fresh snapshots again.",
    Kind.RECEIVER_FAILING: "Recovered: the receiver takes messages again.",
    Kind.TEST: "The test is over.",
}


_NOT_RECOVERED: Mapping[Resolution, str] = {
    Resolution.REMOVED: "Not recovered: gone from the inventory.",
    Resolution.ACCEPTED: "Accepted: somebody said that it is meant to be as it is now.",
    Resolution.IGNORED: "Not recovered: a rule in the config ignores this now. It may still be broken.",
    Resolution.UNCONFIGURED: "Not recovered: no longer watched. It may still be broken; the monitor cannot "
    "tell.",
    Resolution.MIXED: "Over in several ways: not everything recovered. The rest was removed, accepted or "
    "ignored, or is no longer watched.",
}


def _ending(body: AlertBody) -> str | None:
    if body.resolution is None:
        return None
    if body.resolution is Resolution.RECOVERED:
        return _RECOVERED[body.kind]
    if body.resolution is Resolution.REMOVED and body.kind is Kind.NUMBER_REMOVED:
        return "Not recovered: still gone after so long that this alert closes by itself."
    return _NOT_RECOVERED[body.resolution]


def _members_title(body: AlertBody) -> str:
    if not body.kind.about_numbers:
        return "Connections"
    return "Number" if body.numbers_total == 1 else "Numbers"


def _member_lines(body: AlertBody, most: int) -> Iterator[str]:
    if body.kind.about_numbers:
        shared = _Shared.of(body)
        yield from (_number_line(number, body, shared) for number in body.numbers[:most])
    elif len(body.connections) > 1:  # a single one is in the summary
        yield from (one_line(name, MAX_NAME) for name in body.connections[:most])


def _total(body: AlertBody) -> int:
    if body.kind.about_numbers:
        return max(body.numbers_total, len(body.numbers))
    return len(body.connections) if len(body.connections) > 1 else 0


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all listed numbers share, so that their lines need not repeat it."""

    previous_state: bool
    client: bool
    since: bool

    @classmethod
    def of(cls, body: AlertBody) -> "_Shared":
        return cls(
            previous_state=len({number.previous_state for number in body.numbers}) == 1 < body.numbers_total,
            client="client_id" in body.common,
            since=_first_seen_at(body) is not None,
        )


def _number_line(number: AlertNumber, body: AlertBody, shared: _Shared) -> str:
    """Return a number with whatever the rest of the message does not say of it."""
    parts = []
    codes = dict.fromkeys([number.state, *number.issues])
    if body.kind is Kind.DRIFT and list(codes) != [body.state]:
        parts.append(", ".join(one_line(code, MAX_NAME) for code in codes))
    if number.previous_state not in (None, number.state) and not shared.previous_state:
        parts.append(f"was {one_line(str(number.previous_state), MAX_NAME)}")
    if number.client_id is not None and not shared.client:
        parts.append(f"client {one_line(str(number.client_id), MAX_NAME)}")
    since = datetime.fromisoformat(number.since)
    if not shared.since and abs(since - datetime.fromisoformat(body.started_at)) >= _WORTH_TELLING:
        parts.append(f"since {instant(since)}")
    if number.flaps:
        parts.append(f"flapped {number.flaps:,} time{'' if number.flaps == 1 else 's'}")
    return ": ".join(filter(None, [one_line(number.phone_number, MAX_NAME), "; ".join(parts)]))


def _first_seen_at(body: AlertBody) -> datetime | None:
    """Return when all numbers went bad together, if that was well before the alert (a maintenance window)."""
    minutes = {number.since[:16] for number in body.numbers}
    if len(minutes) != 1:
        return None
    first = min(datetime.fromisoformat(number.since) for number in body.numbers)
    return first if datetime.fromisoformat(body.started_at) - first >= _WORTH_TELLING else None


def _facts(body: AlertBody) -> Iterator[str]:
    yield f"severity {body.severity}"
    if body.account:
        yield f"account {one_line(body.account, MAX_NAME)}"
    yield f"monitor {one_line(body.instance, MAX_NAME)}"
    yield from (f"{name}={value}" for name, value in labels(body).items())


def labels(body: AlertBody) -> dict[str, str]:
    """Return the labels of the config, as far as people read them."""
    first = list(body.labels.items())[:MAX_LABELS]
    return {one_line(name, MAX_NAME): one_line(value, MAX_NAME) for name, value in first}


def _and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _listed(title: str, lines: Sequence[str]) -> str | None:
    return "\n".join([title, *(f"- {line}" for line in lines)]) if lines else None
