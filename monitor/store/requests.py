"""Requests to the daemon, each one short transaction; it looks for them every second."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import (
    Acknowledgement,
    Kind,
    Notice,
    Status,
    decode_body,
    encode_body,
    with_acknowledgement,
    without_news,
)
from monitor.drift.text import instant
from monitor.errors import Refused, UnknownName, unknown_name
from monitor.http.text import clean
from monitor.store.acknowledgements import acknowledgement_of
from monitor.store.alerts import alert_named
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.deliveries import add_deliveries, heard
from monitor.store.journal import acknowledged
from monitor.store.outbox import SUPERSEDED, try_again
from monitor.store.tables import (
    CLOSED,
    DEAD,
    PENDING,
    acceptances,
    alerts,
    connections,
    deliveries,
    from_row,
    has_status,
    posters,
    receivers,
    snapshots,
)
from monitor.store.widespread import locked

MAX_NOTE = 500
MAX_BY = 100
"""Characters of what a user says, and of a user's name."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A firing alert that someone has taken on; of a part, the widespread alert that it belongs to.

    `already`: someone had before, and nothing has changed. `told` are the receivers that now hear of it.
    """

    alert_id: str
    summary: str
    acknowledged: Acknowledgement
    already: bool
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedNow:
    """A receiver that is tried at once: how many messages wait for it, and where else alerts are posted."""

    receiver: str
    waiting: int
    urls: tuple[str, ...]


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


async def acknowledge(
    tx: AsyncConnection, alert: str, *, by: str | None, note: str | None, now: datetime
) -> Acknowledged:
    """Take on a firing alert: who has accepted a message about it is told once, and reminded no more.

    Args:
        tx: A writing transaction.
        alert: Its id, or the beginning of it.
        by: Who does.
        note: What they say, kept on one line of `MAX_NOTE` characters.
        now: The current instant.

    Raises:
        UnknownName: No alert is called so, or several are.
        Refused: It has ended.
    """
    alert_id = await alert_named(tx, alert)
    whole = await tx.scalar(select(alerts.c.part_of).where(alerts.c.id == alert_id))
    alert_id = whole or alert_id
    row = await locked(tx, alert_id)
    if row is None or row.status != Status.FIRING:
        raise Refused(f"alert {alert_id} has ended: there is nothing to acknowledge")
    body, known = decode_body(row.body), acknowledgement_of(row)
    if known is not None:
        return Acknowledged(
            alert_id=alert_id, summary=body.summary, acknowledged=known, already=True, told=()
        )
    made = Acknowledgement(
        by=clean(by or "", MAX_BY) or None, at=instant(now), note=clean(note or "", MAX_NOTE) or None
    )
    body = with_acknowledgement(body, made, body.severity)
    await tx.execute(
        update(alerts)
        .where(alerts.c.id == alert_id)
        .values(
            acknowledged_at=now,
            acknowledged_by=made.by,
            acknowledged_note=made.note,
            body=encode_body(body),
        )
    )
    configured = set((await tx.execute(select(receivers.c.name))).scalars())
    told = sorted(configured & await heard(tx, alert_id))
    planned = [(receiver, Notice.ACKNOWLEDGED) for receiver in told]
    await add_deliveries(tx, without_news(body), planned, now)
    await acknowledged(tx, alert_id, made.by, now)
    return Acknowledged(
        alert_id=alert_id, summary=body.summary, acknowledged=made, already=False, told=tuple(told)
    )


async def retry(
    tx: AsyncConnection, delivery_id: str | None, now: datetime, *, receiver: str | None = None
) -> Retried:
    """Ask for one dead delivery, or all of them (None), to be sent again; only those to `receiver`, if given.

    One that was followed by newer messages about its alert stays dead: sent late, it would contradict them.
    So does one that would open an alert that has ended, as its end would never follow.
    """
    rows, refused = await _dead(tx, delivery_id, receiver)
    for row in rows:
        if row.superseded:
            refused[row.id] = "a newer message about its alert went to the same receiver"
        elif row.has_ended and row.change != Notice.RESOLVED:
            refused[row.id] = "its alert has ended"
    retried = tuple(row.id for row in rows if row.id not in refused)
    again = {"status": PENDING, "due_at": now, "finished_at": None, "first_failed_at": None}
    await _set(tx, retried, again | {"lease_until": None})
    return Retried(retried=retried, refused=refused)


async def retry_now(tx: AsyncConnection, receiver: str, now: datetime) -> RetriedNow:
    """Try a receiver at once, however long it was to be left alone.

    Its dead messages are sent again as by `retry`. What is under way just now ends as it does.

    Raises:
        UnknownName: No receiver is called so.
    """
    known = list((await tx.execute(select(receivers.c.name))).scalars())
    if receiver not in known:
        raise UnknownName(unknown_name("receiver", receiver, known))
    await retry(tx, None, now, receiver=receiver)
    await try_again(tx, [receiver])
    waiting = deliveries.c.receiver == receiver, has_status(deliveries, PENDING)
    rests = deliveries.c.lease_until.is_(None), deliveries.c.due_at > now
    await tx.execute(update(deliveries).where(*waiting, *rests).values(due_at=now))
    asked = update(posters).where(posters.c.receiver == receiver).values(asked_at=now)
    urls = sorted((await tx.execute(asked.returning(posters.c.url))).scalars())
    many = await tx.scalar(select(func.count()).where(*waiting))
    return RetriedNow(receiver=receiver, waiting=many or 0, urls=tuple(urls))


async def dismiss(tx: AsyncConnection, delivery_id: str | None, now: datetime) -> Dismissed:
    """Close one dead delivery, or all of them (None): it is no longer shown as dead, and never sent."""
    rows, refused = await _dead(tx, delivery_id)
    dismissed = tuple(row.id for row in rows)
    await _set(tx, dismissed, {"status": CLOSED, "finished_at": now})
    return Dismissed(dismissed=dismissed, refused=refused)


async def _dead(
    tx: AsyncConnection, delivery_id: str | None, receiver: str | None = None
) -> tuple[list[Row[Any]], dict[str, str]]:
    """Return this delivery, or all (None), if dead; else the reason why it is not among them."""
    of_alert = alerts.c.id == deliveries.c.alert_id, alerts.c.status == Status.RESOLVED
    columns = (
        deliveries.c.id,
        deliveries.c.status,
        deliveries.c.change,
        SUPERSEDED.label("superseded"),
        select(alerts.c.id).where(*of_alert).exists().label("has_ended"),
    )
    which = has_status(deliveries, DEAD) if delivery_id is None else deliveries.c.id == delivery_id
    asked = select(*columns).where(which).order_by(deliveries.c.seq)
    if receiver is not None:
        asked = asked.where(deliveries.c.receiver == receiver)
    rows = list(await tx.execute(asked))
    if delivery_id is not None and not rows:
        return [], {delivery_id: "no delivery has this id"}
    return (
        [row for row in rows if row.status == DEAD],
        {row.id: f"it is {row.status}, not dead" for row in rows if row.status != DEAD},
    )


async def _set(tx: AsyncConnection, which: Sequence[str], values: Mapping[str, Any]) -> None:
    if which:
        still_dead = deliveries.c.id.in_(which), has_status(deliveries, DEAD)
        await tx.execute(update(deliveries).where(*still_dead).values(**values))
