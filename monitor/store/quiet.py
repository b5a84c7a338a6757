"""What silences and ignore rules keep quiet now: the list of silences, and what to know about both."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.rules import Ignore, Silence
from monitor.drift.silences import (
    Fit,
    concerns,
    has_issue,
    in_words,
    notes,
)
from monitor.drift.snapshot import Counts
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.inventory import connections_with
from monitor.store.paging import LIMIT, Instant, Page, Text, cursor_of, page_of, parts_of
from monitor.store.rows import QuietNotice, SilenceRow
from monitor.store.silences import ActiveSilences, active_silences, silence_row
from monitor.store.tables import (
    UtcDateTime,
    connections,
    from_row,
    silences,
    snapshots,
)

_ANY = "*"


async def silence_rows(
    tx: AsyncConnection,
    codec: Codec,
    now: datetime,
    *,
    ended: bool = False,
    silence_id: str | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[SilenceRow]:
    """Return the silences that are active, the latest first.

    Args:
        tx: A reading transaction.
        codec: Unpacks the snapshots.
        now: The current instant.
        ended: Also those that have ended.
        silence_id: Only the silence with this id.
        limit: The most rows to return.
        after: The `next` of the previous page.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    asked = select(silences).order_by(silences.c.created_at.desc(), silences.c.id.desc()).limit(limit + 1)
    if not ended:
        asked = asked.where(silences.c.ended_at.is_(None))
        asked = asked.where(or_(silences.c.until.is_(None), silences.c.until > now))
    if silence_id is not None:
        asked = asked.where(silences.c.id == silence_id)
    if after is not None:
        at, last = parts_of(after, tuple[Instant, Text])
        asked = asked.where(
            tuple_(silences.c.created_at, silences.c.id) < tuple_(literal(at, UtcDateTime), last)
        )
    page = page_of(
        [silence_row(row, now) for row in await tx.execute(asked)],
        limit,
        lambda row: cursor_of(row.created_at, row.id),
    )
    active = await active_silences(tx)
    shown = {row.id for row in page.rows if row.ended_at is None}
    rules = {silence.id: silence for silence in active.silences if silence.id in shown}
    active = ActiveSilences(list(rules.values()), active.keys)
    fits = await _measure(tx, codec, (), active, now, counting=True)
    rows = [
        dataclasses.replace(row, numbers=fits[row.id].quiet, notes=notes(rules[row.id], fits[row.id], now))
        if row.id in rules
        else row
        for row in page.rows
    ]
    return Page(rows=rows, next=page.next)


async def quiet_notices(
    tx: AsyncConnection, codec: Codec, ignores: Sequence[Ignore], now: datetime
) -> list[QuietNotice]:
    """Return what to know about the ignore rules of the config and the silences; see `notes`."""
    active = await active_silences(tx)
    standing = [silence for silence in active.silences if silence.until is None or silence.until > now]
    fits = await _measure(tx, codec, ignores, active, now, counting=False)
    labelled: list[tuple[int | str, Ignore]] = [
        *enumerate(ignores),
        *((silence.id, silence) for silence in standing),
    ]
    named = select(silences.c.id, silences.c.alert).where(silences.c.ended_at.is_(None))
    alert_ids = {row.id: row.alert for row in await tx.execute(named)}
    return [
        QuietNotice(
            id=label if isinstance(label, str) else None,
            matchers=in_words(rule, alert_ids.get(str(label))),
            reason=rule.reason,
            until=rule.until,
            note=note,
        )
        for label, rule in labelled
        for note in notes(rule, fits[label], now)
    ]


async def _measure(
    tx: AsyncConnection,
    codec: Codec,
    ignores: Sequence[Ignore],
    active: ActiveSilences,
    now: datetime,
    *,
    counting: bool,
) -> dict[int | str, Fit]:
    """Return what rules, by their place, and silences, by their id, match now.

    Unless `counting`, snapshots are read only where the counts of a connection do not show that one matches.
    """
    fits: dict[int | str, Fit] = {place: Fit() for place in range(len(ignores))}
    fits |= {silence.id: Fit() for silence in active.silences}
    if not fits:
        return fits
    globs = {rule.number for rule in (*ignores, *active.silences)} - {_ANY}
    having = {glob: await connections_with(tx, glob) for glob in sorted(globs)}
    rules_of: dict[str, list[tuple[int | str, Ignore]]] = {}
    columns = connections.c.identity, connections.c.name, connections.c.account, connections.c.counts
    for row in await tx.execute(select(*columns).order_by(connections.c.name)):
        whose = from_row(ConnectionName, row)
        counts = codec.unpack_counts(row.counts) if row.counts is not None else Counts()
        rules: list[tuple[int | str, Ignore]] = [
            (place, rule) for place, rule in enumerate(ignores) if rule.applies_to(whose.name)
        ]
        rules += [(silence.id, silence) for silence in active.of(whose)]
        for label, rule in rules:
            fits[label].connections = True
            with_number = whose.identity in having.get(rule.number, ())
            fits[label].matches |= _matches_already(rule, counts, with_number=with_number)
        rules_of[whose.identity] = rules
    for identity, rules in rules_of.items():
        wanted = [(fits[label], rule) for label, rule in rules if counting or not fits[label].matches]
        if not wanted:
            continue
        blob = await tx.scalar(select(snapshots.c.records).where(snapshots.c.identity == identity))
        if blob is None:
            continue
        _look_at_problems(blob, wanted, codec, now)
        left = [(fit, rule) for fit, rule in wanted if not fit.matches]
        left = [(fit, rule) for fit, rule in left if identity in having.get(rule.number, {identity})]
        if left:
            _look_at_numbers(blob, left, codec, now)
    return fits


def _matches_already(rule: Ignore, counts: Counts, *, with_number: bool) -> bool:
    """Whether a rule matches some number of a connection as its counts and the index of numbers show it.

    `with_number`: the connection has a number that the rule's glob may match.
    """
    if isinstance(rule, Silence) and rule.keys is not None:
        return False
    if rule.number != _ANY:
        return with_number and "[" not in rule.number and not (rule.state or rule.issue)
    if rule.state and rule.issue:
        return False
    if rule.state:
        return _any_of(rule.state, counts.states)
    return _any_of(rule.issue, counts.issues) if rule.issue else counts.total > 0


def _any_of(name: str, counted: Mapping[str, int]) -> bool:
    return any(many and each.casefold() == name.casefold() for each, many in counted.items())


def _look_at_problems(blob: bytes, wanted: Sequence[tuple[Fit, Ignore]], codec: Codec, now: datetime) -> None:
    """Add the numbers in trouble that rules match, those that were removed among them."""
    tracks = codec.unpack_tracks(blob).values()
    for fit, rule in wanted:
        quiet = {track.key for track in tracks if concerns(rule, track, now)}
        fit.quiet += len(quiet)
        fit.matches |= bool(quiet)


def _look_at_numbers(blob: bytes, wanted: Sequence[tuple[Fit, Ignore]], codec: Codec, now: datetime) -> None:
    """Add whether rules match some number, ready or not."""
    for raw in codec.unpack_numbers(blob).values():
        number = codec.unpack_number(raw)
        for fit, rule in wanted:
            fit.matches |= rule.covers(number, now) and (rule.issue is None or has_issue(rule.issue, number))
