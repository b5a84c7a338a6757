"""What is watched and by which rules: the part of the program that a reload replaces in one piece."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import xxhash
from apscheduler.triggers.base import BaseTrigger

from monitor.drift.failures import FailureRules, Streak
from monitor.drift.plausibility import Guard
from monitor.drift.rules import Rules
from monitor.drift.text import Watched, Wording
from monitor.notify.routing import Route
from monitor.secret import Secret
from monitor.store.connections import ConnectionName
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import VoiceLinkClient
from monitor.watch.maintenance import Maintenance, Window, maintenance

_LONGEST_SPREAD = timedelta(seconds=30)
_HASH_RANGE = 1 << 32


class Connection:
    """One watched connection: how it is asked, how often, and what its answers mean.

    Args:
        named: Its identity and names.
        connection_id: What the provider calls it; None for the only one of its key.
        key: The API key of its account.
        budget: The account's request budget.
        trigger: When it is due.
        interval: The length of one interval (of a cron: its shortest), which a start is spread over.
        recheck_interval: How soon it is due again after a sync that failed or left something open.
        stale_after: How long without an applied snapshot is too long.
        rules: Its rules, maintenance aside.
        guard: How much of it may change in one step.
        windows: Its maintenance windows.
    """

    def __init__(
        self,
        *,
        named: ConnectionName,
        connection_id: str | None,
        key: Secret,
        budget: AccountBudget,
        trigger: BaseTrigger,
        interval: timedelta,
        recheck_interval: timedelta,
        stale_after: timedelta,
        rules: Rules,
        guard: Guard,
        windows: tuple[Window, ...] = (),
    ) -> None:
        self.named = named
        self.connection_id = connection_id
        self.key = key
        self.budget = budget
        self.interval = interval
        self.stale_after = stale_after
        self.guard = guard
        self._trigger = trigger
        self._recheck_interval = recheck_interval
        self._rules = rules
        self._windows = windows
        self._maintenance: Maintenance | None = None

    @property
    def identity(self) -> str:
        """What it is known by, whatever its name."""
        return self.named.identity

    def first_due_at(self, now: datetime) -> datetime:
        """Return when a new or overdue connection starts: soon, but not all of them at once."""
        spread = min(self.interval, _LONGEST_SPREAD)
        return now + spread * (stable_hash(self.identity) / _HASH_RANGE)

    def next_due_at(self, now: datetime, *, recheck: bool) -> datetime:
        """Return when it is due after a sync that ended now."""
        # Later than now: a sync that ended at its own instant is not due again at once.
        after = now + timedelta(microseconds=1)
        regular: datetime | None = self._trigger.get_next_fire_time(None, after)
        soon = now + self._recheck_interval
        if regular is None:
            return soon
        regular = regular.astimezone(UTC)
        return min(soon, regular) if recheck else regular

    def maintenance(self, now: datetime) -> Maintenance:
        """Return how it stands with its maintenance windows; computed again only when that changes."""
        known = self._maintenance
        if known is None or (known.changes_at is not None and now >= known.changes_at):
            known = self._maintenance = maintenance(self._windows, now)
        return known

    def rules(self, now: datetime) -> Rules:
        """Return its rules as they hold now."""
        window = self.maintenance(now)
        if not window.open and window.changes_at is None:
            return self._rules
        return replace(self._rules, muted=window.open, changes_at=window.changes_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchlist:
    """Everything that the configuration says about what is watched, and who is told."""

    connections: Mapping[str, Connection]
    client: VoiceLinkClient
    failure_rules: FailureRules
    wording: Wording
    routes: tuple[Route, ...]
    since: datetime
    watched: Mapping[str, Watched] = field(init=False)

    def __post_init__(self) -> None:
        names = {
            connection.identity: Watched(name=connection.named.name, account=connection.named.account)
            for connection in self.connections.values()
        }
        object.__setattr__(self, "watched", names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovering:
    """How the discovery of an account has been going, failures watched like those of a connection."""

    account: str
    streak: Streak
    fresh_at: datetime
    stale_after: timedelta

    @property
    def identity(self) -> str:
        """What failure alerts know it by."""
        return f"discovery:{self.account}"


@dataclass(slots=True)
class ActiveState:
    """What is in force now: the watchlist, which a reload exchanges, and what hangs on it.

    `discoveries` are by account. `former` are the names of connections that were watched once, for alerts
    that end with them. `troubled` are in a failure alert.
    """

    watchlist: Watchlist
    discoveries: dict[str, Discovering] = field(default_factory=dict)
    troubled: frozenset[str] = frozenset()
    former: dict[str, Watched] = field(default_factory=dict)


def stable_hash(identity: str) -> int:
    """Return 32 bits that hang on the identity alone, the same in every process."""
    return xxhash.xxh32_intdigest(identity.encode())
