"""What Alertmanager expects of its clients, over whole lives of alerts, restarts and outages included.

A client repeats what fires well before its `endsAt`, never moves `startsAt`, and repeats an end for a while,
as an Alertmanager that was away or restarted knows nothing of it.
Source: https://prometheus.io/docs/alerting/latest/clients/ and Prometheus' own rules (`resolvedRetention`).
"""

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Resolution, Severity
from monitor.http.address import Address
from monitor.http.redactor import Redactor
from monitor.notify.alertmanager import AlertmanagerReceiver, PosterParts, Posters
from monitor.notify.alertmanager.level import Member
from monitor.notify.routing import Route
from tests.fakes.clock import START, FakeClock
from tests.fakes.level import FakeLevel, member
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage
from tests.unit.notify.test_alertmanager import WORDING, Counts

RESEND_S = 60.0
EXPIRE_S = 600.0
REPEAT_ENDS_S = 15 * 60.0
SLACK_S = 6.0
"""A poster looks every few seconds."""
URLS = ("http://am-1:9093", "http://am-2:9093/base")


@dataclass(frozen=True)
class Post:
    """One alert in one accepted post. Instants are seconds since the start."""

    at_s: float
    labels: frozenset[tuple[str, str]]
    starts_s: float
    ends_s: float

    @property
    def over(self) -> bool:
        """Whether it says that the alert has ended."""
        return self.ends_s <= self.at_s


