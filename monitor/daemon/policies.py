"""The rules of a config, for a replay."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.config import Config
from monitor.daemon.grounds import configured_grounds
from monitor.daemon.watchlist import failure_rules_of, repeat_intervals, routes_of
from monitor.drift.facts import Terms
from monitor.drift.failures import Health
from monitor.store.connections import ConnectionName
from monitor.store.journal import Ruleset


@dataclass(eq=False)
class ConfiguredPolicies:
    """What a config says of each connection, at any instant; silences are those of then.

    Args:
        config: The config.
        now: The instant from which the gaps of crons are measured.
    """

    config: Config
    now: datetime
    _terms: dict[ConnectionName, Terms | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._grounds = configured_grounds(self.config, self.now)
        self._shared = Ruleset(
            failure_rules=failure_rules_of(self.config),
            widespread_connections=self.config.alerts.widespread_connections,
            routes=routes_of(self.config.receivers),
            repeats=repeat_intervals(self.config),
        )

    def rules(self, whose: ConnectionName, then: Ruleset, at: datetime) -> Ruleset | None:
        """Return the rules of a connection at an instant; None: it is not watched."""
        terms = self._of(whose)
        if terms is None:
            return None
        silences = then.rules.silences if then.rules is not None else ()
        return Ruleset(
            rules=terms.rules_at(at).with_silences(silences),
            guard=terms.guard,
            widespread_connections=self._shared.widespread_connections,
            routes=self._shared.routes,
            repeats=self._shared.repeats,
        )

    def failure_rules(self, _then: Ruleset) -> Ruleset:
        """Return the rules for failures."""
        return self._shared

    def health(self, whose: ConnectionName, then: Health, at: datetime) -> Health | None:
        """Return how a connection does when it is stale and muted by this config; None: it is not watched."""
        terms = self._of(whose)
        if terms is None:
            return None
        return replace(then, stale_after=terms.stale_after, muted=terms.rules_at(at).muted)

    def _of(self, whose: ConnectionName) -> Terms | None:
        if whose not in self._terms:
            self._terms[whose] = self._grounds.terms_of(whose)
        return self._terms[whose]
