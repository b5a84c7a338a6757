"""The row about a replay: a month of 100 connections."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.config import load_config
from monitor.daemon.policies import ConfiguredPolicies
from monitor.drift.answers import difference
from monitor.drift.failures import Streak
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Rules
from monitor.drift.snapshot import Number, Snapshot
from monitor.notify.routing import Route
from monitor.replay.run import replay
from monitor.store.claims import Claim
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.journal import EntryKind, Given, Journal, Ruleset
from tests.bench.row import Measured
from tests.bench.setting import Bench

_MINUTE = timedelta(minutes=1)
_DAYS, _TROUBLES = 30, 1
"""So often a day a number of each connection drifts for an hour; it is synced every five minutes."""
_QUIET = 260
"""Answers between two troubles that change nothing."""
_RULES = Ruleset(
    rules=Rules(),
    guard=Guard(),
    widespread_connections=5,
    routes=(Route(receiver="log"), Route(receiver="hook")),
)
_READY = Snapshot(
    numbers={
        str(key): Number(key=str(key), phone_number=f"+{key}", state="READY", drifting=False)
        for key in range(100)
    }
)
_BROKEN = msgspec.structs.replace(
    _READY,
    numbers=_READY.numbers
    | {"7": Number(key="7", phone_number="+7", state="NO_BOT", drifting=True, issues=("NO_BOT",))},
)

_Entry = tuple[datetime, int, EntryKind, Given, int]
"""When, of which connection, what, what it was given, and how many answers before it changed nothing."""


async def month(bench: Bench) -> Sequence[Measured]:
    """CPU seconds to replay a month of 100 connections of 100 numbers: by the rules of then, by others."""
    connections, now = bench.count(100, 5), datetime.now(UTC)
    async with Database(f"sqlite:///{bench.folder / 'month.db'}") as database:
        await database.migrate()
        entries = sorted(_month(connections, now), key=lambda entry: entry[:2])
        bench.progress("writing a month", 0.0)
        await database.transact(partial(_write, entries))
        account = '[{"name": "acme", "api_key": "rg_live_bench", "discover": true}]'
        environ = {"VOICELINK_MONITOR_ACCOUNTS": account, "VOICELINK_MONITOR_DRIFT__CONFIRM_SYNCS": "3"}
        config = await asyncio.to_thread(load_config, None, environ)
        found = []
        for policies in (None, ConfiguredPolicies(config, now)):
            bench.progress("replaying", 0.5)
            began_s = time.process_time()
            done = await replay(database, Codec(), since=now - timedelta(days=_DAYS + 1), policies=policies)
            used_s = time.process_time() - began_s
            detail = f"{len(entries):,} entries, {done.summary.replayed:,} alerts"
            found.append(Measured(value=used_s, detail=detail))
    return found


def _month(connections: int, now: datetime) -> Iterator[_Entry]:
    """Yield the entries of all connections; each trouble opens an alert, and ends it."""
    breaks, heals = Given(answer=difference(_READY, _BROKEN)), Given(answer=difference(_BROKEN, _READY))
    still_broken, still_ready = (Given(answer=difference(each, each)) for each in (_BROKEN, _READY))
    begins_at = now - timedelta(days=_DAYS)
    for place in range(connections):
        at = begins_at + place * 4 * _MINUTE
        yield at, place, EntryKind.APPLIED, Given(answer=difference(None, _READY)), 0
        for trouble in range(_DAYS * _TROUBLES):
            broken_at = at + (trouble + 0.5) * timedelta(days=1) / _TROUBLES
            healed_at = broken_at + 60 * _MINUTE
            yield broken_at, place, EntryKind.APPLIED, breaks, _QUIET
            yield broken_at + _MINUTE, place, EntryKind.APPLIED, still_broken, 0
            yield healed_at, place, EntryKind.APPLIED, heals, 10
            yield healed_at + _MINUTE, place, EntryKind.APPLIED, still_ready, 0
            yield healed_at + 7 * _MINUTE, place, EntryKind.POLICY, Given(), 1


async def _write(entries: Sequence[_Entry], tx: AsyncConnection) -> None:
    journal = Journal(Codec())
    for at, place, kind, given, unchanged in entries:
        named = ConnectionName(identity=f"c{place}", name=f"acme-{place}", account="acme")
        claim = Claim(
            identity=named.identity,
            epoch=1,
            due_at=at,
            sync_due=True,
            policy_due=False,
            wakes_at=None,
            digest=None,
            settled=True,
            held=0,
            unchanged=unchanged,
            watched_since=at - _MINUTE,
            succeeded_at=at - _MINUTE,
            streak=Streak(),
        )
        written = await journal.step(
            tx, named, kind, at, claim=claim, given=given, ruleset=_RULES, based_at=None
        )
        journal.remember(written, at)
