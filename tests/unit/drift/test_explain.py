"""Why a number paged or did not: the verdict and the next instant are the policy's, the figures right."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.episodes import silent
from monitor.drift.explain import Verdict, explain_number
from monitor.drift.explain_alert import explain_alert
from monitor.drift.facts import (
    AlertFacts,
    Hearing,
    Members,
    NumberFacts,
    PastEpisode,
    Quiet,
    QuietKind,
    Syncs,
    Terms,
    quieted_by,
)
from monitor.drift.failures import Streak
from monitor.drift.foresight import in_hold
from monitor.drift.phrases import WORDS
from monitor.drift.plausibility import Guard, seen_again
from monitor.drift.policy import Records, judge, step
from monitor.drift.rules import Ignore, Rules, Silence
from monitor.drift.snapshot import Dependencies, Snapshot
from monitor.errors import Outcome
from tests.fakes.alerts import BODY
from tests.unit.drift.build import (
    MINUTE,
    RECHECK,
    SCOPE,
    SECOND,
    START,
    Watch,
    broken,
    fleet,
    key,
    ready,
)
from tests.unit.drift.lives import GUARD, NUMBERS, Event, Life, histories, rules_at

NAME = "acme-sales"
OK = Streak(outcome=Outcome.OK, answers=2)


def facts_of(watch: Watch, index: int = 1, *, rules: Rules | None = None, **given: object) -> NumberFacts:
    """Return what is known of a number of a watched connection, whose next sync is due in 12 seconds."""
    always = rules or watch.rules
    known = {
        "key": key(index),
        "phone_number": f"+{key(index)}",
        "connection": NAME,
        "records": watch.records,
        "syncs": Syncs(
            name=NAME, due_at=watch.now + 12 * SECOND, streak=OK, synced_at=watch.now - 48 * SECOND
        ),
        "terms": Terms(rules_at=lambda _: always, guard=watch.guard),
    }
    return NumberFacts(**known | given)  # type: ignore[arg-type]


def said(facts: NumberFacts, now: datetime) -> str:
    """Return the explanation as one text."""
    return "\n".join(explain_number(facts, now).sentences)


def drifting(*, syncs: int, rules: Rules | None = None) -> Watch:
    """Return a connection of ten whose first number drifts for so many syncs."""
    watch = Watch(rules)
    watch.sync(*fleet(10))
    for _ in range(syncs):
        watch.sync(*fleet(10, broken(1)))
    return watch


# The verdict and the next instant are what the policy does.


class Ahead(Life):
    """Goes on from a life's records with the same answer, by the policy's own clock."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.records, self.now, self.variant = life.records, life.now, life.variant

    def instants(self, name: str, due_at: datetime, *, most: int = 60) -> Iterator[datetime]:
        """Yield the instants at which something happens to a number: at most one, within so many steps."""
        last = self.records.snapshot
        at: datetime | None = self.now
        for _ in range(most):
            if at is None:
                return
            before = state(self.records, name)
            done = self._go(at, last if at == due_at else None)
            if state(self.records, name) != before:
                yield at
                return
            later = [each for each in (due_at, done) if each is not None and each > at]
            at = min(later, default=None)

    def _go(self, at: datetime, last: Snapshot | None) -> datetime | None:
        rules = rules_at(self.variant, at)
        verdict = None
        if last is not None:
            verdict = judge(self.records, seen_again(last), GUARD, at)
            assert verdict.reason is None, "the same answer again is believed"
        done = step(self.records, rules, at, scope=SCOPE, verdict=verdict)
        self.records = done.records
        return done.wakes_at


def state(records: Records, name: str) -> object:
    """Return all that the records say of a number."""
    known = records.snapshot
    tracks = [track for track in records.tracks.values() if track.key == name]
    return tracks, known and (known.numbers.get(name), known.unknown.get(name))


