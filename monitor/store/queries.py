"""The queries behind the commands, the JSON API and the pages, one function each.

Each takes a transaction of `Database.read()`, narrows by its filters, and returns one `Page`, whose `next` is
the `after` of the page that follows. A filter by connection is a glob of names.
"""

import functools
import types
from collections.abc import AsyncIterator, Callable, Collection, Generator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import decode_body
from monitor.drift.rules import Rules, is_number
from monitor.drift.silences import glob_of
from monitor.drift.snapshot import Number
from monitor.store.actions import Action
from monitor.store.alert_lists import alerts_like
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName, connection_states
from monitor.store.inventory import matching
from monitor.store.naming import named
from monitor.store.paging import LIMIT, Instant, Page, RowId, Text, cursor_of, page_of, parts_of
from monitor.store.rows import (
    ActionRow,
    ConnectionRow,
    DeliveryRow,
    NumberRow,
    Problem,
    ProblemStatus,
    SyncStatus,
    connection_row,
    number_row,
    sync_status,
    trouble_row,
)
from monitor.store.silences import active_silences
from monitor.store.tables import (
    CLOSED,
    DEAD,
    DELIVERED,
    PENDING,
    actions,
    alerts,
    connections,
    deliveries,
    from_row,
    receivers,
    snapshots,
)

_BLOBS = 16
"""Snapshots fetched at once: with 1,000 numbers each, about 2 MB unpacked, decoded one by one."""
_NUMBERS_A_TURN = 200
"""Numbers decoded before other tasks get a turn: less than a millisecond."""
_MOST_BOUND = 1_000
"""Identities that a statement names: a database takes only so many values at once."""
_MORE = 4
"""So many times as many connections are looked at next, where those before have nothing that is wanted."""


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
        if pattern is not None and those is None and not is_number(pattern, one.phone_number, one.key):
            return False
        return drifting in (None, one.drifting) and _in_state(state, one.state, one.issues)

    start = parts_of(after, tuple[Text, Text]) if after is not None else ("", "")
    pattern = glob_of(number.strip()) if number is not None else None
    # With many of them, some are among the first numbers anyway.
    those = await matching(tx, pattern, most=_MOST_BOUND) if pattern is not None else None
    found: list[NumberRow] = []
    may_hold = functools.partial(_may_match, codec, state, drifting)
    async for whose, records in _blobs(tx, connection, start[0], those, may_hold):
        behind = start[1] if start[0] == whose.name else ""
        only = those[whose.identity] if those is not None else None
        async for one in _numbers(codec, records, behind, only):
            if wanted(one):
                found.append(number_row(whose, one))
            if len(found) > limit:
                break
        if len(found) > limit:
            break
    return page_of(found, limit, lambda row: cursor_of(row.connection, row.key))


async def _numbers(
    codec: Codec, records: bytes, behind: str, only: Collection[str] | None
) -> AsyncIterator[Number]:
    """Yield the numbers of a snapshot, or some of them, whose keys come behind one, by key."""
    raw = codec.unpack_numbers(records)
    keys = [key for key in raw if key > behind and (only is None or key in only)]
    for place, key in enumerate(sorted(keys)):
        yield codec.unpack_number(raw[key])
        if place % _NUMBERS_A_TURN == 0:
            await _yield_to_loop()


def _may_match(codec: Codec, state: str | None, drifting: bool | None, packed: bytes | None) -> bool:
    """Return whether one of the numbers that were counted may be in a state or have that issue, and drift."""
    if packed is None:
        return True
    counts = codec.unpack_counts(packed)
    if drifting is not None and not (counts.total_drifting if drifting else counts.total_ready):
        return False
    there = [name for names in (counts.states, counts.issues) for name, many in names.items() if many]
    return counts.folded > 0 or _in_state(state, "", there)


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
    found: list[ConnectionRow] = []
    columns = [connections.c[name] for name in ("outcome", "failures", "held")]
    async for rows in _by_name(tx, *columns, glob=connection, account=account, first=behind, many=limit + 2):
        wanted = [
            row.identity
            for row in rows
            if row.name != behind and status in (None, sync_status(row.outcome, row.failures, row.held))
        ]
        batch = wanted[: limit + 1 - len(found)]
        known = await connection_states(tx, batch, codec)
        found += [
            connection_row(known[each], maintenance=maintenance_of(each)) for each in batch if each in known
        ]
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
    asked = select(actions).order_by(actions.c.at.desc(), actions.c.id.desc())
    asked = asked.filter_by(**_given(action=action, user=user))
    if after is not None:
        at, last = parts_of(after, tuple[Instant, RowId])
        asked = asked.where(actions.c.at <= at, or_(actions.c.at < at, actions.c.id < last))
    if since is not None:
        asked = asked.where(actions.c.at >= since)
    found = [from_row(ActionRow, row) for row in await tx.execute(asked.limit(limit + 1))]
    return page_of(found, limit, lambda row: cursor_of(row.at, row.id))


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
    before = parts_of(after, tuple[RowId])[0] if after is not None else 2**63 - 1
    ids: Sequence[str] | None = [alert_id] if alert_id is not None else None
    if ids is None and (connection, state) != (None, None):
        # With many of them, the newest deliveries are about some of them anyway.
        ids = await alerts_like(tx, connection=connection, state=state, most=_MOST_BOUND)
    kinds = [(receiver, status)]
    if ids is None and (receiver, status) != (None, None):
        names = [receiver] if receiver is not None else await _receivers(tx)
        statuses = [status] if status is not None else [PENDING, DELIVERED, DEAD, CLOSED]
        kinds = [(name, one) for name in names for one in statuses]
    found: list[tuple[DeliveryRow, int]] = []
    while kinds and len(found) <= limit:
        rows = await _latest_deliveries(tx, kinds, ids, before, limit + 1)
        for row in rows:
            body = decode_body(row.says)
            about = _named(connection, body.connections) and _in_state(state, body.state or "")
            if about and (since is None or row.created_at >= since):
                told = {"kind": body.kind, "connections": body.connections, "summary": body.summary}
                found.append((from_row(DeliveryRow, row, answer=row.answer or None, **told), row.seq))
        if len(rows) <= limit or (since is not None and rows[-1].created_at < since - _OUT_OF_ORDER):
            break
        before = rows[-1].seq
    page = page_of(found, limit, lambda pair: cursor_of(pair[1]))
    return Page(rows=[row for row, _ in page.rows], next=page.next)


