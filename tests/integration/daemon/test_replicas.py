"""Several daemons on one PostgreSQL: what they share is decided once, whoever decides it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import Table, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import __version__
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.daemon.app import Daemon
from monitor.daemon.build import Parts, build
from monitor.daemon.presence import INTERVAL
from monitor.drift.silences import NewSilence
from monitor.errors import InDoubt, StoreUnavailable
from monitor.simulator import Simulator, World, build_world
from monitor.store.actions import COMMAND, Actor
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.migrations import REVISIONS
from monitor.store.silencing import set_silence, stop_silence
from monitor.store.tables import alerts, connections, deliveries, discoveries, fleet, receivers, replicas
from monitor.store.trouble import Trouble
from monitor.web.server import bind
from tests.fakes.log import FakeLog
from tests.fakes.stored import recorded_everywhere
from tests.servers.postgres import PostgresServer
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink
from tests.servers.wire import Wire

_ENROLS = str(select(connections.c.identity, connections.c.name, connections.c.account))
"""What is asked once whenever a config is taken into the store."""


class ShiftedClock(SystemClock):
    """A machine whose clock is wrong."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead = timedelta(seconds=ahead_s)

    def now(self) -> datetime:
        """Return the wrong time."""
        return super().now() + self._ahead


class ShiftedScheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler has no types
    """A scheduler on a machine whose clock is wrong; it really runs by the right one."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__(timezone=UTC)
        self._ahead = timedelta(seconds=ahead_s)

    def add_job(self, *arguments: Any, **values: Any) -> Any:
        """Take a wrong time."""
        return super().add_job(*arguments, **self._right(values))

    def modify_job(self, job_id: str, jobstore: str | None = None, **values: Any) -> Any:
        """Take a wrong time."""
        return super().modify_job(job_id, jobstore, **self._right(values))

    def get_job(self, job_id: str, jobstore: str | None = None) -> Any:
        """Show a wrong time."""
        return SimpleNamespace(next_run_time=super().get_job(job_id, jobstore).next_run_time + self._ahead)

    def _right(self, values: dict[str, Any]) -> dict[str, Any]:
        wrong = {name: at for name, at in values.items() if isinstance(at, datetime)}
        return values | {name: at - self._ahead for name, at in wrong.items()}


class Deaf(Database):
    """A database that commits, but whose answer to that may be lost."""

    hears = True

    @asynccontextmanager
    async def write(self, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        """Lose the answer."""
        async with super().write(autocommit=autocommit) as tx:
            yield tx
        if not self.hears:
            raise InDoubt("the connection broke", Trouble.UNREACHABLE)


class Member:
    """One replica, in this process."""

    def __init__(self, parts: Parts, log: FakeLog) -> None:
        self.parts, self.log = parts, log

    async def metric(self, name: str) -> list[float]:
        """Return the values of a metric's series."""
        _, pieces = await self.parts.metrics.render(accept="")
        lines = b"".join(pieces).decode().splitlines()
        return [float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line)]

    async def die(self) -> None:
        """Do nothing any more, and tell no one."""
        parts = self.parts
        parts.scheduler.pause()
        await parts.tasks.close()
        for _, task in parts.schedule._running.values():
            task.cancel()
        await parts.database.close()


