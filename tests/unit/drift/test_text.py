"""The alert body and its summary, word for word."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest

from monitor.drift.alert import (
    AlertBody,
    Kind,
    Notice,
    Resolution,
    Status,
    decode_body,
    encode_body,
)
from monitor.drift.alerts import Report
from monitor.drift.rules import Rules
from monitor.drift.snapshot import ActionItem, Dependencies
from monitor.drift.text import Watched, Wording, states_now
from tests.unit.drift.build import (
    EVERY_KIND,
    HOUR,
    MINUTE,
    SECOND,
    START,
    UPDATED,
    WATCHED,
    Watch,
    broken,
    fleet,
    key,
    member,
    ready,
    report_of,
    told,
)

FLEET = {
    "id-1": Watched(name="acme-sales", account="acme"),
    "id-2": Watched(name="acme-care", account="acme"),
    "id-3": Watched(name="globex", account="globex"),
}


def test_body_is_the_contracts() -> None:
    """Every key of the contract, in its order, with its form."""
    watch = Watch()
    lost = [broken(index, dependencies=Dependencies(415)) for index in (1, 2, 3)]
    watch.sync(*fleet(9))
    watch.sync(*fleet(9, *lost))
    watch.sync(*fleet(9, *lost))
    wording = Wording(
        instance="prod",
        external_url="https://monitor.example.com",
        runbook_base_url="https://runbooks.example.com",
        labels={"team": "voice"},
        max_listed_numbers=1,
    )
    body = watch.last_body(wording)
    found = msgspec.json.decode(encode_body(body))
    assert found == {
        "alert_id": watch.records.alerts[0].id,
        "kind": "drift",
        "change": "opened",
        "status": "firing",
        "resolution": None,
        "severity": "warning",
        "summary": "acme-sales: 3 numbers NO_BOT, all on client 415 and bot 93",
        "instance": "prod",
        "connection": "acme-sales",
        "account": "acme",
        "state": "NO_BOT",
        "started_at": "2026-03-01T12:00:45.000Z",
        "updated_at": "2026-03-01T12:00:45.000Z",
        "resolved_at": None,
        "version": 1,
        "numbers_total": 3,
        "numbers_listed": 1,
        "numbers": [
            {
                "key": key(1),
                "phone_number": f"+{key(1)}",
                "state": "NO_BOT",
                "previous_state": "READY",
                "issues": ["NO_BOT"],
                "action_items": [{"code": "NO_BOT", "label": "Fix NO_BOT"}],
                "did_id": 1,
                "client_id": 415,
                "since": "2026-03-01T12:00:30.000Z",
                "flaps": 0,
            }
        ],
        "numbers_added": 3,
        "numbers_ended": 0,
        "connections": ["acme-sales"],
        "common": {"client_id": 415, "bot_id": 93},
        "common_names": {},
        "changes_total": 3,
        "changes": [
            {
                "key": key(1),
                "phone_number": f"+{key(1)}",
                "change": "appeared",
                "previous_state": "READY",
                "state": "NO_BOT",
                "previous_issues": [],
                "issues": ["NO_BOT"],
                "was": {"bot_id": 93},
                "is": {"bot_id": None},
            }
        ],
        "first_step": "Fix NO_BOT: client 415.",
        "widespread": False,
        "part_of": None,
        "acknowledged": None,
        "acknowledgement_ended": None,
        "actions": [{"code": "NO_BOT", "label": "Fix NO_BOT", "numbers": 3}],
        "labels": {"team": "voice"},
        "url": f"https://monitor.example.com/alerts/{watch.records.alerts[0].id}",
        "runbook_url": "https://runbooks.example.com/drift",
    }
    assert list(found)[:5] == ["alert_id", "kind", "change", "status", "resolution"]
    assert decode_body(encode_body(body)) == body


def test_body_lists_the_newest_first() -> None:
    """The cap keeps the newest; of the same age, the lowest key first."""
    watch = Watch(Rules(confirm_syncs=1))
    watch.sync(*fleet(9, broken(7), broken(8)))
    watch.sync(*fleet(9, broken(7), broken(8), broken(2), broken(1)))
    watch.wait(5 * MINUTE)
    body = watch.last_body(Wording(max_listed_numbers=3))
    assert body.change is UPDATED
    assert [number.key for number in body.numbers] == [key(1), key(2), key(7)]
    assert (body.numbers_total, body.numbers_listed) == (4, 3)


@pytest.mark.parametrize(
    ("dependencies", "common", "words"),
    [
        pytest.param(
            [Dependencies(1, 2), Dependencies(1, 3)], {"client_id": 1}, ", both on client 1", id="client"
        ),
        pytest.param([Dependencies(1, 2), Dependencies(3, 4)], {}, "", id="nothing"),
        pytest.param([Dependencies(1), Dependencies()], {}, "", id="one_lacks_it"),
        pytest.param(
            [Dependencies(None, None, "wss://a", 9)] * 2,
            {"routing_target": "wss://a", "agent_id": 9},
            ", both on routing wss://a and agent 9",
            id="target_and_agent",
        ),
        pytest.param([Dependencies(1, 2)], {"client_id": 1, "bot_id": 2}, "", id="one_number_shares_nothing"),
    ],
)
def test_common_is_what_all_members_share(
    dependencies: list[Dependencies], common: Mapping[str, object], words: str
) -> None:
    """The likely cause, in the body and in the summary."""
    members = [member(str(i), number=broken(i, dependencies=on)) for i, on in enumerate(dependencies)]
    body = told(report_of(*members), START)
    assert body.common == common
    assert body.summary.endswith(f"NO_BOT{words}")


def test_common_counts_all_members_not_only_the_listed() -> None:
    """A list that was cut does not make a cause."""
    members = [member(str(i), number=broken(i, dependencies=Dependencies(i // 60))) for i in range(100)]
    body = told(report_of(*members), START)
    assert body.common == {}


def test_common_of_reconfigured_numbers_is_what_they_hang_on_now() -> None:
    """Only what is gone now is as it was before."""
    watch = Watch(Rules(alerting=EVERY_KIND))
    watch.sync(*fleet(9))
    moved = [ready(index, dependencies=Dependencies(416, None)) for index in (1, 2)]
    watch.sync(*fleet(9, *moved))
    watch.sync(*fleet(9, *moved))
    body = watch.last_body()
    assert body.common == {"client_id": 416, "bot_id": 93}
    assert [number.client_id for number in body.numbers] == [416, 416]
    assert body.summary == (
        "acme-sales: 2 numbers reconfigured, both moved from client 415 to client 416 and lost bot 93"
    )


def test_actions_count_numbers_most_first() -> None:
    """A number that lists an action twice counts once."""
    twice = msgspec.structs.replace(broken(1), action_items=(ActionItem("A", "Do A"),) * 2)
    other = msgspec.structs.replace(
        broken(2), action_items=(ActionItem("B", "Do B"), ActionItem("A", "Do A"))
    )
    body = told(report_of(member("1", number=twice), member("2", number=other)), START)
    assert [(action.code, action.label, action.numbers) for action in body.actions] == [
        ("A", "Do A", 2),
        ("B", "Do B", 1),
    ]


def summary_of(made: Report) -> str:
    """Return the summary of a report about a connection of the fleet."""
    return told(made, START, watched=FLEET, scope="id-1").summary


@pytest.mark.parametrize(
    ("made", "words"),
    [
        pytest.param(
            report_of(member("1", number=broken(1))), "acme-sales: 1 number NO_BOT", id="one_number"
        ),
        pytest.param(
            report_of(*(member(str(i), number=broken(i, dependencies=Dependencies())) for i in range(1234))),
            "acme-sales: 1,234 numbers NO_BOT",
            id="many_numbers",
        ),
        pytest.param(
            report_of(member("1", number=ready(1)), kind=Kind.NUMBER_REMOVED, group=""),
            "acme-sales: 1 number gone from the inventory",
            id="removed",
        ),
        pytest.param(
            report_of(member("1", number=ready(1)), kind=Kind.RECONFIGURED, group=""),
            "acme-sales: 1 number reconfigured",
            id="reconfigured",
        ),
        pytest.param(
            report_of(member("id-1", detail="timeout"), kind=Kind.API_UNAVAILABLE, group=""),
            "VoiceLink API unavailable for acme-sales (timeout)",
            id="api_one",
        ),
        pytest.param(
            report_of(
                member("id-1", detail="timeout"),
                member("id-2", detail="network"),
                kind=Kind.API_UNAVAILABLE,
                group="",
            ),
            "VoiceLink API unavailable for 2 connections (network, timeout)",
            id="api_many",
        ),
        pytest.param(
            report_of(member("id-1", detail="unauthorized"), kind=Kind.ACCOUNT_REJECTED, group="acme"),
            "account acme: the API denies access to acme-sales (unauthorized)",
            id="account",
        ),
        pytest.param(
            report_of(
                member("id-2", detail="unlisted"), kind=Kind.CONNECTION_REJECTED, group="acme/unlisted"
            ),
            "acme-care: discovery no longer lists this connection",
            id="connection",
        ),
        pytest.param(
            report_of(
                member("id-2", detail="too_large"), kind=Kind.ANSWER_UNREADABLE, group="acme/too_large"
            ),
            "acme-care: the API's answer is unreadable (too_large)",
            id="unreadable",
        ),
        pytest.param(
            report_of(
                member("id-1", detail="rejected"),
                member("id-2", detail="rejected"),
                kind=Kind.CONNECTION_REJECTED,
                group="acme/rejected",
            ),
            "account acme: the API rejects 2 connections (rejected)",
            id="connections",
        ),
        pytest.param(
            report_of(
                member("id-1", detail="too_large"),
                member("id-2", detail="too_large"),
                kind=Kind.ANSWER_UNREADABLE,
                group="acme/too_large",
            ),
            "account acme: the API's answer for 2 connections is unreadable (too_large)",
            id="unreadable_many",
        ),
        pytest.param(
            report_of(member("id-3"), kind=Kind.SYNC_STALE, group=""),
            "no recent snapshot of globex",
            id="stale",
        ),
        pytest.param(
            report_of(member("hook", detail="HTTP 401"), kind=Kind.RECEIVER_FAILING, group="hook"),
            "receiver hook is not accepting alerts (HTTP 401)",
            id="receiver",
        ),
    ],
)
def test_summary_says_where_how_many_and_what(made: Report, words: str) -> None:
    """One line by kind."""
    assert summary_of(made) == words


@pytest.mark.parametrize(
    ("resolutions", "words"),
    [
        pytest.param((Resolution.RECOVERED,), "recovered after 1m", id="recovered"),
        pytest.param((Resolution.REMOVED,), "removed from the inventory after 1m", id="removed"),
        pytest.param((Resolution.ACCEPTED,), "accepted after 1m", id="accepted"),
        pytest.param((Resolution.IGNORED,), "ignored by a rule after 1m, not recovered", id="ignored"),
        pytest.param(
            (Resolution.UNCONFIGURED,), "no longer configured after 1m, not recovered", id="unconfigured"
        ),
        pytest.param(
            (Resolution.RECOVERED, Resolution.REMOVED), "ended for several reasons after 1m", id="mixed"
        ),
    ],
)
def test_summary_says_how_it_ended(resolutions: tuple[Resolution, ...], words: str) -> None:
    """People read the word: an ignored number did not recover."""
    made = report_of(ended=(member("1", number=broken(1)),), resolutions=resolutions)
    assert summary_of(made) == f"acme-sales: 1 number NO_BOT - {words}"


@pytest.mark.parametrize(
    ("lasted", "words"),
    [
        pytest.param(timedelta(0), "0s", id="at_once"),
        pytest.param(-SECOND, "0s", id="clock_went_back"),
        pytest.param(59 * SECOND, "59s", id="seconds"),
        pytest.param(12 * MINUTE + SECOND, "12m", id="minutes"),
        pytest.param(3 * HOUR, "3h", id="hours"),
        pytest.param(3 * HOUR + 5 * MINUTE, "3h 5m", id="hours_and_minutes"),
        pytest.param(48 * HOUR, "2d", id="days"),
        pytest.param(52 * HOUR + MINUTE, "2d 4h", id="days_and_hours"),
    ],
)
def test_summary_says_how_long_it_took(lasted: timedelta, words: str) -> None:
    """The way people say it."""
    made = report_of(
        ended=(member("1", number=broken(1)),), resolutions=(Resolution.RECOVERED,), lasted=lasted
    )
    assert summary_of(made).endswith(f"recovered after {words}")


def test_body_of_numbers_that_are_good_again_asks_for_nothing() -> None:
    """Until it is sure that they stay so; where one still drifts, it is about that one."""
    back = msgspec.structs.replace(member("1", number=broken(1)), back=ready(1))
    made = told(report_of(back), START)
    assert made.actions == []
    assert made.first_step == "Nothing for now: it is ready again, and the alert ends if that lasts."
    bad = told(report_of(back, member("2", number=broken(2))), START)
    assert [action.numbers for action in bad.actions] == [1]
    assert bad.first_step == "Fix NO_BOT: client 415."
    over = told(report_of(ended=(back,), resolutions=(Resolution.RECOVERED,)), START)
    assert [action.numbers for action in over.actions] == [1]
    assert states_now(report_of(back, member("2", number=broken(2)))) == {"NO_BOT": 1, "ready again": 1}
    assert states_now(report_of(ended=(back,), resolutions=(Resolution.RECOVERED,))) == {"NO_BOT": 1}


def test_body_of_a_failure_lists_connections_and_no_numbers() -> None:
    """Names, sorted; the account where it is about one; nothing that only numbers have."""
    made = report_of(member("id-2"), member("id-1"), kind=Kind.ACCOUNT_REJECTED, group="acme")
    body = told(made, START, watched=FLEET)
    assert (body.connections, body.connection, body.account) == (["acme-care", "acme-sales"], None, "acme")
    assert (body.numbers, body.numbers_total, body.numbers_added, body.numbers_ended) == ([], 0, 0, 0)
    assert (body.state, body.common, body.actions) == (None, {}, [])


@pytest.mark.parametrize("kind", [Kind.CONNECTION_REJECTED, Kind.ANSWER_UNREADABLE])
def test_body_of_one_connections_failure_names_it(kind: Kind) -> None:
    """Connection and account are the connection's, to the end."""
    firing = report_of(member("id-3"), kind=kind, group="globex/rejected")
    over = report_of(
        ended=(member("id-3"),), resolutions=(Resolution.RECOVERED,), kind=kind, group="globex/rejected"
    )
    for made in (firing, over):
        body = told(made, START, watched=FLEET)
        assert (body.connections, body.connection, body.account) == (["globex"], "globex", "globex")


