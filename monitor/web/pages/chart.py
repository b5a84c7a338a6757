"""The drawings and the timeline of the pages, as values: colours, bars, history, days. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from zlib import crc32

from monitor.drift.alert import GONE
from monitor.drift.vocabulary import OTHER
from monitor.store.availability import Gap
from monitor.store.changes import DriftMove
from monitor.store.rows import Happening

REST = "sx"
"""The colour of states that are shown together, and of what is no state of the provider's."""
_COLOURS = {
    "NO_BOT": "s0",
    "ROUTING_MISSING": "s1",
    "NO_VOCOBASE_AGENT": "s2",
    "EXPIRED": "s3",
    OTHER: REST,
    GONE: REST,
}
_FURTHER = ("s4", "s5", "s6")
READY, UNKNOWN = "ready", "unknown"

BUCKETS = 84
"""Columns of a history: of seven days, two hours each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a drawing: from `at`, `size` long, both in percent; `colour` is a class of the style."""

    colour: str
    at: float
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a bucket of the history, 0 for the first, held at its worst; parts in percent of the peak."""

    place: int
    total: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How many numbers drifted from `since` to now. `states` have columns or numbers, most first.

    `unknown` is when the connection could not be seen, in percent of the time.
    """

    since: datetime
    peak: int
    columns: tuple[Column, ...]
    states: tuple[str, ...]
    unknown: tuple[Part, ...]


def colour(state: str) -> str:
    """Return the colour of a state, a class of the style: the same on every page, whatever else there is."""
    return _COLOURS.get(state) or _FURTHER[crc32(state.encode(errors="replace")) % len(_FURTHER)]


def state_bar(total: int, drifting: Mapping[str, int], *, rest: str = READY) -> list[Part]:
    """Return the bar of a connection: what drifts, worst first, then the rest, ready or unknown."""
    pieces = [(colour(state), count) for state, count in most_first(drifting)]
    others = total - sum(drifting.values())
    pieces += [(rest, others)] if others > 0 else []
    return _stacked(pieces, max(total, 1))


def most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the states that numbers are in, the most frequent first."""
    return sorted((item for item in counts.items() if item[1]), key=lambda item: (-item[1], item[0]))


def history(
    drifting: Mapping[str, int],
    moves: Sequence[DriftMove],
    gaps: Sequence[Gap] = (),
    *,
    since: datetime,
    now: datetime,
) -> History:
    """Return how many numbers drifted, going back from how many do now.

    Args:
        drifting: Numbers by state now.
        moves: What moved since, newest first.
        gaps: When the connection could not be seen.
        since: Where the history begins.
        now: Where it ends; later than `since`.
    """
    width = (now - since) / BUCKETS
    at_worst: list[dict[str, int]] = [{} for _ in range(BUCKETS)]
    held = {state: count for state, count in drifting.items() if count}
    last = BUCKETS - 1
    at_worst[last] = dict(held)
    for at, together in groupby(moves, key=lambda move: move.at):
        place = min(max(int((at - since) / width), 0), BUCKETS - 1)
        for between in range(place, last):
            at_worst[between] = dict(held)
        last = min(last, place)
        for move in together:
            _undo(held, move)
        at_worst[place] = max(at_worst[place], dict(held), key=_total)
    for before in range(last):
        at_worst[before] = dict(held)
    return _drawn(at_worst, drifting, [_gap(gap, since, now) for gap in gaps if gap.ended_at > since], since)


def _gap(gap: Gap, since: datetime, now: datetime) -> Part:
    begin, end = max(gap.began_at, since), min(gap.ended_at, now)
    whole = (now - since) / 100
    return Part(colour=UNKNOWN, at=round((begin - since) / whole, 2), size=round((end - begin) / whole, 2))


def _undo(held: dict[str, int], move: DriftMove) -> None:
    """Take a move back; a count never falls below none, whatever the records lack."""
    if move.after is not None:
        held[move.after] = max(held.get(move.after, 0) - move.numbers, 0)
    if move.before is not None:
        held[move.before] = held.get(move.before, 0) + move.numbers


def _drawn(
    at_worst: Sequence[Mapping[str, int]],
    drifting: Mapping[str, int],
    unknown: Sequence[Part],
    since: datetime,
) -> History:
    totals: Counter[str] = Counter()
    for held in (*at_worst, drifting):
        totals.update(held)
    states = tuple(state for state, _ in most_first(totals))
    peak = max(map(_total, at_worst))
    columns = tuple(
        Column(
            place=place,
            total=_total(held),
            parts=tuple(_stacked([(colour(s), held[s]) for s in states if held.get(s)], max(peak, 1))),
        )
        for place, held in enumerate(at_worst)
    )
    return History(since=since, peak=peak, columns=columns, states=states, unknown=tuple(unknown))


def _stacked(pieces: Iterable[tuple[str, int]], whole: int) -> list[Part]:
    parts, at = [], 0.0
    for colour, count in pieces:
        size = 100.0 * count / whole
        parts.append(Part(colour=colour, at=round(at, 2), size=round(size, 2)))
        at += size
    return parts


def _total(held: Mapping[str, int]) -> int:
    return sum(held.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What happened on one day of UTC, newest first."""

    date: str
    happened: tuple[Happening, ...]


def timeline(rows: Sequence[Happening]) -> list[Day]:
    """Return what happened by day; `rows` are newest first."""
    return [
        Day(date=date, happened=tuple(found))
        for date, found in groupby(rows, key=lambda row: row.at.strftime("%Y-%m-%d"))
    ]
