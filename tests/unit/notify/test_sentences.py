"""Every sentence about every kind of alert, however it changes and ends."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product

import msgspec
import pytest

from monitor.drift.alert import Acknowledgement, AlertBody, Kind, Notice, Resolution
from monitor.drift.alerts import Report
from monitor.drift.text import Watched, Wording
from monitor.notify import pagerduty, slack
from monitor.notify.alertmanager.labels import labels_of
from monitor.notify.alertmanager.level import LabelSet
from monitor.notify.alertmanager.render import annotations
from monitor.notify.wording import Message, Tone, compose, ending, plain_text
from tests.fakes import level
from tests.unit.drift.build import HOUR, SCOPE, START, broken, member, ready, report_of, told

WATCHED = {SCOPE: Watched(name="acme-sales", account="acme"), "id-2": Watched(name="acme-x", account="acme")}
OPEN = [notice for notice in Notice if notice not in (Notice.RESOLVED, Notice.ACKNOWLEDGED)]
ASHA = Acknowledgement(by="asha", at="2026-03-01T12:05:00.000Z", note="rolling back")
TAKEN_ON = "Acknowledged by asha at 2026-03-01 12:05 UTC: rolling back"
PAIRS = list(product(Kind, Resolution))

HEADLINES: Mapping[Kind, str] = {
    Kind.DRIFT: "acme-sales: 1 number NO_BOT",
    Kind.NUMBER_REMOVED: "acme-sales: 1 number gone from the inventory",
    Kind.RECONFIGURED: "acme-sales: 1 number reconfigured",
    Kind.API_UNAVAILABLE: "VoiceLink API unavailable for acme-sales (cause)",
    Kind.ACCOUNT_REJECTED: "account acme: the API denies access to acme-sales (cause)",
    Kind.CONNECTION_REJECTED: "acme-sales: the API rejects this connection (cause)",
    Kind.ANSWER_UNREADABLE: "acme-sales: the API's answer is unreadable (cause)",
    Kind.SYNC_STALE: "no recent snapshot of acme-sales (cause)",
    Kind.RECEIVER_FAILING: "receiver hook is not accepting alerts (cause)",
    Kind.TEST: "test alert: nothing is wrong (cause)",
}
GROUPS = {Kind.DRIFT: "NO_BOT", Kind.ACCOUNT_REJECTED: "acme", Kind.RECEIVER_FAILING: "hook"}
WORDS: Mapping[Resolution, str] = {
    Resolution.RECOVERED: "recovered",
    Resolution.REMOVED: "removed from the inventory",
    Resolution.ACCEPTED: "accepted",
    Resolution.IGNORED: "ignore",
    Resolution.SILENCED: "silenced",
    Resolution.UNCONFIGURED: "no longer configured",
    Resolution.MIXED: "for several reasons",
}
"""What each resolution, and no other, says; the exceptions are in `words_of`."""


def words_of(kind: Kind, resolution: Resolution) -> str:
    """Return what an end must say, in lower case."""
    if kind is Kind.NUMBER_REMOVED and resolution is Resolution.REMOVED:
        return "still missing"
    if kind is Kind.TEST and resolution is Resolution.RECOVERED:
        return "test is over"
    return WORDS[resolution]


def report(kind: Kind, notice: Notice, resolution: Resolution | None) -> Report:
    """Return a report of an alert with one member, which has ended if there is a resolution."""
    key = "hook" if kind is Kind.RECEIVER_FAILING else SCOPE
    if kind.about_numbers:
        each = member("1", kind=kind, number=broken(1) if kind is Kind.DRIFT else ready(1))
    else:
        each = member(key, kind=kind, detail="cause")
    ways = (Resolution.RECOVERED, Resolution.REMOVED) if resolution is Resolution.MIXED else (resolution,)
    return report_of(
        *([] if resolution else [each]),
        kind=kind,
        group=GROUPS.get(kind, SCOPE),
        ended=(each,) if resolution else (),
        resolutions=tuple(way for way in ways if way),
        lasted=timedelta(minutes=40),
        notice=notice,
    )


def body_of(kind: Kind, notice: Notice, resolution: Resolution | None = None) -> AlertBody:
    """Return the body of `report`."""
    wording = Wording(
        external_url="https://monitor.example.com", runbook_base_url="https://runbooks.example.com"
    )
    return told(report(kind, notice, resolution), START + HOUR, wording=wording, watched=WATCHED)


def description(
    kind: Kind, resolution: Resolution | None, acknowledged: Acknowledgement | None = None
) -> dict[str, str]:
    """Return the annotations that Alertmanager gets of an episode."""
    at = START + HOUR if resolution else None
    track = report(kind, Notice.OPENED, None).members[0]
    each = replace(
        level.member(kind=kind),
        track=track,
        resolution=resolution,
        ended_at=at,
        acknowledged=acknowledged,
    )
    assert "acknowledged" not in labels_of(each, Wording())
    posted = LabelSet(member_id=each.id, labels=labels_of(each, Wording()), changed_at=START, ended_at=at)
    return annotations(posted, each, Wording())


def assert_says(text: str, kind: Kind, resolution: Resolution | None) -> None:
    """Check that a text says how it ended, and nothing of any other end."""
    lower = text.lower()
    said = {end for end in Resolution if words_of(kind, end) in lower.replace("not recovered", "")}
    if kind is Kind.NUMBER_REMOVED:
        assert ("still missing" in lower) is (resolution is Resolution.REMOVED)
    if resolution is Resolution.MIXED:
        assert resolution in said
    else:
        assert said == ({resolution} if resolution else set())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("notice", OPEN)
def test_open_alert_says_what_happened_and_what_to_do(kind: Kind, notice: Notice) -> None:
    """Every kind at every message before the end, in the body and at every receiver for people."""
    body = body_of(kind, notice)
    assert (body.summary, body.resolution, body.resolved_at) == (HEADLINES[kind], None, None)
    message = compose(body)
    assert message.headline == body.summary
    assert message.to_do
    assert all(line and "{" not in line for line in message.to_do)
    assert message.ending is None
    assert bool(message.changed) is (notice is Notice.UPDATED)
    assert ("update" in message.tag) is (notice is Notice.UPDATED and kind is not Kind.TEST)
    assert ("still open" in message.tag) is (notice is Notice.REMINDER and kind is not Kind.TEST)
    assert message.tone.value == body.severity.value
    event = pagerduty.render(body)
    assert event["event_action"] == "trigger"
    assert event["payload"]["custom_details"]["what_to_do"] == list(message.to_do)
    assert "how_it_ended" not in event["payload"]["custom_details"]
    for text in (message.title, plain_text(message), slack.render(body)["text"], event["payload"]["summary"]):
        assert_says(text.replace(message.headline, ""), kind, None)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("by", ["asha", None])
def test_acknowledged_alert_is_said_in_a_line(kind: Kind, by: str | None) -> None:
    """Who, what and why at every receiver for people, and nothing that they know already."""
    known = msgspec.structs.replace(ASHA, by=by)
    body = msgspec.structs.replace(body_of(kind, Notice.ACKNOWLEDGED), acknowledged=known)
    message, who = compose(body), by or "a user"
    assert (message.to_do, message.members, message.more, message.changed) == ((), (), 0, None)
    assert message.tone is Tone.ACKNOWLEDGED
    assert message.tag.endswith("acknowledged") or kind is Kind.TEST
    assert plain_text(message).startswith(TAKEN_ON.replace("asha", who))
    event, rendered = pagerduty.render(body), slack.render(body)
    assert (event["event_action"], event["dedup_key"]) == ("acknowledge", body.alert_id)
    assert event["payload"]["custom_details"]["acknowledged"] == TAKEN_ON.replace("asha", who)
    assert rendered["text"] == f'👀 Acknowledged by {who}: {body.summary} - "rolling back"'
    [block] = rendered["blocks"]
    assert block["text"]["text"].startswith(rendered["text"])


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("notice", OPEN)
def test_alert_that_someone_has_taken_on_says_so_in_every_message(kind: Kind, notice: Notice) -> None:
    """Before what is to be done, which stays."""
    body = msgspec.structs.replace(body_of(kind, notice), acknowledged=ASHA)
    message = compose(body)
    assert plain_text(message).startswith(f"{TAKEN_ON}\n\nWhat to do:")
    assert pagerduty.render(body)["payload"]["custom_details"]["acknowledged"] == TAKEN_ON
    said = json.dumps(slack.render(body)["blocks"], ensure_ascii=False)
    assert (
        "Acknowledged by asha at <!date^1772366700^{date_short_pretty} {time}|2026-03-01 12:05 UTC>" in said
    )


@pytest.mark.parametrize("kind", Kind)
def test_update_says_that_worse_ended_the_acknowledgement(kind: Kind) -> None:
    """Whoever took it on, and everyone who relied on that, must know that it needs a look again."""
    body = msgspec.structs.replace(body_of(kind, Notice.UPDATED), acknowledgement_ended=ASHA)
    message = compose(body)
    said = f"the severity rose to {body.severity}, which ends the acknowledgement by asha; "
    assert message.changed == said + str(compose(body_of(kind, Notice.UPDATED)).changed)
    assert said in plain_text(message)
    assert said in json.dumps(slack.render(body))
    assert pagerduty.render(body)["payload"]["custom_details"]["since_the_last_message"] == message.changed


@pytest.mark.parametrize(("kind", "resolution"), [*product(Kind, [None, Resolution.RECOVERED])])
def test_alertmanager_says_who_has_taken_it_on_in_an_annotation(
    kind: Kind, resolution: Resolution | None
) -> None:
    """While it is open, and without another label: to Alertmanager that would be another alert."""
    assert description(kind, resolution, ASHA).get("acknowledged") == (None if resolution else TAKEN_ON)
    assert "acknowledged" not in description(kind, resolution)


@pytest.mark.parametrize(("kind", "resolution"), PAIRS)
def test_resolved_alert_says_how_it_ended(kind: Kind, resolution: Resolution) -> None:
    """Every kind in every way it can end: the same in the body and at every receiver."""
    body = body_of(kind, Notice.RESOLVED, resolution)
    assert body.resolution is resolution
    assert body.summary.startswith(f"{HEADLINES[kind]} - ")
    summary = body.summary.removeprefix(HEADLINES[kind]).replace("finished", "the test is over")
    assert_says(summary, kind, resolution)
    assert "after 40m" in summary
    message = compose(body)
    assert message.to_do == ()
    assert message.ending == ending(kind, resolution)
    assert_says(message.ending, kind, resolution)
    event, rendered = pagerduty.render(body), slack.render(body)
    assert event["event_action"] == "resolve"
    assert event["payload"]["custom_details"]["how_it_ended"] == message.ending
    assert body.summary in event["payload"]["summary"]
    assert message.ending in json.dumps(rendered["blocks"], ensure_ascii=False)
    assert message.ending in plain_text(message)
    assert_tone(message, rendered["text"], resolution)


def assert_tone(message: Message, text: str, resolution: Resolution) -> None:
    """Check that only what recovered is green and RESOLVED."""
    recovered = resolution is Resolution.RECOVERED
    assert message.tone is (Tone.RECOVERED if recovered else Tone.CLOSED)
    assert text.startswith("✅" if recovered else "⚪")
    assert "RESOLVED" in message.tag.upper() or "CLOSED" in message.tag or message.tag.startswith("TEST")
    assert not (message.tag == "RESOLVED" and not recovered)


OPENINGS = dict.fromkeys(Kind, "Failing since") | {
    Kind.DRIFT: "State NO_BOT since",
    Kind.NUMBER_REMOVED: "Missing since",
    Kind.RECONFIGURED: "Reconfigured since",
}


@pytest.mark.parametrize(("kind", "resolution"), [*product(Kind, [None, *Resolution])])
def test_alertmanager_description_says_the_state_and_the_end(
    kind: Kind, resolution: Resolution | None
) -> None:
    """An open episode speaks of the present; one that is over says how, and speaks of the past."""
    texts = description(kind, resolution)
    assert texts.get("resolution") == (resolution.value if resolution else None)
    text = texts["description"]
    assert "since 2026-03-01 12:00 UTC" in text
    assert text.startswith(ending(kind, resolution) if resolution else OPENINGS[kind])
    assert ("Had been" in text) is (resolution is not None)
    assert ("To do:" in text) is (resolution is None and kind is Kind.DRIFT)
    assert_says(text, kind, resolution)


def test_sentences_of_different_ends_differ() -> None:
    """No two resolutions of a kind read the same, and no two kinds recover in the same words."""
    for kind in Kind:
        assert len({ending(kind, resolution) for resolution in Resolution}) == len(Resolution)
    assert len({ending(kind, Resolution.RECOVERED) for kind in Kind}) == len(Kind)
    assert len({compose(body_of(kind, Notice.OPENED)).to_do for kind in Kind}) == len(Kind)


@pytest.mark.parametrize(("kind", "resolution"), PAIRS)
def test_sentences_are_sentences(kind: Kind, resolution: Resolution) -> None:
    """A capital first, a full stop last, no place that was not filled in."""
    text = ending(kind, resolution)
    assert text[0].isupper()
    assert text.endswith(".")
    assert "{" not in text
