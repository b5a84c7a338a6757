"""Cron expressions with Debian's meaning, in a time zone: five fields, weekdays by name.

Across a change of the clocks, as in Debian's cron: what runs at fixed times runs once, right after a gap if
its time was skipped, and at the first of two equal times; what runs every so many minutes or hours goes on by
elapsed time. (APScheduler's own cron trigger loses 00:00 to 00:59 of the day after a change.)

Source: https://manpages.debian.org/bookworm/cron/cron.8.en.html (notes on daylight saving time)
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from itertools import islice, pairwise, product
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger
from cronsim import CronSim, CronSimError

_FIELDS = 5
_SECOND = timedelta(seconds=1)
_DAYS = 60
"""How many of the days on which a cron runs are looked at to see how far they are apart."""
_FIRES = 50
_LONGEST_GAP = timedelta(hours=25)
"""Clocks were once set ahead by a whole day (Samoa, 2011): what that skipped runs right after it."""


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is not typed
    """Fires at the times of a cron expression.

    Args:
        expression: As `parse_cron` takes it.
        zone: The time zone whose clock it reads.
    """

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        self._expression = expression
        self._zone = zone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first instant at or after `now`, in UTC; None if there is none."""
        del previous_fire_time
        return next((at for at in self._fires(now) if at >= now), None)

    def __str__(self) -> str:
        return f"{self._expression} {self._zone.key}"

    def _fires(self, now: datetime) -> Iterator[datetime]:
        start = now.astimezone(UTC) - _SECOND
        if _goes_by_elapsed_time(self._expression):
            return self._by_offset(start)
        # Fixed times are read off the local clock: `now` may come twice on it, a time before never.
        fires = CronSim(self._expression, (start - _LONGEST_GAP).astimezone(self._zone))
        return (at.astimezone(UTC) for at in fires)

    def _by_offset(self, start: datetime) -> Iterator[datetime]:
        """Yield what comes after an instant, one offset of the zone at a time.

        Across a change, cronsim errs for gaps at midnight and changes of half an hour.
        """
        while True:
            offset = self._offset(start + _SECOND)
            for at in CronSim(self._expression, start.astimezone(timezone(offset))):
                if self._offset(at) != offset:
                    start = self._change(start + _SECOND, at, offset) - _SECOND
                    break
                yield at.astimezone(UTC)
            else:
                return

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self._zone).utcoffset() or timedelta(0)

    def _change(self, before: datetime, after: datetime, offset: timedelta) -> datetime:
        """Return the first whole second between two instants at which the zone has left an offset."""
        low, high = int(before.timestamp()), int(after.timestamp())
        seconds = range(low, high + 1)
        left = bisect_left(
            seconds, 1, key=lambda each: int(self._offset(datetime.fromtimestamp(each, UTC)) != offset)
        )
        return datetime.fromtimestamp(seconds[left], UTC)


def parse_cron(expression: str, timezone: str) -> CronTrigger:
    """Return the trigger of a crontab line such as `*/5 * * * mon-fri`.

    Weekday numbers are refused: they differ from cron to cron, and a window on the wrong day is worse than
    an error.

    Args:
        expression: Minute, hour, day of month, month, day of week.
        timezone: An IANA name like `Asia/Kolkata`.

    Raises:
        ValueError: The expression or the time zone cannot be read; the text says why.
    """
    fields = expression.split()
    if len(fields) != _FIELDS:
        raise ValueError(
            f"a cron expression has five fields (minute hour day month weekday), not {len(fields)}"
        )
    if re.search(r"\d", fields[-1].split("/")[0]):
        raise ValueError("write weekdays by name (mon, tue, mon-fri): their numbers differ from cron to cron")
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError("the time zone is unknown: use a name like UTC or Asia/Kolkata") from exc
    if not _is_readable(fields):
        # cronsim refuses a day that no month has in the same words as one that is no number.
        if _is_readable([*fields[:3], "*", fields[4]]) and _is_readable(["0", "0", "*", *fields[3:]]):
            raise ValueError("this cron expression names a day that never comes")
        # Its texts quote the expression; ours is shown where values must not be.
        raise ValueError("not a cron expression: write minute hour day month weekday, like */5 * * * mon-fri")
    return CronTrigger(expression, zone)


def next_fire_at(trigger: BaseTrigger, after: datetime) -> datetime | None:
    """Return the first instant of a trigger later than `after`, in UTC; None if there is none.

    Not in the trigger's zone: adding to a local time, or subtracting two, forgets the hour that a change of
    the clocks takes or gives.
    """
    at: datetime | None = trigger.get_next_fire_time(None, after + timedelta(microseconds=1))
    return at.astimezone(UTC) if at is not None else None


@lru_cache(maxsize=64)  # many connections, one cron
def gaps(expression: str, timezone: str, now: datetime) -> tuple[timedelta, timedelta]:
    """Return the shortest and the longest time between two instants of a cron, from `now` on.

    The next times alone do not tell: those of a Friday morning know nothing of the weekend. What lies between
    the last time of a day and the first of the next one follows from the days on which the cron runs.
    """
    *_, day, month, weekday = expression.split()
    clock = CronSim(expression, now)
    times = [timedelta(hours=hour, minutes=minute) for hour, minute in product(clock.hours, clock.minutes)]
    first, last = min(times), max(times)
    days = islice(_after(parse_cron(f"0 0 {day} {month} {weekday}", timezone), now), _DAYS)
    fires = islice(_after(parse_cron(expression, timezone), now), _FIRES)
    found = [
        *(later - earlier for earlier, later in pairwise(sorted(times))),
        *(later - earlier - (last - first) for earlier, later in pairwise(days)),
        *(later - earlier for earlier, later in pairwise(fires)),  # a change of the clocks may shorten these
    ]
    return min(found, default=timedelta.max), max(found, default=timedelta.max)


def _after(trigger: BaseTrigger, now: datetime) -> Iterator[datetime]:
    at = next_fire_at(trigger, now)
    while at is not None:
        yield at
        at = next_fire_at(trigger, at)


def _goes_by_elapsed_time(expression: str) -> bool:
    """Return whether a line runs every so many minutes or hours, whatever the clock shows."""
    minute, hour, *_ = expression.split()
    return minute.startswith("*") or hour.startswith("*")


def means_either_day(expression: str) -> bool:
    """Return whether a line restricts day of month and weekday both: it then fires on days that match either.

    Source: https://manpages.debian.org/bookworm/cron/crontab.5.en.html
    """
    _minute, _hour, day, _month, weekday = expression.split()
    return not day.startswith("*") and not weekday.startswith("*")


def _is_readable(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True
