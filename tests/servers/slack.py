"""A double of Slack's incoming webhooks: enforces the limits of Block Kit, and answers in Slack's words.

https://docs.slack.dev/reference/block-kit/blocks (limits of each block)
https://docs.slack.dev/messaging/formatting-message-text (escaping, mentions, dates)
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (answers)
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tests.servers.webhook import Answer, Received

PATH = "/services/T0000/B0000/s3cr3tt0ken"

MAX_BLOCKS = 50
MAX_SECTION = 3000
MAX_FIELD = 2000
MAX_FIELDS = 10
MAX_HEADER = 150
MAX_ELEMENTS = 10
MAX_TEXT = 40_000

STATUS_OF = {
    "invalid_payload": 400,
    "invalid_blocks": 400,
    "user_not_found": 400,
    "action_prohibited": 403,
    "channel_not_found": 404,
    "no_service": 404,
    "channel_is_archived": 410,
    "rate_limited": 429,
    "rollup_error": 500,
}

# Between angle brackets stands a control sequence, anything else there would have been escaped. What we
# write ourselves are dates and links to http(s) addresses.
_OURS = re.compile(r"<(?:!date\^\d+\^[^|<>^]+\|[^|<>]+|https?://[^|<>\s]+\|[A-Za-z ]+)>")
_BARE = re.compile(r"[<>].{0,20}|&(?!amp;|lt;|gt;)", re.DOTALL)


class Slack:
    """Answers requests; give it to `WebhookSink.script`.

    `messages` are those that were taken. `refuse` is the word to answer with instead of taking the next.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.refuse: str | None = None
        self.retry_after: str | None = None

    def __call__(self, request: Received) -> Answer:
        """Take a message, or say what is wrong with it."""
        if (request.method, request.path) != ("POST", PATH):
            return _said("no_service")
        if self.refuse is not None:
            return _said(self.refuse, self.retry_after)
        if request.headers["content-type"] != "application/json":
            return _said("invalid_payload")
        try:
            message = request.json()
        except ValueError:
            return _said("invalid_payload")
        if list(problems_of(message)):
            return _said("invalid_blocks")
        self.messages.append(message)
        return Answer(body=b"ok")


def problems_of(message: Any) -> Iterator[str]:
    """Yield what Slack's documentation does not allow in a message."""
    if not isinstance(message.get("text"), str) or not 0 < _length(message["text"]) <= MAX_TEXT:
        yield "text: missing or too long"
    blocks = message.get("blocks", [])
    if not 0 < len(blocks) <= MAX_BLOCKS:
        yield "blocks: none, or too many"
    for index, block in enumerate(blocks):
        yield from (f"blocks.{index}: {problem}" for problem in _block_problems(block))


def foreign_sequences(message: dict[str, Any]) -> list[str]:
    """Return what Slack would read as a mention, a link or an entity that is not ours: injections."""
    return [found for text in texts_of(message) for found in _BARE.findall(_OURS.sub("", text))]


def texts_of(message: dict[str, Any]) -> Iterator[str]:
    """Yield every text that Slack reads."""
    yield message["text"]
    for block in message["blocks"]:
        if "text" in block:
            yield block["text"]["text"]
        for part in [*block.get("fields", []), *block.get("elements", [])]:
            yield part["text"]


def _block_problems(block: dict[str, Any]) -> Iterator[str]:
    match block["type"]:
        case "header":
            yield from _text_problems(block["text"], MAX_HEADER, types=("plain_text",))
        case "section":
            yield from _section_problems(block)
        case "context":
            if not 0 < len(block["elements"]) <= MAX_ELEMENTS:
                yield "no elements, or too many"
            for element in block["elements"]:
                yield from _text_problems(element, MAX_SECTION)
        case "divider":
            pass
        case other:
            yield f"unknown type {other}"


def _section_problems(block: dict[str, Any]) -> Iterator[str]:
    fields = block.get("fields", [])
    if "text" in block:
        yield from _text_problems(block["text"], MAX_SECTION)
    elif not fields:
        yield "a section needs text or fields"
    if len(fields) > MAX_FIELDS:
        yield "too many fields"
    for field in fields:
        yield from _text_problems(field, MAX_FIELD)


def _text_problems(
    text: dict[str, Any], longest: int, *, types: Sequence[str] = ("plain_text", "mrkdwn")
) -> Iterator[str]:
    if text["type"] not in types:
        yield f"type {text['type']} is not allowed here"
    if not 0 < _length(text["text"]) <= longest:
        yield f"text is empty or longer than {longest}"
    if text["type"] == "plain_text" and "verbatim" in text:
        yield "verbatim is for mrkdwn"
    if text["type"] == "mrkdwn" and "emoji" in text:
        yield "emoji is for plain_text"


def _length(text: str) -> int:
    """Return the length, counted in the strictest way."""
    return len(text.encode("utf-16-le")) // 2


def _said(word: str, retry_after: str | None = None) -> Answer:
    return Answer(status=STATUS_OF[word], body=word.encode(), retry_after=retry_after)
