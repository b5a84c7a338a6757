"""Widespread alerts in the store: which alerts become parts of them, and what they tell in their place.

Whatever reads or writes a widespread alert first locks its cause: two transactions that open alerts at the
same time must not both count themselves as the fifth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import xxhash
from sqlalchemy import Integer, Row, and_, bindparam, cast, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Kind, Notice, Severity, Status, decode_body, encode_body
from monitor.drift.alerts import Report, new_id
from monitor.drift.text import states_now
from monitor.drift.widespread import (
    REFRESH,
    Cause,
    Look,
    Part,
    Spread,
    Tally,
    Told,
    Widespread,
    at_once,
    joins,
    look,
)
from monitor.notify.routing import Route, matches
from monitor.store.acknowledgements import NOBODY, acknowledgement_of
from monitor.store.deliveries import heard, tell, told_or_tried
from monitor.store.receivers import routes_now
from monitor.store.tables import alerts

SCOPE = "widespread"

_LOCK = 7466952
"""Tells these locks from others on the same database."""
_CHUNK = 16
"""Bodies decoded before other tasks get a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the alert of a report belongs: it is a part of this widespread alert, with this tally."""

    part_of: str
    tally: Tally
    joined: bool

    @property
    def values(self) -> dict[str, Any]:
        """What its row says of that."""
        return {"part_of": self.part_of, "record": msgspec.msgpack.encode(self.tally)}


def cause_of(body: AlertBody) -> Cause | None:
    """Return what an alert shares with others that may join it; None for one that never joins."""
    if not body.kind.about_numbers or body.account is None:
        return None
    return Cause(account=body.account, kind=body.kind, state=body.state or "")


def lock_order(body: AlertBody) -> int:
    """Return where an alert comes among those of a step: every transaction locks causes in one order.

    So no two wait for each other.
    """
    cause = cause_of(body)
    return _lock_key(cause) if cause is not None else 0


def _lock_key(cause: Cause) -> int:
    return xxhash.xxh32_intdigest(msgspec.json.encode(cause)) - 2**31


async def lock_causes(tx: AsyncConnection, causes: Iterable[Cause]) -> None:
    """Let no other transaction open alerts with these causes, or change their widespread ones, until the end.

    SQLite has one writer at a time anyway.
    """
    if tx.dialect.name != "postgresql":
        return
    for key in sorted({_lock_key(cause) for cause in causes}):
        await tx.execute(select(func.pg_advisory_xact_lock(cast(_LOCK, Integer), cast(key, Integer))))


async def lock_firing_causes(tx: AsyncConnection) -> None:
    """Lock the causes of everything that fires, before several connections end at once."""
    asked = select(alerts.c.account, alerts.c.kind, alerts.c.state).where(
        alerts.c.status == Status.FIRING, alerts.c.account.is_not(None)
    )
    rows = await tx.execute(asked.distinct())
    causes = [_cause(row) for row in rows]
    await lock_causes(tx, [cause for cause in causes if cause.kind.about_numbers])


async def place(
    tx: AsyncConnection,
    report: Report,
    body: AlertBody,
    known: Row[Any] | None,
    spread: Spread,
    now: datetime,
) -> Place | None:
    """Return which widespread alert this one belongs to, with its tally after the report; None: to none.

    Args:
        tx: A writing transaction.
        report: The alert after a step.
        body: What it says.
        known: Its row; None if it opens.
        spread: How alerts are joined.
        now: The current instant.
    """
    cause = cause_of(body)
    if cause is None:
        return None
    part_of: str | None = None
    tally = Tally()
    if known is not None:
        if known.part_of is not None:
            # The cause as it opened: the account may have another name by now.
            await lock_causes(tx, [_cause(known)])
            part_of = known.part_of
            tally = msgspec.msgpack.decode(known.record, type=Tally) if known.record else tally
    elif spread.on:
        await lock_causes(tx, [cause])
        part_of = await _joinable(tx, cause, body.alert_id, spread, now)
    if part_of is None:
        return None
    tally = tally.after(
        body, report.alert.shown_digest, told=report.notice is not None, states=states_now(report)
    )
    return Place(part_of=part_of, tally=tally, joined=known is None)


async def follow(
    tx: AsyncConnection,
    part: AlertBody,
    *,
    joined: bool,
    routes: Sequence[Route],
    spread: Spread,
    now: datetime,
) -> None:
    """Do what a part's step means to its widespread alert: now, or when that is due."""
    alert_id, cause = part.part_of, cause_of(part)
    if alert_id is None or cause is None:
        raise ValueError("only parts have a widespread alert")
    row = (await tx.execute(select(alerts).where(alerts.c.id == alert_id))).first()
    unheard: list[Route] = []
    if part.status is Status.FIRING:
        # One that refused what it was told is told again with the next update only, not with every part.
        tried = await told_or_tried(tx, alert_id)
        unheard = [route for route in routes if route.receiver not in tried and matches(part, route)]
    if row is None:
        begun = Widespread(
            id=alert_id,
            cause=cause,
            started_at=now,
            updated_at=now,
            severity=part.severity,
            version=0,
            told=None,
        )
        await tx.execute(
            insert(alerts).values(
                id=alert_id,
                scope=SCOPE,
                account=cause.account,
                kind=cause.kind,
                state=cause.state,
                status=Status.FIRING,
                severity=part.severity,
                version=0,
                started_at=now,
                updated_at=now,
                widespread=True,
                grown_at=now,
                body=b"",
            )
        )
        await _look(tx, begun, unheard, routes, spread, now)
        return
    alert = _widespread(row)
    moved: dict[str, Any] = {"updated_at": now, "tells_at": min(row.tells_at or now + REFRESH, now + REFRESH)}
    if joined:
        moved["grown_at"] = now
    await tx.execute(update(alerts).where(alerts.c.id == alert_id).values(**moved))
    if unheard or at_once(alert, part, others_fire=await _any_fires(tx, alert_id)):
        await _look(tx, alert, unheard, routes, spread, now)


