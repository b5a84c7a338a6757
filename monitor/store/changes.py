"""The differences that syncs found, one row each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.snapshot import Change
from monitor.store.connections import Named
from monitor.store.tables import changes


async def add_changes(
    tx: AsyncConnection, named: Named, sync_id: str, found: Sequence[Change], at: datetime
) -> None:
    """Record the differences that a sync found."""
    if found:
        await tx.execute(insert(changes), [_change_values(named, sync_id, change, at) for change in found])


def _change_values(named: Named, sync_id: str, change: Change, at: datetime) -> dict[str, Any]:
    number, before, after = change.number, change.before, change.after
    return {
        "at": at,
        "identity": named.identity,
        "connection": named.name,
        "account": named.account,
        "sync_id": sync_id,
        "change": change.kind,
        "key": change.key,
        "phone_number": number.phone_number,
        "state": after.state if after else None,
        "previous_state": before.state if before else None,
        "issues": _json(after.issues if after else ()),
        "previous_issues": _json(before.issues if before else ()),
        "action_items": _json([{"code": item.code, "label": item.label} for item in number.action_items]),
        "did_id": _json(number.did_id),
        "client_id": _json(number.refs.client_id),
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
