"""When the heartbeat is sent and when it is withheld."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from monitor.clock import Uptime
from monitor.daemon.heartbeat import Heartbeat
from monitor.errors import StoreUnavailable
from monitor.http.redactor import Redactor
from monitor.secret import Secret
from monitor.store.database import Database
from monitor.store.health import StoreHealth
from tests.fakes.announcer import health_on
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog

URL = Secret("https://watch.example/p4th")


@dataclass
class Works:
    """Syncs and deliveries that do what they are told."""

    stuck_s: float | None = None
    alive: bool = True
    clock: FakeClock = field(default_factory=FakeClock)
    store: StoreHealth = field(init=False)

    def __post_init__(self) -> None:
        self.store = health_on(FakeLog(), self.clock)

    def stuck_for_s(self) -> float | None:
        """Return what the test set."""
        return self.stuck_s


class Watchdog:
    """Hears the heartbeat."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.heard.append(request.method)
        return httpx.Response(self.status)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An empty store."""
    async with Database(f"sqlite:///{tmp_path}/store.db") as opened:
        await opened.migrate()
        yield opened


def heart(database: Database, works: Works, watchdog: Watchdog, log: FakeLog, clock: FakeClock) -> Heartbeat:
    """Return a heartbeat of these parts."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(watchdog))
    uptime = Uptime(clock)
    uptime.since_s -= 60
    return Heartbeat(
        http=lambda: http,
        redactor=Redactor(),
        database=database,
        syncs=works,
        deliveries=works,
        store=works.store,
        clock=clock,
        uptime=uptime,
        log=log.logger,
    )


async def test_heartbeat_is_sent_while_all_is_well(database: Database) -> None:
    """One GET for each beat."""
    watchdog, log, clock = Watchdog(), FakeLog(), FakeClock()
    await heart(database, Works(), watchdog, log, clock).beat(URL)
    assert watchdog.heard == ["GET"]
    assert not log.lines


@pytest.mark.parametrize("broken", ["syncs", "drain", "store", "snapshots"])
async def test_heartbeat_is_withheld_when_the_monitor_does_not_work(database: Database, broken: str) -> None:
    """Stuck syncs, a dead drain, a store that takes no writes, or none that matter: each is said once."""
    watchdog, log, clock = Watchdog(), FakeLog(), FakeClock()
    works = Works()
    beating = heart(database, works, watchdog, log, clock)
    if broken == "syncs":
        works.stuck_s = 3600.0
    elif broken == "drain":
        works.alive = False
    elif broken == "snapshots":
        full = StoreUnavailable("cannot write to the store: the disk is full", "the disk is full")
        works.store.keeps_nothing(full, "claiming what is due")
        await works.clock.advance(15)
    else:
        async with database.write() as tx:
            await tx.exec_driver_sql("DROP TABLE pulse")
    await beating.beat(URL)
    await beating.beat(URL)
    assert watchdog.heard == []
    assert [line["event"] for line in log.lines] == ["heartbeat.withheld"]


async def test_heartbeat_of_a_process_that_has_just_woken_is_sent(database: Database) -> None:
    """While it was stopped nothing could advance; ten seconds later what still does not is told."""
    watchdog, log, clock = Watchdog(), FakeLog(), FakeClock()
    works = Works(stuck_s=3600.0, alive=False)
    beating = heart(database, works, watchdog, log, clock)
    await clock.advance(3600)
    await beating.beat(URL)
    assert watchdog.heard == ["GET"]
    for _ in range(11):
        await clock.advance(1)
        beating.uptime.look()
    await beating.beat(URL)
    assert watchdog.heard == ["GET"]
    assert log.events == ["heartbeat.withheld"]


async def test_heartbeat_comes_back_with_the_monitor(database: Database) -> None:
    """What stopped it once does not stop it for good."""
    watchdog, log, clock = Watchdog(), FakeLog(), FakeClock()
    works = Works(alive=False)
    beating = heart(database, works, watchdog, log, clock)
    await beating.beat(URL)
    works.alive = True
    await beating.beat(URL)
    assert watchdog.heard == ["GET"]
