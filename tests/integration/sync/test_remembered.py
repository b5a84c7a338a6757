"""A process that remembers what it stored leaves the same rows and messages as one that asks the store."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Status
from monitor.drift.policy import Records
from monitor.drift.silences import NewSilence
from monitor.notify.delivery import Sent
from monitor.store.actions import COMMAND, Actor
from monitor.store.claims import Claim, claim_due, flush, release
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.instants import pull_in
from monitor.store.ledger import Ledger, StepRecord, StoredState
from monitor.store.outbox import StoredOutbox
from monitor.store.packing import unpack
from monitor.store.remembered import Remembered
from monitor.store.requests import accept, acknowledge
from monitor.store.retention import prune
from monitor.store.silencing import set_silence, stop_silence
from monitor.store.tables import alerts, connections, metadata, silences
from tests.fakes.driver import executions
from tests.fakes.rig import Rig, rig

EXAMPLES = int(os.environ.get("REMEMBERED", "6"))
"""How many lives are tried; set it to thousands for a long look."""
OPS = Actor(user="ops", address=COMMAND)
NAMES = (("one", "two"), ("uno", "two"), ("two",), ("one", "two"))
CONFIRMS = (1, 1, 1, 2)
"""What the configs watch, and how many syncs have to see a drift."""
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 503},
    {"kind": "empty"},
    {"kind": "partial"},
    {"kind": "unreadable"},
    {"kind": "shuffle"},
    {"kind": "missing"},
)
_PACKED = b"\x28\xb5\x2f\xfd"
"""Zstandard's magic number."""
STEPS = (
    "remove_routing",
    "restore_routing",
    "expire",
    "renew",
    "switch_number_off",
    "switch_number_on",
    "remove_number",
)


@dataclass(frozen=True)
class Do:
    """What happens: a method of `World`, with its arguments."""

    what: str
    args: tuple[Any, ...] = ()


class Watched(Ledger):
    """A ledger that something happens to: before it loads, or while it keeps."""

    def __init__(self, database: Database, codec: Codec, *, forgets: bool) -> None:
        super().__init__(database, codec)
        self.forgets, self.remembered = forgets, 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.fails_at: int | None = None

    async def load(self, claim: Claim) -> StoredState:
        """Load, after what happens meanwhile."""
        if (happens := self.meanwhile) is not None:
            self.meanwhile = None
            await happens()
        if self.forgets:
            self._remembered = Remembered()
        stored = await super().load(claim)
        self.remembered += stored.remembered
        return stored

    async def keep(self, record: StepRecord) -> None:
        """Keep, as far as the disk lets it."""
        with failing(self.fails_at):
            await super().keep(record)


@contextmanager
def failing(at: int | None) -> Iterator[None]:
    """Let a statement that writes fail, and all after it; None: none."""
    if at is None:
        yield
        return
    writes = 0

    def fail(_: object, statement: str) -> None:
        nonlocal writes
        writes += not statement.startswith("SELECT")
        if writes > at:
            raise sqlite3.OperationalError("disk I/O error")

    with executions(fail):
        yield


