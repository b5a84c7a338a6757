"""Generated histories of one connection: what its syncs show, what people do, how time passes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hypothesis import strategies as st

from monitor.drift.alert import Severity
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Step
from monitor.drift.rules import Ignore, Rules, Severities, Silence
from monitor.drift.snapshot import Dependencies, Number, Snapshot
from tests.unit.drift.build import (
    EVERY_KIND,
    HOUR,
    MINUTE,
    SECOND,
    START,
    Watch,
    answer,
    broken,
    key,
    ready,
    restored,
)

NUMBERS = tuple(range(1, 7))
LOOKS = ("ready", "NO_BOT", "EXPIRED", "both", "moved", "lost", "off", "unsaid", "absent")
_REFS = {
    "ready": Dependencies(415, 93, bot_active=True),
    "moved": Dependencies(415, 94, bot_active=True),
    "lost": Dependencies(415, None),
    "off": Dependencies(415, 93, bot_active=False),
    "unsaid": Dependencies(415, unknown=("bot_id", "bot_active")),
}


def look(index: int, name: str) -> Number:
    """Return a number that looks so."""
    match name:
        case "ready" | "moved" | "lost" | "off" | "unsaid":
            return ready(index, dependencies=_REFS[name])
        case "both":
            return broken(index, "NO_BOT", ("NO_BOT", "ROUTING_MISSING"))
        case _:
            return broken(index, name)


@dataclass(frozen=True)
class Sync:
    """An answer: how each number looks."""

    looks: tuple[str, ...]
    skipped: int = 0

    def answer(self, order: tuple[int, ...]) -> Snapshot:
        """Return the answer with its numbers in this order."""
        shown = [look(index, self.looks[index - 1]) for index in order if self.looks[index - 1] != "absent"]
        return answer(*shown, skipped=self.skipped)


@dataclass(frozen=True)
class Wait:
    """No answer: time, a failed sync, a reload (with rules), a command (with accepted numbers)."""

    rules: int | None = None
    accepted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Event:
    """Something that happens some time after the event before."""

    after: timedelta
    what: Sync | Wait


WINDOW = (START + 10 * MINUTE, START + 70 * MINUTE)
SPARE_UNTIL = START + 40 * MINUTE
VARIANTS = 4
GUARD = Guard(min_numbers=4, min_hold=MINUTE)
BASE = Rules(
    alerting=EVERY_KIND,
    severities=Severities.of({"ROUTING_MISSING": Severity.CRITICAL}, Severity.WARNING),
)
EAGER = replace(
    BASE,
    any_reconfiguration=True,
    confirm_syncs=1,
    resolve_syncs=1,
    keep_firing_for=timedelta(0),
    update_interval=timedelta(0),
)
IGNORING = replace(
    BASE,
    confirm_syncs=3,
    ignores=(Ignore(issue="NO_BOT"), Ignore(number=f"+{key(2)}", until=SPARE_UNTIL)),
)


def rules_at(variant: int, at: datetime) -> Rules:
    """Return the rules of a configuration as they hold at an instant; the last has a maintenance window."""
    if variant < VARIANTS - 1:
        return (BASE, EAGER, IGNORING)[variant]
    opens, ends = WINDOW
    edges = [edge for edge in WINDOW if edge > at]
    return replace(BASE, resolve_syncs=3, muted=opens <= at < ends, changes_at=min(edges, default=None))


def syncs() -> st.SearchStrategy[Sync]:
    """Answers of six numbers; sometimes with entries that could not be read."""
    looks = st.lists(st.sampled_from(LOOKS), min_size=len(NUMBERS), max_size=len(NUMBERS))
    return st.builds(Sync, looks.map(tuple), st.sampled_from([0, 0, 0, 1]))


def waits() -> st.SearchStrategy[Wait]:
    """Time alone, a reload, or a user who accepts."""
    some = st.frozensets(st.sampled_from([key(index) for index in NUMBERS]), max_size=2)
    return st.builds(Wait, st.none() | st.integers(0, VARIANTS - 1), some)


PACES = st.sampled_from([SECOND, 15 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE, HOUR, 25 * HOUR])


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Up to twenty events; an answer often comes again, as it does in life."""
    events: list[Event] = []
    last = draw(syncs())
    for _ in range(draw(st.integers(2, 20))):
        if draw(st.booleans()):
            events.append(Event(draw(PACES), last))
        elif draw(st.booleans()):
            last = draw(syncs())
            events.append(Event(draw(PACES), last))
        else:
            events.append(Event(draw(PACES), draw(waits())))
    return events


class Life(Watch):
    """A connection that lives through a history, waking when policy asks for it."""

    def __init__(self, order: tuple[int, ...] = NUMBERS, *, restarts: bool = False) -> None:
        super().__init__(guard=GUARD)
        self.order = order
        self.restarts = restarts
        self.variant = 0
        self.silences: tuple[Silence, ...] = ()

    def live(self, events: Iterable[Event]) -> "Life":
        """Go through the events; between them, step at every instant that policy asked for."""
        for event in events:
            at = self.now + event.after
            while self.steps and (wakes_at := self.steps[-1].wakes_at) is not None and wakes_at < at:
                assert wakes_at > self.now, "policy asked for an instant that is over"
                self.happen(Wait(), wakes_at - self.now)
            self.happen(event.what, at - self.now)
        return self

    def happen(self, what: Sync | Wait, after: timedelta) -> Step:
        """Let one event happen."""
        if isinstance(what, Wait) and what.rules is not None:
            self.variant = what.rules
        self.rules = rules_at(self.variant, self.now + after).with_silences(self.silences)
        if self.restarts:
            self.records = restored(self.records)
        if isinstance(what, Wait):
            return self.wait(after, accepted=what.accepted)
        return self.read(what.answer(self.order), after=after)

    def heal(self) -> None:
        """Let everything be well for long, under the plain rules, with every change accepted."""
        well = Sync(("ready",) * len(NUMBERS))
        self.variant = 0
        for _ in range(8):
            self.happen(well, HOUR)
        self.wait(HOUR, accept_all=True)
