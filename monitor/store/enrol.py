"""Makes the store agree with a config: at a start, after a reload, when discovery found something."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Notice, Status, decode_body
from monitor.drift.episodes import Ended
from monitor.drift.policy import step
from monitor.drift.rules import Rules
from monitor.drift.text import Watched
from monitor.drift.widespread import Spread
from monitor.notify.routing import Route, plan
from monitor.store.alerts import firing, messages_of, save_alerts, save_episodes
from monitor.store.codec import Codec
from monitor.store.connections import (
    ConnectionName,
    Watch,
    begin_watching,
    load_records,
    mark_vanished,
    stop_watching,
    take_away,
)
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.discoveries import begin_discovering, discovery_identity
from monitor.store.journal import ended
from monitor.store.outbox import try_again
from monitor.store.receivers import know_receivers
from monitor.store.replicas import (
    Presence,
    Replica,
    Wanted,
    report,
    take_turn,
    wanted_by_newer,
    wanted_by_others,
    watch_moved,
)
from monitor.store.tables import CLOSED, alerts, connections, deliveries, told
from monitor.store.widespread import audience, lock_firing_causes


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What the store holds afterwards.

    `foreign`: connections, by identity, that only other replicas want. `removed`: those that are no longer
    watched, `ended` the episodes that ended with them. `moved`: whether what is watched has changed.
    `presence`: of all replicas; None on SQLite, and where one has changed meanwhile what is watched.
    """

    foreign: frozenset[str]
    removed: Mapping[str, Watched]
    ended: Sequence[Ended]
    moved: bool
    presence: Presence | None


def wants_of(
    identities: Collection[str], discovering: Collection[str], receivers: Collection[str]
) -> dict[Wanted, Collection[str]]:
    """Return what a config wants: discovery of an account is something to watch, like a connection."""
    return {
        Wanted.CONNECTION: {*identities, *map(discovery_identity, discovering)},
        Wanted.RECEIVER: receivers,
    }


async def enrol(
    database: Database,
    codec: Codec,
    *,
    me: Replica,
    watches: Sequence[Watch],
    discovering: Collection[str],
    ask_again: bool,
    vanished: Collection[str],
    listed: Collection[str],
    dropped: Collection[str] = (),
    version: int = 0,
    receivers: Sequence[str],
    routes: Sequence[Route],
    spread: Spread,
    now: datetime,
) -> Enrolled:
    """Watch these connections and send to these receivers; forget all others that no replica wants.

    The alerts of a connection that is no longer watched end; new ones begin. New receivers get the firing
    alerts, and the ends that they missed if they were receivers before; what is queued for receivers that are
    gone is closed. The policy of a connection whose rules have changed runs once more. A replica ends nothing
    while another has a newer config.

    Args:
        database: The store.
        codec: Reads it.
        me: This replica.
        watches: The connections to watch.
        discovering: Accounts whose connections are discovered.
        ask_again: Whether these are to be asked at once, and receivers that are gone to be tried again.
        vanished: Identities of those that the provider no longer lists.
        listed: Identities of the discovered ones that it does list.
        dropped: Identities of those that are to be watched no longer, as it has not listed them for so long.
        version: The fleet's when all this was read from the store.
        receivers: Names of all receivers.
        routes: Of the receivers that get messages.
        spread: How alerts are joined, and what the config adds to messages.
        now: The current instant.

    Raises:
        StoreUnavailable: The database did not accept it; nothing has changed.
    """
    mine = {watch.identity for watch in watches}

    async def write(tx: AsyncConnection) -> Enrolled:
        presence = None
        if not database.is_sqlite:
            wants = wants_of(mine, discovering, receivers)
            found = await report(tx, me, wants, now, anew=True, dropped=dropped)
            presence = found if found.version == version else None
        decides = await take_turn(tx, me, now)
        others = {kind: await wanted_by_others(tx, me.id, kind) for kind in Wanted}
        foreign = others[Wanted.CONNECTION] - mine
        newer = set() if decides else await wanted_by_newer(tx, me, Wanted.CONNECTION, now)
        moved = await begin_watching(tx, watches, now, alone=not any(others.values()), left=newer)
        moved |= await mark_vanished(tx, vanished=vanished, listed=listed, now=now)
        await begin_discovering(tx, discovering, kept=foreign, ask_again=ask_again, now=now)
        # Only the names: whoever waits for this transaction would wait while all is read of many connections.
        columns = connections.c.identity, connections.c.name, connections.c.account
        not_mine = [row for row in await tx.execute(select(*columns)) if row.identity not in mine]
        removed = {
            row.identity: Watched(name=row.name, account=row.account)
            for row in not_mine
            if decides and row.identity not in foreign
        }
        # In the order of a sync, so that the two never wait for each other: connections, receivers, causes.
        if removed:
            await take_away(tx, removed)
        new = await know_receivers(
            tx, receivers, now, routes=routes, kept=others[Wanted.RECEIVER], decides=decides
        )
        if ask_again:
            await try_again(tx, receivers)
        over = await _remove(tx, removed, codec, spread, now) if removed else []
        if new_routes := [route for route in routes if route.receiver in new]:
            await _tell_missed_ends(tx, new_routes, now)
            await tell_firing(tx, new_routes, now)
        if moved or removed:
            moved_to = await watch_moved(tx)
            presence = replace(presence, version=moved_to) if presence is not None else None
        left = frozenset(row.identity for row in not_mine if row.identity not in removed)
        return Enrolled(foreign=left, removed=removed, ended=over, moved=moved, presence=presence)

    return await database.transact(write)