class World:
    """A daemon's middle, with another replica beside it, that lives through what happens."""

    def __init__(self, made: Rig, *, forgets: bool) -> None:
        self.rig, self.forgets = made, forgets
        self.connections = list(made.simulator.world.connections())
        self.other = Watched(made.database, made.codec, forgets=True)
        self.remembered = 0
        self.broken: set[int] = set()
        self.restart()

    # What people and the provider do

    async def step(self, name: str, many: int, which: int) -> None:
        """Have something happen to a connection's first numbers."""
        connection = self.connections[which]
        if keys := connection.keys(6)[:many]:
            self.rig.simulator.do(name, numbers=keys, connection=connection.name)

    async def turn(self, which: Sequence[int], after_s: int) -> None:
        """Break these connections, or mend them, and do what is due."""
        for each in which:
            self.broken ^= {each}
            await self.step("remove_routing" if each in self.broken else "restore_routing", 2, each)
        await self.run(after_s)

    async def fault(self, which: int) -> None:
        """Have the API answer wrongly; beyond the kinds of that, rightly."""
        self.rig.simulator.do("clear_faults")
        if which < len(FAULTS):
            self.rig.simulator.do("fault", **FAULTS[which])

    async def configure(self, which: int) -> None:
        """Put a config in force."""
        listed = [
            {"name": name, "id": each.id}
            for name, each in zip(NAMES[which], self.connections[-len(NAMES[which]) :], strict=True)
        ]
        account = {
            "name": "account-1",
            "api_key": "rg_live_account_1",
            "requests_per_minute": 6000,
            "connections": listed,
        }
        await self.rig.configure(
            "hook",
            accounts=[account],
            drift__confirm_syncs=CONFIRMS[which],
            drift__resolve_syncs=CONFIRMS[which],
            drift__keep_firing_for=f"{which * 20}s",
            alerts__update_interval="30s",
        )

    async def silence(self, about: str, ahead_s: int) -> None:
        """Set a silence, by a clock that is ahead."""
        asked: dict[str, Any] = {"for_": "3m"}
        match about:
            case "alert":
                found = await self._firing()
                if found is None:
                    return
                asked |= {"alert": found}
            case "ready":
                asked = {"until_ready": True, "connection": "*"}
            case _:
                asked |= {"connection": about}
        new, now = NewSilence(reason="known", **asked), self.rig.clock.now() + timedelta(seconds=ahead_s)
        with suppress(Exception):
            await set_silence(self.rig.database, self.rig.codec, new, OPS, now, logged=True)

    async def speak(self, ahead_s: int) -> None:
        """End the oldest silence."""
        now = self.rig.clock.now() + timedelta(seconds=ahead_s)
        async with self.rig.database.read() as tx:
            found = await tx.scalar(select(silences.c.id).where(silences.c.ended_at.is_(None)))
        if found is not None:
            with suppress(Exception):
                await stop_silence(self.rig.database, found, OPS, now, logged=True)

    async def accept(self, ahead_s: int) -> None:
        """Accept what is there."""
        now = self.rig.clock.now() + timedelta(seconds=ahead_s)
        async with self.rig.database.write() as tx:
            for identity in (await tx.execute(select(connections.c.identity))).scalars().all():
                await accept(tx, identity, None, now)

    async def acknowledge(self) -> None:
        """Take on an alert."""
        found = await self._firing()
        if found is not None:
            async with self.rig.database.write() as tx:
                await acknowledge(tx, found, by="ops", note=None, now=self.rig.clock.now())

    async def _firing(self) -> str | None:
        async with self.rig.database.read() as tx:
            fires = alerts.c.status == Status.FIRING
            found: str | None = await tx.scalar(
                select(alerts.c.id).where(fires).order_by(alerts.c.started_at, alerts.c.id)
            )
        return found

    # What the monitor does

    async def run(self, after_s: int) -> None:
        """Let time pass, and do what is due; what cannot be kept would be due for ever."""
        await self.rig.clock.advance(after_s)
        self.rig.uptime.look()
        for _ in range(3):
            now = self.rig.clock.now()
            async with self.rig.database.write() as tx:
                claims = await claim_due(tx, now, limit=10, lease=timedelta(minutes=2))
            for claim in claims:
                done = await self.rig.cycle.run(claim)
                async with self.rig.database.write() as tx:
                    if done.result is not None:
                        await flush(tx, [done.result])
                    if done.lost:
                        await release(tx, [(claim, now + timedelta(seconds=2))])
        await self.rig.failures.run()

    async def others(self, after_s: int) -> None:
        """Have another replica do what is due."""
        mine, self.rig.cycle.ledger = self.rig.cycle.ledger, self.other
        await self.run(after_s)
        self.rig.cycle.ledger = mine

    async def stalls(self) -> None:
        """Have another replica claim what is due, and stand still for longer than its leases."""
        async with self.rig.database.write() as tx:
            await claim_due(tx, self.rig.clock.now(), limit=1, lease=timedelta(minutes=2))
        await self.rig.clock.advance(121)

    async def deliver(self) -> None:
        """Have the receiver accept what is due."""
        outbox = StoredOutbox(self.rig.database, self.rig.clock)
        leased = (await outbox.lease_due("hook", limit=8, lease_s=30)).deliveries
        now = self.rig.clock.now()
        await outbox.settle([Sent(delivery=each, at=now, answer="ok") for each in leased])

    async def prune(self, after_s: int) -> None:
        """Delete what is old."""
        async with self.rig.database.write() as tx:
            await prune(tx, self.rig.clock.now() - timedelta(seconds=after_s))

    async def jump(self, seconds: int) -> None:
        """Set the clock."""
        self.rig.clock.jump(seconds)

    async def pull_in(self) -> None:
        """Notice that the clock was set."""
        async with self.rig.database.write() as tx:
            await pull_in(tx, self.rig.clock.now())

    async def fails(self, at: int) -> None:
        """Have the disk fail at a statement that writes, and at all that follow in what it is part of."""
        self.ledger.fails_at = at
        await self.run(15)
        self.ledger.fails_at = None

    async def restarts(self) -> None:
        """Kill the process, and start another one."""
        self.restart()

    def restart(self) -> None:
        """Begin without any memory."""
        self.ledger = Watched(self.rig.database, self.rig.codec, forgets=self.forgets)
        self.rig.cycle.ledger = self.ledger

    async def meanwhile(self, what: Do) -> None:
        """Have something happen between a claim and the step of it."""
        self.ledger.meanwhile = lambda: getattr(self, what.what)(*what.args)
        await self.run(15)
        self.ledger.meanwhile = None

    async def live(self, what: Do) -> dict[str, Any]:
        """Do it; return all that is stored afterwards."""
        before = self.ledger.remembered
        await getattr(self, what.what)(*what.args)
        self.remembered += max(self.ledger.remembered - before, 0)
        async with self.rig.database.read() as tx:
            return {table.name: await _content(tx, table) for table in metadata.sorted_tables}


