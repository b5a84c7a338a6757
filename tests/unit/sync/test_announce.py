"""What the announcer counts and logs."""

import io
import json

import pytest

from monitor.drift.failures import Streak
from monitor.errors import Outcome
from monitor.log import build_logger
from monitor.metrics import Metrics
from monitor.store.claims import Claim, SyncResult
from monitor.store.connections import ConnectionName
from monitor.sync.announce import Announcer
from tests.fakes.announcer import announcer_on, health_on
from tests.fakes.clock import START
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage


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


def _result() -> SyncResult:
    streak = Streak(outcome=Outcome.OK, failures=0, same_kind=0, answers=7)
    claim = Claim(
        identity="acme",
        epoch=7,
        due_at=START,
        sync_due=True,
        policy_due=False,
        wakes_at=None,
        digest="d",
        settled=True,
        held=0,
        unchanged=6,
        watched_since=START,
        succeeded_at=START,
        streak=streak,
    )
    return SyncResult(
        claim=claim,
        due_at=START,
        streak=streak,
        digest="d",
        applied=True,
        error=None,
        at=START,
        duration_s=0.25,
    )


@pytest.mark.parametrize(
    ("level", "changes", "told_at"),
    [("info", 0, None), ("info", 2, "info"), ("debug", 0, "debug"), ("debug", 2, "info")],
)
def test_sync_that_found_nothing_is_told_where_debugging_is_on(
    level: str, changes: int, told_at: str | None
) -> None:
    """Most syncs find nothing: a log of all of them would hide the others."""
    out = io.StringIO()
    announcer = Announcer(
        metrics=Metrics(version="1"),
        log=build_logger("json", level, out),
        shortage=no_shortage(),
        store=health_on(FakeLog()),
    )
    announcer.sync_completed(
        ConnectionName(identity="acme", name="acme", account="main"), _result(), changes, None
    )
    assert [json.loads(line)["level"] for line in out.getvalue().splitlines()] == [told_at] * bool(told_at)
