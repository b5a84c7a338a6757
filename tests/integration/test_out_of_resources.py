"""This process's own lack of resources, in each place that it could be blamed on someone else."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from monitor.clock import Uptime
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.status import Readiness
from monitor.errors import OutOfResources, StartError, StoreUnavailable
from monitor.http.address import Address
from monitor.http.client import Network
from monitor.http.redactor import Redactor
from monitor.notify.drain import Drain
from monitor.notify.pagerduty import PagerDutyReceiver
from monitor.notify.retry import POSTPONED_S
from monitor.notify.slack import SlackReceiver
from monitor.notify.webhook import WebhookReceiver
from monitor.secret import Secret
from monitor.shortage import Shortage
from monitor.store.claims import Claim
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.ledger import Ledger, StepRecord, StoredState
from monitor.store.outbox import StoredOutbox, receiver_rows
from monitor.store.receivers import know_receivers
from monitor.store.tables import deliveries
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.discovery import DISCOVERY_INTERVAL
from tests.descriptors import LACKS, no_descriptors
from tests.fakes.alerts import BODY, delivery_of
from tests.fakes.announcer import health_on
from tests.fakes.clock import START, FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.rig import Rig, rig
from tests.fakes.shortage import no_shortage

every_lack = pytest.mark.parametrize("lack", [exc for exc, _ in LACKS.values()], ids=LACKS)


def lacking(lack: Exception) -> httpx.AsyncClient:
    """Return a client of a process that has nothing to ask with."""
    return httpx.AsyncClient(transport=failing(lack))


def failing(lack: Exception) -> httpx.MockTransport:
    """Return the transport of such a process."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise lack

    return httpx.MockTransport(fail)


def client(transport: httpx.AsyncBaseTransport) -> VoiceLinkClient:
    """Return a client of the provider."""
    return VoiceLinkClient(
        transport=transport,
        base_url="http://double/api/v2",
        timeout_s=30,
        max_response_bytes=1 << 20,
        clock=FakeClock(),
        redactor=Redactor(),
        rng=random.Random(1),
    )


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig whose first sync is done."""
    async with rig(tmp_path) as one:
        await one.configure("hook")
        await one.run()
        yield one


@every_lack
async def test_sync_that_lacks_resources_is_no_failed_sync(made: Rig, lack: Exception) -> None:
    """No outcome, no failure in a row, no alert; it is tried again as soon as a failed one."""
    before = await made.standing()
    state, well = made.active.state, made.active.state.watchlist
    state.watchlist = replace(well, client=client(failing(lack)))
    for after_s in (60, 20, 20, 20):
        (done,) = await made.run(after_s)
        assert done.result is None
        assert done.lost
        assert done.due_at is not None
        assert (done.due_at - made.clock.now()).total_seconds() <= 15
    shown = await exposition(made)
    assert 'voicelink_up{connection="account-1"} 1' in shown
    assert not [line for line in shown if line.startswith("voicelink_syncs_total") and "ok" not in line]
    assert not made.log.of("sync.failed")
    after = await made.standing()
    assert after.streak == before.streak
    assert await made.alerts() == []
    state.watchlist = well
    (done,) = await made.run()
    assert done.result is not None


@pytest.mark.parametrize("place", ["load", "keep"])
async def test_sync_that_runs_out_of_memory_is_no_failed_sync(made: Rig, place: str) -> None:
    """Wherever memory ends, between the answer and its record, nothing is written and it is tried again."""

    class Exhausted(Ledger):
        async def load(self, claim: Claim) -> StoredState:
            if place == "load":
                raise MemoryError
            return await super().load(claim)

        async def keep(self, record: StepRecord) -> None:
            raise MemoryError

    before, well = await made.standing(), made.cycle.ledger
    made.cycle.ledger = Exhausted(made.database, made.codec)
    made.simulator.do("remove_routing", numbers=2)
    (done,) = await made.run()
    assert done.lost
    assert (await made.standing()).streak == before.streak
    assert not made.log.of("sync.failed")
    made.cycle.ledger = well
    (done,) = await made.run(20)
    assert not done.lost


async def exposition(made: Rig) -> list[str]:
    """Return the lines of the metrics."""
    _, pieces = await made.metrics.render(accept="text/plain")
    return b"".join(pieces).decode().splitlines()


@every_lack
async def test_discovery_that_lacks_resources_keeps_the_list(made: Rig, lack: Exception) -> None:
    """It is no failed discovery, and it asks again soon."""
    account = {"name": "account-1", "api_key": "rg_live_account_1", "discover": True}
    await made.configure("hook", accounts=[account])
    await made.discovery.ask_due()
    assert (await made.discovery.ask_due()) == DISCOVERY_INTERVAL
    before = await made.discoveries()
    state = made.active.state
    watched = set(state.watchlist.connections)
    await made.clock.advance(DISCOVERY_INTERVAL.total_seconds())
    state.watchlist = replace(state.watchlist, client=client(failing(lack)))
    await made.discovery.ask_due()
    assert (await made.discovery.ask_due()).total_seconds() <= 15
    assert await made.discoveries() == before
    assert set(state.watchlist.connections) == watched
    assert not made.log.of("discovery.failed")


RECEIVERS: dict[str, Callable[[httpx.AsyncClient, FakeClock], Any]] = {
    "webhook": lambda http, clock: WebhookReceiver(
        "hook",
        Secret("http://x"),
        secrets=(),
        headers={},
        http=http,
        redactor=Redactor(),
        timeout_s=10,
        clock=clock,
    ),
    "pagerduty": lambda http, clock: PagerDutyReceiver(
        "hook",
        routing_key=Secret("k"),
        url=Address("http://x"),
        http=http,
        redactor=Redactor(),
        timeout_s=10,
        clock=clock,
    ),
    "slack": lambda http, clock: SlackReceiver(
        "hook", url=Secret("http://x"), http=http, redactor=Redactor(), timeout_s=10, clock=clock
    ),
}


@every_lack
@pytest.mark.parametrize("kind", RECEIVERS)
async def test_delivery_that_lacks_resources_is_not_the_receivers_fault(
    tmp_path: Path, kind: str, lack: Exception
) -> None:
    """No attempt, no failure of the receiver; the same message goes out once there are resources."""
    clock, log = FakeClock(), FakeLog()
    counted: list[int] = []
    accepted: list[httpx.Request] = []

    def accept(request: httpx.Request) -> httpx.Response:
        accepted.append(request)
        return httpx.Response(200)

    receiver = RECEIVERS[kind](lacking(lack), clock)
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        async with database.write() as tx:
            await know_receivers(tx, ["hook"], START)
            await add_deliveries(tx, BODY, [("hook", BODY.change)], START)
        drain = Drain(
            outbox=StoredOutbox(database, clock),
            receivers=[receiver],
            clock=clock,
            rng=random.Random(0),
            metrics=Uncounted(),
            log=log.logger,
            shortage=Shortage(clock=clock, log=log.logger, count=lambda: counted.append(1)),
        )
        (delivery,) = (await StoredOutbox(database, clock).lease_due("hook", limit=1, lease_s=30)).deliveries
        result = await drain._courier.bring(receiver, delivery)
        await StoredOutbox(database, clock).settle([result])
        async with database.read() as tx:
            (row,) = await tx.execute(select(deliveries))
            (stored,) = await receiver_rows(tx)
        assert (row.status, row.attempts, row.first_failed_at, row.lease_until) == ("pending", 0, None, None)
        assert (row.due_at - clock.now()).total_seconds() == POSTPONED_S
        assert (stored.troubled_since, stored.refused_in_row, stored.error) == (None, 0, None)
        assert (len(counted), log.events) == (1, ["resources.exhausted"])
        await clock.advance(POSTPONED_S)
        well = RECEIVERS[kind](httpx.AsyncClient(transport=httpx.MockTransport(accept)), clock)
        (again,) = (await StoredOutbox(database, clock).lease_due("hook", limit=1, lease_s=30)).deliveries
        assert again == delivery
        await drain._courier.bring(well, again)
        assert len(accepted) == 1


class Uncounted:
    """Metrics that must not be asked to count."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Only what was delivered counts."""
        assert outcome == "delivered", (receiver, outcome)

    def store_error(self) -> None:
        """Nothing is wrong with the store."""
        raise AssertionError


