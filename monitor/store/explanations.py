"""Loads what explanations are made of: how syncs went, who was told of alerts, and explains alerts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Kind, Status, decode_body
from monitor.drift.episodes import Track
from monitor.drift.explain import Explanation
from monitor.drift.explain_alert import explain_alert
from monitor.drift.facts import AlertFacts, Failing, Hearing, Members, Syncs, Terms
from monitor.drift.failures import FailureRecords, FailureRules
from monitor.notify.routing import Route
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName, ConnectionState, connection_states, load_records
from monitor.store.reach import Reached, ReachStatus, reach
from monitor.store.silences import silences_of
from monitor.store.tables import alerts
from monitor.store.tables import failures as failure_records

LOG = "log"
_MOST_PARTS = 50
"""Parts of a widespread alert whose numbers are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What the config says that explanations need.

    `terms_of` gives what decides about a connection's numbers, None where the config does not have it.
    `routes` are those of every receiver, the log and Alertmanagers included.
    """

    terms_of: Callable[[ConnectionName], Terms | None]
    routes: Sequence[Route]
    failure_rules: FailureRules = field(default_factory=FailureRules)


async def terms_of(tx: AsyncConnection, state: ConnectionState, grounds: Grounds) -> Terms | None:
    """Return what decides about a watched connection now, silences included."""
    whose = ConnectionName(identity=state.identity, name=state.name, account=state.account)
    terms, silences = grounds.terms_of(whose), await silences_of(tx, state.identity)
    if terms is None or not silences:
        return terms
    base = terms.rules_at
    return replace(terms, rules_at=lambda at: base(at).with_silences(silences))


async def failing_tracks(tx: AsyncConnection, codec: Codec) -> Mapping[str, Track]:
    """Return the tracks of failures, by id."""
    blob = await tx.scalar(select(failure_records.c.records))
    return (codec.unpack_failures(blob) if blob is not None else FailureRecords()).tracks


def syncs_of(state: ConnectionState, failing: Mapping[str, Track]) -> Syncs:
    """Return how the syncs of a connection are going."""
    blind = [
        track.episode.alert_id
        for track in failing.values()
        if track.key == state.identity and track.kind is not Kind.RECEIVER_FAILING and track.episode
    ]
    return Syncs(
        name=state.name,
        due_at=state.due_at,
        streak=state.streak,
        error=state.error,
        synced_at=state.synced_at,
        applied_at=state.applied_at,
        vanished_at=state.vanished_at,
        blind=blind[0] if blind else None,
    )


async def explain(
    tx: AsyncConnection, codec: Codec, alert_id: str, grounds: Grounds, now: datetime
) -> Explanation | None:
    """Return why an alert paged, or did not; None if no alert has this id."""
    alert = (await alert_facts(tx, [alert_id], grounds)).get(alert_id)
    if alert is None:
        return None
    failing = await failing_tracks(tx, codec)
    body = alert.body
    if body.status is Status.RESOLVED:
        return explain_alert(alert, now=now)
    if not body.kind.about_numbers:
        return explain_alert(
            alert,
            failing=await _failing(tx, codec, body, failing),
            rules=grounds.failure_rules,
            now=now,
        )
    return explain_alert(alert, await _members(tx, codec, alert_id, grounds, failing), now=now)


async def _members(
    tx: AsyncConnection, codec: Codec, alert_id: str, grounds: Grounds, failing: Mapping[str, Track]
) -> list[Members]:
    """Return the numbers in an alert, or in the parts of a widespread one, by connection."""
    these = or_(alerts.c.id == alert_id, alerts.c.part_of == alert_id) & (alerts.c.status == Status.FIRING)
    rows = await tx.execute(select(alerts.c.id, alerts.c.scope).where(these).limit(_MOST_PARTS))
    parts = {row.id: row.scope for row in rows}
    states = await connection_states(tx, set(parts.values()), codec)
    members = []
    for part, scope in parts.items():
        records = await load_records(tx, scope, codec)
        keys = [
            track.key
            for track in records.tracks.values()
            if track.episode is not None and track.episode.alert_id == part
        ]
        state = states.get(scope)
        if keys:
            members.append(
                Members(
                    records=records,
                    keys=keys,
                    syncs=syncs_of(state, failing) if state is not None else None,
                    terms=await terms_of(tx, state, grounds) if state is not None else None,
                )
            )
    return members


async def _failing(
    tx: AsyncConnection, codec: Codec, body: AlertBody, failing: Mapping[str, Track]
) -> list[Failing]:
    """Return the connections or receivers in a failure alert, by name."""
    tracks = [
        track
        for track in failing.values()
        if track.episode is not None and track.episode.alert_id == body.alert_id
    ]
    receivers = body.kind is Kind.RECEIVER_FAILING
    states = {} if receivers else await connection_states(tx, [track.key for track in tracks], codec)
    found = [
        Failing(
            name=states[track.key].name if track.key in states else track.key,
            track=track,
            syncs=syncs_of(states[track.key], failing) if track.key in states else None,
        )
        for track in tracks
    ]
    return sorted(found, key=lambda each: each.name)


async def alert_facts(tx: AsyncConnection, ids: Sequence[str], grounds: Grounds) -> dict[str, AlertFacts]:
    """Return these alerts with who knows of them, by id; those that are no longer kept are left out."""
    asked = select(alerts.c.id, alerts.c.body, alerts.c.part_of)
    rows = list(await tx.execute(asked.where(alerts.c.id.in_(ids))))
    wholes = {
        row.id: await _facts(tx, row, grounds)
        for row in await tx.execute(asked.where(alerts.c.id.in_({row.part_of for row in rows} - {None})))
    }
    return {
        row.id: await _facts(tx, row, grounds, whole=wholes.get(row.part_of) if row.part_of else None)
        for row in rows
    }


async def _facts(
    tx: AsyncConnection, row: Row[*tuple[Any, ...]], grounds: Grounds, *, whole: AlertFacts | None = None
) -> AlertFacts:
    body = decode_body(row.body)
    return AlertFacts(body=body, hearings=await hearings(tx, body, grounds), whole=whole)


async def hearings(tx: AsyncConnection, body: AlertBody, grounds: Grounds) -> list[Hearing]:
    """Return what each receiver of the config, or once told, knows of an alert, or why it knows nothing."""
    return [_hearing(each) for each in await reach(tx, body, grounds.routes)]


def _hearing(each: Reached) -> Hearing:
    waits, knows = each.status is ReachStatus.PENDING, each.told_at is not None
    return Hearing(
        receiver=each.receiver,
        told_at=each.told_at,
        waiting=each.reason if waits and not knows else None,
        refused=None if waits or knows else each.reason,
        filtered=each.status is ReachStatus.FILTERED and not knows,
        own_log=each.receiver == LOG,
    )
