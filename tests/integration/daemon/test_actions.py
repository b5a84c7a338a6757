"""What people may ask of the running daemon, against a real store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, select, text

from monitor.daemon.actions import DaemonLifecycle
from monitor.drift.alert import Acknowledgement, Notice, encode_body
from monitor.drift.rules import Rules
from monitor.drift.silences import NewSilence
from monitor.errors import ConfigError, Refused, StoreUnavailable, UnknownName
from monitor.notify.test_alert import ReceiverTest
from monitor.store.actions import COMMAND, Action, ActionRecord, Actor, add_action
from monitor.store.codec import Codec
from monitor.store.connections import Watch, begin_watching
from monitor.store.database import Database
from monitor.store.queries import action_rows
from monitor.store.receivers import know_receivers
from monitor.store.tables import acceptances, alerts, deliveries, silences, snapshots
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.log import FakeLog
from tests.unit.drift.build import EVERY_KIND, fleet, key
from tests.unit.drift.build import Watch as Watching

OPS = Actor(user="ops", address="192.0.2.7")


class Daemon:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.started = asyncio.Event()
        self.log = FakeLog()

    async def sync_now(self, identity: str) -> bool:
        """Begin a sync."""
        self.told.append(f"sync {identity}")
        return True

    def look_now(self) -> None:
        """Look."""
        self.told.append("look")

    def wake(self) -> None:
        """Wake the drain and the posters."""
        self.told.append("wake")

    async def test(self, receiver: str) -> ReceiverTest:
        """Test a receiver."""
        if receiver != "hook":
            raise UnknownName("no receiver is called so")
        self.told.append(f"test {receiver}")
        return ReceiverTest(receiver=receiver, delivered=True, answers=("200 OK", "200 OK"), error=None)

    async def reload(self) -> None:
        """Reload."""
        self.told.append("reload")

    def store_failed(self, error: Exception, doing: str) -> None:
        """Note what the store did not take."""
        self.told.append(f"{doing} failed")


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
        reload_config=daemon.reload,
        started=daemon.started,
        syncs=daemon,
        is_watched=watched,
        wake_receivers=daemon.wake,
        test_receiver=daemon.test,
        database=database,
        codec=Codec(),
        store_failed=daemon.store_failed,
        clock=FakeClock(),
        log=daemon.log.logger,
    )


async def accepted(database: Database) -> list[str | None]:
    """Return the keys that the daemon will find accepted."""
    async with database.read() as tx:
        return [row.key for row in await tx.execute(select(acceptances).order_by(acceptances.c.id))]


async def test_sync_is_asked_for_by_name(lifecycle: DaemonLifecycle, daemon: Daemon) -> None:
    """A name becomes the identity that the schedule knows."""
    assert await lifecycle.sync_now("acme", OPS) is True
    assert daemon.told == ["sync id-acme"]


@pytest.mark.parametrize("name", ["nobody", "else", "id-acme"])
async def test_connection_that_is_not_watched_here_is_unknown(
    lifecycle: DaemonLifecycle, daemon: Daemon, name: str
) -> None:
    """Nothing is begun for a name that this process does not watch."""
    with pytest.raises(UnknownName):
        await lifecycle.sync_now(name, OPS)
    with pytest.raises(UnknownName):
        await lifecycle.accept(name, None, OPS)
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
    assert await lifecycle.accept("acme", numbers, OPS) == count
    assert sorted(map(str, await accepted(database))) == sorted(map(str, keys))
    assert daemon.told == (["look"] if count else [])


async def test_number_that_was_not_removed_cannot_be_accepted(
    lifecycle: DaemonLifecycle, database: Database
) -> None:
    """Then none of the others is, either; the error names no number."""
    with pytest.raises(UnknownName) as caught:
        await lifecycle.accept("acme", [key(9), key(1)], OPS)
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
        await lifecycle.dismiss("d2", OPS)
    await lifecycle.retry("d1", OPS)
    assert daemon.told == ["wake"]
    with pytest.raises(Refused, match="it is pending, not dead"):
        await lifecycle.dismiss("d1", OPS)
    with pytest.raises(Refused, match="it is delivered, not dead"):
        await lifecycle.retry("d2", OPS)
    with pytest.raises(Refused, match="no delivery has this id"):
        await lifecycle.retry("d3", OPS)
    assert daemon.told == ["wake"]


async def dead(database: Database, *ids: str) -> None:
    """Let deliveries be dead."""
    async with database.write() as tx:
        for name in ids:
            values = {"id": name, "receiver": "hook", "alert_id": name, "change": Notice.OPENED, "version": 1}
            more = {"body": encode_body(BODY), "status": "dead", "created_at": START, "due_at": START}
            await tx.execute(insert(deliveries).values(**values, **more))


async def fire(database: Database, *ids: str, status: str = "firing") -> None:
    """Let alerts fire, and receivers be configured."""
    async with database.write() as tx:
        await know_receivers(tx, ["hook"], START)
        for name in ids:
            values = {"id": name, "scope": "id-acme", "kind": "drift", "status": status, "version": 1}
            body = encode_body(msgspec.structs.replace(BODY, alert_id=name))
            more = {"severity": "critical", "started_at": START, "updated_at": START, "body": body}
            await tx.execute(insert(alerts).values(**values, **more))


async def test_alert_is_taken_on_for_the_user(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database
) -> None:
    """By name, once: a second user hears whose it is, which is no action; receivers are looked at at once."""
    await fire(database, "a1")
    first = await lifecycle.acknowledge("a1", "on it", OPS)
    assert first.acknowledged == Acknowledgement(by="ops", at=first.acknowledged.at, note="on it")
    again = await lifecycle.acknowledge("a", None, Actor(user="ben", address="192.0.2.8"))
    assert (again.already, again.acknowledged) == (True, first.acknowledged)
    assert daemon.told == ["wake"]
    assert [user for _, user, *_ in await records(database)] == ["ops"]
    assert len(daemon.log.lines) == 1


async def records(database: Database) -> list[tuple[str, str | None, str, str]]:
    """Return what is recorded, as action, user, address and target, oldest first."""
    async with database.read() as tx:
        rows = (await action_rows(tx)).rows
    return [(row.action, row.user, row.address, row.target) for row in reversed(rows)]


WEEKEND = NewSilence(state="NO_BOT", for_="2d", reason="known")


async def silent(database: Database, silence_id: str) -> None:
    """Let a silence be active."""
    async with database.write() as tx:
        values = {"id": silence_id, "state": "NO_BOT", "reason": "known", "until_ready": False}
        await tx.execute(
            insert(silences).values(**values, created_at=START, until=START + timedelta(hours=1))
        )


DONE: dict[Action, tuple[Callable[[DaemonLifecycle], Awaitable[object]], str]] = {
    Action.RELOAD: (lambda lifecycle: lifecycle.reload(OPS), "config"),
    Action.SYNC: (lambda lifecycle: lifecycle.sync_now("acme", OPS), "acme"),
    Action.ACCEPT: (lambda lifecycle: lifecycle.accept("acme", None, OPS), "acme"),
    Action.ACKNOWLEDGE: (lambda lifecycle: lifecycle.acknowledge("a1", "on it", OPS), "a1"),
    Action.RETRY_NOW: (lambda lifecycle: lifecycle.retry_now("hook", OPS), "hook"),
    Action.TEST: (lambda lifecycle: lifecycle.test_alert("hook", OPS), "hook"),
    Action.RETRY: (lambda lifecycle: lifecycle.retry("d1", OPS), "d1"),
    Action.DISMISS: (lambda lifecycle: lifecycle.dismiss("d1", OPS), "d1"),
    Action.SILENCE: (
        lambda lifecycle: lifecycle.add_silence(WEEKEND, OPS),
        "silence 2655a6a9e6 (state NO_BOT)",
    ),
    Action.END_SILENCE: (lambda lifecycle: lifecycle.end_silence("s1", OPS), "silence s1 (state NO_BOT)"),
}


@pytest.mark.parametrize("action", Action)
async def test_every_action_is_recorded_and_logged(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database, action: Action
) -> None:
    """Who, from where, what and on what: once in the store, and in one line of the log with these fields."""
    await dead(database, "d1")
    await silent(database, "s1")
    await fire(database, "a1")
    act, target = DONE[action]
    await act(lifecycle)
    assert await records(database) == [(action, "ops", "192.0.2.7", target)]
    fields = {"action": action, "user": "ops", "address": "192.0.2.7", "target": target}
    assert daemon.log.lines == [{"event": "action.performed", "log_level": "info", **fields}]
    await lifecycle.log_commands()
    assert [line["event"] for line in daemon.log.lines].count("action.performed") == 1


async def test_accepted_numbers_are_named_in_the_record(
    lifecycle: DaemonLifecycle, database: Database
) -> None:
    """Which ones, unless all were."""
    await lifecycle.accept("acme", [key(10), key(9)], OPS)
    assert [target for *_, target in await records(database)] == [f"acme: +{key(9)}, +{key(10)}"]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda lifecycle: lifecycle.sync_now("nobody", OPS), id="sync"),
        pytest.param(lambda lifecycle: lifecycle.accept("acme", [key(1)], OPS), id="accept"),
        pytest.param(lambda lifecycle: lifecycle.retry("d1", OPS), id="retry"),
        pytest.param(lambda lifecycle: lifecycle.dismiss("d1", OPS), id="dismiss"),
        pytest.param(
            lambda lifecycle: lifecycle.add_silence(NewSilence(alert="a1", for_="1h", reason="x"), OPS),
            id="silence",
        ),
        pytest.param(lambda lifecycle: lifecycle.end_silence("s1", OPS), id="end_silence"),
        pytest.param(lambda lifecycle: lifecycle.acknowledge("a1", None, OPS), id="acknowledge"),
        pytest.param(lambda lifecycle: lifecycle.retry_now("hok", OPS), id="retry-now"),
        pytest.param(lambda lifecycle: lifecycle.test_alert("hok", OPS), id="test"),
    ],
)
async def test_what_is_refused_is_not_recorded(
    lifecycle: DaemonLifecycle,
    daemon: Daemon,
    database: Database,
    act: Callable[[DaemonLifecycle], Awaitable[object]],
) -> None:
    """The record says what was done, not what was tried."""
    with pytest.raises((UnknownName, Refused)):
        await act(lifecycle)
    assert (await records(database), daemon.log.lines) == ([], [])


async def test_rejected_reload_is_not_recorded(lifecycle: DaemonLifecycle, database: Database) -> None:
    """`config.rejected` is said of it."""

    async def reject() -> None:
        raise ConfigError(["web.lissen: no such key"])

    lifecycle.reload_config = reject
    with pytest.raises(ConfigError):
        await lifecycle.reload(OPS)
    assert await records(database) == []


async def test_signal_is_recorded_once_the_daemon_has_started(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database
) -> None:
    """No one has to say who sends a signal; it waits for the start."""
    reload = asyncio.create_task(lifecycle.reload_when_started())
    daemon.started.set()
    await reload
    assert await records(database) == [("reload", None, "signal", "config")]


async def test_reload_is_done_although_the_store_takes_no_record(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database
) -> None:
    """The log has it all the same, and says why the history lacks it."""
    async with database.write() as tx:
        await tx.execute(text("DROP TABLE actions"))
    await lifecycle.reload(OPS)
    assert daemon.told == ["reload", "recording an action failed"]
    assert daemon.log.events == ["action.performed"]


async def test_acceptance_is_not_done_without_its_record(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database
) -> None:
    """What the store does itself, it does with its record or not at all."""
    async with database.write() as tx:
        await tx.execute(text("DROP TABLE actions"))
    with pytest.raises(StoreUnavailable):
        await lifecycle.accept("acme", None, OPS)
    assert (await accepted(database), daemon.told, daemon.log.events) == ([], [], [])


async def test_actions_of_commands_are_logged_once(
    lifecycle: DaemonLifecycle, daemon: Daemon, database: Database
) -> None:
    """A command has no log of its own; one daemon logs what it did, in order."""
    async with database.write() as tx:
        for target in ("d1", "d2"):
            did = ActionRecord(action=Action.RETRY, user="root", address=COMMAND, target=target)
            await add_action(tx, did, START, logged=False)
    await lifecycle.log_commands()
    await lifecycle.log_commands()
    assert [(line["target"], line["address"]) for line in daemon.log.of("action.performed")] == [
        ("d1", "command"),
        ("d2", "command"),
    ]


async def test_dead_delivery_is_dismissed(lifecycle: DaemonLifecycle, database: Database) -> None:
    """It is closed, and cannot be sent again."""
    async with database.write() as tx:
        values = {"id": "d1", "receiver": "hook", "alert_id": "a1", "change": Notice.OPENED, "version": 1}
        more = {"body": encode_body(BODY), "status": "dead", "created_at": START, "due_at": START}
        await tx.execute(insert(deliveries).values(**values, **more))
    await lifecycle.dismiss("d1", OPS)
    with pytest.raises(Refused, match="it is closed, not dead"):
        await lifecycle.retry("d1", OPS)


async def test_reload_is_handed_on(lifecycle: DaemonLifecycle, daemon: Daemon) -> None:
    """It is the daemon's own."""
    await lifecycle.reload(OPS)
    assert daemon.told == ["reload"]
