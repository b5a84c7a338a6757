"""A log that keeps its lines."""

from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.testing import LogCapture
from structlog.typing import FilteringBoundLogger


class FakeLog:
    """Hand `logger` to who logs; read `lines`: each the event's fields, with `event` and `log_level`."""

    def __init__(self) -> None:
        self._capture = LogCapture()
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            None, processors=[self._capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )

    @property
    def lines(self) -> list[MutableMapping[str, Any]]:
        """All lines so far."""
        return self._capture.entries

    @property
    def events(self) -> list[str]:
        """The names of all events so far."""
        return [line["event"] for line in self.lines]

    def of(self, event: str) -> list[MutableMapping[str, Any]]:
        """The lines of one event."""
        return [line for line in self.lines if line["event"] == event]
