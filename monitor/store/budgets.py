"""Request budgets that replicas share: one row for each account, which whoever takes slots moves on.

PostgreSQL only: SQLite has one daemon.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Text, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.store.database import Database
from monitor.store.tables import UtcDateTime, budgets

_KNOWN_S = 0.5
"""For so long nobody looks again which accounts are paused."""


# Whoever is first moves the slots on; a pace that differs, during a rolling update, keeps its own distance.
_wished = (
    func.unnest(bindparam("accounts", type_=ARRAY(Text)), bindparam("next_at", type_=ARRAY(UtcDateTime)))
    .table_valued(column("account", Text), column("next_at", UtcDateTime), name="wished")
    .render_derived()
)
_made = insert(budgets).from_select(["account", "next_at"], select(_wished.c.account, _wished.c.next_at))
_now = bindparam("now", type_=UtcDateTime())
_TAKE = _made.on_conflict_do_update(
    index_elements=[budgets.c.account],
    set_={
        "next_at": func.greatest(budgets.c.next_at, budgets.c.paused_until, _now)
        + (_made.excluded.next_at - _now)
    },
).returning(budgets.c.account, budgets.c.next_at)
_PAUSED = select(budgets.c.account, budgets.c.paused_until).where(budgets.c.paused_until > _now)


@dataclass(eq=False, slots=True)
class _Wish:
    """Slots that a request waits for; `outcome` is when they begin, or why there are none."""

    account: str
    taken: timedelta
    outcome: datetime | StoreUnavailable


@dataclass(eq=False)
class StoredBudgets:
    """The budgets of all accounts, for all replicas.

    What the requests of different accounts wish for at the same time costs one statement: who is first in
    line takes the slots of all who have joined it by the time the database is free.

    Args:
        database: Shared.
        clock: The database's.
    """

    database: Database
    clock: Clock
    _wishes: list[_Wish] = field(init=False, default_factory=list)
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _pauses: dict[str, datetime] = field(init=False, default_factory=dict)
    _looked_s: float = field(init=False, default=-math.inf)

    async def take(self, account: str, count: int, spacing_s: float) -> float:
        """Take `count` slots of an account in a row and return the seconds until the first of them.

        Raises:
            StoreUnavailable: None was taken, as far as is known.
        """
        wish = _Wish(account, timedelta(seconds=count * spacing_s), self.clock.now())
        self._wishes.append(wish)
        try:
            async with self._turn:
                if wish in self._wishes:
                    await self._grant()
        finally:
            if wish in self._wishes:
                self._wishes.remove(wish)
        if isinstance(wish.outcome, StoreUnavailable):
            raise wish.outcome
        return max((wish.outcome - self.clock.now()).total_seconds(), 0.0)

    async def are_paused(self, account: str) -> bool:
        """Return whether a replica had paused an account half a second ago.

        Raises:
            StoreUnavailable: That is not known.
        """
        if self.clock.monotonic() - self._looked_s > _KNOWN_S:
            async with self.database.read() as tx:
                rows = list(await tx.execute(_PAUSED, {"now": self.clock.now()}))
            self._pauses = {row.account: row.paused_until for row in rows}
            self._looked_s = self.clock.monotonic()
        paused_until = self._pauses.get(account)
        return paused_until is not None and paused_until > self.clock.now()

    async def pause(self, account: str, seconds: float) -> None:
        """Let no replica have a slot of an account for so long; a shorter pause does not end a longer one.

        Raises:
            StoreUnavailable: The others do not know.
        """
        now = self.clock.now()
        made = insert(budgets).values(
            account=account, next_at=now, paused_until=now + timedelta(seconds=seconds)
        )
        longest = func.greatest(budgets.c.paused_until, made.excluded.paused_until)
        upsert = made.on_conflict_do_update(
            index_elements=[budgets.c.account], set_={"paused_until": longest}
        )
        await self.database.transact(lambda tx: tx.execute(upsert), autocommit=True)

    async def _grant(self) -> None:
        """Take the slots of all who wish for some, or tell each of them why there are none."""
        await self.clock.sleep(0)  # the requests of a tick begin at the same time

        async def take(connection: AsyncConnection) -> dict[_Wish, datetime]:
            wishes, now = list(self._wishes), self.clock.now()
            until: dict[str, datetime] = {}
            for wish in wishes:
                until[wish.account] = until.get(wish.account, now) + wish.taken
            # In the order of accounts, so that no two replicas wait for each other.
            accounts, next_at = zip(*sorted(until.items()), strict=True)
            asked = {"now": now, "accounts": list(accounts), "next_at": list(next_at)}
            until = {row.account: row.next_at for row in await connection.execute(_TAKE, asked)}
            begins: dict[_Wish, datetime] = {}
            for wish in reversed(wishes):
                begins[wish] = until[wish.account] = until[wish.account] - wish.taken
            return begins

        outcomes: Mapping[_Wish, datetime | StoreUnavailable]
        try:
            outcomes = await self.database.transact(take, autocommit=True)
        except StoreUnavailable as exc:
            # All of them: to ask again for each would take as long again.
            outcomes = dict.fromkeys(self._wishes, exc)
        for wish, outcome in outcomes.items():
            wish.outcome = outcome
        self._wishes = [wish for wish in self._wishes if wish not in outcomes]


@dataclass(frozen=True, slots=True)
class StoredSlots:
    """The slots of one account, for all replicas."""

    budgets: StoredBudgets
    account: str

    async def take(self, count: int, spacing_s: float) -> float:
        """Take `count` slots in a row and return the seconds until the first of them.

        Raises:
            StoreUnavailable: None was taken, as far as is known.
        """
        return await self.budgets.take(self.account, count, spacing_s)

    async def are_paused(self) -> bool:
        """Return whether a replica had paused the account half a second ago.

        Raises:
            StoreUnavailable: That is not known.
        """
        return await self.budgets.are_paused(self.account)

    async def pause(self, seconds: float) -> None:
        """Let no replica have a slot for so long; a shorter pause does not end a longer one.

        Raises:
            StoreUnavailable: The others do not know.
        """
        await self.budgets.pause(self.account, seconds)
