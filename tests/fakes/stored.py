"""Connections, steps and alerts as the cycle hands them to the store."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Notice
from monitor.drift.plausibility import Guard
from monitor.drift.policy import Records, Step, judge, step
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Counts, Number, Snapshot
from monitor.drift.text import Watched, Wording
from monitor.drift.widespread import Spread
from monitor.errors import Outcome
from monitor.notify.routing import Route
from monitor.store.alerts import AlertMessage, messages_of
from monitor.store.claims import Claim, SyncResult, claim_due
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName, Watch, begin_watching
from monitor.store.database import Database
from monitor.store.ledger import Ledger, StepRecord
from monitor.store.receivers import know_receivers
from monitor.store.replicas import Replica
from monitor.store.tables import alerts, connections, deliveries, episodes
from tests.fakes.driver import executions

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LEASE = 2 * MINUTE
ME = Replica(id="me", digest="mine", config_at=NOW)
AT_ONCE = Rules(confirm_syncs=1, resolve_syncs=1, keep_firing_for=timedelta(0))


def watch(identity: str, due_at: datetime = NOW, *, name: str | None = None) -> Watch:
    """Return a connection that is to be watched, new or known, due at an instant."""
    return Watch(
        identity=identity,
        name=name or f"name of {identity}",
        account="acme",
        connection_id=identity,
        first_due_at=due_at,
        next_due_at=due_at,
    )


def named(identity: str) -> ConnectionName:
    """Return the names that `watch` gives."""
    return ConnectionName(identity=identity, name=f"name of {identity}", account="acme")


async def begin(database: Database, *identities: str, due_at: datetime = NOW, now: datetime = NOW) -> None:
    """Begin to watch these connections."""
    async with database.write() as tx:
        await begin_watching(tx, [watch(identity, due_at) for identity in identities], now)


async def configured(database: Database, *routes: Route) -> None:
    """Have these receivers in the config, whoever else is in it."""
    async with database.write() as tx:
        await know_receivers(tx, [route.receiver for route in routes], NOW, routes=routes, decides=False)


async def look_again(tx: AsyncConnection, now: datetime) -> None:
    """Make the policy of every connection due, as an acceptance or new rules do."""
    await tx.execute(update(connections).values(wakes_at=now))


async def claim_all(database: Database, now: datetime = NOW, limit: int = 100) -> dict[str, Claim]:
    """Claim what is due, by identity."""
    async with database.write() as tx:
        claims = await claim_due(tx, now, limit=limit, lease=LEASE)
    return {claim.identity: claim for claim in claims}


def fresh(
    claim: Claim, *, at: datetime = NOW, outcome: Outcome = Outcome.OK, digest: str | None = "d1"
) -> SyncResult:
    """Return how a sync of this claim went; the next one is due in a minute."""
    return SyncResult(
        claim=claim,
        due_at=at + MINUTE,
        streak=claim.streak.after(outcome),
        digest=digest,
        applied=outcome is Outcome.OK,
        error=None if outcome is Outcome.OK else "it failed",
        at=at,
        duration_s=0.5,
    )


def stepped(
    records: Records, claim: Claim, *numbers: Number, at: datetime = NOW, rules: Rules = AT_ONCE
) -> Step:
    """Return the step that an applied answer with these numbers makes; without numbers, time alone."""
    snapshot = Snapshot(numbers={number.key: number for number in numbers})
    verdict = judge(records, snapshot, Guard(), at) if numbers else None
    return step(records, rules, at, scope=claim.identity, verdict=verdict)


def told(done: Step, identity: str, at: datetime = NOW) -> list[AlertMessage]:
    """Return the step's reports with their bodies."""
    watched = {identity: Watched(name=f"name of {identity}", account="acme")}
    return messages_of(done.reports, scope=identity, watched=watched, wording=Wording(), now=at)


def work(
    claim: Claim,
    done: Step,
    *,
    at: datetime = NOW,
    asked: tuple[int, ...] = (),
    spread: Spread | None = None,
) -> StepRecord:
    """Return everything that a sync leaves."""
    return StepRecord(
        claim=claim,
        connection=named(claim.identity),
        records=done.records,
        counts=done.counts or Counts(),
        at=at,
        result=fresh(claim, at=at),
        step=done,
        messages=told(done, claim.identity, at),
        acceptances=asked,
        spread=spread or Spread(),
    )


def tell(*receivers: str) -> tuple[Route, ...]:
    """Return the routes of receivers that get everything."""
    return tuple(Route(receiver=receiver) for receiver in receivers)


def number(key: str, *issues: str) -> Number:
    """Return a number, drifting if it has issues."""
    state = issues[0] if issues else "READY"
    return Number(key=key, phone_number=f"+{key}", state=state, drifting=bool(issues), issues=issues)


class Counting(Codec):
    """Counts the records that it unpacks."""

    unpacked = 0

    def unpack_records(self, blob: bytes) -> Records:
        """Unpack."""
        self.unpacked += 1
        return super().unpack_records(blob)


class Story:
    """One connection, `a`, synced once a minute; its alerts are updated every five."""

    def __init__(self, database: Database, routes: Sequence[Route] = tell("hook")) -> None:
        self.database = database
        self.routes = routes
        self.records = Records()
        self.at = NOW

    async def sync(self, *numbers: Number) -> None:
        """Apply an answer with these numbers."""
        claim = (await claim_all(self.database, self.at))["a"]
        rules = Rules(
            confirm_syncs=1, resolve_syncs=1, keep_firing_for=timedelta(0), update_interval=5 * MINUTE
        )
        done = stepped(self.records, claim, *numbers, at=self.at, rules=rules)
        await configured(self.database, *self.routes)
        await Ledger(self.database, Codec()).keep(work(claim, done, at=self.at))
        self.records = done.records
        self.at += MINUTE

    async def stored(self) -> Any:
        """Return the one alert."""
        async with self.database.read() as tx:
            return (await tx.execute(select(alerts))).one()

    async def sent(self) -> list[Notice]:
        """Return the changes that the receiver is told of, in order."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(deliveries.c.change).order_by(deliveries.c.version))
        return [Notice(row.change) for row in rows]

    async def over(self) -> dict[str, str | None]:
        """Return the resolution of each episode by number."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(episodes.c.key, episodes.c.resolution))
        return {row.key: row.resolution for row in rows}


@contextmanager
def recorded(tx: AsyncConnection) -> Iterator[list[tuple[str, Any]]]:
    """Give the statements that are run meanwhile, with their values."""
    statements: list[tuple[str, Any]] = []

    def record(*call: Any) -> None:
        statements.append((call[2], call[3]))

    connection = tx.sync_connection
    event.listen(connection, "before_cursor_execute", record)
    yield statements
    event.remove(connection, "before_cursor_execute", record)


@contextmanager
def recorded_everywhere() -> Iterator[list[str]]:
    """Give the statements of all databases that are run meanwhile."""
    statements: list[str] = []
    with executions(lambda _, statement: statements.append(statement)):
        yield statements
