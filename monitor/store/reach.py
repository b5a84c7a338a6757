"""How far an alert has got: what each receiver knows of it, and why one knows nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from shlex import quote
from typing import Any

from sqlalchemy import Row, and_, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Status
from monitor.drift.phrases import when
from monitor.notify.routing import Route, kept_from
from monitor.store.tables import (
    CLOSED,
    DEAD,
    PENDING,
    alerts,
    deliveries,
    episodes,
    from_row,
    posted,
    posters,
    receivers,
    told,
)


class ReachStatus(StrEnum):
    """Where an alert stands with a receiver.

    `told`: it has accepted all there was to tell. `pending`: something waits for it. `dead`: it rejected the
    last message. `filtered`: its filters keep the alert from it. `untold`: anything else.
    """

    TOLD = "told"
    PENDING = "pending"
    DEAD = "dead"
    FILTERED = "filtered"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedTo:
    """What one Alertmanager was posted of an alert: one alert of its own for each number or connection.

    `accepted` of `posted` ones have been accepted as they are now, the last of them at `accepted_at`.
    `error` is why it accepts no posts at all just now.
    """

    url: str
    posted: int
    accepted: int
    accepted_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What one receiver knows of an alert; of a part, what it was told of the widespread alert.

    `reason` says what it waits for, or why it is told nothing, or nothing of the end. `told_at` is when it
    first accepted a message (for the log: when the line was written), `ended_at` when it accepted the end.
    `urls` are those of an Alertmanager.
    """

    receiver: str
    status: ReachStatus
    reason: str | None
    told_at: datetime | None
    ended_at: datetime | None
    urls: tuple[PostedTo, ...]


async def reach(tx: AsyncConnection, body: AlertBody, routes: Sequence[Route]) -> list[Reached]:
    """Return what each of these receivers, and any that was ever told, knows of an alert.

    Args:
        tx: A reading transaction.
        body: The alert.
        routes: Of every receiver in the config, Alertmanagers and the log included.
    """
    # A part sends nothing itself.
    told_as = body.part_of or body.alert_id
    known = {row.receiver: row for row in await tx.execute(select(told).where(told.c.alert_id == told_as))}
    gone = {row.name: row.gone_since for row in await tx.execute(_GONE)}
    queued = select(deliveries.c.receiver, deliveries.c.status, deliveries.c.attempts, deliveries.c.answer)
    messages: dict[str, Row[*tuple[Any, ...]]] = {}
    for row in await tx.execute(queued.where(deliveries.c.alert_id == told_as).order_by(deliveries.c.seq)):
        # What is tried next; where nothing waits, the last.
        if row.receiver not in messages or messages[row.receiver].status != PENDING:
            messages[row.receiver] = row
    urls = await _posted(tx, body.alert_id)
    by_name = {route.receiver: route for route in routes}
    return [
        _of_alertmanager(name, by_name.get(name), body, urls[name])
        if name in urls
        else _of_messages(name, by_name.get(name), body, known.get(name), messages.get(name), gone.get(name))
        for name in dict.fromkeys([*by_name, *known])
    ]


def not_tried(receiver: str, gone_since: datetime) -> str:
    """Return why a receiver that answered 410 Gone is told nothing, and what changes that."""
    again = f"a reload or voicelink-monitor deliveries --retry-now {quote(receiver)}"
    return f"{receiver} answered 410 Gone at {when(gone_since)} and is not tried before {again}"


_GONE = select(receivers.c.name, receivers.c.gone_since).where(receivers.c.gone_since.is_not(None))


