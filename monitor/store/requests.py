"""Requests to the daemon, each one short transaction; it looks for them every second."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Kind, Notice, Status
from monitor.errors import UnknownName
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.outbox import SUPERSEDED
from monitor.store.tables import (
    CLOSED,
    DEAD,
    PENDING,
    acceptances,
    alerts,
    connections,
    deliveries,
    from_row,
    snapshots,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptable:
    """A number whose removal or reconfiguration can be accepted."""

    key: str
    phone_number: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The dead deliveries that will be sent again; `refused` gives the reason for each that will not."""

    retried: tuple[str, ...]
    refused: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed:
    """The dead deliveries that were closed; `refused` gives the reason for each that was not."""

    dismissed: tuple[str, ...]
    refused: dict[str, str]


async def owner_named(tx: AsyncConnection, name: str) -> ConnectionName | None:
    """Return the watched connection of this name."""
    asked = select(connections.c.identity, connections.c.name, connections.c.account)
    row = (await tx.execute(asked.where(connections.c.name == name))).first()
    return from_row(ConnectionName, row) if row is not None else None


async def acceptable(tx: AsyncConnection, identity: str, codec: Codec) -> list[Acceptable]:
    """Return a connection's numbers that can be accepted, by key."""
    blob = await tx.scalar(select(snapshots.c.records).where(snapshots.c.identity == identity))
    tracks = codec.unpack_tracks(blob).values() if blob is not None else ()
    rows = [
        Acceptable(key=track.key, phone_number=track.number.phone_number, kind=track.kind)
        for track in tracks
        if track.kind is not Kind.DRIFT and track.number is not None
    ]
    return sorted(rows, key=lambda row: (row.key, row.kind))


def chosen(found: Sequence[Acceptable], numbers: Sequence[str] | None) -> list[Acceptable]:
    """Return which of the acceptable numbers are meant: these, written in any form, or all of them (None).

    Raises:
        UnknownName: Some of these numbers were neither removed nor reconfigured.
    """
    if numbers is None:
        return list(found)
    wanted = {"".join(each for each in number if each in "0123456789") for number in numbers}
    unknown = len(wanted - {row.key for row in found})
    if unknown:
        which = "one of these numbers was" if unknown == 1 else f"{unknown} of these numbers were"
        raise UnknownName(f"{which} neither removed nor reconfigured")
    return [row for row in found if row.key in wanted]


async def accept(tx: AsyncConnection, identity: str, keys: Collection[str] | None, now: datetime) -> None:
    """Ask for these numbers of a connection, or all of them (None), to be accepted as they are now."""
    asked: Sequence[str | None] = [None] if keys is None else sorted(keys)
    rows = [{"identity": identity, "key": key, "asked_at": now} for key in asked]
    await tx.execute(insert(acceptances), rows)
    await tx.execute(update(connections).where(connections.c.identity == identity).values(wakes_at=now))


async def retry(tx: AsyncConnection, delivery_id: str | None, now: datetime) -> Retried:
    """Ask for one dead delivery, or all of them (None), to be sent again.

    One that was followed by newer messages about its alert stays dead: sent late, it would contradict them.
    So does one that would open an alert that has ended, as its end would never follow.
    """
    rows, refused = await _dead(tx, delivery_id)
    for row in rows:
        if row.superseded:
            refused[row.id] = "a newer message about its alert went to the same receiver"
        elif row.has_ended and row.change != Notice.RESOLVED:
            refused[row.id] = "its alert has ended"
    retried = tuple(row.id for row in rows if row.id not in refused)
    again = {"status": PENDING, "due_at": now, "finished_at": None, "first_failed_at": None}
    await _set(tx, retried, again | {"lease_until": None})
    return Retried(retried=retried, refused=refused)


async def dismiss(tx: AsyncConnection, delivery_id: str | None, now: datetime) -> Dismissed:
    """Close one dead delivery, or all of them (None): it is no longer shown as dead, and never sent."""
    rows, refused = await _dead(tx, delivery_id)
    dismissed = tuple(row.id for row in rows)
    await _set(tx, dismissed, {"status": CLOSED, "finished_at": now})
    return Dismissed(dismissed=dismissed, refused=refused)


async def _dead(tx: AsyncConnection, delivery_id: str | None) -> tuple[list[Row[Any]], dict[str, str]]:
    """Return this delivery, or all (None), if dead; else the reason why it is not among them."""
    of_alert = alerts.c.id == deliveries.c.alert_id, alerts.c.status == Status.RESOLVED
    columns = (
        deliveries.c.id,
        deliveries.c.status,
        deliveries.c.change,
        SUPERSEDED.label("superseded"),
        select(alerts.c.id).where(*of_alert).exists().label("has_ended"),
    )
    which = deliveries.c.status == DEAD if delivery_id is None else deliveries.c.id == delivery_id
    rows = list(await tx.execute(select(*columns).where(which).order_by(deliveries.c.seq)))
    if delivery_id is not None and not rows:
        return [], {delivery_id: "no delivery has this id"}
    return (
        [row for row in rows if row.status == DEAD],
        {row.id: f"it is {row.status}, not dead" for row in rows if row.status != DEAD},
    )


async def _set(tx: AsyncConnection, which: Sequence[str], values: Mapping[str, Any]) -> None:
    if which:
        still_dead = deliveries.c.id.in_(which), deliveries.c.status == DEAD
        await tx.execute(update(deliveries).where(*still_dead).values(**values))
