"""The policy of failures, over all connections and receivers at once.

It is level-triggered: it looks at what the store says of every connection, so that nothing is lost when it
runs late, twice or after a crash.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import SET_BACK, Clock, Uptime
from monitor.drift.alert import Kind
from monitor.drift.episodes import Track
from monitor.drift.failures import (
    SCOPE,
    FailureRecords,
    FailureStep,
    Health,
    ReceiverHealth,
    failing_too,
    step,
)
from monitor.drift.text import Watched
from monitor.store.alerts import messages_of, save_alerts, save_episodes
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.discoveries import DiscoveryState, discovery_identity, discovery_states
from monitor.store.failures import SyncState, load_failures, save_failures, troubled
from monitor.store.instants import pull_in
from monitor.store.journal import Journal, Ruleset, Seen
from monitor.store.outbox import receiver_rows
from monitor.store.replicas import GONE_AFTER, take_turn, watching_since
from monitor.sync.announce import Announcer
from monitor.watch.discovery import DISCOVERY_INTERVAL
from monitor.watch.watchlist import ActiveState, Watchlist

_FIRST_DISCOVERY = timedelta(minutes=5)
_BETWEEN_LOOKS = timedelta(milliseconds=500)
"""While many fail, something moves at every tick."""


@dataclass(kw_only=True, eq=False)
class FailureWatch:
    """Runs the policy of failures when something moved, or when its own time has come."""

    active: ActiveState
    database: Database
    codec: Codec
    announcer: Announcer
    clock: Clock
    uptime: Uptime
    moved: bool = field(init=False, default=True)
    _journal: Journal = field(init=False)
    _wakes_at: datetime | None = field(init=False, default=None)
    _looked_at: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._journal = Journal(self.codec)

    def due_at(self, now: datetime) -> datetime | None:
        """Return when it should run next; None while there is nothing to wait for."""
        if not self.moved:
            return self._wakes_at
        looked_at = self._looked_at
        # A clock that was set back must not make it wait.
        if looked_at is None or not timedelta(0) <= now - looked_at < _BETWEEN_LOOKS:
            return now
        return looked_at + _BETWEEN_LOOKS

    async def run(self) -> bool:
        """Look at everything once; return whether there are messages to deliver.

        Raises:
            StoreUnavailable: The database did not answer.
        """
        # Here too: after a stop this may run before anything else has noticed it.
        self.uptime.look()
        self.moved, self._looked_at = False, self.clock.now()
        try:
            return await self._look(self._looked_at, self.active.watchlist)
        except BaseException:
            self.moved = True  # what moved is still unseen
            raise

    async def _look(self, now: datetime, watchlist: Watchlist) -> bool:
        seen: Seen | None = None

        async def look(tx: AsyncConnection) -> tuple[FailureRecords, FailureStep | None, bool]:
            nonlocal seen
            decides = await take_turn(tx, self.active.replica, now)
            stored = await load_failures(tx, self.codec)
            if not decides:
                return stored, None, False
            since = await watching_since(tx) or self.uptime.since
            states = await self._states(tx, stored, now, watchlist)
            discoveries = await discovery_states(tx, watchlist.discovering)
            healths = [
                self._aged(health, now) for health in _healths(states, discoveries, watchlist, since, now)
            ]
            receivers = [
                ReceiverHealth(
                    name=receiver.name,
                    since=since,
                    troubled_since=receiver.troubled_since,
                    refused=receiver.refused,
                    refused_in_row=receiver.refused_in_row,
                    accepted_at=receiver.delivered_at,
                    error=receiver.error or "",
                )
                for receiver in await receiver_rows(tx)
            ]
            done = step(
                stored,
                healths,
                receivers,
                watchlist.failure_rules,
                now,
                foreign=self.active.foreign,
            )
            moved = done.records != stored
            saw = Seen(
                healths={health.identity: health for health in healths},
                receivers=tuple(receivers),
                foreign=tuple(sorted(self.active.foreign)),
            )
            seen = await self._journal.look(
                tx, now, saw, since=since, records=stored, ruleset=_ruleset(watchlist), moved=moved
            )
            if not moved:
                return stored, done, False
            messages = messages_of(
                done.reports,
                scope=SCOPE,
                watched=_names(self.active),
                wording=watchlist.wording,
                now=now,
                others=lambda report: failing_too(report.alert, healths, done.records.tracks.values()),
            )
            await save_failures(tx, done.records, self.codec)
            await save_episodes(
                tx, SCOPE, opened=done.opened, moved=done.moved, ended=done.ended, codec=self.codec
            )
            await save_alerts(tx, SCOPE, messages, spread=watchlist.spread, now=now)
            return done.records, done, bool(messages)

        records, done, has_messages = await self.database.transact(look)
        if seen is not None:
            self._journal.looked(seen, now)
        self._note(records.tracks.values())
        if done is None:
            self._wakes_at = now + GONE_AFTER
            return False
        instants = (done.wakes_at, _unmuted_at(watchlist, now), now + watchlist.stale_after / 2)
        self._wakes_at = min(at for at in instants if at is not None)
        self.announcer.episodes_ended(done.ended)
        return has_messages

    async def _states(
        self, tx: AsyncConnection, records: FailureRecords, now: datetime, watchlist: Watchlist
    ) -> list[SyncState]:
        """Return what a look has to read: no connection that cannot become stale before the next one."""
        fresh_since = now - watchlist.stale_after / 2
        if self.database.is_sqlite and self.uptime.set_backs:
            fresh_since = now  # rows may look newer than they are: `_aged` knows
        tracked = [track.key for track in records.tracks.values() if track.kind is not Kind.RECEIVER_FAILING]
        states = await troubled(tx, tracked, fresh_since=fresh_since, now=now)
        if any(state.applied_at is not None and state.applied_at > now for state in states):
            # Before anything is compared: what was applied before a set-back must not look new after it.
            await pull_in(tx, now)
            states = await troubled(tx, tracked, fresh_since=fresh_since, now=now)
        return states

    def _note(self, tracks: Iterable[Track]) -> None:
        needed = self.active.watchlist.failure_rules.resolve_syncs
        self.active.troubled = frozenset(track.key for track in tracks if track.good < needed)

    def _aged(self, health: Health, now: datetime) -> Health:
        """Return how syncs have been going with nothing newer than it is by the monotonic clock.

        A clock that was set back makes it look newer. What other replicas apply, only the store knows.
        """
        if not self.database.is_sqlite:
            return health
        fresh_s = max(self.active.fresh_s.get(health.identity, 0.0), self.uptime.since_s)
        fresh_at = now - timedelta(seconds=self.clock.monotonic() - fresh_s)
        if health.since - fresh_at > SET_BACK:
            health = replace(health, since=fresh_at)
        if health.applied_at is not None and health.applied_at - fresh_at > SET_BACK:
            health = replace(health, applied_at=fresh_at)
        return health


def _healths(
    states: Sequence[SyncState],
    discoveries: Sequence[DiscoveryState],
    watchlist: Watchlist,
    since: datetime,
    now: datetime,
) -> list[Health]:
    connections = watchlist.connections
    known = {each.account for each in watchlist.watched.values()} if discoveries else set()
    return [
        *(
            Health(
                identity=state.identity,
                account=state.account,
                streak=state.streak,
                applied_at=state.applied_at,
                since=max(state.watched_since, since),
                interval=connections[state.identity].interval,
                stale_after=connections[state.identity].stale_after,
                vanished=state.vanished,
                muted=connections[state.identity].maintenance(now).open,
            )
            for state in states
            if state.identity in connections
        ),
        *(
            Health(
                identity=discovery.identity,
                account=discovery.account,
                streak=discovery.streak,
                applied_at=discovery.listed_at,
                since=max(discovery.since, since),
                interval=DISCOVERY_INTERVAL,
                # An account that never listed anything is blind as a whole.
                stale_after=3 * DISCOVERY_INTERVAL if discovery.account in known else _FIRST_DISCOVERY,
            )
            for discovery in discoveries
        ),
    ]


def _ruleset(watchlist: Watchlist) -> Ruleset:
    return Ruleset(
        failure_rules=watchlist.failure_rules,
        widespread_connections=watchlist.spread.connections,
        routes=watchlist.routes,
        repeats=dict(watchlist.repeats),
    )


def _names(active: ActiveState) -> dict[str, Watched]:
    discoveries = {
        discovery_identity(account): Watched(name=f"{account} (discovery)", account=account)
        for account in active.watchlist.discovering
    }
    return {**active.former, **discoveries, **active.watchlist.watched}


def _unmuted_at(watchlist: Watchlist, now: datetime) -> datetime | None:
    """Return when the next maintenance window ends: what still fails then must alert."""
    windows = (connection.maintenance(now) for connection in watchlist.connections.values())
    ends = (window.changes_at for window in windows if window.open)
    return min((at for at in ends if at is not None), default=None)
