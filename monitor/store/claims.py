"""Claims: what is due, whose it is, how its sync went, and what it leaves."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, Row, bindparam, case, func, insert, or_, select, update
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import Streak
from monitor.drift.snapshot import Counts
from monitor.errors import LeaseLost, Outcome
from monitor.store.codec import Codec
from monitor.store.tables import UtcDateTime, connections, snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A connection that is ours until `lease_until` passes or the epoch moves on.

    `sync_due`, `policy_due`: whether its next sync is due, and whether its policy has something to do even
    without one, as of `wakes_at`. `digest` is that of the applied body. `settled`: the same answer once more
    would change nothing.
    """

    identity: str
    epoch: int
    due_at: datetime
    sync_due: bool
    policy_due: bool
    wakes_at: datetime | None
    digest: str | None
    settled: bool
    held: int
    streak: Streak

    @property
    def sync_id(self) -> str:
        """The name of this sync in events and records."""
        return f"{self.identity}/{self.epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """How a sync went; what every sync leaves behind, whether or not it changed anything.

    `applied`: the connection's snapshot is as new as this sync. `error` is for people, without secrets.
    """

    claim: Claim
    due_at: datetime
    streak: Streak
    digest: str | None
    applied: bool
    error: str | None
    at: datetime
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionUpdate:
    """What a sync or a step of the policy left of a connection.

    `records` are packed; None: they are as they were.
    """

    records: bytes | None
    counts: Counts
    settled: bool
    held: int
    held_reason: str | None
    wakes_at: datetime | None


async def claim_due(tx: AsyncConnection, now: datetime, *, limit: int, lease: timedelta) -> list[Claim]:
    """Take up to `limit` connections whose sync or policy is due, earliest first."""
    rows = await tx.execute(_CLAIM_DUE, {"now": now, "until": now + lease, "most": limit})
    return [_claim(row, now) for row in rows]


async def claim_one(tx: AsyncConnection, identity: str, now: datetime, *, lease: timedelta) -> Claim | None:
    """Take one connection, due or not; None if it is unknown or somebody has it."""
    rows = await tx.execute(
        update(connections)
        .where(connections.c.identity == identity)
        .where(or_(connections.c.lease_until.is_(None), connections.c.lease_until <= now))
        .values(lease_until=now + lease, epoch=connections.c.epoch + 1)
        .returning(*_CLAIM_COLUMNS)
    )
    row = rows.first()
    return replace(_claim(row, now), sync_due=True) if row is not None else None


async def next_due_at(tx: AsyncConnection) -> datetime | None:
    """Return when the next connection can be claimed, for its sync or its policy.

    A claimed one can be when its lease ends: whoever held it may be gone.
    """
    found = await tx.execute(_NEXT_DUE)
    return min((instant for instant in found.one() if instant is not None), default=None)


async def renew(tx: AsyncConnection, claims: Collection[Claim], until: datetime) -> None:
    """Keep these claims for longer."""
    await tx.execute(
        _BY_CLAIM.values(lease_until=until),
        [{"which": claim.identity, "held_epoch": claim.epoch} for claim in claims],
    )


async def release(tx: AsyncConnection, claims: Collection[Claim], due_at: datetime) -> None:
    """Give claims back with nothing done, to be due again at an instant."""
    await tx.execute(
        _BY_CLAIM.values(lease_until=None, due_at=due_at),
        [{"which": claim.identity, "held_epoch": claim.epoch} for claim in claims],
    )


async def free_leases(tx: AsyncConnection) -> None:
    """End every lease: whoever held them is gone. Only for a database that one daemon holds alone."""
    await tx.execute(update(connections).values(lease_until=None))


async def flush(tx: AsyncConnection, finished: Sequence[SyncResult]) -> None:
    """Record how many syncs went in one statement; one whose epoch moved on is dropped in silence."""
    await tx.execute(_FLUSH, [_fresh_values(fresh) for fresh in finished])
    applied = [fresh for fresh in finished if fresh.applied]
    if applied:
        await tx.execute(_FLUSH_APPLIED, [_applied_values(fresh) for fresh in applied])


async def flush_singly(tx: AsyncConnection, finished: Sequence[SyncResult]) -> list[SyncResult]:
    """Do as `flush`, one by one; return those that the database does not take, however often it is asked."""
    refused = []
    for fresh in finished:
        try:
            async with tx.begin_nested():
                await flush(tx, [fresh])
        except (DataError, IntegrityError, ValueError, OverflowError):
            refused.append(fresh)
    return refused


async def save(
    tx: AsyncConnection, claim: Claim, state: ConnectionUpdate, fresh: SyncResult | None, codec: Codec
) -> None:
    """Record what a sync or a step left, and give the claim back.

    Raises:
        LeaseLost: The epoch moved on; nothing must be kept.
    """
    values: dict[str, Any] = {
        "which": claim.identity,
        "held_epoch": claim.epoch,
        "lease_until": None,
        "settled": state.settled,
        "held": state.held,
        "held_reason": state.held_reason,
        "claimed_wakes_at": claim.wakes_at,
        "new_wakes_at": state.wakes_at,
        "counts": codec.pack(state.counts),
    }
    statement = _SAVE
    if fresh is not None:
        values |= _fresh_values(fresh)
        statement = _SAVE_SYNC
        if fresh.applied:
            values |= _applied_values(fresh)
            statement = _SAVE_APPLIED
    done = await tx.execute(statement, values)
    if done.rowcount != 1:
        raise LeaseLost(f"{claim.identity}: somebody else has taken this connection over")
    if state.records is None:
        return
    kept = await tx.execute(_KEEP_RECORDS, {"which": claim.identity, "records": state.records})
    if kept.rowcount == 0:
        await tx.execute(insert(snapshots).values(identity=claim.identity, records=state.records))


_BY_CLAIM = update(connections).where(
    connections.c.identity == bindparam("which"), connections.c.epoch == bindparam("held_epoch")
)


_SYNC_VALUES: dict[str, Any] = {
    name: bindparam(name)
    for name in (
        "lease_until",
        "due_at",
        "outcome",
        "failures",
        "same_kind",
        "answers",
        "error",
        "synced_at",
        "duration_s",
    )
}


_APPLIED_VALUES: dict[str, Any] = {name: bindparam(name) for name in ("digest", "applied_at", "succeeded_at")}


_STATE_VALUES: dict[str, Any] = {
    **{name: bindparam(name) for name in ("lease_until", "settled", "held", "held_reason", "counts")},
    # Who wanted the policy to look again since the claim (a reload, a command) still wants it.
    "wakes_at": case(
        (
            connections.c.wakes_at.is_distinct_from(bindparam("claimed_wakes_at", type_=UtcDateTime())),
            connections.c.wakes_at,
        ),
        else_=bindparam("new_wakes_at", type_=UtcDateTime()),
    ),
}


_FLUSH = _BY_CLAIM.values(_SYNC_VALUES)


_FLUSH_APPLIED = _BY_CLAIM.values(_APPLIED_VALUES)


_SAVE = _BY_CLAIM.values(_STATE_VALUES)


_SAVE_SYNC = _BY_CLAIM.values(_STATE_VALUES | _SYNC_VALUES)


_SAVE_APPLIED = _BY_CLAIM.values(_STATE_VALUES | _SYNC_VALUES | _APPLIED_VALUES)


_KEEP_RECORDS = (
    update(snapshots).where(snapshots.c.identity == bindparam("which")).values(records=bindparam("records"))
)


_CLAIM_COLUMNS = (
    connections.c.identity,
    connections.c.epoch,
    connections.c.due_at,
    connections.c.wakes_at,
    connections.c.digest,
    connections.c.settled,
    connections.c.held,
    connections.c.outcome,
    connections.c.failures,
    connections.c.same_kind,
    connections.c.answers,
)


_DUE = (
    select(connections.c.identity)
    .where(or_(connections.c.due_at <= bindparam("now"), connections.c.wakes_at <= bindparam("now")))
    .where(or_(connections.c.lease_until.is_(None), connections.c.lease_until <= bindparam("now")))
    .order_by(connections.c.due_at)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
)


_CLAIM_DUE = (
    update(connections)
    .where(connections.c.identity.in_(_DUE.scalar_subquery()))
    .values(lease_until=bindparam("until"), epoch=connections.c.epoch + 1)
    .returning(*_CLAIM_COLUMNS)
)


_NEXT_DUE = select(
    *(
        func.min(case((connections.c.lease_until > instant, connections.c.lease_until), else_=instant))
        for instant in (connections.c.due_at, connections.c.wakes_at)
    )
)


def _fresh_values(fresh: SyncResult) -> dict[str, Any]:
    streak = fresh.streak
    return {
        "which": fresh.claim.identity,
        "held_epoch": fresh.claim.epoch,
        "lease_until": None,
        "due_at": fresh.due_at,
        "outcome": streak.outcome,
        "failures": streak.failures,
        "same_kind": streak.same_kind,
        "answers": streak.answers,
        "error": fresh.error,
        "synced_at": fresh.at,
        "duration_s": fresh.duration_s,
    }


def _applied_values(fresh: SyncResult) -> dict[str, Any]:
    return {
        "which": fresh.claim.identity,
        "held_epoch": fresh.claim.epoch,
        "digest": fresh.digest,
        "applied_at": fresh.at,
        "succeeded_at": fresh.at,
    }


def streak_of(row: Row[Any]) -> Streak:
    """Return how the last syncs of a row's connection ended."""
    return Streak(
        outcome=Outcome(row.outcome) if row.outcome else None,
        failures=row.failures,
        same_kind=row.same_kind,
        answers=row.answers,
    )


def _claim(row: Row[Any], now: datetime) -> Claim:
    return Claim(
        identity=row.identity,
        epoch=row.epoch,
        due_at=row.due_at,
        sync_due=row.due_at <= now,
        policy_due=row.wakes_at is not None and row.wakes_at <= now,
        wakes_at=row.wakes_at,
        digest=row.digest,
        settled=row.settled,
        held=row.held,
        streak=streak_of(row),
    )
