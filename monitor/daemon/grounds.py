"""What the config says that explanations need: for the daemon, and for commands without one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from monitor.config import Config, ConnectionConfig
from monitor.daemon.watchlist import failure_rules_of, guard_of, route_of, rules_of, windows_of
from monitor.drift.facts import Terms
from monitor.drift.rules import Rules
from monitor.notify.routing import Route
from monitor.store.connections import ConnectionName
from monitor.store.explanations import LOG, Grounds
from monitor.watch.connection import Connection, during
from monitor.watch.maintenance import Window, maintenance


def grounds_of(config: Config, terms_of: Callable[[ConnectionName], Terms | None]) -> Grounds:
    """Return what a config says, given what decides about each connection."""
    return Grounds(
        terms_of=terms_of,
        routes=(Route(receiver=LOG), *map(route_of, config.receivers)),
        failure_rules=failure_rules_of(config),
    )


def watched_grounds(config: Config, connections: Mapping[str, Connection]) -> Grounds:
    """Return what a daemon goes by for the connections that it watches, by identity."""

    def terms_of(whose: ConnectionName) -> Terms | None:
        connection = connections.get(whose.identity)
        if connection is None:
            return None
        return Terms(
            rules_at=_RulesAt(connection.base_rules, connection.windows),
            guard=connection.guard,
            failing_after=config.drift.failing_after,
            stale_after=connection.stale_after,
        )

    return grounds_of(config, terms_of)


def configured_grounds(config: Config, now: datetime) -> Grounds:
    """Return what a daemon with this config would go by; discovered connections are synced as all others."""
    explicit = {each.identity: each for account in config.accounts for each in account.connections}
    discovering = {account.name for account in config.accounts if account.discover}
    windows = windows_of(config)

    def terms_of(whose: ConnectionName) -> Terms | None:
        connection = explicit.get(whose.identity)
        if connection is None and whose.account not in discovering:
            return None
        timing = config.schedule.timing(
            connection or ConnectionConfig.model_construct(name=whose.name, id=None)
        )
        shortest, longest = timing.gaps(now)
        covering = tuple(window for window in windows if window.covers(whose.name))
        return Terms(
            rules_at=_RulesAt(rules_of(config, whose.name), covering),
            guard=guard_of(config, shortest),
            failing_after=config.drift.failing_after,
            stale_after=config.drift.stale_after_for(longest),
        )

    return grounds_of(config, terms_of)


@dataclass(frozen=True, slots=True)
class _RulesAt:
    """Gives rules as maintenance makes them at any instant."""

    base: Rules
    windows: tuple[Window, ...]

    def __call__(self, at: datetime) -> Rules:
        return during(self.base, maintenance(self.windows, at))
