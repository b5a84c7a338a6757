"""The Alertmanager receiver: what it posts, under which labels, and how it goes on when something is away."""

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from monitor.clock import rfc3339
from monitor.drift.alert import Kind, Resolution, Severity
from monitor.drift.snapshot import ActionItem
from monitor.drift.text import Wording
from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.redactor import Redactor
from monitor.notify.alertmanager import AlertmanagerReceiver, Login, PosterParts, Posters
from monitor.notify.alertmanager.labels import ALERT_NAMES, admitted, labels_of, reconcile
from monitor.notify.alertmanager.level import LabelSet, LevelState, Member
from monitor.notify.alertmanager.render import (
    MAX_BATCH,
    PostedAlert,
    annotations,
    batches,
    distinct,
    joined,
    problem_of,
)
from monitor.notify.retry import POSTPONED_S
from monitor.notify.routing import Route
from monitor.secret import Secret
from tests.descriptors import LACKS
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.level import FakeLevel, member
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage

ROUTE = Route(receiver="am")
WORDING = Wording(
    instance="prod",
    external_url="https://monitor.example.com",
    runbook_base_url="https://runbooks.example.com",
    labels={"team": "voice"},
)
MINUTE = timedelta(minutes=1)
EXPIRE = timedelta(minutes=30)
URL = "http://am-1:9093"

LABELS = {
    "alertname": "VoiceLinkDrift",
    "connection": "acme-sales",
    "account": "acme",
    "phone_number": "+918000000001",
    "state": "NO_BOT",
    "severity": "warning",
    "instance": "prod",
    "alert_id": "a1",
    "team": "voice",
}


def state_of(*members: Member, sets: tuple[LabelSet, ...] = ()) -> LevelState:
    """Return a state with these episodes."""
    return LevelState(read_at=START, members={each.id: each for each in members}, sets=sets)


def settle(
    state: LevelState, *, route: Route = ROUTE, wording: Wording = WORDING, now: datetime = START
) -> LevelState:
    """Return a state with its label sets as they are posted."""
    return reconcile(state, route, wording, alone=True, now=now)[0]


def later(state: LevelState, *members: Member) -> LevelState:
    """Return what the store says once these episodes moved on."""
    return replace(state, members={**state.members, **{each.id: each for each in members}})


def ended(each: Member, at: datetime) -> Member:
    """Return an episode that is over."""
    return replace(each, ended_at=at, resolution=Resolution.RECOVERED)


def alerts_of(
    state: LevelState, *, now: datetime = START, wording: Wording = WORDING
) -> list[dict[str, Any]]:
    """Return what is posted, decoded."""
    return [
        alert
        for batch in batches(state, wording, expires_at=rfc3339(now + EXPIRE))
        for alert in json.loads(joined(batch, rfc3339(now + EXPIRE)))
    ]


def test_alert_of_a_drifting_number_has_the_labels_of_the_contract() -> None:
    """Labels, times, annotations and links are as CONTRACT.md says."""
    [alert] = alerts_of(settle(state_of(member())), now=START + MINUTE)
    assert alert == {
        "labels": LABELS,
        "annotations": {
            "summary": "acme-sales: +918000000001 NO_BOT",
            "description": "State NO_BOT (was READY) since 2026-03-01 12:00 UTC. Issues: NO_BOT. "
            "To do: Assign a bot.",
            "runbook_url": "https://runbooks.example.com/drift",
        },
        "startsAt": "2026-03-01T12:00:00.000Z",
        "endsAt": "2026-03-01T12:31:00.000Z",
        "generatorURL": "https://monitor.example.com/alerts/a1",
    }


@pytest.mark.parametrize("kind", list(Kind))
def test_alert_name_and_summary_exist_for_every_kind(kind: Kind) -> None:
    """Whatever an episode is about, its alert can be sent and says something."""
    [alert] = alerts_of(settle(state_of(member(kind=kind)), route=Route(receiver="other")))
    assert alert["labels"]["alertname"] == ALERT_NAMES[kind]
    assert alert["annotations"]["summary"]
    assert all(alert["labels"].values())


def test_labels_of_a_failing_receiver_name_it() -> None:
    """A receiver's trouble has no connection; two of them are two alerts."""
    labels = labels_of(member(kind=Kind.RECEIVER_FAILING), WORDING)
    assert labels["receiver"] == "am"
    assert "connection" not in labels
    assert "state" not in labels


def test_labels_of_the_config_never_shadow_ours() -> None:
    """What an alert is about stays true whatever the config adds."""
    labels = labels_of(member(), replace(WORDING, labels={"connection": "x", "severity": "x", "team": "t"}))
    assert (labels["connection"], labels["severity"], labels["team"]) == ("acme-sales", "warning", "t")


