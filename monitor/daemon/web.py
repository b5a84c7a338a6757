"""The daemon's web server: pages, API, probes and metrics, wired to its parts."""

import socket
from collections.abc import Callable
from datetime import datetime

from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.clock import Clock
from monitor.config import Config
from monitor.daemon.grounds import watched_grounds
from monitor.daemon.watchlist import ignores_of
from monitor.drift.rules import Rules
from monitor.errors import StartError
from monitor.http.hosts import is_loopback
from monitor.metrics import Metrics
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.watch.watchlist import ActiveState
from monitor.web.actions import Actions, Lifecycle, action_routes
from monitor.web.api import api_routes
from monitor.web.app import create_app
from monitor.web.auth import Gate
from monitor.web.listener import Limits
from monitor.web.pages import Pages, form_routes, page_routes
from monitor.web.replays import Replays
from monitor.web.server import WebServer
from monitor.web.settings import WebSettings
from monitor.web.sources import Sources
from monitor.web.status import ReadinessSource, StatusSource


def build_web(
    *,
    config: Callable[[], Config],
    sock: socket.socket,
    active: ActiveState,
    database: Database,
    codec: Codec,
    metrics: Metrics,
    status: StatusSource,
    readiness: ReadinessSource,
    lifecycle: Lifecycle,
    replays: Replays,
    clock: Clock,
    log: FilteringBoundLogger,
    max_connections: int,
    on_error: Callable[[str, BaseException], None],
) -> WebServer:
    """Return the web server; users, and whether they may act, follow the active config.

    Args:
        config: Returns the active config; address and certificate files count as they are at the start.
        sock: Bound.
        active: What is watched.
        database: For the API.
        codec: For the API.
        metrics: Shown at `/metrics`.
        status: For page and API.
        readiness: For the probe.
        lifecycle: Reloads, syncs, accepts and retries on request.
        replays: Run the history again on request.
        clock: The time.
        log: Gets refused passwords.
        max_connections: To the web port.
        on_error: Called with what the web server was doing, and an error of its own.

    Raises:
        StartError: The certificate or its key cannot be used.
    """

    def rules_of(identity: str) -> Rules | None:
        connection = active.watchlist.connections.get(identity)
        return connection.rules(clock.now()) if connection is not None else None

    def maintenance_of(identity: str) -> bool | None:
        connection = active.watchlist.connections.get(identity)
        return connection.maintenance(clock.now()).open if connection is not None else None

    def is_overdue(identity: str, seen_at: datetime) -> bool:
        connection = active.watchlist.connections.get(identity)
        return connection is not None and connection.is_overdue(seen_at, clock.now())

    def settings() -> WebSettings:
        web = config().web
        return WebSettings(
            users=web.basic_auth_users,
            operators=web.operators,
            lifecycle=web.enable_lifecycle,
            external_url=config().alerts.external_url,
            allowed_hosts=web.allowed_hosts,
            trusted_proxies=web.trusted_proxies,
            timezone=config().schedule.timezone,
        )

    first = config()
    actions = Actions(lifecycle=lifecycle, settings=settings, log=log)
    sources = Sources(
        database=database,
        codec=codec,
        status=status,
        readiness=readiness,
        clock=clock,
        rules_of=rules_of,
        maintenance_of=maintenance_of,
        is_overdue=is_overdue,
        grounds=lambda: watched_grounds(config(), active.watchlist.connections),
        ignores=lambda: ignores_of(config()),
        retention=lambda: config().store.retention,
        replays=replays,
    )
    pages = Pages(sources, actions)
    app = create_app(
        metrics=metrics,
        readiness=readiness,
        routers=[
            page_routes(pages),
            form_routes(pages),
            action_routes(actions),
            api_routes(sources, actions, version=__version__),
        ],
        gate=Gate(users=lambda: config().web.basic_auth_users, clock=clock, log=log),
        settings=settings,
        on_loopback=is_loopback(sock.getsockname()[0]),
    )
    return WebServer(
        app,
        sock,
        metrics=metrics,
        on_error=on_error,
        limits=Limits(connections=max_connections),
        tls_cert_file=first.web.tls_cert_file,
        tls_key_file=first.web.tls_key_file,
    )


async def refresh_certificate(web: WebServer, log: FilteringBoundLogger) -> None:
    """Take over a certificate that was renewed; one that cannot be used is logged, the old one stays."""
    try:
        if await web.refresh_certificate():
            log.info("tls.reloaded")
    except StartError as exc:
        log.error("tls.rejected", error=str(exc))  # noqa: TRY400 - as in `reload.py`
