"""The queries behind the commands, the JSON API and the pages, one function each.

Each takes a transaction of `Database.read()`, narrows by its filters, and returns one `Page`, whose `next` is
the `after` of the page that follows. A filter by connection is a glob of names.
"""

import types
from collections.abc import AsyncIterator, Callable, Collection, Generator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Row, Select, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Kind, Severity, Status, decode_body
from monitor.drift.naming import moved
from monitor.drift.rules import Rules
from monitor.drift.silences import glob_of
from monitor.drift.snapshot import Number
from monitor.store.actions import Action
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName, connection_states
from monitor.store.inventory import like, matching
from monitor.store.paging import LIMIT, Instant, Page, RowId, T, Text, cursor_of, page_of, parts_of
from monitor.store.rows import (
    ActionRow,
    ChangeRow,
    ConnectionRow,
    DeliveryRow,
    Happening,
    NumberRow,
    Problem,
    ProblemStatus,
    SyncStatus,
    connection_row,
    number_row,
    trouble_row,
)
from monitor.store.silences import active_silences
from monitor.store.tables import (
    UtcDateTime,
    actions,
    alerts,
    changes,
    connections,
    deliveries,
    from_row,
    snapshots,
)

_BLOBS = 16
"""Snapshots fetched at once: with 1,000 numbers each, about 2 MB unpacked, decoded one by one."""
_NUMBERS_A_TURN = 200
"""Numbers decoded before other tasks get a turn: less than a millisecond."""
_MOST_BOUND = 1_000
"""Identities that a statement names: a database takes only so many values at once."""
_CHUNK = 50
"""Rows fetched at once where each has a body to decode."""


RulesOf = Callable[[str], Rules | None]
"""The rules of a connection by its identity; None if it is not configured."""

MaintenanceOf = Callable[[str], bool | None]
"""Whether a window is open for a connection, by its identity; None if it is not watched here."""


