"""The journal: what policy was given, step by step, so that it can be run again.

Each step of a connection leaves an entry in its own transaction: the answer, as what it says beyond the
applied snapshot, what was accepted, and the rules, each distinct set of which is kept once. Answers that
changed nothing leave none: the connection's row counts them, and the next entry tells how many there were,
and until when. A look at failures leaves what moved since the one before it. A `base` entry holds the records
themselves, once a day at most: what follows can be read from there, and what is before it be deleted.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import xxhash
from sqlalchemy import ColumnElement, bindparam, case, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.answers import Difference
from monitor.drift.failures import SCOPE, FailureRecords, FailureRules, Health, ReceiverHealth
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Rules
from monitor.notify.routing import Route
from monitor.store.claims import Claim
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.tables import UtcDateTime, connections, from_row, journal, rulesets, snapshots

_BASE_EVERY = timedelta(days=1)
_RULES_WRITTEN = timedelta(days=1)
"""For so long a set of rules that is used again is not written again."""
RULES_KEPT = 2 * _RULES_WRITTEN
"""For so long it is kept beyond what it says of its last use."""
_MOST_COUNTED = 100
"""Syncs in a row beyond which one more is no news."""
_CHUNK = 200


class EntryKind(StrEnum):
    """What an entry is about.

    base: records as they were before the entries that follow; of failures, a look that says all. applied,
    held: an answer. policy: a step without one. ended: a connection that is no longer watched. looked: a look
    at failures. acknowledged: somebody took an alert on. pulled_in: a clock was set back, see `instants`.
    """

    BASE = "base"
    APPLIED = "applied"
    HELD = "held"
    POLICY = "policy"
    ENDED = "ended"
    LOOKED = "looked"
    ACKNOWLEDGED = "acknowledged"
    PULLED_IN = "pulled_in"


class Ruleset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """By which rules a step was made, and who would have been told.

    A connection's step has `rules`, with the silences of then, and `guard`; a look at failures has
    `failure_rules`. `widespread_connections` as in `Spread`. `repeats`: how often receivers want reminders.
    """

    rules: Rules | None = None
    guard: Guard | None = None
    failure_rules: FailureRules | None = None
    widespread_connections: int = 0
    routes: tuple[Route, ...] = ()
    repeats: dict[str, timedelta] = {}


class Given(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a connection's step was given beside its rules: no answer for a step that time alone made due."""

    answer: Difference | None = None
    accepted: frozenset[str] = frozenset()
    accept_all: bool = False


