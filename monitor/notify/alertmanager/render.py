"""Renders each episode as one alert for `POST /api/v2/alerts` (pure)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType

import msgspec

from monitor.clock import rfc3339
from monitor.drift.alert import AlertBody, Kind
from monitor.drift.episodes import Track
from monitor.drift.moves import was_is
from monitor.drift.naming import in_common, moved, names_of
from monitor.drift.snapshot import Number
from monitor.drift.text import Wording, headline, times
from monitor.notify.alertmanager.labels import ALERT_NAMES, by_member, clean
from monitor.notify.alertmanager.level import LabelSet, LevelState, Member
from monitor.notify.wording import acknowledged, ending, instant, one_line, taken_on

MAX_BATCH = 500
MAX_BATCH_BYTES = 1_000_000
TEST_LASTS = timedelta(minutes=2)
"""A test alert that ended at once would be over before `group_wait`, and never be notified."""

_MAX_ACTIONS = 8
_MAX_TEXT = 300
_MAX_STEP = 500
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class PostedAlert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An alert on the wire. Instants are RFC 3339."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: str
    ends_at: str = ""
    generator_url: str | None = msgspec.field(default=None, name="generatorURL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An alert ready to be sent, and what it was made of. `content` lacks its end; `digest` names it.

    `ends_at` is None while it goes on. `problem` says why Alertmanager would refuse it.
    """

    member: Member
    posted: LabelSet
    digest: str
    content: bytes
    ends_at: str | None
    problem: str | None


