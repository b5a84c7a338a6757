"""Runs the journal again: each step with what it was given, by the rules of then or by others.

    entry -> the answer of then -> judge and step, by whichever rules -> the alerts of a store in memory

By the rules of then it comes to what happened. By others, from an instant on, it also makes what the journal
has no entry for: a reload at that instant, looks that time alone makes due, and answers that changed nothing
then, for as long as they do now. Alerts are saved, joined and told by the code that does so in the daemon;
every receiver accepts at once.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Notice, Status
from monitor.drift.alerts import Report
from monitor.drift.answers import answer_of
from monitor.drift.failures import (
    SCOPE,
    FailureRecords,
    FailureRules,
    FailureStep,
    Health,
    ReceiverHealth,
    Streak,
    failing_too,
)
from monitor.drift.failures import step as failure_step
from monitor.drift.plausibility import Guard, seen_again
from monitor.drift.policy import Records, Step, judge, step
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Snapshot
from monitor.drift.text import Watched, Wording
from monitor.drift.widespread import Spread
from monitor.errors import Outcome, Refused, UnknownName
from monitor.store import widespread
from monitor.store.alerts import AlertMessage, messages_of, save_alerts
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.enrol import tell_firing
from monitor.store.instants import pull_in
from monitor.store.journal import Acknowledged, Entry, EntryKind, Given, Look, Ruleset
from monitor.store.outbox import next_reminder_at, remind
from monitor.store.receivers import know_receivers
from monitor.store.requests import acknowledge
from monitor.store.tables import DELIVERED, PENDING, alerts, deliveries, has_status, told

_LATE = timedelta(seconds=5)
"""What time makes due is left to an entry that follows it so soon: the daemon was as late."""
_SHORTEST_REST = timedelta(seconds=1)
"""Between two looks at failures that time makes due."""
_ANSWERS = 100
"""Answers in a row of a connection that does well: enough for any rule."""
_WORDING = Wording()


class Policies(Protocol):
    """Other rules than those of then."""

    def rules(self, whose: ConnectionName, then: Ruleset, at: datetime) -> Ruleset | None:
        """Return the rules of a connection at an instant; None: it is not watched."""
        ...

    def failure_rules(self, then: Ruleset) -> Ruleset:
        """Return the rules for failures."""
        ...

    def health(self, whose: ConnectionName, then: Health, at: datetime) -> Health | None:
        """Return how a connection does when it is stale and muted by other rules; None: it is not watched."""
        ...


class Stored(Protocol):
    """Alerts as the store has them."""

    async def row(self, alert_id: str) -> Mapping[str, Any] | None:
        """Return the row of an alert; None if it is no longer kept."""
        ...

    async def told(self, alert_id: str) -> Sequence[str]:
        """Return the receivers that have heard of an alert."""
        ...


@dataclass(slots=True)
class _Connection:
    """A connection: its records by the rules of then, `records` by those that are asked for.

    `again` are the instants at which answers came that changed nothing then, the next one last, until
    `seen_until`. `next_at` is that of the next entry.
    """

    names: ConnectionName
    then: Records = field(default_factory=Records)
    records: Records = field(default_factory=Records)
    ruleset: Ruleset = field(default_factory=Ruleset)
    again: list[datetime] = field(default_factory=list)
    wakes_at: datetime | None = None
    next_at: datetime | None = None
    seen_until: datetime | None = None
    ended: bool = False


@dataclass(slots=True)
class _Failures:
    """All that a look at failures is given, and its records as those of a connection.

    `quiet` are connections that looks had no reason to read any more. `next_at` is the instant of the next
    look, which watches since `runs_since` without a break.
    """

    then: FailureRecords = field(default_factory=FailureRecords)
    records: FailureRecords = field(default_factory=FailureRecords)
    ruleset: Ruleset | None = None
    healths: dict[str, Health] = field(default_factory=dict)
    quiet: dict[str, Health] = field(default_factory=dict)
    receivers: tuple[ReceiverHealth, ...] = ()
    foreign: tuple[str, ...] = ()
    next_at: datetime | None = None
    runs_since: datetime | None = None


@dataclass(kw_only=True, eq=False)
class Replay:
    """One run over the journal.

    Args:
        tx: An `inline` connection to an empty store in memory.
        codec: Reads the entries.
        rulesets: The rules of then, by number.
        since: From when on other rules hold, and messages count.
        policies: The other rules; None: those of then hold on.
        stored: What the store has of alerts: some fire when the journal begins.
    """

    tx: AsyncConnection
    codec: Codec
    rulesets: Mapping[int, Ruleset]
    since: datetime
    stored: Stored
    policies: Policies | None = None
    messages: Counter[tuple[str, str]] = field(init=False, default_factory=Counter)
    """How many messages about each alert each receiver got since then."""
    numbers: dict[str, int] = field(init=False, default_factory=dict)
    """Of how many numbers each alert was at most."""
    noticed: dict[str, timedelta] = field(init=False, default_factory=dict)
    """How long the trouble of each alert about numbers had been seen when it opened."""
    strayed: list[str] = field(init=False, default_factory=list)
    """Identities of what did not come out as the journal has it, each time."""
    _connections: dict[str, _Connection] = field(init=False, default_factory=dict)
    _failures: _Failures = field(init=False, default_factory=_Failures)
    _due: list[tuple[datetime, str]] = field(init=False, default_factory=list)
    _other: Policies | None = field(init=False, default=None)
    """The other rules, once they hold."""
    _routes: Ruleset = field(init=False, default_factory=Ruleset)
    """Of the last step: who hears of what is due without one."""
    _spread: Spread = field(init=False, default_factory=Spread)
    _tells_at: datetime | None = field(init=False, default=None)
    _reminds_at: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._given = msgspec.msgpack.Decoder(Given)
        self._look = msgspec.msgpack.Decoder(Look)

    async def run(self, entry: Entry) -> None:
        """Run one entry; they come in their order."""
        await self.until(entry.at)
        match entry.kind:
            case EntryKind.BASE if entry.identity != SCOPE:
                await self._begin(entry)
            case EntryKind.BASE | EntryKind.LOOKED:
                await self._look_at_failures(entry)
            case EntryKind.APPLIED | EntryKind.HELD | EntryKind.POLICY:
                await self._step(entry)
            case EntryKind.ENDED:
                await self._end(entry.identity, entry.at)
                self._failures.quiet.pop(entry.identity, None)
                self._connections.pop(entry.identity, None)
            case EntryKind.ACKNOWLEDGED:
                await self._acknowledge(entry)
            case EntryKind.PULLED_IN:
                await pull_in(self.tx, entry.at)

    async def until(self, at: datetime) -> None:
        """Do what is due without an entry before an instant."""
        if self._other is None and self.policies is not None and at >= self.since:
            await self._follow_up(self.since)
            self._other = self.policies
            await self._reload()
        while self._due and self._due[0][0] < at:
            due_at, identity = heapq.heappop(self._due)
            if identity == SCOPE:
                await self._follow_up(due_at)
                await self._other_look(due_at)
            elif (connection := self._connections.get(identity)) is not None and due_at == _next(connection):
                await self._follow_up(due_at)
                await self._on_time(identity, connection, due_at)
        await self._follow_up(at)

    # Connections.

    async def _begin(self, entry: Entry) -> None:
        """Take a connection's records as the journal has them."""
        records = self.codec.unpack_records(entry.body)
        known = self._connections.get(entry.identity)
        if known is None:
            known = self._connections[entry.identity] = _Connection(_names(entry), records, records)
            await self._take_over(entry.identity, known.names, records, entry.at)
        elif known.then != records:
            self.strayed.append(entry.identity)
            known.then = records

    async def _step(self, entry: Entry) -> None:
        connection = self._connections.setdefault(entry.identity, _Connection(_names(entry)))
        connection.names, connection.next_at = _names(entry), entry.next_at
        if entry.kind is EntryKind.APPLIED or entry.seen_until is not None:
            connection.seen_until = entry.seen_until or entry.at
        connection.ruleset = self.rulesets[entry.ruleset or 0]
        given = self.codec.unpack(entry.body, self._given)
        answer = answer_of(connection.then.snapshot, given.answer) if given.answer is not None else None
        made = _advance(entry.identity, connection.then, connection.ruleset, entry.at, answer, given)
        connection.then = made.records
        if self._other is None:
            connection.records = made.records
            await self._save(entry.identity, connection, made, connection.ruleset, entry.at)
        else:
            connection.again = _instants(entry)
            await self._other_step(entry.identity, connection, entry.at, answer, given)

    async def _other_step(
        self, identity: str, connection: _Connection, at: datetime, answer: Snapshot | None, given: Given
    ) -> None:
        if connection.ended or self._other is None:
            return
        ruleset = self._other.rules(connection.names, connection.ruleset, at)
        if ruleset is None:
            await self._end(identity, at)
            return
        made = _advance(identity, connection.records, ruleset, at, answer, given)
        connection.records = made.records
        if made.settled:
            connection.again = []
        if made.records.hold is None:
            connection.wakes_at = _unless_soon(made.wakes_at, connection.next_at)
        if (due_at := _next(connection)) is not None:
            heapq.heappush(self._due, (due_at, identity))
        await self._save(identity, connection, made, ruleset, at)

    async def _on_time(self, identity: str, connection: _Connection, at: datetime) -> None:
        """Make a step that has no entry: the same answer once more, or time alone."""
        answer = None
        if connection.again and connection.again[-1] == at:
            connection.again.pop()
            answer = seen_again(connection.then.snapshot) if connection.then.snapshot is not None else None
        else:
            connection.wakes_at = None
        await self._other_step(identity, connection, at, answer, Given())

    async def _end(self, identity: str, at: datetime) -> None:
        connection = self._connections.get(identity)
        if connection is None or connection.ended:
            return
        connection.ended = True
        made = step(connection.records, Rules(), at, scope=identity, unconfigured=True)
        ruleset = self._routes if self._other is not None else connection.ruleset
        await self._save(identity, connection, made, ruleset, at)

    async def _reload(self) -> None:
        """Do what the daemon does when it is given the other rules."""
        for identity, connection in self._connections.items():
            await self._other_step(identity, connection, self.since, None, Given())
        await self._other_look(self.since)

    async def _save(
        self, identity: str, connection: _Connection, made: Step, ruleset: Ruleset, at: datetime
    ) -> None:
        messages = messages_of(
            made.reports,
            scope=identity,
            watched={identity: _watched(connection.names)},
            wording=_WORDING,
            now=at,
            names=made.names,
        )
        update_interval = (ruleset.rules or Rules()).update_interval
        await self._save_alerts(identity, messages, ruleset, update_interval, at)

    # Failures.

    async def _look_at_failures(self, entry: Entry) -> None:
        failures, look = self._failures, self.codec.unpack(entry.body, self._look)
        if look.records is not None:
            if failures.ruleset is None:
                failures.records = look.records
                await self._take_over(SCOPE, None, look.records, entry.at)
            elif look.records != failures.then:
                self.strayed.append(SCOPE)
            failures.then = look.records
            failures.quiet |= {key: _healed(each) for key, each in failures.healths.items()}
            failures.healths = {}
        failures.healths |= look.healths
        for identity in look.healths:
            failures.quiet.pop(identity, None)
        for identity in look.forgotten:
            failures.quiet[identity] = _healed(failures.healths.pop(identity))
        failures.receivers = look.receivers if look.receivers is not None else failures.receivers
        failures.foreign = look.foreign if look.foreign is not None else failures.foreign
        failures.runs_since = entry.seen_until
        failures.ruleset, failures.next_at = self.rulesets[entry.ruleset or 0], entry.next_at
        healths = list(failures.healths.values())
        made = self._failure_step(failures.then, healths, failures.ruleset, entry.at)
        failures.then = made.records
        if self._other is None:
            failures.records = made.records
            await self._save_failures(made, healths, failures.ruleset, entry.at)
        else:
            await self._other_look(entry.at)

    async def _other_look(self, at: datetime) -> None:
        if self._other is None:
            return
        failures = self._failures
        looks = [
            *(self._since_look(health, at) for health in failures.healths.values()),
            *(replace(health, applied_at=at) for health in failures.quiet.values()),
        ]
        known = (self._other.health(self._name(health), health, at) for health in looks)
        healths = [health for health in known if health is not None]
        ruleset = self._other.failure_rules(failures.ruleset or Ruleset())
        made = self._failure_step(failures.records, healths, ruleset, at)
        failures.records = made.records
        await self._save_failures(made, healths, ruleset, at)
        wakes_at = _unless_soon(made.wakes_at, failures.next_at)
        # What was due while nothing ran, the next look sees.
        if wakes_at is not None and (failures.runs_since is None or failures.runs_since <= wakes_at):
            heapq.heappush(self._due, (max(wakes_at, at + _SHORTEST_REST), SCOPE))

    def _since_look(self, health: Health, at: datetime) -> Health:
        """Return how a connection does by an instant: its answers that changed nothing let no look see it."""
        connection = self._connections.get(health.identity)
        if connection is None or connection.seen_until is None or health.applied_at is None:
            return health
        return replace(health, applied_at=max(health.applied_at, min(at, connection.seen_until)))

    def _name(self, health: Health) -> ConnectionName:
        connection = self._connections.get(health.identity)
        if connection is not None:
            return connection.names
        return ConnectionName(identity=health.identity, name=health.identity, account=health.account)

    def _failure_step(
        self, records: FailureRecords, healths: Sequence[Health], ruleset: Ruleset, at: datetime
    ) -> FailureStep:
        failures, rules = self._failures, ruleset.failure_rules or FailureRules()
        return failure_step(records, healths, failures.receivers, rules, at, foreign=failures.foreign)

    async def _save_failures(
        self, made: FailureStep, healths: Sequence[Health], ruleset: Ruleset, at: datetime
    ) -> None:
        messages = messages_of(
            made.reports,
            scope=SCOPE,
            watched={identity: _watched(each.names) for identity, each in self._connections.items()},
            wording=_WORDING,
            now=at,
            others=lambda report: failing_too(report.alert, healths, made.records.tracks.values()),
        )
        update_interval = (ruleset.failure_rules or FailureRules()).update_interval
        await self._save_alerts(SCOPE, messages, ruleset, update_interval, at)

    # Alerts.

    async def _save_alerts(
        self,
        scope: str,
        messages: Sequence[AlertMessage],
        ruleset: Ruleset,
        update_interval: timedelta,
        at: datetime,
    ) -> None:
        known = {route.receiver for route in self._routes.routes}
        new = [route for route in ruleset.routes if route.receiver not in known]
        self._routes = ruleset
        self._spread = Spread(connections=ruleset.widespread_connections, update_interval=update_interval)
        if known and new:
            await tell_firing(self.tx, new, at)
        if messages:
            await save_alerts(self.tx, scope, messages, routes=ruleset.routes, spread=self._spread, now=at)
        for message in messages:
            self._note(message, at)
        if messages or (known and new):
            await self._deliver(at)

    def _note(self, message: AlertMessage, at: datetime) -> None:
        body, report = message.body, message.report
        if body.kind.about_numbers:
            self._count(body.alert_id, len(report.members))
        if body.kind.about_numbers and report.notice is Notice.OPENED:
            self.noticed[body.alert_id] = at - min(track.since for track in report.members)

    def _count(self, alert_id: str, numbers: int) -> None:
        self.numbers[alert_id] = max(self.numbers.get(alert_id, 0), numbers)

    async def _deliver(self, at: datetime) -> None:
        """Let every receiver accept what it is sent, and see what is due next."""
        sent = list(await self.tx.execute(_ACCEPT, {"at": at}))
        if sent:
            rows = [{"alert_id": row.alert_id, "receiver": row.receiver, "told_at": at} for row in sent]
            await self.tx.execute(_HEARD, rows)
        if at >= self.since:
            self.messages.update((row.alert_id, row.receiver) for row in sent)
        self._tells_at = await widespread.next_look_at(self.tx)
        repeats = self._routes.repeats
        self._reminds_at = await next_reminder_at(self.tx, repeats) if repeats else None

    async def _follow_up(self, at: datetime) -> None:
        """Tell of widespread alerts, and remind of those that fire, as far as that is due by an instant."""
        while True:
            due = [each for each in (self._tells_at, self._reminds_at) if each is not None and each < at]
            if not due:
                return
            now = min(due)
            for alert_id in await widespread.due(self.tx, now):
                await widespread.look_at(self.tx, alert_id, self._spread, now, self._routes.routes)
                self._count(alert_id, await self.tx.scalar(_NUMBERS, {"which": alert_id}) or 0)
            await remind(self.tx, self._routes.repeats, now)
            await self._deliver(now)

    async def _acknowledge(self, entry: Entry) -> None:
        said = msgspec.msgpack.decode(entry.body, type=Acknowledged)
        meant = said.alert_id
        stored = await self.stored.row(meant) if self._other is not None else None
        if stored is not None:
            alike = (alerts.c[name] == stored[name] for name in ("kind", "connection", "state"))
            found = select(alerts.c.id).where(alerts.c.resolved_at.is_(None), *alike)
            here = list((await self.tx.execute(found.order_by(alerts.c.started_at))).scalars())
            meant = meant if meant in here or not here else here[0]
        await know_receivers(self.tx, [route.receiver for route in self._routes.routes], entry.at)
        try:
            await acknowledge(self.tx, meant, by=said.by, note=None, now=entry.at)
        except (UnknownName, Refused):
            return  # by other rules it may not fire
        await self._deliver(entry.at)

    async def _take_over(
        self, scope: str, names: ConnectionName | None, records: Records | FailureRecords, at: datetime
    ) -> None:
        """Save the alerts that fire when the journal begins, as the store has them otherwise."""
        for alert in records.alerts:
            members = tuple(
                track
                for track in records.tracks.values()
                if track.episode is not None and track.episode.alert_id == alert.id
            )
            report = Report(alert=alert, notice=Notice.OPENED, members=members, ended=alert.ended, added=0)
            watched = {scope: _watched(names)} if names is not None else {}
            (message,) = messages_of([report], scope=scope, watched=watched, wording=_WORDING, now=at)
            await save_alerts(self.tx, scope, [message], routes=(), spread=Spread(connections=0), now=at)
            self._note(message, at)
            if (stored := await self.stored.row(alert.id)) is not None:
                await self._as_stored(alert.id, stored, at)
        await self._deliver(at)

    async def _as_stored(self, alert_id: str, stored: Mapping[str, Any], at: datetime) -> None:
        """Say of an alert what the store says, and take over the widespread one that it is a part of."""
        values = {name: stored[name] for name in _STORED}
        await self.tx.execute(update(alerts).where(alerts.c.id == alert_id).values(**values))
        whole = stored["part_of"]
        known = select(alerts.c.id).where(alerts.c.id == whole)
        if whole is not None and (await self.tx.execute(known)).first() is None:
            row = await self.stored.row(whole)
            if row is not None:
                fires = {"status": Status.FIRING, "resolved_at": None, "resolution": None}
                await self.tx.execute(insert(alerts), {**row, **fires})
        for each in (alert_id, whole):
            rows = [
                {"alert_id": each, "receiver": receiver, "told_at": at}
                for receiver in (await self.stored.told(each) if each is not None else ())
            ]
            if rows:
                await self.tx.execute(_HEARD, rows)


