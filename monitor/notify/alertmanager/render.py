"""One alert for each episode, as `POST /api/v2/alerts` takes it (pure)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import msgspec

from monitor.clock import rfc3339
from monitor.drift.alert import AlertBody, Kind
from monitor.drift.text import Wording
from monitor.notify.alertmanager.labels import ALERT_NAMES, clean
from monitor.notify.alertmanager.level import LabelSet, LevelState, Member

MAX_BATCH = 500
MAX_BATCH_BYTES = 1_000_000
TEST_LASTS = timedelta(minutes=2)
"""A test alert that ended at once would be over before `group_wait`, and nobody would be told."""

_MAX_ACTIONS = 8
_MAX_TEXT = 300
_LABEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMON_WORDS = {"client_id": "client", "bot_id": "bot", "routing_target": "routing", "agent_id": "agent"}


class PostedAlert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An alert on the wire. Instants are RFC 3339."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: str
    ends_at: str
    generator_url: str | None = msgspec.field(default=None, name="generatorURL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An alert ready to be sent, and whose it is. `digest` names its content, `endsAt` aside.

    `problem` says why Alertmanager would not take it.
    """

    member: Member
    digest: str
    content: bytes
    problem: str | None


def batches(
    state: LevelState, wording: Wording, *, expire_after: timedelta, now: datetime
) -> Iterator[list[Letter]]:
    """Yield everything that is to be posted, in requests of bearable size.

    The sets of one episode travel together, so that it never seems to be over between two requests.

    Args:
        state: The episodes and their label sets.
        wording: What the configuration adds.
        expire_after: How long Alertmanager is to believe what is open.
        now: The instant of the post.
    """
    batch: list[Letter] = []
    size = 0
    for together in _by_member(distinct(state.sets)):
        letters = [_letter(posted, state, wording, expire_after, now) for posted in together]
        more = sum(len(letter.content) for letter in letters)
        if batch and (len(batch) + len(letters) > MAX_BATCH or size + more > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch += letters
        size += more
    if batch:
        yield batch


def joined(letters: Iterable[Letter]) -> bytes:
    """Return the body of a request."""
    return b"[" + b",".join(letter.content for letter in letters) + b"]"


def distinct(sets: Iterable[LabelSet]) -> list[LabelSet]:
    """Return one set for each alert that Alertmanager would see: an open one, else the one that ended last.

    An episode may begin with the labels of one that is over (a number that drifts again); posting that one's
    end too would end the new one.
    """
    chosen: dict[frozenset[tuple[str, str]], LabelSet] = {}
    for posted in sets:
        identity = frozenset(posted.labels.items())
        rival = chosen.setdefault(identity, posted)
        if _rank(posted) > _rank(rival):
            chosen[identity] = posted
    return list(chosen.values())


def problem_of(alert: PostedAlert) -> str | None:
    """Return why Alertmanager would refuse an alert, or None.

    One bad alert makes it answer 400 for a whole request.
    Source: https://github.com/prometheus/common/blob/v0.38.0/model/alert.go (Validate).
    """
    if not alert.labels.get("alertname"):
        return "it has no name"
    for name in (*alert.labels, *alert.annotations):
        if not _LABEL_NAME.fullmatch(name):
            return f"{name!r} is no name of a label"
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
    texts = {"summary": body.summary, "description": "A test of the way here: nothing is wrong."}
    alert = PostedAlert(
        labels={name: clean(value) for name, value in labels.items() if value},
        annotations={name: clean(value) for name, value in texts.items()},
        starts_at=rfc3339(now),
        ends_at=rfc3339(now + TEST_LASTS),
        generator_url=body.url,
    )
    return b"[" + msgspec.json.encode(alert) + b"]"


def _by_member(sets: Iterable[LabelSet]) -> Iterator[list[LabelSet]]:
    together: dict[str, list[LabelSet]] = {}
    for posted in sets:
        together.setdefault(posted.member_id, []).append(posted)
    yield from together.values()


def _rank(posted: LabelSet) -> tuple[bool, datetime]:
    return posted.ended_at is None, posted.ended_at or posted.changed_at


def _letter(
    posted: LabelSet, state: LevelState, wording: Wording, expire_after: timedelta, now: datetime
) -> Letter:
    member = state.members[posted.member_id]
    ends_at = posted.ended_at if posted.ended_at is not None else now + expire_after
    alert = PostedAlert(
        labels=posted.labels,
        annotations=annotations(posted, member, wording),
        starts_at=rfc3339(member.opened_at),
        ends_at=rfc3339(ends_at),
        generator_url=f"{wording.external_url}/alerts#{member.alert_id}" if wording.external_url else None,
    )
    lasting = msgspec.json.encode((alert.labels, alert.annotations, alert.starts_at, alert.generator_url))
    return Letter(
        member=member,
        digest=blake2b(lasting, digest_size=12).hexdigest(),
        content=msgspec.json.encode(alert),
        problem=problem_of(alert),
    )


def annotations(posted: LabelSet, member: Member, wording: Wording) -> dict[str, str]:
    """Return what people read of an episode."""
    texts = {"summary": _summary(posted, member), "description": " ".join(_sentences(posted, member))}
    if posted.ended_at is not None:
        # Not over, but going on under other labels: the word says so.
        texts["resolution"] = member.resolution.value if member.resolution is not None else "replaced"
    if wording.runbook_base_url:
        texts["runbook_url"] = f"{wording.runbook_base_url}/{member.kind.value}"
    return {name: clean(text) for name, text in texts.items()}


def _summary(posted: LabelSet, member: Member) -> str:
    labels = posted.labels
    where = _line(labels.get("connection", "unknown connection"))
    number = labels.get("phone_number", "a number")
    account = _line(labels.get("account", "unknown account"))
    cause = f" ({_line(member.track.detail)})" if member.track.detail else ""
    phrases = {
        Kind.DRIFT: f"{where}: {number} {_line(labels.get('state', 'drifting'))}",
        Kind.NUMBER_REMOVED: f"{where}: {number} gone from the inventory",
        Kind.RECONFIGURED: f"{where}: {number} reconfigured",
        Kind.API_UNAVAILABLE: f"VoiceLink API unavailable for {where}{cause}",
        Kind.ACCOUNT_REJECTED: f"account {account}: the API key is rejected for {where}{cause}",
        Kind.CONNECTION_REJECTED: f"{where}: the API rejects this connection{cause}",
        Kind.ANSWER_UNREADABLE: f"{where}: the API's answer cannot be read{cause}",
        Kind.SYNC_STALE: f"no fresh snapshot of {where}{cause}",
        Kind.RECEIVER_FAILING: f"receiver {labels.get('receiver', '')} does not take alerts{cause}",
        Kind.TEST: "test alert: nothing is wrong",
    }
    return phrases[member.kind]


def _sentences(posted: LabelSet, member: Member) -> Iterator[str]:
    if posted.ended_at is not None and member.resolution is None:
        yield f"Goes on with other labels (severity {member.severity.value})."
    track, number = member.track, member.track.number
    since = f"since {track.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if number is None:
        yield f"Failing {since}."
        return
    was = f" (was {_line(track.previous_state)})" if track.previous_state else ""
    yield f"State {_line(number.state)}{was} {since}."
    flaps = track.episode.flaps if track.episode is not None else 0
    if flaps:
        yield f"It was ready in between {flaps} time{'s' if flaps > 1 else ''}."
    if number.issues:
        yield f"Issues: {', '.join(map(_line, number.issues[:_MAX_ACTIONS]))}."
    to_do = list(dict.fromkeys(_line(item.label or item.code) for item in number.action_items))
    if to_do and member.ended_at is None:
        yield f"To do: {'; '.join(to_do[:_MAX_ACTIONS])}."
    shared = [
        f"{word} {member.common[name]}" for name, word in _COMMON_WORDS.items() if name in member.common
    ]
    if shared:
        yield f"Likely cause: all numbers of this alert share {_line(', '.join(shared))}."


def _line(text: str) -> str:
    """Return a text from outside as one line of bounded length."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_MAX_TEXT]
