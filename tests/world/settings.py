"""The config file: what it says at an instant, and what people do to it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from monitor.config import Config
from monitor.errors import ConfigError
from tests.world.events import AnyEvent, BadConfig, Ignore, Maintenance, Without, World
from tests.world.promises import KEPT


class Settings:
    """The file. `is_bad`: nobody can read it."""

    def __init__(self, world: World, store: str) -> None:
        self._world = world
        self._store = store
        self._without: list[Without] = []
        self._ignored: list[Ignore] = []
        self._windows: list[tuple[Maintenance, datetime, datetime]] = []
        self.is_bad = False

    def begin(self, event: AnyEvent, now: datetime) -> bool:
        """Change the file as an event wants it; return whether it did."""
        match event:
            case Without():
                self._without.append(event)
            case Ignore():
                self._ignored.append(event)
            case Maintenance():
                self._windows.append((event, now, now + timedelta(seconds=event.lasts_s)))
            case BadConfig():
                self.is_bad = True
            case _:
                return False
        return True

    def over(self, event: AnyEvent) -> bool:
        """Change it back. A maintenance window stays: it ends by itself."""
        self._without = [each for each in self._without if each is not event]
        self._ignored = [each for each in self._ignored if each is not event]
        return isinstance(event, Without | Ignore)

    def calm(self) -> bool:
        """Drop the windows, which a clock that was set may have kept open; return whether there were any."""
        had, self._windows = bool(self._windows), []
        return had

    @property
    def connections(self) -> list[int]:
        """Return which connections are configured; one always is."""
        gone = {event.connection for event in self._without if event.connection is not None}
        return [index for index in range(len(self._world.connections)) if index not in gone] or [0]

    def read(self) -> Config:
        """Read the file.

        Raises:
            ConfigError: It is bad.
        """
        if self.is_bad:
            raise ConfigError(["a test's mistake"])
        return Config.model_validate(
            {
                "api": {"base_url": "http://provider/api/v2", "timeout": "10s"},
                "schedule": {"interval": f"{self._world.interval_s}s", "recheck_interval": "10s"},
                "drift": {"keep_firing_for": "3m"},
                "alerts": {"update_interval": "2m", "max_listed_numbers": 500}
                | ({"widespread_connections": 2} if KEPT.widespread else {}),
                "accounts": self._accounts(),
                "ignore": [
                    {"connection": f"c{event.connection}", "reason": "a test"}
                    | ({"issue": event.issue} if event.issue else {})
                    for event in self._ignored
                ],
                "maintenance": [
                    {"connections": [f"c{event.connection}"], "start": start, "end": end}
                    for event, start, end in self._windows
                ],
                "receivers": self._receivers(),
                "store": {"url": self._store},
            }
        )

    def _accounts(self) -> list[dict[str, Any]]:
        connections = self.connections
        return [
            {
                "name": f"a{account}",
                "api_key": f"rg_live_{account}",
                "requests_per_minute": 600,
                "connections": [
                    {"name": f"c{index}", "id": str(UUID(int=index))}
                    for index in connections
                    if self._world.accounts[index] == account
                ],
            }
            for account in sorted({self._world.accounts[index] for index in connections})
        ]

    def _receivers(self) -> list[dict[str, Any]]:
        gone = {event.receiver for event in self._without}
        every: list[dict[str, Any]] = [
            {"name": "hook", "type": "webhook", "url": "http://hook/", "repeat_interval": "15m"},
            {
                "name": "picky",
                "type": "webhook",
                "url": "http://picky/",
                "connections": ["c0", "c2"],
                "min_severity": "critical",
            },
            {"name": "pd", "type": "pagerduty", "url": "http://pd/", "routing_key": "key"},
            {"name": "am", "type": "alertmanager", "urls": ["http://am/"]},
        ]
        return [receiver | {"timeout": "5s"} for receiver in every if receiver["name"] not in gone]
