"""What a reload would do now to what is open: the daemon's own parts do it, to a copy of the store."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import delete, func, insert, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.config import Config
from monitor.daemon.app import rehearsal
from monitor.daemon.build import Parts
from monitor.drift.alert import AlertBody, Kind, Resolution, Severity, Status, decode_body
from monitor.drift.widespread import REFRESH
from monitor.http.client import Network
from monitor.notify.alertmanager.labels import reconcile
from monitor.store import widespread
from monitor.store.claims import Claim, claim_one
from monitor.store.codec import Codec
from monitor.store.connections import watched
from monitor.store.database import Database
from monitor.store.level import StoredLevel
from monitor.store.replicas import watching_since
from monitor.store.scratch import copy_of_what_is_open
from monitor.store.tables import (
    PENDING,
    alerts,
    connections,
    deliveries,
    episodes,
    fleet,
    has_status,
    posted,
    receivers,
    told,
)

_LEASE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An alert that ends. A part of a widespread alert has that one's id in `part_of`."""

    alert_id: str
    reason: Resolution | None
    kind: Kind
    connection: str | None
    severity: Severity
    summary: str
    part_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An alert that opens. `numbers` counts them; `receivers` hear of it, and none of a part."""

    kind: Kind
    account: str | None
    connection: str | None
    connections: list[str]
    state: str | None
    numbers: int
    severity: Severity
    receivers: list[str]
    summary: str
    part_of: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """An alert that stays open, with another severity, other receivers or other members."""

    alert_id: str
    severity: Severity
    severity_before: Severity
    receivers_added: list[str]
    receivers_removed: list[str]
    members_added: int
    members_ended: int
    kind: Kind
    connection: str | None
    summary: str
    part_of: str | None

    @property
    def matters(self) -> bool:
        """Whether anything is different."""
        moved = self.receivers_added or self.receivers_removed or self.members_added or self.members_ended
        return bool(moved) or self.severity is not self.severity_before


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a reload would do. `silences_numbers`: drifting numbers that it makes quiet.

    `connections_added` and `connections_removed` are names.
    """

    ends: list[Ending]
    opens: list[Opening]
    changes: list[Alteration]
    silences_numbers: int
    connections_added: list[str]
    connections_removed: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How a store stands.

    By identity: the names of connections, how many numbers of each are ignored, and how many have stopped
    alerting though they drift. By id: alerts, who hears of those that fire, and their members.
    """

    names: Mapping[str, str]
    ignored: Mapping[str, int]
    quieted: Mapping[str, int]
    bodies: Mapping[str, AlertBody]
    hearing: Mapping[str, set[str]]
    members: Mapping[str, set[str]]


async def preview(config: Config, source: Database, network: Network, clock: Clock) -> Preview:
    """Return what a reload with this config would do now, or a start where no daemon runs.

    Of several replicas, all of them reload. What the next answers of the provider do is not part of it.

    Raises:
        StoreUnavailable: The store cannot be read.
        MonitorError: A daemon could not start.
    """
    since = clock.now() - config.alerts.update_interval
    async with (
        copy_of_what_is_open(source, since=since) as copy,
        rehearsal(config, network, database=copy, clock=clock) as parts,
    ):
        before = await _standing(copy)
        await parts.active.start()
        await _run_policies(parts)
        await _look_at_failures(parts)
        await _look_at_widespread(parts)
        await _post(parts)
        return _compared(before, await _standing(copy))


async def _run_policies(parts: Parts) -> None:
    """Run the policy of every connection until it is due for none."""

    async def claim(tx: AsyncConnection) -> list[Claim | None]:
        now = parts.clock.now()
        due = await tx.execute(select(connections.c.identity).where(connections.c.wakes_at <= now))
        return [await claim_one(tx, identity, now, lease=_LEASE) for identity in due.scalars().all()]

    while claims := await parts.database.transact(claim):
        for each in claims:
            if each is None or (await parts.schedule.cycle.run(replace(each, sync_due=False))).lost:
                raise RuntimeError("the policy of a connection could not run")


async def _look_at_failures(parts: Parts) -> None:
    """Look at how syncs have been going, as a daemon that has been running if one has."""
    now = parts.clock.now()

    async def watch(tx: AsyncConnection) -> None:
        first, last = func.min(connections.c.watched_since), func.max(connections.c.synced_at)
        row = (await tx.execute(select(first.label("first"), last.label("last")))).one()
        since = now
        if row.last is not None and now - row.last < parts.active.state.watchlist.stale_after:
            since = await watching_since(tx) or row.first
        await tx.execute(delete(fleet))
        await tx.execute(insert(fleet).values(id=1, since=since))

    await parts.database.transact(watch)
    await parts.schedule.failures.run()


async def _look_at_widespread(parts: Parts) -> None:
    """Bring widespread alerts up to date with their parts, as is done within moments."""
    watchlist, soon = parts.active.state.watchlist, parts.clock.now() + REFRESH

    async def look(tx: AsyncConnection) -> None:
        for alert_id in await widespread.due(tx, soon):
            await widespread.look_at(tx, alert_id, watchlist.spread, soon)

    await parts.database.transact(look)


async def _post(parts: Parts) -> None:
    """Write down what Alertmanagers are posted."""
    level = StoredLevel(parts.database, Codec(), parts.clock, holder="")
    for receiver in parts.active.alertmanagers:
        alone, now = len(receiver.urls) == 1, parts.clock.now()
        await level.forget_others(receiver.name, [target.url for target in receiver.targets])
        for target in receiver.targets:
            found = await level.read(target)
            _, moves = reconcile(found, receiver.route, receiver.wording, alone=alone, now=now)
            await level.write(target, moves)


async def _standing(database: Database) -> _Standing:
    codec = Codec()
    hearing, members = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    async with database.read() as tx:
        states = await watched(tx, codec)
        found = await tx.execute(select(alerts.c.body).order_by(alerts.c.started_at, alerts.c.id))
        bodies = [decode_body(body) for body in found.scalars()]
        for row in await tx.execute(_HEARING):
            hearing[row.alert_id].add(row.receiver)
        for row in await tx.execute(_MEMBERS):
            for alert_id in {row.alert_id, row.part_of} - {None}:
                members[alert_id].add(row.id)
        quieted = [
            row.scope
            for row in await tx.execute(_QUIETED)
            if not codec.unpack_track(row.track, row.id, row.alert_id).good
        ]
    return _Standing(
        names={state.identity: state.name for state in states},
        ignored={state.identity: sum(state.counts.ignored.values()) for state in states if state.counts},
        quieted=Counter(quieted),
        bodies={body.alert_id: body for body in bodies},
        hearing=hearing,
        members=members,
    )


_open = episodes.c.ended_at.is_(None)
_is_known = select(receivers.c.name)
_HEARING = union(
    select(told.c.alert_id, told.c.receiver).where(told.c.receiver.in_(_is_known)),
    select(deliveries.c.alert_id, deliveries.c.receiver).where(has_status(deliveries, PENDING)),
    select(func.coalesce(alerts.c.part_of, alerts.c.id), posted.c.receiver)
    .join(episodes, episodes.c.id == posted.c.episode_id)
    .join(alerts, alerts.c.id == episodes.c.alert_id)
    .where(_open, posted.c.ended_at.is_(None), posted.c.receiver.in_(_is_known)),
)
_MEMBERS = (
    select(episodes.c.id, episodes.c.alert_id, alerts.c.part_of)
    .join(alerts, alerts.c.id == episodes.c.alert_id)
    .where(_open)
)
_QUIETED = select(episodes).where(
    episodes.c.kind == Kind.DRIFT, episodes.c.resolution.in_([Resolution.IGNORED, Resolution.SILENCED])
)


def _compared(before: _Standing, after: _Standing) -> Preview:
    firing, fires = (
        {alert_id: body for alert_id, body in each.bodies.items() if body.status is Status.FIRING}
        for each in (before, after)
    )
    changes = [
        _altered(body, fires[alert_id], before, after)
        for alert_id, body in firing.items()
        if alert_id in fires
    ]
    return Preview(
        ends=[
            _ended(body, after.bodies[alert_id]) for alert_id, body in firing.items() if alert_id not in fires
        ],
        opens=[
            _opened(body, after.hearing[alert_id])
            for alert_id, body in fires.items()
            if alert_id not in firing
        ],
        changes=[change for change in changes if change.matters],
        # The rules of before are not known, only how many numbers they kept quiet.
        silences_numbers=sum(
            max(after.quieted[identity], many - before.ignored.get(identity, 0))
            for identity, many in after.ignored.items()
        ),
        connections_added=[name for key, name in after.names.items() if key not in before.names],
        connections_removed=[name for key, name in before.names.items() if key not in after.names],
    )


def _ended(before: AlertBody, after: AlertBody) -> Ending:
    return Ending(
        alert_id=before.alert_id,
        reason=after.resolution,
        kind=before.kind,
        connection=before.connection,
        severity=before.severity,
        summary=before.summary,
        part_of=before.part_of,
    )


def _opened(body: AlertBody, hearing: set[str]) -> Opening:
    return Opening(
        kind=body.kind,
        account=body.account,
        connection=body.connection,
        connections=body.connections,
        state=body.state,
        numbers=body.numbers_total,
        severity=body.severity,
        receivers=sorted(hearing),
        summary=body.summary,
        part_of=body.part_of,
    )


def _altered(was: AlertBody, body: AlertBody, before: _Standing, after: _Standing) -> Alteration:
    alert_id = body.alert_id
    heard, hear = before.hearing[alert_id], after.hearing[alert_id]
    had, has = before.members[alert_id], after.members[alert_id]
    return Alteration(
        alert_id=alert_id,
        severity=body.severity,
        severity_before=was.severity,
        receivers_added=sorted(hear - heard),
        receivers_removed=sorted(heard - hear),
        members_added=len(has - had),
        members_ended=len(had - has),
        kind=body.kind,
        connection=body.connection,
        summary=body.summary,
        part_of=body.part_of,
    )
