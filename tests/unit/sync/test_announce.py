"""What the announcer counts and logs."""

from monitor.metrics import Metrics
from tests.fakes.announcer import announcer_on
from tests.fakes.log import FakeLog


async def test_internal_errors_are_all_counted_and_a_few_logged() -> None:
    """A bug that strikes at every sync fills no disk, and the counter misses none of it."""
    log, metrics = FakeLog(), Metrics(version="1")
    announcer = announcer_on(log, metrics)
    for _ in range(100):
        announcer.internal_error("sync", KeyError("x"))
    announcer.internal_error("tick", KeyError("x"))
    assert len(log.of("internal.error")) < 10
    assert log.of("internal.error")[-1]["doing"] == "tick"
    _, pieces = await metrics.render(accept="")
    assert b"\nvoicelink_monitor_internal_errors_total 101.0\n" in b"".join(pieces)
