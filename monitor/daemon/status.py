"""The state of the monitor as the page shows it: from the store, from memory while that is away."""

from dataclasses import replace

from monitor import __version__
from monitor.errors import StoreUnavailable
from monitor.store.alerts import firing
from monitor.store.database import Database
from monitor.store.outbox import backlogs
from monitor.sync.announce import Announcer
from monitor.watch.watchlist import ActiveState
from monitor.web.status import MonitorStatus, ReceiverStatus


class StoreStatus:
    """Answers the page.

    `config_error` is set by a reload that was refused, and cleared by one that was not.
    """

    def __init__(self, *, live: ActiveState, database: Database, announcer: Announcer) -> None:
        self._live = live
        self._database = database
        self._announcer = announcer
        self._last: MonitorStatus | None = None
        self.config_error: str | None = None

    async def status(self) -> MonitorStatus:
        """Return the state now."""
        try:
            async with self._database.read() as tx:
                alerts = await firing(tx)
                waiting = await backlogs(tx)
        except StoreUnavailable:
            return self._without_store()
        self._last = MonitorStatus(
            instance=self._live.watchlist.wording.instance,
            version=__version__,
            connections=self._announcer.views(),
            alerts=alerts,
            receivers=[
                ReceiverStatus(
                    name=backlog.receiver,
                    pending=backlog.pending,
                    dead=backlog.dead,
                    failing_since=backlog.troubled_since,
                    error=backlog.error,
                )
                for backlog in waiting
            ],
            config_error=self.config_error,
            store_ok=True,
        )
        return self._last

    def _without_store(self) -> MonitorStatus:
        views = self._announcer.views()
        if self._last is not None:
            return replace(self._last, connections=views, config_error=self.config_error, store_ok=False)
        return MonitorStatus(
            instance=self._live.watchlist.wording.instance,
            version=__version__,
            connections=views,
            alerts=(),
            receivers=(),
            config_error=self.config_error,
            store_ok=False,
        )
