"""What holds of a connection whatever happens to it, checked against plain counting."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.drift.alert import Kind, Notice, Resolution, encode_body
from monitor.drift.alerts import Report
from monitor.drift.diff import diff
from monitor.drift.episodes import Ended, Track
from monitor.drift.policy import Records, Step, judge, step
from tests.unit.drift.build import HOUR, OPENED, RESOLVED, SCOPE, UPDATED, key, restored, told
from tests.unit.drift.lives import (
    GUARD,
    NUMBERS,
    VARIANTS,
    Event,
    Life,
    Sync,
    Wait,
    histories,
    look,
    rules_at,
)

modest = settings(max_examples=60)
INSTANT = timedelta(microseconds=1)


class Counted(Life):
    """A life whose every step is checked against plain counts of what its answers showed.

    `sights` counts answers that showed a problem, held ones too, since it was last closed; the rows count
    applied answers in a row that showed a number ready, or lacked it. `lacked` counts those with unreadable
    entries that may have hidden a number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sights: Counter[tuple[Kind, str]] = Counter()
        self.ready_row: Counter[str] = Counter()
        self.absent_row: Counter[str] = Counter()
        self.ready_since: dict[str, datetime] = {}
        self.lacked: dict[str, tuple[int, datetime]] = {}

    def happen(self, what: Sync | Wait, after: timedelta) -> Step:
        """Let it happen, then check."""
        before, held_before = self.records, len(self.held)
        done = super().happen(what, after)
        if isinstance(what, Sync):
            self._count(what, applied=len(self.held) == held_before)
        for track in done.opened:
            assert track.kind is Kind.RECONFIGURED or self._sights(track) >= self.rules.confirm_syncs
            assert not self.rules.muted
        for end in done.ended:
            assert self._may_end(end, what.accepted if isinstance(what, Wait) else frozenset()), end
        self._forget_closed()
        self._check_books(before, done)
        return done

    def _sights(self, track: Track) -> int:
        return self.sights[track.kind, track.key]

    def _count(self, sync: Sync, *, applied: bool) -> None:
        for index in NUMBERS:
            name, seen = key(index), sync.looks[index - 1]
            if seen == "absent" and self._unknown(name, sync, applied=applied):
                continue
            if applied and (seen != "absent" or not sync.skipped):
                self.lacked.pop(name, None)
            drifting = seen != "absent" and look(index, seen).drifting
            self.sights[Kind.DRIFT, name] += drifting
            self.sights[Kind.NUMBER_REMOVED, name] += seen == "absent"
            if applied:
                self._count_rows(name, absent=seen == "absent", drifting=drifting)

    def _unknown(self, name: str, sync: Sync, *, applied: bool) -> bool:
        """Whether an unreadable entry may hide the number: until it was lacked often and long enough."""
        count, since = self.lacked.get(name, (0, self.now))
        if applied:
            self.lacked[name] = (count + 1, since)
        return sync.skipped > 0 and (count + 1 < GUARD.confirm_syncs or self.now < since + GUARD.min_hold)

    def _count_rows(self, name: str, *, absent: bool, drifting: bool) -> None:
        self.absent_row[name] = self.absent_row[name] + 1 if absent else 0
        self.ready_row[name] = 0 if absent or drifting else self.ready_row[name] + 1
        if self.ready_row[name] == 1:
            self.ready_since[name] = self.now

    def _may_end(self, end: Ended, accepted: frozenset[str]) -> bool:
        track, rules = end.track, self.rules
        drift = track.kind is Kind.DRIFT
        day_over = self.now >= track.since + timedelta(hours=24)
        ready_since = self.ready_since.get(track.key, self.now)
        long_ready = (
            self.ready_row[track.key] >= rules.resolve_syncs
            and self.now >= ready_since + rules.keep_firing_for
        )
        allowed = {
            Resolution.ACCEPTED: track.key in accepted and not drift,
            Resolution.IGNORED: bool(rules.ignores),
            Resolution.REMOVED: self.absent_row[track.key] >= rules.confirm_syncs
            if track.kind is not Kind.NUMBER_REMOVED
            else day_over,
            Resolution.RECOVERED: long_ready if drift else self.absent_row[track.key] == 0,
        }
        return allowed.get(end.resolution, False)

    def _forget_closed(self) -> None:
        if self.records.hold is not None:
            return
        tracked = {(track.kind, track.key) for track in self.records.tracks.values()}
        for name in [name for name in self.sights if name not in tracked]:
            del self.sights[name]

    def _check_books(self, before: Records, done: Step) -> None:
        was, now = episodes(before), episodes(self.records)
        opened = {track.episode.id for track in done.opened if track.episode}
        ended = {end.track.episode.id for end in done.ended if end.track.episode}
        assert now == (was | opened) - ended
        assert not was & opened
        assert ended <= was
        homes = {track.episode.alert_id for track in self.records.tracks.values() if track.episode}
        assert homes == {alert.id for alert in self.records.alerts}
        if done.counts is not None and self.records.snapshot is not None:
            drifting = [number for number in self.records.snapshot.numbers.values() if number.drifting]
            quiet = [each for each in drifting if self.rules.audible_issues(each, self.now) is None]
            assert +Counter(done.counts.ignored) == Counter(each.state for each in quiet)


