"""Availability: which share of a connection's numbers was ready, as far as it could be seen.

The *ready share* of a span is the share of numbers that were ready, on average over the time in which the
connection was seen and had numbers. A number counts as the last applied answer had it until another answer is
applied; one that a rule or a silence keeps quiet is not ready. Time in which the connection could not be seen
(`store/gaps.py`) is *unknown*: it counts neither as ready nor as not ready. Nothing counts from before the
connection was watched, or from before what `store.retention` has kept.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.snapshot import ChangeKind
from monitor.store.changes import WITH_PATTERN, patterns_of
from monitor.store.tables import changes, gaps, patterns


class Span(StrEnum):
    """How far back an availability goes."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def length(self) -> timedelta:
        """How long that is."""
        return _LENGTHS[self]


_LENGTHS = {Span.DAY: timedelta(days=1), Span.WEEK: timedelta(days=7), Span.MONTH: timedelta(days=30)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """The availability of a connection from `since` to now.

    `ready` is the ready share, from 0.0 to 1.0; null if the connection was never seen, or had no numbers.
    `unknown_s`: for so many seconds it could not be seen. `since` is later than the span asks for where the
    connection has not been watched for so long, or records are not kept for so long.
    """

    ready: float | None
    unknown_s: float
    since: datetime


_CHUNK = 1000
"""Moves read before other tasks get a turn."""


class Move(NamedTuple):
    """By how much one sync moved how many numbers there are, and how many of them drift."""

    at: datetime
    numbers: int
    drifting: int


class Gap(NamedTuple):
    """When a connection could not be seen."""

    began_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a connection stands now, which its history is counted back from.

    `numbers` and `drifting` are those of the applied snapshot, 0 if there is none. `blind_since`: since when
    it cannot be seen, if it cannot.
    """

    identity: str
    numbers: int
    drifting: int
    watched_since: datetime
    blind_since: datetime | None


async def availability(
    tx: AsyncConnection, standing: Standing, now: datetime, *, retention: timedelta
) -> dict[Span, Availability]:
    """Return the availability of a connection over each span.

    Args:
        tx: A reading transaction; `standing` was read in it too.
        standing: How the connection stands.
        now: Where all spans end.
        retention: How long changes are kept.
    """
    known_since = min(max(standing.watched_since, now - retention), now)
    sinces = {span: max(known_since, now - span.length) for span in Span}
    earliest = min(sinces.values())
    moves = await _moves(tx, standing.identity, earliest)
    blind = await gaps_since(tx, standing.identity, earliest)
    if standing.blind_since is not None:
        blind.append(Gap(standing.blind_since, now))

    def measure() -> dict[Span, Availability]:
        return {
            span: measured(standing, moves, blind, since=since, now=now) for span, since in sinces.items()
        }

    # A connection that flaps for a month has tens of thousands of moves: not on the loop.
    return await asyncio.to_thread(measure)


def measured(
    standing: Standing, moves: Sequence[Move], blind: Sequence[Gap], *, since: datetime, now: datetime
) -> Availability:
    """Return the availability from an instant to now.

    Args:
        standing: How the connection stands now.
        moves: What moved since, newest first.
        blind: When it could not be seen.
        since: Where it begins.
        now: Where it ends.
    """
    seen = _seen(blind, since, now)
    unknown = (now - since) - sum((end - begin for begin, end in seen), timedelta(0))
    numbers, drifting = standing.numbers, standing.drifting
    ready_s = counted_s = 0.0
    until = now
    for at, more, more_drifting in (*moves, Move(since, 0, 0)):
        begin = max(at, since)
        while seen and begin < until:
            first, last = seen[-1]
            length_s = (min(last, until) - max(first, begin)).total_seconds()
            if length_s > 0 and numbers > 0:
                counted_s += length_s
                ready_s += length_s * (1 - min(max(drifting, 0), numbers) / numbers)
            if first < begin:
                break
            seen.pop()
        if begin == since:
            break
        until = begin
        numbers, drifting = numbers - more, drifting - more_drifting
    return Availability(
        ready=ready_s / counted_s if counted_s else None, unknown_s=unknown.total_seconds(), since=since
    )


def _seen(blind: Sequence[Gap], since: datetime, now: datetime) -> list[tuple[datetime, datetime]]:
    """Return when the connection was seen, oldest first."""
    seen, begin = [], since
    for gap in sorted(blind):
        if gap.began_at > begin:
            seen.append((begin, min(gap.began_at, now)))
        begin = max(begin, gap.ended_at)
    if begin < now:
        seen.append((begin, now))
    return seen


async def _moves(tx: AsyncConnection, identity: str, since: datetime) -> list[Move]:
    """Return the moves after an instant, newest first."""
    numbers = case(_NUMBERS, value=patterns.c.change, else_=0)
    drifting = case(
        (patterns.c.change != ChangeKind.REMOVED, case(_DRIFTING, value=patterns.c.change, else_=0)),
        (patterns.c.was_drifting, -1),
        else_=0,
    )
    these = await patterns_of(tx, identity, {*_NUMBERS, *_DRIFTING})
    asked = (
        select(changes.c.at, func.sum(numbers), func.sum(drifting))
        .select_from(WITH_PATTERN)
        .where(changes.c.pattern.in_(these), changes.c.at > since)
        .group_by(changes.c.at)
    )
    async with tx.stream(asked.execution_options(yield_per=_CHUNK)) as rows:
        found = [Move(*row) async for some in rows.partitions() for row in some]
    return sorted(found, reverse=True)


_NUMBERS: Mapping[str, int] = {ChangeKind.ADDED: 1, ChangeKind.REMOVED: -1}
_DRIFTING: Mapping[str, int] = {ChangeKind.APPEARED: 1, ChangeKind.RESOLVED: -1}


async def gaps_since(tx: AsyncConnection, identity: str, since: datetime) -> list[Gap]:
    """Return the gaps that ended after an instant."""
    asked = select(gaps.c.began_at, gaps.c.ended_at).where(
        gaps.c.identity == identity, gaps.c.ended_at > since
    )
    return [Gap(*row) for row in await tx.execute(asked)]