class Group:
    """Replicas of one database that watch one world."""

    def __init__(self, url: str, simulator: Simulator, api: str, stack: AsyncExitStack) -> None:
        self.url, self.simulator, self._api, self._stack = url, simulator, api, stack
        self.database = Database(url)

    def config(self, **sections: Any) -> Config:
        """Return a config that is quick."""
        account = self.simulator.world.accounts[0]
        named = [{"name": each.name, "id": each.id} for each in account.connections]
        values: dict[str, Any] = {
            "api": {"base_url": self._api, "timeout": "5s"},
            "schedule": {"interval": "1s", "recheck_interval": "200ms"},
            "drift": {"keep_firing_for": "0s", "stale_after": "3s"},
            "guard": {"ratio": 1.0},
            "store": {"url": self.url},
            "web": {"listen": "127.0.0.1:0"},
            "accounts": [
                {
                    "name": account.name,
                    "api_key": account.key,
                    "requests_per_minute": 6000,
                    "connections": named,
                }
            ],
        }
        return Config.model_validate(values | sections)

    async def join(
        self, config: Config | None = None, *, ahead_s: float = 0.0, database: Database | None = None
    ) -> Member:
        """Start one more."""
        log = FakeLog()
        sock = self._stack.enter_context(bind("127.0.0.1", 0))
        parts = build(
            config or self.config(),
            sock=sock,
            log=log.logger,
            clock=ShiftedClock(ahead_s),
            scheduler=ShiftedScheduler(ahead_s),
            database=database,
        )
        await self._stack.enter_async_context(Daemon(parts).running())
        return Member(parts, log)

    async def leave(self) -> None:
        """Stop all of them."""
        await self._stack.aclose()

    async def rows(self, table: Table, **values: Any) -> list[Any]:
        """Return the rows with these values."""
        async with self.database.read() as tx:
            found = await tx.execute(select(table).filter_by(**values))
            return list(found)

    async def synced(self, *, within_s: float = 120) -> None:
        """Wait until every connection was synced once more."""
        async with self.database.read() as tx:
            now = (await tx.execute(select(func.clock_timestamp()))).scalar_one()

        async def done() -> bool:
            rows = await self.rows(connections)
            return bool(rows) and all(row.synced_at is not None and row.synced_at > now for row in rows)

        await wait_until(done, what="a sync of each connection", timeout_s=within_s)

    async def upgraded(self, to: str = "9999", oldest: str | None = None) -> None:
        """Let the schema be that of another version, and of which versions it can still be used."""
        async with self.database.write() as tx:
            await tx.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": to})
            await tx.execute(update(fleet).values(oldest=oldest))

    async def firing(self, kind: str) -> list[Any]:
        """Return the firing alerts of a kind."""
        return await self.rows(alerts, kind=kind, status="firing")


@asynccontextmanager
async def group_of(url: str, world: World) -> AsyncIterator[Group]:
    """Give replicas on a database, none of which runs yet."""
    simulator = Simulator(world)
    async with AsyncExitStack() as outer, AsyncExitStack() as stack:
        api = await outer.enter_async_context(simulator.serve(port=0))
        made = Group(url, simulator, api, stack)
        outer.push_async_callback(made.database.close)
        yield made
        await made.leave()


@pytest.fixture
async def group(postgres: str) -> AsyncIterator[Group]:
    """Return replicas that watch two connections of one account."""
    async with group_of(postgres, build_world(accounts=1, connections=2, numbers=5)) as made:
        yield made


async def test_replicas_may_start_together_on_an_empty_database(group: Group) -> None:
    """All of them are ready, and each connection is there once."""
    members = await asyncio.gather(*(group.join() for _ in range(3)))
    await group.synced()
    assert len(await group.rows(replicas)) == len(members)
    assert len(await group.rows(connections)) == 2
    assert [member.log.of("internal.error") + member.log.of("store.failed") for member in members] == [[]] * 3
    await group.leave()
    assert await group.rows(replicas) == []


async def test_config_is_taken_into_the_store_once(group: Group) -> None:
    """At a start, at a reload and when another replica has changed something; not again when each reports."""
    with recorded_everywhere() as statements:
        member = await group.join()
        await group.join()
        await member.parts.active.install(group.config(instance="other"))
        await wait_until(lambda: statements.count(_ENROLS) == 4, what="two starts, a reload, its follower")
        await member.parts.clock.sleep(1.2 * INTERVAL.total_seconds())
        assert statements.count(_ENROLS) == 4


async def test_every_replica_says_which_live_since_when_and_with_what(group: Group) -> None:
    """In the API, on the page and in the metrics; one that has left is there no longer."""
    before = datetime.now(UTC)
    first, second = await group.join(), await group.join(group.config(instance="other"))
    ids = [each.parts.active.replica_id for each in (first, second)]
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:

        async def seen() -> bool:
            shown = [await member.metric("voicelink_monitor_replicas") for member in (first, second)]
            return shown == [[2], [2]]

        await wait_until(seen, what="both in both")
        for member in (first, second):
            address = member.parts.web.address
            live = (await client.get(f"{address}api/v1/status")).json()["replicas"]
            assert [(each["id"], each["this"]) for each in live] == [
                (each, each == member.parts.active.replica_id) for each in ids
            ]
            assert [each["config"] for each in live] == [
                each.parts.active.state.replica.digest for each in (first, second)
            ]
            assert {each["version"] for each in live} == {__version__}
            started = [datetime.fromisoformat(each["started_at"]).timestamp() for each in live]
            assert started == pytest.approx([before.timestamp()] * 2, abs=30)
            page = (await client.get(address)).text
            for each in live:
                assert each["id"] in page
                assert each["config"][:8] in page
            since = await member.metric("voicelink_monitor_replica_start_timestamp_seconds")
            assert sorted(since) == pytest.approx(started, abs=0.01)


