"""What depends on what, and what to do first, in words."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import pytest

from monitor.drift.advice import Subject, first_step, waits
from monitor.drift.alert import Kind, Resolution
from monitor.drift.naming import Value, in_common, moved, names_of
from monitor.errors import Outcome

NAMES = {"client:415": "Acme Sales", "bot:93": "Greeter", "bot:94": "Sales bot"}
DRIFT = Subject(kind=Kind.DRIFT, many=3, code="NO_BOT", common={"client_id": 415}, names=NAMES)
ONE = replace(DRIFT, many=1, one="+918011223344")
UNSEEN = "Until this is fixed, drift goes undetected."


CAUSES = ("", "unlisted", "held", *Outcome, "401 Unauthorized", "{x} % %s", "network, timeout")


@pytest.mark.parametrize(("kind", "resolution", "many"), [*product(Kind, [None, *Resolution], (0, 1, 2))])
def test_first_step_is_a_sentence_for_every_kind(
    kind: Kind, resolution: Resolution | None, many: int
) -> None:
    """Never empty, with no place that was not filled in, however little is known."""
    for cause in CAUSES if resolution is None else ("",):
        step = first_step(Subject(kind=kind, many=many, cause=cause, group="acme"), resolution)
        assert "{w" not in step
        assert step[0].isupper()
    step = first_step(Subject(kind=kind, many=many), resolution)
    assert step[0].isupper()
    assert "{" not in step
    assert step.endswith((".", "voicelink-monitor accept CONNECTION, for each of the connections"))


@pytest.mark.parametrize(
    ("about", "step"),
    [
        pytest.param(
            replace(DRIFT, action="Assign an active bot to the routing"),
            "Assign an active bot to the routing of client Acme Sales (415).",
            id="of-the-client",
        ),
        pytest.param(
            replace(DRIFT, action="Create an active VoiceLink WebSocket bot for the mapped client"),
            "Create an active VoiceLink WebSocket bot for client Acme Sales (415).",
            id="the-mapped-client",
        ),
        pytest.param(
            replace(ONE, action="Create VoiceLink call routing for this DID"),
            "Create VoiceLink call routing for DID +918011223344 of client Acme Sales (415).",
            id="this-did",
        ),
        pytest.param(
            replace(DRIFT, action="Create VoiceLink call routing for this DID"),
            "Create VoiceLink call routing for each DID of client Acme Sales (415).",
            id="each-did",
        ),
        pytest.param(
            replace(DRIFT, action="Assign a Vocobase agent to the local PhoneNumber row."),
            "Assign a Vocobase agent to the local PhoneNumber row of client Acme Sales (415).",
            id="row",
        ),
        pytest.param(
            replace(DRIFT, action="Contact support", names={}), "Contact support: client 415.", id="no-noun"
        ),
        pytest.param(
            replace(DRIFT, action="Assign a bot", common={"bot_id": 93}),
            "Assign a bot; all 3 numbers are on bot Greeter (93).",
            id="bot-in-common",
        ),
        pytest.param(
            replace(DRIFT, action="Assign a bot", common={}), "Assign a bot.", id="nothing-in-common"
        ),
        pytest.param(
            replace(DRIFT, action="NO_BOT"),
            "Assign an active bot to the routing of client Acme Sales (415).",
            id="code-only",
        ),
        pytest.param(
            replace(DRIFT, code="SUSPENDED"),
            "Check in VoiceLink and Vocobase why the 3 numbers of client Acme Sales (415) are SUSPENDED.",
            id="unknown-state",
        ),
        pytest.param(
            replace(ONE, kind=Kind.NUMBER_REMOVED, connection="acme-sales"),
            "Find out why the provider no longer lists +918011223344 of client Acme Sales (415); if that is "
            "intended, run: voicelink-monitor accept acme-sales",
            id="removed",
        ),
        pytest.param(
            replace(ONE, kind=Kind.RECONFIGURED, moved="lost bot Greeter (93)", connection="acme-sales"),
            "Check why +918011223344 lost bot Greeter (93); if that is intended, run: "
            "voicelink-monitor accept acme-sales",
            id="reconfigured",
        ),
        pytest.param(
            replace(ONE, kind=Kind.NUMBER_REMOVED, connection="acme's süd"),
            "Find out why the provider no longer lists +918011223344 of client Acme Sales (415); if that is "
            """intended, run: voicelink-monitor accept 'acme'"'"'s süd'""",
            id="for-a-shell",
        ),
        pytest.param(
            Subject(kind=Kind.RECEIVER_FAILING, many=1, group="the hook", cause="410 Gone"),
            "Correct the URL of receiver the hook (410 Gone) and reload, or run: voicelink-monitor "
            "deliveries --retry-now 'the hook'; nothing is sent to it before.",
            id="gone",
        ),
        pytest.param(
            Subject(kind=Kind.CONNECTION_REJECTED, many=12, group="acme"),
            "Check that the 12 connections exist and are active at the provider, and that their ids in the "
            f"config are correct. {UNSEEN}",
            id="connections",
        ),
        pytest.param(
            Subject(kind=Kind.ANSWER_UNREADABLE, many=1, one="acme-sales", cause="too_large"),
            f"Raise api.max_response_size: the answer for connection acme-sales is larger. {UNSEEN}",
            id="too-large",
        ),
        pytest.param(
            Subject(kind=Kind.CONNECTION_REJECTED, many=2, group="acme", cause="unlisted"),
            "Check at the provider whether the 2 connections were deleted or switched off: discovery no "
            "longer lists them, and 24 hours later the monitor stops checking them.",
            id="unlisted",
        ),
        pytest.param(
            Subject(kind=Kind.ACCOUNT_REJECTED, many=2, group="acme", cause="forbidden"),
            "Ask the provider whether account acme is suspended, out of balance or not approved; the API key "
            f"itself is known. {UNSEEN}",
            id="forbidden",
        ),
        pytest.param(
            Subject(kind=Kind.ACCOUNT_REJECTED, many=2, group="acme", cause="forbidden, unauthorized"),
            "Check the API key of account acme in the config, and ask the provider whether the account is "
            f"suspended or out of balance. {UNSEEN}",
            id="several-causes",
        ),
        pytest.param(
            Subject(kind=Kind.RECEIVER_FAILING, many=1, group="hook", cause="401 Unauthorized: bad token"),
            "Renew the credentials of receiver hook (401 Unauthorized: bad token); queued messages are then "
            "delivered.",
            id="credentials",
        ),
        pytest.param(
            Subject(kind=Kind.RECEIVER_FAILING, many=1, group="hook", cause="connection refused"),
            "Check that receiver hook is reachable, and its URL and credentials; queued messages are then "
            "delivered.",
            id="unreachable",
        ),
    ],
)
def test_first_step_names_what_it_is_about(about: Subject, step: str) -> None:
    """The provider's action is the base, with the client's or the number's name in its place."""
    assert first_step(about) == step