async def _content(tx: AsyncConnection, table: Table) -> list[Any]:
    rows = await tx.execute(select(table).order_by(*table.primary_key))
    return [tuple(map(_plain, row)) for row in rows]


def _plain(value: Any) -> Any:
    """Return what is packed: sets have no order, so that what is equal may be packed to other bytes."""
    if not (isinstance(value, bytes) and value.startswith(_PACKED)):
        return value
    plain = unpack(value)
    try:
        return msgspec.msgpack.decode(plain, type=Records)
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(plain)


_AHEAD = st.sampled_from((0, 0, -2, 90))


def _meanwhile() -> st.SearchStrategy[Do]:
    """What may happen while a sync is under way."""
    return st.one_of(
        st.builds(
            Do,
            st.just("silence"),
            st.tuples(st.sampled_from(("*", "one", "uno", "two", "alert", "ready")), _AHEAD),
        ),
        st.builds(Do, st.just("speak"), st.tuples(_AHEAD)),
        st.builds(Do, st.just("accept"), st.tuples(_AHEAD)),
        st.just(Do("acknowledge")),
        st.builds(Do, st.just("configure"), st.tuples(st.integers(0, len(NAMES) - 1))),
        st.builds(Do, st.just("others"), st.tuples(st.sampled_from((0, 121)))),
        st.just(Do("stalls")),
        st.just(Do("deliver")),
        st.just(Do("restarts")),
        st.just(Do("pull_in")),
        st.builds(Do, st.just("prune"), st.tuples(st.sampled_from((0, 60)))),
        st.builds(Do, st.just("jump"), st.tuples(st.sampled_from((-3600, -60, 60, 3600)))),
    )


def _changes() -> st.SearchStrategy[Do]:
    steps = st.tuples(st.sampled_from(STEPS), st.integers(1, 4), st.integers(0, 1))
    return st.one_of(
        st.builds(Do, st.just("step"), steps),
        st.builds(Do, st.just("step"), steps),
        st.builds(Do, st.just("fault"), st.tuples(st.integers(0, len(FAULTS) + 3))),
    )


def lives() -> st.SearchStrategy[list[Do]]:
    """What happens, one thing after the other; the provider changes much, and is looked at often."""
    which = st.sampled_from(((0,), (1,), (0, 1), (0, 1), ()))
    turn = st.builds(Do, st.just("turn"), st.tuples(which, st.sampled_from((15, 60, 60, 60, 200))))
    others = st.one_of(
        _changes(),
        _meanwhile(),
        st.builds(Do, st.just("meanwhile"), st.tuples(_meanwhile())),
        st.builds(Do, st.just("fails"), st.tuples(st.integers(0, 12))),
    )
    spells = st.tuples(st.lists(turn, min_size=1, max_size=4), others, turn)
    made = st.lists(spells, min_size=3, max_size=10)
    return made.map(lambda spells: [each for first, other, last in spells for each in (*first, other, last)])


async def _made(folder: Path) -> Path:
    """Return a store with this program's schema: making one takes longer than most lives."""
    async with Database(f"sqlite:///{folder / 'store.db'}") as database:
        await database.migrate()
    return folder / "store.db"


async def _lived(life: list[Do], empty: Path) -> int:
    """Live a life with and without memory, and compare after each event; return what was remembered."""
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        for folder in (one, two):
            shutil.copy(empty, folder)
        async with (
            rig(Path(one), connections=2, numbers=6) as first,
            rig(Path(two), connections=2, numbers=6) as second,
        ):
            remembers, forgets = World(first, forgets=False), World(second, forgets=True)
            for what in (Do("configure", (0,)), Do("run", (60,)), *life):
                expected = await forgets.live(what)
                assert await remembers.live(what) == expected, what
            return remembers.remembered


@pytest.mark.timeout(900)  # to shrink what fails
def test_memory_changes_nothing(tmp_path: Path) -> None:
    """After whatever happens, every row is the same as if the store had been asked each time."""
    remembered, empty = 0, asyncio.run(_made(tmp_path))

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(life=lives())
    def hold(life: list[Do]) -> None:
        nonlocal remembered
        remembered += asyncio.run(_lived(life, empty))

    hold()
    assert remembered > EXAMPLES
