"""Why an alert paged or did not, and how it will end."""

import re
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from monitor.drift.alert import Acknowledgement, AlertBody, Kind, Resolution, Severity, Status
from monitor.drift.episodes import Episode, Track
from monitor.drift.explain import Verdict
from monitor.drift.explain_alert import explain_alert
from monitor.drift.facts import AlertFacts, Failing, Hearing, Members, Syncs, Terms
from monitor.drift.failures import FailureRecords, FailureRules, Health, Streak, step
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Ignore, Rules
from monitor.errors import Outcome
from tests.fakes.alerts import BODY
from tests.unit.drift.build import MINUTE, RECHECK, SECOND, START, Watch, broken, fleet, key, ready

NAME = "acme-sales"
RULES = FailureRules()


def members(watch: Watch, *, rules: Rules | None = None) -> Members:
    """Return the open numbers of a connection, whose next sync is due in 12 seconds."""
    always = rules or watch.rules
    return Members(
        records=watch.records,
        keys=sorted(watch.open_keys),
        syncs=Syncs(name=NAME, due_at=watch.now + 12 * SECOND, streak=Streak(outcome=Outcome.OK, answers=1)),
        terms=Terms(rules_at=lambda _: always, guard=watch.guard),
    )


def drifting(*, numbers: int = 3) -> Watch:
    """Return a connection of ten with some numbers in an alert."""
    watch = Watch()
    watch.sync(*fleet(10))
    for _ in range(2):
        watch.sync(*fleet(10, *(broken(index) for index in range(1, numbers + 1))))
    return watch


def failing(kind: Kind = Kind.API_UNAVAILABLE, *, good: int = 0, flaps: int = 0, name: str = NAME) -> Failing:
    """Return a connection in a failure alert, good for so many syncs since a minute."""
    episode = Episode(
        id="e", alert_id="a", group="", opened_at=START, severity=Severity.CRITICAL, flaps=flaps
    )
    track = Track(
        kind=kind,
        key="id",
        since=START,
        detail="timeout",
        good=good,
        good_since=START + MINUTE,
        episode=episode,
    )
    streak = Streak(outcome=Outcome.OK, answers=good) if good else Streak(outcome=Outcome.TIMEOUT, failures=5)
    syncs = Syncs(name=name, due_at=START + 2 * MINUTE + 3 * SECOND, streak=streak)
    return Failing(name=name, track=track, syncs=syncs if kind is not Kind.RECEIVER_FAILING else None)


def body(**given: object) -> AlertBody:
    """Return a firing failure alert with other fields."""
    return msgspec.structs.replace(BODY, **({"kind": Kind.API_UNAVAILABLE} | given))


def test_alert_of_numbers_says_how_many_are_ready_again_and_when_it_ends() -> None:
    """Each number that is good says since when; the next instant is the first of any of them."""
    watch = drifting()
    alert = AlertFacts(body=watch.last_body())
    found = explain_alert(alert, [members(watch)], now=watch.now)
    assert (found.verdict, found.next_at) == (Verdict.PAGES, None)
    assert "Ready now: 0 of 3 numbers." in found.sentences
    watch.sync(*fleet(10, broken(2), broken(3)))
    found = explain_alert(alert, [members(watch)], now=watch.now)
    assert found.next_at == watch.now + 12 * SECOND
    assert "Ready now: 1 of 3 numbers." in found.sentences
    assert f"+{key(1)}: ready since 2026-03-01 12:01:00 UTC, in 1 of 2 syncs that end it." in found.sentences
    good_since = watch.now
    watch.sync(*fleet(10, broken(2), broken(3)))
    assert explain_alert(alert, [members(watch)], now=watch.now).next_at == good_since + 5 * MINUTE


def test_alert_whose_numbers_are_all_quiet_by_now_is_silenced() -> None:
    """A rule that came since takes them out with the next step, which is due now."""
    watch = drifting()
    alert = AlertFacts(body=watch.last_body())
    some = Rules(ignores=(Ignore(number=f"+{key(1)}"),))
    assert explain_alert(alert, [members(watch, rules=some)], now=watch.now).verdict is Verdict.PAGES
    found = explain_alert(alert, [members(watch, rules=Rules(ignores=(Ignore(number="*"),)))], now=watch.now)
    assert (found.verdict, found.next_at) == (Verdict.SILENCED, watch.now)
    assert any("now covers 3 of 3 numbers" in line for line in found.sentences)


def test_alert_that_no_filter_lets_through_is_filtered() -> None:
    """As a number of it is; and why is said of each receiver."""
    watch = drifting()
    deaf = Hearing(
        receiver="pd", refused="severity warning is below its min_severity critical", filtered=True
    )
    found = explain_alert(
        AlertFacts(body=watch.last_body(), hearings=[deaf]), [members(watch)], now=watch.now
    )
    assert found.verdict is Verdict.FILTERED
    assert "pd not told: severity warning is below its min_severity critical." in found.sentences