@dataclass
class Life:
    """Two Alertmanagers, the episodes, and a monitor that may be away."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(turns=60))
    members: dict[str, Member] = field(default_factory=dict)
    accepted: dict[str, list[Post]] = field(default_factory=lambda: {url: [] for url in URLS})
    away: set[str] = field(default_factory=set)
    absences: list[tuple[float, float, str]] = field(default_factory=list)
    """When a URL could not accept a post, for whichever reason."""

    def __post_init__(self) -> None:
        self.levels = {url: FakeLevel(self.clock, members=self.members) for url in URLS}
        self.task: asyncio.Task[None] | None = None
        self.posters = Posters()
        self._away_since = dict.fromkeys(URLS, 0.0)

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return (self.clock.now() - START).total_seconds()

    def reachable(self, url: str) -> bool:
        """Whether the monitor runs and the Alertmanager answers."""
        return self.task is not None and url not in self.away

    def note(self, before: dict[str, bool]) -> None:
        """Take down which URLs came within reach, or left it."""
        for url in URLS:
            if before[url] and not self.reachable(url):
                self._away_since[url] = self.now_s
            if not before[url] and self.reachable(url):
                self.absences.append((self._away_since[url], self.now_s, url))

    async def start(self) -> None:
        """Start the monitor, which finds its store as it was."""
        before = {url: self.reachable(url) for url in URLS}
        receivers = [
            AlertmanagerReceiver(
                urls=[Address(url)],
                route=Route(receiver="am"),
                wording=WORDING,
                resend_interval_s=RESEND_S,
                expire_after=timedelta(seconds=EXPIRE_S),
                timeout_s=10,
                login=None,
                parts=PosterParts(
                    redactor=Redactor(),
                    level=self.levels[url],
                    http=httpx.AsyncClient(transport=httpx.MockTransport(self._answer)),
                    clock=self.clock,
                    rng=random.Random(1),
                    metrics=Counts(),
                    log=FakeLog().logger,
                    shortage=no_shortage(),
                ),
            )
            for url in URLS
        ]
        self.posters = Posters()
        self.posters.replace(receivers)
        self.task = asyncio.create_task(self.posters.run())
        self.note(before)
        await self.clock.settle()

    async def stop(self) -> None:
        """Take the monitor away."""
        before = {url: self.reachable(url) for url in URLS}
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        self.task = None
        self.note(before)

    def break_(self, index: int) -> None:
        """Let a number begin to drift, or a new episode of it."""
        name = f"e{index}"
        if name not in self.members:
            self.members[name] = member(index, opened_at=self.clock.now())

    def mend(self, index: int) -> None:
        """Let its episode end."""
        now, name = self.clock.now(), f"e{index}"
        if name in self.members and self.members[name].ended_at is None:
            self.members[name] = replace(self.members[name], ended_at=now, resolution=Resolution.RECOVERED)

    def rise(self, index: int) -> None:
        """Let its severity rise, which is a label."""
        name = f"e{index}"
        if name in self.members and self.members[name].ended_at is None:
            self.members[name] = replace(self.members[name], severity=Severity.CRITICAL)

    def toggle(self, place: int) -> None:
        """Take an Alertmanager away, or bring it back."""
        before = {url: self.reachable(url) for url in URLS}
        self.away ^= {URLS[place % len(URLS)]}
        self.note(before)

    async def take(self, step: str, value: int) -> None:
        """Take one step of a script."""
        match step:
            case "wait":
                await self.clock.advance(value)
            case "restart":
                await self.stop()
                await self.clock.advance(value)
                await self.start()
            case _:
                steps = {"break": self.break_, "mend": self.mend, "rise": self.rise, "toggle": self.toggle}
                steps[step](value)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        url = next(url for url in URLS if str(request.url).startswith(f"{url}/api/v2/alerts"))
        if url in self.away:
            return httpx.Response(503)
        for alert in json.loads(request.content):
            starts, ends = (datetime.fromisoformat(alert[key]) - START for key in ("startsAt", "endsAt"))
            labels = frozenset(alert["labels"].items())
            self.accepted[url].append(Post(self.now_s, labels, starts.total_seconds(), ends.total_seconds()))
        return httpx.Response(200)


def broken_rules(life: Life) -> Iterator[str]:
    """Yield each breach of what Alertmanager expects of a client, up to now."""
    for url, posts in life.accepted.items():
        by_labels: dict[frozenset[tuple[str, str]], list[Post]] = {}
        for post in posts:
            by_labels.setdefault(post.labels, []).append(post)
        told = {dict(labels)["phone_number"] for labels in by_labels}
        for each in life.members.values():
            number = each.track.number
            if number is not None and number.phone_number not in told and each.ended_at is None:
                yield f"{url} never heard of {number.phone_number}"
        for labels, of_one in by_labels.items():
            what = f"{url} {dict(labels)['phone_number']} {dict(labels)['severity']}"
            yield from (f"{what}: {said}" for said in _broken_by(of_one, life, url))


def _broken_by(posts: Sequence[Post], life: Life, url: str) -> Iterator[str]:
    if len({post.starts_s for post in posts}) > 1:
        yield "startsAt moved"
    firing, ends = [post for post in posts if not post.over], [post for post in posts if post.over]
    for post in firing:
        if post.ends_s - post.at_s < EXPIRE_S - 1:  # milliseconds are cut off
            yield f"endsAt is only {post.ends_s - post.at_s:g} s ahead"
    if ends and firing and firing[-1].at_s > ends[0].at_s:
        yield "it fired after its end"
    if len({post.ends_s for post in ends}) > 1:
        yield "its end moved"
    yield from _silences(posts, ends, life, url)
    named = dict(posts[0].labels)
    truth = next(each for each in life.members.values() if named["phone_number"] == _number(each))
    if truth.ended_at is not None and not ends:
        yield "its end was never told"


def _silences(posts: Sequence[Post], ends: Sequence[Post], life: Life, url: str) -> Iterator[str]:
    """Yield the times in which an alert, or its end, was not repeated though it could have been."""
    last_s = max(life.now_s, posts[-1].at_s)
    if ends:
        last_s = min(last_s, ends[0].at_s + REPEAT_ENDS_S - RESEND_S)
    for before_s, after_s in pairwise([*(post.at_s for post in posts if post.at_s <= last_s), last_s]):
        excused_s = sum(
            min(back_s, after_s) - max(gone_s, before_s) + RESEND_S  # it may have been backing off
            for gone_s, back_s, which in life.absences
            if which == url and gone_s < after_s and back_s > before_s
        )
        if after_s - before_s > RESEND_S + SLACK_S + excused_s:
            yield f"nothing was said of it from {before_s:g} s to {after_s:g} s"


def _number(each: Member) -> str | None:
    return each.track.number.phone_number if each.track.number is not None else None


NUMBERS = st.integers(1, 3)
STEP = st.one_of(
    st.tuples(st.sampled_from(["break", "break", "mend", "rise"]), NUMBERS),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 61, 200])),
    st.tuples(st.just("restart"), st.sampled_from([0, 20, 120])),
    st.tuples(st.just("toggle"), st.integers(0, 1)),
)


@settings(deadline=None, max_examples=6)
@given(st.lists(STEP, max_size=14))
@example([("break", 1), ("wait", 200), ("restart", 120), ("wait", 61), ("mend", 1), ("restart", 20)])
@example([("break", 1), ("toggle", 0), ("wait", 200), ("mend", 1), ("wait", 200), ("toggle", 0)])
@example([("break", 1), ("wait", 30), ("rise", 1), ("wait", 61), ("restart", 0), ("mend", 1)])
async def test_alerts_are_posted_as_alertmanager_expects_of_a_client(steps: list[tuple[str, int]]) -> None:
    """Whatever happens to the numbers, the monitor and the Alertmanagers."""
    life = Life()
    await life.start()
    for step, value in [*steps, ("wait", 61)]:
        await life.take(step, value)
        life.posters.wake()
        await life.clock.settle()
    for place, url in enumerate(URLS):
        if url in life.away:
            life.toggle(place)
    await life.clock.advance(REPEAT_ENDS_S + 4 * RESEND_S)
    await life.stop()
    assert list(broken_rules(life)) == []


def test_breaches_of_the_rules_are_found() -> None:
    """The observer itself: each rule, broken."""
    labels = frozenset({"phone_number": "+918000000001", "severity": "warning"}.items())
    life = Life()
    life.break_(1)

    def said(*posts: tuple[float, float, float]) -> str:
        life.accepted[URLS[0]] = [Post(at_s, labels, starts_s, ends_s) for at_s, starts_s, ends_s in posts]
        return "; ".join(broken_rules(life))

    for words, posts in {
        "startsAt moved": [(0, 0, 600), (1, 1, 601)],
        "endsAt is only 90 s ahead": [(0, 0, 90)],
        "it fired after its end": [(0, 0, 600), (10, 0, 10), (20, 0, 620)],
        "its end moved": [(10, 0, 9), (20, 0, 10)],
        "nothing was said of it from 0 s to 100 s": [(0, 0, 600), (100, 0, 700)],
        "never heard of": [],
    }.items():
        assert words in said(*posts)
