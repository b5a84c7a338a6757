"""Connections of one account that break together, in a real store."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from monitor.drift.alert import AlertBody, Severity, decode_body
from monitor.drift.policy import Records
from monitor.drift.rules import Rules, Severities
from monitor.drift.snapshot import Number
from monitor.drift.widespread import Spread
from monitor.notify.delivery import Dead, Sent
from monitor.notify.routing import Route
from monitor.store.claims import claim_one
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.outbox import StoredOutbox
from monitor.store.tables import alerts, deliveries
from monitor.store.widespread import due, look_at, next_look_at
from tests.fakes.clock import FakeClock
from tests.fakes.stored import LEASE, NOW, begin, configured, stepped, tell, work

RULES = Rules(
    confirm_syncs=1,
    resolve_syncs=1,
    keep_firing_for=timedelta(0),
    severities=Severities.of({"EXPIRED": Severity.CRITICAL}, Severity.WARNING),
)
SPREAD = Spread(connections=3)


def numbers(*issues: tuple[str, ...]) -> list[Number]:
    """Return a number for each tuple of issues; one without any is ready."""
    return [
        Number(
            key=str(place),
            phone_number=f"+{place}",
            state=found[0] if found else "READY",
            drifting=bool(found),
            issues=found,
        )
        for place, found in enumerate(issues, 1)
    ]


GOOD, BAD, WORSE = (), ("NO_BOT",), ("NO_BOT", "EXPIRED")


class Fleet:
    """Connections of one account, each synced when a test says so."""

    def __init__(self, database: Database, *routes: Route, spread: Spread = SPREAD) -> None:
        self.database = database
        self.routes = routes or tell("hook")
        self.spread = spread
        self.records: dict[str, Records] = {}
        self.clock = FakeClock(NOW)
        self.told: dict[str, list[tuple[datetime, AlertBody]]] = {route.receiver: [] for route in self.routes}
        """What each receiver accepted, and when."""
        self.refusing: set[str] = set()
        """The receivers that refuse every message for good."""

    @property
    def at(self) -> datetime:
        """The current instant."""
        return self.clock.now()

    async def sync(self, *names: str, found: tuple[tuple[str, ...], ...] = (BAD, GOOD)) -> None:
        """Apply an answer with these numbers to each connection, in this order, at the same instant."""
        await begin(self.database, *names, due_at=self.at, now=self.at)
        await configured(self.database, *self.routes)
        for name in names:
            async with self.database.write() as tx:
                claim = await claim_one(tx, name, self.at, lease=LEASE)
            assert claim is not None
            done = stepped(
                self.records.get(name, Records()), claim, *numbers(*found), at=self.at, rules=RULES
            )
            record = work(claim, done, at=self.at, spread=self.spread)
            await Ledger(self.database, Codec()).keep(record)
            self.records[name] = done.records
        await self.deliver()

    async def wait(self, passed: timedelta) -> None:
        """Let time pass, looking at what is due meanwhile, as the daemon does."""
        until = self.at + passed
        while True:
            async with self.database.write() as tx:
                for alert_id in await due(tx, self.at):
                    await look_at(tx, alert_id, self.spread, self.at)
                following = await next_look_at(tx)
            await self.deliver()
            assert following is None or following > self.at
            await self.clock.advance((min(following or until, until) - self.at).total_seconds())
            if self.at == until and (following is None or following > until):
                return

    async def rows(self) -> list[Any]:
        """Return all alerts, oldest first."""
        async with self.database.read() as tx:
            return list(await tx.execute(select(alerts).order_by(alerts.c.started_at, alerts.c.id)))

    async def bodies(self) -> tuple[AlertBody, ...]:
        """Return the bodies of the widespread alerts."""
        return tuple(decode_body(row.body) for row in await self.rows() if row.widespread)

    async def deliver(self) -> None:
        """Let every receiver accept all that is due."""
        outbox = StoredOutbox(self.database, self.clock)
        for receiver, accepted in self.told.items():
            while leased := (await outbox.lease_due(receiver, limit=100, lease_s=30)).deliveries:
                if receiver in self.refusing:
                    await outbox.settle([Dead(delivery=each, at=self.at, error="400") for each in leased])
                    continue
                accepted += [(self.at, decode_body(each.body)) for each in leased]
                await outbox.settle([Sent(delivery=each, at=self.at, answer="ok") for each in leased])

    async def tried(self) -> Counter[bool]:
        """Return how many messages there were, of widespread alerts and of others."""
        async with self.database.read() as tx:
            rows = await tx.execute(select(deliveries.c.body))
            return Counter(decode_body(row.body).widespread for row in rows)

    def sent(self, receiver: str = "hook") -> list[AlertBody]:
        """Return what a receiver accepted, in order."""
        return [body for _, body in self.told[receiver]]
