"""Asks for the connections of accounts that want it, one replica at a time for each."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.config import AccountConfig
from monitor.daemon.jobs import JobRunner
from monitor.daemon.reload import ActiveConfig
from monitor.errors import Outcome, OutOfResources, StoreUnavailable, SyncError
from monitor.store.database import Database
from monitor.store.discoveries import (
    claim_discoveries,
    discovery_identity,
    next_discovery_at,
    settle_discovery,
)
from monitor.sync.announce import Announcer
from monitor.sync.schedule import LEASE
from monitor.watch.discovery import DISCOVERY_INTERVAL, Listed

_SHORTEST_REST = timedelta(milliseconds=100)
"""APScheduler drops a job that is due while it still runs."""
_LONGEST_REST = timedelta(seconds=5)
"""Other replicas may go, and leave accounts to be asked."""


@dataclass(kw_only=True, eq=False)
class Discovery:
    """Asks the accounts that are due, and plans when to look again.

    Args:
        active: The active config; watches what is found.
        runner: Runs the job.
        on_moved: Called when accounts have answered, or failed to.
        announcer: Counts what failed for want of a resource.
        database: Where it is stored when each account is due.
        clock: The time.
        log: Gets `discovery.failed`.
    """

    active: ActiveConfig
    runner: JobRunner
    on_moved: Callable[[], None]
    announcer: Announcer
    database: Database
    clock: Clock
    log: FilteringBoundLogger

    def soon(self) -> None:
        """Look now which accounts are due, instead of whenever that was planned."""
        self._look_at(self.clock.now())

    def _look_at(self, at: datetime) -> None:
        if self.active.state.watchlist.discovering:
            self.runner.once(at, "discovering connections", self._discover)

    async def _discover(self) -> None:
        again = self.active.config.schedule.recheck_interval
        try:
            again = await self.ask_due()
        finally:  # whatever happens: nothing else asks again
            self._look_at(self.clock.now() + max(again, _SHORTEST_REST))

    async def ask_due(self) -> timedelta:
        """Ask every account that is due; return when to look again."""
        watchlist, config = self.active.state.watchlist, self.active.config
        now = self.clock.now()
        async with self.database.read() as tx:
            due_at = await next_discovery_at(tx, watchlist.discovering)
        if due_at is None or due_at > now:
            rest = due_at - now if due_at is not None else DISCOVERY_INTERVAL
            return rest if self.database.is_sqlite else min(rest, _LONGEST_REST)
        me = self.active.state.replica.id
        claimed = await self.database.transact(
            lambda tx: claim_discoveries(tx, watchlist.discovering, now, lease=LEASE, holder=me),
            leases_until=now + LEASE,
        )
        # By name, as they are claimed: what locks rows in one order waits for no one in a circle.
        accounts = sorted(
            (account for account in config.accounts if account.name in claimed), key=lambda each: each.name
        )
        answers = await asyncio.gather(*(self._list(account) for account in accounts))
        listed = {
            account.name: answer
            for account, answer in zip(accounts, answers, strict=True)
            if isinstance(answer, list)
        }
        if listed:
            await self.active.follow(listed)
        now = self.clock.now()

        async def settle(tx: AsyncConnection) -> None:
            for account, answer in zip(accounts, answers, strict=True):
                outcome = Outcome.OK if isinstance(answer, list) else answer
                # In a failure alert: more answers end it.
                troubled = discovery_identity(account.name) in self.active.state.troubled
                well = outcome is Outcome.OK and not troubled
                rest = DISCOVERY_INTERVAL if well else config.schedule.recheck_interval
                await settle_discovery(tx, account.name, outcome, holder=me, due_at=now + rest, now=now)

        await self.database.transact(settle)
        self.on_moved()
        return timedelta(0)

    async def _list(self, account: AccountConfig) -> list[Listed] | Outcome | None:
        """Return the active connections that the provider lists besides the configured ones.

        Or why it does not; None where this process could not ask.
        """
        try:
            remote = await self.active.state.watchlist.client.list_connections(
                key=account.secret.reveal(), budget=self.active.budgets[account.name]
            )
        except OutOfResources as exc:
            self.announcer.internal_error("discovering connections", exc)
            return None
        except StoreUnavailable:
            return None  # it gave no slot; what follows says why
        except SyncError as exc:
            self.log.warning("discovery.failed", account=account.name, outcome=exc.outcome, error=str(exc))
            return exc.outcome
        if account.name in self.active.state.watchlist.discovering:
            identity = discovery_identity(account.name)
            self.active.state.fresh_s[identity] = self.clock.monotonic()
        explicit = {connection.id for connection in account.connections}
        return [Listed(id=one.id, name=one.name) for one in remote if one.active and one.id not in explicit]
