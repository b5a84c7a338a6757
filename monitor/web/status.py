"""The state of the monitor, as the web side gets it from the daemon."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from monitor.metrics import ConnectionView
from monitor.store.alert_lists import Firing
from monitor.store.failures import FailingRow
from monitor.store.rows import SyncStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverStatus:
    """How one receiver is doing. `failing_since` and `error` are None while it accepts alerts.

    `gone_since`: it answered 410 Gone then, and is not tried until a reload or a user asks.
    `alert` is how it stands in its own firing alert, if there is one.
    """

    name: str
    pending: int
    dead: int
    failing_since: datetime | None
    error: str | None
    gone_since: datetime | None = None
    alert: FailingRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStatus:
    """One process on a shared database, seen in the last 15 seconds.

    `config` is a digest of its config, active since `config_at`. `this`: it is the one that answers.
    """

    id: str
    this: bool
    started_at: datetime
    version: str
    config: str
    config_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorStatus:
    """The state of the whole monitor at one moment.

    `replicas` are those of a shared database, the oldest first; there are none on SQLite. `firing` are the
    alerts that fire, `failing` their members that are connections or receivers. `config_file_digest` is the
    SHA-256 of the active config file, None without one; `config_error` says why the file on disk was refused,
    if it was. `store_ok` is False while the database is unavailable: then the rest is what was known before.
    """

    instance: str
    version: str
    connections: Sequence[ConnectionView]
    receivers: Sequence[ReceiverStatus]
    config_error: str | None
    store_ok: bool
    config_file_digest: str | None = None
    firing: Firing = field(default_factory=Firing)
    failing: Sequence[FailingRow] = ()
    replicas: Sequence[ReplicaStatus] = ()


def sync_status(view: ConnectionView) -> SyncStatus:
    """Return how the syncs of a connection go, as the store's rows say it."""
    if view.up is None:
        return SyncStatus.WAITING
    if view.consecutive_failures or not view.up:
        return SyncStatus.FAILING
    return SyncStatus.HELD if view.held else SyncStatus.OK


class StatusSource(Protocol):
    """Knows the state of the monitor."""

    async def status(self) -> MonitorStatus:
        """Return the state now. It answers, with what it has, while the store is unavailable."""
        ...


class ReadinessSource(Protocol):
    """Knows whether the daemon is doing its work."""

    def not_ready(self) -> str | None:
        """Return why it is not, short and without secrets; None if it is."""
        ...

    def stuck(self) -> str | None:
        """Return what stands still by its own fault, so that a restart may help; None if nothing does."""
        ...