@pytest.mark.parametrize("ahead_s", [300.0, -300.0])
async def test_replica_with_a_wrong_clock_leaves_nothing_that_waits(group: Group, ahead_s: float) -> None:
    """It syncs at the interval as any other, and the next goes on where it ended."""
    wrong = await group.join(ahead_s=ahead_s)
    for _ in range(2):
        await group.synced()
    [offset] = await wrong.metric("voicelink_monitor_clock_offset_seconds")
    assert offset == pytest.approx(ahead_s, abs=5)
    await wrong.die()
    await group.join()
    await group.synced()


async def test_replica_goes_on_with_a_newer_schema_that_allows_it(group: Group) -> None:
    """The migration says that its version can: a rolling update stops no one."""
    member = await group.join()
    await group.upgraded(oldest=REVISIONS[-1])
    await member.parts.clock.sleep(1.2 * INTERVAL.total_seconds())
    await group.synced()
    assert member.parts.readiness.not_ready() is None


async def test_replica_rests_while_only_a_newer_version_can_use_the_schema(
    group: Group, webhook_sink: WebhookSink
) -> None:
    """It syncs, delivers and posts nothing and says why; once a backup is back, it goes on by itself."""
    accepts = False
    webhook_sink.script(lambda request: 200 if accepts or request.path.startswith("/am") else 503)
    alertmanager = {"type": "alertmanager", "urls": [f"{webhook_sink.url}/am"], "resend_interval": "1s"}
    hook = {"type": "webhook", "url": f"{webhook_sink.url}/hook"}
    member = await group.join(
        group.config(receivers=[{"name": "am", **alertmanager}, {"name": "hook", **hook}])
    )
    group.simulator.do("remove_routing", numbers=2, connection="conn-0002")

    def came(path: str) -> bool:
        return any(each.path.startswith(path) and each.body != b"[]" for each in webhook_sink.requests)

    await wait_until(lambda: came("/am") and came("/hook"), what="the alert, everywhere")
    await group.upgraded()
    await wait_until(
        lambda: Trouble.SUPERSEDED in (member.parts.readiness.not_ready() or ""), what="the reason"
    )
    accepts = True
    await member.parts.clock.sleep(1)  # what was under way
    before, came_before = await group.rows(connections), len(webhook_sink.requests)
    await member.parts.clock.sleep(1.2 * INTERVAL.total_seconds())
    assert await group.rows(connections) == before
    assert len(webhook_sink.requests) == came_before
    webhook_sink.requests.clear()
    await group.upgraded(to=REVISIONS[-1])
    await wait_until(lambda: came("/am") and came("/hook"), what="the alert, everywhere")
    await group.synced()
    await wait_until(lambda: member.parts.readiness.not_ready() is None, what="the end")
    assert member.log.of("internal.error") == []


async def test_replica_whose_database_hangs_says_so_and_goes_on(
    group: Group, postgres_server: PostgresServer
) -> None:
    """Nobody refuses anything: it is not ready, shows no old gauges, counts and logs it, and recovers."""
    async with Wire(postgres_server.port) as wire:
        url = group.url.replace(f":{postgres_server.port}/", f":{wire.port}/")
        member = await group.join(group.config(store={"url": f"{url}?statement_timeout=3&connect_timeout=1"}))
        readiness, clock = member.parts.readiness, member.parts.clock
        readiness.away_after_s, readiness.lost_after_s = 2.0, 4.0
        await group.synced()
        [counted] = await member.metric("voicelink_monitor_store_errors_total")
        assert len(await member.metric("voicelink_up")) == 2
        wire.flows.clear()
        since_s = clock.monotonic()

        async def hidden() -> bool:
            return not await member.metric("voicelink_up")

        await wait_until(lambda: Trouble.UNREACHABLE in (readiness.not_ready() or ""), what="the reason")
        not_ready_s = clock.monotonic() - since_s
        assert member.log.of("store.failed") == []  # no statement has been given up so far
        await wait_until(hidden, what="no more gauges")
        hidden_s = clock.monotonic() - since_s
        await wait_until(lambda: member.log.of("store.failed"), what="the failure")
        assert await member.metric("voicelink_monitor_store_errors_total") > [counted]
        wire.flows.set()
        await wait_until(lambda: readiness.not_ready() is None, what="the end")
        await group.synced()
        assert len(await member.metric("voicelink_up")) == 2
    assert not_ready_s < 5
    assert hidden_s < 8


