"""The rendered metrics, judged by Prometheus' own tool."""

import asyncio
from datetime import UTC, datetime

from msgspec.structs import replace

from monitor.drift.alert import Kind, Severity
from monitor.drift.snapshot import INVENTORY_KINDS, ChangeKind, Counts
from monitor.errors import Outcome
from monitor.metrics import ConnectionView, Metrics
from tests.servers.require import require

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def full() -> Metrics:
    """Return metrics with a sample in every family."""
    metrics = Metrics(version="1.2.3", revision="abc")
    view = ConnectionView(
        identity="9b7f",
        name='acme "sales"\\\n',
        account="acme",
        connection_id="9b7f",
        interval_s=60.0,
        counts=Counts(
            states={"READY": 7, "NO_BOT": 2},
            drifting={"NO_BOT": 2},
            issues={"NO_BOT": 2},
            inventory=dict.fromkeys(INVENTORY_KINDS, 4),
        ),
        up=True,
        held=True,
        consecutive_failures=0,
        last_success_at=AT,
        last_duration_s=1e-05,
        maintenance=True,
        numbers=(("+911", "READY"), ("+912", "NO_BOT")),
    )
    metrics.set_connection(view)
    metrics.set_connection(replace(view, identity="b", name="b", numbers=()))
    for outcome in Outcome:
        metrics.count_sync("b", outcome, 0.3)
    metrics.count_change("b", ChangeKind.ADDED, 5)
    metrics.set_receivers(["log", "hook"])
    metrics.delivery("hook", "retried")
    metrics.set_backlog("hook", 1, 1, AT)
    metrics.set_accounts(["acme"])
    metrics.budget_wait("acme", 0.5)
    metrics.set_alerts_firing({(Kind.DRIFT, Severity.WARNING): 1})
    metrics.episode_ended(Kind.DRIFT, 100.0)
    metrics.config_loaded(ok=True, at=AT)
    return metrics


async def test_metrics_give_promtool_nothing_to_say() -> None:
    """`promtool check metrics` accepts the full rendering without a remark."""
    promtool = require("promtool")
    _, pieces = await full().render(accept="")
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(b"".join(pieces))
    assert (process.returncode, said.decode()) == (0, "")
