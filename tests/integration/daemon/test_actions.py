"""What people may ask of the running daemon, against a real store."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from monitor.daemon.actions import DaemonLifecycle
from monitor.drift.alert import Notice, encode_body
from monitor.drift.rules import Rules
from monitor.errors import Refused, UnknownName
from monitor.store.codec import Codec
from monitor.store.connections import Watch, begin_watching
from monitor.store.database import Database
from monitor.store.tables import acceptances, deliveries, snapshots
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.unit.drift.build import EVERY_KIND, fleet, key
from tests.unit.drift.build import Watch as Watching


class Daemon:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def sync_now(self, identity: str) -> bool:
        """Begin a sync."""
        self.told.append(f"sync {identity}")
        return True

    def look_now(self) -> None:
        """Look."""
        self.told.append("look")

    def wake(self) -> None:
        """Wake the drain."""
        self.told.append("wake")

    async def reload(self) -> None:
        """Reload."""
        self.told.append("reload")


@pytest.fixture
def daemon() -> Daemon:
    """Return who is told."""
    return Daemon()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """Return a store with acme and else, which another replica watches; two numbers of acme were removed."""
    async with Database(f"sqlite:///{tmp_path}/store.db") as opened:
        await opened.migrate()
        watches = [
            Watch(
                identity=f"id-{name}",
                name=name,
                account="a",
                connection_id=None,
                first_due_at=START,
                next_due_at=START,
            )
            for name in ("acme", "else")
        ]
        watching = Watching(Rules(alerting=EVERY_KIND))
        watching.sync(*fleet(10))
        watching.sync(*fleet(8))
        async with opened.write() as tx:
            await begin_watching(tx, watches, START)
            blob = Codec().pack_records(watching.records)
            await tx.execute(insert(snapshots).values(identity="id-acme", records=blob))
        yield opened


@pytest.fixture
def lifecycle(daemon: Daemon, database: Database) -> DaemonLifecycle:
    """Return what is tested."""
    watched: Callable[[str], bool] = {"id-acme"}.__contains__
    return DaemonLifecycle(
        reload=daemon.reload,
        syncs=daemon,
        is_watched=watched,
        wake_drain=daemon.wake,
        database=database,
        codec=Codec(),
        clock=FakeClock(),
    )


async def accepted(database: Database) -> list[str | None]:
    """Return the keys that the daemon will find accepted."""
    async with database.read() as tx:
        return [row.key for row in await tx.execute(select(acceptances).order_by(acceptances.c.id))]


async def test_sync_is_asked_for_by_name(lifecycle: DaemonLifecycle, daemon: Daemon) -> None:
    """A name becomes the identity that the schedule knows."""
    assert await lifecycle.sync_now("acme") is True
    assert daemon.told == ["sync id-acme"]


@pytest.mark.parametrize("name", ["nobody", "else", "id-acme"])
async def test_connection_that_is_not_watched_here_is_unknown(
    lifecycle: DaemonLifecycle, daemon: Daemon, name: str
) -> None:
    """Nothing is begun for a name that this process does not watch."""
    with pytest.raises(UnknownName):
        await lifecycle.sync_now(name)
    with pytest.raises(UnknownName):
        await lifecycle.accept(name, None)
    assert daemon.told == []


@pytest.mark.parametrize(
    ("numbers", "count", "keys"),
    [
        (None, 2, [None]),
        ([f"+{key(9)}"], 1, [key(9)]),
        ([key(10), f"+{key(9)[:2]} {key(9)[2:]}"], 2, [key(9), key(10)]),
        ([], 0, []),
    ],
    ids=["all", "one", "in any form", "none"],
)
async def test_removed_numbers_are_accepted(
    lifecycle: DaemonLifecycle,
    daemon: Daemon,
    database: Database,
    numbers: list[str] | None,
    count: int,
    keys: list[str | None],
) -> None:
    """Exactly those that were named, and the daemon looks at once."""
    assert await lifecycle.accept("acme", numbers) == count
    assert sorted(map(str, await accepted(database))) == sorted(map(str, keys))
    assert daemon.told == (["look"] if count else [])


async def test_number_that_was_not_removed_cannot_be_accepted(
    lifecycle: DaemonLifecycle, database: Database
) -> None:
    """Then none of the others is, either; the error names no number."""
    with pytest.raises(UnknownName) as caught:
        await lifecycle.accept("acme", [key(9), key(1)])
    assert key(1) not in str(caught.value)
    assert await accepted(database) == []


async def test_only_dead_deliveries_are_sent_again(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database
) -> None:
    """The drain is woken for a dead one; for any other the reason is said."""
    async with database.write() as tx:
        for name, status in (("d1", "dead"), ("d2", "delivered")):
            values = {"id": name, "receiver": "hook", "alert_id": name, "change": Notice.OPENED, "version": 1}
            more = {"body": encode_body(BODY), "status": status, "created_at": START, "due_at": START}
            await tx.execute(insert(deliveries).values(**values, **more))
    with pytest.raises(Refused, match="it is delivered, not dead"):
        await lifecycle.dismiss("d2")
    await lifecycle.retry("d1")
    assert daemon.told == ["wake"]
    with pytest.raises(Refused, match="it is pending, not dead"):
        await lifecycle.dismiss("d1")
    with pytest.raises(Refused, match="it is delivered, not dead"):
        await lifecycle.retry("d2")
    with pytest.raises(Refused, match="no delivery has this id"):
        await lifecycle.retry("d3")
    assert daemon.told == ["wake"]


async def test_dead_delivery_is_dismissed(lifecycle: DaemonLifecycle, database: Database) -> None:
    """It is closed, and cannot be sent again."""
    async with database.write() as tx:
        values = {"id": "d1", "receiver": "hook", "alert_id": "a1", "change": Notice.OPENED, "version": 1}
        more = {"body": encode_body(BODY), "status": "dead", "created_at": START, "due_at": START}
        await tx.execute(insert(deliveries).values(**values, **more))
    await lifecycle.dismiss("d1")
    with pytest.raises(Refused, match="it is closed, not dead"):
        await lifecycle.retry("d1")


async def test_reload_is_handed_on(lifecycle: DaemonLifecycle, daemon: Daemon) -> None:
    """It is the daemon's own."""
    await lifecycle.reload()
    assert daemon.told == ["reload"]
