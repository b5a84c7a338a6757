"""When a connection is synced, and whether an account's requests suffice for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from monitor.cron import next_fire_at, parse_cron

_FIRES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a connection is synced: every `interval`, or by `cron` in `timezone` if there is one."""

    interval: timedelta
    cron: str | None = None
    timezone: str = "UTC"

    def gaps(self, now: datetime) -> tuple[timedelta, timedelta]:
        """Return the shortest and the longest time between two of the next syncs."""
        if self.cron is None:
            return self.interval, self.interval
        trigger = parse_cron(self.cron, self.timezone)
        fires: list[datetime] = []
        at = next_fire_at(trigger, now)
        while at is not None and len(fires) <= _FIRES:
            # In UTC: the difference of two local times forgets the hour that a clock change takes.
            fires.append(at.astimezone(UTC))
            at = next_fire_at(trigger, at)
        gaps = [later - earlier for earlier, later in pairwise(fires)]
        return min(gaps, default=timedelta.max), max(gaps, default=timedelta.max)


def requests_per_minute(gaps: Sequence[timedelta]) -> float:
    """Return how many requests a minute it takes to sync one connection each so often."""
    return sum(timedelta(minutes=1) / gap for gap in gaps)


def budget_problem(account: str, gaps: Sequence[timedelta], budget: int) -> str | None:
    """Return what is wrong if an account's connections need more requests than it has, else None.

    Args:
        account: Its name.
        gaps: For each connection, the shortest time between two of its syncs.
        budget: Requests a minute.
    """
    needed = requests_per_minute(gaps)
    # Sums of thirds and tenths may miss a whole number by a hair.
    if needed <= budget + 1e-6:
        return None
    count = "1 connection" if len(gaps) == 1 else f"{len(gaps)} connections"
    pace = f" every {gaps[0].total_seconds():g}s" if len(set(gaps)) == 1 else ""
    verb = "needs" if len(gaps) == 1 else "need"
    return (
        f"account {account}: {count}{pace} {verb} {math.ceil(needed * 10 - 1e-6) / 10:g} requests a minute, "
        f"its budget is {budget}: raise requests_per_minute or the interval"
    )
