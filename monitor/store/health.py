"""Whether the store keeps what it is given: failures are counted, logged and remembered."""

from collections import Counter
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from monitor.clock import Clock
from monitor.errors import StoreUnavailable, out_of_resources
from monitor.shortage import Shortage
from monitor.store.trouble import Trouble

LATE_S = 15.0
"""After so long without a snapshot that was kept, the monitor does not do its work."""

_EVERYTHING = ""
_LINE_EVERY_S = 60.0


class StoreHealth:
    """Told by everything that uses the store; asked whether syncs are recorded.

    Args:
        clock: The time.
        log: Gets `store.failed`, at most once a minute for each operation and reason, and `store.recovered`.
        count: Called for each failure.
        shortage: Told of those that are for want of a resource.
    """

    def __init__(
        self, *, clock: Clock, log: FilteringBoundLogger, count: Callable[[], None], shortage: Shortage
    ) -> None:
        self._clock = clock
        self._log = log
        self._count = count
        self._shortage = shortage
        self._said_s: dict[tuple[str, str], float] = {}
        self._unsaid: Counter[tuple[str, str]] = Counter()
        self._unkept: dict[str, tuple[float, str]] = {}
        self._kept_s = 0.0

    def failed(self, error: StoreUnavailable, doing: str) -> None:
        """Record an operation that was not completed, said like "reading the gauges"."""
        self._count()
        lack = out_of_resources(error)
        if lack is not None:
            self._shortage.met(lack, doing)
        now_s, which = self._clock.monotonic(), (doing, error.reason)
        self._unsaid[which] += 1
        said_s = self._said_s.get(which)
        if said_s is None or now_s - said_s >= _LINE_EVERY_S:
            self._said_s[which] = now_s
            self._log.error("store.failed", doing=doing, error=str(error), times=self._unsaid.pop(which))

    def keeps_nothing(self, error: StoreUnavailable, doing: str) -> None:
        """Record that not even what is due could be found out or claimed."""
        self.failed(error, doing)
        self._note(_EVERYTHING, error)

    def keeps(self) -> None:
        """Record that what is due could be claimed."""
        self._well(_EVERYTHING)

    def not_kept(self, error: StoreUnavailable, doing: str, identity: str) -> None:
        """Record that the sync of a connection was not kept."""
        self.failed(error, doing)
        if error.reason != Trouble.OTHER:  # what it never accepts of one connection is no fault of the store
            self._note(identity, error)

    def kept(self, *identities: str) -> None:
        """Record that the syncs of connections were kept."""
        if identities:
            self._kept_s = self._clock.monotonic()
        for identity in identities:
            self._well(identity)

    def forget(self, identity: str) -> None:
        """Forget a connection that is no longer watched."""
        self._unkept.pop(identity, None)

    @property
    def is_well(self) -> bool:
        """Whether everything was kept that it was given last."""
        return not self._unkept

    def reason(self) -> str | None:
        """Return what has not been kept for so long that it matters, and why; None: all is well."""
        now_s = self._clock.monotonic()
        late = [(since_s, why) for since_s, why in self._unkept.values() if now_s - since_s >= LATE_S]
        if not late:
            return None
        since_s, why = min(late)
        which = "no snapshot" if self._kept_s < since_s else "not every snapshot"
        return f"{which} could be kept for {LATE_S:g} s: {why}"

    def _note(self, which: str, error: StoreUnavailable) -> None:
        since_s, _ = self._unkept.get(which, (self._clock.monotonic(), ""))
        self._unkept[which] = since_s, error.reason

    def _well(self, which: str) -> None:
        if self._unkept.pop(which, None) is not None and not self._unkept:
            self._said_s.clear()
            self._unsaid.clear()
            self._log.info("store.recovered")
