"""Who has taken an alert on, as its row says it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from monitor.drift.alert import Acknowledgement
from monitor.drift.text import instant

NOBODY: Mapping[str, datetime | str | None] = {
    "acknowledged_at": None,
    "acknowledged_by": None,
    "acknowledged_note": None,
}
"""The columns of an alert that no one has taken on."""


def acknowledgement_of(row: Row[Any]) -> Acknowledgement | None:
    """Return who has taken on the alert of a row; None: no one."""
    if row.acknowledged_at is None:
        return None
    return Acknowledgement(
        by=row.acknowledged_by, at=instant(row.acknowledged_at), note=row.acknowledged_note
    )