_STORED = (
    *("connection", "names", "part_of", "record"),
    *("acknowledged_at", "acknowledged_by", "acknowledged_note"),
)
"""What a row says of an alert that its records don't."""


# Built once: building one takes longer than running it.
_ACCEPT = (
    update(deliveries)
    .where(has_status(deliveries, PENDING))
    .values(status=DELIVERED, finished_at=bindparam("at"))
    .returning(deliveries.c.receiver, deliveries.c.alert_id)
)
_HEARD = sqlite.insert(told).on_conflict_do_nothing()
_NUMBERS = select(alerts.c.numbers).where(alerts.c.id == bindparam("which"))


def _names(entry: Entry) -> ConnectionName:
    return ConnectionName(identity=entry.identity, name=entry.connection, account=entry.account)


def _watched(names: ConnectionName) -> Watched:
    return Watched(name=names.name, account=names.account)


def _next(connection: _Connection) -> datetime | None:
    """Return when a connection's next step without an entry is due."""
    instants = [*connection.again[-1:], connection.wakes_at]
    return min((at for at in instants if at is not None), default=None)


def _healed(health: Health) -> Health:
    """Return how a connection does that no look has a reason to read any more."""
    answers = max(health.streak.answers, _ANSWERS)
    return replace(health, vanished=False, streak=Streak(outcome=Outcome.OK, answers=answers))