@settings(max_examples=30)
@given(events=histories(), after=st.sampled_from([timedelta(0), SECOND, MINUTE, 30 * MINUTE]))
def test_explanation_is_what_the_policy_does(events: list[Event], after: timedelta) -> None:
    """Of any number after any history: no error, and verdict and next instant are those of the policy."""
    life = Life().live(events)
    variant, now, due_at = life.variant, life.now + after, life.now + after + 12 * SECOND
    life.now = now
    rules = rules_at(variant, now)
    moves: dict[str, datetime | None] = {}
    for index in (*NUMBERS, 99):
        name = key(index)
        facts = NumberFacts(
            key=name,
            phone_number=f"+{name}",
            connection=NAME,
            records=life.records,
            syncs=Syncs(name=NAME, due_at=due_at, streak=OK),
            terms=Terms(rules_at=lambda at: rules_at(variant, at), guard=GUARD),
        )
        found = explain_number(facts, now)
        moves[name] = found.next_at
        tracks = [track for track in life.records.tracks.values() if track.key == name]
        held = life.records.hold
        bad = [track for track in tracks if not (track.good or track.gone)]
        pages = any(track.episode and not silent(track, rules, now) for track in tracks)
        assert (found.verdict is Verdict.PAGES) == pages
        if found.verdict is Verdict.PENDING:
            assert (held and in_hold(held, name)) or any(not track.episode for track in bad)
        if found.verdict is Verdict.SILENCED:
            assert bad
            assert all(silent(track, rules, now) or rules.muted for track in bad)
            assert quieted_by(facts, now) is not None or any(
                track.kind not in rules.alerting for track in bad
            )
        known = life.records.snapshot is not None and name in life.records.snapshot.numbers
        assert found.verdict is not (Verdict.ENDED if known else Verdict.READY)
        if held is None:
            assert found.next_at == next(Ahead(life).instants(name, due_at), None)
        elif in_hold(held, name):
            assert found.next_at is not None
            assert found.next_at <= due_at

    for alert in life.records.alerts:
        open_ = [track for track in life.records.tracks.values() if track.episode]
        keys = [track.key for track in open_ if track.episode and track.episode.alert_id == alert.id]
        members = Members(records=life.records, keys=keys, syncs=facts.syncs, terms=facts.terms)
        body = msgspec.structs.replace(BODY, alert_id=alert.id, kind=alert.kind)
        next_at = explain_alert(AlertFacts(body=body), [members], now=now).next_at
        assert next_at == min((at for key in keys if (at := moves[key])), default=None)


# What is said.


def test_pending_says_how_often_it_was_seen_and_when_there_is_news() -> None:
    """One more sync is needed, and it is due in twelve seconds."""
    watch = drifting(syncs=1)
    found = explain_number(facts_of(watch), watch.now)
    assert found.verdict is Verdict.PENDING
    assert found.next_at == watch.now + 12 * SECOND
    assert "Drift seen in 1 of 2 syncs needed; the next is due in 12 s." in found.sentences
    assert f"The last sync of {NAME}, 48 s ago, answered; the next is due in 12 s." in found.sentences
    assert f"+{key(1)} is drifting on {NAME}, NO_BOT." == found.sentences[0]


def test_page_says_when_it_was_confirmed_and_who_was_told() -> None:
    """Of each receiver: when it was told, or why it was not, in its own figures."""
    watch = drifting(syncs=2)
    body = watch.last_body()
    hearings = (
        Hearing(receiver="log", told_at=watch.now, own_log=True),
        Hearing(receiver="am", told_at=watch.now + SECOND),
        Hearing(receiver="pd", refused="severity warning is below its min_severity critical", filtered=True),
        Hearing(receiver="hook", waiting="3 tries, last answer 503"),
    )
    facts = facts_of(watch, alerts={body.alert_id: AlertFacts(body=body, hearings=hearings)})
    found = explain_number(facts, watch.now)
    assert found.verdict is Verdict.PAGES
    assert found.next_at is None
    assert found.sentences[-4:] == (
        "log told at 2026-03-01 12:00:45 UTC.",
        "am told at 2026-03-01 12:00:46 UTC.",
        "pd not told: severity warning is below its min_severity critical.",
        "hook not told yet: 3 tries, last answer 503.",
    )
    assert f"confirmed at 2026-03-01 12:00:45 UTC, with severity warning, in alert {body.alert_id}" in said(
        facts, watch.now
    )


def test_problem_says_what_it_lost_and_what_to_do_first() -> None:
    """By name; once the number is good again there is nothing to do."""
    names = {"client:415": "Acme Sales", "bot:93": "Greeter"}
    watch = Watch()
    for number in (ready(1), broken(1)):
        watch.read(Snapshot(numbers={number.key: number, key(2): ready(2)}, names=names))
    text = said(facts_of(watch), watch.now)
    assert "It lost bot Greeter (93)." in text
    assert "What to do: Fix NO_BOT: client Acme Sales (415)." in text
    watch.sync(ready(1), ready(2))
    assert "What to do" not in said(facts_of(watch), watch.now)
    for number in (ready(1, dependencies=Dependencies(415, None)), ready(2)):
        watch.sync(number, ready(3))
    assert f"voicelink-monitor accept {NAME}" in said(facts_of(watch, 1), watch.now)


