"""The daemon's web server: pages, API, probes and metrics, wired to its parts."""

import socket
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from monitor import __version__
from monitor.clock import Clock
from monitor.config import Config
from monitor.drift.rules import Rules
from monitor.errors import StartError
from monitor.metrics import Metrics
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.watch.watchlist import ActiveState
from monitor.web.actions import Actions, Lifecycle, action_routes
from monitor.web.api import api_routes
from monitor.web.app import create_app
from monitor.web.auth import Gate
from monitor.web.pages import Pages, form_routes, page_routes
from monitor.web.server import WebServer
from monitor.web.sources import Sources
from monitor.web.status import ReadinessSource, StatusSource


class Listener:
    """Serves the web side; users, and whether they may act, follow the active config.

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
        clock: The time.
        log: Gets refused passwords and renewed certificates.

    Raises:
        StartError: The certificate or its key cannot be used.
    """

    def __init__(
        self,
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
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._log = log
        self._active = active
        self._clock = clock
        first = config()
        actions = Actions(
            lifecycle=lifecycle,
            enabled=lambda: config().web.enable_lifecycle,
            external_url=first.alerts.external_url,
        )
        sources = Sources(
            database=database,
            codec=codec,
            status=status,
            readiness=readiness,
            clock=clock,
            rules_of=self._rules_of,
            maintenance_of=self._maintenance_of,
            retention=lambda: config().store.retention,
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
        )
        self._server = WebServer(
            app, sock, tls_cert_file=first.web.tls_cert_file, tls_key_file=first.web.tls_key_file
        )
        self.start = self._server.start
        self.stop = self._server.stop
        host, port = sock.getsockname()[:2]
        scheme = "https" if first.web.tls_cert_file else "http"
        self.address = f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
        """Of the status page."""

    async def refresh_certificate(self) -> None:
        """Take over a certificate that was renewed; one that cannot be used is logged, the old one stays."""
        try:
            if await self._server.refresh_certificate():
                self._log.info("tls.reloaded")
        except StartError as exc:
            self._log.error("tls.rejected", error=str(exc))

    def _rules_of(self, identity: str) -> Rules | None:
        connection = self._active.watchlist.connections.get(identity)
        return connection.rules(self._clock.now()) if connection is not None else None

    def _maintenance_of(self, identity: str) -> bool | None:
        connection = self._active.watchlist.connections.get(identity)
        return connection.maintenance(self._clock.now()).open if connection is not None else None
