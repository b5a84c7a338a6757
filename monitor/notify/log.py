"""The log as a receiver: one line a message, with all fields of the alert body. It never refuses."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from monitor.drift.alert import Notice, Severity, Status
from monitor.notify.delivery import Delivery

_EVENTS = {
    Notice.OPENED: "alert.opened",
    Notice.UPDATED: "alert.updated",
    Notice.RESOLVED: "alert.resolved",
    Notice.REMINDER: "alert.updated",  # its `change` still says reminder
}

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}


class LogReceiver:
    """Writes `alert.opened`, `alert.updated`, `alert.resolved`.

    Args:
        log: Where to.
        name: Its name among the receivers.
    """

    timeout_s = 5.0

    def __init__(self, log: FilteringBoundLogger, *, name: str = "log") -> None:
        self.name = name
        self._log = log

    async def send(self, delivery: Delivery) -> None:
        """Write the line; its answer is the line itself."""
        fields: dict[str, Any] = msgspec.json.decode(delivery.body)
        self._log.log(level_of(fields), _EVENTS[delivery.change], **fields)


def level_of(body: Mapping[str, Any]) -> int:
    """Return the log level of an alert body: info once it is over, else by its severity."""
    if body["status"] == Status.RESOLVED:
        return logging.INFO
    return _LEVELS[Severity(body["severity"])]