def test_first_step_of_a_test_that_is_over_is_none() -> None:
    """A test does not recover."""
    assert first_step(Subject(kind=Kind.TEST, many=1), Resolution.RECOVERED) == "Nothing: the test is over."


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.DRIFT, "ready again"),
        (Kind.NUMBER_REMOVED, "back"),
        (Kind.RECONFIGURED, "configured as before"),
    ],
)
def test_first_step_of_what_is_good_again_is_to_wait(kind: Kind, words: str) -> None:
    """No one repairs what works: the alert only waits until it is sure."""
    one = Subject(kind=kind, many=1, one="+918011223344", action="Assign a bot", back=True)
    assert first_step(one) == f"Nothing for now: it is {words}, and the alert ends if that lasts."
    two = replace(one, many=2, one="")
    assert first_step(two) == f"Nothing for now: both numbers are {words}, and the alert ends if that lasts."
    many = replace(one, many=1200, one="")
    assert first_step(many) == (
        f"Nothing for now: all 1,200 numbers are {words}, and the alert ends if that lasts."
    )
    assert waits(first_step(one))
    assert not waits(first_step(replace(one, back=False)))


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ({}, {}, ""),
        ({"bot_id": 93}, {"bot_id": None}, "lost bot Greeter (93)"),
        ({"bot_id": None}, {"bot_id": 93}, "gained bot Greeter (93)"),
        ({"bot_id": 93}, {"bot_id": 94}, "moved from bot Greeter (93) to bot Sales bot (94)"),
        ({"bot_active": True}, {"bot_active": False}, "had its bot switched off"),
        ({"number_active": False}, {"number_active": True}, "had its local number switched on"),
        (
            {"client_id": 415, "agent_id": "a"},
            {"client_id": 416, "agent_id": None},
            "moved from client Acme Sales (415) to client 416 and lost agent a",
        ),
        ({"routing_target": "inbound:bot:93"}, {"routing_target": None}, "lost its routing"),
        (
            {"bot_id": 93, "routing_target": "inbound:bot:93"},
            {"bot_id": 94, "routing_target": "inbound:bot:94"},
            "moved from bot Greeter (93) to bot Sales bot (94)",
        ),
        (
            {"routing_target": "inbound:bot:93 outbound:sip:7"},
            {"routing_target": "inbound:mobile outbound:sip:7"},
            "had its inbound calls rerouted from bot Greeter (93) to a mobile number",
        ),
        (
            {"routing_target": "inbound:bot:93 outbound:sip:7"},
            {"routing_target": "outbound:sip:7"},
            "lost the routing of its inbound calls to bot Greeter (93)",
        ),
        (
            {"routing_target": None},
            {"routing_target": "outbound:sip:7"},
            "had its outbound calls routed to SIP trunk 7",
        ),
        (
            {"routing_target": "routing:5"},
            {"routing_target": "routing:6"},
            "had its routing rerouted from 5 to 6",
        ),
    ],
)
def test_moves_read_as_what_happened_to_the_number(
    was: Mapping[str, Value], now: Mapping[str, Value], words: str
) -> None:
    """What it depended on before, and what it depends on now."""
    assert moved(was, now, NAMES) == words
    assert moved(was, now, NAMES, many=True) == words.replace("its", "their")


@pytest.mark.parametrize(
    ("common", "words"),
    [
        ({}, ""),
        ({"client_id": 415, "bot_id": 93}, "client Acme Sales (415) and bot Greeter (93)"),
        ({"bot_id": 93, "routing_target": "inbound:bot:93 outbound:bot:93"}, "bot Greeter (93)"),
        (
            {"bot_id": 93, "routing_target": "inbound:bot:93 outbound:sip:7"},
            "bot Greeter (93) and routing to bot Greeter (93) (inbound) and SIP trunk 7 (outbound)",
        ),
        ({"routing_target": "routing:5", "agent_id": "a"}, "routing 5 and agent a"),
    ],
)
def test_what_is_in_common_goes_by_name(common: Mapping[str, int | str], words: str) -> None:
    """A routing that only leads to the shared bot is not said twice."""
    assert in_common(common, NAMES) == words


def test_names_of_a_body_go_by_what_they_name() -> None:
    """A name without its id names nothing."""
    common_names = {"client_id": "Acme Sales", "bot_id": "Greeter", "other": "x"}
    assert names_of({"client_id": 415}, common_names) == {"client:415": "Acme Sales"}