def test_part_of_a_widespread_alert_is_labelled_and_linked_with_that_one() -> None:
    """Grouped by it, all parts are one notification, whose link leads to what people are told of."""
    [alert] = alerts_of(settle(state_of(replace(member(), told_as="w1"))))
    assert alert["labels"]["alert_id"] == "w1"
    assert alert["generatorURL"] == "https://monitor.example.com/alerts/w1"


def test_episode_posted_without_an_alert_id_keeps_its_labels() -> None:
    """Another label would be another alert: one that a user has silenced would page again."""
    labels = {name: value for name, value in LABELS.items() if name != "alert_id"}
    posted = LabelSet(member_id=member().id, labels=labels, changed_at=START, accepted_at=START)
    assert settle(state_of(member(), sets=(posted,))).sets == (posted,)


def test_labels_stay_when_a_connection_is_renamed() -> None:
    """A silence on an alert holds although people call its connection something else now."""
    before = settle(state_of(member()))
    after = settle(later(before, replace(member(), connection="acme-south")))
    assert [posted.labels for posted in after.sets] == [LABELS]


def test_only_what_moved_is_written_anew() -> None:
    """A post of all that is open, every minute, costs little while nothing changes."""
    state = settle(state_of(*(member(each) for each in range(1, 5))))
    [first] = batches(state, WORDING, expires_at=rfc3339(START + EXPIRE))
    before = {letter.member.id: [letter] for letter in first}
    state = replace(state, sets=[replace(each, accepted_at=START) for each in state.sets])
    moved = later(state, replace(first[0].member, severity=Severity.CRITICAL), ended(first[1].member, START))
    [second] = batches(settle(moved), WORDING, expires_at=rfc3339(START + MINUTE + EXPIRE), before=before)
    same = [letter for letter in second if letter in first]
    assert [letter.member for letter in same] == [letter.member for letter in first[2:]]
    assert all(any(letter is each for each in first) for letter in same)
    assert alerts_of(settle(moved), now=START + MINUTE) == json.loads(
        joined(second, rfc3339(START + MINUTE + EXPIRE))
    )


MOVED_LABELS: dict[str, Callable[[LevelState], LevelState]] = {
    "severity": lambda before: settle(
        later(before, replace(member(), severity=Severity.CRITICAL)), now=START + MINUTE
    ),
    "config label": lambda before: settle(
        before, wording=replace(WORDING, labels={"team": "calls"}), now=START + MINUTE
    ),
    "instance": lambda before: settle(before, wording=replace(WORDING, instance="eu"), now=START + MINUTE),
}


@pytest.mark.parametrize("move", MOVED_LABELS.values(), ids=MOVED_LABELS)
def test_labels_that_change_end_the_old_set_in_the_same_post(
    move: Callable[[LevelState], LevelState],
) -> None:
    """The old alert ends and the new one begins with the first startsAt, in one request."""
    after = move(settle(state_of(member())))
    [batch] = batches(after, WORDING, expires_at=rfc3339(START + MINUTE + EXPIRE))
    old, new = json.loads(joined(batch, rfc3339(START + MINUTE + EXPIRE)))
    assert old["labels"] == LABELS
    assert old["endsAt"] == "2026-03-01T12:01:00.000Z"
    assert old["annotations"]["resolution"] == "replaced"
    assert new["labels"] != LABELS
    assert new["endsAt"] == "2026-03-01T12:31:00.000Z"
    assert new["startsAt"] == old["startsAt"] == "2026-03-01T12:00:00.000Z"


def test_labels_that_change_back_are_one_open_alert() -> None:
    """A config edit that is taken back ends the set between, and not the one that holds again."""
    other = replace(WORDING, labels={})
    state = settle(
        settle(settle(state_of(member())), wording=other, now=START + MINUTE), now=START + 2 * MINUTE
    )
    ends = {alert["labels"].get("team"): alert["endsAt"] for alert in alerts_of(state)}
    assert ends == {"voice": "2026-03-01T12:30:00.000Z", None: "2026-03-01T12:02:00.000Z"}


def test_reconcile_writes_nothing_when_nothing_moved() -> None:
    """A post that says what the last one said costs the store nothing."""
    state = settle(state_of(member(1), member(2)))
    _, moves = reconcile(state, ROUTE, WORDING, alone=True, now=START + MINUTE)
    assert not moves


