"""The `Metrics` object, which records and renders all metrics."""

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from monitor.drift.alert import Kind, Severity
from monitor.drift.snapshot import ChangeKind
from monitor.errors import Outcome
from monitor.metrics.connections import ConnectionFamilies, ConnectionView
from monitor.metrics.exposition import negotiate

DELIVERY_OUTCOMES = ("delivered", "retried", "dead")

_SYNC_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_DELAY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_EPISODE_BUCKETS_S = (60, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)

_VISITS_PER_TURN = 5000
_CHANGED_PER_TURN = 500
"""Connections rendered between two turns of the event loop: a few milliseconds."""


class _WithoutCreated(Collector):
    """A registry without `_created` samples, which the text format would show as series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class _DroppedLines(Collector):
    """A counter that the log keeps."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "voicelink_monitor_log_lines_dropped_total",
            "Log lines that could not be written, or came faster than they were read.",
            value=self._count(),
        )


class Metrics:
    """What `/metrics` shows. Its methods are cheap and never wait, except `render`.

    Args:
        version: The program's.
        revision: Of the source it was built from; empty if unknown.
        max_number_series: Cap on all series of `voicelink_number_state` together.
        dropped_lines: Returns how many lines the log has dropped.
    """

    def __init__(
        self,
        *,
        version: str,
        revision: str = "",
        max_number_series: int = 10_000,
        dropped_lines: Callable[[], int] = int,
    ) -> None:
        self._connections = ConnectionFamilies(max_number_series=max_number_series)
        registry = CollectorRegistry()
        self._registry = _WithoutCreated(registry)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)

        info = gauge(
            "voicelink_monitor_build_info",
            "Always 1; the running version.",
            ("version", "revision", "python"),
        )
        info.labels(version, revision, platform.python_version()).set(1)
        self._replicas = gauge(
            "voicelink_monitor_replicas", "Replicas that share the store, seen in the last 15 seconds."
        )
        self._replicas.set(1)
        self._replica_started = gauge(
            "voicelink_monitor_replica_start_timestamp_seconds",
            "Since when each of these replicas runs, with its version and a digest of its config.",
            ("replica", "version", "config"),
        )
        self._clock_offset = gauge(
            "voicelink_monitor_clock_offset_seconds",
            "How far this machine's clock is ahead of the store's; always 0 on SQLite.",
        )
        self._config_ok = gauge(
            "voicelink_monitor_config_last_reload_successful",
            "Whether the last attempt to load the config succeeded.",
        )
        self._config_at = gauge(
            "voicelink_monitor_config_last_reload_success_timestamp_seconds",
            "When the config was last loaded successfully.",
        )

        self._sync_duration = histogram(
            "voicelink_monitor_sync_duration_seconds",
            "How long syncs took, from claim to commit.",
            buckets=_SYNC_BUCKETS_S,
        )
        self._schedule_delay = histogram(
            "voicelink_monitor_schedule_delay_seconds",
            "How late syncs started.",
            buckets=_DELAY_BUCKETS_S,
        )
        self._accounts: set[str] = set()
        self._budget_wait = counter(
            "voicelink_monitor_budget_wait_seconds_total",
            "Time that requests spent waiting for their account's request budget.",
            ("account",),
        )
        self._store_errors = counter(
            "voicelink_monitor_store_errors_total",
            "Store operations that failed.",
        )
        self._internal_errors = counter(
            "voicelink_monitor_internal_errors_total",
            "Failures of the monitor itself: bugs, in the log as internal.error, and a lack of file "
            "descriptors, memory or threads, as resources.exhausted.",
        )
        registry.register(_DroppedLines(dropped_lines))
        self._web_connections = gauge(
            "voicelink_monitor_web_connections",
            "Open connections to the web port.",
        )
        self._web_rejected = counter(
            "voicelink_monitor_web_connections_rejected_total",
            "Connections to the web port closed because web.max_connections were open.",
        )
        self._loop_lag = gauge(
            "voicelink_monitor_event_loop_lag_seconds",
            "How late the event loop last woke up.",
        )
        self._dropped_numbers = gauge(
            "voicelink_monitor_number_series_dropped",
            "Phone numbers without a voicelink_number_state series, beyond metrics.max_number_series.",
        )

        firing = gauge(
            "voicelink_alerts_firing", "Firing alerts; parts of another do not count.", ("kind", "severity")
        )
        self._firing = {key: firing.labels(*key) for key in product(Kind, Severity)}
        durations = histogram(
            "voicelink_episode_duration_seconds",
            "How long episodes lasted, from confirmation to end.",
            ("kind",),
            buckets=_EPISODE_BUCKETS_S,
        )
        self._episode_durations = {kind: durations.labels(kind) for kind in Kind}

        self._receivers: frozenset[str] = frozenset()
        self._deliveries = counter(
            "voicelink_monitor_deliveries_total",
            "Attempts to deliver a message, by outcome.",
            ("receiver", "outcome"),
        )
        self._pending = gauge(
            "voicelink_monitor_deliveries_pending",
            "Messages queued for delivery.",
            ("receiver",),
        )
        self._dead = gauge(
            "voicelink_monitor_deliveries_dead",
            "Messages that were given up; the command `deliveries --retry` sends them again.",
            ("receiver",),
        )
        self._oldest_pending = gauge(
            "voicelink_monitor_oldest_pending_delivery_timestamp_seconds",
            "When the oldest queued message was written; absent while none is queued.",
            ("receiver",),
        )

    def set_connection(self, view: ConnectionView) -> None:
        """Show a connection; cheap unless its snapshot, names or numbers changed."""
        self._connections.set(view)

    def remove_connection(self, identity: str) -> None:
        """Drop all series of a connection, its counters included."""
        self._connections.remove(identity)

    def hide_connections_while(self, lost: Callable[[], bool]) -> None:
        """Leave out the connections' gauges while the store is lost: they would be stale. Counters stay."""
        self._connections.hidden = lost

    def limit_number_series(self, max_number_series: int) -> None:
        """Change the cap on `voicelink_number_state`, after a reload."""
        self._connections.max_number_series = max_number_series

    def count_sync(self, identity: str, outcome: Outcome, duration_s: float) -> None:
        """Count a sync that ended, and how long it took. `set_connection` comes first."""
        self._connections.count_sync(identity, outcome)
        self._sync_duration.observe(duration_s)

    def count_change(self, identity: str, kind: ChangeKind, n: int = 1) -> None:
        """Count changes between two snapshots. `set_connection` comes first."""
        self._connections.count_change(identity, kind, n)

    def set_receivers(self, names: Iterable[str]) -> None:
        """Start the series of these receivers at 0, and drop those of all others."""
        receivers = frozenset(names)
        for gone in self._receivers - receivers:
            for outcome in DELIVERY_OUTCOMES:
                self._deliveries.remove(gone, outcome)
            for gauge in (self._pending, self._dead):
                gauge.remove(gone)
            self._oldest_pending.remove_by_labels({"receiver": gone})
        for new in receivers - self._receivers:
            for outcome in DELIVERY_OUTCOMES:
                self._deliveries.labels(new, outcome)
            for gauge in (self._pending, self._dead):
                gauge.labels(new)
        self._receivers = receivers

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count an attempt: `delivered`, `retried` or `dead`; those of removed receivers are not counted."""
        if outcome not in DELIVERY_OUTCOMES:
            raise ValueError(f"unknown delivery outcome {outcome!r}")
        if receiver in self._receivers:
            self._deliveries.labels(receiver, outcome).inc()

    def set_backlog(self, receiver: str, pending: int, dead: int, oldest_at: datetime | None) -> None:
        """Show a receiver's queue; `oldest_at` is None while it is empty."""
        if receiver not in self._receivers:
            return
        self._pending.labels(receiver).set(pending)
        self._dead.labels(receiver).set(dead)
        if oldest_at is None:
            self._oldest_pending.remove_by_labels({"receiver": receiver})
        else:
            self._oldest_pending.labels(receiver).set(oldest_at.timestamp())

    def set_accounts(self, names: Iterable[str]) -> None:
        """Start the budget waits of these accounts at 0, and drop those of all others."""
        accounts = set(names)
        for gone in self._accounts - accounts:
            self._budget_wait.remove(gone)
        for account in accounts:
            self._budget_wait.labels(account)
        self._accounts = accounts

    def budget_wait(self, account: str, seconds: float) -> None:
        """Count seconds that a request waited for its account's budget."""
        self._accounts.add(account)
        self._budget_wait.labels(account).inc(seconds)

    def set_alerts_firing(self, firing: Mapping[tuple[Kind, Severity], int]) -> None:
        """Show how many alerts are firing; combinations not given are 0."""
        for key, gauge in self._firing.items():
            gauge.set(firing.get(key, 0))

    def episode_ended(self, kind: Kind, seconds: float) -> None:
        """Record how long an episode lasted."""
        self._episode_durations[kind].observe(seconds)

    def store_error(self) -> None:
        """Count an operation that the store failed to do."""
        self._store_errors.inc()

    def internal_error(self) -> None:
        """Count a bug in the program, or what it could not do for want of a resource."""
        self._internal_errors.inc()

    def web_connections(self, now: int) -> None:
        """Show how many connections to the web port are open."""
        self._web_connections.set(now)

    def web_connection_rejected(self) -> None:
        """Count a connection to the web port that was closed for the cap."""
        self._web_rejected.inc()

    def replicas(self, live: Mapping[tuple[str, str, str], datetime]) -> None:
        """Show the replicas that share the store: id, version and config of each, and since when it runs."""
        self._replicas.set(len(live))
        self._replica_started.clear()
        for labels, started_at in live.items():
            self._replica_started.labels(*labels).set(started_at.timestamp())

    def clock_offset(self, seconds: float) -> None:
        """Show how far the machine's clock is ahead of the store's."""
        self._clock_offset.set(seconds)

    def schedule_delay(self, seconds: float) -> None:
        """Record how late a sync started."""
        self._schedule_delay.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        """Show how late the event loop woke up."""
        self._loop_lag.set(seconds)

    def config_loaded(self, ok: bool, at: datetime) -> None:
        """Record an attempt to load the config; a failed one keeps the time of the last good one."""
        self._config_ok.set(int(ok))
        if ok:
            self._config_at.set(at.timestamp())

    async def render(self, *, accept: str) -> tuple[str, list[bytes]]:
        """Return the content type and the body, in pieces, in the format that `accept` asks for.

        Gives the event loop a turn every few milliseconds.
        """
        form = negotiate(accept)
        pieces: list[bytes] = []
        for place, _ in enumerate(self._connections.prepare(), 1):
            if place % _CHANGED_PER_TURN == 0:
                await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time passes
        visits = 0
        for family, lines in self._connections.render():
            pieces += (family.header(form), lines)
            visits += len(self._connections)
            if visits >= _VISITS_PER_TURN:
                visits = 0
                await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time passes
        self._dropped_numbers.set(self._connections.dropped_numbers)
        # In OpenMetrics the process-wide metrics end with the end marker, so they come last. With a thousand
        # accounts they take ten milliseconds in one go: not on the loop.
        encode, _ = choose_encoder(form.value)
        pieces.append(await asyncio.to_thread(encode, self._registry))
        return form.value, pieces