_OUT_OF_ORDER = timedelta(hours=1)
"""By more than that, no row is older than one that was written before it."""


async def _latest_deliveries(
    tx: AsyncConnection,
    kinds: Sequence[tuple[str | None, str | None]],
    alert_ids: Sequence[str] | None,
    before: int,
    many: int,
) -> list[Row[Any]]:
    """Return the latest deliveries of these receivers and statuses; an index has those of each in order."""
    each = []
    for receiver, status in kinds:
        asked = select(deliveries.c.seq).where(deliveries.c.seq < before)
        asked = asked.filter_by(**_given(receiver=receiver, status=status))
        if alert_ids is not None:
            asked = asked.where(deliveries.c.alert_id.in_(alert_ids))
        each.append(select(asked.order_by(deliveries.c.seq.desc()).limit(many).subquery().c.seq))
    is_gone = (receivers.c.name == deliveries.c.receiver) & (deliveries.c.status == PENDING)
    says = func.coalesce(deliveries.c.body, alerts.c.body).label("says")
    these = select(deliveries, says, receivers.c.gone_since).outerjoin(receivers, is_gone)
    these = these.outerjoin(alerts, alerts.c.id == deliveries.c.alert_id)
    these = these.where(deliveries.c.seq.in_(union_all(*each)))
    return list(await tx.execute(these.order_by(deliveries.c.seq.desc()).limit(many)))


async def _receivers(tx: AsyncConnection) -> list[str]:
    """Return the receivers that any delivery is for, from one to the next."""
    names = select(func.min(deliveries.c.receiver).label("name")).cte("names", recursive=True)
    following = select(func.min(deliveries.c.receiver)).where(deliveries.c.receiver > names.c.name)
    names = names.union_all(select(following.scalar_subquery()).where(names.c.name.is_not(None)))
    return [name for name in await tx.scalars(select(names.c.name)) if name is not None]


@types.coroutine
def _yield_to_loop() -> Generator[None]:
    """Let other tasks run once."""
    yield


async def _blobs(
    tx: AsyncConnection,
    glob: str | None,
    first: str | None,
    only: Collection[str] | None = None,
    may_hold: Callable[[bytes | None], bool] = lambda _: True,
) -> AsyncIterator[tuple[ConnectionName, bytes]]:
    """Yield the records of the connections whose name matches, by name, starting at `first`.

    `only` names them by identity; None: all of them. `may_hold` says by its counts whether one is wanted.
    """
    counts = connections.c.counts
    async for rows in _by_name(tx, counts, glob=glob, first=first, only=only, many=_BLOBS):
        named = [row for row in rows if may_hold(row.counts)]
        for start in range(0, len(named), _BLOBS):
            batch = named[start : start + _BLOBS]
            asked = select(snapshots).where(snapshots.c.identity.in_([row.identity for row in batch]))
            records = {row.identity: row.records for row in await tx.execute(asked)}
            for row in batch:
                if row.identity in records:
                    yield from_row(ConnectionName, row), records[row.identity]
                    await _yield_to_loop()


async def _by_name(
    tx: AsyncConnection,
    *columns: ColumnElement[Any],
    glob: str | None,
    many: int,
    first: str | None = None,
    account: str | None = None,
    only: Collection[str] | None = None,
) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield the connections that a filter lets through, by name, ever more at once.

    Args:
        tx: A reading transaction.
        columns: To be read beside identity, name and account.
        glob: Only those whose name matches.
        many: How many come first.
        first: Only from this name on.
        account: Only those of this account.
        only: Only these identities; no more of them than a statement may name.
    """
    name = connections.c.name
    # A database's collation may order names differently than cursors compare.
    order = name if tx.dialect.name == "sqlite" else name.collate("C")
    asked = select(connections.c.identity, name, connections.c.account, *columns).order_by(order)
    asked = asked.filter_by(**_given(account=account))
    if glob is not None:
        asked = asked.where(await named(tx, name, glob))
    if only is not None:
        asked = asked.where(connections.c.identity.in_(only))
    here = [order >= first] if first is not None else []
    while True:
        rows = (await tx.execute(asked.where(*here).limit(many))).all()
        yield rows
        if len(rows) < many:
            return
        here, many = [order > rows[-1].name], min(many * _MORE, _MOST_BOUND)


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