def test_end_of_an_episode_is_posted_with_its_resolution() -> None:
    """The end is when the episode ended, and the word says how."""
    before = settle(state_of(member()))
    after = settle(later(before, ended(member(), START + MINUTE)), now=START + 2 * MINUTE)
    [alert] = alerts_of(after, now=START + 3 * MINUTE)
    assert alert["endsAt"] == "2026-03-01T12:01:00.000Z"
    assert alert["annotations"]["resolution"] == "recovered"
    assert "To do" not in alert["annotations"]["description"]


def test_end_is_not_told_where_it_is_not_wanted() -> None:
    """Without send_resolved an ended episode is no longer posted: Alertmanager lets it expire."""
    quiet = replace(ROUTE, send_resolved=False)
    before = settle(state_of(member()), route=quiet)
    after = settle(later(before, ended(member(), START + MINUTE)), route=quiet)
    assert alerts_of(after) == []


def test_end_of_an_episode_that_was_never_posted_is_not_posted() -> None:
    """Who never heard of the trouble does not hear of its end."""
    strict = replace(ROUTE, min_severity=Severity.CRITICAL)
    before = settle(state_of(member()), route=strict)
    after = settle(later(before, ended(member(), START + MINUTE)), route=strict)
    assert alerts_of(after) == []


def test_number_that_drifts_again_is_not_ended_by_its_last_episode() -> None:
    """Two episodes with the same labels are one alert to Alertmanager: the open one is what it hears."""
    before = settle(state_of(member(1)))
    again = replace(member(1, opened_at=START + 5 * MINUTE), id="e2")
    after = settle(later(before, ended(member(1), START + MINUTE), again), now=START + 5 * MINUTE)
    assert len(after.sets) == 2
    [alert] = alerts_of(after)
    assert alert["startsAt"] == "2026-03-01T12:05:00.000Z"
    assert alert["endsAt"] == "2026-03-01T12:30:00.000Z"


def test_number_whose_episodes_are_all_over_ends_with_the_last() -> None:
    """Of several ends of one alert the latest is told."""
    sets = [
        LabelSet(member_id=f"e{n}", labels=LABELS, changed_at=START, ended_at=START + n * MINUTE)
        for n in (2, 3, 1)
    ]
    assert [posted.member_id for posted in distinct(sets)] == ["e3"]


FILTERS = {
    "no filter": (ROUTE, member(), True),
    "severity reached": (replace(ROUTE, min_severity=Severity.WARNING), member(), True),
    "severity not reached": (replace(ROUTE, min_severity=Severity.CRITICAL), member(), False),
    "its connection": (replace(ROUTE, connections=("x", "acme-*")), member(), True),
    "another connection": (replace(ROUTE, connections=("other-*",)), member(), False),
    "no connection": (replace(ROUTE, connections=("other-*",)), member(kind=Kind.RECEIVER_FAILING), False),
    "another receiver": (Route(receiver="hook"), member(kind=Kind.RECEIVER_FAILING), True),
}


@pytest.mark.parametrize(("route", "each", "passes"), FILTERS.values(), ids=FILTERS)
def test_filter_of_episodes(route: Route, each: Member, passes: bool) -> None:
    """Each episode passes by its own severity and connection."""
    assert admitted(each, route, alone=True) is passes


def test_receiver_with_several_urls_hears_of_its_own_trouble() -> None:
    """One member of a cluster is down: the others can say so."""
    assert admitted(member(kind=Kind.RECEIVER_FAILING), ROUTE, alone=False)


def test_episode_that_left_the_filters_is_posted_to_its_end() -> None:
    """Who was paged hears the end."""
    before = settle(state_of(member()))
    strict = replace(ROUTE, min_severity=Severity.CRITICAL)
    assert [alert["labels"] for alert in alerts_of(settle(before, route=strict))] == [LABELS]


def test_episode_that_is_forgotten_is_forgotten_here_too() -> None:
    """What retention deleted leaves nothing behind that could not be rendered."""
    before = settle(state_of(member()))
    after, moves = reconcile(replace(before, members={}), ROUTE, WORDING, alone=True, now=START)
    assert (list(after.sets), len(moves.gone)) == ([], 1)


BAD = {
    "no name": ({"alertname": ""}, {}, START, "it has no alertname"),
    "label name": ({"alertname": "A", "1x": "y"}, {}, START, "'1x' is not a valid label name"),
    "annotation name": ({"alertname": "A"}, {"a-b": "y"}, START, "'a-b' is not a valid label name"),
    "empty value": ({"alertname": "A", "x": ""}, {}, START, "a label is empty"),
    "ends early": ({"alertname": "A"}, {}, START - MINUTE, "it ends before it starts"),
    "fit": ({"alertname": "A", "x": "y"}, {"summary": "z"}, START, None),
}


