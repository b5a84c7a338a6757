"""From the config to the parts of the daemon: the only place that constructs them."""

import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.base import BaseScheduler
from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.clock import Clock, StoreClock, SystemClock, Uptime
from monitor.config import Config
from monitor.daemon.actions import DaemonLifecycle
from monitor.daemon.descriptors import open_files, web_connections
from monitor.daemon.discovery import Discovery
from monitor.daemon.heartbeat import Heartbeat
from monitor.daemon.jobs import Housekeeping, JobRunner
from monitor.daemon.presence import Presence
from monitor.daemon.reload import ActiveConfig, Reload
from monitor.daemon.replays import ReplayRunner
from monitor.daemon.service import ServiceManager
from monitor.daemon.status import Readiness, StoreStatus
from monitor.daemon.tasks import ClockWatch, Tasks
from monitor.daemon.web import build_web, refresh_certificate
from monitor.http.client import Network
from monitor.log import Repeats
from monitor.metrics import Metrics
from monitor.notify.alertmanager import Posters
from monitor.notify.drain import Drain
from monitor.shortage import Shortage
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.health import StoreHealth
from monitor.store.ledger import Ledger
from monitor.store.outbox import StoredOutbox
from monitor.sync.announce import Announcer
from monitor.sync.cycle import Cycle
from monitor.sync.failures import FailureWatch
from monitor.sync.schedule import Schedule
from monitor.web.server import WebServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a daemon starts, runs and closes."""

    log: FilteringBoundLogger
    clock: Clock
    metrics: Metrics
    database: Database
    scheduler: BaseScheduler
    active: ActiveConfig
    reload: Reload
    lifecycle: DaemonLifecycle
    schedule: Schedule
    drain: Drain
    posters: Posters
    housekeeping: Housekeeping
    discovery: Discovery
    presence: Presence
    heartbeat: Heartbeat
    readiness: Readiness
    replays: ReplayRunner
    web: WebServer
    clock_watch: ClockWatch
    tasks: Tasks
    manager: ServiceManager


def build(
    config: Config,
    *,
    sock: socket.socket,
    log: FilteringBoundLogger,
    dropped_lines: Callable[[], int] = int,
    reread: Callable[[], Config] | None = None,
    revision: str = "",
    clock: Clock | None = None,
    rng: random.Random | None = None,
    network: Network | None = None,
    scheduler: BaseScheduler | None = None,
    database: Database | None = None,
    manager: ServiceManager | None = None,
) -> Parts:
    """Return the parts of a daemon; nothing runs, and nothing is stored yet.

    Args:
        config: The first config.
        sock: For the web side, from `monitor.web.server.bind`.
        log: The log.
        dropped_lines: Returns how many lines the log has dropped.
        reread: Reads the config again, for a reload; it may block. None: there is nothing to reload from.
        revision: Of the source, for `build_info`.
        clock: The machine's unless given; on PostgreSQL, replicas go by the database's.
        rng: Jitter; seeded by chance unless given.
        network: How the provider, the receivers and the watchdog are reached; directly unless given.
        scheduler: Runs the jobs; one on this event loop and the machine's clock unless given.
        database: The one of `store.url` unless given.
        manager: Told how the daemon is; none unless given.

    Raises:
        ConfigError: A receiver cannot be built.
        StartError: A file that the config names cannot be used.
    """
    machine = clock or SystemClock()
    rng = rng or random.Random()
    scheduler = scheduler or AsyncIOScheduler(timezone=UTC)
    database = database or Database(config.store.secret.reveal())
    clock = machine if database.is_sqlite else StoreClock(machine)
    manager = manager or ServiceManager({}, machine)
    codec = Codec()
    metrics = Metrics(
        version=__version__,
        revision=revision,
        max_number_series=config.metrics.max_number_series,
        dropped_lines=dropped_lines,
    )
    shortage = Shortage(clock=clock, log=log, count=metrics.internal_error)
    health = StoreHealth(clock=clock, log=log, count=metrics.store_error, shortage=shortage)
    announcer = Announcer(
        metrics=metrics, log=log, shortage=shortage, store=health, repeats=Repeats(log, clock)
    )
    tasks = Tasks(clock, announcer)
    replica_id = f"{rng.getrandbits(64):016x}"

    drain = Drain(
        outbox=StoredOutbox(database, clock, holder=replica_id),
        receivers=(),
        clock=clock,
        rng=rng,
        metrics=metrics,
        log=log,
        shortage=shortage,
    )
    posters = Posters()
    active = ActiveConfig(
        config,
        database=database,
        codec=codec,
        clock=clock,
        rng=rng,
        metrics=metrics,
        announcer=announcer,
        drain=drain,
        posters=posters,
        log=log,
        shortage=shortage,
        replica_id=replica_id,
        network=network or Network(),
    )
    state, uptime = active.state, Uptime(clock)

    def wake_receivers() -> None:
        drain.wake()
        posters.wake()

    failures = FailureWatch(
        active=state, database=database, codec=codec, announcer=announcer, clock=clock, uptime=uptime
    )
    schedule = Schedule(
        scheduler=scheduler,
        active=state,
        database=database,
        cycle=Cycle(
            active=state,
            ledger=Ledger(database, codec),
            announcer=announcer,
            clock=clock,
            wake_drain=wake_receivers,
        ),
        failures=failures,
        clock=clock,
        machine=machine,
        metrics=metrics,
        announcer=announcer,
        wake_drain=wake_receivers,
    )

    runner = JobRunner(scheduler, clock, machine, announcer)

    def look_now() -> None:
        failures.moved = True
        schedule.look_now()

    discovery = Discovery(
        active=active,
        runner=runner,
        on_moved=look_now,
        announcer=announcer,
        database=database,
        clock=clock,
        log=log,
    )
    readiness = Readiness(schedule, shortage, health, clock)
    metrics.hide_connections_while(lambda: readiness.store_lost)
    status = StoreStatus(
        active=state,
        database=database,
        codec=codec,
        announcer=announcer,
        config_file_digest=config.file_digest,
    )

    def on_moved() -> None:
        look_now()
        wake_receivers()
        discovery.soon()

    presence = Presence(
        database=database,
        active=active,
        clock=clock,
        runner=runner,
        metrics=metrics,
        on_moved=on_moved,
    )

    reload = Reload(
        active=active,
        reread=reread,
        on_reloaded=on_moved,
        manager=manager,
        status=status,
        metrics=metrics,
        clock=clock,
        log=log,
    )
    lifecycle = DaemonLifecycle(
        reload_config=reload.reload,
        started=readiness.started,
        syncs=schedule,
        is_watched=lambda identity: identity in state.watchlist.connections,
        wake_receivers=wake_receivers,
        test_receiver=active.test_receiver,
        database=database,
        codec=codec,
        store_failed=announcer.store.failed,
        clock=clock,
        log=log,
    )
    replays = ReplayRunner(
        config=lambda: active.config, store_url=config.store.secret.reveal, clock=machine, log=log
    )
    web = build_web(
        config=lambda: active.config,
        sock=sock,
        active=state,
        database=database,
        codec=codec,
        metrics=metrics,
        status=status,
        readiness=readiness,
        lifecycle=lifecycle,
        replays=replays,
        clock=clock,
        log=log,
        max_connections=web_connections(config, open_files()),
        on_error=announcer.internal_error,
    )

    heartbeat = Heartbeat(
        redactor=active.network.redactor,
        http=lambda: active.heartbeat,
        database=database,
        syncs=schedule,
        deliveries=drain,
        store=health,
        clock=clock,
        uptime=uptime,
        log=log,
    )
    housekeeping = Housekeeping(
        runner=runner,
        active=active,
        failures=failures,
        drain=drain,
        heartbeat=heartbeat,
        database=database,
        codec=codec,
        metrics=metrics,
        announcer=announcer,
        readiness=readiness,
        refresh_certificate=partial(refresh_certificate, web, log),
        log_commands=lifecycle.log_commands,
        clock=clock,
    )

    clock_watch = ClockWatch(
        clock=clock,
        uptime=uptime,
        metrics=metrics,
        housekeeping=housekeeping,
        discovery=discovery,
        active=active,
        failures=failures,
        schedule=schedule,
        announcer=announcer,
        log=log,
    )
    return Parts(
        log=log,
        clock=clock,
        metrics=metrics,
        database=database,
        scheduler=scheduler,
        active=active,
        reload=reload,
        lifecycle=lifecycle,
        schedule=schedule,
        drain=drain,
        posters=posters,
        housekeeping=housekeeping,
        discovery=discovery,
        presence=presence,
        heartbeat=heartbeat,
        readiness=readiness,
        replays=replays,
        web=web,
        clock_watch=clock_watch,
        tasks=tasks,
        manager=manager,
    )
