"""What option values mean."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from monitor.cli.shell import since_at

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


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