@pytest.mark.parametrize(("labels", "texts", "end", "problem"), BAD.values(), ids=BAD)
def test_alert_that_would_be_refused_is_known_before(
    labels: dict[str, str], texts: dict[str, str], end: datetime, problem: str | None
) -> None:
    """One bad alert would have Alertmanager answer 400 for all of a request."""
    alert = PostedAlert(
        labels=labels, annotations=texts, starts_at=START.isoformat(), ends_at=end.isoformat()
    )
    assert problem_of(alert) == problem


def test_texts_that_are_no_utf8_are_repaired() -> None:
    """A lone surrogate from a lenient JSON does not keep an alert from being sent."""
    [alert] = alerts_of(settle(state_of(replace(member(), connection="acme \ud800"))))
    assert alert["labels"]["connection"] == "acme ?"


def test_description_tells_flaps_and_the_likely_cause() -> None:
    """On-call sees that it comes and goes, and what all of them share."""
    each = replace(member(flaps=2), common={"client_id": 415, "bot_id": 93})
    state = settle(state_of(each))
    text = annotations(state.sets[0], each, WORDING)["description"]
    assert "Flapped 2 times." in text
    assert "All numbers of this alert share client 415 and bot 93; start there." in text


@pytest.mark.parametrize(
    ("kind", "step", "end"),
    [
        (
            Kind.DRIFT,
            "Create an active VoiceLink WebSocket bot for client 415.",
            "for client 415. To do: Assign a Vocobase agent.",
        ),
        (
            Kind.NUMBER_REMOVED,
            "Find out why; if that is intended, run: voicelink-monitor accept acme",
            "run: voicelink-monitor accept acme",
        ),
    ],
)
def test_description_says_no_action_twice_and_ends_with_the_command(kind: Kind, step: str, end: str) -> None:
    """The first step is the provider's action with names put in; a command is copied up to the end."""
    items = (
        ActionItem("NO_BOT", "Create an active VoiceLink WebSocket bot for the mapped client"),
        ActionItem("NO_VOCOBASE_AGENT", "Assign a Vocobase agent."),
    )
    one = member(kind=kind)
    assert one.track.number is not None
    track = msgspec.structs.replace(
        one.track, number=msgspec.structs.replace(one.track.number, action_items=items)
    )
    each = replace(one, track=track, first_step=step, first_action=items[0].label, common={"client_id": 415})
    text = annotations(settle(state_of(each)).sets[0], each, WORDING)["description"]
    assert text.endswith(end)
    assert "share client 415; start there. To do first:" in text


def test_description_of_what_is_good_again_asks_for_nothing() -> None:
    """It only waits for its end."""
    each = replace(member(), first_step="Assign a bot.")
    good = replace(each, track=msgspec.structs.replace(each.track, good=2, good_since=START))
    text = annotations(settle(state_of(good)).sets[0], good, WORDING)["description"]
    assert "Ready again since 2026-03-01 12:00 UTC." in text
    assert "To do" not in text


def test_batches_of_a_big_fleet_are_bearable_and_complete() -> None:
    """Thousands of numbers are several requests; old and new labels of one number share one."""
    many = [member(index) for index in range(1, 1202)]
    before = settle(state_of(*many))
    worse = [replace(each, severity=Severity.CRITICAL) for each in many]
    sizes, split = [], 0
    for batch in batches(settle(later(before, *worse)), WORDING, expires_at=rfc3339(START + EXPIRE)):
        sizes.append(len(batch))
        counted = Counter(letter.member.id for letter in batch)
        split += sum(1 for times in counted.values() if times != 2)
    assert sum(sizes) == 2402
    assert max(sizes) <= MAX_BATCH
    assert split == 0


@dataclass
class Alertmanager:
    """Answers as told, and keeps what it was posted: `rounds` are the labels' numbers of each request."""

    clock: FakeClock
    status: Callable[[list[dict[str, Any]]], int] = lambda _: 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str = "bad label 918000000002"
    requests: list[tuple[float, list[dict[str, Any]], httpx.Request]] = field(default_factory=list)
    wait: asyncio.Event | None = None
    busy: int = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.busy += 1
        assert self.busy == 1, "a post overtook another one"
        alerts = json.loads(request.content)
        self.requests.append((self.clock.monotonic() - 1000, alerts, request))
        if self.wait is not None:
            await self.wait.wait()
        self.busy -= 1
        text = httpx.ByteStream(self.text.encode())
        return httpx.Response(self.status(alerts), headers=self.headers, stream=text)

    @property
    def at(self) -> list[float]:
        """Seconds at which requests came."""
        return [at for at, _, _ in self.requests]

    @property
    def sizes(self) -> list[int]:
        """How many alerts each request had."""
        return [len(alerts) for _, alerts, _ in self.requests]

    @property
    def last(self) -> dict[str, str]:
        """The end of each alert in the last request, by phone number."""
        return {
            alert["labels"]["phone_number"][-2:]: alert["endsAt"][11:19] for alert in self.requests[-1][1]
        }


