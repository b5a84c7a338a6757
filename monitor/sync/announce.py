"""Metrics and log lines of what was committed."""

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import structlog
from msgspec.structs import replace

from monitor.clock import SystemClock
from monitor.drift.episodes import Ended
from monitor.drift.moves import depended
from monitor.drift.snapshot import Change, ChangeKind, Counts, Number
from monitor.errors import Outcome, SyncError, out_of_resources
from monitor.log import Repeats
from monitor.metrics import ConnectionView, Metrics
from monitor.shortage import Shortage
from monitor.store.claims import SyncResult
from monitor.store.connections import ConnectionName, ConnectionState
from monitor.store.health import StoreHealth
from monitor.watch.connection import Connection
from monitor.watch.maintenance import ends_at

_EVENTS = {
    ChangeKind.APPEARED: "drift.appeared",
    ChangeKind.CHANGED: "drift.changed",
    ChangeKind.RESOLVED: "drift.resolved",
    ChangeKind.ADDED: "number.added",
    ChangeKind.REMOVED: "number.removed",
    ChangeKind.RECONFIGURED: "number.reconfigured",
}


class Announcer:
    """Turns what happened into gauges, counters and log lines. `store` is told of what the store does."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        log: structlog.typing.FilteringBoundLogger,
        shortage: Shortage,
        store: StoreHealth,
        repeats: Repeats | None = None,
    ) -> None:
        self._metrics = metrics
        self._shortage = shortage
        self.store = store
        self._log = log
        self._repeats = repeats or Repeats(log, SystemClock())
        self._numbers = False
        self._views: dict[str, ConnectionView] = {}
        self._own: dict[str, tuple[int, datetime]] = {}
        """The epoch of the last sync of each that this process made, and its instant."""
        self._numbers_of: dict[str, str | None] = {}
        """The digest of the answer whose numbers are shown."""

    def restore(self, state: ConnectionState, connection: Connection, now: datetime) -> None:
        """Show a connection as the store knows it; one that is shown already only changes its names."""
        view = self._views.get(state.identity)
        if view is None:
            self.follow(state, connection, now)
            return
        self._show(
            replace(
                view,
                name=connection.names.name,
                account=connection.names.account,
                connection_id=connection.connection_id,
                interval_s=connection.longest_interval.total_seconds(),
                maintenance=(muted := connection.maintenance(now).open),
                maintenance_until=ends_at(connection.windows, now) if muted else None,
            )
        )

    def follow(self, state: ConnectionState, connection: Connection, now: datetime) -> None:
        """Show a connection as the store knows it, unless it is to get a newer sync of this process."""
        own = self._own.get(state.identity)
        if own is not None and (state.synced_at is None or (state.epoch, state.synced_at) < own):
            return
        before = self._views.get(state.identity)
        view = ConnectionView(
            identity=state.identity,
            name=connection.names.name,
            account=connection.names.account,
            connection_id=connection.connection_id,
            interval_s=connection.longest_interval.total_seconds(),
            counts=state.counts,
            up=state.streak.outcome.answered if state.streak.outcome else None,
            held=state.held > 0,
            consecutive_failures=state.streak.failures,
            last_success_at=state.succeeded_at,
            last_duration_s=state.duration_s,
            maintenance=(muted := connection.maintenance(now).open),
            maintenance_until=ends_at(connection.windows, now) if muted else None,
            numbers=before.numbers if before is not None else (),
        )
        if view != before:
            self._show(view)

    def show_numbers(self, *, shown: bool) -> None:
        """Say whether every number gets a series; those that are shown go when they are not to be."""
        self._numbers = shown
        if not shown:
            self._numbers_of.clear()
            for view in list(self._views.values()):
                if view.numbers:
                    self._show(replace(view, numbers=()))

    def forget(self, identity: str) -> None:
        """Drop every series of a connection that is no longer watched."""
        self._own.pop(identity, None)
        self._numbers_of.pop(identity, None)
        self.store.forget(identity)
        if self._views.pop(identity, None) is not None:
            self._metrics.remove_connection(identity)

    def shown(self) -> set[str]:
        """Return the identities of all connections that have series."""
        return set(self._views)

    def views(self) -> list[ConnectionView]:
        """Return every connection as it is shown, by name."""
        return sorted(self._views.values(), key=lambda view: view.name)

    def maintenance(self, identity: str, *, is_open: bool) -> None:
        """Show whether a maintenance window is open."""
        view = self._views.get(identity)
        if view is not None and view.maintenance is not is_open:
            self._show(replace(view, maintenance=is_open))

    def lacks_numbers(self, state: ConnectionState) -> bool:
        """Whether each number is to have a series, and those shown are of another answer."""
        known = self._numbers_of.get(state.identity)
        return self._numbers and state.identity in self._views and state.digest != known

    def numbers(self, identity: str, digest: str | None, numbers: Iterable[Number]) -> None:
        """Show one series per number of the answer with this digest, where the user opted in."""
        view = self._views.get(identity)
        if self._numbers and view is not None:
            self._numbers_of[identity] = digest
            shown = tuple((number.phone_number, number.state) for number in numbers)
            self._show(replace(view, numbers=shown))

    def synced(
        self, connection: Connection, result: SyncResult, *, counts: Counts | None = None, held: bool = False
    ) -> None:
        """Show that a sync ended, and what it found when that changed."""
        identity = connection.identity
        view = self._views.get(identity)
        if view is None:
            return  # a reload removed it while it was being synced
        streak = result.streak
        self._own[identity] = result.claim.epoch, result.at
        self._metrics.count_sync(identity, streak.outcome or Outcome.OK, result.duration_s)
        self._show(
            replace(
                view,
                counts=counts or view.counts,
                up=streak.failures == 0,
                held=held if streak.failures == 0 else view.held,
                consecutive_failures=streak.failures,
                last_success_at=result.at if result.applied else view.last_success_at,
                last_duration_s=result.duration_s,
                maintenance=connection.maintenance(result.at).open,
            )
        )

    def recounted(self, identity: str, counts: Counts) -> None:
        """Show counts that changed without a sync: rules ignore more or fewer numbers now."""
        view = self._views.get(identity)
        if view is not None and view.counts != counts:
            self._show(replace(view, counts=counts))

    def sync_completed(
        self, names: ConnectionName, result: SyncResult, changes: int, counts: Counts | None
    ) -> None:
        """Log a sync; at debug level when it found nothing new."""
        if not changes and not self._log.is_enabled_for(logging.DEBUG):
            return
        write = self._log.info if changes else self._log.debug
        write(
            "sync.completed",
            **_fields(names, result.claim.sync_id),
            duration_s=round(result.duration_s, 6),
            changes=changes,
            numbers=counts.total if counts else None,
            drifting=counts.total_drifting if counts else None,
        )

    def sync_failed(self, names: ConnectionName, result: SyncResult, error: SyncError) -> None:
        """Log a sync that failed."""
        self._log.warning(
            "sync.failed",
            **_fields(names, result.claim.sync_id),
            outcome=error.outcome,
            error=str(error),
            consecutive_failures=result.streak.failures,
        )

    def sync_held(self, names: ConnectionName, result: SyncResult, count: int) -> None:
        """Log an answer that is held as implausible, for the `count`-th time in a row."""
        self._log.warning(
            "sync.held",
            **_fields(names, result.claim.sync_id),
            reason=result.error,
            held=count,
        )

    def entries_skipped(self, names: ConnectionName, sync_id: str, skipped: int) -> None:
        """Log that answer after answer has entries that cannot be read, once for as long as that lasts."""
        self._log.warning("sync.skipped_entries", **_fields(names, sync_id), skipped=skipped)

    def states_folded(self, names: ConnectionName, sync_id: str, folded: int) -> None:
        """Log that a connection has too many states and issues to tell them apart, once when that begins."""
        self._log.warning("states.folded", **_fields(names, sync_id), folded=folded)

    def changes(self, names: ConnectionName, sync_id: str, found: Iterable[Change]) -> None:
        """Count and log the differences that a sync found."""
        counted: Counter[ChangeKind] = Counter()
        for change in found:
            counted[change.kind] += 1
            number, before, after = change.number, change.before, change.after
            moved = {}
            if change.kind is ChangeKind.RECONFIGURED:
                moved = dict(zip(("depended_on", "depends_on"), depended(change), strict=True))
            self._log.info(
                _EVENTS[change.kind],
                connection=names.name,
                account=names.account,
                key=change.key,
                phone_number=number.phone_number,
                state=after.state if after else None,
                previous_state=before.state if before else None,
                issues=list(after.issues) if after else [],
                previous_issues=list(before.issues) if before else [],
                action_items=[{"code": item.code, "label": item.label} for item in number.action_items],
                did_id=number.did_id,
                client_id=number.dependencies.client_id,
                sync_id=sync_id,
                **moved,
            )
        for kind, count in counted.items():
            self._metrics.count_change(names.identity, kind, count)

    def episodes_ended(self, ended: Iterable[Ended]) -> None:
        """Observe how long the episodes lasted."""
        for end in ended:
            if end.track.episode is not None:
                lasted = end.at - end.track.episode.opened_at
                self._metrics.episode_ended(end.track.kind, lasted.total_seconds())

    def internal_error(self, doing: str, error: BaseException) -> None:
        """Count a bug, and log it with the only traceback in the log; or a lack of resources."""
        lack = out_of_resources(error)
        if lack is not None:
            self._shortage.met(lack, doing)
            return
        self._metrics.internal_error()
        if self._repeats.passes(f"internal.error: {doing}: {type(error).__name__}"):
            self._log.error("internal.error", doing=doing, exc_info=error)

    def _show(self, view: ConnectionView) -> None:
        self._views[view.identity] = view
        self._metrics.set_connection(view)


def _fields(names: ConnectionName, sync_id: str) -> dict[str, str]:
    return {"connection": names.name, "account": names.account, "sync_id": sync_id}
