"""Cron expressions with five fields, weekdays by name, and a time zone."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

_FIELDS = 5


def parse_cron(expression: str, timezone: str) -> CronTrigger:
    """Return the trigger of a crontab line such as `*/5 * * * mon-fri`.

    Weekday numbers are refused: cron counts them from Sunday, APScheduler from Monday, and a window on
    the wrong day is worse than an error.

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
    try:
        return CronTrigger.from_crontab(expression, timezone=zone)
    except ValueError:
        # APScheduler's text quotes the expression; ours is shown where values must not be.
        raise ValueError(
            "not a cron expression: write minute hour day month weekday, like */5 * * * mon-fri"
        ) from None


def next_fire_at(trigger: CronTrigger, after: datetime) -> datetime | None:
    """Return the first instant of the trigger later than `after`, in UTC; None if there is none.

    Not in the trigger's zone: adding to a local time, or subtracting two, forgets the hour that a change of
    the clocks takes or gives.
    """
    # Not by telling the trigger its last time: in the hour that comes twice it would not move on from there.
    at: datetime | None = trigger.get_next_fire_time(None, after + timedelta(microseconds=1))
    return at.astimezone(UTC) if at is not None else None