async def locked(tx: AsyncConnection, alert_id: str) -> Row[Any] | None:
    """Return an alert of any kind as it stands, and keep it so until the end of the transaction."""
    this = select(alerts).where(alerts.c.id == alert_id)
    row = (await tx.execute(this)).first()
    if row is not None and row.widespread:
        await lock_causes(tx, [_cause(row)])
    return (await tx.execute(this.with_for_update())).first()


_NEXT_LOOK = select(func.min(alerts.c.tells_at))
_DUE = select(alerts.c.id).where(alerts.c.tells_at <= bindparam("now")).order_by(alerts.c.tells_at)


async def next_look_at(tx: AsyncConnection) -> datetime | None:
    """Return when the next widespread alert is due for a look."""
    found: datetime | None = await tx.scalar(_NEXT_LOOK)
    return found


async def due(tx: AsyncConnection, now: datetime) -> list[str]:
    """Return the widespread alerts that are due for a look."""
    return list((await tx.execute(_DUE, {"now": now})).scalars())


async def look_at(
    tx: AsyncConnection, alert_id: str, spread: Spread, now: datetime, routes: Sequence[Route] | None = None
) -> bool:
    """Bring a widespread alert's body up to date, and tell its receivers if they are to be told now.

    Returns:
        Whether there are messages to deliver.
    """
    this = select(alerts).where(alerts.c.id == alert_id)
    row = (await tx.execute(this)).first()
    if row is None:
        return False
    routes = await routes_now(tx) if routes is None else routes
    await lock_causes(tx, [_cause(row)])
    row = (await tx.execute(this)).one()
    if row.tells_at is None or row.tells_at > now:
        return False  # another replica has looked
    return await _look(tx, _widespread(row), (), routes, spread, now)


async def audience(tx: AsyncConnection, alert_id: str, routes: Sequence[Route]) -> list[Route]:
    """Return the routes whose filters let any part through that fires."""
    firing = [part.body for part in await _parts(tx, alert_id) if part.firing]
    return [route for route in routes if any(matches(body, route) for body in firing)]


async def _joinable(
    tx: AsyncConnection, cause: Cause, alert_id: str, spread: Spread, now: datetime
) -> str | None:
    """Return the widespread alert that an opening one joins or begins; None: it stays alone."""
    within = {"since": now - spread.update_interval, "until": now + spread.update_interval}
    found = (await tx.execute(_NEAR, {**_same(cause), **within})).one()
    if not joins(spread, growing=found.growing is not None, alone=found.alone):
        return None
    return found.growing or new_id(SCOPE, alert_id)


