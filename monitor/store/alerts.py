"""Alerts, their episodes, and the deliveries that they cause."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import (
    AlertBody,
    Kind,
    Notice,
    Severity,
    Status,
    decode_body,
    encode_body,
    with_acknowledgement,
)
from monitor.drift.alerts import Report
from monitor.drift.episodes import Ended, Episode, Track
from monitor.drift.naming import NO_NAMES
from monitor.drift.text import Watched, Wording
from monitor.drift.text import body as body_of
from monitor.drift.widespread import Spread
from monitor.errors import UnknownName
from monitor.notify.routing import Route
from monitor.store.acknowledgements import NOBODY, acknowledgement_of
from monitor.store.codec import Codec
from monitor.store.deliveries import heard, tell
from monitor.store.receivers import routes_now
from monitor.store.tables import alerts, episodes
from monitor.store.widespread import follow, lock_order, place


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessage:
    """A report with the body that people read."""

    report: Report
    body: AlertBody


def messages_of(
    reports: Iterable[Report],
    *,
    scope: str,
    watched: Mapping[str, Watched],
    wording: Wording,
    now: datetime,
    others: Callable[[Report], int] = lambda _: 0,
    names: Mapping[str, str] = NO_NAMES,
) -> list[AlertMessage]:
    """Return the reports of a step with their bodies; the arguments are those of `drift.text.body`."""
    return [
        AlertMessage(
            report=made,
            body=body_of(
                made, scope=scope, watched=watched, wording=wording, now=now, others=others(made), names=names
            ),
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
            "track": codec.pack_track(track),
        }
        for track in opened
    ]
    changed = [_moved_values(track, codec) for track in moved]
    closed = [
        _moved_values(end.track, codec) | {"ended_at": end.at, "resolution": end.resolution} for end in ended
    ]
    for statement, rows in ((_BEGIN_EPISODE, begun), (_MOVE_EPISODE, changed), (_END_EPISODE, closed)):
        if rows:
            await tx.execute(statement, rows)


async def save_alerts(
    tx: AsyncConnection,
    scope: str,
    messages: Sequence[AlertMessage],
    *,
    spread: Spread,
    now: datetime,
    routes: Sequence[Route] | None = None,
) -> None:
    """Record alerts as they are now, and queue the messages that their receivers get.

    A part of a widespread alert is recorded like any other, and the widespread one tells of it. `routes` are
    given by a replay alone, whose store has no receivers.
    """
    if not messages:
        return
    routes = await routes_now(tx) if routes is None else routes
    for message in sorted(messages, key=lambda message: lock_order(message.body)):
        report, alert = message.report, message.report.alert
        known, body = None, message.body
        if report.notice is not Notice.OPENED:
            # Locked: someone may be acknowledging it.
            known = (await tx.execute(_LOCK, {"which": alert.id})).one()
            body = with_acknowledgement(body, acknowledgement_of(known), Severity(known.severity))
        where = await place(tx, report, body, known, spread, now)
        if where is not None:
            body = msgspec.structs.replace(body, part_of=where.part_of)
        values: dict[str, Any] = {
            "status": report.status,
            "severity": alert.severity,
            "version": alert.version,
            "updated_at": alert.updated_at,
            "resolved_at": now if report.status is Status.RESOLVED else None,
            "resolution": report.resolution,
            "connection": body.connection,
            "names": body.connections if body.connection is None else None,
            "numbers": body.numbers_total if body.kind.about_numbers else None,
            "body": encode_body(body),
            **(where.values if where is not None else {}),
            **(NOBODY if body.acknowledged is None else {}),
        }
        if known is None:
            begun = {"id": alert.id, "scope": scope, "kind": alert.kind, "started_at": alert.started_at}
            begun |= {"account": body.account, "state": body.state or ""}
            await tx.execute(_OPEN, begun | values)
        else:
            await tx.execute(_MOVE, {"which": alert.id} | values)
        if where is not None:
            await follow(tx, body, joined=where.joined, routes=routes, spread=spread, now=now)
        elif report.notice is not None:
            # No one has heard of an alert that opens.
            told = await heard(tx, alert.id) if known is not None else ()
            await tell(tx, body, routes, told, now, most_listed=spread.wording.max_listed_numbers)


async def alert_named(tx: AsyncConnection, text: str) -> str:
    """Return the id of the alert that a user means: all of it, or its beginning, if only one begins so.

    Of several, the only one that fires.

    Raises:
        UnknownName: None is called so, or several are.
    """
    text = text.strip().lower()
    begins = alerts.c.id.startswith(text, autoescape=True)
    asked = select(alerts.c.id, alerts.c.status).where(begins).order_by(alerts.c.id).limit(_MOST_MEANT)
    found = list(await tx.execute(asked)) if text else []
    for meant in (
        [row for row in found if row.id == text],
        found,
        [row for row in found if row.status == Status.FIRING],
    ):
        if len(meant) == 1:
            return str(meant[0].id)
    if not found:
        raise UnknownName("no alert has this id")
    raise UnknownName(f"several alerts have an id that begins with {text}; give more of it")


_MOST_MEANT = 100


async def alert_body(tx: AsyncConnection, alert_id: str) -> AlertBody:
    """Return an alert as it stands.

    Raises:
        UnknownName: There is none with this id.
    """
    raw = await tx.scalar(select(alerts.c.body).where(alerts.c.id == alert_id))
    if raw is None:
        raise UnknownName("no alert has this id")
    return decode_body(raw)


async def bodies_of(tx: AsyncConnection, ids: Sequence[str]) -> list[AlertBody]:
    """Return these alerts as they stand, in this order; those that are no longer kept are left out."""
    rows = await tx.execute(select(alerts.c.id, alerts.c.body).where(alerts.c.id.in_(ids)))
    found = {row.id: decode_body(row.body) for row in rows}
    return [found[each] for each in ids if each in found]


async def firing(tx: AsyncConnection) -> list[AlertBody]:
    """Return the bodies of all firing alerts as they stand now, newest first; without the parts of others."""
    asked = select(alerts.c.body).where(alerts.c.status == Status.FIRING, alerts.c.part_of.is_(None))
    rows = await tx.execute(asked.order_by(alerts.c.started_at.desc()))
    return [decode_body(row.body) for row in rows]


async def firing_by_kind(tx: AsyncConnection) -> dict[tuple[Kind, Severity], int]:
    """Return how many alerts fire, by kind and severity; the parts of a widespread one count once."""
    rows = await tx.execute(_FIRING_BY_KIND)
    return {(Kind(row.kind), Severity(row.severity)): row.many for row in rows}


_FIRING_BY_KIND = (
    select(alerts.c.kind, alerts.c.severity, func.count().label("many"))
    .where(alerts.c.status == Status.FIRING, alerts.c.part_of.is_(None))
    .group_by(alerts.c.kind, alerts.c.severity)
)

# Built once: building one takes longer than running it.
_OPEN = insert(alerts)
_KNOWN = ("severity", "account", "kind", "state", "part_of", "record", *NOBODY)
_LOCK = (
    select(*(alerts.c[name] for name in _KNOWN)).where(alerts.c.id == bindparam("which")).with_for_update()
)
_MOVE = update(alerts).where(alerts.c.id == bindparam("which"))

_BEGIN_EPISODE = insert(episodes)
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
    return {"which": episode.id, "severity": episode.severity, "track": codec.pack_track(track)}