def test_alert_that_no_filter_lets_through_is_filtered() -> None:
    """The log hears of everything, and pages no one; without other receivers there is no one to filter."""
    watch = drifting(syncs=2)
    body = watch.last_body()
    log = Hearing(receiver="log", told_at=watch.now, own_log=True)
    deaf = Hearing(receiver="pd", refused="its connections do not match", filtered=True)
    for hearings, verdict in (((log, deaf), Verdict.FILTERED), ((log,), Verdict.PAGES), ((), Verdict.PAGES)):
        alerts = {body.alert_id: AlertFacts(body=body, hearings=hearings)}
        assert explain_number(facts_of(watch, alerts=alerts), watch.now).verdict is verdict


def test_part_is_told_by_its_widespread_alert() -> None:
    """The receivers are those of the widespread alert, and so is the acknowledgement."""
    watch = drifting(syncs=2)
    body = watch.last_body()
    whole = AlertFacts(
        body=msgspec.structs.replace(BODY, alert_id="whole"),
        hearings=(Hearing(receiver="pd", told_at=watch.now),),
    )
    facts = facts_of(watch, alerts={body.alert_id: AlertFacts(body=body, whole=whole)})
    assert "part of widespread alert whole" in said(facts, watch.now)
    assert "pd told at" in said(facts, watch.now)


def test_number_that_is_ready_again_says_when_its_episode_ends() -> None:
    """First how many syncs are still needed, then the end of `keep_firing_for`, with the flaps so far."""
    watch = drifting(syncs=2)
    watch.sync(*fleet(10))
    watch.sync(*fleet(10, broken(1)))
    watch.sync(*fleet(10))
    good_since = watch.now
    assert "in 1 of 2 syncs that end it; the next is due in 12 s." in said(facts_of(watch), watch.now)
    watch.sync(*fleet(10))
    found = explain_number(facts_of(watch), watch.now)
    assert found.verdict is Verdict.PAGES
    assert found.next_at == good_since + 5 * MINUTE
    text = "\n".join(found.sentences)
    assert (
        "Ready since 2026-03-01 12:01:30 UTC, ends at 2026-03-01 12:06:30 UTC unless it drifts again." in text
    )
    assert "It flapped once since" in text


def test_held_answer_says_its_share_and_how_many_more_are_needed() -> None:
    """The number is ready as far as is known; the answers that say otherwise are counted."""
    watch = Watch(guard=Guard(min_hold=MINUTE))
    watch.sync(*fleet(10))
    for _ in range(2):
        watch.sync(*fleet(10, *(broken(index) for index in range(1, 7))))
    now = watch.now
    found = explain_number(facts_of(watch), now)
    assert found.verdict is Verdict.PENDING
    assert found.next_at == now + 12 * SECOND
    text = "\n".join(found.sentences)
    assert "Held: 60% of 10 numbers changed at once, 2 of 3 answers; 6 of 10 numbers would start" in text
    assert "No such answer is applied before 2026-03-01 12:01:30 UTC." in text
    assert "This number is in trouble in 2 of 2 held answers." in text
    other = explain_number(facts_of(watch, 9), now)
    assert other.verdict is Verdict.READY
    assert "This number is not in trouble in any of them." in other.sentences


RULE_END = "2026-03-02 12:00:00 UTC"
RULE = Ignore(number=f"+{key(1)}", until=START + 24 * 60 * MINUTE, reason="spare numbers")


def test_ignored_number_names_the_rule_its_reason_and_its_end() -> None:
    """It is silenced, and its alert opens when the rule ends."""
    watch = drifting(syncs=2, rules=Rules(ignores=(RULE,)))
    facts = facts_of(watch)
    found = explain_number(facts, watch.now)
    assert found.verdict is Verdict.SILENCED
    assert found.next_at == RULE.until
    rule = f"An [[ignore]] rule keeps this number quiet until {RULE_END}: spare numbers."
    assert rule in found.sentences
    assert quieted_by(facts, watch.now) == Quiet(
        kind=QuietKind.IGNORE, reason="spare numbers", until=RULE.until, by=None
    )


def test_silenced_number_names_who_silenced_it_and_until_when() -> None:
    """A silence has an id to end it by; one that waits for the number says so instead of a time."""
    for until, until_ready, end in ((RULE.until, False, RULE_END), (None, True, "it is ready")):
        silence = Silence(id="s1", until=until, until_ready=until_ready, reason="moving", by="asha")
        watch = drifting(syncs=2, rules=Rules(silences=(silence,)))
        facts = facts_of(watch)
        found = explain_number(facts, watch.now)
        assert (found.verdict, found.next_at) == (Verdict.SILENCED, until)
        assert f"Silence s1 of asha keeps this number quiet until {end}: moving." in found.sentences
        quiet = Quiet(kind=QuietKind.SILENCE, reason="moving", until=until, by="asha")
        assert quieted_by(facts, watch.now) == quiet