def _unless_soon(wakes_at: datetime | None, next_at: datetime | None) -> datetime | None:
    """Return when time makes something due, unless an entry follows that does it."""
    if wakes_at is not None and next_at is not None and timedelta(0) <= next_at - wakes_at <= _LATE:
        return None
    return wakes_at


def _instants(entry: Entry) -> list[datetime]:
    """Return when the answers came that changed nothing after an entry, evenly spread, the first one last."""
    if not entry.unchanged or entry.seen_until is None or entry.seen_until <= entry.at:
        return []
    apart = (entry.seen_until - entry.at) / entry.unchanged
    return [entry.at + apart * place for place in range(entry.unchanged, 0, -1)]


def _advance(
    identity: str, records: Records, ruleset: Ruleset, at: datetime, answer: Snapshot | None, given: Given
) -> Step:
    """Return what a step comes to by these rules; for an answer that they hold, no more than the hold."""
    verdict = None
    if answer is not None:
        verdict = judge(records, answer, ruleset.guard or Guard(), at)
        if verdict.reason is not None:
            return Step(records=verdict.records, settled=False)
    return step(
        records,
        ruleset.rules or Rules(),
        at,
        scope=identity,
        verdict=verdict,
        accepted=given.accepted,
        accept_all=given.accept_all,
    )
