"""Alerts, their episodes, and the deliveries that a change of them causes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Kind, Notice, Severity, Status, decode_body, encode_body
from monitor.drift.alerts import Report, new_id
from monitor.drift.episodes import Ended, Track
from monitor.store.codec import Codec
from monitor.store.tables import alerts, deliveries, episodes

Plan = Callable[[AlertBody, frozenset[str]], Iterable[tuple[str, Notice]]]
"""Which receivers are told, and what it is to them; given who already got word of the alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessage:
    """A report with the body that people read."""

    report: Report
    body: AlertBody


async def save_episodes(
    tx: AsyncConnection,
    scope: str,
    *,
    opened: Iterable[Track],
    moved: Iterable[Track],
    ended: Iterable[Ended],
    codec: Codec,
) -> None:
    """Record the episodes that began, changed and ended in one step."""
    begun = [_episode_values(track, scope, codec) for track in opened]
    if begun:
        await tx.execute(insert(episodes), begun)
    changed = [_moved_values(track, codec) for track in moved]
    if changed:
        await tx.execute(_MOVE_EPISODE, changed)
    closed = [_ended_values(end, codec) for end in ended]
    if closed:
        await tx.execute(_END_EPISODE, closed)


async def save_alerts(
    tx: AsyncConnection, scope: str, told: Sequence[AlertMessage], *, plan: Plan, now: datetime
) -> None:
    """Record alerts as they stand now, and the deliveries to everyone who is to be told."""
    for item in told:
        await _save_alert(tx, scope, item, now)
        if item.report.notice is not None:
            already = await _already_told(tx, item.body.alert_id)
            await add_deliveries(tx, item.body, plan(item.body, already), now)


async def add_deliveries(
    tx: AsyncConnection, body: AlertBody, planned: Iterable[tuple[str, Notice]], now: datetime
) -> None:
    """Queue one message for each receiver; an `updated` that was never tried gives way to the newer one."""
    for receiver, notice in planned:
        if notice is Notice.UPDATED:
            await tx.execute(
                delete(deliveries).where(
                    deliveries.c.receiver == receiver,
                    deliveries.c.alert_id == body.alert_id,
                    deliveries.c.change == Notice.UPDATED,
                    deliveries.c.status == "pending",
                    deliveries.c.attempts == 0,
                    deliveries.c.lease_until.is_(None),
                )
            )
        await tx.execute(
            insert(deliveries).values(
                id=new_id(body.alert_id, receiver, str(body.version), notice, now.isoformat()),
                receiver=receiver,
                alert_id=body.alert_id,
                change=notice,
                version=body.version,
                body=encode_body(msgspec.structs.replace(body, change=notice)),
                status="pending",
                created_at=now,
                due_at=now,
            )
        )


async def firing(tx: AsyncConnection) -> list[AlertBody]:
    """Return the bodies of all firing alerts as they stand now, newest first."""
    rows = await tx.execute(
        select(alerts.c.body).where(alerts.c.status == Status.FIRING).order_by(alerts.c.started_at.desc())
    )
    return [decode_body(row.body) for row in rows]


async def firing_by_kind(tx: AsyncConnection) -> dict[tuple[Kind, Severity], int]:
    """Return how many alerts fire, by kind and severity."""
    rows = await tx.execute(_FIRING_BY_KIND)
    return {(Kind(row.kind), Severity(row.severity)): row.many for row in rows}


async def _already_told(tx: AsyncConnection, alert_id: str) -> frozenset[str]:
    rows = await tx.execute(select(deliveries.c.receiver).where(deliveries.c.alert_id == alert_id).distinct())
    return frozenset(row.receiver for row in rows)


async def _save_alert(tx: AsyncConnection, scope: str, item: AlertMessage, now: datetime) -> None:
    alert = item.report.alert
    resolved = item.report.status is Status.RESOLVED
    values: dict[str, Any] = {
        "status": item.report.status,
        "severity": alert.severity,
        "version": alert.version,
        "updated_at": alert.updated_at,
        "resolved_at": now if resolved else None,
        "resolution": item.report.resolution,
        "body": encode_body(item.body),
    }
    if item.report.notice is Notice.OPENED:
        await tx.execute(
            insert(alerts).values(
                id=alert.id, scope=scope, kind=alert.kind, started_at=alert.started_at, **values
            )
        )
    else:
        await tx.execute(update(alerts).where(alerts.c.id == alert.id).values(**values))


_FIRING_BY_KIND = (
    select(alerts.c.kind, alerts.c.severity, func.count().label("many"))
    .where(alerts.c.status == Status.FIRING)
    .group_by(alerts.c.kind, alerts.c.severity)
)

_BY_ID = update(episodes).where(episodes.c.id == bindparam("which"))
_MOVE_EPISODE = _BY_ID.values({name: bindparam(name) for name in ("severity", "track")})
_END_EPISODE = _BY_ID.values(
    {name: bindparam(name) for name in ("severity", "track", "ended_at", "resolution")}
)


def _moved_values(track: Track, codec: Codec) -> dict[str, Any]:
    if track.episode is None:
        raise ValueError("only episodes are recorded")
    return {"which": track.episode.id, "severity": track.episode.severity, "track": codec.pack(track)}


def _ended_values(end: Ended, codec: Codec) -> dict[str, Any]:
    return _moved_values(end.track, codec) | {"ended_at": end.at, "resolution": end.resolution}


def _episode_values(track: Track, scope: str, codec: Codec) -> dict[str, Any]:
    episode = track.episode
    if episode is None:
        raise ValueError("only episodes are recorded")
    return {
        "id": episode.id,
        "alert_id": episode.alert_id,
        "scope": scope,
        "kind": track.kind,
        "key": track.key,
        "episode_group": episode.group,
        "severity": episode.severity,
        "since": track.since,
        "opened_at": episode.opened_at,
        "track": codec.pack(track),
    }
