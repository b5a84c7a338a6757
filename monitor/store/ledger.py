"""The cycle's view of the store: one transaction holds everything that a step left."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.policy import Records, Step
from monitor.drift.rules import Silence
from monitor.drift.snapshot import Counts
from monitor.drift.widespread import Spread
from monitor.store.alerts import AlertMessage, save_alerts, save_episodes
from monitor.store.changes import add_changes
from monitor.store.claims import Claim, ConnectionUpdate, SyncResult, save
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.inventory import take_stock
from monitor.store.journal import EntryKind, Given, Journal, Ruleset, Written
from monitor.store.remembered import Known, Remembered
from monitor.store.silences import ANY_ACTIVE, leave, silences_of
from monitor.store.tables import acceptances, connections, snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredState:
    """A connection's records with their counts, its silences, and what users have accepted since.

    `acceptances` are the rows that a step has to delete once it has acted on them. `remembered`: the store
    was not asked; a step made of it holds if nothing has made the policy due since the claim.
    """

    records: Records
    counts: Counts | None = None
    accepted: frozenset[str] = frozenset()
    accept_all: bool = False
    acceptances: tuple[int, ...] = ()
    silences: tuple[Silence, ...] = ()
    remembered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What a sync or a step of one connection leaves in the store.

    For a held answer `step` and `counts` are None: it is not applied, so the stored counts stay. `result` is
    None where no sync was made. `given` and `ruleset` are what the step was made of beside the records before
    it. `same`: the records are those that are stored already. `as_claimed`: see `save`. `waited` are silences
    that need not wait for a number any more, each with the number's key.
    """

    claim: Claim
    connection: ConnectionName
    records: Records
    counts: Counts | None
    at: datetime
    result: SyncResult | None
    step: Step | None = None
    messages: Sequence[AlertMessage] = ()
    acceptances: tuple[int, ...] = ()
    waited: Sequence[tuple[str, str]] = ()
    spread: Spread = field(default_factory=Spread)
    same: bool = False
    as_claimed: bool = False
    given: Given = field(default_factory=Given)
    ruleset: Ruleset = field(default_factory=Ruleset)

    @property
    def kind(self) -> EntryKind:
        """What its entry in the journal is about."""
        if self.result is None:
            return EntryKind.POLICY
        return EntryKind.APPLIED if self.step is not None else EntryKind.HELD


class Ledger:
    """Loads a connection's state and records its steps."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec
        self._journal = Journal(codec)
        self._remembered = Remembered()
        self._patterns: dict[int, datetime] = {}
        """What changes have had in common that this process recorded, and when it last wrote that."""

    async def load(self, claim: Claim) -> StoredState:
        """Return what is stored of a connection.

        Whoever accepts something, or sets a silence where there are records, changes when the policy is due:
        if there was no silence, and neither that has changed nor anyone else has claimed the connection, the
        store need not be asked.
        """
        known = self._remembered.get(claim)
        if known is not None and not claim.policy_due:
            return StoredState(records=known.records, counts=known.counts, remembered=True)
        self._remembered.pop(claim.identity)
        which = {"which": claim.identity}

        async def read(tx: AsyncConnection) -> tuple[Any, Sequence[Any], tuple[Silence, ...]]:
            row = (await tx.execute(_STATE, which)).first()
            # Whoever accepts something has the policy look at once, but maybe by a clock that is ahead.
            asked = claim.policy_due or (row is not None and row.any_accepted)
            accepted = (await tx.execute(_ACCEPTED, which)).all() if asked else ()
            silenced = row is None or row.any_silence
            return row, accepted, await silences_of(tx, claim.identity) if silenced else ()

        row, accepted, silences = await self._database.query(read)
        records = self._codec.unpack_records(row.records) if row is not None else Records()
        counts = self._codec.unpack_counts(row.counts) if row is not None and row.counts else None
        if row is not None and not silences:
            self._remembered.add(claim.identity, _known(claim, claim.wakes_at, records, counts))
        return StoredState(
            records=records,
            counts=counts,
            accepted=frozenset(each.key for each in accepted if each.key is not None),
            accept_all=any(each.key is None for each in accepted),
            acceptances=tuple(each.id for each in accepted),
            silences=silences,
        )

    async def keep(self, record: StepRecord) -> None:
        """Record a step, all of it or nothing.

        Raises:
            LeaseLost: Another process has taken the connection over.
            Outdated: The state that it was made of was remembered, and may not be that of the store.
            StoreUnavailable: The database did not accept it.
        """
        step, hold = record.step, record.records.hold
        identity = record.claim.identity
        # Until what it becomes is in the store.
        known = self._remembered.pop(identity)
        state = ConnectionUpdate(
            records=None if record.same else self._codec.pack_records(record.records),
            counts=self._codec.pack_counts(record.counts) if record.counts is not None else None,
            settled=step.settled if step is not None else False,
            held=hold.count if hold is not None else 0,
            held_reason=hold.reason if hold is not None else None,
            # What a silence has let go of is looked at again without it.
            wakes_at=step.wakes_at if step is not None and not record.waited else record.at,
            at=record.at,
        )

        patterns: dict[int, datetime] = {}

        async def write(tx: AsyncConnection) -> Written:
            nonlocal patterns
            based_at = await self._journal.begin(tx, record.connection, record.at)
            await save(tx, record.claim, state, record.result, as_claimed=record.as_claimed)
            if step is not None:
                await take_stock(tx, identity, step.came, step.went, record.at)
                patterns = await add_changes(
                    tx, record.connection, record.claim.epoch, step.changes, record.at, self._patterns
                )
                await save_episodes(
                    tx, identity, opened=step.opened, moved=step.moved, ended=step.ended, codec=self._codec
                )
                await save_alerts(tx, identity, record.messages, spread=record.spread, now=record.at)
            await leave(tx, identity, record.waited)
            if record.acceptances:
                await tx.execute(delete(acceptances).where(acceptances.c.id.in_(record.acceptances)))
            # Last: entries are in the order in which transactions held what several of them need.
            return await self._journal.step(
                tx,
                record.connection,
                record.kind,
                record.at,
                claim=record.claim,
                given=record.given,
                ruleset=record.ruleset,
                based_at=based_at,
            )

        written = await self._database.transact(write)
        # What is held has no counts; its policy is due at once, for which the store is asked.
        if known is not None and record.counts is not None:
            self._remembered.add(
                identity, _known(record.claim, state.wakes_at, record.records, record.counts)
            )
        self._patterns |= patterns
        self._journal.remember(written, record.at)


def _known(claim: Claim, wakes_at: datetime | None, records: Records, counts: Counts | None) -> Known:
    return Known(
        epoch=claim.epoch,
        wakes_at=wakes_at,
        watched_since=claim.watched_since,
        records=records,
        counts=counts,
    )


# Statements of every sync are built once: building one takes longer than running it.
_STATE = (
    select(
        *(snapshots.c.records, connections.c.counts),
        ANY_ACTIVE.label("any_silence"),
        select(acceptances.c.id).exists().label("any_accepted"),
    )
    .join(connections, connections.c.identity == snapshots.c.identity)
    .where(snapshots.c.identity == bindparam("which"))
)
_ACCEPTED = select(acceptances.c.id, acceptances.c.key).where(acceptances.c.identity == bindparam("which"))