@pytest.mark.parametrize("kind", [Kind.CONNECTION_REJECTED, Kind.ANSWER_UNREADABLE])
def test_body_of_several_connections_failure_names_their_account(kind: Kind) -> None:
    """Also when all but one have ended: what an alert is about never becomes another connection."""
    first, second = member("id-1"), member("id-2")
    both = told(report_of(first, second, kind=kind, group="acme/rejected"), START, watched=FLEET)
    assert (both.connections, both.connection) == (["acme-care", "acme-sales"], None)
    left = report_of(first, ended=(second,), kind=kind, group="acme/rejected")
    one = told(left, START, watched=FLEET)
    assert (one.connections, one.connection) == (["acme-sales"], None)
    assert (both.account, one.account) == ("acme", "acme")


def test_body_of_a_receiver_has_no_connections() -> None:
    """Its state is the receiver's name."""
    made = report_of(member("hook"), kind=Kind.RECEIVER_FAILING, group="hook")
    body = told(made, START, watched=FLEET)
    assert (body.connections, body.connection, body.account, body.state) == ([], None, None, "hook")


def test_body_of_a_connection_that_is_no_longer_known_still_reads() -> None:
    """Without its name the identity, or a plain word, stands in; nothing fails."""
    numbers = told(report_of(member("1", number=broken(1))), START, watched={})
    assert (numbers.connection, numbers.account, numbers.connections) == (None, None, [])
    assert numbers.summary == "unknown connection: 1 number NO_BOT"
    failure = told(
        report_of(member("id-9"), kind=Kind.ANSWER_UNREADABLE, group="acme/too_large"), START, watched={}
    )
    assert failure.summary.startswith("account acme: ")


def test_body_of_a_record_without_a_message_keeps_its_instant() -> None:
    """A change of the record alone is not a message: `updated_at` is the alert's."""
    members = (member("1", number=broken(1)),)
    silent = told(report_of(*members, notice=None), START + HOUR)
    assert (silent.change, silent.updated_at) == (Notice.UPDATED, "2026-03-01T12:00:00.000Z")
    loud = told(report_of(*members, notice=Notice.REMINDER), START + HOUR)
    assert (loud.change, loud.updated_at) == (Notice.REMINDER, "2026-03-01T13:00:00.000Z")


def test_body_without_urls_has_none() -> None:
    """No `external_url`, no link."""
    body: AlertBody = told(report_of(member("1", number=broken(1))), START, watched=WATCHED)
    assert (body.url, body.runbook_url, body.labels, body.status) == (None, None, {}, Status.FIRING)


def test_body_of_a_test_alert_can_be_made() -> None:
    """Every kind of the contract has its words."""
    body = told(report_of(member("test"), kind=Kind.TEST, group=""), START)
    assert (body.kind, body.summary) == (Kind.TEST, "test alert: nothing is wrong")
