"""`[[accounts]]` and their connections."""

from typing import Annotated, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from monitor.config.base import Section, chosen
from monitor.config.values import (
    Cron,
    Flag,
    LongDuration,
    Name,
    Number,
    OptionalId,
    Token,
    TokenFile,
    exclusive,
    problem,
)
from monitor.secret import Secret


class ConnectionConfig(Section):
    """One VoiceLink connection to watch."""

    name: Name
    """Its name in alerts and metrics, unique among all accounts."""
    id: OptionalId = None
    """The provider's `connection_id`; optional if the key has one active connection."""
    interval: LongDuration | None = None
    """Time between two syncs, instead of `[schedule]`'s."""
    cron: Annotated[Cron, exclusive("interval", "cron")] = None
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


class AccountConfig(Section):
    """One API key and the connections that are read with it."""

    name: Name
    """Its name in alerts and metrics."""
    api_key: Token = None
    """The API key, `rg_live_…`."""
    api_key_file: Annotated[TokenFile, exclusive("api_key", "api_key_file", required=True)] = Field(
        default=None, validate_default=True
    )
    """A file that holds the API key; read again when it changes."""
    requests_per_minute: Number = Field(default=30, ge=1, le=1_000_000)
    """The most requests the monitor sends with this key; the provider allows 60 a minute to all its users."""
    discover: Flag = False
    """Watch every active VoiceLink connection of the key, as the provider lists them."""
    connections: tuple[ConnectionConfig, ...] = Field(default=(), validate_default=True)
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
            raise problem(f"an account with several connections needs the id of each: {', '.join(without)}")
        return tuple(connection.of_account(account) for connection in given)

    @property
    def secret(self) -> Secret:
        """The API key, wherever it was given."""
        return chosen(self.api_key, self.api_key_file)
