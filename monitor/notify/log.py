"""The log as a receiver: one line per message, with all fields of the alert body.

A message is delivered once its line was written. A line that waits for its reader stays queued, and the next
try waits for it again, so that nothing is written twice.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from monitor.drift.alert import Notice, Severity, Status
from monitor.errors import DeliveryError, Refusal
from monitor.lines import MAX_LINES, Line
from monitor.notify.delivery import Delivery

_EVENTS = {
    Notice.OPENED: "alert.opened",
    Notice.UPDATED: "alert.updated",
    Notice.RESOLVED: "alert.resolved",
    Notice.REMINDER: "alert.updated",  # its `change` still says reminder
    Notice.ACKNOWLEDGED: "alert.acknowledged",
}

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}


class LogReceiver:
    """Writes `alert.opened`, `alert.updated`, `alert.acknowledged`, `alert.resolved`.

    Args:
        log: Where to.
        name: Its name among the receivers.
        patience_s: Seconds that a line may wait for its reader; less than `timeout_s`, to say what was wrong.
    """

    timeout_s = 5.0

    def __init__(self, log: FilteringBoundLogger, *, name: str = "log", patience_s: float = 2.0) -> None:
        self.name = name
        self._log = log
        self._patience_s = patience_s
        self._queued: dict[str, Line] = {}

    async def send(self, delivery: Delivery) -> None:
        """Write the line; its answer is the line itself.

        Raises:
            DeliveryError: It was not written, or not yet.
        """
        line = self._queued.pop(delivery.id, None) or self._write(delivery)
        if line is None:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                failure = await line.failure()
        except TimeoutError:
            self._queued[delivery.id] = line
            if len(self._queued) > MAX_LINES:  # messages that were dismissed meanwhile
                del self._queued[next(iter(self._queued))]
            failure = f"nothing was read for {self._patience_s:g} s"
        if failure is not None:
            raise DeliveryError(Refusal.RETRY, f"the log could not be written: {failure}")

    def _write(self, delivery: Delivery) -> Line | None:
        fields: dict[str, Any] = msgspec.json.decode(delivery.body)
        line = self._log.log(level_of(fields), _EVENTS[delivery.change], **fields)
        return line if isinstance(line, Line) else None


def level_of(body: Mapping[str, Any]) -> int:
    """Return the log level of an alert body: info once it is over or someone sees to it, else by severity."""
    if body["status"] == Status.RESOLVED or body["change"] == Notice.ACKNOWLEDGED:
        return logging.INFO
    return _LEVELS[Severity(body["severity"])]