async def _look(
    tx: AsyncConnection,
    alert: Widespread,
    unheard: Sequence[Route],
    routes: Sequence[Route],
    spread: Spread,
    now: datetime,
) -> bool:
    most_listed = spread.wording.max_listed_numbers
    parts = await _parts(tx, alert.id)
    alone = await tx.scalar(_ALONE, {**_same(alert.cause), "whole": alert.id})
    looked = look(alert, parts, spread, now, alone=alone or 0, heard_first=bool(unheard))
    await tx.execute(update(alerts).where(alerts.c.id == alert.id).values(**_values(looked)))
    if looked.notice is None:
        opened = msgspec.structs.replace(
            looked.body, change=Notice.OPENED, numbers_added=looked.body.numbers_total, numbers_ended=0
        )
        await tell(tx, opened, unheard, (), now, most_listed=most_listed)
        return bool(unheard)
    # What has ended was told now: from here on its tally is of no use.
    over = alerts.c.part_of == alert.id, alerts.c.status == Status.RESOLVED
    await tx.execute(update(alerts).where(*over).values(record=None))
    known = await heard(tx, alert.id)
    firing = [part.body for part in parts if part.firing]
    told = [
        route for route in routes if route.receiver in known or any(matches(body, route) for body in firing)
    ]
    await tell(tx, looked.body, told, known, now, most_listed=most_listed)
    return True


def _values(looked: Look) -> dict[str, Any]:
    alert, body = looked.alert, looked.body
    over = body.status is Status.RESOLVED
    return {
        "status": body.status,
        "severity": alert.severity,
        "version": alert.version,
        "updated_at": alert.updated_at,
        "resolved_at": alert.updated_at if over else None,
        "resolution": body.resolution,
        "names": body.connections,
        "numbers": body.numbers_total,
        "body": encode_body(body),
        "record": msgspec.msgpack.encode(alert.told),
        "tells_at": looked.tells_at,
        **(NOBODY if alert.acknowledged is None else {}),
    }


def _cause(row: Any) -> Cause:
    return Cause(account=row.account, kind=Kind(row.kind), state=row.state)


def _widespread(row: Row[Any]) -> Widespread:
    return Widespread(
        id=row.id,
        cause=_cause(row),
        started_at=row.started_at,
        updated_at=row.updated_at,
        severity=Severity(row.severity),
        version=row.version,
        told=msgspec.msgpack.decode(row.record, type=Told) if row.record else None,
        acknowledged=acknowledgement_of(row),
    )


async def _parts(tx: AsyncConnection, alert_id: str) -> list[Part]:
    """Return the parts that fire, and those whose end no message has told yet."""
    asked = select(alerts.c.body, alerts.c.record).where(
        alerts.c.part_of == alert_id, alerts.c.record.is_not(None)
    )
    found: list[Part] = []
    async with tx.stream(asked.execution_options(yield_per=_CHUNK)) as rows:
        async for row in rows:
            tally = msgspec.msgpack.decode(row.record, type=Tally)
            found.append(Part(body=decode_body(row.body), tally=tally))
    return found


async def _any_fires(tx: AsyncConnection, alert_id: str) -> bool:
    asked = select(alerts.c.id).where(alerts.c.part_of == alert_id, alerts.c.status == Status.FIRING)
    return (await tx.execute(asked.limit(1))).first() is not None


def _same(cause: Cause) -> dict[str, str]:
    return {"of_account": cause.account, "of_kind": cause.kind, "of_state": cause.state}


# Built once: building one takes longer than running it.
_same_cause = and_(
    alerts.c.account == bindparam("of_account"),
    alerts.c.kind == bindparam("of_kind"),
    alerts.c.state == bindparam("of_state"),
)
_alone = select(func.count()).where(_same_cause, ~alerts.c.widespread, alerts.c.part_of.is_(None))
_NEAR = select(
    select(alerts.c.id)
    .where(_same_cause, alerts.c.widespread, alerts.c.status == Status.FIRING)
    .where(alerts.c.grown_at > bindparam("since"), alerts.c.grown_at < bindparam("until"))
    .order_by(alerts.c.grown_at.desc())
    .limit(1)
    .scalar_subquery()
    .label("growing"),
    _alone.where(alerts.c.started_at > bindparam("since"), alerts.c.started_at < bindparam("until"))
    .scalar_subquery()
    .label("alone"),
)
"""What an opening alert may join: the widespread one that grows, and those that stand alone."""

_part = alerts.alias()
_ALONE = (
    _alone.with_only_columns(func.count(alerts.c.scope.distinct()))
    .where(alerts.c.status == Status.FIRING)
    .where(alerts.c.scope.not_in(select(_part.c.scope).where(_part.c.part_of == bindparam("whole"))))
)
"""How many connections have the same trouble in an alert of their own."""
