"""Ignore rules and severities."""

from datetime import datetime

import pytest

from monitor.drift.alert import Kind, Severity
from monitor.drift.rules import Ignore, Rules, Severities
from monitor.drift.snapshot import Number
from tests.unit.drift.build import HOUR, MINUTE, START, broken, ready

BOTH = ("NO_BOT", "ROUTING_MISSING")


@pytest.mark.parametrize(
    ("rule", "number", "left"),
    [
        pytest.param(Ignore(), broken(1), None, id="everything"),
        pytest.param(Ignore(number="+9180*"), broken(1), None, id="by_phone_number"),
        pytest.param(Ignore(number="9180*"), broken(1), None, id="by_key"),
        pytest.param(Ignore(number="+44*"), broken(1), ("NO_BOT",), id="another_number"),
        pytest.param(Ignore(issue="NO_BOT"), broken(1), None, id="its_only_issue"),
        pytest.param(Ignore(issue="no_bot"), broken(1), None, id="issue_in_any_case"),
        pytest.param(
            Ignore(issue="NO_BOT"), broken(1, "NO_BOT", BOTH), ("ROUTING_MISSING",), id="one_of_two_issues"
        ),
        pytest.param(Ignore(issue="EXPIRED"), broken(1), ("NO_BOT",), id="an_issue_it_lacks"),
        pytest.param(Ignore(issue="NO_BOT"), broken(1, "NO_BOT", ()), None, id="state_stands_for_an_issue"),
        pytest.param(Ignore(state="no_bot"), broken(1, "NO_BOT", BOTH), None, id="by_state"),
        pytest.param(Ignore(state="EXPIRED"), broken(1), ("NO_BOT",), id="another_state"),
        pytest.param(
            Ignore(state="EXPIRED", issue="NO_BOT"), broken(1), ("NO_BOT",), id="issue_only_in_a_state"
        ),
        pytest.param(Ignore(until=START + MINUTE), broken(1), None, id="before_its_end"),
        pytest.param(Ignore(until=START), broken(1), ("NO_BOT",), id="at_its_end"),
    ],
)
def test_rules_take_issues_off_the_list(rule: Ignore, number: Number, left: tuple[str, ...] | None) -> None:
    """A number is silent only when no issue is left."""
    assert Rules(ignores=(rule,)).audible_issues(number, START) == left


def test_rules_together_may_silence_a_number() -> None:
    """Two rules that take an issue each leave nothing of two issues."""
    rules = Rules(ignores=(Ignore(issue="NO_BOT"), Ignore(issue="ROUTING_MISSING")))
    assert rules.audible_issues(broken(1, "NO_BOT", BOTH), START) is None


@pytest.mark.parametrize(
    ("rule", "silent"),
    [
        pytest.param(Ignore(number="+9180*"), True, id="whole_number"),
        pytest.param(Ignore(number="+9180*", issue="NO_BOT"), False, id="an_issue_of_it"),
        pytest.param(Ignore(number="+44*"), False, id="another"),
    ],
)
def test_rules_silence_a_removal_only_with_the_whole_number(rule: Ignore, *, silent: bool) -> None:
    """Who ignores an issue of a number still wants to hear that it is gone."""
    assert Rules(ignores=(rule,)).silent_when_gone(ready(1), START) is silent


@pytest.mark.parametrize(
    ("changes_at", "until", "wakes_at"),
    [
        pytest.param(None, None, None, id="nothing"),
        pytest.param(START + HOUR, None, START + HOUR, id="window"),
        pytest.param(START + HOUR, START + MINUTE, START + MINUTE, id="rule_ends_first"),
        pytest.param(None, START - MINUTE, None, id="rule_is_over"),
        pytest.param(None, START, None, id="rule_ends_now"),
    ],
)
def test_rules_wake_when_one_begins_or_ceases(
    changes_at: datetime | None, until: datetime | None, wakes_at: datetime | None
) -> None:
    """The next edge of a window or of an ignore is an instant to act."""
    assert Rules(changes_at=changes_at, ignores=(Ignore(until=until),)).wakes_at(START) == wakes_at


SEVERITIES = Severities.of({"No_Bot": Severity.CRITICAL, "spare": Severity.INFO}, Severity.WARNING)


@pytest.mark.parametrize(
    ("state", "issues", "severity"),
    [
        pytest.param("NO_BOT", (), Severity.CRITICAL, id="by_state"),
        pytest.param("no_bot", (), Severity.CRITICAL, id="in_any_case"),
        pytest.param("ELSE", (), Severity.WARNING, id="default"),
        pytest.param("SPARE", ("SPARE",), Severity.INFO, id="milder_than_default"),
        pytest.param("SPARE", ("NO_BOT",), Severity.CRITICAL, id="worst_issue"),
        pytest.param("NO_BOT", ("SPARE",), Severity.CRITICAL, id="state_worse_than_issue"),
    ],
)
def test_severities_take_the_worst(state: str, issues: tuple[str, ...], severity: Severity) -> None:
    """The worst of the state and the issues counts."""
    assert SEVERITIES.number(state, issues) is severity


def test_rules_of_connections_are_one_value_where_no_rule_tells_them_apart() -> None:
    """Of 10,000 connections there are not as many."""
    acme, every = Ignore(connection="acme-*"), Ignore()
    rules = Rules(ignores=(acme, every))
    assert (rules.of("acme-1") is rules, rules.of("other").ignores) == (True, (every,))


def test_severities_of_kinds() -> None:
    """A blind monitor is critical; a removal is a warning; the config may say otherwise by kind."""
    assert SEVERITIES.kind(Kind.API_UNAVAILABLE) is Severity.CRITICAL
    assert SEVERITIES.kind(Kind.NUMBER_REMOVED) is Severity.WARNING
    assert SEVERITIES.kind(Kind.TEST) is Severity.INFO
    louder = Severities.of({"NUMBER_REMOVED": Severity.CRITICAL}, Severity.WARNING)
    assert louder.kind(Kind.NUMBER_REMOVED) is Severity.CRITICAL
