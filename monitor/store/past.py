"""How the numbers of a connection were at an instant, put together from the journal.

The last base before then holds them as they were, and the answers since say what moved: that is a day of
entries at most, however long ago it was.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, ScalarSelect, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.plausibility import Guard, carry_over
from monitor.drift.snapshot import Number, Snapshot
from monitor.store.codec import Codec
from monitor.store.journal import EntryKind, Given, Ruleset
from monitor.store.tables import journal, rulesets, snapshots

_GIVEN, _RULES = msgspec.msgpack.Decoder(Given), msgspec.msgpack.Decoder(Ruleset)
_MOVING = (EntryKind.APPLIED, EntryKind.ENDED)
"""After these the numbers may be others."""


def edge(which: Any, kind: EntryKind, identity: ColumnElement[str] | str) -> ScalarSelect[Any]:
    """Return the number of the first (`func.min`) or the last (`func.max`) entry of a kind."""
    its = journal.alias()
    asked = select(which(its.c.id)).where(its.c.identity == identity, its.c.kind == kind)
    return asked.correlate_except(its).scalar_subquery()


def moved_since(identity: ColumnElement[str] | str, at: datetime) -> ColumnElement[bool]:
    """Return the condition that a connection's numbers may be others than at an instant."""
    its = journal.alias()
    last = select(its.c.id).where(its.c.at > at)
    moved = (last.where(its.c.id == edge(func.max, kind, identity)) for kind in _MOVING)
    return or_(*(each.correlate_except(its).exists() for each in moved))


async def first_answer_after(tx: AsyncConnection, identity: str, at: datetime) -> datetime | None:
    """Return when the first answer after an instant was applied."""
    its = (journal.c.identity == identity, journal.c.kind == EntryKind.APPLIED, journal.c.at > at)
    found: datetime | None = await tx.scalar(select(journal.c.at).where(*its).order_by(journal.c.id).limit(1))
    return found


async def numbers_at(
    tx: AsyncConnection, codec: Codec, identity: str, at: datetime
) -> Mapping[str, Number] | None:
    """Return the numbers of a connection at an instant; None: it had no answer yet, or was not watched."""
    if not await tx.scalar(select(moved_since(identity, at))):
        return await _numbers_now(tx, codec, identity)
    its = journal.c.identity == identity
    bases = select(journal.c.id, journal.c.body).where(its, journal.c.kind == EntryKind.BASE)
    base = (await tx.execute(bases.where(journal.c.at <= at).order_by(journal.c.id.desc()).limit(1))).first()
    begin = base.id if base is not None else 0
    # Later bases are later: what follows them need not be looked at.
    end = (await tx.execute(bases.where(journal.c.id > begin).order_by(journal.c.id).limit(1))).first()
    entries = select(journal.c.at, journal.c.kind, journal.c.ruleset, journal.c.body).where(
        its, journal.c.kind.in_(_MOVING), journal.c.id > begin, journal.c.at <= at
    )
    if end is not None:
        entries = entries.where(journal.c.id < end.id)
    rows = (await tx.execute(entries.order_by(journal.c.id))).all()
    used = select(rulesets).where(rulesets.c.id.in_({row.ruleset for row in rows}))
    guards = {row.id: _RULES.decode(row.body).guard for row in await tx.execute(used)}

    def put_together() -> Mapping[str, Number] | None:
        start = codec.unpack_records(base.body).snapshot if base is not None else None
        return _followed(codec, start, rows, guards)

    return await asyncio.to_thread(put_together)


async def _numbers_now(tx: AsyncConnection, codec: Codec, identity: str) -> Mapping[str, Number] | None:
    blob = await tx.scalar(select(snapshots.c.records).where(snapshots.c.identity == identity))
    if blob is None:
        return None
    snapshot = (await asyncio.to_thread(codec.unpack_records, blob)).snapshot
    return snapshot.numbers if snapshot is not None else None


def _followed(
    codec: Codec,
    start: Snapshot | None,
    rows: Sequence[Row[*tuple[Any, ...]]],
    guards: Mapping[int, Guard | None],
) -> Mapping[str, Number] | None:
    """Return the numbers of a snapshot after these entries."""
    last, numbers = start, dict(start.numbers) if start is not None else {}
    for row in rows:
        if row.kind == EntryKind.ENDED:
            last, numbers = None, {}
            continue
        said = codec.unpack(row.body, _GIVEN).answer
        if said is None:
            continue
        # Only what the answer says otherwise: the rest is carried over as it is.
        moved = {key: numbers[key] for key in (*said.numbers, *said.gone) if key in numbers}
        before = msgspec.structs.replace(last, numbers=moved) if last is not None else None
        answer = msgspec.structs.replace(said.rest, numbers=said.numbers)
        last = carry_over(before, answer, (), guards.get(row.ruleset) or Guard(), row.at)
        for key in said.gone:
            numbers.pop(key, None)
        numbers |= last.numbers
    return numbers if last is not None else None
