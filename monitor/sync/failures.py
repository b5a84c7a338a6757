"""The policy of failures, over all connections and receivers at once.

It is level-triggered: it looks at what the store says of every connection, so that nothing is lost when it
runs late, twice or after a crash.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor.clock import Clock
from monitor.drift.alerts import Report
from monitor.drift.failures import SCOPE, FailingReceiver, FailureStep, Health, kind_of, step
from monitor.drift.text import Watched, body
from monitor.notify.routing import plan
from monitor.store.alerts import AlertMessage
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, watched
from monitor.store.database import Database
from monitor.store.failures import load_fleet
from monitor.store.ledger import keep_fleet
from monitor.store.outbox import Backlog, backlogs
from monitor.sync.announce import Announcer
from monitor.watch.watchlist import ActiveState, Watchlist

_OUT_OF_REACH = timedelta(minutes=5)
"""A receiver that took nothing for so long is failing, though nobody refused us."""
_BETWEEN_LOOKS = timedelta(milliseconds=500)
"""A look reads every connection; while many fail, something moves at every tick."""


class FleetWatch:
    """Runs the policy of failures when something moved, or when time alone has something to say."""

    def __init__(
        self, *, live: ActiveState, database: Database, codec: Codec, announcer: Announcer, clock: Clock
    ) -> None:
        self._live = live
        self._database = database
        self._codec = codec
        self._announcer = announcer
        self._clock = clock
        self.moved = True
        self._wakes_at: datetime | None = None
        self._looked_at: datetime | None = None

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
        """Look at everything once; return whether somebody has to be told.

        Raises:
            StoreUnavailable: The database did not answer.
        """
        now = self._clock.now()
        watchlist = self._live.watchlist
        self.moved, self._looked_at = False, now
        try:
            return await self._look(now, watchlist)
        except BaseException:
            self.moved = True  # what moved is still unseen
            raise

    async def _look(self, now: datetime, watchlist: Watchlist) -> bool:
        async with self._database.write() as tx:
            kept = await load_fleet(tx, self._codec)
            standings = await watched(tx, self._codec)
            waiting = await backlogs(tx)
            healths = _healths(standings, self._live, now)
            done = step(
                kept.records,
                healths,
                _failing(waiting, now),
                watchlist.failure_rules,
                now,
                configured=[backlog.receiver for backlog in waiting],
            )
            told = _told(done, healths, self._live, now)
            if done.records != kept.records or done.wakes_at != kept.wakes_at:
                await keep_fleet(
                    tx,
                    done,
                    told,
                    plan=lambda alert, already: plan(alert, watchlist.routes, already),
                    now=now,
                    codec=self._codec,
                )
        instants = (done.wakes_at, _next_out_of_reach(waiting, now), _unmuted_at(watchlist, now))
        self._wakes_at = min((at for at in instants if at is not None), default=None)
        self._live.troubled = frozenset(track.key for track in done.records.tracks.values())
        self._announcer.episodes_ended(done.ended)
        return bool(told)


def _healths(standings: Sequence[ConnectionState], live: ActiveState, now: datetime) -> list[Health]:
    now_watched = [one for one in standings if one.identity in live.watchlist.connections]
    discoveries = [
        Health(
            identity=discovery.identity,
            account=discovery.account,
            streak=discovery.streak,
            fresh_at=discovery.fresh_at,
            stale_after=discovery.stale_after,
        )
        for discovery in live.discoveries.values()
    ]
    return [*(_health(standing, live.watchlist, now) for standing in now_watched), *discoveries]


def _health(standing: ConnectionState, watchlist: Watchlist, now: datetime) -> Health:
    connection = watchlist.connections[standing.identity]
    # While nobody watched, nothing could be fresh: a start has as long as anybody to get its first snapshot.
    fresh_at = max(standing.applied_at or standing.watched_since, watchlist.since)
    return Health(
        identity=standing.identity,
        account=standing.account,
        streak=standing.streak,
        fresh_at=fresh_at,
        stale_after=connection.stale_after,
        vanished=standing.vanished_at is not None,
        muted=connection.maintenance(now).open,
    )


def _failing(waiting: Sequence[Backlog], now: datetime) -> list[FailingReceiver]:
    return [
        FailingReceiver(name=backlog.receiver, since=backlog.troubled_since, error=backlog.error or "")
        for backlog in waiting
        if backlog.troubled_since is not None
        and (backlog.refused or now >= backlog.troubled_since + _OUT_OF_REACH)
    ]


def _next_out_of_reach(waiting: Sequence[Backlog], now: datetime) -> datetime | None:
    instants = [
        backlog.troubled_since + _OUT_OF_REACH for backlog in waiting if backlog.troubled_since is not None
    ]
    return min((instant for instant in instants if instant > now), default=None)


def _unmuted_at(watchlist: Watchlist, now: datetime) -> datetime | None:
    """Return when the next maintenance window ends: what still fails then must alert."""
    windows = (connection.maintenance(now) for connection in watchlist.connections.values())
    ends = (window.changes_at for window in windows if window.open)
    return min((at for at in ends if at is not None), default=None)


def _others(made: Report, healths: Sequence[Health]) -> int:
    """Return how many other connections fail for the same cause, though not for long enough yet."""
    alert = made.alert
    members = {track.key for track in made.members}
    return sum(
        1
        for health in healths
        if health.streak.outcome is not None
        and kind_of(health.streak.outcome) is alert.kind
        and alert.group in ("", health.account)
        and health.identity not in members
    )


def _told(
    done: FailureStep, healths: Sequence[Health], live: ActiveState, now: datetime
) -> list[AlertMessage]:
    watchlist = live.watchlist
    discoveries = {
        discovery.identity: Watched(name=f"{discovery.account} (discovery)", account=discovery.account)
        for discovery in live.discoveries.values()
    }
    names = {**live.former, **discoveries, **watchlist.watched}
    return [
        AlertMessage(
            report=made,
            body=body(
                made,
                scope=SCOPE,
                watched=names,
                wording=watchlist.wording,
                now=now,
                others=_others(made, healths),
            ),
        )
        for made in done.reports
    ]
