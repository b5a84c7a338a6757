"""The drawings and the timeline of the pages, as values: colours, bars, history, days. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from monitor.store.changes import DriftMove
from monitor.store.rows import ChangeRow

COLOURS = 5
"""States that get a colour of their own; the style knows `s0` to `s4`, and `sx` for the rest."""
REST = "sx"

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
    """How many numbers drifted from `since` to now. `states` have columns or numbers, most first."""

    since: datetime
    peak: int
    columns: tuple[Column, ...]
    states: tuple[str, ...]


def colours(drifting: Iterable[Mapping[str, int]]) -> dict[str, str]:
    """Return the colour of each state that numbers drift in, the most frequent first."""
    totals: dict[str, int] = {}
    for counts in drifting:
        for state, count in counts.items():
            totals[state] = totals.get(state, 0) + count
    order = sorted((state for state in totals if totals[state]), key=lambda state: (-totals[state], state))
    return {state: f"s{place}" if place < COLOURS else REST for place, state in enumerate(order)}


def state_bar(total: int, drifting: Mapping[str, int], colour_of: Mapping[str, str]) -> list[Part]:
    """Return the bar of a connection: what drifts, worst first, then what is ready."""
    found = sorted((item for item in drifting.items() if item[1]), key=lambda item: (-item[1], item[0]))
    ready = total - sum(drifting.values())
    pieces = [(colour_of.get(state, REST), count) for state, count in found]
    pieces += [("ready", ready)] if ready > 0 else []
    return _stacked(pieces, max(total, 1))


def history(
    drifting: Mapping[str, int], moves: Sequence[DriftMove], *, since: datetime, now: datetime
) -> History:
    """Return how many numbers drifted, going back from how many do now.

    Args:
        drifting: Numbers by state now.
        moves: What moved since, newest first.
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
    return _drawn(at_worst, drifting, since)


def _undo(held: dict[str, int], move: DriftMove) -> None:
    """Take a move back; a count never falls below none, whatever the records lack."""
    if move.after is not None:
        held[move.after] = max(held.get(move.after, 0) - move.numbers, 0)
    if move.before is not None:
        held[move.before] = held.get(move.before, 0) + move.numbers


def _drawn(at_worst: Sequence[Mapping[str, int]], drifting: Mapping[str, int], since: datetime) -> History:
    colour_of = colours([*at_worst, drifting])
    peak = max(map(_total, at_worst))
    columns = tuple(
        Column(
            place=place,
            total=_total(held),
            parts=tuple(_stacked([(colour_of[s], held[s]) for s in colour_of if held.get(s)], max(peak, 1))),
        )
        for place, held in enumerate(at_worst)
    )
    return History(since=since, peak=peak, columns=columns, states=tuple(colour_of))


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
class Happened:
    """The same difference in some numbers of a connection, found by one sync."""

    first: ChangeRow
    rows: tuple[ChangeRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What happened on one day of UTC, newest first."""

    date: str
    happened: tuple[Happened, ...]


def timeline(rows: Sequence[ChangeRow]) -> list[Day]:
    """Return changes by day and sync; `rows` are newest first."""
    return [
        Day(date=date, happened=tuple(_happened(list(found))))
        for date, found in groupby(rows, key=lambda row: row.at.strftime("%Y-%m-%d"))
    ]


def _happened(rows: Sequence[ChangeRow]) -> list[Happened]:
    groups: dict[tuple[str | None, ...], list[ChangeRow]] = {}
    for row in rows:
        alike = (row.sync_id, row.at.isoformat(), row.connection, row.change, row.state, row.previous_state)
        groups.setdefault(alike, []).append(row)
    return [Happened(first=group[0], rows=tuple(reversed(group))) for group in groups.values()]
