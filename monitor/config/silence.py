"""`[[ignore]]` and `[[maintenance]]`: what must not page."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from monitor.config.base import Section
from monitor.config.values import (
    Cron,
    LocalInstant,
    LongDuration,
    OptionalText,
    Text,
    TimeZone,
    Until,
    exclusive,
    problem,
)


class IgnoreConfig(Section):
    """Numbers that may drift in silence; it needs at least one of connection, number, issue and state."""

    connection: OptionalText = None
    """Glob of connection names; any if absent."""
    number: OptionalText = None
    """Glob of phone numbers, like `+9180*`; any if absent."""
    issue: OptionalText = None
    """An issue code to take off a number's list; the number is silent if none is left."""
    state: OptionalText = None
    """A state; the rule holds while the number is in it."""
    reason: Text
    """Why, for whoever wonders later."""
    until: Until = None
    """A date (the rule holds through that whole day, UTC) or a time with its offset, at which it ends."""

    @model_validator(mode="after")
    def _not_everything(self) -> Self:
        if not (self.connection or self.number or self.issue or self.state):
            raise problem("give at least one of connection, number, issue, state")
        return self


class MaintenanceConfig(Section):
    """A time in which no alert opens: `cron` and `duration`, or `start` and `end` for once."""

    connections: tuple[Text, ...] = Field(default=("*",), min_length=1)
    """Globs of connection names."""
    timezone: TimeZone = "UTC"
    """The time zone of `cron`, and of `start` and `end` without offset; default: `[schedule]`'s."""
    cron: Cron = None
    """When the window opens, weekdays by name."""
    duration: LongDuration | None = None
    """How long it stays open."""
    start: Annotated[LocalInstant, exclusive("cron", "start")] = None
    """When a single window opens."""
    end: LocalInstant = None
    """When a single window ends."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.cron is None and self.start is None:
            raise problem("give cron and duration, or start and end")
        self._paired("cron", self.cron, "duration", self.duration)
        self._paired("start", self.start, "end", self.end)
        if self.start and self.end and self.start >= self.end:
            raise problem("its end must be after its start")
        return self

    @staticmethod
    def _paired(key: str, value: Any, partner: str, other: Any) -> None:
        if (value is None) != (other is None):
            raise problem(f"{key} and {partner} go together: give both")
