"""An outbox in memory, with leases, that can be away for a while."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.clock import Clock
from monitor.drift.alert import Notice
from monitor.errors import Refusal, StoreUnavailable
from monitor.notify.delivery import Dead, Delivery, Failed, Leased, Postponed, Result, Sent


class State(StrEnum):
    """Where a row stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(slots=True, kw_only=True)
class Row:
    """A stored delivery."""

    id: str
    receiver: str
    alert_id: str
    change: Notice
    body: bytes
    created_at: datetime
    due_at: datetime
    state: State = State.PENDING
    leased_until: datetime | None = None
    attempts: int = 0
    first_failed_at: datetime | None = None
    refusal: Refusal | None = None
    text: str = ""


@dataclass
class FakeOutbox:
    """What `monitor.notify.delivery.Outbox` promises.

    `away`: every call raises `StoreUnavailable`. `loses_answers`: up to this many `settle` are written, yet
    raise, as a connection does that breaks during COMMIT. `settled` are the sizes of the batches, `gone` the
    receivers that nothing is leased for.
    """

    clock: Clock
    rows: list[Row] = field(default_factory=list)
    away: bool = False
    loses_answers: int = 0
    calls: int = 0
    settled: list[int] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def add(
        self, receiver: str, alert_id: str, change: Notice = Notice.OPENED, *, body: bytes = b"{}"
    ) -> str:
        """Commit a delivery that is due at once; return its id."""
        now = self.clock.now()
        row = Row(
            id=f"d{len(self.rows) + 1}",
            receiver=receiver,
            alert_id=alert_id,
            change=change,
            body=body,
            created_at=now,
            due_at=now,
        )
        self.rows.append(row)
        return row.id

    def row(self, delivery_id: str) -> Row:
        """Return a row by id."""
        return next(row for row in self.rows if row.id == delivery_id)

    def states(self) -> list[State]:
        """Return the state of every row, in the order of their commits."""
        return [row.state for row in self.rows]

    async def lease_due(
        self,
        receiver: str,
        *,
        limit: int,
        lease_s: float,
        ahead_s: float = 0.0,
        ended: Sequence[Result] = (),
    ) -> Leased:
        """Settle what ended; lease the oldest pending row of each alert, if it is due."""
        await self.settle(ended) if ended else self._answer()
        now = self.clock.now()
        due = [row for row in self._oldest(receiver) if self._free_at(row) <= now][:limit]
        for row in due:
            row.leased_until = now + timedelta(seconds=lease_s)
        next_at = min(map(self._free_at, self._oldest(receiver)), default=None)
        is_soon = next_at is not None and next_at <= now + timedelta(seconds=ahead_s)
        return Leased([self._delivery(row) for row in due], next_at if is_soon else None)

    async def next_due_at(self, receiver: str) -> datetime | None:
        """Return when the first of the oldest rows is due and free."""
        self._answer()
        return min(map(self._free_at, self._oldest(receiver)), default=None)

    async def settle(self, results: Sequence[Result]) -> None:
        """Write the results; those of rows that are settled already change nothing."""
        self._answer()
        for result in results:
            row = self.row(result.delivery.id)
            if row.state is State.PENDING and row.attempts == result.delivery.attempts:
                self._write(row, result)
        self.settled.append(len(results))
        if self.loses_answers:
            self.loses_answers -= 1
            raise StoreUnavailable("the connection broke during commit")

    def _write(self, row: Row, result: Result) -> None:
        row.leased_until = None
        match result:
            case Sent():
                row.state, row.text = State.DELIVERED, result.answer
            case Dead():
                row.state, row.text = State.DEAD, result.error
            case Postponed():
                row.due_at = result.next_try_at
            case Failed():
                row.attempts += 1
                row.first_failed_at = row.first_failed_at or result.at
                row.due_at, row.refusal, row.text = (
                    result.next_try_at or result.at,
                    result.refusal,
                    result.error,
                )
                if result.refusal is Refusal.GONE:
                    self.gone.add(row.receiver)

    def _oldest(self, receiver: str) -> list[Row]:
        oldest: dict[str, Row] = {}
        for row in self.rows:
            if row.receiver == receiver not in self.gone and row.state is State.PENDING:
                oldest.setdefault(row.alert_id, row)
        return list(oldest.values())

    @staticmethod
    def _free_at(row: Row) -> datetime:
        return row.due_at if row.leased_until is None else max(row.due_at, row.leased_until)

    def _delivery(self, row: Row) -> Delivery:
        behind = [
            other
            for other in self.rows
            if other.receiver == row.receiver and other.alert_id == row.alert_id and other is not row
        ]
        return Delivery(
            id=row.id,
            receiver=row.receiver,
            alert_id=row.alert_id,
            change=row.change,
            body=row.body,
            attempts=row.attempts,
            created_at=row.created_at,
            first_failed_at=row.first_failed_at,
            superseded=any(other.state is State.PENDING for other in behind),
        )

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise StoreUnavailable("the database is away")