@every_lack
async def test_heartbeat_that_lacks_resources_is_not_its_watchdogs_fault(
    tmp_path: Path, lack: Exception
) -> None:
    """It is told as such to whoever runs it, and logs nothing of its own."""
    log = FakeLog()
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        clock = FakeClock()
        beating = heart(database, lacking(lack), clock, log)
        with pytest.raises(OutOfResources):
            await beating.beat(Secret("https://watch.example/x"))
    assert not log.lines


def heart(database: Database, http: httpx.AsyncClient, clock: FakeClock, log: FakeLog) -> Heartbeat:
    """Return a heartbeat of a monitor that is well."""

    class Well:
        alive = True

        def stuck_for_s(self) -> None:
            return None

    return Heartbeat(
        http=lambda: http,
        redactor=Redactor(),
        database=database,
        syncs=Well(),
        deliveries=Well(),
        store=health_on(log, clock),
        clock=clock,
        uptime=Uptime(clock),
        log=log.logger,
    )


async def test_real_request_without_descriptors_lacks_resources() -> None:
    """By name and by address, the HTTP client and the resolver say many things, and all mean the same."""
    for host in ("127.0.0.1", "localhost", "no-such-host.invalid"):
        http = Network().client(max_connections=1)
        receiver = WebhookReceiver(
            "hook",
            Secret(f"http://{host}:9/"),
            secrets=(),
            headers={},
            http=http,
            redactor=Redactor(),
            timeout_s=10,
            clock=FakeClock(),
        )
        with no_descriptors(), pytest.raises(OutOfResources, match="out of file descriptors"):
            await receiver.send(delivery_of())
        await http.aclose()


async def test_store_without_descriptors_names_them(tmp_path: Path) -> None:
    """SQLite would say that it is unable to open the file."""
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        with no_descriptors(), pytest.raises(StartError, match="out of file descriptors"):
            await database.migrate()
        await database.migrate()
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        with no_descriptors(), pytest.raises(StoreUnavailable, match="out of file descriptors"):
            async with database.write():
                raise AssertionError
        async with database.write():
            pass


def test_secret_file_without_descriptors_is_kept(tmp_path: Path) -> None:
    """A file that cannot be read just now is not missing; it is read as soon as it can be."""
    file = tmp_path / "key"
    file.write_text("one")
    secret = Secret(file=file)
    file.write_text("another")
    with no_descriptors():
        assert secret.refresh() is False
        assert secret.reveal() == "one"
    assert secret.refresh() is True
    assert secret.reveal() == "another"


async def test_readiness_names_the_lack() -> None:
    """Whoever asks is told what to give the monitor more of."""
    shortage = no_shortage()
    schedule: Any = Ticking()
    readiness = Readiness(schedule, shortage, health_on(FakeLog()), FakeClock())
    readiness.started.set()
    assert readiness.not_ready() is None
    shortage.met(OutOfResources(LACKS["EMFILE"][1]), "sync")
    assert readiness.not_ready() == "out of file descriptors"


class Ticking:
    """A schedule that runs."""

    has_ticked = True

    def stuck_for_s(self) -> None:
        """Say that all is well."""
        return
