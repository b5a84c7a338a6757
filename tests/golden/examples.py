"""One alert body for each kind of message, made by the pipeline itself: policy, failures, text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from monitor.drift.alert import (
    Acknowledgement,
    AlertBody,
    Kind,
    Notice,
    Resolution,
    Severity,
    with_acknowledgement,
    without_news,
)
from monitor.drift.alerts import Alert, Report
from monitor.drift.episodes import Ended, Track
from monitor.drift.failures import FailureRecords, FailureRules, Health, ReceiverHealth, Streak, step
from monitor.drift.rules import Ignore, Rules, Severities, Silence
from monitor.drift.snapshot import ActionItem, Dependencies, Number
from monitor.drift.text import Watched, Wording, body
from monitor.drift.widespread import Cause, Part, Spread, Tally, Widespread, look
from monitor.errors import Outcome
from tests.unit.drift.build import HOUR, MINUTE, SCOPE, SECOND, START, Watch, ready

WORDING = Wording(
    instance="prod",
    external_url="https://monitor.example.com",
    runbook_base_url="https://runbooks.example.com/voicelink",
    labels={"team": "voice"},
)
SEVERITIES = Severities.of(
    {"NO_BOT": Severity.CRITICAL, "ROUTING_MISSING": Severity.CRITICAL}, Severity.WARNING
)
RULES = Rules(severities=SEVERITIES, any_reconfiguration=True)
LABELS = {
    "NO_BOT": "Assign an active bot to the routing",
    "ROUTING_MISSING": "Create an inbound routing for the DID",
    "EXPIRED": "Renew the DID",
}
INVENTORY = 600
NAMES = {"client:400": "Acme Sales", "client:402": "Acme Care", "client:499": "Globex"}
NAMES |= {
    f"bot:{90 + index}": name for index, name in enumerate(["Greeter", "Booking", "Survey", "Callback"])
}
"""What the answer calls clients and bots; it names not all of them."""


def bad(index: int, *issues: str, client: int = 415) -> Number:
    """Return the n-th number with these issues; the first is its state."""
    return Number(
        key=ready(index).key,
        phone_number=ready(index).phone_number,
        state=issues[0],
        drifting=True,
        issues=issues,
        action_items=tuple(ActionItem(code, LABELS[code]) for code in issues),
        did_id=800 + index,
        dependencies=Dependencies(client),
    )


def inventory(*others: Number, without: Iterable[int] = ()) -> list[Number]:
    """Return the numbers of a connection, two to a bot and a hundred to a client."""
    replaced = {number.key: number for number in others}
    gone = {ready(index).key for index in without}
    numbers = [
        ready(index, dependencies=Dependencies(400 + index // 100, 90 + index // 10))
        for index in range(INVENTORY)
    ]
    return [replaced.get(number.key, number) for number in numbers if number.key not in gone]


def watching(rules: Rules = RULES) -> Watch:
    """Return a connection that was fine at first."""
    watch = Watch(rules)
    watch.guard = replace(watch.guard, ratio=1.0)
    watch.sync(*inventory())
    return watch


def broken_at(*numbers: Number, rules: Rules = RULES) -> Watch:
    """Return a connection in which these numbers went bad and alert."""
    watch = watching(rules)
    for _ in range(rules.confirm_syncs):
        watch.sync(*inventory(*numbers))
    return watch


def told(watch: Watch) -> AlertBody:
    """Return the last message."""
    return watch.last_body(WORDING, NAMES)


SIX = [bad(index, "NO_BOT", client=400) for index in range(10, 16)]


def opened_six() -> AlertBody:
    """Six numbers of one bot."""
    return told(broken_at(*SIX))


def opened_one() -> AlertBody:
    """One number, with two things to do."""
    return told(broken_at(bad(7, "ROUTING_MISSING", "NO_BOT", client=400)))


def opened_many() -> AlertBody:
    """500 numbers at once, of which the body lists 50."""
    return told(broken_at(*(bad(index, "NO_BOT", client=400 + index // 100) for index in range(500))))


def opened_after_maintenance() -> AlertBody:
    """What broke in a window is told at its end."""
    watch = broken_at(*SIX, rules=replace(RULES, muted=True))
    watch.rules = RULES
    watch.wait(2 * HOUR)
    return told(watch)


def updated() -> AlertBody:
    """Two joined, one recovered."""
    watch = broken_at(*SIX, rules=replace(RULES, keep_firing_for=timedelta(0)))
    joined = [bad(40, "NO_BOT", "EXPIRED", client=400), bad(41, "NO_BOT", client=400)]
    for _ in range(3):
        watch.sync(*inventory(*SIX[1:], *joined), after=MINUTE)
    watch.wait(5 * MINUTE)
    return told(watch)


def severity_risen() -> AlertBody:
    """An expired number loses its bot as well."""
    watch = broken_at(bad(7, "EXPIRED", client=400))
    watch.sync(*inventory(bad(7, "EXPIRED", "NO_BOT", client=400)), after=MINUTE)
    return told(watch)


def flapping() -> AlertBody:
    """A number that came and went, in a connection whose numbers share nothing."""
    numbers = [bad(index, "NO_BOT", client=400 + index // 100) for index in (5, 205)]
    watch = broken_at(*numbers)
    watch.sync(*inventory(numbers[0]), after=MINUTE)
    watch.sync(*inventory(*numbers), after=MINUTE)
    watch.sync(*inventory(*numbers, bad(305, "ROUTING_MISSING", "NO_BOT", client=403)), after=MINUTE)
    watch.sync(*inventory(bad(5, "ROUTING_MISSING", client=400), *numbers[1:]), after=5 * MINUTE)
    return told(watch)


def reminder() -> AlertBody:
    """The same again after some hours."""
    later = START + 6 * HOUR
    body = msgspec.structs.replace(opened_six(), change=Notice.REMINDER)
    return msgspec.structs.replace(body, updated_at=later.isoformat(timespec="milliseconds")[:-6] + "Z")


def taken_on(body: AlertBody, change: Notice = Notice.ACKNOWLEDGED, note: str | None = None) -> AlertBody:
    """The same once someone has acknowledged it, five minutes after it opened."""
    at = (datetime.fromisoformat(body.started_at) + 5 * MINUTE).isoformat(timespec="milliseconds")
    known = Acknowledgement(by="asha", at=at.replace("+00:00", "Z"), note=note)
    body = body if change is Notice.UPDATED else without_news(body)
    return with_acknowledgement(msgspec.structs.replace(body, change=change), known, body.severity)


def acknowledgement_ended() -> AlertBody:
    """What was acknowledged gets worse."""
    body = severity_risen()
    known = taken_on(body).acknowledged
    return with_acknowledgement(body, known, Severity.WARNING)


def recovered() -> AlertBody:
    """Ready again."""
    watch = broken_at(*SIX)
    watch.sync(*inventory(), after=3 * HOUR)
    watch.sync(*inventory())
    watch.wait(5 * MINUTE)
    return told(watch)


def ignored() -> AlertBody:
    """A rule silences them."""
    watch = broken_at(*SIX)
    watch.rules = replace(RULES, ignores=(Ignore(issue="NO_BOT"),))
    watch.wait(40 * MINUTE)
    return told(watch)


def silenced() -> AlertBody:
    """A person silences them for a while."""
    watch = broken_at(*SIX)
    watch.rules = replace(RULES, silences=(Silence(id="3f9a12bc44", state="NO_BOT"),))
    watch.wait(40 * MINUTE)
    return told(watch)


def removed() -> AlertBody:
    """The drifting numbers leave the inventory."""
    watch = broken_at(*SIX)
    for _ in range(2):
        watch.sync(*inventory(without=range(10, 16)), after=30 * SECOND)
    return told_by(watch, Kind.DRIFT)


def told_by(watch: Watch, kind: Kind) -> AlertBody:
    """Return the last message about alerts of a kind."""
    made = [made for made in watch.reports if made.alert.kind is kind][-1]
    return body(made, scope=SCOPE, watched=WATCHED, wording=WORDING, now=watch.now, names=NAMES)


def accepted() -> AlertBody:
    """A user accepts that they moved to another client."""
    watch = moved()
    watch.wait(25 * MINUTE, accept_all=True)
    return told(watch)


def unconfigured() -> AlertBody:
    """The connection is taken out of the config."""
    watch = broken_at(*SIX)
    watch.wait(2 * HOUR, unconfigured=True)
    return told(watch)


def mixed() -> AlertBody:
    """Some recover, the others are gone."""
    watch = broken_at(*SIX)
    for _ in range(2):
        watch.sync(*inventory(without=range(10, 12)), after=20 * MINUTE)
    return told_by(watch, Kind.DRIFT)


def number_removed() -> AlertBody:
    """Three numbers of one client leave the inventory."""
    watch = watching()
    for _ in range(2):
        watch.sync(*inventory(without=range(210, 213)))
    return told(watch)


def number_removed_for_good() -> AlertBody:
    """They do not come back."""
    watch = watching()
    for _ in range(2):
        watch.sync(*inventory(without=range(210, 213)))
    watch.wait(24 * HOUR)
    return told(watch)


def moved() -> Watch:
    """Return a connection in which two numbers moved to another client."""
    watch = watching()
    numbers = [ready(index, dependencies=Dependencies(499, 93)) for index in (33, 34)]
    for _ in range(2):
        watch.sync(*inventory(*numbers))
    return watch


def reconfigured() -> AlertBody:
    """Two numbers moved to another client."""
    return told(moved())


def bot_lost() -> AlertBody:
    """Three ready numbers lose their bot."""
    watch = watching()
    numbers = [ready(index, dependencies=Dependencies(400, None)) for index in (31, 32, 33)]
    for _ in range(2):
        watch.sync(*inventory(*numbers))
    return told(watch)


def reconfigured_again() -> AlertBody:
    """One of two moves on to another client, the other moves back."""
    watch = moved()
    moved_on = ready(33, dependencies=Dependencies(402, 93))
    watch.sync(*inventory(moved_on), after=5 * MINUTE)
    return told(watch)


def changed() -> AlertBody:
    """Of three numbers two break in another way, and one is ready again."""
    numbers = [bad(index, "NO_BOT", client=400) for index in (10, 11, 12)]
    watch = broken_at(*numbers)
    others = [bad(index, "ROUTING_MISSING", client=400) for index in (10, 11)]
    watch.sync(*inventory(*others, numbers[2]), after=MINUTE)
    watch.sync(*inventory(*others), after=3 * MINUTE)
    watch.wait(MINUTE)
    return told(watch)


WATCHED = {
    SCOPE: Watched(name="acme-sales", account="acme"),
    **{f"id-{index}": Watched(name=f"acme-{index:02}", account="acme") for index in range(40)},
}


def failing(
    outcomes: Mapping[str, Outcome], *, stale: bool = False, receivers: Sequence[ReceiverHealth] = ()
) -> AlertBody:
    """Return the message about connections whose syncs end like this, or about receivers."""
    streaks = {name: Streak(outcome=outcome, failures=3, same_kind=3) for name, outcome in outcomes.items()}
    fleet = [
        Health(
            identity=name,
            account="acme",
            streak=Streak(outcome=Outcome.RATE_LIMITED, failures=9) if stale else streak,
            applied_at=START - HOUR if stale else START,
            since=START - HOUR,
            interval=MINUTE,
            stale_after=5 * MINUTE,
        )
        for name, streak in streaks.items()
    ]
    made = step(FailureRecords(), fleet, receivers, FailureRules(), START)
    return body(made.reports[0], scope="fleet", watched=WATCHED, wording=WORDING, now=START)


def api_unavailable() -> AlertBody:
    """The API is away, for 40 connections."""
    kinds = (Outcome.TIMEOUT, Outcome.SERVER_ERROR)
    return failing({f"id-{index}": kinds[index % 2] for index in range(40)})


def api_back() -> AlertBody:
    """The API answers again."""
    outage = Health(
        identity="id-1",
        account="acme",
        streak=Streak(outcome=Outcome.NETWORK, failures=3, same_kind=3),
        applied_at=START,
        since=START,
        interval=MINUTE,
        stale_after=HOUR,
    )
    before = step(FailureRecords(), [outage], (), FailureRules(), START)
    back = replace(outage, streak=Streak(outcome=Outcome.OK, answers=2))
    now = START + 25 * MINUTE
    answering = step(before.records, [back], (), FailureRules(), now - 5 * MINUTE)
    made = step(answering.records, [back], (), FailureRules(), now)
    return body(made.reports[0], scope="fleet", watched=WATCHED, wording=WORDING, now=now)


def receiver_failing() -> AlertBody:
    """A receiver refuses the monitor."""
    refused = ReceiverHealth(
        name="hook",
        since=START - HOUR,
        troubled_since=START - HOUR,
        refused=True,
        refused_in_row=1,
        error="401 Unauthorized",
    )
    return failing({}, receivers=[refused])


def trial(*, over: bool) -> AlertBody:
    """What `test-alert` sends."""
    alert = Alert(
        id="test-1",
        kind=Kind.TEST,
        group="",
        started_at=START,
        updated_at=START,
        notified_at=START,
        severity=Severity.INFO,
        grown_at=START,
        version=1,
        resolutions=(Resolution.RECOVERED,) if over else (),
    )
    track = Track(kind=Kind.TEST, key="test", since=START)
    end = Ended(track=track, at=START + SECOND, resolution=Resolution.RECOVERED)
    made = Report(
        alert=alert,
        notice=Notice.RESOLVED if over else Notice.OPENED,
        members=() if over else (track,),
        ended=(end,) if over else (),
        added=0,
    )
    now = end.at if over else START
    return body(made, scope="test", watched=WATCHED, wording=WORDING, now=now)


def parts_of(body: AlertBody, connections: int) -> list[Part]:
    """Return the same alert of so many connections."""
    parts = []
    for place in range(1, connections + 1):
        name = f"acme-{place:02d}"
        one = msgspec.structs.replace(body, alert_id=f"part {place}", connection=name, connections=[name])
        states = {str(one.state): one.numbers_total}
        parts.append(Part(body=one, tally=Tally().after(one, place, told=True, states=states)))
    return parts


def widespread(connections: int = 35, *, over: bool = False) -> AlertBody:
    """The same six numbers of many connections, told when the first of them has one."""
    cause = Cause(account="acme", kind=Kind.DRIFT, state="NO_BOT")
    spread, bodies = Spread(wording=WORDING), [opened_six(), *([recovered()] if over else [])]
    alert = Widespread(
        id="3f1d2c9a8b7e6f5041322314",
        cause=cause,
        started_at=START,
        updated_at=START,
        severity=bodies[0].severity,
        version=0,
        told=None,
    )
    said = look(alert, parts_of(bodies[0], 1), spread, START, alone=5)
    if connections > 1:
        now = START + 5 * MINUTE
        said = look(said.alert, parts_of(bodies[0], connections), spread, now, alone=5)
    if over:
        said = look(said.alert, parts_of(bodies[1], connections), spread, START + HOUR)
    return said.body


EXAMPLES: Mapping[str, Callable[[], AlertBody]] = {
    "drift_opened_6": opened_six,
    "drift_opened_1": opened_one,
    "drift_opened_500": opened_many,
    "drift_opened_after_maintenance": opened_after_maintenance,
    "drift_updated": updated,
    "drift_changed": changed,
    "drift_severity_risen": severity_risen,
    "drift_flapping": flapping,
    "drift_reminder": reminder,
    "acknowledged": lambda: taken_on(opened_six()),
    "acknowledged_with_note": lambda: taken_on(opened_six(), note="rolling back <!channel> the *bot*"),
    "acknowledged_outage": lambda: taken_on(api_unavailable(), note="VoiceLink is on it"),
    "acknowledged_updated": lambda: taken_on(updated(), Notice.UPDATED, note="rolling back the bot"),
    "acknowledgement_ended": acknowledgement_ended,
    "resolved_recovered": recovered,
    "resolved_ignored": ignored,
    "resolved_silenced": silenced,
    "resolved_removed": removed,
    "resolved_accepted": accepted,
    "resolved_unconfigured": unconfigured,
    "resolved_mixed": mixed,
    "number_removed": number_removed,
    "number_removed_for_good": number_removed_for_good,
    "reconfigured": reconfigured,
    "reconfigured_again": reconfigured_again,
    "bot_lost": bot_lost,
    "widespread_opened": lambda: widespread(1),
    "widespread_updated": widespread,
    "widespread_resolved": lambda: widespread(over=True),
    "api_unavailable_40": api_unavailable,
    "api_back": api_back,
    "account_rejected": lambda: failing(dict.fromkeys(["id-1", "id-2"], Outcome.UNAUTHORIZED)),
    "connection_rejected": lambda: failing({"id-1": Outcome.NOT_FOUND}),
    "answer_unreadable": lambda: failing({"id-1": Outcome.TOO_LARGE}),
    "sync_stale": lambda: failing(dict.fromkeys(["id-1", "id-2"], Outcome.RATE_LIMITED), stale=True),
    "receiver_failing": receiver_failing,
    "test": lambda: trial(over=False),
    "test_over": lambda: trial(over=True),
}