class Counts(Counter[tuple[str, str]]):
    """Counts what the metrics would."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count a try."""
        self[receiver, outcome] += 1

    def store_error(self) -> None:
        """Count a failure of the store."""
        self["the store", "failed"] += 1


class World:
    """A receiver with one URL, and all that is around it."""

    def __init__(self, *, login: Login | None = None, wording: Wording = WORDING) -> None:
        self.clock = FakeClock(turns=300)
        self.level = FakeLevel(self.clock)
        self.alertmanager = Alertmanager(self.clock)
        self.counts = Counts()
        self.log = FakeLog()
        self.receiver = AlertmanagerReceiver(
            urls=[Address(URL)],
            route=ROUTE,
            wording=wording,
            resend_interval_s=60,
            expire_after=EXPIRE,
            timeout_s=10,
            login=login,
            parts=PosterParts(
                redactor=Redactor([login.secret] if login is not None else []),
                level=self.level,
                http=httpx.AsyncClient(transport=httpx.MockTransport(self.alertmanager)),
                clock=self.clock,
                rng=random.Random(0),
                metrics=self.counts,
                log=self.log.logger,
                shortage=no_shortage(),
            ),
        )
        self.posters = Posters()
        self.posters.replace([self.receiver])

    async def wake(self) -> None:
        """Tell the poster that something changed, and let it work."""
        self.posters.wake()
        await self.clock.settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Alertmanager]:
        """Run its poster meanwhile."""
        task = asyncio.create_task(self.posters.run())
        await self.clock.settle()
        yield self.alertmanager
        task.cancel()
        await asyncio.wait([task])


async def test_poster_repeats_what_is_open() -> None:
    """Every resend_interval everything is posted again, with an end that moves on."""
    world = World()
    world.level.put(member(1), member(2))
    async with world.running() as alertmanager:
        await world.clock.advance(120)
        assert alertmanager.at == [0, 60, 120]
        assert alertmanager.last == {"01": "12:32:00", "02": "12:32:00"}
    assert world.counts == {("am", "delivered"): 3}


async def test_poster_says_what_was_accepted() -> None:
    """News, and the first post after a start or a failure, are worth a line; what is repeated is not."""
    world = World()
    world.level.put(member(1), member(2))
    async with world.running() as alertmanager:
        await world.clock.advance(60)
        world.level.end("e1")
        await world.wake()
        alertmanager.status = lambda _: 503
        await world.clock.advance(60)
        alertmanager.status = lambda _: 200
        await world.clock.advance(60)
    said = [
        (line["log_level"], line["alerts"], line["news"])
        for line in world.log.of("delivery.sent")
        if line["log_level"] == "info"
    ]
    assert said == [("info", 2, 2), ("info", 2, 1), ("info", 2, 0)]
    assert {line["log_level"] for line in world.log.of("delivery.sent")} == {"info", "debug"}
    first = world.log.of("delivery.sent")[0]
    assert (first["receiver"], first["url"], first["answer"][:6]) == ("am", URL, "200 OK")


async def test_poster_posts_a_change_at_once() -> None:
    """A wake does not wait for resend_interval; the wait begins anew after it."""
    world = World()
    world.level.put(member(1))
    async with world.running() as alertmanager:
        await world.clock.advance(20)
        world.level.end("e1")
        world.level.put(member(2, opened_at=world.clock.now()))
        await world.wake()
        assert alertmanager.last == {"01": "12:00:20", "02": "12:30:20"}
        await world.clock.advance(60)
        assert alertmanager.at == [0, 20, 80]


async def test_poster_notices_what_other_processes_commit() -> None:
    """A replica that did not make the change posts it a few seconds later all the same."""
    world = World()
    world.level.put(member(1))
    async with world.running() as alertmanager:
        world.level.put(member(2))
        await world.clock.advance(6)
        assert alertmanager.at == [0, 5]


async def test_poster_reads_the_state_only_after_its_last_post() -> None:
    """Changes during a slow post are in the next one, which does not overtake it."""
    world = World()
    world.level.put(member(1))
    world.alertmanager.wait = let_go = asyncio.Event()
    async with world.running() as alertmanager:
        world.level.end("e1")
        await world.wake()
        await world.wake()
        assert alertmanager.sizes == [1]
        let_go.set()
        await world.clock.settle()
        assert alertmanager.sizes == [1, 1]
        assert alertmanager.last == {"01": "12:00:00"}


