"""What option values mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import typer

from monitor.cli.shell import since_at, unseen
from monitor.drift.failures import Streak
from monitor.errors import Outcome
from monitor.store.connections import ConnectionState
from monitor.store.rows import SyncStatus, connection_row

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROW = connection_row(
    ConnectionState(
        identity="a",
        name="a",
        account="acme",
        connection_id=None,
        watched_since=NOW - timedelta(days=1),
        vanished_at=None,
        due_at=NOW,
        held=0,
        held_reason=None,
        applied_at=None,
        counts=None,
        streak=Streak(outcome=Outcome.OK),
        error=None,
        synced_at=NOW,
        succeeded_at=NOW - timedelta(minutes=1),
        duration_s=0.1,
        epoch=1,
        digest=None,
    ),
    maintenance=None,
)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (None, None),
        ("2h", NOW - timedelta(hours=2)),
        ("1d12h", NOW - timedelta(hours=36)),
        ("2026-02-28T09:00:00Z", datetime(2026, 2, 28, 9, tzinfo=UTC)),
        ("2026-02-28T09:00:00+05:30", datetime(2026, 2, 28, 3, 30, tzinfo=UTC)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
    ],
    ids=["absent", "duration", "long duration", "time", "offset", "date"],
)
def test_since_is_a_duration_or_a_time(value: str | None, at: datetime | None) -> None:
    """Durations count back from now; a time without offset is UTC."""
    assert since_at(value, NOW) == at


@pytest.mark.parametrize("value", ["", "yesterday", "2 hours", "-2h", "99999999d"])
def test_since_refuses_what_it_cannot_read(value: str) -> None:
    """It says how to write one."""
    with pytest.raises(typer.BadParameter, match="use a duration"):
        since_at(value, NOW)


def test_unseen_names_connections_whose_numbers_are_unknown() -> None:
    """One that failed, one that is not synced by anyone, one that never was; not one that is well."""
    seen = replace(ROW, name="a")
    failing = replace(ROW, name="b", status=SyncStatus.FAILING, consecutive_failures=2, error="timed out")
    orphan = replace(ROW, name="c", next_sync=NOW - timedelta(hours=1))
    new = replace(ROW, name="d", status=SyncStatus.WAITING, last_success=None)
    never = replace(failing, name="e", last_success=None)
    since = "2026-03-01 11:59:00Z"
    assert unseen([seen, failing, orphan, new, never], NOW) == [
        f"b: unknown since {since}: timed out",
        f"c: unknown since {since}: no sync was made since",
        "d: unknown: not synced yet",
        "e: unknown since 2026-02-28 12:00:00Z: timed out",
    ]
    many = unseen([failing] * 30, NOW)
    assert (len(many), many[-1]) == (21, "and 10 more connections are unknown")
