"""What a widespread alert tells of its parts, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from monitor.drift.alert import (
    Action,
    AlertBody,
    AlertChange,
    AlertNumber,
    Kind,
    Notice,
    Resolution,
    Severity,
    Status,
)
from monitor.drift.snapshot import ChangeKind
from monitor.drift.text import Wording
from monitor.drift.widespread import (
    Cause,
    Look,
    Part,
    Spread,
    Tally,
    Told,
    Widespread,
    at_once,
    joins,
    look,
)
from tests.fakes.alerts import AT, BODY, NUMBER

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SPREAD = Spread(connections=3)


def numbers(*keys: str, since: str = AT) -> list[AlertNumber]:
    """Return numbers with these keys."""
    return [msgspec.structs.replace(NUMBER, key=key, since=since) for key in keys]


def moves(*keys: str) -> list[AlertChange]:
    """Return a change of each number."""
    return [
        AlertChange(
            key=key,
            phone_number=f"+{key}",
            change=ChangeKind.CHANGED,
            previous_state="NO_BOT",
            state="EXPIRED",
            previous_issues=[],
            issues=[],
            was={},
            is_={},
        )
        for key in keys
    ]


def part(name: str, *keys: str, **also: Any) -> Part:
    """Return the part of a connection, with these numbers and as many tallied."""
    digest = also.pop("digest", hash(keys) >> 1)
    states = also.pop("states", {"NO_BOT": len(keys)})
    tally = also.pop("tally", Tally(added=len(keys), digest=digest, states=states))
    values = {
        "alert_id": f"of {name}",
        "connection": name,
        "connections": [name],
        "severity": Severity.WARNING,
        "numbers": numbers(*keys),
        "numbers_total": len(keys),
        "actions": [Action(code="NO_BOT", label="Assign a bot", numbers=len(keys))],
    }
    return Part(body=msgspec.structs.replace(BODY, **(values | also)), tally=tally)


def ended(one: Part, how: Resolution = Resolution.RECOVERED) -> Part:
    """Return a part that is over."""
    body = msgspec.structs.replace(one.body, status=Status.RESOLVED, resolution=how)
    return replace(one, body=body, tally=msgspec.structs.replace(one.tally, ended=one.tally.added))


def alert(told: Told | None = None, severity: Severity = Severity.WARNING, version: int = 0) -> Widespread:
    """Return a widespread alert that began an hour ago."""
    return Widespread(
        id="w",
        cause=Cause(account="acme", kind=Kind.DRIFT, state="NO_BOT"),
        started_at=START - 60 * MINUTE,
        updated_at=START - 60 * MINUTE,
        severity=severity,
        version=version,
        told=told,
    )


def opened(*parts: Part) -> Look:
    """Return the first message about these parts."""
    return look(alert(), parts, SPREAD, START)


A, B = part("acme-1", "1", "2"), part("acme-2", "3")


@pytest.mark.parametrize(
    ("spread", "growing", "alone", "joined"),
    [
        (Spread(connections=3), False, 2, False),
        (Spread(connections=3), False, 3, True),
        (Spread(connections=3), True, 0, True),
        (Spread(connections=0), True, 9, False),
        (Spread(connections=3, update_interval=timedelta(0)), True, 9, False),
    ],
)
def test_the_first_alerts_stay_alone_and_the_rest_join(
    spread: Spread, growing: bool, alone: int, joined: bool
) -> None:
    """So many page by themselves; one that grows takes all; off takes none."""
    assert joins(spread, growing=growing, alone=alone) is joined


@pytest.mark.parametrize(
    ("parts", "after", "notice", "tells_after"),
    [
        pytest.param((A, B), MINUTE, None, None, id="nothing happened"),
        pytest.param((A,), MINUTE, None, 5 * MINUTE, id="a part is gone, too early to say"),
        pytest.param((A, B, part("acme-3", "4")), MINUTE, None, 5 * MINUTE, id="a part joined, too early"),
        pytest.param((A, B, part("acme-3", "4")), 5 * MINUTE, Notice.UPDATED, None, id="a part joined"),
        pytest.param(
            (A, part("acme-2", "3", digest=1)), 5 * MINUTE, Notice.UPDATED, None, id="a state changed"
        ),
        pytest.param(
            (A, part("acme-2", "3", digest=1)), -60 * MINUTE, Notice.UPDATED, None, id="clock set back"
        ),
        pytest.param(
            (A, part("acme-2", "3", severity=Severity.CRITICAL)),
            MINUTE,
            Notice.UPDATED,
            None,
            id="it is worse",
        ),
        pytest.param(
            (A, part("acme-2", "3", severity=Severity.INFO)), 9 * MINUTE, None, None, id="it is better"
        ),
        pytest.param((ended(A), ended(B)), MINUTE, Notice.RESOLVED, None, id="all are over"),
        pytest.param((ended(A), B), MINUTE, None, 5 * MINUTE, id="one is over, too early to say"),
        pytest.param((ended(A), B), 5 * MINUTE, Notice.UPDATED, None, id="one is over"),
    ],
)
def test_what_is_told_and_when(
    parts: tuple[Part, ...], after: timedelta, notice: Notice | None, tells_after: timedelta | None
) -> None:
    """Each row of the table at the top of the module, after a first message about two parts."""
    first = opened(A, B)
    assert (first.notice, first.alert.version, first.tells_at) == (Notice.OPENED, 1, None)
    second = look(first.alert, parts, SPREAD, START + after)
    assert second.notice is notice
    assert second.tells_at == (None if tells_after is None else START + tells_after)
    assert second.alert.version == 1 + (notice is not None)
    assert second.body.status is (Status.RESOLVED if notice is Notice.RESOLVED else Status.FIRING)
    assert second.alert.severity.rank >= first.alert.severity.rank


@pytest.mark.parametrize(
    ("step", "others_fire", "now"),
    [
        (A, True, False),
        (A, False, False),
        (part("acme-1", "1", severity=Severity.CRITICAL), True, True),
        (part("acme-1", "1", severity=Severity.INFO), True, False),
        (ended(A), True, False),
        (ended(A), False, True),
        (ended(part("acme-1", "1", severity=Severity.CRITICAL)), True, False),
    ],
)
def test_the_last_end_and_what_is_worse_do_not_wait(step: Part, others_fire: bool, now: bool) -> None:
    """Everything else waits for the next look."""
    assert at_once(alert(), step.body, others_fire=others_fire) is now


def test_a_body_adds_up_its_parts() -> None:
    """Connections are named, numbers and actions are counted, and only what all share is common."""
    wording = Wording(
        instance="prod", external_url="https://m", runbook_base_url="https://r", labels={"a": "b"}
    )
    parts = [
        part("acme-2", "5", "6", common={"client_id": 7, "bot_id": 93}, common_names={"bot_id": "Greeter"}),
        part(
            "acme-1",
            "9",
            common={"client_id": 8, "bot_id": 93},
            common_names={"bot_id": "Greeter", "client_id": "Sales"},
            first_step="Renew it.",
        ),
    ]
    body = look(alert(), parts, Spread(wording=wording), START, alone=5).body
    assert body.connections == ["acme-1", "acme-2"]
    assert (body.connection, body.account, body.state, body.widespread, body.part_of) == (
        None,
        "acme",
        "NO_BOT",
        True,
        None,
    )
    assert body.summary == (
        "2 connections of acme: 3 numbers NO_BOT, all on bot Greeter (93); "
        "5 other connections of acme have alerts of their own"
    )
    assert (body.common, body.common_names) == ({"bot_id": 93}, {"bot_id": "Greeter"})
    assert (body.numbers_total, body.numbers_listed, body.numbers_added, body.numbers_ended) == (3, 3, 3, 0)
    assert body.actions == [Action(code="NO_BOT", label="Assign a bot", numbers=3)]
    assert body.first_step == "Assign a bot; all 3 numbers are on bot Greeter (93)."
    assert (body.instance, body.url, body.runbook_url) == ("prod", "https://m/alerts/w", "https://r/drift")
    assert body.labels == {"a": "b"}


def test_the_summary_speaks_of_the_present_however_few_numbers_are_listed() -> None:
    """Of more numbers than a body lists, those that changed their state or are ready again count as that."""
    many = {"numbers_total": 100, "numbers": numbers("1"), "connection": "acme-1"}
    half = part("acme-1", "1", states={"NO_BOT": 60, "ready again": 40}, **many)
    body = opened(half, part("acme-2", "3", states={"ROUTING_MISSING": 1})).body
    assert body.summary.startswith(
        "2 connections of acme: 101 numbers, 60 NO_BOT, 40 ready again and 1 ROUTING_MISSING"
    )


def test_a_body_whose_numbers_are_all_good_again_asks_for_nothing() -> None:
    """As its parts do, once none of them is in trouble."""
    wait = "Nothing for now: it is ready again, and the alert ends if that lasts."
    good = part("acme-1", "1", "2", actions=[], first_step=wait)
    assert opened(good, good).body.first_step.startswith("Nothing for now: all 4 numbers are ready again")
    assert "Assign" in opened(good, B).body.first_step


def test_numbers_are_listed_newest_first_up_to_the_limit() -> None:
    """As in any alert, whichever part they are in."""
    late, early = "2026-03-01T12:05:00.000Z", "2026-03-01T11:00:00.000Z"
    parts = [
        part("acme-1", "1", "2", numbers=numbers("1", since=late) + numbers("2", since=early)),
        part("acme-2", "3", "4", numbers=numbers("3", since=late) + numbers("4", since=AT)),
    ]
    body = look(alert(), parts, Spread(wording=Wording(max_listed_numbers=3)), START).body
    assert [number.key for number in body.numbers] == ["1", "3", "4"]
    assert (body.numbers_listed, body.numbers_total) == (3, 4)


def test_the_end_names_the_last_members_and_how_all_ended() -> None:
    """Parts whose end was told before are not listed again, but they count for the resolution."""
    first = opened(A, B)
    second = look(first.alert, [ended(A), B], SPREAD, START + 5 * MINUTE)
    assert (second.body.numbers_total, second.body.numbers_ended, second.body.connections) == (
        1,
        2,
        ["acme-2"],
    )
    last = look(second.alert, [ended(B, Resolution.REMOVED)], SPREAD, START + 6 * MINUTE)
    assert (last.notice, last.body.resolution, last.body.numbers_total) == (
        Notice.RESOLVED,
        Resolution.MIXED,
        1,
    )
    assert last.body.summary == "acme-2: 1 number NO_BOT - ended for several reasons after 1h 6m"
    alike = look(first.alert, [ended(A), ended(B)], SPREAD, START + MINUTE)
    assert (alike.body.resolution, alike.body.connections) == (Resolution.RECOVERED, ["acme-1", "acme-2"])


def test_what_a_part_says_twice_is_tallied_once() -> None:
    """Until it is told by itself a part counts from its own last message; afterwards it begins again."""

    def said(added: int, ended: int, *moved: str) -> AlertBody:
        return msgspec.structs.replace(
            BODY, numbers_added=added, numbers_ended=ended, changes_total=len(moved), changes=moves(*moved)
        )

    tally = Tally().after(said(2, 0), 1, told=True)
    assert tally.counts == (2, 0, 0)
    tally = tally.after(said(1, 0, "1"), 2, told=False).after(said(3, 1, "2", "1"), 3, told=True)
    assert tally.counts == (5, 1, 2)
    tally = tally.after(said(1, 1, "3"), 4, told=False)
    assert (tally.counts, tally.digest) == ((6, 2, 3), 4)
    assert [move.key for move in tally.moves] == ["3", "2", "1"]


def test_changes_are_those_since_the_last_message() -> None:
    """Each is told once, those of the part that moved last first."""

    def moved(name: str, at: str, *keys: str) -> Part:
        tally = Tally(added=1, moved=len(keys), moves=tuple(moves(*keys)), digest=len(keys))
        return part(name, "1", tally=tally, updated_at=at)

    first = opened(moved("acme-1", "T1", "a"), moved("acme-2", "T1"))
    parts = [moved("acme-1", "T2", "b", "a"), moved("acme-2", "T3", "d", "c")]
    body = look(first.alert, parts, SPREAD, START + 5 * MINUTE).body
    assert (body.changes_total, [move.key for move in body.changes]) == (3, ["d", "c", "b"])


def test_as_many_changes_are_told_as_may_be_listed() -> None:
    """Of more than fifty numbers, too."""
    keys = [str(index) for index in range(60)]
    body = msgspec.structs.replace(BODY, changes_total=60, changes=moves(*keys))
    tally = Tally().after(body, 1, told=True)
    spread = replace(SPREAD, wording=Wording(max_listed_numbers=70))
    made = look(alert(), [part("acme-1", "1", tally=tally), part("acme-2", "2", tally=tally)], spread, START)
    assert (made.body.changes_total, len(made.body.changes)) == (120, 70)


def test_one_that_hears_late_gets_a_version_of_its_own() -> None:
    """Nothing else changes: what the others were told, and when, stays."""
    first = opened(A, B)
    late = look(first.alert, [A, B, part("acme-3", "4")], SPREAD, START + MINUTE, heard_first=True)
    assert (late.notice, late.alert.version, late.alert.told) == (None, 2, first.alert.told)
    assert late.tells_at == START + 5 * MINUTE
