"""What hurts most, first: the order of alerts and connections on every page. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.drift.alert import AlertBody, Kind
from monitor.metrics import ConnectionView
from monitor.store.rows import SyncStatus
from monitor.web.status import MonitorStatus, sync_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many numbers are ready, drift, or are unknown: ready when last seen, but that cannot be seen now.

    `blind` counts the connections that cannot be seen.
    """

    ready: int = 0
    drifting: int = 0
    unknown: int = 0
    blind: int = 0

    @property
    def numbers(self) -> int:
        """All of them."""
        return self.ready + self.drifting + self.unknown


def unseen(status: MonitorStatus) -> frozenset[str]:
    """Return the connections that cannot be seen: what is known of them is how they were.

    Their last answer failed or is held, an alert says that no recent one was applied, or the store is away.
    """
    stale = {row.name for row in status.failing if row.good_since is None and row.kind is Kind.SYNC_STALE}
    return frozenset(
        view.name
        for view in status.connections
        if not status.store_ok
        or sync_status(view) in (SyncStatus.FAILING, SyncStatus.HELD)
        or view.name in stale
    )


def seen(status: MonitorStatus, blind: frozenset[str]) -> Seen:
    """Return the numbers of all connections."""
    drifting, ready, unknown = 0, 0, 0
    for view in status.connections:
        if view.counts is not None:
            drifting += view.counts.total_drifting
            good = view.counts.total_ready
            ready, unknown = (ready, unknown + good) if view.name in blind else (ready + good, unknown)
    return Seen(ready=ready, drifting=drifting, unknown=unknown, blind=len(blind))


def worst_alerts(status: MonitorStatus, alerts: Sequence[AlertBody]) -> list[AlertBody]:
    """Return firing alerts by severity, then by how many numbers they concern, the newest first."""
    numbers = {view.name: view.counts.total if view.counts else 0 for view in status.connections}

    def hurts(alert: AlertBody) -> tuple[int, int, float]:
        began = -datetime.fromisoformat(alert.started_at).timestamp()
        return -alert.severity.rank, -_concerned(alert, numbers), began

    return sorted(alerts, key=hurts)


def _concerned(alert: AlertBody, numbers: Mapping[str, int]) -> int:
    """Return how many numbers an alert is about; of a failure, those that cannot be seen for it."""
    if alert.kind.about_numbers:
        return alert.numbers_total
    return sum(numbers.get(name, 0) for name in alert.connections)


def worst_connections(
    status: MonitorStatus, blind: frozenset[str], views: Sequence[ConnectionView]
) -> list[ConnectionView]:
    """Return connections by the worst alert that fires about them, how many numbers drift, and blindness."""

    def hurts(view: ConnectionView) -> tuple[int, int, bool, str]:
        drifting = view.counts.total_drifting - view.counts.total_ignored if view.counts else 0
        worst = status.firing.severities.get(view.name)
        return -(worst.rank + 1 if worst else 0), -drifting, view.name not in blind, view.name

    return sorted(views, key=hurts)