def episodes(records: Records) -> set[str]:
    """Return the ids of the open episodes."""
    return {track.episode.id for track in records.tracks.values() if track.episode}


def in_alert(track: Track, story: list[Report]) -> bool:
    """Whether the track is in the alert that the story is about."""
    return track.episode is not None and track.episode.alert_id == story[0].alert.id


def by_alert(reports: list[Report]) -> dict[str, list[Report]]:
    """Return what was told about each alert, in order."""
    stories: dict[str, list[Report]] = defaultdict(list)
    for made in reports:
        stories[made.alert.id].append(made)
    return stories


@modest
@given(histories())
def test_life_opens_and_ends_only_on_what_was_seen(events: list[Event]) -> None:
    """Confirmed and ended by sights and time; every episode has its alert; what is ignored counts once."""
    Counted().live(events).heal()


@modest
@given(histories())
def test_life_tells_each_alert_from_opened_to_resolved(events: list[Event]) -> None:
    """One opened, some updated, one resolved; versions rise by one; severity never falls."""
    life = Life().live(events)
    life.heal()
    assert life.records.tracks == {}
    assert life.records.alerts == ()
    for story in by_alert(life.reports).values():
        notices: list[Notice | None] = [made.notice for made in story]
        assert notices == [OPENED, *[UPDATED] * (len(story) - 2), RESOLVED]
        assert [made.alert.version for made in story] == list(range(1, len(story) + 1))
        ranks = [made.alert.severity.rank for made in story]
        assert ranks == sorted(ranks)
        assert story[-1].resolution is not None


@modest
@given(histories())
def test_life_numbers_added_and_ended_add_up(events: list[Event]) -> None:
    """Told before + added - ended is told now, from the first message to the last."""
    life = Life().live(events)
    life.heal()
    for story in by_alert(life.reports).values():
        total = 0
        for made in story:
            body = told(made, life.now)
            total += body.numbers_added - body.numbers_ended
            assert total == len(made.members)
            keys = [number.key for number in body.numbers]
            assert len(keys) == len(set(keys)) == body.numbers_total > 0
        began = sum(1 for done in life.steps for track in done.opened if in_alert(track, story))
        assert sum(made.added for made in story) == sum(len(made.ended) for made in story) == began


@modest
@given(histories())
def test_life_is_the_same_when_restarted_before_every_step(events: list[Event]) -> None:
    """The stored records are all there is: replaying from any point gives the same."""
    straight, restarted = Life().live(events), Life(restarts=True).live(events)
    assert straight.steps == restarted.steps
    assert restored(straight.records) == straight.records


@modest
@given(histories(), st.permutations(NUMBERS))
def test_life_never_depends_on_the_order_of_an_answer(events: list[Event], order: list[int]) -> None:
    """Numbers in another order: the same messages, identities included."""
    straight, shuffled = Life().live(events), Life(tuple(order)).live(events)
    for left, right in zip(straight.steps, shuffled.steps, strict=True):
        assert left.changes == right.changes
        assert (left.wakes_at, left.settled, left.counts) == (right.wakes_at, right.settled, right.counts)
        assert messages(left) == messages(right)
        assert left.records.tracks == right.records.tracks


