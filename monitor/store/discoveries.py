"""Discovery of accounts: when each is to be asked, who asks, and how that has been going."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import Streak
from monitor.errors import Outcome
from monitor.store.claims import streak_of
from monitor.store.tables import discoveries, from_row

_PREFIX = "discovery:"


def discovery_identity(account: str) -> str:
    """Return what identifies discovery of an account in failure alerts, beside the connections."""
    return _PREFIX + account


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryState:
    """How discovery of an account has been going.

    `listed_at` is when the provider last answered, `since` when it was first to be asked.
    """

    account: str
    since: datetime
    listed_at: datetime | None
    streak: Streak

    @property
    def identity(self) -> str:
        """What identifies it in failure alerts."""
        return discovery_identity(self.account)


async def discovery_states(tx: AsyncConnection, accounts: Collection[str]) -> list[DiscoveryState]:
    """Return how discovery of these accounts has been going."""
    rows = await tx.execute(select(discoveries).where(discoveries.c.account.in_(accounts)))
    return [from_row(DiscoveryState, row, streak=streak_of(row)) for row in rows]


async def begin_discovering(
    tx: AsyncConnection,
    accounts: Collection[str],
    *,
    kept: Collection[str],
    ask_again: bool,
    now: datetime,
) -> None:
    """Ask these accounts, and no others but those that are `kept`, by identity, for other replicas."""
    known = set((await tx.execute(select(discoveries.c.account))).scalars())
    unwanted = [each for each in known.difference(accounts) if discovery_identity(each) not in kept]
    await tx.execute(delete(discoveries).where(discoveries.c.account.in_(unwanted)))
    if ask_again:
        await tx.execute(update(discoveries).where(discoveries.c.account.in_(accounts)).values(due_at=now))
    if new := [{"account": each, "since": now, "due_at": now} for each in set(accounts) - known]:
        await tx.execute(insert(discoveries), new)


async def next_discovery_at(tx: AsyncConnection, accounts: Collection[str]) -> datetime | None:
    """Return when one of these accounts can next be asked; None if there is none."""
    free_at = func.coalesce(discoveries.c.lease_until, discoveries.c.due_at)
    mine = discoveries.c.account.in_(accounts)
    found: datetime | None = await tx.scalar(select(func.min(free_at)).where(mine))
    return found


async def claim_discoveries(
    tx: AsyncConnection, accounts: Collection[str], now: datetime, *, lease: timedelta, holder: str
) -> list[str]:
    """Take those of these accounts that are to be asked now."""
    rows = await tx.execute(
        update(discoveries)
        .where(discoveries.c.account.in_(accounts), discoveries.c.due_at <= now, _free(now))
        .values(lease_until=now + lease, holder=holder)
        .returning(discoveries.c.account)
    )
    return sorted(rows.scalars())


async def settle_discovery(
    tx: AsyncConnection,
    account: str,
    outcome: Outcome | None,
    *,
    holder: str,
    due_at: datetime,
    now: datetime,
) -> None:
    """Record how asking an account ended (None: it was not asked), unless another replica has taken over."""
    this = discoveries.c.account == account, discoveries.c.holder == holder
    row = (await tx.execute(select(discoveries).where(*this).with_for_update())).first()
    if row is None:
        return
    values: dict[str, Any] = {"due_at": due_at, "lease_until": None}
    if outcome is not None:
        streak = streak_of(row).after(outcome)
        values |= {
            "outcome": streak.outcome,
            "failures": streak.failures,
            "same_kind": streak.same_kind,
            "answers": streak.answers,
        }
    if outcome is Outcome.OK:
        values["listed_at"] = now
    await tx.execute(update(discoveries).where(*this).values(**values))


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(discoveries.c.lease_until.is_(None), discoveries.c.lease_until <= now)