async def problems(
    tx: AsyncConnection,
    codec: Codec,
    rules_of: RulesOf,
    now: datetime,
    *,
    connection: str | None = None,
    state: str | None = None,
    since: datetime | None = None,
    status: ProblemStatus | None = None,
    ignored: bool | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[Problem]:
    """Return the numbers in trouble now, by connection and key.

    Args:
        tx: A reading transaction.
        codec: Unpacks the snapshots.
        rules_of: The rules that decide which problems are ignored; silences are added to them.
        now: The instant at which the rules apply.
        connection: Only connections whose name matches this glob.
        state: Only this state or issue, in any case.
        since: Only problems that began then or later.
        status: Only this status.
        ignored: Only those that a rule or silence keeps quiet (True), or only the others (False).
        limit: The most rows to return.
        after: The `next` of the previous page.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """

    def wanted(row: Problem) -> bool:
        if since is not None and row.since < since:
            return False
        if ignored not in (None, row.status.quiet):
            return False
        return status in (None, row.status) and _in_state(state, row.state, row.issues)

    start = parts_of(after, tuple[Text, Text, Text]) if after is not None else None
    found: list[Problem] = []
    silences = await active_silences(tx)
    async for whose, records in _blobs(tx, connection, start[0] if start else None):
        rules = (rules_of(whose.identity) or Rules()).with_silences(silences.of(whose))
        tracks = codec.unpack_tracks(records).values()
        rows = [
            trouble_row(whose, track, track.number, rules, now)
            for track in tracks
            if track.number is not None
        ]
        rows.sort(key=_problem_order)
        found += [row for row in rows if wanted(row) and (start is None or _problem_order(row) > start)]
        if len(found) > limit:
            break
    return page_of(found, limit, lambda row: cursor_of(*_problem_order(row)))


async def numbers(
    tx: AsyncConnection,
    codec: Codec,
    *,
    connection: str | None = None,
    number: str | None = None,
    state: str | None = None,
    drifting: bool | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[NumberRow]:
    """Return the numbers of the applied snapshots, by connection and key; filters work as in `problems`.

    `number` is a glob of phone numbers or keys, also with separators.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """

    def wanted(one: Number) -> bool:
        return drifting in (None, one.drifting) and _in_state(state, one.state, one.issues)

    start = parts_of(after, tuple[Text, Text]) if after is not None else None
    named = await matching(tx, glob_of(number.strip())) if number is not None else None
    found: list[NumberRow] = []
    async for whose, records in _blobs(tx, connection, start[0] if start else None, named):
        raw = codec.unpack_numbers(records)
        behind = start[1] if start is not None and start[0] == whose.name else ""
        keys = raw if named is None else raw.keys() & named[whose.identity]
        for place, key in enumerate(sorted(key for key in keys if key > behind)):
            one = codec.unpack_number(raw[key])
            if wanted(one):
                found.append(number_row(whose, one))
            if len(found) > limit:
                break
            if place % _NUMBERS_A_TURN == 0:
                await _yield_to_loop()
        if len(found) > limit:
            break
    return page_of(found, limit, lambda row: cursor_of(row.connection, row.key))


async def connection_rows(
    tx: AsyncConnection,
    codec: Codec,
    maintenance_of: MaintenanceOf,
    *,
    connection: str | None = None,
    account: str | None = None,
    status: SyncStatus | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[ConnectionRow]:
    """Return the watched connections, by name.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    behind = parts_of(after, tuple[Text])[0] if after is not None else ""
    owners = [
        owner
        for owner in await _owners(tx, connection)
        if owner.name > behind and account in (None, owner.account)
    ]
    found: list[ConnectionRow] = []
    for start in range(0, len(owners), _CHUNK):
        batch = [owner.identity for owner in owners[start : start + _CHUNK]]
        known = await connection_states(tx, batch, codec)
        rows = [
            connection_row(known[each], maintenance=maintenance_of(each)) for each in batch if each in known
        ]
        found += [row for row in rows if status in (None, row.status)]
        if len(found) > limit:
            break
    return page_of(found, limit, lambda row: cursor_of(row.name))


async def connection_named(
    tx: AsyncConnection, codec: Codec, maintenance_of: MaintenanceOf, name: str
) -> ConnectionRow | None:
    """Return the watched connection of this name."""
    identity = await tx.scalar(select(connections.c.identity).where(connections.c.name == name))
    if identity is None:
        return None
    standing = (await connection_states(tx, [identity], codec)).get(identity)
    return connection_row(standing, maintenance=maintenance_of(identity)) if standing else None


def _of_changes(
    asked: Select[Any],
    *,
    connection: str | None,
    since: datetime | None,
    at: datetime | None = None,
    **given: str | None,
) -> Select[Any]:
    """Return a question about changes, narrowed as far as the database can."""
    if at is not None:
        asked = asked.where(changes.c.at == at)
    asked = asked.where(*(changes.c[name] == value for name, value in _given(**given).items()))
    if since is not None:
        asked = asked.where(changes.c.at >= since)
    if connection is not None:
        asked = asked.where(changes.c.connection.like(like(connection), escape="\\"))
    return asked


async def change_rows(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    change: str | None = None,
    since: datetime | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[ChangeRow]:
    """Return recorded changes, newest first; `state` matches the state or an issue before or after.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    asked = select(changes).order_by(changes.c.id.desc())
    asked = _of_changes(asked, connection=connection, since=since, change=change)
    if after is not None:
        asked = asked.where(changes.c.id < parts_of(after, tuple[RowId])[0])

    def read(row: Row[Any]) -> ChangeRow | None:
        if not _named(connection, [row.connection]):
            return None
        found = from_row(ChangeRow, row)
        either = (*found.issues, *found.previous_issues, found.previous_state or "")
        return found if _in_state(state, found.state or "", either) else None

    return await _scan(tx, asked, read, limit, cursor=lambda row: cursor_of(row.id))


_ALIKE = (
    changes.c.at,
    changes.c.sync_id,
    changes.c.connection,
    changes.c.change,
    changes.c.state,
    changes.c.previous_state,
)
"""What the changes of a happening have in common."""
_ISSUES = (changes.c.issues, changes.c.previous_issues)
_INSTANTS = 50
"""Instants looked at together."""


async def happenings(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    change: str | None = None,
    since: datetime | None = None,
    at: datetime | None = None,
    identity: str | None = None,
    shown: int = 20,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[Happening]:
    """Return recorded changes, those of one sync that are alike as one, newest first; filters as above.

    The database counts them, however many there are. Those of an instant are never on two pages.

    Args:
        at: Only what was found at this instant.
        identity: Only of the connection with this identity.
        shown: How many numbers each holds at most.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    given: dict[str, Any] = {"connection": connection, "since": since, "change": change}
    given |= {"at": at, "identity": identity}
    before = parts_of(after, tuple[Instant])[0] if after is not None else None
    found: list[Happening] = []
    while len(found) <= limit:
        asked = _of_changes(select(changes.c.at), **given).group_by(changes.c.at)
        if before is not None:
            asked = asked.where(changes.c.at < literal(before, UtcDateTime))
        instants = list((await tx.scalars(asked.order_by(changes.c.at.desc()).limit(_INSTANTS))).all())
        if not instants:
            break
        found += await _counted(tx, instants, given, state)
        before = instants[-1]
    rows = found[:limit]
    rows += [each for each in found[limit:] if each.at == rows[-1].at]
    members = await _members(tx, {each.at for each in rows}, given, state, shown)
    return Page(
        rows=[replace(each, members=tuple(sorted(members[each.alike])[:shown])) for each in rows],
        next=cursor_of(rows[-1].at) if len(found) > len(rows) else None,
    )


def _wanted(row: Row[Any], connection: str | None, state: str | None) -> bool:
    either = (*row.issues, *row.previous_issues, row.previous_state or "")
    return _named(connection, [row.connection]) and _in_state(state, row.state or "", either)


async def _counted(
    tx: AsyncConnection, instants: Sequence[datetime], given: Mapping[str, Any], state: str | None
) -> list[Happening]:
    """Return what happened at these instants, the newest first, without the numbers."""
    texts = (changes.c.depended_on, changes.c.depends_on, changes.c.action_items)
    asked = select(
        *_ALIKE,
        *_ISSUES,
        func.count().label("many"),
        func.max(changes.c.id).label("last"),
        *(func.min(text).label(f"least_{text.name}") for text in texts),
        *(func.max(text).label(f"most_{text.name}") for text in texts),
    )
    asked = asked.where(changes.c.at.in_(instants)).group_by(*_ALIKE, *_ISSUES)
    groups: dict[tuple[Any, ...], list[Row[Any]]] = {}
    for row in await tx.execute(_of_changes(asked, **given)):
        if _wanted(row, given["connection"], state):
            groups.setdefault(tuple(row[: len(_ALIKE)]), []).append(row)
    found = [_happening(rows) for rows in groups.values()]
    return sorted(found, key=lambda each: (each.at, each.id), reverse=True)


async def _members(
    tx: AsyncConnection,
    instants: Collection[datetime],
    given: Mapping[str, Any],
    state: str | None,
    shown: int,
) -> dict[tuple[Any, ...], list[tuple[str, str]]]:
    """Return the first numbers of what happened at these instants."""
    place = func.row_number().over(partition_by=(*_ALIKE, *_ISSUES), order_by=changes.c.key)
    ranked = select(*_ALIKE, *_ISSUES, changes.c.key, changes.c.phone_number, place.label("place"))
    rows = _of_changes(ranked.where(changes.c.at.in_(instants)), **given).subquery()
    members: dict[tuple[Any, ...], list[tuple[str, str]]] = {}
    for row in await tx.execute(select(rows).where(rows.c.place <= shown)):
        if _wanted(row, given["connection"], state):
            members.setdefault(tuple(row[: len(_ALIKE)]), []).append((row.key, row.phone_number))
    return members


def _happening(rows: Sequence[Row[Any]]) -> Happening:
    first = rows[0]
    alike = all(
        row.least_depended_on == row.most_depended_on == first.least_depended_on
        and row.least_depends_on == row.most_depends_on == first.least_depends_on
        for row in rows
    )
    items = first.least_action_items
    return Happening(
        id=max(row.last for row in rows),
        at=first.at,
        sync_id=first.sync_id,
        connection=first.connection,
        change=first.change,
        state=first.state,
        previous_state=first.previous_state,
        many=sum(row.many for row in rows),
        members=(),
        moved=moved(first.least_depended_on, first.least_depends_on) if alike else "",
        action=(items[0]["label"] or items[0]["code"]) if items else None,
    )


async def action_rows(
    tx: AsyncConnection,
    *,
    action: Action | None = None,
    user: str | None = None,
    since: datetime | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[ActionRow]:
    """Return what people asked for, newest first.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    asked = select(actions).order_by(actions.c.id.desc()).filter_by(**_given(action=action, user=user))
    if after is not None:
        asked = asked.where(actions.c.id < parts_of(after, tuple[RowId])[0])
    if since is not None:
        asked = asked.where(actions.c.at >= since)
    found = [from_row(ActionRow, row) for row in await tx.execute(asked.limit(limit + 1))]
    return page_of(found, limit, lambda row: cursor_of(row.id))


async def alert_bodies(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    kind: Kind | None = None,
    status: Status | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    alert_id: str | None = None,
    part_of: str | None = None,
    widespread: bool | None = None,
    parts: bool = True,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[AlertBody]:
    """Return alerts as they are now, the latest started first.

    Args:
        tx: A reading transaction.
        connection: Only alerts about a connection whose name matches this glob.
        state: Only this state, in any case.
        kind: Only this kind.
        status: Only firing or only resolved alerts.
        severity: Only this severity.
        since: Only alerts that were firing then or later.
        alert_id: Only the alert with this id.
        part_of: Only the parts of the widespread alert with this id.
        widespread: Only widespread alerts (True), or only the others (False).
        parts: Also parts of widespread alerts.
        limit: The most rows to return.
        after: The `next` of the previous page.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    newest = (alerts.c.started_at.desc(), alerts.c.id.desc())
    asked = select(alerts.c.body, alerts.c.started_at, alerts.c.id).order_by(*newest)
    given = _given(id=alert_id, kind=kind, status=status, severity=severity, part_of=part_of)
    asked = asked.filter_by(**given)
    if widespread is not None:
        asked = asked.where(alerts.c.widespread.is_(widespread))
    if not parts:
        asked = asked.where(alerts.c.part_of.is_(None))
    if after is not None:
        at, last = parts_of(after, tuple[Instant, Text])
        asked = asked.where(tuple_(alerts.c.started_at, alerts.c.id) < tuple_(literal(at, UtcDateTime), last))
    if since is not None:
        asked = asked.where(or_(alerts.c.resolved_at.is_(None), alerts.c.resolved_at >= since))

    def read(row: Row[Any]) -> AlertBody | None:
        body = decode_body(row.body)
        wanted = _named(connection, body.connections) and _in_state(state, body.state or "")
        return body if wanted else None

    return await _scan(tx, asked, read, limit, cursor=lambda row: cursor_of(row.started_at, row.id))


async def delivery_counts(tx: AsyncConnection, alert_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many messages there are about each of these alerts, by status."""
    asked = select(deliveries.c.alert_id, deliveries.c.status, func.count().label("many"))
    asked = asked.where(deliveries.c.alert_id.in_(alert_ids))
    found: dict[str, dict[str, int]] = {alert_id: {} for alert_id in alert_ids}
    for row in await tx.execute(asked.group_by(deliveries.c.alert_id, deliveries.c.status)):
        found[row.alert_id][row.status] = row.many
    return found


async def delivery_rows(
    tx: AsyncConnection,
    *,
    receiver: str | None = None,
    status: str | None = None,
    state: str | None = None,
    alert_id: str | None = None,
    connection: str | None = None,
    since: datetime | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[DeliveryRow]:
    """Return deliveries, the latest queued first; `since` is about their queueing, `state` about their alert.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    asked = select(deliveries).order_by(deliveries.c.seq.desc())
    asked = asked.filter_by(**_given(receiver=receiver, status=status, alert_id=alert_id))
    if after is not None:
        asked = asked.where(deliveries.c.seq < parts_of(after, tuple[RowId])[0])
    if since is not None:
        asked = asked.where(deliveries.c.created_at >= since)

    def read(row: Row[Any]) -> DeliveryRow | None:
        body = decode_body(row.body)
        wanted = _named(connection, body.connections) and _in_state(state, body.state or "")
        if not wanted:
            return None
        told = {"kind": body.kind, "connections": body.connections, "summary": body.summary}
        return from_row(DeliveryRow, row, answer=row.answer or None, **told)

    return await _scan(tx, asked, read, limit, cursor=lambda row: cursor_of(row.seq))


@types.coroutine
def _yield_to_loop() -> Generator[None]:
    """Let other tasks run once."""
    yield


async def _blobs(
    tx: AsyncConnection, glob: str | None, first: str | None, only: Collection[str] | None = None
) -> AsyncIterator[tuple[ConnectionName, bytes]]:
    """Yield the records of the connections whose name matches, by name, starting at `first`.

    `only` names them by identity; None: all of them.
    """
    named = [
        owner
        for owner in await _owners(tx, glob, only)
        if (first is None or owner.name >= first) and (only is None or owner.identity in only)
    ]
    for start in range(0, len(named), _BLOBS):
        batch = named[start : start + _BLOBS]
        rows = await tx.execute(
            select(snapshots).where(snapshots.c.identity.in_([row.identity for row in batch]))
        )
        records = {row.identity: row.records for row in rows}
        for owner in batch:
            if owner.identity in records:
                yield owner, records[owner.identity]
                await _yield_to_loop()


async def _owners(
    tx: AsyncConnection, glob: str | None, only: Collection[str] | None = None
) -> list[ConnectionName]:
    """Return the connections whose name matches, by name; `only` names them by identity."""
    asked = select(connections.c.identity, connections.c.name, connections.c.account)
    if only is not None and len(only) <= _MOST_BOUND:
        asked = asked.where(connections.c.identity.in_(only))
    named = [from_row(ConnectionName, row) for row in await tx.execute(asked) if _named(glob, [row.name])]
    # Sorted here: a database's collation may order names differently than cursors compare.
    return sorted(named, key=lambda owner: owner.name)


async def _scan(
    tx: AsyncConnection,
    asked: Select[Any],
    read: Callable[[Row[Any]], T | None],
    limit: int,
    *,
    cursor: Callable[[Row[Any]], str],
) -> Page[T]:
    """Return the page of the first rows for which `read` returns something."""
    found: list[tuple[T, Row[Any]]] = []
    async with tx.stream(asked.execution_options(yield_per=_CHUNK)) as rows:
        async for row in rows:
            if (taken := read(row)) is not None:
                found.append((taken, row))
            if len(found) > limit:
                break
    page = page_of(found, limit, lambda pair: cursor(pair[1]))
    return Page(rows=[taken for taken, _ in page.rows], next=page.next)


def _given(**filters: str | None) -> dict[str, str]:
    """Return the filters that were given, by column."""
    return {column: value for column, value in filters.items() if value is not None}


def _problem_order(row: Problem) -> tuple[str, ...]:
    return row.connection, row.key, row.kind.value


def _named(glob: str | None, names: Sequence[str]) -> bool:
    return glob is None or any(fnmatchcase(name, glob) for name in names)


def _in_state(wanted: str | None, state: str, issues: Sequence[str] = ()) -> bool:
    if wanted is None:
        return True
    return wanted.casefold() in {state.casefold(), *(issue.casefold() for issue in issues)}
