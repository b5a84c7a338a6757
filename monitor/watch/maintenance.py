"""Maintenance windows: whether one is open, and when that changes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from monitor.cron import CronTrigger, next_fire_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One `[[maintenance]]` entry: either recurring (`cron` and `duration`) or once (`start` and `end`)."""

    connections: tuple[str, ...]
    cron: CronTrigger | None = None
    duration: timedelta = timedelta()
    start: datetime | None = None
    end: datetime | None = None

    def covers(self, connection: str) -> bool:
        """Whether the window is for a connection of this name."""
        return any(fnmatchcase(connection, glob) for glob in self.connections)

    def open_until(self, now: datetime) -> datetime | None:
        """Return when the window that is open now ends; None if it is closed."""
        if self.cron is None:
            begun = self.start is None or self.start <= now
            return self.end if begun and self.end is not None and now < self.end else None
        # The latest start that could still be open; a later start inside the window prolongs it.
        until = None
        start = next_fire_at(self.cron, now - self.duration)
        while start is not None and start <= now:
            until = start + self.duration
            start = next_fire_at(self.cron, start)
        return until

    def opens_at(self, now: datetime) -> datetime | None:
        """Return when it next opens; None if it never does again."""
        if self.cron is not None:
            return next_fire_at(self.cron, now)
        return self.start if self.start is not None and self.start > now else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Whether a window is open for a connection, and until when that is so."""

    open: bool
    changes_at: datetime | None


def maintenance(windows: Sequence[Window], now: datetime) -> Maintenance:
    """Return the maintenance of a connection with these windows."""
    ends = _instants(window.open_until(now) for window in windows)
    if ends:
        return Maintenance(open=True, changes_at=min(ends))
    return Maintenance(open=False, changes_at=min(_instants(w.opens_at(now) for w in windows), default=None))


_MOST_IN_A_ROW = 50


def ends_at(windows: Sequence[Window], now: datetime) -> datetime | None:
    """Return when no window is open any more; None if none is, or one is always followed by the next."""
    at = now
    for _ in range(_MOST_IN_A_ROW):
        held = maintenance(windows, at)
        if not held.open or held.changes_at is None:
            return at if at > now else None
        at = held.changes_at
    return None


def _instants(instants: Iterable[datetime | None]) -> list[datetime]:
    return [instant for instant in instants if instant is not None]