async def test_what_was_leased_without_an_answer_does_not_wait(
    group: Group, webhook_sink: WebhookSink
) -> None:
    """A database that stops at a commit leaves leases that no one knows of: they end once it is back."""
    database = Deaf(group.url)
    hook = {"name": "hook", "type": "webhook", "url": webhook_sink.url, "timeout": "60s"}
    account = group.simulator.world.accounts[0]
    accounts = [{"name": account.name, "api_key": account.key, "discover": True, "requests_per_minute": 6000}]
    await group.join(group.config(receivers=[hook], accounts=accounts), database=database)
    await group.synced()
    webhook_sink.script(lambda _: 503)  # it is tried again and again
    group.simulator.do("remove_routing", numbers=2, connection="conn-0002")

    async def refused() -> bool:
        return any(row.first_failed_at for row in await group.rows(deliveries, receiver="hook"))

    # Whoever cannot settle what ended takes nothing more.
    await wait_until(refused, what="a try that is written down")
    database.hears = False
    async with group.database.write() as tx:
        await tx.execute(update(discoveries).values(due_at=func.now()))

    leased_once = set[str]()

    async def leased() -> bool:
        for table in (connections, deliveries, discoveries):
            if any(row.lease_until is not None for row in await group.rows(table)):
                leased_once.add(table.name)
        return len(leased_once) == 3

    await wait_until(leased, what="leases that no one knows of")
    database.hears = True
    webhook_sink.script(())
    await group.synced(within_s=45)

    async def delivered() -> bool:
        return {row.status for row in await group.rows(deliveries, receiver="hook")} == {"delivered"}

    await wait_until(delivered, what="the message", timeout_s=45)

    async def asked() -> bool:
        [row] = await group.rows(discoveries)
        return row.lease_until is None and row.due_at > row.listed_at + timedelta(minutes=1)

    await wait_until(asked, what="the list of connections", timeout_s=45)


async def test_config_that_was_rejected_though_the_store_has_it_is_taken_back(group: Group) -> None:
    """A database that stops at the commit of a reload: alerts go on to the receivers of the active config."""
    database = Deaf(group.url)
    hooks = [[{"name": name, "type": "webhook", "url": "http://nowhere"}] for name in ("old", "new")]
    member = await group.join(group.config(receivers=hooks[0]), database=database)

    async def told() -> set[str]:
        return {row.name for row in await group.rows(receivers)}

    database.hears = False
    with pytest.raises(StoreUnavailable):
        await member.parts.active.install(group.config(receivers=hooks[1]))
    assert await told() == {"log", "new"}
    database.hears = True

    async def taken_back() -> bool:
        return await told() == {"log", "old"}

    await wait_until(taken_back, what="the receivers of the active config")


async def test_staleness_goes_on_while_a_replica_starts(group: Group) -> None:
    """One more replica is no reason to wait anew: the others have been watching."""
    first = await group.join()
    await group.synced()
    group.simulator.do("rate_limit", limit=1)

    async def stale() -> bool:
        return bool(await group.firing("sync_stale"))

    await wait_until(stale, what="the alert")
    [before] = await group.firing("sync_stale")
    second = await group.join()
    async with asyncio.timeout(30):
        while second.parts.active.state.troubled != first.parts.active.state.troubled:
            await second.parts.clock.sleep(0.1)
        await second.parts.clock.sleep(4)
    [after] = await group.firing("sync_stale")
    assert (after.id, after.version) == (before.id, before.version)


