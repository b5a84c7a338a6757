"""Request budgets that replicas share: one row for each account, which whoever takes slots moves on.

PostgreSQL only: SQLite has one daemon.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Interval, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from monitor.clock import Clock
from monitor.store.database import Database
from monitor.store.tables import UtcDateTime, budgets


@dataclass(frozen=True, slots=True)
class StoredSlots:
    """The slots of one account, for all replicas.

    Args:
        database: Shared.
        clock: The database's.
        account: Its name in the config.
    """

    database: Database
    clock: Clock
    account: str

    async def take(self, count: int, spacing_s: float) -> float:
        """Take `count` slots in a row and return the seconds until the first of them.

        Raises:
            StoreUnavailable: None was taken, as far as is known.
        """
        taken, now = timedelta(seconds=count * spacing_s), self.clock.now()
        first = func.greatest(budgets.c.next_at, budgets.c.paused_until, now, type_=UtcDateTime())
        statement = (
            insert(budgets)
            .values(account=self.account, next_at=now + taken)
            .on_conflict_do_update(
                index_elements=[budgets.c.account], set_={"next_at": first + literal(taken, Interval())}
            )
            .returning(budgets.c.next_at)
        )
        async with self.database.write() as tx:
            next_at: datetime = (await tx.execute(statement)).scalar_one()
        return max((next_at - taken - self.clock.now()).total_seconds(), 0.0)

    async def are_paused(self) -> bool:
        """Return whether a replica has paused the account.

        Raises:
            StoreUnavailable: That is not known.
        """
        row = select(budgets.c.account).where(
            budgets.c.account == self.account, budgets.c.paused_until > self.clock.now()
        )
        async with self.database.read() as tx:
            return (await tx.execute(row)).first() is not None

    async def pause(self, seconds: float) -> None:
        """Let no replica have a slot for so long; a shorter pause does not end a longer one.

        Raises:
            StoreUnavailable: The others do not know.
        """
        now = self.clock.now()
        made = insert(budgets).values(
            account=self.account, next_at=now, paused_until=now + timedelta(seconds=seconds)
        )
        longest = func.greatest(budgets.c.paused_until, made.excluded.paused_until)
        async with self.database.write() as tx:
            await tx.execute(
                made.on_conflict_do_update(index_elements=[budgets.c.account], set_={"paused_until": longest})
            )
