"""Requests to the daemon, each one short transaction; it looks for them every second."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Kind
from monitor.errors import UnknownName
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.outbox import SUPERSEDED
from monitor.store.tables import DEAD, PENDING, acceptances, connections, deliveries, from_row, snapshots


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
    """
    asked = select(deliveries.c.id, deliveries.c.status, SUPERSEDED.label("superseded"))
    if delivery_id is None:
        asked = asked.where(deliveries.c.status == DEAD)
    else:
        asked = asked.where(deliveries.c.id == delivery_id)
    rows = list(await tx.execute(asked.order_by(deliveries.c.seq)))
    refused = {} if rows or delivery_id is None else {delivery_id: "no delivery has this id"}
    for row in rows:
        if row.status != DEAD:
            refused[row.id] = f"it is {row.status}, not dead"
        elif row.superseded:
            refused[row.id] = "a newer message about its alert went to the same receiver"
    retried = tuple(row.id for row in rows if row.id not in refused)
    if retried:
        await tx.execute(
            update(deliveries)
            .where(deliveries.c.id.in_(retried), deliveries.c.status == DEAD)
            .values(status=PENDING, due_at=now, finished_at=None, first_failed_at=None, lease_until=None)
        )
    return Retried(retried=retried, refused=refused)