async def test_poster_repeats_an_end_for_fifteen_minutes_after_it_was_accepted() -> None:
    """An Alertmanager that restarts before it told anybody hears it again."""
    world = World()
    world.level.put(member(1))
    async with world.running() as alertmanager:
        world.level.end("e1")
        await world.wake()
        await world.clock.advance(14 * 60)
        assert alertmanager.at[-1] == 14 * 60
        await world.clock.advance(30 * 60)
        assert alertmanager.at[-1] == 15 * 60
    assert world.level.sets == {}


async def test_poster_keeps_an_end_until_it_is_accepted() -> None:
    """Hours of an Alertmanager that is away lose no resolve."""
    world = World()
    world.level.put(member(1))
    async with world.running() as alertmanager:
        alertmanager.status = lambda _: 503
        world.level.end("e1")
        await world.wake()
        await world.clock.advance(3 * 3600)
        alertmanager.status = lambda _: 200
        await world.clock.advance(61)
        assert alertmanager.last == {"01": "12:00:00"}
        assert world.level.errors == []
        await world.clock.advance(10 * 60)
        assert world.level.sets


@pytest.mark.parametrize("lack", [exc for exc, _ in LACKS.values()], ids=LACKS)
async def test_poster_that_lacks_resources_blames_no_alertmanager(lack: Exception) -> None:
    """Nothing is recorded of the URL or counted; what is open is posted a few seconds later."""
    world = World()
    world.level.put(member(1))
    async with world.running() as alertmanager:

        def fail(_: object) -> int:
            alertmanager.busy = 0
            raise lack

        alertmanager.status = fail
        world.level.end("e1")
        await world.wake()
        assert (world.counts, world.level.errors) == ({("am", "delivered"): 1}, [])
        assert world.log.of("delivery.failed") == []
        alertmanager.status = lambda _: 200
        await world.clock.advance(POSTPONED_S)
        assert alertmanager.last == {"01": "12:00:00"}
    assert world.counts == {("am", "delivered"): 2}


async def test_poster_backs_off_to_resend_interval_and_hears_no_wake_meanwhile() -> None:
    """A failing Alertmanager is not hammered, however much changes; each failure is counted and logged."""
    world = World()
    world.level.put(member(1))
    world.alertmanager.status = lambda _: 503
    async with world.running() as alertmanager:
        for _ in range(300):
            await world.wake()
            await world.clock.advance(1)
        waits = [after - before for before, after in zip(alertmanager.at, alertmanager.at[1:], strict=False)]
        assert waits[0] <= 1
        assert max(waits) <= 60
        assert 7 <= len(waits) <= 14
        assert world.counts["am", "retried"] == len(alertmanager.at)
        assert world.log.of("delivery.failed")[0]["error"].startswith("503 Service Unavailable")
    assert world.level.errors


async def test_poster_posts_when_a_user_asks_however_long_it_was_to_wait() -> None:
    """Once for each time: after a refusal that asked for an hour, and between two regular posts."""
    world = World()
    world.level.put(member(1))
    world.alertmanager.status = lambda _: 503
    world.alertmanager.headers = {"Retry-After": "3600"}
    async with world.running() as alertmanager:
        await world.clock.advance(30)
        assert alertmanager.at == [0]
        alertmanager.status = lambda _: 200
        world.level.asked = world.clock.now()
        await world.clock.advance(2)
        assert len(alertmanager.at) == 2
        await world.clock.advance(10)
        world.level.asked = world.clock.now()
        await world.clock.advance(6)
        assert len(alertmanager.at) == 3


async def test_poster_tries_what_was_refused_again_when_a_user_asks() -> None:
    """What made it refuse an alert may be mended there."""
    world = World()
    world.level.put(member(1))
    world.alertmanager.status = lambda alerts: 400 if alerts else 200
    async with world.running() as alertmanager:
        await world.clock.advance(60)
        assert alertmanager.sizes[-1] == 0
        alertmanager.status = lambda _: 200
        world.level.asked = world.clock.now()
        await world.clock.advance(6)
        assert alertmanager.sizes[-1] == 1


async def test_poster_honours_retry_after() -> None:
    """An Alertmanager behind a limiter says when to come again."""
    world = World()
    world.level.put(member(1))
    world.alertmanager.status = lambda _: 429
    world.alertmanager.headers = {"Retry-After": "45"}
    async with world.running() as alertmanager:
        await world.clock.advance(50)
        assert alertmanager.at == [0, 45]


