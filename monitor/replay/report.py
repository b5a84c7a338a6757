"""What a replay came to, beside what happened (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

import msgspec

from monitor.drift.alert import Kind
from monitor.drift.text import duration
from monitor.units import format_duration

_SAME_S = 0.05
"""Less than two syncs are ever apart: by the same rules an alert opens at the same one."""
_TOGETHER = timedelta(hours=1)
"""Alerts of one cause are taken for one another if they open no further apart, or fire at one time."""


class Verdict(StrEnum):
    """What became of an alert: `gone` was recorded only, `new` is replayed only."""

    SAME = "same"
    NEW = "new"
    GONE = "gone"
    EARLIER = "earlier"
    LATER = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An alert that opened, in the store or in a replay."""

    id: str
    kind: Kind
    account: str | None
    connection: str | None
    state: str | None
    opened_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    numbers_max: int
    connections: tuple[str, ...] = ()

    @property
    def cause(self) -> tuple[str | None, ...]:
        """What it has in common with another one that means the same."""
        return self.kind, self.account, self.connection, self.state

    def is_with(self, other: "Raised") -> bool:
        """Whether one may be the other."""
        if self.cause != other.cause:
            return False
        if abs(self.opened_at - other.opened_at) <= _TOGETHER:
            return True
        first, second = sorted((self, other), key=lambda each: each.opened_at)
        return first.resolved_at is None or first.resolved_at >= second.opened_at


class ReplayedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it was replayed; of one that is gone, as it was recorded.

    `shift_s` is how many seconds later than recorded it opens; None without a counterpart.
    """

    kind: Kind
    account: str | None
    connection: str | None
    state: str | None
    opened_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    numbers_max: int
    verdict: Verdict
    shift_s: float | None

    @property
    def apart(self) -> str:
        """How far the two are apart, for people."""
        shift = timedelta(milliseconds=round(abs(self.shift_s or 0) * 1000))
        return duration(shift) if shift >= timedelta(seconds=1) else format_duration(shift)


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A count of then, and of the replay."""

    recorded: int
    replayed: int


class NoticeTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long trouble of numbers had been seen when its alert opened, in the median and at most."""

    median_s: float
    longest_s: float


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay came to. `time_to_notice` is of the replayed alerts; None without any.

    `strayed`: in how many places the records did not come out as the journal has them.
    """

    since: datetime
    until: datetime
    alerts: list[ReplayedAlert]
    messages: dict[str, Compared]
    summary: Compared
    time_to_notice: NoticeTimes | None
    strayed: int


def compare(recorded: Sequence[Raised], replayed: Sequence[Raised]) -> list[ReplayedAlert]:
    """Return all alerts in the order in which they open, each beside its counterpart if it has one."""
    pairs = _pairs(recorded, replayed)
    found = []
    for was, now in pairs:
        shown = now or was
        if shown is None:
            continue
        verdict, shift_s = _verdict(was, now)
        found.append(
            ReplayedAlert(
                kind=shown.kind,
                account=shown.account,
                connection=shown.connection,
                state=shown.state,
                opened_at=shown.opened_at,
                resolved_at=shown.resolved_at,
                resolution=shown.resolution,
                numbers_max=shown.numbers_max,
                verdict=verdict,
                shift_s=shift_s,
            )
        )
    return sorted(found, key=lambda alert: (alert.opened_at, alert.kind, alert.connection or ""))


def notice_times(noticed: Iterable[timedelta]) -> NoticeTimes | None:
    """Return how long trouble had been seen when alerts opened."""
    seconds = [each.total_seconds() for each in noticed]
    return NoticeTimes(median_s=median(seconds), longest_s=max(seconds)) if seconds else None


def compared(recorded: Mapping[str, int], replayed: Mapping[str, int]) -> dict[str, Compared]:
    """Return two counts by name as one."""
    return {
        name: Compared(recorded=recorded.get(name, 0), replayed=replayed.get(name, 0))
        for name in sorted({*recorded, *replayed})
    }


def _pairs(
    recorded: Sequence[Raised], replayed: Sequence[Raised]
) -> list[tuple[Raised | None, Raised | None]]:
    by_id = {alert.id: alert for alert in replayed}
    pairs: list[tuple[Raised | None, Raised | None]] = []
    left: list[Raised] = []
    for was in recorded:
        if (now := by_id.pop(was.id, None)) is not None:
            pairs.append((was, now))
        else:
            left.append(was)
    by_cause: dict[tuple[str | None, ...], list[Raised]] = {}
    for now in by_id.values():
        by_cause.setdefault(now.cause, []).append(now)
    for was in left:
        others = by_cause.get(was.cause, [])
        near = min(
            (other for other in others if was.is_with(other)),
            key=lambda other: abs(other.opened_at - was.opened_at),
            default=None,
        )
        if near is not None:
            others.remove(near)
        pairs.append((was, near))
    return [*pairs, *((None, now) for others in by_cause.values() for now in others)]


def _verdict(was: Raised | None, now: Raised | None) -> tuple[Verdict, float | None]:
    if now is None:
        return Verdict.GONE, None
    if was is None:
        return Verdict.NEW, None
    shift_s = (now.opened_at - was.opened_at).total_seconds()
    if abs(shift_s) < _SAME_S:
        return Verdict.SAME, shift_s
    return Verdict.EARLIER if shift_s < 0 else Verdict.LATER, shift_s
