"""A process that may lack resources."""

from monitor.shortage import Shortage
from tests.fakes.clock import FakeClock
from tests.fakes.log import FakeLog


def no_shortage() -> Shortage:
    """Return one that no one looks at."""
    return Shortage(clock=FakeClock(), log=FakeLog().logger, count=lambda: None)
