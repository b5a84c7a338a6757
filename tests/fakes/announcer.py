"""An announcer that the test listens to."""

from monitor.clock import Clock
from monitor.metrics import Metrics
from monitor.store.health import StoreHealth
from monitor.sync.announce import Announcer
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage


def health_on(log: FakeLog, clock: Clock | None = None, metrics: Metrics | None = None) -> StoreHealth:
    """Return the health of a store that nothing has happened to yet."""
    count = (metrics or Metrics(version="1")).store_error
    return StoreHealth(clock=clock or FakeClock(), log=log.logger, count=count, shortage=no_shortage())


def announcer_on(log: FakeLog, metrics: Metrics | None = None, clock: Clock | None = None) -> Announcer:
    """Return an announcer that writes to this log."""
    metrics = metrics or Metrics(version="1")
    return Announcer(
        metrics=metrics, log=log.logger, shortage=no_shortage(), store=health_on(log, clock, metrics)
    )