async def test_discovered_connections_are_watched_by_whoever_is_there(postgres: str) -> None:
    """Found by one replica, they are synced by the others when it is gone, and none counts as unlisted."""
    async with group_of(postgres, build_world(accounts=1, connections=2, numbers=5)) as group:
        account = group.simulator.world.accounts[0]
        config = group.config(
            accounts=[
                {
                    "name": account.name,
                    "api_key": account.key,
                    "requests_per_minute": 6000,
                    "discover": True,
                }
            ]
        )
        finder = await group.join(config)
        await group.synced()
        other = await group.join(config)
        assert set(other.parts.active.state.watchlist.connections) == set(
            finder.parts.active.state.watchlist.connections
        )
        await finder.die()
        await group.synced()
        assert await group.firing("connection_rejected") == []


async def test_what_only_one_of_two_configs_has_stays_as_it_is(
    group: Group, webhook_sink: WebhookSink
) -> None:
    """During a rolling update nothing ends or is closed; once nobody wants it any more, it ends."""
    url = webhook_sink.url
    await webhook_sink.close()  # its messages wait
    old = await group.join(group.config(receivers=[{"name": "hook", "type": "webhook", "url": url}]))
    group.simulator.do("remove_routing", numbers=2, connection="conn-0002")

    async def alert() -> list[Any]:
        return await group.firing("drift")

    await wait_until(alert, what="the alert")
    account = group.simulator.world.accounts[0]
    fewer = {
        "name": account.name,
        "api_key": account.key,
        "requests_per_minute": 6000,
        "connections": [{"name": account.connections[0].name, "id": account.connections[0].id}],
    }
    async with AsyncExitStack() as stack:
        group_of_new = Group(group.url, group.simulator, str(group.config().api.base_url), stack)
        new = await group_of_new.join(group.config(accounts=[fewer]))
        await group.synced()
        await new.parts.clock.sleep(4)
        [drift] = await alert()
        told = await group.rows(deliveries, receiver="hook", alert_id=drift.id)
        assert [row.status for row in told] == ["pending"]
        await group.leave()  # the old one

        async def ended() -> bool:
            return [row.resolution for row in await group.rows(alerts, kind="drift")] == ["unconfigured"]

        await wait_until(ended, what="the end")
        assert {row.status for row in await group.rows(deliveries, receiver="hook")} == {"closed"}
        await group_of_new.database.close()
    assert old.log.of("internal.error") + new.log.of("internal.error") == []


async def test_rules_of_the_newest_config_alone_decide(group: Group) -> None:
    """Two configs with other rules page once: whoever has older ones leaves the connection alone."""
    group.simulator.do("remove_routing", numbers=2, connection="conn-0002")
    old = await group.join()
    await wait_until(lambda: group.firing("drift"), what="the alert")
    ignored = group.config(ignore=[{"connection": "conn-0002", "reason": "spare"}])
    new = await group.join(ignored)

    async def resolutions() -> list[str | None]:
        return [row.resolution for row in await group.rows(alerts, kind="drift")]

    async def ended() -> bool:
        return await resolutions() == ["ignored"]

    await wait_until(ended, what="the end")
    for _ in range(5):
        await group.synced()
        assert await resolutions() == ["ignored"]
    await new.die()

    async def opened_anew() -> bool:
        return sorted(await resolutions(), key=str) == [None, "ignored"]

    await wait_until(opened_anew, what="the alert of the rules that are left")
    assert old.log.of("internal.error") == []


def paced(group: Group, *rates: int) -> Config:
    """Return a config whose accounts have these budgets, which the interval exceeds."""
    accounts = [
        {
            "name": account.name,
            "api_key": account.key,
            "requests_per_minute": rate,
            "connections": [{"name": each.name, "id": each.id} for each in account.connections],
        }
        for account, rate in zip(group.simulator.world.accounts, rates, strict=True)
    ]
    return group.config(accounts=accounts)


async def test_replicas_share_the_budget_of_an_account(postgres: str) -> None:
    """Three of them ask no more often than one would, and no less."""
    async with group_of(postgres, build_world(accounts=1, connections=30, numbers=1)) as group:
        config = paced(group, 60)
        await asyncio.gather(*(group.join(config) for _ in range(3)))
        clock, before = SystemClock(), len(group.simulator.requests)
        await clock.sleep(10)
        asked = [seen.at for seen in group.simulator.requests]
    assert len(asked) - before >= 7
    # At 60 a minute no eight seconds have more than eight, and one at their edge.
    window = timedelta(seconds=8)
    assert max(sum(start <= at < start + window for at in asked) for start in asked) <= 9


