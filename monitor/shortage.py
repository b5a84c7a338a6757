"""Whether this process has run out of file descriptors, memory or threads: counted, logged, remembered.

It is its own fault and no one else's: a sync, a delivery or a lookup that fails for it is simply tried again.
"""

from collections import Counter
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.errors import OutOfResources, Resource

LASTS_S = 30.0
"""Longer than a recheck takes to find out whether it is over."""
_LINE_EVERY_S = 60.0

_HINTS = {
    Resource.DESCRIPTORS: "raise the limit on open files (ulimit -n, LimitNOFILE=)",
    Resource.MEMORY: "give the monitor more memory",
    Resource.THREADS: "raise the limit on processes (ulimit -u, TasksMax=, pids.max)",
}


class Shortage:
    """Told by everything that fails for want of a resource; asked whether there still is one.

    Args:
        clock: The time.
        log: Gets `resources.exhausted`, at most once a minute for each resource.
        count: Called each time.
    """

    def __init__(self, *, clock: Clock, log: FilteringBoundLogger, count: Callable[[], None]) -> None:
        self._clock = clock
        self._log = log
        self._count = count
        self._met_s: dict[Resource, float] = {}
        self._said_s: dict[Resource, float] = {}
        self._unsaid: Counter[Resource] = Counter()

    def met(self, lack: OutOfResources, doing: str) -> None:
        """Record that something could not be done, said like "posting to pd"."""
        now_s, resource = self._clock.monotonic(), lack.resource
        self._count()
        self._met_s[resource] = now_s
        self._unsaid[resource] += 1
        said_s = self._said_s.get(resource)
        if said_s is None or now_s - said_s >= _LINE_EVERY_S:
            self._said_s[resource] = now_s
            self._log.error(
                "resources.exhausted",
                doing=doing,
                error=str(lack),
                hint=_HINTS[resource],
                times=self._unsaid.pop(resource),
            )

    def reason(self) -> str | None:
        """Return what the process lacks, or has lacked within the last half minute."""
        now_s = self._clock.monotonic()
        lacking = [resource for resource, met_s in self._met_s.items() if now_s - met_s < LASTS_S]
        return str(OutOfResources(lacking[0])) if lacking else None