def test_rule_for_one_of_two_issues_keeps_nothing_quiet() -> None:
    """What is left alerts, and the explanation says what that is."""
    watch = Watch(Rules(ignores=(Ignore(issue="NO_BOT", reason="known"),)))
    watch.sync(*fleet(10))
    watch.sync(*fleet(10, broken(1, "NO_BOT", ("NO_BOT", "ROUTING_MISSING"))))
    facts = facts_of(watch)
    assert explain_number(facts, watch.now).verdict is Verdict.PENDING
    assert quieted_by(facts, watch.now) is None
    assert "An [[ignore]] rule keeps issue NO_BOT quiet: known." in said(facts, watch.now)
    assert "What is left alerts all the same: ROUTING_MISSING." in said(facts, watch.now)


def test_ready_number_says_which_rule_would_keep_it_quiet() -> None:
    """Only a rule for the whole number, and of several the one that ends last."""
    watch = Watch(Rules(ignores=(RULE, Ignore(number="*", reason="all of it"), Ignore(issue="NO_BOT"))))
    watch.sync(*fleet(10))
    found = quieted_by(facts_of(watch), watch.now)
    assert found is not None
    assert found.reason == "all of it"
    only = facts_of(watch, rules=Rules(ignores=(Ignore(issue="NO_BOT"),)))
    assert quieted_by(only, watch.now) is None


def test_maintenance_says_when_the_last_window_ends() -> None:
    """Windows that follow each other are one; what is confirmed waits for their end."""
    ends = [START + 10 * MINUTE, START + 30 * MINUTE]

    def rules(at: datetime) -> Rules:
        return Rules(muted=at < ends[-1], changes_at=min((end for end in ends if end > at), default=None))

    watch = drifting(syncs=2, rules=rules(START))
    facts = facts_of(watch, terms=Terms(rules_at=rules, guard=watch.guard))
    found = explain_number(facts, watch.now)
    assert found.verdict is Verdict.SILENCED
    assert found.next_at == ends[-1]
    assert "A maintenance window is open until 2026-03-01 12:30:00 UTC" in said(facts, watch.now)
    quiet = quieted_by(facts, watch.now)
    assert quiet is not None
    assert (quiet.kind, quiet.until) == (QuietKind.MAINTENANCE, ends[-1])


def test_maintenance_that_never_ends_names_no_end() -> None:
    """Where each window opens before the last one closes, no instant is the one to wait for."""

    def rules(at: datetime) -> Rules:
        return Rules(muted=True, changes_at=at + 60 * MINUTE)

    watch = drifting(syncs=2, rules=rules(START))
    facts = facts_of(watch, terms=Terms(rules_at=rules, guard=watch.guard))
    told = "A maintenance window is open, and the next one opens before it closes: no alert opens."
    assert told in said(facts, watch.now)
    quiet = quieted_by(facts, watch.now)
    assert quiet is not None
    assert (quiet.kind, quiet.until) == (QuietKind.MAINTENANCE, None)


def test_failing_connection_says_since_when_its_numbers_are_not_known() -> None:
    """How many failed in a row, of how many for an alert; or the alert that is open already."""
    watch = drifting(syncs=1)
    now = watch.now + 10 * MINUTE
    syncs = Syncs(
        name=NAME,
        due_at=now + 3 * SECOND,
        streak=Streak(outcome=Outcome.TIMEOUT, failures=2, same_kind=2),
        error="no answer within 30 s",
        applied_at=watch.now,
        synced_at=now,
    )
    text = said(facts_of(watch, syncs=syncs), now)
    assert "The last 2 syncs of acme-sales failed (timeout: no answer within 30 s)" in text
    assert "its numbers are known as of 2026-03-01 12:00:30 UTC" in text
    assert "Failed 2 of 3 in a row that open an alert; the next is due in 3 s." in text
    assert "cannot be seen" in text
    assert "is in failure alert f00" in said(facts_of(watch, syncs=replace(syncs, blind="f00")), now)


def test_connection_that_was_never_synced_has_a_first_sync() -> None:
    """Nothing is known yet, and that is what is said."""
    watch = Watch()
    syncs = Syncs(name=NAME, due_at=START + 5 * SECOND)
    text = said(facts_of(watch, syncs=syncs), START)
    assert "has not been synced yet; the first sync is due in 5 s." in text


