"""Silences that are active: read by every step, left by numbers that are ready, taken up by the log."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Row, and_, bindparam, case, delete, literal, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.rules import Silence
from monitor.store.connections import ConnectionName
from monitor.store.rows import SilenceRow
from monitor.store.tables import (
    UtcDateTime,
    connections,
    from_row,
    silenced,
    silences,
)

Keys = Mapping[str, Collection[str]]
"""Keys of numbers by the identity of their connection."""


@dataclass(frozen=True, slots=True)
class ActiveSilences:
    """Every silence that has not ended, and the keys of those that are about certain numbers."""

    silences: Sequence[Silence]
    keys: Mapping[str, Keys]

    def of(self, whose: ConnectionName) -> tuple[Silence, ...]:
        """Return those that concern a connection; where they are about certain numbers, with its keys."""
        found = []
        for silence in self.silences:
            if silence.id not in self.keys:
                if silence.applies_to(whose.name):
                    found.append(silence)
            elif keys := self.keys[silence.id].get(whose.identity):
                found.append(dataclasses.replace(silence, keys=frozenset(keys)))
        return tuple(found)


async def active_silences(tx: AsyncConnection) -> ActiveSilences:
    """Return all silences that have not ended."""
    return _active(await tx.execute(_ACTIVE))


async def silences_of(tx: AsyncConnection, identity: str) -> tuple[Silence, ...]:
    """Return the silences that concern a connection."""
    rows = list(await tx.execute(_ACTIVE_OF, {"which": identity}))
    if not rows:
        return ()
    return _active(rows).of(ConnectionName(identity=identity, name=rows[0].name or "", account=""))


async def leave(tx: AsyncConnection, identity: str, done: Sequence[tuple[str, str]]) -> None:
    """Take numbers of a connection out of silences: each is the id of a silence, and a number's key."""
    if done:
        gone = tuple_(silenced.c.silence_id, silenced.c.key).in_(done)
        await tx.execute(delete(silenced).where(silenced.c.identity == identity, gone))


async def any_to_log(tx: AsyncConnection, now: datetime) -> bool:
    """Return whether a silence has begun or ended that no daemon has logged yet."""
    return await tx.scalar(_ANY_TO_LOG, {"now": now}) is not None


async def take_begun_and_ended(
    tx: AsyncConnection, now: datetime
) -> tuple[list[SilenceRow], list[SilenceRow]]:
    """Return the silences that have begun and ended since they were last taken, for this process to log."""
    ended_at = case((silences.c.until_ready.is_(True), literal(now, UtcDateTime)), else_=silences.c.until)
    await tx.execute(update(silences).where(_over(now)).values(ended_at=ended_at))
    begun = update(silences).where(silences.c.start_logged.is_(False)).values(start_logged=True)
    ended = update(silences).where(_END_UNLOGGED).values(end_logged=True)
    taken = [await tx.execute(each.returning(*silences.c)) for each in (begun, ended)]
    first, last = (
        sorted((silence_row(row, now) for row in rows), key=lambda row: (row.created_at, row.id))
        for rows in taken
    )
    return first, last


def _over(now: datetime | BindParameter[datetime]) -> Any:
    """Whether a silence has come to its end, and nobody has written it down yet."""
    its = select(silenced.c.key).where(silenced.c.silence_id == silences.c.id)
    done = or_(silences.c.until <= now, and_(silences.c.until_ready.is_(True), ~its.exists()))
    return and_(silences.c.ended_at.is_(None), done)


_END_UNLOGGED = and_(silences.c.ended_at.is_not(None), silences.c.end_logged.is_(False))
_to_log = or_(silences.c.start_logged.is_(False), _over(bindparam("now", type_=UtcDateTime())), _END_UNLOGGED)
_ANY_TO_LOG = select(silences.c.id).where(_to_log).limit(1)  # built once: it is asked every second

ANY_ACTIVE = select(silences.c.id).where(silences.c.ended_at.is_(None)).exists()
"""Whether there is any silence that has not ended."""

_RULE = ("id", "connection", "number", "state", "issue", "alert", "until", "until_ready", "reason", "by")
_STANDING = [silences.c[name] for name in _RULE]
_ORDER = (silences.c.created_at, silences.c.id, silenced.c.key)
_ACTIVE = (
    select(*_STANDING, silenced.c.identity, silenced.c.key)
    .outerjoin(silenced, silenced.c.silence_id == silences.c.id)
    .where(silences.c.ended_at.is_(None))
    .order_by(*_ORDER)
)
_ITS_NAME = select(connections.c.name).where(connections.c.identity == bindparam("which")).scalar_subquery()
_ACTIVE_OF = (
    select(*_STANDING, silenced.c.identity, silenced.c.key, _ITS_NAME.label("name"))
    .outerjoin(
        silenced, and_(silenced.c.silence_id == silences.c.id, silenced.c.identity == bindparam("which"))
    )
    .where(silences.c.ended_at.is_(None))
    .order_by(*_ORDER)
)


def _active(rows: Iterable[Any]) -> ActiveSilences:
    found: dict[str, Silence] = {}
    keys: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.id not in found:
            found[row.id] = Silence(
                id=row.id,
                connection=row.connection or "*",
                number=row.number or "*",
                state=row.state,
                issue=row.issue,
                until=row.until,
                until_ready=row.until_ready,
                reason=row.reason,
                by=row.by,
            )
            if row.alert is not None or row.until_ready:
                keys[row.id] = {}
        if row.key is not None:
            keys[row.id].setdefault(row.identity, []).append(row.key)
    return ActiveSilences(list(found.values()), keys)


def silence_row(row: Row[Any], now: datetime) -> SilenceRow:
    """Return a silence as people see it: one whose time is up has ended, though nobody wrote it down yet."""
    is_over = row.ended_at is None and row.until is not None and row.until <= now
    return from_row(SilenceRow, row, ended_at=row.until if is_over else row.ended_at, numbers=0, notes=[])
