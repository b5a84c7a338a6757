"""A watched connection: when it is due, and the rules its answers are judged by."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import xxhash
from apscheduler.triggers.base import BaseTrigger

from monitor.drift.plausibility import Guard
from monitor.drift.rules import Rules
from monitor.secret import Secret
from monitor.store.connections import ConnectionName
from monitor.voicelink.budget import AccountBudget
from monitor.watch.maintenance import Maintenance, Window, maintenance

_LONGEST_SPREAD = timedelta(seconds=30)
_HASH_RANGE = 1 << 32
_LATE = timedelta(seconds=30)
"""A sync may be as late as this, whatever its interval: it takes time, and a restart too."""


@dataclass(kw_only=True, eq=False)
class Connection:
    """One watched connection: how it is synced, how often, and by which rules.

    Args:
        names: Its identity and names.
        connection_id: What the provider calls it; None for the only one of its key.
        key: The API key of its account.
        budget: The account's request budget.
        trigger: When it is due.
        interval: The length of one interval (of a cron: its shortest), which a start is spread over.
        longest_interval: Of a cron, the longest time between two of its instants; else the same.
        recheck_interval: How soon it is due again after a sync that failed or left something open.
        stale_after: How long without an applied snapshot is too long.
        base_rules: Its rules outside maintenance windows.
        guard: How much of it may change in one step.
        windows: Its maintenance windows.
        rules_digest: Differs when any of these three does.
    """

    names: ConnectionName
    connection_id: str | None
    key: Secret
    budget: AccountBudget
    trigger: BaseTrigger
    interval: timedelta
    longest_interval: timedelta
    recheck_interval: timedelta
    stale_after: timedelta
    base_rules: Rules
    guard: Guard
    windows: tuple[Window, ...] = ()
    rules_digest: str = ""
    _maintenance: Maintenance | None = field(init=False, default=None)

    @property
    def identity(self) -> str:
        """What identifies it, whatever its name."""
        return self.names.identity

    def first_due_at(self, now: datetime) -> datetime:
        """Return when a new or overdue connection starts: soon, but not all of them at once."""
        spread = min(self.interval, _LONGEST_SPREAD)
        return now + spread * (stable_hash(self.identity) / _HASH_RANGE)

    def next_due_at(self, now: datetime, *, recheck: bool) -> datetime:
        """Return when it is due after a sync that ended now."""
        # Later than now: a sync that ended at its own instant is not due again at once.
        after = now + timedelta(microseconds=1)
        regular: datetime | None = self.trigger.get_next_fire_time(None, after)
        soon = now + self.recheck_interval
        if regular is None:
            return soon
        regular = regular.astimezone(UTC)
        return min(soon, regular) if recheck else regular

    def is_overdue(self, seen_at: datetime, now: datetime) -> bool:
        """Return whether the sync planned after the last applied one is missing.

        It may end as late as one interval, but at least 30 s, after it was due.
        """
        late = max(self.interval, _LATE)
        if now <= seen_at + late:
            return False
        return now > self.next_due_at(seen_at, recheck=False) + late

    def maintenance(self, now: datetime) -> Maintenance:
        """Return its maintenance; computed again only when that changes."""
        known = self._maintenance
        if known is None or (known.changes_at is not None and now >= known.changes_at):
            known = self._maintenance = maintenance(self.windows, now)
        return known

    def rules(self, now: datetime) -> Rules:
        """Return its rules as they are now."""
        return during(self.base_rules, self.maintenance(now))


def during(rules: Rules, window: Maintenance) -> Rules:
    """Return rules with what maintenance makes of them."""
    if not window.open and window.changes_at is None:
        return rules
    return replace(rules, muted=window.open, changes_at=window.changes_at)


def stable_hash(identity: str) -> int:
    """Return 32 bits that depend on the identity alone, the same in every process."""
    return xxhash.xxh32_intdigest(identity.encode())
