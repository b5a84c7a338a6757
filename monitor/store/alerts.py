"""Alerts, their episodes, and the deliveries that they cause."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Kind, Notice, Severity, Status, decode_body, encode_body, merged
from monitor.drift.alerts import Report, new_id
from monitor.drift.episodes import Ended, Episode, Track
from monitor.drift.text import Watched, Wording, body
from monitor.notify.routing import Route, plan
from monitor.store.codec import Codec
from monitor.store.tables import PENDING, alerts, deliveries, episodes, told


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessage:
    """A report with the body that people read; `most_listed` is how many changes a body lists at most."""

    report: Report
    body: AlertBody
    most_listed: int = 50


def messages_of(
    reports: Iterable[Report],
    *,
    scope: str,
    watched: Mapping[str, Watched],
    wording: Wording,
    now: datetime,
    others: Callable[[Report], int] = lambda _: 0,
) -> list[AlertMessage]:
    """Return the reports of a step with their bodies; the arguments are those of `drift.text.body`."""
    return [
        AlertMessage(
            report=made,
            body=body(made, scope=scope, watched=watched, wording=wording, now=now, others=others(made)),
            most_listed=wording.max_listed_numbers,
        )
        for made in reports
    ]


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
    begun = [
        {
            "id": (episode := _episode(track)).id,
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
        for track in opened
    ]
    changed = [_moved_values(track, codec) for track in moved]
    closed = [
        _moved_values(end.track, codec) | {"ended_at": end.at, "resolution": end.resolution} for end in ended
    ]
    for statement, rows in ((insert(episodes), begun), (_MOVE_EPISODE, changed), (_END_EPISODE, closed)):
        if rows:
            await tx.execute(statement, rows)


async def save_alerts(
    tx: AsyncConnection,
    scope: str,
    messages: Iterable[AlertMessage],
    *,
    routes: Sequence[Route],
    now: datetime,
) -> None:
    """Record alerts as they are now, and queue the messages that their receivers get."""
    for message in messages:
        report, alert = message.report, message.report.alert
        values: dict[str, Any] = {
            "status": report.status,
            "severity": alert.severity,
            "version": alert.version,
            "updated_at": alert.updated_at,
            "resolved_at": now if report.status is Status.RESOLVED else None,
            "resolution": report.resolution,
            "body": encode_body(message.body),
        }
        if report.notice is Notice.OPENED:
            begun = {"id": alert.id, "scope": scope, "kind": alert.kind, "started_at": alert.started_at}
            begun |= {"account": message.body.account, "state": message.body.state or ""}
            await tx.execute(insert(alerts).values(**begun, **values))
        else:
            await tx.execute(update(alerts).where(alerts.c.id == alert.id).values(**values))
        if report.notice is not None:
            already = frozenset((await tx.execute(_HEARD, {"which": alert.id})).scalars())
            planned = plan(message.body, routes, already)
            await add_deliveries(tx, message.body, planned, now, most_listed=message.most_listed)
        quiet = [route.receiver for route in routes if not route.send_resolved]
        if quiet and report.status is Status.RESOLVED:
            # One that wants no ends must not get old ones should it ever ask for them.
            done = told.c.alert_id == alert.id, told.c.receiver.in_(quiet)
            await tx.execute(update(told).where(*done).values(ended_at=now))


async def add_deliveries(
    tx: AsyncConnection,
    body: AlertBody,
    planned: Iterable[tuple[str, Notice]],
    now: datetime,
    *,
    most_listed: int = 50,
) -> None:
    """Queue one message for each receiver.

    An `updated` that was never tried gives way to the newer one, which then tells its changes too.
    """
    for receiver, notice in planned:
        told_body = msgspec.structs.replace(body, change=notice)
        if notice is Notice.UPDATED:
            replaced = await tx.execute(
                delete(deliveries)
                .where(
                    deliveries.c.receiver == receiver,
                    deliveries.c.alert_id == body.alert_id,
                    deliveries.c.change == Notice.UPDATED,
                    deliveries.c.status == PENDING,
                    deliveries.c.attempts == 0,
                    deliveries.c.lease_until.is_(None),
                )
                .returning(deliveries.c.body)
            )
            for row in replaced:
                told_body = merged(told_body, decode_body(row.body), most=most_listed)
        await tx.execute(
            insert(deliveries).values(
                id=new_id(body.alert_id, receiver, str(body.version), notice, now.isoformat()),
                receiver=receiver,
                alert_id=body.alert_id,
                change=notice,
                version=body.version,
                body=encode_body(told_body),
                status=PENDING,
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


_FIRING_BY_KIND = (
    select(alerts.c.kind, alerts.c.severity, func.count().label("many"))
    .where(alerts.c.status == Status.FIRING)
    .group_by(alerts.c.kind, alerts.c.severity)
)

# One statement, so that a delivery accepted meanwhile is seen here or there.
_HEARD = union(
    select(told.c.receiver).where(told.c.alert_id == bindparam("which")),
    select(deliveries.c.receiver).where(
        deliveries.c.alert_id == bindparam("which"), deliveries.c.status == PENDING
    ),
)
"""The receivers that accepted a message about an alert, or have one pending."""

_BY_ID = update(episodes).where(episodes.c.id == bindparam("which"))
_MOVE_EPISODE = _BY_ID.values({name: bindparam(name) for name in ("severity", "track")})
_END_EPISODE = _BY_ID.values(
    {name: bindparam(name) for name in ("severity", "track", "ended_at", "resolution")}
)


def _episode(track: Track) -> Episode:
    if track.episode is None:
        raise ValueError("only episodes are recorded")
    return track.episode


def _moved_values(track: Track, codec: Codec) -> dict[str, Any]:
    episode = _episode(track)
    return {"which": episode.id, "severity": episode.severity, "track": codec.pack(track)}
