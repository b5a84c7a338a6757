"""The rendering for PagerDuty, against the documented limits and the kept events."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from monitor.drift.alert import AlertBody, Kind, Notice, Resolution, Severity, Status
from monitor.notify.pagerduty import MAX_BODY_BYTES, dedup_key, render
from tests.fakes.alerts import AT, BODY, NUMBER
from tests.fakes.hostile import hostile_bodies
from tests.golden.examples import EXAMPLES
from tests.golden.renderings import kept, rendered
from tests.servers.pagerduty import MAX_BYTES, problems_of

KEY = "Rabcdefghijklmnopqrstuvwxyzabcde"


def problems(body: AlertBody) -> list[str]:
    """Return what PagerDuty would say against the event of a body."""
    event = {"routing_key": KEY, **render(body)}
    found = list(problems_of(msgspec.json.decode(msgspec.json.encode(event))))
    if len(msgspec.json.encode(event)) > MAX_BYTES:
        found.append("too large")
    return found


@pytest.mark.parametrize("example", EXAMPLES)
def test_pagerduty_event_is_as_it_was_read(example: str) -> None:
    """Each event was reviewed by a person; `python -m tests.golden.regenerate` shows what changed."""
    assert rendered("pagerduty", example) == kept("pagerduty", example)


@pytest.mark.parametrize("example", EXAMPLES)
def test_pagerduty_event_is_within_the_limits(example: str) -> None:
    """PagerDuty takes every kind of event."""
    assert problems(EXAMPLES[example]()) == []


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(body=hostile_bodies())
def test_pagerduty_event_survives_hostile_texts(body: AlertBody) -> None:
    """Whatever the provider writes, the event is within the limits."""
    assert problems(body) == []


@pytest.mark.parametrize(
    "noise", ["\U0001f600" * 400, "x" * 10_000, "ש" * 400, "号" * 400], ids=["emoji", "long", "rtl", "cjk"]
)
def test_pagerduty_event_is_never_too_large(noise: str) -> None:
    """Numbers are left out until the event fits, and are counted."""
    number = msgspec.structs.replace(NUMBER, state=noise, issues=["1" + noise, "2" + noise])
    body = msgspec.structs.replace(BODY, numbers=[number] * 5000, numbers_listed=5000, numbers_total=9000)
    event = render(body)
    assert problems(body) == []
    assert len(msgspec.json.encode(event)) <= MAX_BODY_BYTES
    listed = event["payload"]["custom_details"]["numbers"]
    assert len(listed) > 100
    assert listed[-1] == f"and {9000 - len(listed) + 1:,} more"


def test_pagerduty_event_does_without_a_link_that_is_too_long() -> None:
    """An event without its link is better than none."""
    event = render(msgspec.structs.replace(BODY, url="https://m.example/" + "a" * 600_000))
    assert len(msgspec.json.encode(event)) < MAX_BODY_BYTES
    assert "client_url" not in event
    assert "links" not in event


@pytest.mark.parametrize(
    ("change", "action"),
    [
        (Notice.OPENED, "trigger"),
        (Notice.UPDATED, "trigger"),
        (Notice.REMINDER, "trigger"),
        (Notice.RESOLVED, "resolve"),
    ],
)
def test_pagerduty_action_of_a_change(change: Notice, action: str) -> None:
    """Whatever is open is a trigger, and all of it is one PagerDuty alert."""
    event = render(msgspec.structs.replace(BODY, change=change))
    assert (event["event_action"], event["dedup_key"]) == (action, "a1")


@pytest.mark.parametrize("severity", Severity)
def test_pagerduty_severity(severity: Severity) -> None:
    """Our severities are among PagerDuty's."""
    assert render(msgspec.structs.replace(BODY, severity=severity))["payload"]["severity"] == severity.value


def test_pagerduty_dedup_key_is_distinct_however_long_the_id() -> None:
    """An id that is too long becomes a digest, not a prefix that another alert may share."""
    keys = {dedup_key("x" * 300 + end) for end in "ab"}
    assert len(keys) == 2
    assert {len(key) for key in keys} == {64}
    assert dedup_key("x" * 255) == "x" * 255


