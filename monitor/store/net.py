"""The net difference between two instants: how numbers were at one, and how they are at the other.

Both ends are put together from the journal and compared as two snapshots are. So a page costs the same
however much happened in between, but for counting the numbers that changed and are again as they were.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import CTE, ColumnElement, Row, Select, exists, func, or_, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import rfc3339
from monitor.drift.diff import diff
from monitor.drift.naming import listed
from monitor.drift.snapshot import Change, ChangeKind, Snapshot
from monitor.errors import Refused
from monitor.store.changes import patterns_of, row_of, words_of
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.journal import EntryKind
from monitor.store.naming import named
from monitor.store.paging import LIMIT, Instant, Page, Text, cursor_of, parts_of
from monitor.store.past import edge, first_answer_after, moved_since, numbers_at
from monitor.store.rows import ChangeRow
from monitor.store.tables import changes, connections, from_row, journal, patterns

MOST_CHANGES = 200_000
"""The most changes of a connection that are looked through for one page."""
_NUMBERS = 50_000
"""Numbers compared after which a page ends, however few rows it has."""
_NAMES = 10
"""Connections that a note names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPage(Page[ChangeRow]):
    """Net changes by connection and key.

    A row is like a recorded change, with `id`, `at` and `sync_id` of the number's last one. `returned` counts
    the numbers that changed in between and are again as they were; over all pages it adds up. `notes` say
    which connections were not watched at one of the instants.
    """

    returned: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """The two instants, and which changes are asked for; `most` as in `net_rows`."""

    since: datetime
    until: datetime
    state: str | None
    change: str | None
    most: int | None

    def shown(self, alike: Sequence[Change]) -> Change | None:
        """Return which change of a number is shown: one that is new and drifts was added, and appeared."""
        word = self.state.casefold() if self.state is not None else None
        kinds = [each for each in alike if self.change in (None, each.kind)]
        return next((each for each in kinds if word is None or word in words_of(each)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """How a connection differs, and the last recorded change of each of its numbers in between.

    `numbers` is how many were compared. `began`: with its first answer, as it was not watched before.
    `left`: it was no longer watched at the second instant.
    """

    net: Sequence[Change] = ()
    last: Mapping[str, Row[Any]] = field(default_factory=dict)
    returned: int = 0
    numbers: int = 0
    began: bool = False
    left: bool = False


async def net_rows(
    tx: AsyncConnection,
    codec: Codec,
    *,
    since: datetime,
    until: datetime,
    connection: str | None = None,
    state: str | None = None,
    change: str | None = None,
    limit: int = LIMIT,
    after: str | None = None,
    most: int | None = MOST_CHANGES,
) -> NetPage:
    """Return how numbers differ between two instants; the filters are those of `change_rows`.

    What was not watched at the first instant is compared with its first answer after it.

    Args:
        tx: A reading transaction.
        codec: Unpacks snapshots.
        since: The first instant.
        until: The second; the pages that follow keep both.
        connection: Only connections whose name matches this glob.
        state: Only this state or issue, at one of the ends.
        change: Only changes of this kind.
        limit: The most rows to return.
        after: The `next` of the previous page.
        most: So many changes of a connection are looked through, and a page may end early; None: all of it.

    Raises:
        BadCursor: `after` is not a valid cursor.
        Refused: No answer has been applied yet, the journal does not reach so far back, or there is too much
            to look through.
    """
    name = identity = key = ""
    if after is not None:
        since, until, name, identity, key = parts_of(after, tuple[Instant, Instant, Text, Text, Text])
    asked = _Question(since=since, until=until, state=state, change=change, most=most)
    known = _known()
    wanted = [await named(tx, known.c.name, connection)] if connection is not None else []
    await _check_known(tx, known, wanted, since)
    rows: list[ChangeRow] = []
    following, returned, numbers = None, 0, 0
    began, left = [], []
    for row in await tx.execute(_moved(known, wanted, since, name, identity)):
        whose = from_row(ConnectionName, row)
        if len(rows) == limit or (most is not None and numbers > _NUMBERS):
            following = cursor_of(since, until, whose.name, whose.identity, "")
            break
        done = key if (whose.name, whose.identity) == (name, identity) else ""
        found = await _compare(tx, codec, asked, whose)
        numbers += found.numbers
        if not done:
            returned += found.returned
            began += [whose.name] if found.began else []
            left += [whose.name] if found.left else []
        own = [each for each in found.net if each.key > done]
        shown = own[: limit - len(rows)]
        rows += [_row(whose, each, found.last.get(each.key), until) for each in shown]
        if len(own) > len(shown):
            following = cursor_of(since, until, whose.name, whose.identity, shown[-1].key)
            break
    return NetPage(rows=rows, next=following, returned=returned, notes=_notes(began, left, since, until))


def _row(whose: ConnectionName, change: Change, last: Row[Any] | None, until: datetime) -> ChangeRow:
    if last is None:  # it came while nobody watched the connection
        return row_of(whose, change, id=0, at=until, epoch=0)
    return row_of(whose, change, id=last.id, at=last.at, epoch=last.epoch)


def _notes(began: Sequence[str], left: Sequence[str], since: datetime, until: datetime) -> list[str]:
    notes = []
    if began:
        notes.append(f"not watched at {rfc3339(since)}, so compared with the first answer: {_named(began)}")
    if left:
        notes.append(f"no longer watched at {rfc3339(until)}, so left out: {_named(left)}")
    return notes


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    return listed([*names[:_NAMES], *([f"{more} more"] if more > 0 else [])])


def _known() -> CTE:
    """Return the names of all connections that are watched, or have a history."""
    watched = select(connections.c.identity, connections.c.name, connections.c.account)
    former = (
        select(patterns.c.identity, func.max(patterns.c.connection), func.max(patterns.c.account))
        .where(patterns.c.identity.not_in(select(connections.c.identity)))
        .group_by(patterns.c.identity)
    )
    return union_all(watched, former).cte("known")


async def _check_known(
    tx: AsyncConnection, known: CTE, wanted: Sequence[ColumnElement[bool]], since: datetime
) -> None:
    """Refuse a first instant that is before the journal's beginning, for any connection; or any without one.

    Where a base is the oldest entry of a connection, what was before it has been deleted.
    """
    base = edge(func.min, EntryKind.BASE, known.c.identity)
    answer = edge(func.min, EntryKind.APPLIED, known.c.identity)
    oldest = select(func.min(journal.c.at)).select_from(known.join(journal, journal.c.id.in_([base, answer])))
    deleted = (
        select(func.max(journal.c.at))
        .select_from(known.join(journal, journal.c.id == base))
        .where(or_(answer.is_(None), answer > base))
    )
    found = [await tx.scalar(asked.where(*wanted)) for asked in (oldest, deleted)]
    first = max((at for at in found if at is not None), default=None)
    if first is None and (not wanted or await tx.scalar(select(exists().select_from(known).where(*wanted)))):
        raise Refused("nothing is known yet: no answer has been applied")
    if first is not None and since < first:
        whole = first.replace(microsecond=0) + timedelta(seconds=1)
        raise Refused(f"history is known only from {rfc3339(whole)} on: begin then or later")


def _moved(
    known: CTE, wanted: Sequence[ColumnElement[bool]], since: datetime, name: str, identity: str
) -> Select[Any]:
    """Return the connections that may have moved, from this one on."""
    from_here = tuple_(known.c.name, known.c.identity) >= tuple_(name, identity)
    asked = select(known).where(from_here, moved_since(known.c.identity, since), *wanted)
    return asked.order_by(known.c.name, known.c.identity)


async def _compare(tx: AsyncConnection, codec: Codec, asked: _Question, whose: ConnectionName) -> _Compared:
    then = await numbers_at(tx, codec, whose.identity, asked.since)
    now = await numbers_at(tx, codec, whose.identity, asked.until)
    if now is None:
        return _Compared(left=then is not None)
    since = asked.since
    began = then is None
    if then is None:
        since = await first_answer_after(tx, whose.identity, since) or asked.until
        then = await numbers_at(tx, codec, whose.identity, since) or now
    last = await _changed(tx, asked, whose, since)
    found = await asyncio.to_thread(diff, Snapshot(numbers=dict(then)), Snapshot(numbers=dict(now)))
    by_number = [list(alike) for _, alike in groupby(found, lambda each: each.key)]
    return _Compared(
        net=[each for alike in by_number if (each := asked.shown(alike)) is not None],
        last=last,
        returned=len(last.keys() - {alike[0].key for alike in by_number}),
        numbers=len(then) + len(now),
        began=began,
    )


async def _changed(
    tx: AsyncConnection, asked: _Question, whose: ConnectionName, since: datetime
) -> Mapping[str, Row[Any]]:
    """Return the last recorded change in between of each number that has one.

    Raises:
        Refused: They are too many to be looked through.
    """
    these = await patterns_of(tx, whose.identity, list(ChangeKind))
    between = changes.c.pattern.in_(these), changes.c.at > since, changes.c.at <= asked.until
    if asked.most is not None:
        some = select(changes.c.id).where(*between).limit(asked.most + 1).subquery()
        if (await tx.scalar(select(func.count()).select_from(some)) or 0) > asked.most:
            raise Refused(
                f"{whose.name} has more than {asked.most:,} changes in between: choose instants that are"
                " closer together, or run `voicelink-monitor changes --net`"
            )
    newest = select(func.max(changes.c.id).label("id")).where(*between).group_by(changes.c.key).subquery()
    columns = (changes.c[name] for name in ("key", "id", "at", "epoch"))
    rows = await tx.execute(select(*columns).join(newest, newest.c.id == changes.c.id))
    return {row.key: row for row in rows}
