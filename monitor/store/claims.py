"""Claims: what is due, who holds it, how its sync ended, and what it leaves."""

import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Self

from sqlalchemy import (
    Column,
    Integer,
    Row,
    Select,
    Update,
    any_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import Streak
from monitor.errors import LeaseLost, Outcome, Outdated
from monitor.store.gaps import END_GAP
from monitor.store.tables import UtcDateTime, connections, from_row, snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A connection that this process holds until its lease ends or the epoch moves on.

    `sync_due`, `policy_due`: whether its next sync is due, and whether its policy has something to do even
    without one, as of `wakes_at`. `digest` is that of the applied body. `settled`: the same answer once more
    would change nothing. `unchanged`: how many answers have changed nothing since the last one that did.
    `watched_since`: when it came into the config. `succeeded_at` is when its last answer was applied.
    `rules_digest` is that of the rules that the newest config has for it; None: nobody knows.
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
    unchanged: int
    watched_since: datetime
    succeeded_at: datetime | None
    streak: Streak
    rules_digest: str | None = None

    @property
    def sync_id(self) -> str:
        """The name of this sync in events and records."""
        return sync_id(self.identity, self.epoch)

    @property
    def starts_at(self) -> datetime:
        """When the first of its sync and its policy is due."""
        return self.due_at if self.wakes_at is None else min(self.due_at, self.wakes_at)

    def as_of(self, at: datetime) -> Self:
        """Return it with what is due at an instant."""
        policy_due = self.wakes_at is not None and self.wakes_at <= at
        return replace(self, sync_due=self.due_at <= at, policy_due=policy_due)


def sync_id(identity: str, epoch: int) -> str:
    """Return the name of a sync."""
    return f"{identity}/{epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """How a sync ended: what every sync leaves behind, whether or not it changed anything.

    `applied`: the connection's snapshot is as new as this sync. `error` is what users read, without secrets.
    `ends_gap`: the connection could not be seen until now.
    """

    claim: Claim
    due_at: datetime
    streak: Streak
    digest: str | None
    applied: bool
    error: str | None
    at: datetime
    duration_s: float
    ends_gap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionUpdate:
    """What a sync or a step of the policy left of a connection, at an instant.

    `records` and `counts` are packed; None: they stay as they are.
    """

    records: bytes | None
    counts: bytes | None
    settled: bool
    held: int
    held_reason: str | None
    wakes_at: datetime | None
    at: datetime


async def claim_due(
    tx: AsyncConnection,
    now: datetime,
    *,
    limit: int,
    policies: int | None = None,
    lease: timedelta,
    ahead: timedelta = timedelta(0),
    holder: str = "",
    leaving: Collection[str] = (),
) -> list[Claim]:
    """Take connections whose sync is due, or so soon `ahead`, and whose policy is, but for `leaving`.

    Up to `limit` of the former and `policies` (None: as many) of the latter, the earliest first.
    """
    asked = {
        "now": now,
        "due_by": now + ahead,
        "until": now + lease,
        "most_syncs": limit,
        "most_policies": limit if policies is None else policies,
        "by": holder,
        "leaving": list(leaving),
    }
    rows = await tx.execute(_CLAIM_DUE[tx.dialect.name], asked)
    return [_claim(row, now) for row in rows]


async def claim_one(
    tx: AsyncConnection, identity: str, now: datetime, *, lease: timedelta, holder: str = ""
) -> Claim | None:
    """Take one connection, due or not; None if it is unknown or held already."""
    rows = await tx.execute(
        update(connections)
        .where(connections.c.identity == identity)
        .where(or_(connections.c.lease_until.is_(None), connections.c.lease_until <= now))
        .values(lease_until=now + lease, holder=holder, epoch=connections.c.epoch + 1)
        .returning(*_CLAIM_COLUMNS)
    )
    row = rows.first()
    return replace(_claim(row, now), sync_due=True) if row is not None else None


async def next_due_at(tx: AsyncConnection, *, leaving: Collection[str] = ()) -> datetime | None:
    """Return when the next connection can be claimed, for its sync or its policy, `leaving` some to others.

    A claimed one can be claimed again when its lease ends: its holder may be gone.
    """
    found = await tx.execute(_NEXT_DUE, {"leaving": list(leaving)})
    return min((instant for instant in found.one() if instant is not None), default=None)


async def renew(tx: AsyncConnection, claims: Collection[Claim], until: datetime, *, holder: str = "") -> None:
    """Extend the leases of these claims, but for those given back while this was waiting for its turn."""
    still_held = _BY_CLAIM.where(connections.c.lease_until.is_not(None))
    await tx.execute(still_held.values(lease_until=until, holder=holder), _in_order(map(_claimed, claims)))


async def release(tx: AsyncConnection, claims: Collection[tuple[Claim, datetime]]) -> None:
    """Give claims back unfinished, each to be due again at its instant."""
    if rows := _in_order(_claimed(claim) | {"lease_until": None, "due_at": at} for claim, at in claims):
        await tx.execute(_setting(frozenset(rows[0])), rows)


async def free_leases(tx: AsyncConnection) -> None:
    """End every lease: their holders are gone. Only for a database that one daemon holds alone."""
    await tx.execute(update(connections).values(lease_until=None))


async def flush(tx: AsyncConnection, results: Sequence[SyncResult]) -> None:
    """Record how syncs ended, in bulk; one whose epoch moved on is dropped in silence."""
    if ending := _in_order(_gap_values(result) for result in results if result.ends_gap):
        await tx.execute(END_GAP, ending)
    if rows := _in_order(_sync_values(result) | {"one_more": int(result.applied)} for result in results):
        await tx.execute(_setting(frozenset(rows[0])), rows)


async def flush_singly(tx: AsyncConnection, results: Sequence[SyncResult]) -> list[SyncResult]:
    """Do as `flush`, one by one; return those that the database never accepts, however often it is asked."""
    refused = []
    for result in sorted(results, key=lambda result: result.claim.identity):
        try:
            async with tx.begin_nested():
                await flush(tx, [result])
        except (DataError, IntegrityError, ValueError, OverflowError):
            refused.append(result)
    return refused


async def save(
    tx: AsyncConnection,
    claim: Claim,
    state: ConnectionUpdate,
    result: SyncResult | None,
    *,
    as_claimed: bool = False,
) -> None:
    """Record what a sync or a step left, and give the claim back.

    `as_claimed`: only if nothing has made the policy due since the claim.

    Raises:
        LeaseLost: The epoch moved on; nothing must be recorded.
        Outdated: That, or something has made the policy due; nothing must be recorded.
    """
    values = _claimed(claim) | {
        "lease_until": None,
        "settled": state.settled,
        "unchanged": 0,
        "held": state.held,
        "held_reason": state.held_reason,
        "moved_at": state.at,
        "claimed_wakes_at": claim.wakes_at,
        "new_wakes_at": state.wakes_at,
    }
    if state.counts is not None:
        values["counts"] = state.counts
    if result is not None:
        values |= _sync_values(result)
        if result.ends_gap:
            await tx.execute(END_GAP, _gap_values(result))
    done = await tx.execute(_setting(frozenset(values), as_claimed=as_claimed), values)
    if done.rowcount != 1 and as_claimed:
        raise Outdated(f"{claim.identity}: its policy was made due meanwhile")
    if done.rowcount != 1:
        raise LeaseLost(f"{claim.identity}: another process has taken this connection over")
    if state.records is None:
        return
    kept = await tx.execute(_KEEP_RECORDS, {"which": claim.identity, "records": state.records})
    if kept.rowcount == 0:
        await tx.execute(insert(snapshots).values(identity=claim.identity, records=state.records))


# Statements of every tick and every sync are built once: building one takes longer than running it.
_BY_CLAIM = update(connections).where(
    connections.c.identity == bindparam("which"), connections.c.epoch == bindparam("held_epoch")
)

_MADE_DUE = connections.c.wakes_at.is_distinct_from(bindparam("claimed_wakes_at", type_=UtcDateTime()))
_WAKES_AT = case(
    # A reload or a command that has made the policy due since the claim still needs it to run.
    (_MADE_DUE, connections.c.wakes_at),
    else_=bindparam("new_wakes_at", type_=UtcDateTime()),
)


@functools.cache
def _setting(values: frozenset[str], *, as_claimed: bool = False) -> Update:
    """Return the statement that sets these columns of a claimed connection; see `save`."""
    columns: dict[str, Any] = {name: bindparam(name) for name in values if name in connections.c}
    if "one_more" in values:
        columns["unchanged"] = connections.c.unchanged + bindparam("one_more", type_=Integer)
    new = {"wakes_at": _WAKES_AT} | {
        name: func.coalesce(bindparam(f"new_{name}", type_=connections.c[name].type), connections.c[name])
        for name in _APPLIED
    }
    which = _BY_CLAIM.where(~_MADE_DUE) if as_claimed else _BY_CLAIM
    return which.values(columns | {name: value for name, value in new.items() if f"new_{name}" in values})


_APPLIED = ("digest", "applied_at", "succeeded_at")
"""What a sync that applied nothing leaves as it was."""


_KEEP_RECORDS = (
    update(snapshots).where(snapshots.c.identity == bindparam("which")).values(records=bindparam("records"))
)

_CLAIM_COLUMNS = [
    *(connections.c[name] for name in ("identity", "epoch", "due_at", "wakes_at")),
    *(connections.c[name] for name in ("digest", "settled", "held", "unchanged")),
    *(connections.c[name] for name in ("watched_since", "succeeded_at", "rules_digest")),
    *(connections.c[name] for name in ("outcome", "failures", "same_kind", "answers")),
]


_MINE = connections.c.identity.not_in(bindparam("leaving", expanding=True))


def _due_by(instant: Column[datetime], most: str) -> Select[str]:
    """Return the query for those that an instant makes due, found by its index."""
    claimable = (
        select(connections.c.identity)
        .where(instant <= bindparam("due_by"), _MINE)
        .where(or_(connections.c.lease_until.is_(None), connections.c.lease_until <= bindparam("now")))
        .order_by(instant)
        .limit(bindparam(most, type_=Integer))
        .with_for_update(skip_locked=True)
    )
    return select(claimable.subquery().c.identity)


_DUE = union(_due_by(connections.c.due_at, "most_syncs"), _due_by(connections.c.wakes_at, "most_policies"))
_CLAIM = (
    update(connections)
    .values(lease_until=bindparam("until"), holder=bindparam("by"), epoch=connections.c.epoch + 1)
    .returning(*_CLAIM_COLUMNS)
)
_CLAIM_DUE = {
    "sqlite": _CLAIM.where(connections.c.identity.in_(_DUE)),
    # PostgreSQL would join, and read the whole table where its statistics say that much is due: those of
    # instants are always old.
    "postgresql": _CLAIM.where(connections.c.identity == any_(func.array(_DUE.scalar_subquery()))),
}


_NEXT_DUE = select(
    # Each of them is the first entry of an index.
    *(
        select(func.min(instant)).where(connections.c.lease_until.is_(None), _MINE).scalar_subquery()
        for instant in (connections.c.due_at, connections.c.wakes_at)
    ),
    select(func.min(connections.c.lease_until)).where(_MINE).scalar_subquery(),
)


def _claimed(claim: Claim) -> dict[str, Any]:
    return {"which": claim.identity, "held_epoch": claim.epoch}


def _in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows to update in the order of identity, in which every transaction locks them."""
    return sorted(rows, key=itemgetter("which"))


def _sync_values(result: SyncResult) -> dict[str, Any]:
    applied = (result.digest, result.at, result.at) if result.applied else (None, None, None)
    return _claimed(result.claim) | {
        "lease_until": None,
        "due_at": result.due_at,
        "outcome": result.streak.outcome,
        "failures": result.streak.failures,
        "same_kind": result.streak.same_kind,
        "answers": result.streak.answers,
        "error": result.error,
        "synced_at": result.at,
        "moved_at": result.at,
        "duration_s": result.duration_s,
        **{f"new_{name}": value for name, value in zip(_APPLIED, applied, strict=True)},
    }


def _gap_values(result: SyncResult) -> dict[str, Any]:
    return _claimed(result.claim) | {"seen_at": result.at}


def streak_of(row: Row[Any]) -> Streak:
    """Return how the last syncs of a row's connection ended."""
    return Streak(
        outcome=Outcome(row.outcome) if row.outcome else None,
        failures=row.failures,
        same_kind=row.same_kind,
        answers=row.answers,
    )


def _claim(row: Row[Any], now: datetime) -> Claim:
    return from_row(Claim, row, sync_due=False, policy_due=False, streak=streak_of(row)).as_of(now)