async def _posted(tx: AsyncConnection, alert_id: str) -> dict[str, list[PostedTo]]:
    """Return what was posted of an alert and its parts to each URL, by receiver."""
    these = select(alerts.c.id).where(or_(alerts.c.id == alert_id, alerts.c.part_of == alert_id))
    members = select(episodes.c.id).where(episodes.c.alert_id.in_(these)).subquery()
    # From each member by the key of `posted`: an Alertmanager may have been posted a hundred thousand others.
    here = and_(
        posted.c.receiver == posters.c.receiver,
        posted.c.url == posters.c.url,
        posted.c.episode_id == members.c.id,
    )
    counted = (
        select(
            posters.c.receiver,
            posters.c.url,
            posters.c.error,
            func.count(posted.c.episode_id).label("posted"),
            func.count(posted.c.accepted_at).label("accepted"),
            func.max(posted.c.accepted_at).label("accepted_at"),
        )
        .select_from(posters.outerjoin(members, true()).outerjoin(posted, here))
        .group_by(posters.c.receiver, posters.c.url, posters.c.error)
        .order_by(posters.c.receiver, posters.c.url)
    )
    found: dict[str, list[PostedTo]] = {}
    for row in await tx.execute(counted):
        found.setdefault(row.receiver, []).append(from_row(PostedTo, row))
    return found


def _of_alertmanager(name: str, route: Route | None, body: AlertBody, urls: Sequence[PostedTo]) -> Reached:
    """Return what an Alertmanager knows. It is told of what is open, not in messages."""
    accepted = [each.accepted_at for each in urls if each.accepted_at is not None]
    left = [each for each in urls if each.accepted < each.posted]
    reason = None
    if left or (any(each.posted for each in urls) and not accepted):
        status = ReachStatus.PENDING
        reason = f"{left[0].url} has not accepted it yet" + (f": {left[0].error}" if left[0].error else "")
    elif accepted:
        status = ReachStatus.TOLD
    else:
        status, reason = _untold(route, body)
        if status is ReachStatus.UNTOLD and body.status is Status.RESOLVED:
            reason = "it has ended; what was posted is known for 15 minutes longer"
        elif status is ReachStatus.UNTOLD and route is not None:
            status, reason = ReachStatus.PENDING, "it is to be posted"
    return Reached(
        receiver=name,
        status=status,
        reason=reason,
        told_at=min(accepted, default=None),
        ended_at=None,
        urls=tuple(urls),
    )


def _of_messages(
    name: str,
    route: Route | None,
    body: AlertBody,
    known: Row[*tuple[Any, ...]] | None,
    message: Row[*tuple[Any, ...]] | None,
    gone_since: datetime | None,
) -> Reached:
    """Return what a receiver of messages knows.

    Args:
        name: Its name.
        route: Its filters; None if the config does not have it.
        body: The alert.
        known: When it accepted the first message, and the end.
        message: What is tried next, else the last message.
        gone_since: When it answered 410 Gone, if it is not tried again yet.
    """
    reason = None
    if message is not None and message.status == PENDING:
        tries = "1 try" if message.attempts == 1 else f"{message.attempts:,} tries"
        status = ReachStatus.PENDING
        reason = (
            f"{tries}, the last answer was: {message.answer}" if message.attempts else "its message is queued"
        )
        if gone_since is not None:
            reason += f"; {not_tried(name, gone_since)}"
    elif message is not None and message.status == DEAD:
        status, reason = ReachStatus.DEAD, f"it rejected the message: {message.answer}"
    elif known is not None:
        status = ReachStatus.TOLD
        if body.status is Status.RESOLVED and route is not None and not route.send_resolved:
            reason = "it is told nothing of the end: send_resolved is off"
    elif message is not None and message.status == CLOSED:
        status, reason = ReachStatus.UNTOLD, f"its message was closed; the last answer was: {message.answer}"
    else:
        status, reason = _untold(route, body)
    return Reached(
        receiver=name,
        status=status,
        reason=reason,
        told_at=known.told_at if known is not None else None,
        ended_at=known.ended_at if known is not None else None,
        urls=(),
    )


def _untold(route: Route | None, body: AlertBody) -> tuple[ReachStatus, str]:
    """Return why nothing was ever queued or posted."""
    if route is None:
        return ReachStatus.UNTOLD, "it is not in the config"
    if obstacle := kept_from(body, route):
        return ReachStatus.FILTERED, obstacle
    if body.status is Status.RESOLVED:
        return ReachStatus.UNTOLD, "the alert ended before it accepted a message"
    return ReachStatus.UNTOLD, "no message was queued for it"
