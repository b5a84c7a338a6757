"""State for the posts to Alertmanager: open episodes, what was posted about them, who posts where."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import (
    LargeBinary,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.drift.alert import Acknowledgement, Action, Status
from monitor.drift.failures import REFUSALS, SCOPE
from monitor.errors import DeliveryError
from monitor.notify.alertmanager.level import LabelMoves, LabelSet, LevelState, Member, PostTarget
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.packing import unpack
from monitor.store.tables import (
    UtcDateTime,
    alerts,
    connections,
    episodes,
    from_row,
    posted,
    posters,
    receivers,
)

REPEAT_ENDS = timedelta(minutes=15)
"""How long an end is posted after it was accepted: Alertmanager may restart before it notifies anyone."""

_CHUNK = 500
"""Rows read before other tasks get a turn."""

_ERROR_LENGTH = 500


T = TypeVar("T")


class _Head(msgspec.Struct, frozen=True):
    """The part of an alert body that the posts use."""

    numbers_total: int = 0
    common: dict[str, int | str] = {}
    common_names: dict[str, str] = {}
    first_step: str = ""
    actions: list[Action] = []
    acknowledged: Acknowledgement | None = None


class _Known(Generic[T]):
    """What was made at the last read, and is made anew only where it is made of something else by now.

    Nearly all that is open is as it was at the last post.
    """

    def __init__(self, before: Mapping[Any, tuple[Any, T]]) -> None:
        self._before = before
        self.now: dict[Any, tuple[Any, T]] = {}

    def of(self, key: Any, made_of: Any, make: Callable[[], T]) -> T:
        known = self._before.get(key)
        if known is None or known[0] != made_of:
            known = made_of, make()
        self.now[key] = known
        return known[1]


_BY_KEY = and_(
    posted.c.receiver == bindparam("of_receiver"),
    posted.c.url == bindparam("of_url"),
    posted.c.episode_id == bindparam("of_episode"),
    posted.c.fingerprint == bindparam("of_labels"),
)
_FORGET = delete(posted).where(_BY_KEY)
_MOVE = update(posted).where(_BY_KEY)

_ADD_POSTER = {
    "sqlite": sqlite.insert(posters).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(posters).on_conflict_do_nothing(),
}
"""Two processes may see at once that no one has ever posted there."""

_FIRING = alerts.c.status == Status.FIRING
_TAKEN_ON = alerts.c.resolved_at.is_(None) & alerts.c.acknowledged_at.is_not(None)
_ABOUT = case((episodes.c.scope == SCOPE, episodes.c.key), else_=episodes.c.scope)
_BODIES = select(alerts.c.id, type_coerce(alerts.c.body, LargeBinary).label("packed")).where(_FIRING)
_MEMBERS = (
    select(
        *(episodes.c[name] for name in ("id", "alert_id", "kind", "severity", "opened_at", "ended_at")),
        *(episodes.c[name] for name in ("resolution", "track")),
        episodes.c.episode_group.label("group"),
        func.coalesce(alerts.c.part_of, episodes.c.alert_id).label("told_as"),
        connections.c.name.label("connection"),
        connections.c.account,
    )
    .outerjoin(connections, connections.c.identity == _ABOUT)
    .outerjoin(alerts, alerts.c.id == episodes.c.alert_id)
)
"""Episodes, with the names of the connection that each is about."""


_still_open = episodes.c.ended_at.is_(None)
_MARKER = select(
    select(func.count()).where(_still_open).scalar_subquery(),
    select(func.max(episodes.c.opened_at)).where(_still_open).scalar_subquery(),
    select(func.max(episodes.c.ended_at)).where(~_still_open).scalar_subquery(),
    select(func.count(alerts.c.acknowledged_at)).where(_TAKEN_ON).scalar_subquery(),
    select(func.max(alerts.c.acknowledged_at)).where(_TAKEN_ON).scalar_subquery(),
)


class StoredLevel:
    """The posters' view of the store.

    Args:
        database: The store.
        codec: Reads the episodes.
        clock: The time.
        holder: The name of this process among those that share the store.
    """

    def __init__(self, database: Database, codec: Codec, clock: Clock, *, holder: str) -> None:
        self._database = database
        self._codec = codec
        self._clock = clock
        self._holder = holder
        self._head = msgspec.json.Decoder(_Head)
        self._heads: Mapping[Any, tuple[Any, _Head]] = {}
        self._members: Mapping[Any, tuple[Any, Member]] = {}
        self._sets: dict[PostTarget, Mapping[Any, tuple[Any, LabelSet]]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether other processes can use this store."""
        return not self._database.is_sqlite

    async def hold(self, target: PostTarget, *, lease_s: float) -> bool:
        """Make this process the one that posts there; False if another process is."""
        now = self._clock.now()
        values = {"holder": self._holder, "lease_until": now + timedelta(seconds=lease_s)}
        free = or_(
            posters.c.holder == self._holder, posters.c.lease_until.is_(None), posters.c.lease_until <= now
        )
        async with self._database.read() as tx:
            known = (await tx.execute(select(free.label("free")).where(*_at(posters, target)))).first()
        if known is not None and not known.free:
            return False

        async def take(tx: AsyncConnection) -> bool:
            if known is None:
                new = {"receiver": target.receiver, "url": target.url, "refused": False}
                await tx.execute(_ADD_POSTER[tx.dialect.name], new | values)
            done = await tx.execute(update(posters).where(*_at(posters, target), free).values(**values))
            return done.rowcount == 1

        return await self._database.transact(take)

    async def release(self, target: PostTarget) -> None:
        """Let another process post there."""
        mine = update(posters).where(*_at(posters, target), posters.c.holder == self._holder)
        await self._database.transact(lambda tx: tx.execute(mine.values(lease_until=None)))

    async def read(self, target: PostTarget) -> LevelState:
        """Return the open episodes, the ended ones whose end is still posted, and what was posted of them."""
        was_posted = select(posted.c.episode_id).where(*_at(posted, target))
        ended = episodes.c.ended_at.is_not(None)
        known_heads, known_members = _Known(self._heads), _Known(self._members)
        known_sets = _Known(self._sets.get(target, {}))
        heads: dict[str, _Head] = {}
        members: dict[str, Member] = {}
        sets: list[LabelSet] = []
        none = _Head()
        async with self._database.read() as tx:
            async for row in _rows(tx, _BODIES):
                heads[row.id] = known_heads.of(row.id, row.packed, partial(self._read_head, row.packed))
            for which in (~ended, and_(ended, episodes.c.id.in_(was_posted))):
                async for row in _rows(tx, _MEMBERS.where(which)):
                    head = heads.get(row.alert_id, none)
                    told = heads.get(row.told_as, head)
                    made_of = (tuple(row), head, told)
                    members[row.id] = known_members.of(
                        row.id, made_of, partial(self._member, row, head, told)
                    )
            async for row in _rows(tx, select(posted).where(*_at(posted, target))):
                make = partial(from_row, LabelSet, row, member_id=row.episode_id)
                sets.append(known_sets.of((row.episode_id, row.fingerprint), tuple(row), make))
        self._heads, self._members, self._sets[target] = known_heads.now, known_members.now, known_sets.now
        return LevelState(read_at=self._clock.now(), members=members, sets=sets)

    def _read_head(self, packed: bytes) -> _Head:
        return self._head.decode(unpack(packed))

    def _member(self, row: Row[Any], head: _Head, told: _Head) -> Member:
        return from_row(
            Member,
            row,
            track=self._codec.unpack_track(row.track, row.id, row.alert_id),
            alone=head.numbers_total == 1,
            common=head.common,
            common_names=head.common_names,
            first_step=head.first_step,
            first_action=next((action.label or action.code for action in head.actions), ""),
            acknowledged=told.acknowledged,
        )

    async def marker(self) -> object:
        """Return a value that changes when episodes open or end, or their alerts are acknowledged."""
        async with self._database.read() as tx:
            return tuple((await tx.execute(_MARKER)).one())

    async def asked_at(self, target: PostTarget) -> datetime | None:
        """Return when a user last asked for a post there at once."""
        async with self._database.read() as tx:
            found: datetime | None = await tx.scalar(select(posters.c.asked_at).where(*_at(posters, target)))
        return found

    async def write(self, target: PostTarget, moves: LabelMoves) -> None:
        """Record what is about to be posted there."""
        gone = [_key(target, old) for old in moves.gone]
        changed = [{**_key(target, moved), **_moving(moved)} for moved in moves.changed]
        begun = [
            {
                "receiver": target.receiver,
                "url": target.url,
                "episode_id": begun.member_id,
                "fingerprint": begun.fingerprint,
                "labels": begun.labels,
                **_moving(begun),
            }
            for begun in moves.begun
        ]

        async def write(tx: AsyncConnection) -> None:
            for statement, rows in ((_FORGET, gone), (_MOVE, changed), (insert(posted), begun)):
                if rows:
                    await tx.execute(statement, rows)

        await self._database.transact(write)

    async def accepted(self, target: PostTarget, *, read_at: datetime, at: datetime) -> None:
        """Record that the URL is working, and accepted everything read at an instant."""
        waiting = and_(*_at(posted, target), posted.c.accepted_at.is_(None), posted.c.changed_at <= read_at)
        told = and_(
            *_at(posted, target), posted.c.ended_at.is_not(None), posted.c.accepted_at <= at - REPEAT_ENDS
        )
        troubled = and_(*_at(posters, target), posters.c.troubled_since.is_not(None))
        # In trouble, though none of its URLs is: the one that was has left the config.
        others = posters.c.receiver == target.receiver, posters.c.troubled_since.is_not(None)
        lost = (
            select(receivers.c.name)
            .where(receivers.c.name == target.receiver, receivers.c.troubled_since.is_not(None))
            .where(~select(posters.c.url).where(*others).exists())
        )
        async with self._database.read() as tx:
            news = (await tx.execute(select(posted.c.url).where(or_(waiting, told)).limit(1))).first()
            ill = (await tx.execute(select(posters.c.url).where(troubled).union(lost))).first()
        if news is None and ill is None:
            return

        async def write(tx: AsyncConnection) -> None:
            await tx.execute(delete(posted).where(told))
            await tx.execute(update(posted).where(waiting).values(accepted_at=at))
            await tx.execute(
                update(posters)
                .where(troubled)
                .values(troubled_since=None, refused=False, refused_in_row=0, error=None)
            )
            await _note_receiver(tx, target.receiver, delivered_at=at)

        await self._database.transact(write)

    async def failed(self, target: PostTarget, error: DeliveryError, at: datetime) -> None:
        """Record why the URL did not accept a post, unless that is recorded already."""
        async with self._database.read() as tx:
            row = (await tx.execute(select(posters).where(*_at(posters, target)))).first()
        refused_in_row = (row.refused_in_row if row is not None else 0) + int(error.answered)
        said = {
            "refused": error.refusal.needs_fixing,
            "refused_in_row": min(refused_in_row, REFUSALS),
            "error": str(error)[:_ERROR_LENGTH],
        }
        if row is not None and row.troubled_since and all(getattr(row, name) == said[name] for name in said):
            return

        since = literal(at, UtcDateTime)

        async def write(tx: AsyncConnection) -> None:
            await tx.execute(
                update(posters)
                .where(*_at(posters, target))
                .values(troubled_since=func.coalesce(posters.c.troubled_since, since), **said)
            )
            await _note_receiver(tx, target.receiver)

        await self._database.transact(write)

    async def forget_others(self, receiver: str, urls: Sequence[str]) -> None:
        """Forget what was posted to URLs that this receiver no longer has, and by removed receivers."""
        configured = select(receivers.c.name)

        async def write(tx: AsyncConnection) -> None:
            for table in (posted, posters):
                elsewhere = and_(table.c.receiver == receiver, table.c.url.not_in(urls))
                await tx.execute(delete(table).where(or_(elsewhere, table.c.receiver.not_in(configured))))
            await _note_receiver(tx, receiver)

        await self._database.transact(write)


