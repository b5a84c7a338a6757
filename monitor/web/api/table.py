"""The questions of the JSON API: path, parameters, answer. A new one is one entry here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from monitor.drift.alert import AlertBody
from monitor.drift.alert import Status as AlertStatus
from monitor.store import queries
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.queries import MaintenanceOf
from monitor.store.rows import ChangeRow, ConnectionRow, DeliveryRow, NumberRow
from monitor.web.api import questions as ask
from monitor.web.api.answers import (
    ConnectionDetail,
    Listing,
    StatusAnswer,
    detail_of,
    listing_of,
    status_of,
)
from monitor.web.status import ReadinessSource, StatusSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Who knows the answers. `maintenance_of` says of an identity whether a window is open."""

    database: Database
    codec: Codec
    status: StatusSource
    readiness: ReadinessSource
    maintenance_of: MaintenanceOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question: what may be asked, what it is answered with, who answers.

    `name` is its id in the OpenAPI, `kind` the type of its answer. `answer` gives None for what is not there,
    which `not_found` says in words; without it, that cannot be.
    """

    name: str
    path: str
    summary: str
    asked: type[msgspec.Struct]
    kind: Any
    answer: Callable[[Sources, Any], Awaitable[object]]
    not_found: str | None = None
    paged: bool = False
    stored: bool = True


async def _status(sources: Sources, _: ask.StatusQuestion) -> StatusAnswer:
    return status_of(await sources.status.status(), sources.readiness.not_ready())


async def _connections(sources: Sources, asked: ask.ConnectionsQuestion) -> Listing[ConnectionRow]:
    async with sources.database.read() as tx:
        page = await queries.connection_rows(tx, sources.codec, sources.maintenance_of, **_filters(asked))
    return listing_of(page)


async def _connection(sources: Sources, asked: ask.ConnectionQuestion) -> ConnectionDetail | None:
    async with sources.database.read() as tx:
        row = await queries.connection_named(tx, sources.codec, sources.maintenance_of, asked.name)
        if row is None:
            return None
        page = await queries.alert_bodies(tx, connection=row.name, status=AlertStatus.FIRING)
    return detail_of(row, page.rows)


async def _numbers(sources: Sources, asked: ask.NumbersQuestion) -> Listing[NumberRow]:
    async with sources.database.read() as tx:
        return listing_of(await queries.numbers(tx, sources.codec, **_filters(asked)))


async def _changes(sources: Sources, asked: ask.ChangesQuestion) -> Listing[ChangeRow]:
    async with sources.database.read() as tx:
        return listing_of(await queries.change_rows(tx, **_filters(asked)))


async def _alerts(sources: Sources, asked: ask.AlertsQuestion) -> Listing[AlertBody]:
    async with sources.database.read() as tx:
        return listing_of(await queries.alert_bodies(tx, **_filters(asked)))


async def _deliveries(sources: Sources, asked: ask.DeliveriesQuestion) -> Listing[DeliveryRow]:
    async with sources.database.read() as tx:
        return listing_of(await queries.delivery_rows(tx, **_filters(asked)))


def _filters(asked: msgspec.Struct) -> dict[str, Any]:
    """Return the filters that were given, by the names they have in the store's questions."""
    given = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not UNSET}
    if "cursor" in given:
        given["after"] = given.pop("cursor")
    return given


QUESTIONS = (
    Question(
        name="getStatus",
        path="/status",
        summary="The state of the whole monitor, also while its store is away.",
        asked=ask.StatusQuestion,
        kind=StatusAnswer,
        answer=_status,
        stored=False,
    ),
    Question(
        name="listConnections",
        path="/connections",
        summary="The watched connections by name, and how they do.",
        asked=ask.ConnectionsQuestion,
        kind=Listing[ConnectionRow],
        answer=_connections,
        paged=True,
    ),
    Question(
        name="getConnection",
        path="/connections/{name}",
        summary="One connection, with its firing alerts.",
        asked=ask.ConnectionQuestion,
        kind=ConnectionDetail,
        answer=_connection,
        not_found="no connection has this name",
    ),
    Question(
        name="listNumbers",
        path="/numbers",
        summary="The numbers of the applied snapshots, by connection and key.",
        asked=ask.NumbersQuestion,
        kind=Listing[NumberRow],
        answer=_numbers,
        paged=True,
    ),
    Question(
        name="listChanges",
        path="/changes",
        summary="What changed from sync to sync, newest first.",
        asked=ask.ChangesQuestion,
        kind=Listing[ChangeRow],
        answer=_changes,
        paged=True,
    ),
    Question(
        name="listAlerts",
        path="/alerts",
        summary="Alerts as they stand now, the latest started first.",
        asked=ask.AlertsQuestion,
        kind=Listing[AlertBody],
        answer=_alerts,
        paged=True,
    ),
    Question(
        name="listDeliveries",
        path="/deliveries",
        summary="Messages to receivers, the latest queued first.",
        asked=ask.DeliveriesQuestion,
        kind=Listing[DeliveryRow],
        answer=_deliveries,
        paged=True,
    ),
)