async def _remove(
    tx: AsyncConnection, removed: Mapping[str, Watched], codec: Codec, spread: Spread, now: datetime
) -> list[Ended]:
    """End everything that is open of these connections, and forget their snapshots; return what ended."""
    await lock_firing_causes(tx)
    over: list[Ended] = []
    for identity, whose in removed.items():
        records = await load_records(tx, identity, codec)
        done = step(records, Rules(), now, scope=identity, unconfigured=True)
        messages = messages_of(
            done.reports,
            scope=identity,
            watched=removed,
            wording=spread.wording,
            now=now,
            names=done.names,
        )
        await save_episodes(tx, identity, opened=(), moved=(), ended=done.ended, codec=codec)
        await save_alerts(tx, identity, messages, spread=spread, now=now)
        await ended(tx, ConnectionName(identity=identity, name=whose.name, account=whose.account), now)
        await stop_watching(tx, [identity], now)
        over += done.ended
    return over


async def _tell_missed_ends(tx: AsyncConnection, routes: Sequence[Route], now: datetime) -> None:
    """Queue the ends of alerts that these receivers know of, and that came while they were in no config."""
    queued = (
        select(deliveries.c.id)
        .where(deliveries.c.receiver == told.c.receiver, deliveries.c.alert_id == told.c.alert_id)
        .where(deliveries.c.change == Notice.RESOLVED, deliveries.c.status != CLOSED)
    )
    missed = (
        select(told.c.receiver, alerts.c.body)
        .join(alerts, alerts.c.id == told.c.alert_id)
        .where(told.c.receiver.in_([route.receiver for route in routes if route.send_resolved]))
        .where(told.c.ended_at.is_(None), alerts.c.status == Status.RESOLVED, ~queued.exists())
        .order_by(alerts.c.resolved_at)
    )
    for row in await tx.execute(missed):
        await add_deliveries(tx, decode_body(row.body), [(row.receiver, Notice.RESOLVED)], now)


async def tell_firing(tx: AsyncConnection, routes: Sequence[Route], now: datetime) -> None:
    """Queue the firing alerts for these receivers: as updates of those that they know of already."""
    names = [route.receiver for route in routes]
    still_firing = select(alerts.c.id).where(alerts.c.status == Status.FIRING)
    heard = select(told.c.alert_id, told.c.receiver).where(
        told.c.receiver.in_(names), told.c.alert_id.in_(still_firing)
    )
    known = {(row.alert_id, row.receiver) for row in await tx.execute(heard)}
    for alert in await firing(tx):
        body = msgspec.structs.replace(alert, change=Notice.UPDATED)
        already = {name for name in names if (alert.alert_id, name) in known}
        hearing = routes
        if alert.widespread:
            through_a_part = await audience(tx, alert.alert_id, routes)
            hearing = [route for route in routes if route.receiver in already or route in through_a_part]
        await add_deliveries(tx, body, plan(body, hearing, already), now)