async def _rows(tx: AsyncConnection, query: Select[Any]) -> AsyncIterator[Row[Any]]:
    result = await tx.stream(query.execution_options(yield_per=_CHUNK))
    async for part in result.partitions():
        for row in part:
            yield row


def _at(table: Any, target: PostTarget) -> tuple[Any, ...]:
    return table.c.receiver == target.receiver, table.c.url == target.url


def _key(target: PostTarget, which: LabelSet) -> dict[str, str]:
    return {
        "of_receiver": target.receiver,
        "of_url": target.url,
        "of_episode": which.member_id,
        "of_labels": which.fingerprint,
    }


def _moving(which: LabelSet) -> dict[str, Any]:
    return {
        "changed_at": which.changed_at,
        "ended_at": which.ended_at,
        "accepted_at": which.accepted_at,
    }


async def _note_receiver(tx: AsyncConnection, receiver: str, **also: datetime) -> None:
    """Record the receiver's health, and these columns: it is in trouble while any of its URLs is.

    That is over when one of them has accepted a post, not when the one in trouble has left the config.
    """
    rows = list(
        await tx.execute(
            select(posters)
            .where(posters.c.receiver == receiver, posters.c.troubled_since.is_not(None))
            .order_by(posters.c.troubled_since)
        )
    )
    if not rows and not also:
        return
    await tx.execute(
        update(receivers)
        .where(receivers.c.name == receiver)
        .values(
            troubled_since=rows[0].troubled_since if rows else None,
            refused=any(row.refused for row in rows),
            refused_in_row=max((row.refused_in_row for row in rows), default=0),
            error=f"{rows[0].url}: {rows[0].error}"[:_ERROR_LENGTH] if rows else None,
            **also,
        )
    )
