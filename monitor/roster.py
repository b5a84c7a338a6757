"""Who is watched and who is told, brought into the store: at a start and after a reload."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Notice
from monitor.drift.policy import step
from monitor.drift.rules import Rules
from monitor.drift.text import Watched, body
from monitor.notify.routing import plan
from monitor.store.alerts import AlertMessage, add_deliveries, firing
from monitor.store.codec import Codec
from monitor.store.connections import (
    ConnectionName,
    ConnectionState,
    Watch,
    begin_watching,
    load_records,
    look_again,
    mark_vanished,
    watched,
)
from monitor.store.database import Database
from monitor.store.ledger import keep_unconfigured
from monitor.store.outbox import know_receivers
from monitor.sync.announce import Announcer
from monitor.watch.discovery import Discovered
from monitor.watch.watchlist import Watchlist


async def bring_in(
    database: Database,
    codec: Codec,
    watchlist: Watchlist,
    *,
    former: dict[str, Watched],
    receivers: Sequence[str],
    discovered: Sequence[Discovered],
    announcer: Announcer,
    now: datetime,
) -> None:
    """Make the store agree with a watchlist, and show every connection.

    Connections that are watched no more end their alerts and are forgotten; new ones begin. Receivers that
    are new hear of the firing alerts; what waits for receivers that are gone is closed. The policy of every
    connection runs once more, for the rules may be others now.

    Raises:
        StoreUnavailable: The database did not take it; all is as before.
    """
    async with database.write() as tx:
        new = await know_receivers(tx, receivers, now)
        for standing in await watched(tx, codec):
            if standing.identity not in watchlist.connections:
                await _end(tx, standing, codec, watchlist, former, now)
        await begin_watching(tx, _watches(watchlist, now), now)
        await mark_vanished(
            tx,
            vanished=[one.id for one in discovered if one.vanished],
            listed=[one.id for one in discovered if not one.vanished],
            now=now,
        )
        await look_again(tx, now)
        routes = [route for route in watchlist.routes if route.receiver in new]
        for alert in await firing(tx):
            told = msgspec.structs.replace(alert, change=Notice.OPENED)
            await add_deliveries(tx, told, plan(told, routes, frozenset()), now)
        standings = await watched(tx, codec)
    for identity in announcer.shown() - watchlist.connections.keys():
        announcer.forget(identity)
    for standing in standings:
        announcer.restore(standing, watchlist.connections[standing.identity], now)


async def _end(
    tx: AsyncConnection,
    standing: ConnectionState,
    codec: Codec,
    watchlist: Watchlist,
    former: dict[str, Watched],
    now: datetime,
) -> None:
    identity = standing.identity
    former[identity] = Watched(name=standing.name, account=standing.account)
    records = await load_records(tx, identity, codec)
    done = step(records, Rules(), now, scope=identity, unconfigured=True)
    told = [
        AlertMessage(
            report=made,
            body=body(made, scope=identity, watched=former, wording=watchlist.wording, now=now),
        )
        for made in done.reports
    ]
    named = ConnectionName(identity=identity, name=standing.name, account=standing.account)
    await keep_unconfigured(
        tx,
        named,
        done,
        told,
        plan=lambda alert, already: plan(alert, watchlist.routes, already),
        now=now,
        codec=codec,
    )


def _watches(watchlist: Watchlist, now: datetime) -> list[Watch]:
    return [
        Watch(
            identity=connection.identity,
            name=connection.named.name,
            account=connection.named.account,
            connection_id=connection.connection_id,
            first_due_at=connection.first_due_at(now),
            next_due_at=connection.next_due_at(now, recheck=False),
        )
        for connection in watchlist.connections.values()
    ]