class Look(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a look at failures saw, as far as it differs from the one before it.

    `healths` by identity; `forgotten` were not looked at any more. `receivers` and `foreign` are all of them;
    None: the same. With `records` it says all there was, and what they were before the look.
    """

    healths: dict[str, Health] = {}
    forgotten: tuple[str, ...] = ()
    receivers: tuple[ReceiverHealth, ...] | None = None
    foreign: tuple[str, ...] | None = None
    records: FailureRecords | None = None


class Acknowledged(msgspec.Struct, frozen=True, array_like=True):
    """Which alert somebody took on."""

    alert_id: str
    by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry as it is read.

    `unchanged` answers came after it that changed nothing, the last at `seen_until`. `next_at` is the instant
    of the next step or look with the same identity. Of a look, `seen_until` is since when the next one
    watches without a break.
    """

    id: int
    identity: str
    connection: str
    account: str
    at: datetime
    kind: EntryKind
    ruleset: int | None
    body: bytes
    unchanged: int
    seen_until: datetime | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What of a step is in the store once its transaction is committed."""

    identity: str
    based_at: datetime | None
    rules: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look saw; with the number of its entry, and when all of it was last written down."""

    healths: Mapping[str, Health]
    receivers: tuple[ReceiverHealth, ...]
    foreign: tuple[str, ...]
    entry: int = 0
    based_at: datetime | None = None
    rules: int = 0


class Journal:
    """Writes entries, in the transactions of what they are about.

    What this process has written is remembered once it is committed, so that nothing is written twice.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._based: dict[str, datetime] = {}
        self._rules: dict[int, datetime] = {}
        self._seen: Seen | None = None

    async def begin(self, tx: AsyncConnection, named: ConnectionName, at: datetime) -> datetime | None:
        """Keep a connection's records as they are before a step, unless that was done today; return when."""
        if not _is_old(self._based.get(named.identity), at, _BASE_EVERY):
            return None
        await tx.execute(_BASE, _row(named, EntryKind.BASE, at))
        return at

    async def step(
        self,
        tx: AsyncConnection,
        named: ConnectionName,
        kind: EntryKind,
        at: datetime,
        *,
        claim: Claim,
        given: Given,
        ruleset: Ruleset,
        based_at: datetime | None,
    ) -> Written:
        """Add the entry of a step; return what `remember` is to be told once it is committed.

        Args:
            tx: A writing transaction.
            named: The connection.
            kind: What was done.
            at: When.
            claim: The claim that it was done with.
            given: What the step was given.
            ruleset: By which rules.
            based_at: What `begin` returned.
        """
        rules = await self._know(tx, ruleset, at)
        run = {"unchanged": claim.unchanged, "seen_until": claim.succeeded_at if claim.unchanged else None}
        body = self._codec.pack(given)
        await tx.execute(_ADD, _row(named, kind, at) | run | {"ruleset": rules, "body": body})
        return Written(identity=named.identity, based_at=based_at, rules=rules)

    def remember(self, written: Written, at: datetime) -> None:
        """Take note that a step of an instant is committed."""
        if written.based_at is not None:
            self._based[written.identity] = written.based_at
        self._rules.setdefault(written.rules, at)

    async def look(
        self,
        tx: AsyncConnection,
        at: datetime,
        saw: Seen,
        *,
        since: datetime,
        records: FailureRecords,
        ruleset: Ruleset,
        moved: bool,
    ) -> Seen | None:
        """Add the entry of a look at failures, unless it saw what the last one did and `moved` nothing.

        Args:
            tx: A writing transaction.
            at: When it looked.
            saw: What it saw.
            since: Since when connections are watched without a break.
            records: The records of failures before it.
            ruleset: By which rules.
            moved: Whether it changed them.

        Returns:
            What `looked` is to be told once it is committed; None: there is no entry.
        """
        last = self._seen
        if last is not None and not moved and _news(last, saw) == Look():
            return None
        if last is not None and (
            _is_old(last.based_at, at, _BASE_EVERY) or await tx.scalar(_LAST_LOOK) != last.entry
        ):
            last = None
        if last is None:
            kind, said = EntryKind.BASE, _all(saw, records)
        else:
            kind, said = EntryKind.LOOKED, _news(last, saw)
        rules = await self._know(tx, ruleset, at)
        body = self._codec.pack(said)
        row = _row(_FAILURES, kind, at) | {"seen_until": since, "ruleset": rules, "body": body}
        entry = (await tx.execute(_ADD_LOOK, row)).scalar_one()
        return replace(saw, entry=entry, based_at=last.based_at if last is not None else at, rules=rules)

    def looked(self, seen: Seen, at: datetime) -> None:
        """Take note that a look of an instant is committed."""
        self._seen = seen
        self._rules.setdefault(seen.rules, at)

    async def _know(self, tx: AsyncConnection, ruleset: Ruleset, at: datetime) -> int:
        """Return the number of a set of rules, which is in the store afterwards."""
        packed = _RULES.encode(ruleset)
        number = xxhash.xxh3_64_intdigest(packed) >> 1
        if _is_old(self._rules.get(number), at, _RULES_WRITTEN):
            self._rules.pop(number, None)
            row = {"id": number, "body": packed, "used_at": at, "old": at - _RULES_WRITTEN}
            await tx.execute(_USE[tx.dialect.name], row)
        return number


def _all(saw: Seen, records: FailureRecords) -> Look:
    return Look(healths=dict(saw.healths), receivers=saw.receivers, foreign=saw.foreign, records=records)


def _news(last: Seen, saw: Seen) -> Look:
    """Return what a look saw beyond the last one."""
    return Look(
        healths={
            key: health
            for key, health in saw.healths.items()
            if _as_news(last.healths.get(key)) != _as_news(health)
        },
        forgotten=tuple(key for key in last.healths if key not in saw.healths),
        receivers=saw.receivers if saw.receivers != last.receivers else None,
        foreign=saw.foreign if saw.foreign != last.foreign else None,
    )


def _as_news(health: Health | None) -> Health | None:
    """Return how a connection does, but for one more of very many syncs in a row that ended alike."""
    if health is None:
        return None
    streak = health.streak
    counts = (streak.failures, streak.same_kind, streak.answers)
    if max(counts) <= _MOST_COUNTED:
        return health
    failures, same_kind, answers = (min(count, _MOST_COUNTED) for count in counts)
    return replace(health, streak=replace(streak, failures=failures, same_kind=same_kind, answers=answers))


def _is_old(at: datetime | None, now: datetime, age: timedelta) -> bool:
    return at is None or not timedelta(0) <= now - at < age


async def ended(tx: AsyncConnection, named: ConnectionName, at: datetime) -> None:
    """Add the entry of a connection that is no longer watched."""
    await tx.execute(_ADD, _row(named, EntryKind.ENDED, at))


async def pulled_in(tx: AsyncConnection, at: datetime) -> None:
    """Add the entry of a clock that was set back: what lay in the future by then was pulled in."""
    await tx.execute(_ADD, _row(_FAILURES, EntryKind.PULLED_IN, at))


async def acknowledged(tx: AsyncConnection, alert_id: str, by: str | None, at: datetime) -> None:
    """Add the entry of an alert that somebody took on."""
    body = msgspec.msgpack.encode(Acknowledged(alert_id=alert_id, by=by))
    await tx.execute(_ADD, _row(_FAILURES, EntryKind.ACKNOWLEDGED, at) | {"body": body})


async def entries(tx: AsyncConnection, since: datetime) -> AsyncIterator[Entry]:
    """Yield what has to be run again to know what happened since an instant, in the order of happening.

    Of each identity from its last base before then, or all there is.
    """
    result = await tx.stream(_ENTRIES.execution_options(yield_per=_CHUNK), {"since": since})
    async for rows in result.partitions():
        for row in rows:
            yield from_row(Entry, row)


async def count_entries(tx: AsyncConnection, since: datetime) -> int:
    """Return how many `entries` yields."""
    return await tx.scalar(select(func.count()).select_from(_ENTRIES.subquery()), {"since": since}) or 0


async def known_rules(tx: AsyncConnection) -> dict[int, Ruleset]:
    """Return every set of rules, by number."""
    decoder = msgspec.msgpack.Decoder(Ruleset)
    return {row.id: decoder.decode(row.body) for row in await tx.execute(select(rulesets))}


def _row(named: ConnectionName, kind: EntryKind, at: datetime) -> dict[str, Any]:
    return {
        "identity": named.identity,
        "connection": named.name,
        "account": named.account,
        "at": at,
        "kind": kind,
        "ruleset": None,
        "unchanged": 0,
        "seen_until": None,
        "body": b"",
    }


_bases = (
    select(journal.c.identity, func.max(journal.c.id).label("id"))
    .where(journal.c.kind == EntryKind.BASE, journal.c.at <= bindparam("since", type_=UtcDateTime()))
    .group_by(journal.c.identity)
    .subquery()
)


def _next(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return what the next entry with the same identity has there; bases apart."""
    apart = (journal.c.identity, (journal.c.kind == EntryKind.BASE) & (journal.c.identity != SCOPE))
    return func.lead(column, type_=column.type).over(partition_by=apart, order_by=journal.c.id)


_is_last = _next(journal.c.id).is_(None) & (journal.c.kind != EntryKind.BASE)
# An entry tells how many answers came before it that changed nothing: read, it tells how many came after it.
_ENTRIES = (
    select(
        *(journal.c[name] for name in ("id", "identity", "connection", "account", "at", "kind")),
        *(journal.c[name] for name in ("ruleset", "body")),
        func.coalesce(case((_is_last, connections.c.unchanged), else_=_next(journal.c.unchanged)), 0).label(
            "unchanged"
        ),
        case((_is_last, connections.c.succeeded_at), else_=_next(journal.c.seen_until)).label("seen_until"),
        _next(journal.c.at).label("next_at"),
    )
    .outerjoin(_bases, _bases.c.identity == journal.c.identity)
    .outerjoin(connections, connections.c.identity == journal.c.identity)
    .where(journal.c.id >= func.coalesce(_bases.c.id, 0))
    .order_by(journal.c.id)
)


def is_past(before: datetime) -> ColumnElement[bool]:
    """Return the condition for entries that nothing since an instant needs: a later base is as old, too."""
    later = journal.alias()
    ends = (later.c.kind == EntryKind.BASE) & (later.c.id > journal.c.id)
    ends |= (later.c.kind == EntryKind.ENDED) & (later.c.id >= journal.c.id)
    followed = select(later.c.id).where(later.c.identity == journal.c.identity, later.c.at <= before, ends)
    return (journal.c.at < before) & followed.exists()


_FAILURES = ConnectionName(identity=SCOPE, name="", account="")
_RULES = msgspec.msgpack.Encoder(order="deterministic")

# Built once: building one takes longer than running it.
_ADD = insert(journal)
_ADD_LOOK = _ADD.returning(journal.c.id)
_LAST_LOOK = select(func.max(journal.c.id)).where(
    journal.c.identity == SCOPE, journal.c.kind.in_([EntryKind.BASE, EntryKind.LOOKED])
)
_COLUMNS = ("identity", "connection", "account", "at", "kind", "unchanged")
_BASE = _ADD.from_select(
    [*_COLUMNS, "body"],
    select(*(bindparam(name, type_=journal.c[name].type) for name in _COLUMNS), snapshots.c.records).where(
        snapshots.c.identity == bindparam("identity")
    ),
)


def _use(insert_into: Any) -> Any:
    statement = insert_into(rulesets)
    return statement.on_conflict_do_update(
        index_elements=[rulesets.c.id],
        set_={"used_at": statement.excluded.used_at},
        where=rulesets.c.used_at < bindparam("old", type_=UtcDateTime),
    )


_USE = {"sqlite": _use(sqlite.insert), "postgresql": _use(postgresql.insert)}
