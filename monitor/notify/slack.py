"""Slack: an incoming webhook, Block Kit.

The webhook's URL is the credential. Slack answers `200 ok`, or names the reason: 400 `invalid_payload` or
`invalid_blocks` (dead: this message is never accepted), 403 `action_prohibited`, 404 `channel_not_found` or
`no_service` (failing: the receiver needs fixing), 410 `channel_is_archived` (gone), 429 with Retry-After and
5xx (tried again).

Text from outside is escaped as Slack asks, wherever it stands: it can neither mention (`<!channel>`,
`<@U…>`) nor link. `verbatim` keeps bare addresses and `#names` from becoming links, while the monitor's own
dates and links still work.

Limits: https://docs.slack.dev/reference/block-kit/blocks (50 blocks; section 3,000 characters; header 150;
context 10 elements), escaping and dates: https://docs.slack.dev/messaging/formatting-message-text,
answers: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import msgspec

from monitor.clock import Clock, SystemClock
from monitor.drift.alert import AlertBody
from monitor.http.redactor import Redactor
from monitor.notify.delivery import Delivery, body_of
from monitor.notify.http import post, require_taken
from monitor.notify.wording import (
    Message,
    TakenOn,
    Tone,
    acknowledged,
    clip,
    compose,
    instant,
    links,
    units,
    when,
)
from monitor.secret import Secret

MAX_SECTION = 3000
MAX_HEADER = 150
MAX_TEXT = 3000
MAX_URL = 1000

_ROOM_FOR_MORE = MAX_URL + 50

_MARKS = {
    Tone.CRITICAL: "🔴",
    Tone.WARNING: "🟠",
    Tone.INFO: "🔵",
    Tone.ACKNOWLEDGED: "👀",
    Tone.RECOVERED: "✅",
    Tone.CLOSED: "⚪",
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


@dataclass(frozen=True, slots=True, eq=False)
class SlackReceiver:
    """Posts each message to one channel.

    Args:
        name: Its name in the config.
        url: The incoming webhook; read at each try.
        http: The client; its transport, certificates and proxies.
        redactor: Hides secrets in answers.
        timeout_s: Seconds for one try.
        clock: Measures a Retry-After that is a date.
    """

    name: str
    _: KW_ONLY
    url: Secret
    http: httpx.AsyncClient
    redactor: Redactor
    timeout_s: float
    clock: Clock = field(default_factory=SystemClock)

    async def send(self, delivery: Delivery) -> str:
        """Post the message; return what Slack answered.

        Raises:
            DeliveryError: It was not accepted.
        """
        url = self.url.reveal()
        content = msgspec.json.encode(render(body_of(delivery)))
        now = self.clock.now()
        answer = await post(self.http, url, content=content, redactor=self.redactor, now=now)
        return require_taken(answer)


def render(body: AlertBody) -> dict[str, Any]:
    """Return the message of an alert body; `text` is what notifications and screen readers get."""
    message = compose(body)
    if message.taken_on is not None and message.brief:
        line = _acknowledged(message, message.taken_on)
        return {"text": line, "blocks": [_section(" ".join([line, *_pages(message)]))]}
    return {
        "text": _escaped(f"{_MARKS[message.tone]} {message.title}", MAX_TEXT),
        "blocks": list(_blocks(message)),
    }


def _acknowledged(message: Message, taken_on: TakenOn) -> str:
    """Return the one line that a channel reads when someone has taken an alert on."""
    note = f' - "{taken_on.note}"' if taken_on.note else ""
    said = f"{_MARKS[message.tone]} Acknowledged by {taken_on.by}: {message.headline}{note}"
    return _escaped(said, MAX_SECTION // 4)


def _blocks(message: Message) -> Iterator[dict[str, Any]]:
    title = f"{_MARKS[message.tone]} {message.title}"
    header = _escaped(title, MAX_HEADER)
    yield {"type": "header", "text": {"type": "plain_text", "text": header, "emoji": False}}
    if header.endswith("…") and not title.endswith("…"):
        yield _section(_escaped(message.headline, MAX_SECTION))
    if message.taken_on is not None:
        yield _section(acknowledged(message.taken_on, _date, partial(_escaped, limit=MAX_SECTION // 4)))
    if message.to_do:
        yield _section(_paragraph("What to do", message.to_do))
    if message.ending:
        yield _section(_escaped(message.ending, MAX_SECTION))
    if message.cause:
        yield _section(_escaped(message.cause, MAX_SECTION))
    if message.changed:
        news = f"*Since the last message:* {_escaped(message.changed, MAX_SECTION // 4)}"
        yield _section(_bulleted(news, message.changes))
    if message.members:
        yield _section(_paragraph(message.members_title, message.members, more=message.more, url=message.url))
    yield _context([when(message, _date), *_pages(message)])
    yield _context([_escaped(", ".join(message.facts), MAX_SECTION)])


def _pages(message: Message) -> list[str]:
    return [f"<{_address(url)}|{name}>" for name, url in links(message) if _fits(url)]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _context(texts: Sequence[str]) -> dict[str, Any]:
    elements = [{"type": "mrkdwn", "text": text, "verbatim": True} for text in texts]
    return {"type": "context", "elements": elements}


def _paragraph(title: str, lines: Sequence[str], *, more: int = 0, url: str | None = None) -> str:
    """Return a title, the lines that fit into a section, and how many more there are."""
    return _bulleted(f"*{title}*", lines, more=more, url=url)


def _bulleted(text: str, lines: Sequence[str], *, more: int = 0, url: str | None = None) -> str:
    room = MAX_SECTION - _ROOM_FOR_MORE
    for index, line in enumerate(lines):
        added = f"\n• {_escaped(line, MAX_SECTION // 4)}"
        if units(text) + units(added) > room:
            more += len(lines) - index
            break
        text += added
    if not more:
        return text
    link = f", <{_address(url)}|see all>" if url and _fits(url) else ""
    return f"{text}\nand {more:,} more{link}"


def _date(at: datetime) -> str:
    """Return an instant that Slack shows in the reader's time zone."""
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{instant(at)}>"


def _fits(url: str) -> bool:
    return len(_address(url)) <= MAX_URL


def _address(url: str) -> str:
    """Return a URL from the config so that it cannot end its own link."""
    quoted = url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E")
    return "".join(quoted.split()).replace("&", "&amp;")


def _escaped(text: str, limit: int) -> str:
    """Return a text for Slack of at most `limit` units, never cut inside an entity.

    A backtick becomes an apostrophe: three of them would swallow what follows.
    """
    return clip([_ENTITIES.get(char, char) for char in text.replace("`", "'")], limit)