@pytest.mark.parametrize("resolution", [way for way in Resolution if way is not Resolution.RECOVERED])
def test_pagerduty_resolve_says_how_it_ended(resolution: Resolution) -> None:
    """A resolution other than recovered is said in words, in the details and in the summary."""
    example = EXAMPLES[f"resolved_{resolution.value}"]()
    assert example.resolution is resolution
    payload = render(example)["payload"]
    assert payload["custom_details"]["how_it_ended"]
    assert "Recovered:" not in payload["custom_details"]["how_it_ended"]
    assert payload["summary"].partition(" - ")[2]


def test_pagerduty_marks_a_test() -> None:
    """Nobody takes a test for the real thing."""
    assert render(EXAMPLES["test"]())["payload"]["summary"].startswith("[TEST] ")


def test_pagerduty_event_holds_no_markup_of_ours() -> None:
    """The details are for rules as well: state, kind and labels stand by themselves."""
    payload = render(BODY)["payload"]
    assert (payload["source"], payload["component"]) == ("prod/acme-sales", "acme-sales")
    assert (payload["group"], payload["class"]) == ("acme", "NO_BOT")
    details = payload["custom_details"]
    assert (details["kind"], details["state"], details["labels"]) == ("drift", "NO_BOT", {"team": "voice"})


def test_pagerduty_component_of_a_failing_receiver_is_its_name() -> None:
    """An alert without connection still says what is broken."""
    body = msgspec.structs.replace(
        BODY, kind=Kind.RECEIVER_FAILING, state="hook", connection=None, numbers=[]
    )
    payload = render(body)["payload"]
    assert (payload["source"], payload["component"], payload["class"]) == ("prod", "hook", "receiver_failing")


def test_pagerduty_summary_is_cut_at_its_limit() -> None:
    """1,024 characters, however they are counted."""
    body = msgspec.structs.replace(BODY, summary="\U0001f600" * 2000)
    assert len(render(body)["payload"]["summary"].encode("utf-16-le")) // 2 <= 1024


def test_pagerduty_resolve_of_a_recovered_alert_says_so() -> None:
    """The plain case."""
    body = msgspec.structs.replace(
        BODY,
        change=Notice.RESOLVED,
        status=Status.RESOLVED,
        resolution=Resolution.RECOVERED,
        resolved_at=AT,
    )
    assert render(body)["payload"]["custom_details"]["how_it_ended"] == "Recovered: ready again."


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(lambda e: e.update(routing_key="short"), "routing_key", id="key"),
        pytest.param(lambda e: e.update(event_action="open"), "event_action", id="action"),
        pytest.param(lambda e: e.update(dedup_key="x" * 256), "dedup_key", id="long-dedup-key"),
        pytest.param(lambda e: e.update(surprise=1), "surprise", id="unknown-field"),
        pytest.param(lambda e: e.pop("payload"), "payload", id="no-payload"),
        pytest.param(lambda e: e["payload"].update(summary="x" * 1025), "summary", id="long-summary"),
        pytest.param(lambda e: e["payload"].update(source=""), "source", id="no-source"),
        pytest.param(lambda e: e["payload"].update(severity="bad"), "severity", id="severity"),
        pytest.param(lambda e: e["payload"].update(timestamp="now"), "timestamp", id="timestamp"),
        pytest.param(lambda e: e["payload"].update({"class": 1}), "class", id="class"),
        pytest.param(lambda e: e["payload"].update(custom_details=[]), "custom_details", id="details"),
        pytest.param(lambda e: e.update(links=[{"href": "x"}]), "link", id="link"),
    ],
)
def test_double_of_pagerduty_refuses_what_pagerduty_refuses(
    spoil: Callable[[dict[str, Any]], object], problem: str
) -> None:
    """The limits are there to be broken."""
    event = {"routing_key": KEY, **render(BODY)}
    assert list(problems_of(event)) == []
    spoil(event)
    assert any(problem in found for found in problems_of(event))


@pytest.mark.parametrize(
    ("connections", "listed"),
    [
        (["acme-01"], {"numbers": [NUMBER.phone_number]}),
        (["acme-01", "acme-02"], {"connections": ["acme-01", "acme-02"]}),
    ],
)
def test_members_of_a_widespread_alert_are_listed_as_what_they_are(
    connections: list[str], listed: dict[str, list[str]]
) -> None:
    """Its connections; while it has only one, which the summary names, the numbers of that."""
    body = msgspec.structs.replace(BODY, widespread=True, connection=None, connections=connections)
    details = render(body)["payload"]["custom_details"]
    shown = {name: details[name] for name in ("numbers", "connections") if name in details}
    assert {name: [line.partition(":")[0] for line in lines] for name, lines in shown.items()} == listed