async def test_poster_goes_on_from_memory_without_the_store() -> None:
    """What is open does not expire because the database is away."""
    world = World()
    world.level.put(member(1))
    async with world.running() as alertmanager:
        world.level.away = True
        await world.clock.advance(180)
        assert alertmanager.at == [0, 60, 120, 180]
        assert alertmanager.last == {"01": "12:33:00"}
        assert len(world.log.of("store.failed")) == 1
        world.level.away = False
        world.level.end("e1")
        await world.clock.advance(60)
        assert alertmanager.last == {"01": "12:03:00"}


async def test_poster_that_others_may_replace_goes_on_from_memory_until_its_lease_is_over() -> None:
    """What has ended meanwhile, as another process knows, must not fire again for as long as it is away."""
    world = World()
    world.level.is_shared = True
    world.level.put(member(1))
    async with world.running() as alertmanager:
        await world.clock.advance(50)
        world.level.away = True
        await world.clock.advance(250)
        assert alertmanager.at == [0, 60]
        world.level.away = False
        world.level.end("e1")
        await world.clock.advance(60)
        assert alertmanager.last == {"01": "12:05:00"}


async def test_poster_leaves_it_to_the_process_that_holds_the_lease() -> None:
    """Of several replicas one posts; another takes over when that one is gone."""
    world = World()
    world.level.put(member(1))
    world.level.elsewhere = True
    async with world.running() as alertmanager:
        await world.clock.advance(30)
        assert alertmanager.at == []
        world.level.elsewhere = False
        await world.clock.advance(6)
        assert len(alertmanager.at) == 1
        world.level.elsewhere = True
        await world.clock.advance(300)
        assert len(alertmanager.at) == 1


async def test_poster_that_lost_its_lease_stops_in_the_middle() -> None:
    """A process that was frozen finds that another one posts now, and does not post its old state."""
    world = World()
    world.level.put(*(member(index) for index in range(1, MAX_BATCH + 2)))
    world.alertmanager.wait = let_go = asyncio.Event()
    async with world.running() as alertmanager:
        world.level.elsewhere = True
        await world.clock.advance(60)
        let_go.set()
        await world.clock.advance(60)
        assert alertmanager.sizes == [MAX_BATCH]
    assert world.level.errors == []
    assert world.counts == {}


async def test_poster_is_silent_while_nothing_is_open() -> None:
    """Alertmanager is asked nothing but once at the start, to know that it is there."""
    world = World()
    async with world.running() as alertmanager:
        await world.clock.advance(600)
        assert alertmanager.sizes == [0]


async def test_poster_after_a_restart_ends_the_old_set_of_labels() -> None:
    """A config label that changed while the monitor was down does not leave the old alert firing."""
    world = World()
    world.level.put(member(1))
    settled, moves = reconcile(
        await world.level.read(None),  # type: ignore[arg-type]  # the fake has one URL
        ROUTE,
        replace(WORDING, labels={"team": "calls"}),
        alone=True,
        now=START,
    )
    assert settled.sets
    await world.level.write(None, moves)  # type: ignore[arg-type]  # as above
    async with world.running() as alertmanager:
        [(_, alerts, _)] = alertmanager.requests
        assert {alert["labels"]["team"]: alert["endsAt"][11:16] for alert in alerts} == {
            "calls": "12:00",
            "voice": "12:30",
        }


async def test_alert_that_is_refused_does_not_keep_the_others_back() -> None:
    """A 400 is for one alert: it is found, counted and logged once, and left out; the rest arrives."""
    world = World()
    world.level.put(*(member(index) for index in range(1, 9)))
    bad = "+918000000005"

    def answer(alerts: list[dict[str, Any]]) -> int:
        return 400 if any(alert["labels"]["phone_number"] == bad for alert in alerts) else 200

    world.alertmanager.status = answer
    async with world.running() as alertmanager:
        taken = {
            alert["labels"]["phone_number"]
            for _, alerts, _ in alertmanager.requests
            if answer(alerts) == 200
            for alert in alerts
        }
        assert len(taken) == 7
        before = len(alertmanager.requests)
        await world.clock.advance(60)
        assert alertmanager.sizes[before:] == [7]
    assert world.counts == {("am", "dead"): 1, ("am", "delivered"): 2}
    [line] = world.log.of("delivery.dead")
    assert line["episode_id"] == "e5"
    assert "918" not in line["error"]


