"""`[[accounts]]` and their connections, `[[ignore]]`, `[[maintenance]]`."""

from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from monitor.config import values
from monitor.secret import Secret


class ConnectionConfig(values.Section):
    """One VoiceLink connection to watch."""

    name: values.Name
    """Its name in alerts and metrics, unique among all accounts."""
    id: values.OptionalId = None
    """The provider's `connection_id`, a UUID; optional if the key has one active connection."""
    interval: values.LongDuration | None = None
    """Time between two syncs, instead of `[schedule]`'s."""
    cron: Annotated[values.Cron, values.exclusive("interval", "cron")] = None
    """When to sync, instead of `[schedule]`'s times; in its time zone."""
    _account: str = PrivateAttr(default="")

    def of_account(self, account: str) -> Self:
        """Note whose connection this is; its account calls this."""
        self._account = account
        return self

    @property
    def identity(self) -> str:
        """What identifies the connection whatever its name: its id, or `account:<name>` without one."""
        return self.id or f"account:{self._account}"


class AccountConfig(values.Section):
    """One API key and the connections that are read with it."""

    name: values.Name
    """Its name in alerts and metrics."""
    api_key: values.Token = None
    """The API key, `rg_live_…`."""
    api_key_file: Annotated[values.TokenFile, values.exclusive("api_key", "api_key_file", required=True)] = (
        None
    )
    """A file that holds the API key; read again when it changes."""
    requests_per_minute: values.Number = Field(default=30, ge=1, le=1_000_000)
    """Request budget of this key; the provider allows 60 a minute for all its users together."""
    discover: values.Flag = False
    """Watch every active VoiceLink connection of the key, as the provider lists them."""
    connections: tuple[ConnectionConfig, ...] = ()
    """The connections; with none, and `discover` off, one named like the account, without id."""

    @field_validator("connections", mode="after")
    @classmethod
    def _complete(
        cls, given: tuple[ConnectionConfig, ...], info: ValidationInfo
    ) -> tuple[ConnectionConfig, ...]:
        account = info.data.get("name", "")
        if not given and account and info.data.get("discover") is False:
            given = (ConnectionConfig(name=account),)
        without = [f"connections[{index}]" for index, connection in enumerate(given) if connection.id is None]
        if without and len(given) > 1:
            raise values.problem(
                f"an account with several connections needs the id of each: {', '.join(without)}"
            )
        return tuple(connection.of_account(account) for connection in given)

    @property
    def secret(self) -> Secret:
        """The API key, wherever it was given."""
        return values.chosen(self.api_key, self.api_key_file)


class IgnoreConfig(values.Section):
    """Numbers whose drift is not alerted; needs at least one of connection, number, issue and state."""

    connection: values.OptionalText = None
    """Glob of connection names; any if absent."""
    number: values.OptionalText = None
    """Glob of phone numbers, like `+9180*`; any if absent."""
    issue: values.OptionalText = None
    """An issue code to disregard; a number with no other issues does not alert."""
    state: values.OptionalText = None
    """A state; the rule applies while the number is in it."""
    reason: values.Text
    """Why the rule exists."""
    until: values.Until = None
    """When the rule ends: a date (it includes that whole day, UTC) or a time with its offset."""

    @model_validator(mode="after")
    def _not_everything(self) -> Self:
        if not (self.connection or self.number or self.issue or self.state):
            raise values.problem("give at least one of connection, number, issue, state")
        return self


class MaintenanceConfig(values.Section):
    """A time during which no alert opens: `cron` and `duration`, or `start` and `end` for a single window."""

    connections: tuple[values.Text, ...] = Field(default=("*",), min_length=1)
    """Globs of connection names."""
    timezone: values.TimeZone = "UTC"
    """The time zone of `cron`, and of `start` and `end` without offset; default: `[schedule]`'s."""
    cron: values.Cron = None
    """When the window opens, weekdays by name."""
    duration: values.LongDuration | None = None
    """How long it stays open."""
    start: Annotated[values.LocalInstant, values.exclusive("cron", "start")] = None
    """When a single window opens."""
    end: values.LocalInstant = None
    """When a single window ends."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.cron is None and self.start is None:
            raise values.problem("give cron and duration, or start and end")
        self._paired("cron", self.cron, "duration", self.duration)
        self._paired("start", self.start, "end", self.end)
        if self.start and self.end and self.start >= self.end:
            raise values.problem("`end` must be after `start`")
        return self

    @staticmethod
    def _paired(key: str, value: Any, partner: str, other: Any) -> None:
        if (value is None) != (other is None):
            raise values.problem(f"{key} and {partner} go together: give both")