def test_part_is_told_and_acknowledged_by_its_widespread_alert() -> None:
    """What people know of a part is what they know of the whole."""
    known = Acknowledgement(by="asha", at="2026-03-01T12:00:30.000Z", note="on it")
    whole = AlertFacts(
        body=body(alert_id="whole", acknowledged=known), hearings=[Hearing(receiver="pd", told_at=START)]
    )
    found = explain_alert(AlertFacts(body=body(alert_id="part"), whole=whole), now=START + MINUTE)
    assert found.subject == "part"
    assert "It is part of widespread alert whole, which receivers hear of instead." in found.sentences
    assert "asha acknowledged it at 2026-03-01 12:00:30 UTC: on it; no reminders are sent." in found.sentences
    assert "pd told at 2026-03-01 12:00:00 UTC." in found.sentences


def test_ended_alert_says_when_how_and_after_how_long() -> None:
    """With its resolution in words; nothing more will happen."""
    over = body(
        kind=Kind.DRIFT,
        status=Status.RESOLVED,
        resolution=Resolution.RECOVERED,
        resolved_at="2026-03-01T12:12:00.000Z",
    )
    found = explain_alert(AlertFacts(body=over), now=START + 24 * 60 * MINUTE)
    assert (found.verdict, found.next_at) == (Verdict.ENDED, None)
    ended = "It opened at 2026-03-01 12:00:00 UTC and ended at 2026-03-01 12:12:00 UTC"
    assert any(line.startswith(ended) and "12 min" in line for line in found.sentences)


@pytest.mark.parametrize(
    ("which", "said", "next_s"),
    [
        pytest.param(
            failing(), f"{NAME}: failed 5 in a row (timeout), 3 open an alert; the next is due in 3 s.", None
        ),
        pytest.param(
            failing(good=1), f"{NAME}: answered 1 of 2 syncs that end it; the next is due in 3 s.", 123
        ),
        pytest.param(
            failing(good=2, flaps=1),
            f"{NAME}: answering since 2026-03-01 12:01:00 UTC, ends at 2026-03-01 12:06:00 UTC unless it "
            "fails again; it flapped once.",
            360,
        ),
        pytest.param(
            failing(Kind.RECEIVER_FAILING, name="pd"),
            "pd: has accepted nothing since 2026-03-01 12:00:00 UTC: timeout.",
            None,
        ),
        pytest.param(
            failing(Kind.RECEIVER_FAILING, good=2, name="pd"),
            "pd: accepting messages since 2026-03-01 12:01:00 UTC, ends at 2026-03-01 12:06:00 UTC unless it "
            "fails again.",
            360,
        ),
    ],
)
def test_failure_alert_says_how_each_of_it_stands(which: Failing, said: str, next_s: float | None) -> None:
    """Failed so often in a row, answering since, and when it ends."""
    alert = AlertFacts(body=body(kind=which.track.kind))
    found = explain_alert(alert, failing=[which], rules=RULES, now=START + 2 * MINUTE)
    assert said in found.sentences
    assert found.next_at == (START + timedelta(seconds=next_s) if next_s is not None else None)


def test_failure_alert_of_many_lists_some() -> None:
    """Ten by name, the others as a count."""
    many = [failing(name=f"acme-{index}") for index in range(1_200)]
    found = explain_alert(AlertFacts(body=body()), failing=many, rules=RULES, now=START)
    assert len([line for line in found.sentences if re.match("acme-[0-9]", line)]) == 10
    assert found.sentences[-1] == "And 1,190 more."


def test_failure_alert_ends_when_it_says() -> None:
    """The next instant is the one at which the policy ends it, and not a moment before."""
    down = Streak(outcome=Outcome.TIMEOUT, failures=3, same_kind=3)
    health = Health(
        identity="id",
        account="acme",
        streak=down,
        applied_at=START,
        since=START,
        interval=MINUTE,
        stale_after=5 * MINUTE,
    )
    records = step(FailureRecords(), [health], [], RULES, START + MINUTE).records
    answering = replace(health, streak=Streak(outcome=Outcome.OK, answers=2))
    records = step(records, [answering], [], RULES, START + 2 * MINUTE).records
    [track] = records.tracks.values()
    member = Failing(
        name=NAME, track=track, syncs=Syncs(name=NAME, due_at=START + 3 * MINUTE, streak=answering.streak)
    )
    found = explain_alert(AlertFacts(body=body()), failing=[member], rules=RULES, now=START + 2 * MINUTE)
    assert found.next_at is not None
    assert not step(records, [answering], [], RULES, found.next_at - timedelta(microseconds=1)).ended
    assert step(records, [answering], [], RULES, found.next_at).ended


def test_large_alert_finds_its_next_instant() -> None:
    """Of many numbers that rest only those that move are followed, and they say when."""
    watch = Watch(guard=Guard(ratio=1))
    many = range(1, 2_001)
    watch.sync(*fleet(len(many)))
    for _ in range(2):
        watch.sync(*(broken(index) for index in many))
    alert = AlertFacts(body=watch.last_body())
    assert explain_alert(alert, [members(watch)], now=watch.now).next_at is None
    for _ in range(2):
        watch.sync(*(broken(index) for index in many[:-1]), ready(many[-1]))
    found = explain_alert(alert, [members(watch)], now=watch.now)
    assert found.next_at == watch.now - RECHECK + 5 * MINUTE
    assert "Ready now: 1 of 2,000 numbers." in found.sentences