async def test_alert_that_would_be_refused_is_not_sent() -> None:
    """It is counted and logged once, not with every post."""
    world = World(wording=replace(WORDING, labels={"1x": "y"}))
    world.level.put(member(1))
    async with world.running() as alertmanager:
        await world.clock.advance(120)
        assert alertmanager.sizes == [0, 0, 0]
    assert world.counts == {("am", "dead"): 1, ("am", "delivered"): 3}
    assert [line["error"] for line in world.log.of("delivery.dead")] == ["'1x' is not a valid label name"]


async def test_url_that_refuses_everything_is_failing() -> None:
    """A 400 to a request without alerts is not about an alert: nothing is given up."""
    world = World()
    world.level.put(member(1), member(2))
    world.alertmanager.status = lambda _: 400
    async with world.running():
        pass
    assert world.counts["am", "dead"] == 0
    assert world.counts["am", "retried"] == 1
    assert world.level.errors[0].startswith("400 Bad Request")


LOGINS = {
    "basic": (Login(username="ops", secret=Secret("s3cr3t")), "Basic b3BzOnMzY3IzdA=="),
    "bearer": (Login(secret=Secret("t0ken"), bearer=True), "Bearer t0ken"),
}


@pytest.mark.parametrize(("login", "header"), LOGINS.values(), ids=LOGINS)
async def test_poster_logs_in_and_never_shows_with_what(login: Login, header: str) -> None:
    """The header is what the RFCs say; an answer that quotes it is masked."""
    world = World(login=login)
    world.level.put(member(1))
    world.alertmanager.status = lambda _: 401
    quoted = [login.secret.reveal(), base64.b64encode(b"ops:s3cr3t").decode()]
    world.alertmanager.text = header if login.bearer else f"{header} is not {login.secret.reveal()}"
    async with world.running() as alertmanager:
        assert alertmanager.requests[0][2].headers["authorization"] == header
    assert "401 Unauthorized" in str(world.log.lines)
    assert not any(secret in str(world.log.lines) for secret in quoted)


async def test_receiver_closes_after_the_post_that_is_under_way() -> None:
    """A stop cuts no post off, begins none, and lets another replica in at once."""
    world = World()
    world.level.put(member(1))
    world.alertmanager.wait = let_go = asyncio.Event()
    async with world.running() as alertmanager:
        closing = asyncio.create_task(world.posters.close(5))
        await world.clock.settle()
        let_go.set()
        await closing
        assert alertmanager.sizes == [1]
    assert world.level.released
    assert world.counts == {("am", "delivered"): 1}


async def test_test_alert_carries_its_own_end() -> None:
    """It lasts longer than group_wait, so that people are told, and resolves itself."""
    world = World()
    told = await world.receiver.send_test(msgspec.structs.replace(BODY, kind=Kind.TEST))
    [(_, [alert], _)] = world.alertmanager.requests
    assert told.startswith(f"{URL}: 200 OK")
    assert alert["labels"]["alertname"] == "VoiceLinkTest"
    assert (alert["startsAt"][11:19], alert["endsAt"][11:19]) == ("12:00:00", "12:02:00")


async def test_test_alert_that_is_not_taken_says_where() -> None:
    """A test that fails names the URL and the answer."""
    world = World()
    world.alertmanager.status = lambda _: 401
    with pytest.raises(DeliveryError, match=f"{URL}: 401 Unauthorized") as caught:
        await world.receiver.send_test(BODY)
    assert caught.value.refusal is Refusal.FAILING


async def test_poster_has_old_urls_forgotten_once() -> None:
    """What was posted to a URL that the config no longer names goes, as soon as the store is there."""
    world = World()
    world.level.away = True
    async with world.running():
        await world.clock.advance(10)
        assert world.level.forgotten == []
        world.level.away = False
        await world.clock.advance(300)
        assert world.level.forgotten == [("am", [URL])]


async def test_receivers_of_a_reload_start_when_the_old_ones_posts_returned() -> None:
    """A post of the old config that is still under way is not overtaken by one of the new."""
    old, new = World(), World()
    for world in (old, new):
        world.level.put(member(1))
    old.alertmanager.wait = let_go = asyncio.Event()
    posters = Posters()
    posters.replace([old.receiver])
    task = asyncio.create_task(posters.run())
    await old.clock.settle()
    posters.replace([new.receiver])
    released = asyncio.create_task(posters.released(old.receiver))
    await new.clock.settle()
    assert (old.alertmanager.sizes, new.alertmanager.sizes, released.done()) == ([1], [], False)
    let_go.set()
    await released
    await new.clock.settle()
    assert (old.alertmanager.sizes, new.alertmanager.sizes) == ([1], [1])
    new.level.end("e1")
    posters.wake()
    await new.clock.settle()
    assert new.alertmanager.last == {"01": "12:00:00"}
    await posters.close(5)
    await task
    assert new.level.released