def messages(done: Step) -> set[bytes]:
    """Return the bodies that a step makes."""
    return {encode_body(told(made, made.alert.updated_at)) for made in done.reports}


class Twice(Life):
    """A life in which everything that happens without an answer happens twice."""

    def happen(self, what: Sync | Wait, after: timedelta) -> Step:
        """Let it happen, then step once more at the same instant."""
        done = super().happen(what, after)
        accepted = what.accepted if isinstance(what, Wait) else frozenset()
        self._same(self.records, step(self.records, self.rules, self.now, scope=SCOPE, accepted=accepted))
        for accept_all, unconfigured in ((True, False), (False, True)):
            once = self._final(self.records, accept_all, unconfigured)
            self._same(once.records, self._final(once.records, accept_all, unconfigured))
        return done

    def _final(self, records: Records, accept_all: bool, unconfigured: bool) -> Step:
        return step(
            records,
            self.rules,
            self.now,
            scope=SCOPE,
            accept_all=accept_all,
            unconfigured=unconfigured,
        )

    def _same(self, records: Records, again: Step) -> None:
        assert again.records == records
        assert (again.changes, again.opened, again.moved, again.ended, again.reports) == ((), (), (), (), ())


@modest
@given(histories())
def test_life_the_same_step_twice_changes_nothing(events: list[Event]) -> None:
    """A repeated timer, reload, accept or removal from the config tells, ends and opens nothing."""
    Twice().live(events).heal()


class Restless(Life):
    """A life that also steps at instants at which policy did not ask for it, and throws the result away."""

    def happen(self, what: Sync | Wait, after: timedelta) -> Step:
        """Let it happen, then look whether anything would happen before `wakes_at`."""
        done = super().happen(what, after)
        latest = done.wakes_at - INSTANT if done.wakes_at else self.now + 10 * 24 * HOUR
        for at in (self.now, self.now + (latest - self.now) / 3, latest):
            if at >= self.now:
                self._nothing_happens(at)
        if isinstance(what, Sync) and done.settled and self.records.hold is None:
            verdict = judge(self.records, what.answer(NUMBERS), GUARD, self.now)
            if verdict.reason is None:
                again = step(self.records, self.rules, self.now, scope=SCOPE, verdict=verdict)
                assert again.records == self.records
                assert (again.opened, again.ended, again.reports) == ((), (), ())
        return done

    def _nothing_happens(self, at: datetime) -> None:
        idle = step(self.records, rules_at(self.variant, at), at, scope=SCOPE)
        assert (idle.opened, idle.moved, idle.ended, idle.reports) == ((), (), (), ())
        assert idle.records == self.records
        assert idle.wakes_at == self.steps[-1].wakes_at


@modest
@given(histories(), st.integers(0, VARIANTS - 1))
def test_life_never_wakes_late_and_settled_is_settled(events: list[Event], variant: int) -> None:
    """Nothing happens by time before `wakes_at`; the same answer changes nothing once settled."""
    life = Restless()
    life.variant = variant
    life.live(events)


class Compared(Life):
    """A life whose every step is compared with the snapshots before and after it."""

    def happen(self, what: Sync | Wait, after: timedelta) -> Step:
        """Let it happen, then compare."""
        before = self.records.snapshot
        done = super().happen(what, after)
        now = done.records.snapshot
        assert done.changes == (diff(before, now) if now is not None else ())
        known, found = (side.numbers if side is not None else {} for side in (before, now))
        assert [number.key for number in done.came] == [each for each in found if each not in known]
        assert [*done.went] == [each for each in known if each not in found]
        return done


@modest
@given(histories())
def test_life_finds_every_change_of_its_numbers(events: list[Event]) -> None:
    """Whatever an answer leaves unsaid, a step's changes are those between the snapshots around it."""
    Compared().live(events)
