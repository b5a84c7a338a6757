"""Recorded changes: pages of them, and what happened to many numbers at once.

They are looked for by their patterns, of which there are few, and of each pattern only the newest are read: a
page costs the same however many changes there are, and whether or not anything matches.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Row,
    Select,
    Text,
    func,
    literal,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import rfc3339
from monitor.drift.naming import moved
from monitor.errors import Refused
from monitor.store.changes import PHONE_NUMBER, RECORDED, WITH_PATTERN, change_row, sides
from monitor.store.claims import sync_id
from monitor.store.inventory import escaped
from monitor.store.naming import named
from monitor.store.paging import LIMIT, Instant, Page, RowId, cursor_of, page_of, parts_of
from monitor.store.rows import ChangeRow, Happening
from monitor.store.tables import UtcDateTime, changes, patterns

_EVER = datetime.fromtimestamp(0, UTC)
"""Before all that is recorded."""

Conditions = Sequence[ColumnElement[bool]]


def period(
    *, since: datetime | None = None, start: datetime | None = None, until: datetime | None = None
) -> dict[str, datetime]:
    """Return the bounds of a question about changes as the filters `since` and `until`.

    `start` is another `since`, of which the later counts.

    Raises:
        Refused: The end is before the beginning.
    """
    first = max((at for at in (since, start) if at is not None), default=None)
    if first is not None and until is not None and until < first:
        raise Refused(f"this ends before it begins: {rfc3339(first)} is after {rfc3339(until)}")
    return {name: at for name, at in (("since", first), ("until", until)) if at is not None}


async def change_rows(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    change: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[ChangeRow]:
    """Return recorded changes, newest first; `state` matches the state or an issue before or after.

    Both `since` and `until` are among the instants.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    before = parts_of(after, tuple[Instant, RowId]) if after is not None else None

    def wanted(table: FromClause) -> Conditions:
        found = _from_to(table, since, until)
        if before is not None:
            at = literal(before[0], UtcDateTime)
            found += [table.c.at <= at, or_(table.c.at < at, table.c.id < before[1])]
        return found

    like_these = await _alike(tx, connection=connection, state=state, change=change)
    asked = select(*RECORDED).select_from(WITH_PATTERN).where(*wanted(changes))
    if like_these:
        near = _near(like_these, wanted(_OTHERS), limit + 1)
        newest = _newest(tx, near, wanted(_OTHERS), limit + 1)
        asked = asked.where(changes.c.id.in_(select(newest.c.id)))
    rows = await tx.execute(asked.order_by(changes.c.at.desc(), changes.c.id.desc()).limit(limit + 1))
    return page_of([change_row(row) for row in rows], limit, lambda row: cursor_of(row.at, row.id))


async def _alike(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    change: str | None = None,
    identity: str | None = None,
) -> Conditions:
    """Return the conditions of the patterns that a filter lets through; none: it lets through all."""
    found = []
    if identity is not None:
        found.append(patterns.c.identity == identity)
    if connection is not None:
        found.append(await named(tx, patterns.c.connection, connection))
    if change is not None:
        found.append(patterns.c.change == change)
    if state is not None:
        word = msgspec.json.encode(state.casefold()).decode()
        found.append(type_coerce(patterns.c.words, Text).like(f"%{escaped(word)}%", escape="\\"))
    return found


