"""One transaction a step: the snapshot, the changes, the episodes, the alerts and their deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.failures import SCOPE, FailureStep
from monitor.drift.policy import Records, Step
from monitor.drift.snapshot import Counts
from monitor.store.alerts import AlertMessage, Plan, save_alerts, save_episodes
from monitor.store.changes import add_changes
from monitor.store.claims import Claim, ConnectionUpdate, SyncResult, save
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName, load_records, stop_watching
from monitor.store.database import Database
from monitor.store.failures import Fleet, save_fleet
from monitor.store.tables import acceptances

_ASKED = select(acceptances.c.id, acceptances.c.key).where(acceptances.c.identity == bindparam("which"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """A connection's records, and what people accepted since they were kept."""

    records: Records
    accepted: frozenset[str] = frozenset()
    accept_all: bool = False
    asked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What a sync or a step of one connection leaves to be kept.

    `step` is None for an answer that is held; `fresh` is None where no sync was made. `same`: the records are
    those that are kept already.
    """

    claim: Claim
    named: ConnectionName
    records: Records
    counts: Counts
    at: datetime
    fresh: SyncResult | None
    step: Step | None = None
    told: Sequence[AlertMessage] = ()
    asked: tuple[int, ...] = ()
    same: bool = False


class Ledger:
    """The cycle's view of the store."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    async def load(self, claim: Claim) -> StoredState:
        """Return what is kept of a connection.

        Who accepts something has the policy look again: where that is not due, nobody did.
        """
        async with self._database.read() as tx:
            records = await load_records(tx, claim.identity, self._codec)
            asked = list(await tx.execute(_ASKED, {"which": claim.identity})) if claim.policy_due else []
        return StoredState(
            records=records,
            accepted=frozenset(row.key for row in asked if row.key is not None),
            accept_all=any(row.key is None for row in asked),
            asked=tuple(row.id for row in asked),
        )

    async def keep(self, work: StepRecord, plan: Plan) -> None:
        """Record the work, all of it or nothing.

        Raises:
            LeaseLost: Somebody else has taken the connection over.
            StoreUnavailable: The database did not take it.
        """
        step, hold = work.step, work.records.hold
        state = ConnectionUpdate(
            records=None if work.same else self._codec.pack_records(work.records),
            counts=work.counts,
            settled=step.settled if step is not None else False,
            held=hold.count if hold is not None else 0,
            held_reason=hold.reason if hold is not None else None,
            wakes_at=step.wakes_at if step is not None else work.at,
        )
        async with self._database.write() as tx:
            await save(tx, work.claim, state, work.fresh, self._codec)
            if step is not None:
                await self._keep_step(tx, work, step, plan)
            if work.asked:
                await tx.execute(delete(acceptances).where(acceptances.c.id.in_(work.asked)))

    async def _keep_step(self, tx: AsyncConnection, work: StepRecord, step: Step, plan: Plan) -> None:
        identity = work.claim.identity
        await add_changes(tx, work.named, work.claim.sync_id, step.changes, work.at)
        await save_episodes(
            tx, identity, opened=step.opened, moved=step.moved, ended=step.ended, codec=self._codec
        )
        await save_alerts(tx, identity, work.told, plan=plan, now=work.at)


async def keep_fleet(
    tx: AsyncConnection,
    step: FailureStep,
    told: Sequence[AlertMessage],
    *,
    plan: Plan,
    now: datetime,
    codec: Codec,
) -> None:
    """Record what a step over all failures left."""
    await save_fleet(tx, Fleet(records=step.records, wakes_at=step.wakes_at), codec)
    await save_episodes(tx, SCOPE, opened=step.opened, moved=(), ended=step.ended, codec=codec)
    await save_alerts(tx, SCOPE, told, plan=plan, now=now)


async def keep_unconfigured(
    tx: AsyncConnection,
    named: ConnectionName,
    step: Step,
    told: Sequence[AlertMessage],
    *,
    plan: Plan,
    now: datetime,
    codec: Codec,
) -> None:
    """Record the end of a connection that is no longer watched, and forget its snapshot."""
    await save_episodes(tx, named.identity, opened=(), moved=(), ended=step.ended, codec=codec)
    await save_alerts(tx, named.identity, told, plan=plan, now=now)
    await stop_watching(tx, [named.identity])
