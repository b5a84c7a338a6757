"""The rendering for Slack, against the documented limits and the kept messages."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from monitor.drift.alert import Acknowledgement, AlertBody, Notice
from monitor.notify.slack import MAX_SECTION, render
from tests.fakes.alerts import AT, BODY, NUMBER
from tests.fakes.hostile import hostile_bodies
from tests.golden.examples import EXAMPLES
from tests.golden.renderings import kept, rendered
from tests.servers.slack import foreign_sequences, problems_of, texts_of

URL = "https://monitor.example.com/alerts?a=1&b=2"


@pytest.mark.parametrize("example", EXAMPLES)
def test_slack_message_is_as_it_was_read(example: str) -> None:
    """Each message was reviewed by a person; `python -m tests.golden.regenerate` shows what changed."""
    assert rendered("slack", example) == kept("slack", example)


@pytest.mark.parametrize("example", EXAMPLES)
def test_slack_message_is_within_the_limits(example: str) -> None:
    """Slack takes every kind of message."""
    message = render(EXAMPLES[example]())
    assert (list(problems_of(message)), foreign_sequences(message)) == ([], [])


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(body=hostile_bodies())
def test_slack_message_survives_hostile_texts(body: AlertBody) -> None:
    """Whatever the provider writes, the message keeps the limits, mentions no one and links nowhere."""
    message = render(body)
    assert (list(problems_of(message)), foreign_sequences(message)) == ([], [])


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        pytest.param("<!channel>", "&lt;!channel&gt;", id="mention"),
        pytest.param("<@U024BE7LH>", "&lt;@U024BE7LH&gt;", id="user"),
        pytest.param("<https://evil.example|x>", "&lt;https://evil.example|x&gt;", id="link"),
        pytest.param("R&D", "R&amp;D", id="ampersand"),
        pytest.param("&lt;", "&amp;lt;", id="entity"),
        pytest.param("```", "'''", id="fence"),
        pytest.param("a\n> b", "a &gt; b", id="quote"),
    ],
)
def test_slack_escapes_what_comes_from_outside(state: str, shown: str) -> None:
    """In the header, in the fallback, and in every line."""
    number = msgspec.structs.replace(NUMBER, state=state, issues=[])
    body = msgspec.structs.replace(BODY, numbers=[number], summary=f"acme: 1 number {state}")
    fallback, header, *_ = texts = list(texts_of(render(body)))
    assert all(text.endswith(f"acme: 1 number {shown}") for text in (fallback, header))
    assert any(f"+918011223344: {shown}" in text for text in texts)


@pytest.mark.parametrize("change", [Notice.ACKNOWLEDGED, Notice.UPDATED])
def test_slack_escapes_what_users_write(change: Notice) -> None:
    """Neither a name nor a note mentions anyone, and no note is longer than a section."""
    known = Acknowledgement(by="<!here>", at=AT, note="<!channel> " + "&" * 5000)
    message = render(msgspec.structs.replace(BODY, change=change, acknowledged=known))
    assert (list(problems_of(message)), foreign_sequences(message)) == ([], [])
    [said] = [text for text in list(texts_of(message))[1:] if "Acknowledged by" in text]
    assert "&lt;!here&gt;" in said
    assert "&lt;!channel&gt; &amp;" in said


def test_slack_cuts_no_entity_in_two() -> None:
    """A header that must be cut ends in a whole entity, and the whole summary stands below it."""
    body = msgspec.structs.replace(BODY, summary="&" * 200)
    message = render(body)
    header, section = (block["text"]["text"] for block in message["blocks"][:2])
    assert header.removesuffix("…").endswith("&amp;")
    assert section == "&amp;" * 200


def test_slack_says_how_many_more_and_where() -> None:
    """A list that was cut links to the rest."""
    body = msgspec.structs.replace(BODY, numbers=[NUMBER] * 20, numbers_total=500, url=URL)
    section = next(text for text in texts_of(render(body)) if text.startswith("*Numbers*"))
    assert section.count("\n•") == 15
    assert section.endswith("\nand 485 more, <https://monitor.example.com/alerts?a=1&amp;b=2|see all>")


def test_slack_drops_lines_that_do_not_fit_and_counts_them() -> None:
    """Lines that are long once escaped are left out, and the count of the others tells so."""
    number = msgspec.structs.replace(NUMBER, state="&" * 200, issues=["&" * 200])
    body = msgspec.structs.replace(BODY, numbers=[number] * 15, numbers_total=15)
    section = next(text for text in texts_of(render(body)) if text.startswith("*Numbers*"))
    shown = section.count("\n•")
    assert 0 < shown < 15
    assert len(section) <= MAX_SECTION
    assert f"\nand {15 - shown} more" in section


def test_slack_shows_instants_in_the_readers_time_zone() -> None:
    """A date for Slack, with the time in UTC for whoever cannot show it."""
    texts = list(texts_of(render(BODY)))
    assert "Open since <!date^1772366400^{date_short_pretty} {time}|2026-03-01 12:00 UTC>." in texts


def test_slack_leaves_out_a_link_that_is_too_long() -> None:
    """A message without its link is better than none."""
    message = render(msgspec.structs.replace(BODY, url="https://m.example/" + "a" * 5000))
    assert not any("m.example" in text for text in texts_of(message))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(lambda m: m.pop("text"), "text: missing", id="no-fallback"),
        pytest.param(lambda m: m["blocks"].extend([{"type": "divider"}] * 50), "too many", id="51-blocks"),
        pytest.param(lambda m: m["blocks"][0]["text"].update(text="x" * 151), "longer than 150", id="header"),
        pytest.param(
            lambda m: m["blocks"][0]["text"].update(type="mrkdwn"), "not allowed", id="header-mrkdwn"
        ),
        pytest.param(
            lambda m: m["blocks"][1]["text"].update(text="x" * 3001), "longer than 3000", id="section"
        ),
        pytest.param(lambda m: m["blocks"][1]["text"].update(text=""), "empty", id="empty-section"),
        pytest.param(lambda m: m["blocks"][-1].update(elements=[]), "no elements", id="empty-context"),
        pytest.param(lambda m: m["blocks"][1].update(type="marquee"), "unknown type", id="unknown-block"),
    ],
)
def test_double_of_slack_refuses_what_slack_refuses(
    spoil: Callable[[dict[str, Any]], object], problem: str
) -> None:
    """The limits are there to be broken."""
    message = render(BODY)
    assert list(problems_of(message)) == []
    spoil(message)
    assert any(problem in found for found in problems_of(message))


@pytest.mark.parametrize(
    "text", ["<!channel>", "<@U1>", "<https://x.example>", "a <b", "b> c", "R&D", "<!date^1^{time}>"]
)
def test_double_of_slack_finds_what_is_not_escaped(text: str) -> None:
    """Anything but a whole date or link of ours is foreign."""
    message = render(BODY)
    message["blocks"][1]["text"]["text"] = text
    assert foreign_sequences(message) != []