def _from_to(table: FromClause, since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    found = [table.c.at >= since] if since is not None else []
    return found + ([table.c.at <= until] if until is not None else [])


_OTHERS = changes.alias()


def _near(like_these: Conditions, wanted: Conditions, many: int, *, distinct: bool = False) -> CTE:
    """Return the patterns with the newest changes, and since when those of each may be among them.

    Args:
        like_these: Of which patterns.
        wanted: The conditions of `_OTHERS`, the changes.
        many: So many changes are looked for.
        distinct: Those found at the same instant count as one.
    """
    its = select(_OTHERS.c.at).where(_OTHERS.c.pattern == patterns.c.id, *wanted)
    its = its.order_by(_OTHERS.c.at.desc()).limit(1).correlate(patterns)
    newest = select(patterns.c.id, its.scalar_subquery().label("at")).where(*like_these)
    found = newest.cte("found").prefix_with("MATERIALIZED")
    # The newest change of as many patterns: what is older is not among them.
    last = select(found.c.at).where(found.c.at.is_not(None)).order_by(found.c.at.desc())
    floor = func.coalesce(last.offset(many - 1).limit(1).scalar_subquery(), literal(_EVER, UtcDateTime))
    own = select(_OTHERS.c.at).where(_OTHERS.c.pattern == found.c.id, *wanted)
    own = (own.distinct() if distinct else own).order_by(_OTHERS.c.at.desc()).offset(many - 1).limit(1)
    least = func.coalesce(own.correlate(found).scalar_subquery(), literal(_EVER, UtcDateTime))
    above = select(found.c.id, least.label("own"), floor.label("floor")).where(found.c.at >= floor)
    return above.cte("near").prefix_with("MATERIALIZED")


def _newest(
    tx: AsyncConnection, near: CTE, wanted: Conditions, many: int, *, distinct: bool = False
) -> FromClause:
    """Return the newest changes of these patterns; `distinct`: only the instants, each once at least."""
    columns = [_OTHERS.c.at] if distinct else [_OTHERS.c.at, _OTHERS.c.id]
    among = _OTHERS.c.pattern == near.c.id, _OTHERS.c.at >= near.c.own, _OTHERS.c.at >= near.c.floor
    asked = select(*columns).where(*among, *wanted).order_by(*(column.desc() for column in columns))
    asked = (asked.distinct() if distinct else asked).limit(many)
    if tx.dialect.name == "sqlite":
        return asked.select_from(near.join(_OTHERS, among[0])).subquery()
    # Unless it is to take a few of each, PostgreSQL may look through all changes for the newest.
    each = asked.correlate(near).lateral()
    theirs = select(each).select_from(near.join(each, true()))
    return theirs.order_by(*(each.c[column.name].desc() for column in columns)).limit(many).subquery()


_INSTANTS = 50
"""Instants looked at together."""


async def happenings(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    change: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    at: datetime | None = None,
    identity: str | None = None,
    shown: int = 20,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[Happening]:
    """Return recorded changes, those of one sync that are alike as one, newest first; filters as above.

    The database counts them, however many there are. Those of an instant are never on two pages.

    Args:
        tx: A reading transaction.
        connection: Only connections whose name matches this glob.
        state: Only this state or issue, before or after.
        change: Only changes of this kind.
        since: Only what was found then or later.
        until: Only what was found then or earlier.
        at: Only what was found at this instant.
        identity: Only of the connection with this identity.
        shown: How many numbers each holds at most.
        limit: The most rows to return, but for those of the last instant.
        after: The `next` of the previous page.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    like_these = await _alike(tx, connection=connection, state=state, change=change, identity=identity)
    before = parts_of(after, tuple[Instant])[0] if after is not None else None
    found: list[Happening] = []
    while len(found) <= limit:
        instants = await _instants(tx, like_these, since=since, until=until, at=at, before=before)
        if not instants:
            break
        found += await _counted(tx, instants, like_these)
        before = instants[-1]
    rows = found[:limit]
    rows += [each for each in found[limit:] if each.at == rows[-1].at]
    members = await _members(tx, {each.at for each in rows}, like_these, shown)
    return Page(
        rows=[replace(each, members=tuple(sorted(members[each.alike])[:shown])) for each in rows],
        next=cursor_of(rows[-1].at) if len(found) > len(rows) else None,
    )


async def _instants(
    tx: AsyncConnection,
    like_these: Conditions,
    *,
    since: datetime | None,
    until: datetime | None,
    at: datetime | None,
    before: datetime | None,
) -> Sequence[datetime]:
    """Return the newest instants at which something was found."""

    def wanted(table: FromClause) -> Conditions:
        found = _from_to(table, since, until)
        found += [table.c.at == at] if at is not None else []
        return found + ([table.c.at < literal(before, UtcDateTime)] if before is not None else [])

    if like_these:
        near = _near(like_these, wanted(_OTHERS), _INSTANTS, distinct=True)
        found = _newest(tx, near, wanted(_OTHERS), _INSTANTS, distinct=True).c.at
        asked = select(found)
    else:
        found = changes.c.at
        asked = select(found).where(*wanted(changes))
    return (await tx.scalars(asked.group_by(found).order_by(found.desc()).limit(_INSTANTS))).all()


async def _counted(
    tx: AsyncConnection, instants: Sequence[datetime], like_these: Conditions
) -> list[Happening]:
    """Return what happened at these instants, the newest first, without the numbers."""
    together = changes.c.at, changes.c.epoch, changes.c.pattern
    counted = select(
        *together,
        func.count().label("many"),
        func.max(changes.c.id).label("last"),
        func.min(changes.c.moved).label("least_moved"),
        func.max(changes.c.moved).label("most_moved"),
    )
    counted = _at(counted, instants, like_these).group_by(*together)
    found = counted.subquery()
    asked = select(found, patterns).join(patterns, patterns.c.id == found.c.pattern)
    groups: dict[tuple[Any, ...], list[Row[Any]]] = {}
    for row in await tx.execute(asked):
        groups.setdefault(_what(row), []).append(row)
    made = [_happening(rows) for rows in groups.values()]
    return sorted(made, key=lambda each: (each.at, each.id), reverse=True)


def _at(asked: Select[Any], instants: Collection[datetime], like_these: Conditions) -> Select[Any]:
    """Return a question about the changes at these instants."""
    asked = asked.where(changes.c.at.in_(instants), *like_these)
    return asked.select_from(WITH_PATTERN) if like_these else asked


def _what(row: Row[Any]) -> tuple[Any, ...]:
    """Return what the changes of a happening have in common; see `Happening.alike`."""
    name = sync_id(row.identity, row.epoch)
    return row.at, name, row.connection, row.change, row.state, row.previous_state


async def _members(
    tx: AsyncConnection, instants: Collection[datetime], like_these: Conditions, shown: int
) -> dict[tuple[Any, ...], list[tuple[str, str]]]:
    """Return the first numbers of what happened at these instants."""
    together = changes.c.at, changes.c.epoch, changes.c.pattern
    place = func.row_number().over(partition_by=together, order_by=changes.c.key)
    ranked = select(*together, changes.c.key, PHONE_NUMBER, place.label("place"))
    rows = _at(ranked, instants, like_these).subquery()
    asked = select(rows, patterns).join(patterns, patterns.c.id == rows.c.pattern)
    members: dict[tuple[Any, ...], list[tuple[str, str]]] = {}
    for row in await tx.execute(asked.where(rows.c.place <= shown)):
        members.setdefault(_what(row), []).append((row.key, row.phone_number))
    return members


def _happening(rows: Sequence[Row[Any]]) -> Happening:
    first = rows[0]
    alike = all(row.least_moved == row.most_moved == first.least_moved for row in rows)
    items, many = first.action_items, sum(row.many for row in rows)
    return Happening(
        id=max(row.last for row in rows),
        at=first.at,
        sync_id=sync_id(first.identity, first.epoch),
        connection=first.connection,
        change=first.change,
        state=first.state,
        previous_state=first.previous_state,
        many=many,
        members=(),
        moved=moved(*sides(first.least_moved), many=many > 1) if alike else "",
        action=(items[0]["label"] or items[0]["code"]) if items else None,
    )
