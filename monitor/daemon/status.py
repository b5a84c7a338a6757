"""What the status page and the readiness probe show of this daemon."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from monitor import __version__
from monitor.clock import Clock
from monitor.drift.alert import Kind
from monitor.errors import StoreUnavailable
from monitor.shortage import Shortage
from monitor.store.alert_lists import Firing, firing_alerts
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.failures import FailingRow, failing
from monitor.store.health import StoreHealth
from monitor.store.outbox import backlogs, receiver_rows
from monitor.store.trouble import Trouble
from monitor.sync.announce import Announcer
from monitor.sync.schedule import Schedule
from monitor.watch.watchlist import ActiveState
from monitor.web.status import MonitorStatus, ReceiverStatus, ReplicaStatus

_WORST = 20
"""Firing alerts that the overview shows."""


class Readiness:
    """Whether the monitor does its work.

    `started` is set at the end of the start. The jobs that read the gauges and look at the store's file say
    when they could and why they could not; a store that just does not answer is missed by whoever asks.

    Args:
        schedule: Must run.
        shortage: Tells what this process lacks.
        store: Must keep what syncs find.
        clock: The time.
        away_after_s: After so long without an answer the store counts as unavailable.
        lost_after_s: After so long, what was read from it is too old to be shown.
        stuck_after_s: After so long without a tick, for no reason, it never comes.
    """

    def __init__(
        self,
        schedule: Schedule,
        shortage: Shortage,
        store: StoreHealth,
        clock: Clock,
        *,
        away_after_s: float = 15.0,
        lost_after_s: float = 30.0,
        stuck_after_s: float = 60.0,
    ) -> None:
        self._schedule = schedule
        self._shortage = shortage
        self._store = store
        self._clock = clock
        self.away_after_s, self.lost_after_s = away_after_s, lost_after_s
        self.stuck_after_s = stuck_after_s
        self._away: str | None = None
        self._read_s = clock.monotonic()
        self.started = asyncio.Event()

    def store_answered(self) -> None:
        """Say that everything could be read from the store."""
        self._away, self._read_s = None, self._clock.monotonic()

    def store_failed(self, reason: str) -> None:
        """Say why it cannot be used."""
        self._away = reason

    @property
    def unread_for_s(self) -> float:
        """For how many seconds the store has not been read."""
        return self._clock.monotonic() - self._read_s

    @property
    def store_away(self) -> str | None:
        """Why the store cannot be used; None if it can."""
        silent = self.started.is_set() and self.unread_for_s >= self.away_after_s
        return self._away or (Trouble.UNREACHABLE if silent else None)

    @property
    def store_lost(self) -> bool:
        """Whether what was read from the store last is too old to be shown."""
        return self.unread_for_s >= self.lost_after_s

    def not_ready(self) -> str | None:
        """Return why the monitor does not do its work, or None."""
        lacking = self._shortage.reason()
        if lacking is not None:
            return lacking
        away = self.store_away
        if away is not None:
            return f"the store is unavailable: {away}"
        unkept = self._store.reason()
        if unkept is not None:
            return unkept
        if not self.started.is_set() or not self._schedule.has_ticked:
            return "starting"
        # While the store takes nothing, nothing is claimed: that it does not is what is wrong.
        if self._store.is_well and self._schedule.stuck_for_s() is not None:
            return "the schedule is not running"
        return None

    def stuck(self) -> str | None:
        """Return what stands still by the monitor's own fault, so that a restart may help, or None."""
        stuck_for_s = self._schedule.stuck_for_s() or 0.0
        well = self._store.is_well and self.store_away is None
        if self.started.is_set() and well and stuck_for_s >= self.stuck_after_s:
            return f"the schedule has not run for {stuck_for_s:.0f} s"
        return None


@dataclass(kw_only=True, eq=False)
class StoreStatus:
    """The state of the monitor: from the store, and from memory while that is unavailable.

    `config_error` is set by a reload that was rejected, and cleared by one that was not, which also sets
    `config_file_digest`.
    """

    active: ActiveState
    database: Database
    codec: Codec
    announcer: Announcer
    config_file_digest: str | None
    config_error: str | None = field(init=False, default=None)
    _firing: Firing = field(init=False, default_factory=Firing)
    _receivers: Sequence[ReceiverStatus] = field(init=False, default=())
    _failing: Sequence[FailingRow] = field(init=False, default=())

    async def status(self) -> MonitorStatus:
        """Return the state now."""
        store_ok = True
        try:
            async with self.database.read() as tx:
                firing = await firing_alerts(tx, worst=_WORST)
                queues = {each.receiver: each for each in await backlogs(tx)}
                receivers = await receiver_rows(tx)
                self._failing = await failing(tx, self.codec, self.active.watchlist.failure_rules)
        except StoreUnavailable:
            store_ok = False
        else:
            self._firing = firing
            of_receivers = {row.name: row for row in self._failing if row.kind is Kind.RECEIVER_FAILING}
            self._receivers = [
                ReceiverStatus(
                    name=receiver.name,
                    pending=queues[receiver.name].pending,
                    dead=queues[receiver.name].dead,
                    failing_since=receiver.troubled_since,
                    error=receiver.error,
                    gone_since=receiver.gone_since,
                    alert=of_receivers.get(receiver.name),
                )
                for receiver in receivers
                if receiver.name in queues
            ]
        return MonitorStatus(
            instance=self.active.watchlist.wording.instance,
            version=__version__,
            connections=self.announcer.views(),
            firing=self._firing,
            receivers=self._receivers,
            failing=self._failing,
            replicas=[
                ReplicaStatus(
                    id=each.id,
                    this=each.id == self.active.replica.id,
                    started_at=each.started_at,
                    version=each.version,
                    config=each.digest,
                    config_at=each.config_at,
                )
                for each in self.active.replicas
            ],
            config_error=self.config_error,
            config_file_digest=self.config_file_digest,
            store_ok=store_ok,
        )