def batches(
    state: LevelState,
    wording: Wording,
    *,
    expires_at: str,
    before: Mapping[str, Sequence[Letter]] = MappingProxyType({}),
) -> Iterator[list[Letter]]:
    """Yield everything that is to be posted, in requests of bounded size.

    The sets of one episode travel together, so that it never seems to be over between two requests.

    Args:
        state: The episodes and their label sets.
        wording: What the configuration adds.
        expires_at: Until when Alertmanager is to believe what is open, RFC 3339.
        before: The letters of the last post, by episode: nearly all are the same.
    """
    batch: list[Letter] = []
    size = 0
    for together in by_member(distinct(state.sets)).values():
        member = state.members[together[0].member_id]
        known = before.get(member.id, ())
        letters = [_letter(posted, member, wording, expires_at, known) for posted in together]
        more = sum(len(letter.content) for letter in letters)
        if batch and (len(batch) + len(letters) > MAX_BATCH or size + more > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch += letters
        size += more
    if batch:
        yield batch


def joined(letters: Iterable[Letter], expires_at: str) -> bytes:
    """Return the body of a request; `expires_at` is when what goes on ends by itself."""
    sent = (
        b'%s,"endsAt":"%s"}' % (letter.content[:-1], (letter.ends_at or expires_at).encode())
        for letter in letters
    )
    return b"[" + b",".join(sent) + b"]"


def distinct(sets: Iterable[LabelSet]) -> list[LabelSet]:
    """Return one set for each alert that Alertmanager would see: an open one, else the one that ended last.

    An episode may begin with the labels of one that is over (a number that drifts again); posting that one's
    end too would end the new one.
    """
    by_end = sorted(sets, key=lambda each: (each.ended_at is None, each.ended_at or each.changed_at))
    return list({frozenset(each.labels.items()): each for each in by_end}.values())


def problem_of(alert: PostedAlert) -> str | None:
    """Return why Alertmanager would refuse an alert, or None.

    One bad alert makes it answer 400 for a whole request.
    Source: https://github.com/prometheus/common/blob/v0.38.0/model/alert.go (Validate).
    """
    if not alert.labels.get("alertname"):
        return "it has no alertname"
    for name in (*alert.labels, *alert.annotations):
        if not _LABEL_NAME.fullmatch(name):
            return f"{name!r} is not a valid label name"
    if not all(alert.labels.values()):
        return "a label is empty"
    if alert.starts_at > alert.ends_at:
        return "it ends before it starts"
    return None


def render_test(body: AlertBody, now: datetime) -> bytes:
    """Return the request that posts a test alert, which ends by itself."""
    labels = {
        **body.labels,
        "alertname": ALERT_NAMES[Kind.TEST],
        "severity": body.severity.value,
        "instance": body.instance,
    }
    texts = {
        "summary": body.summary,
        "description": "Someone is testing that alerts arrive here; nothing is wrong.",
    }
    alert = PostedAlert(
        labels={name: clean(value) for name, value in labels.items() if value},
        annotations={name: clean(value) for name, value in texts.items()},
        starts_at=rfc3339(now),
        ends_at=rfc3339(now + TEST_LASTS),
        generator_url=body.url,
    )
    return b"[" + msgspec.json.encode(alert) + b"]"


def _letter(
    posted: LabelSet, member: Member, wording: Wording, expires_at: str, before: Iterable[Letter]
) -> Letter:
    for known in before:
        is_same = known.posted.labels == posted.labels and known.posted.ended_at == posted.ended_at
        if is_same and known.problem is None and known.member == member:
            return known
    ends_at = rfc3339(posted.ended_at) if posted.ended_at is not None else None
    alert = PostedAlert(
        labels=posted.labels,
        annotations=annotations(posted, member, wording),
        starts_at=rfc3339(member.opened_at),
        generator_url=f"{wording.external_url}/alerts/{member.told_as}" if wording.external_url else None,
    )
    content = msgspec.json.encode(alert)
    return Letter(
        member=member,
        posted=posted,
        digest=blake2b(content, digest_size=12).hexdigest(),
        content=content,
        ends_at=ends_at,
        problem=problem_of(msgspec.structs.replace(alert, ends_at=ends_at or expires_at)),
    )


def annotations(posted: LabelSet, member: Member, wording: Wording) -> dict[str, str]:
    """Return the texts of an episode."""
    texts = {
        "summary": _summary(posted, member),
        "description": " ".join(filter(None, _sentences(posted, member))),
    }
    if posted.ended_at is not None:
        # An episode that goes on under other labels was replaced, not resolved.
        texts["resolution"] = member.resolution.value if member.resolution is not None else "replaced"
    elif member.acknowledged is not None:
        # An annotation, as labels are what an alert is known by.
        texts["acknowledged"] = acknowledged(taken_on(member.acknowledged))
    if wording.runbook_base_url:
        texts["runbook_url"] = f"{wording.runbook_base_url}/{member.kind.value}"
    return {name: clean(text) for name, text in texts.items()}


def _summary(posted: LabelSet, member: Member) -> str:
    labels = posted.labels
    group = {
        Kind.DRIFT: labels.get("state", "drifting"),
        Kind.ACCOUNT_REJECTED: labels.get("account", "unknown account"),
        Kind.RECEIVER_FAILING: labels.get("receiver", ""),
    }
    return headline(
        member.kind,
        where=_line(labels.get("connection", "unknown connection")),
        subject=labels.get("phone_number", "a number") if member.kind.about_numbers else "",
        group=_line(group.get(member.kind, "")),
        cause=_line(member.track.detail),
    )


def _sentences(posted: LabelSet, member: Member) -> Iterator[str]:
    """Yield how it ended, the state, and what to do."""
    over, track = member.resolution is not None, member.track
    if member.resolution is not None:
        yield ending(member.kind, member.resolution)
    elif posted.ended_at is not None:
        yield f"Continues with other labels (severity {member.severity.value})."
    yield _trouble(track, over=over)
    if track.good_since is not None and not over:
        yield f"{_GOOD.get(member.kind, 'Answering')} since {instant(track.good_since.astimezone(UTC))}."
    names = names_of(member.common, member.common_names)
    if track.number is not None:
        yield from _findings(track, track.number, names)
    if not over and posted.ended_at is None and track.good_since is None:
        yield from _to_do(member, names)


def _trouble(track: Track, *, over: bool) -> str:
    """Return what is, or was, the matter, and since when."""
    since, number = instant(track.since.astimezone(UTC)), track.number
    if number is None:
        return f"{'Had been failing' if over else 'Failing'} since {since}."
    state = _line(number.state)
    match track.kind:
        case Kind.NUMBER_REMOVED:
            return f"{'Had been missing' if over else 'Missing'} since {since}; its last state was {state}."
        case Kind.RECONFIGURED:
            return f"{'Had been reconfigured' if over else 'Reconfigured'} since {since}, in state {state}."
        case _:
            was = f" (was {_line(track.previous_state)})" if track.previous_state else ""
            return f"{'Had been' if over else 'State'} {state}{was} since {since}."


_GOOD: Mapping[Kind, str] = {
    Kind.DRIFT: "Ready again",
    Kind.NUMBER_REMOVED: "Back",
    Kind.RECONFIGURED: "Configured as before",
    Kind.RECEIVER_FAILING: "Accepting alerts",
}


def _findings(track: Track, number: Number, names: Mapping[str, str]) -> Iterator[str]:
    """Yield what else is known of a number: what it lost or gained, its flaps, its issues."""
    if track.before is not None and track.kind is not Kind.NUMBER_REMOVED:
        change = moved(*was_is(track.before.dependencies, number.dependencies), names)
        yield f"It {_line(change)}." if change else ""
    flaps = track.episode.flaps if track.episode is not None else 0
    if flaps:
        yield f"Flapped {times(flaps)}."
    if number.issues:
        yield f"Issues: {', '.join(map(_line, number.issues[:_MAX_ACTIONS]))}."


def _to_do(member: Member, names: Mapping[str, str]) -> Iterator[str]:
    """Yield what its alert's numbers share, the alert's first step, and what else the number needs."""
    shared = "" if member.alone else _line(in_common(member.common, names))
    if shared:
        yield f"All numbers of this alert share {shared}; start there."
    # Nothing may follow a step that ends in a command, to be copied as it stands.
    step = one_line(member.first_step, _MAX_STEP)
    if step:
        yield f"To do first: {step}"
    number = member.track.number if member.kind is Kind.DRIFT else None
    labels = dict.fromkeys(item.label or item.code for item in (number.action_items if number else ()))
    left = [_line(label).rstrip(".") for label in labels if label != member.first_action]
    if left:
        yield f"To do: {'; '.join(left[:_MAX_ACTIONS])}."


def _line(text: str) -> str:
    return one_line(text, _MAX_TEXT)