async def test_refusal_of_one_replica_pauses_all(postgres: str) -> None:
    """After a 429 to one, none asks for that account; another account goes on."""
    async with group_of(postgres, build_world(accounts=2, connections=80, numbers=1)) as group:
        config = paced(group, 120, 120)
        members = await asyncio.gather(*(group.join(config) for _ in range(2)))
        first, second = (account.name for account in group.simulator.world.accounts)

        def seen(account: str) -> list[int]:
            return [each.status for each in group.simulator.requests if each.account == account]

        async def both_wait() -> bool:
            rows = await group.rows(connections, account=first)
            return len({row.holder for row in rows if row.lease_until is not None}) == 2

        await wait_until(both_wait, what="requests that wait in both")
        group.simulator.do("fault", status=429, account=first, requests=1)
        await wait_until(lambda: 429 in seen(first), what="the refusal")
        clock = SystemClock()
        await clock.sleep(1.5)
        asked, others = len(seen(first)), len(seen(second))
        await clock.sleep(5)
        assert len(seen(first)) == asked
        assert seen(first).count(429) == 1
        assert len(seen(second)) >= others + 7
        assert [member.log.of("internal.error") for member in members] == [[], []]


async def test_account_without_free_slots_starves_no_other(postgres: str) -> None:
    """Hundreds of its connections may wait: those of another account are synced as they are due."""
    async with group_of(postgres, build_world(accounts=2, connections=600, numbers=1)) as group:
        account = group.simulator.world.accounts[1]
        del account.connections[2:]
        config = paced(group, 1, 6000)
        await asyncio.gather(*(group.join(config) for _ in range(2)))
        before = len(group.simulator.requests)
        await SystemClock().sleep(5)
        asked = [seen.account for seen in group.simulator.requests[before:]]
        assert asked.count(account.name) >= 2 * 3
        assert asked.count(group.simulator.world.accounts[0].name) <= 2


async def test_gauges_of_all_replicas_follow_a_step_of_the_policy_alone(group: Group) -> None:
    """What ignore rules and silences do, which one sees without a sync, is in the metrics of each.

    A silence that a command sets and ends is logged by one of them.
    """

    def config(ignored_until: datetime) -> Config:
        return group.config(
            schedule={"interval": "1h", "recheck_interval": "1h"},
            drift={"confirm_syncs": 1, "keep_firing_for": "0s"},
            ignore=[{"connection": "conn-0002", "reason": "spare", "until": ignored_until}],
        )

    long = config(datetime.now(UTC) + timedelta(hours=1))
    group.simulator.do("remove_routing", numbers=2, connection="conn-0002")
    members = [await group.join(long) for _ in range(2)]
    for identity in members[0].parts.active.state.watchlist.connections:
        await members[0].parts.schedule.sync_now(identity)

    async def shown(value: float) -> bool:
        for member in members:
            _, pieces = await member.parts.metrics.render(accept="")
            lines = b"".join(pieces).decode().splitlines()
            ignored = [
                float(line.split()[1])
                for line in lines
                if line.startswith("voicelink_ignored_numbers{") and "conn-0002" in line
            ]
            if sum(ignored) != value:
                return False
        return True

    await wait_until(lambda: shown(2), what="what is ignored, everywhere")
    synced = {row.identity: row.synced_at for row in await group.rows(connections)}
    short = config(datetime.now(UTC) + timedelta(seconds=1))
    for member in members:
        await member.parts.active.install(short)
    await wait_until(lambda: shown(0), what="the end of it, everywhere")

    new = NewSilence(connection="conn-0002", for_="2h", reason="known")
    ops, now = Actor(user="ops", address=COMMAND), SystemClock().now
    set_ = await set_silence(group.database, Codec(), new, ops, now(), logged=False)
    await wait_until(lambda: shown(2), what="what is silenced, everywhere")
    await stop_silence(group.database, set_.silence.id, ops, now(), logged=False)
    await wait_until(lambda: shown(0), what="the end of the silence, everywhere")
    assert {row.identity: row.synced_at for row in await group.rows(connections)} == synced

    def logged() -> list[int]:
        lines = [line["event"] for member in members for line in member.log.lines]
        return [lines.count(event) for event in ("silence.started", "silence.ended", "action.performed")]

    await wait_until(lambda: min(logged()) > 0 and logged()[-1] > 1, what="its end in the log")
    assert logged() == [1, 1, 2]
