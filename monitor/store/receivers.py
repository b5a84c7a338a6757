"""The configured receivers, and what each wants to hear of.

The config of the process that tells of an alert may lack one: a reload is about to replace it, or another
replica was reloaded first. So the transaction that tells reads here who is told, and no config changes that
until it ends: either it finds a new receiver, or the transaction that adds the receiver finds the alert.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Integer, bindparam, cast, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.notify.routing import Route
from monitor.store.tables import CLOSED, PENDING, deliveries, has_status, receivers

_LOCK = 7466953
"""Tells this lock from others on the same database."""


async def routes_now(tx: AsyncConnection) -> list[Route]:
    """Return the routes of all receivers that get messages; they stay so until the transaction ends.

    Before anything that belongs to alerts is locked, and after a connection or the fleet.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(_HOLD)
    return [route for route in (await _known(tx)).values() if route is not None]


async def know_receivers(
    tx: AsyncConnection,
    names: Sequence[str],
    now: datetime,
    *,
    routes: Sequence[Route] = (),
    kept: Collection[str] = (),
    decides: bool = True,
) -> list[str]:
    """Record the configured receivers, close what waits for any other; return the new ones.

    Args:
        tx: A writing transaction.
        names: The configured ones.
        now: The current instant.
        routes: Of those that get messages.
        kept: Others that stay as they are.
        decides: Whether known ones get these routes, and all others are forgotten.
    """
    wanted = [*names, *kept]
    told, known = {route.receiver: route for route in routes}, await _known(tx)
    new = [name for name in names if name not in known]
    moved = [name for name in names if decides and name in known and known[name] != told.get(name)]
    if tx.dialect.name == "postgresql" and (new or moved or (decides and known.keys() - set(wanted))):
        await tx.execute(_CHANGE)
    if new:
        begun = [{"name": name, "route": told.get(name), "known_since": now} for name in new]
        await tx.execute(insert(receivers), begun)
    if moved:
        await tx.execute(_MOVE, [{"which": name, "route": told.get(name)} for name in moved])
    if decides:
        gone = update(deliveries).where(has_status(deliveries, PENDING), deliveries.c.receiver.not_in(wanted))
        await tx.execute(gone.values(status=CLOSED, finished_at=now, lease_until=None))
        await tx.execute(_LET_UP)
        await tx.execute(receivers.delete().where(receivers.c.name.not_in(wanted)))
    return new


async def _known(tx: AsyncConnection) -> dict[str, Route | None]:
    rows = await tx.execute(_RECEIVERS)
    return {row.name: msgspec.convert(row.route, Route) if row.route is not None else None for row in rows}


# Built once: building one takes longer than running it.
_RECEIVERS = select(receivers.c.name, receivers.c.route).order_by(receivers.c.name)
_HOLD, _CHANGE = (
    select(lock(cast(_LOCK, Integer), cast(0, Integer)))
    for lock in (func.pg_advisory_xact_lock_shared, func.pg_advisory_xact_lock)
)
_MOVE = update(receivers).where(receivers.c.name == bindparam("which"))

_other = deliveries.alias()
_LET_UP = (
    update(deliveries)
    .where(deliveries.c.behind.is_not(None))
    .where(deliveries.c.behind.not_in(select(_other.c.seq).where(has_status(_other, PENDING))))
    .values(behind=None)
)
"""What `leave_line` does, for all lines."""