def test_sync_that_is_overdue_says_since_when() -> None:
    """As where no daemon runs."""
    watch = drifting(syncs=1)
    late = watch.now + 2 * MINUTE
    assert "the next is overdue since 2026-03-01 12:00:42 UTC" in said(facts_of(watch), late)


def test_number_that_is_gone_is_not_ready() -> None:
    """Removed by the provider: it alerts for a day, then it has ended."""
    watch = Watch()
    watch.sync(*fleet(10))
    for _ in range(2):
        watch.sync(*fleet(9, first=2))
    facts = facts_of(watch, since=START + RECHECK)
    found = explain_number(facts, watch.now)
    assert found.verdict is Verdict.PAGES
    assert found.next_at == START + 2 * RECHECK + timedelta(hours=24)
    assert "is gone: acme-sales has not had it since 2026-03-01 12:00:15 UTC" in found.sentences[0]
    assert "unless the number returns or its removal is accepted before" in "\n".join(found.sentences)
    watch.wait(accept_all=True)
    past = PastEpisode(
        alert_id="a1",
        kind=Kind.NUMBER_REMOVED,
        opened_at=START,
        ended_at=START + 12 * MINUTE,
        resolution=Resolution.ACCEPTED,
    )
    after = facts_of(watch, past=past)
    assert explain_number(after, watch.now).verdict is Verdict.ENDED
    ended = "It was in alert a1 from 2026-03-01 12:00:00 UTC to 2026-03-01 12:12:00 UTC: accepted"
    assert ended in said(after, watch.now)


def test_number_that_was_ready_again_too_soon_says_how_often_it_was_seen() -> None:
    """It did not page, as one sync is not enough; one more ready one, and it is forgotten."""
    watch = drifting(syncs=1)
    watch.sync(*fleet(10))
    found = explain_number(facts_of(watch), watch.now)
    assert (found.verdict, found.next_at) == (Verdict.READY, watch.now + 12 * SECOND)
    assert found.sentences[-2:] == (
        "Drift seen in 1 of 2 syncs needed.",
        "Ready since 2026-03-01 12:00:45 UTC, in 1 of 2 syncs that end it; the next is due in 12 s.",
    )


def test_removal_that_is_only_recorded_says_so() -> None:
    """That is why no one was told."""
    watch = Watch(Rules(alerting=frozenset({Kind.DRIFT})))
    watch.sync(*fleet(10))
    watch.sync(*fleet(9, first=2))
    found = explain_number(facts_of(watch), watch.now)
    assert found.verdict is Verdict.ENDED
    assert found.sentences[-1] == "The config only records this (number_removed): no alert opens."


def test_number_of_a_connection_that_is_no_longer_watched_is_gone() -> None:
    """Nothing more will happen to it."""
    watch = Watch()
    facts = facts_of(watch, syncs=None, terms=None, gone_at=START, records=Records())
    found = explain_number(facts, START + MINUTE)
    assert found.verdict is Verdict.ENDED
    assert found.next_at is None
    assert found.sentences == (
        f"+{key(1)} is gone: the monitor has not watched acme-sales since 2026-03-01 12:00:00 UTC.",
    )


@pytest.mark.parametrize("state", ["NO_BOT", "ROUTING_MISSING"])
def test_state_says_what_else_is_wrong(state: str) -> None:
    """Issues beyond the state are named beside it, and how long it has been so."""
    watch = Watch()
    watch.sync(*fleet(3))
    watch.sync(*fleet(3, broken(1, state, ("NO_BOT", "ROUTING_MISSING"))))
    other = {"NO_BOT": "ROUTING_MISSING", "ROUTING_MISSING": "NO_BOT"}[state]
    facts = facts_of(watch, since=START)
    expected = f"drifting on {NAME}, {state} since 2026-03-01 12:00:00 UTC (30 s), with {other}."
    assert expected in explain_number(facts, watch.now).sentences[0]


def test_ready_number_is_ready() -> None:
    """Nothing is open, and nothing will happen."""
    watch = Watch()
    watch.sync(ready(1), ready(2))
    found = explain_number(facts_of(watch), watch.now)
    assert (found.verdict, found.next_at) == (Verdict.READY, None)
    assert Severity.WARNING not in "\n".join(found.sentences)


def test_every_kind_of_problem_has_words() -> None:
    """For what is seen of it, and what is seen when it is over."""
    assert set(WORDS) == {kind for kind in Kind if kind.about_numbers}
