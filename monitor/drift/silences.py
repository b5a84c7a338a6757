"""Silences: what a person may ask for, what is covered, and when one that waits for ready numbers is done.

A silence acts as an ignore rule with an end: matching numbers open nothing, open ones end as `silenced`, and
what still drifts when it ends opens anew. With `alert` it is about the members that the alert has when it is
set; with `until_ready` about the numbers that drift then, each until it is ready for `resolve_syncs` or gone.
Otherwise it goes by the names and numbers as they are, also those that are yet to come.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from monitor.drift.alert import Kind
from monitor.drift.episodes import Track, track_id
from monitor.drift.rules import Ignore, Silence
from monitor.drift.snapshot import Number
from monitor.errors import Invalid
from monitor.units import parse_duration

ENDS_SOON = timedelta(days=1)
"""What ends within this time is said to."""

_MATCHERS = ("connection", "number", "state", "issue", "alert")
_LONGEST = 200
_UNWRITABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_SEPARATORS = str.maketrans("", "", " \t()-./\u00a0\u2011")


class NewSilence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A silence as a person asks for it: at least one of connection, number, state, issue and alert.

    `connection` and `number` are globs. One end: `for` is a duration like `2h`, `until` an instant, or a day,
    which it includes; both in UTC without an offset.
    """

    connection: str | None = None
    number: str | None = None
    state: str | None = None
    issue: str | None = None
    alert: str | None = None
    for_: str | None = msgspec.field(name="for", default=None)
    until: str | None = None
    until_ready: bool | None = None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SilencePlan:
    """A silence that can be set: with `until`, or else until the numbers are ready."""

    connection: str | None
    number: str | None
    state: str | None
    issue: str | None
    alert: str | None
    until: datetime | None
    until_ready: bool
    reason: str
    by: str | None

    @property
    def rule(self) -> Ignore:
        """What it covers, apart from the members of an alert."""
        return Ignore(
            connection=self.connection or "*",
            number=self.number or "*",
            state=self.state,
            issue=self.issue,
            until=self.until,
        )


@dataclass(slots=True)
class Fit:
    """What a rule or silence matches now.

    `connections`: it is about some connection. `matches`: it covers some number, ready or not. `quiet` counts
    the numbers in trouble that it covers.
    """

    connections: bool = False
    matches: bool = False
    quiet: int = 0


def planned(asked: NewSilence, now: datetime) -> SilencePlan:
    """Return the silence that a person asks for.

    Raises:
        Invalid: Something is missing, contradicts the rest, or cannot be used.
    """
    given = {name: _text(name, getattr(asked, name)) for name in _MATCHERS}
    for name in _MATCHERS:
        if given[name] is None and getattr(asked, name) is not None:
            raise Invalid("must not be empty", name)  # left out, it would match more than meant
    if given["number"] is not None:
        given["number"] = glob_of(given["number"])
    if not any(given.values()):
        raise Invalid("give at least one of connection, number, state, issue and alert", "connection")
    reason = _text("reason", asked.reason)
    if reason is None:
        raise Invalid("say why: give a reason", "reason")
    return SilencePlan(
        **given,
        until=_until(asked, now),
        until_ready=bool(asked.until_ready),
        reason=reason,
        by=_text("by", asked.by),
    )


def glob_of(written: str) -> str:
    """Return the glob of numbers that a person means: without separators, unless it has a [set]."""
    return written if "[" in written else written.translate(_SEPARATORS) or written


def in_trouble(rule: Ignore, tracks: Mapping[str, Track], now: datetime) -> frozenset[str]:
    """Return the keys of the numbers that drift now and that a rule matches."""
    drifting = (track for track in tracks.values() if track.kind is Kind.DRIFT)
    return frozenset(
        track.key for track in drifting if not track.good and not track.gone and concerns(rule, track, now)
    )


def concerns(rule: Ignore, track: Track, now: datetime) -> bool:
    """Whether a rule or silence matches this problem of a number; with an issue, among others."""
    number = track.number
    if number is None or not rule.covers(number, now):
        return False
    if rule.issue is None:
        return True
    return track.kind is Kind.DRIFT and has_issue(rule.issue, number)


def has_issue(issue: str, number: Number) -> bool:
    """Whether a number has an issue; one without any has its state as its issue."""
    return issue.casefold() in {each.casefold() for each in number.issues or (number.state,)}


def done_waiting(silences: Iterable[Silence], tracks: Mapping[str, Track]) -> list[tuple[str, str]]:
    """Return the silences that need not wait for a number any more, each with the number's key."""
    return [
        (silence.id, key)
        for silence in silences
        if silence.until_ready
        for key in sorted(silence.keys or ())
        if track_id(Kind.DRIFT, key) not in tracks
    ]


def in_words(rule: Ignore, alert: str | None = None) -> str:
    """Return what a rule or silence matches: `connection acme-*, state NO_BOT`."""
    parts = {
        "alert": alert,
        "connection": rule.connection if rule.connection != "*" else None,
        "number": rule.number if rule.number != "*" else None,
        "state": rule.state,
        "issue": rule.issue,
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value) or "everything"


def notes(rule: Ignore, fit: Fit, now: datetime) -> list[str]:
    """Return what a person should know of a rule or silence: that it matches nothing, or ends soon."""
    if rule.until is not None and rule.until <= now:
        return ["has ended"]
    said = []
    if not fit.matches:
        said.append("matches no numbers now" if fit.connections else "matches no connections")
    if rule.until is not None and rule.until <= now + ENDS_SOON:
        said.append("ends within a day")
    return said


def _until(asked: NewSilence, now: datetime) -> datetime | None:
    """Return when the silence ends; None if it waits for ready numbers."""
    duration, instant = _text("for", asked.for_), _text("until", asked.until)
    ends = {"for": duration, "until": instant, "until_ready": asked.until_ready}
    given = [name for name, value in ends.items() if value]
    if len(given) != 1:
        but = f", not {' and '.join(given)}" if given else ""
        raise Invalid(f"give one end: for, until or until_ready{but}", given[-1] if given else "until")
    if duration is not None:
        return _after(duration, now)
    if instant is None:
        return None
    until = _instant(instant)
    if until <= now:
        raise Invalid("this time has passed already", "until")
    return until


def _after(duration: str, now: datetime) -> datetime:
    try:
        length = parse_duration(duration)
        until = now + length
    except ValueError as exc:
        raise Invalid(str(exc), "for") from None
    except OverflowError:
        raise Invalid('too long a duration; write it like "90d"', "for") from None
    if not length:
        raise Invalid('must be longer than zero, like "2h"', "for")
    return until


def _instant(text: str) -> datetime:
    wrong = Invalid("not a time; write it like 2026-01-31T09:00:00Z or 2026-01-31", "until")
    if "W" in text.upper():  # a week, of which only the first day would be meant
        raise wrong
    try:
        at = datetime.fromisoformat(text)
        if at.time() == time(0) and len(text) <= len("2026-01-31"):  # that day is included
            if at.date() == date.max:
                return datetime.max.replace(tzinfo=UTC)
            at += timedelta(days=1)
        return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def _text(field: str, value: str | None) -> str | None:
    """Return a text without the spaces around it; None if nothing is left."""
    text = (value or "").strip()
    if len(text) > _LONGEST:
        raise Invalid(f"must be at most {_LONGEST} characters long", field)
    if any(unicodedata.category(char) in _UNWRITABLE for char in text):
        raise Invalid("must be one line, without control characters", field)
    return text or None
