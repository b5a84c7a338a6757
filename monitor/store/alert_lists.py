"""Lists of alerts: all of them, the latest first, and those that fire, the worst first.

An index holds all that they are looked for by. Their bodies are large: only those that are shown are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    and_,
    func,
    literal,
    or_,
    select,
    tuple_,
    type_coerce,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import AlertBody, Kind, Severity, Status, decode_body
from monitor.store import paging
from monitor.store.inventory import like
from monitor.store.naming import named
from monitor.store.paging import LIMIT, Instant, Page, cursor_of, page_of, parts_of
from monitor.store.tables import UtcDateTime, alerts

Conditions = list[ColumnElement[bool]]

_FAILURES = 200
"""Firing alerts about connections or receivers that are put in order: each takes in many, so few fire."""


async def alert_bodies(
    tx: AsyncConnection,
    *,
    connection: str | None = None,
    state: str | None = None,
    kind: Kind | None = None,
    status: Status | None = None,
    severity: Severity | None = None,
    since: datetime | None = None,
    part_of: str | None = None,
    widespread: bool | None = None,
    parts: bool = True,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[AlertBody]:
    """Return alerts as they are now, the latest started first.

    Args:
        tx: A reading transaction.
        connection: Only alerts about a connection whose name matches this glob.
        state: Only this state, in any case.
        kind: Only this kind.
        status: Only firing or only resolved alerts.
        severity: Only this severity.
        since: Only alerts that were firing then or later.
        part_of: Only the parts of the widespread alert with this id.
        widespread: Only widespread alerts (True), or only the others (False).
        parts: Also parts of widespread alerts.
        limit: The most rows to return.
        after: The `next` of the previous page.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    before = parts_of(after, tuple[Instant, paging.Text]) if after is not None else None
    wanted = await _wanted(
        tx,
        connection,
        state=state,
        parts=parts,
        widespread=widespread,
        kind=kind,
        severity=severity,
        part_of=part_of,
    )
    found: list[tuple[AlertBody, Row[Any]]] = []
    while True:
        rows = await _newest(tx, wanted, status, since, before, limit + 1)
        bodies = [(decode_body(row.body), row) for row in rows]
        found += [(body, row) for body, row in bodies if _is_about(body, connection)]
        if len(found) > limit or len(rows) <= limit:
            break
        before = rows[-1].started_at, rows[-1].id
    page = page_of(found, limit, lambda pair: cursor_of(pair[1].started_at, pair[1].id))
    return Page(rows=[body for body, _ in page.rows], next=page.next)


async def _wanted(
    tx: AsyncConnection,
    connection: str | None = None,
    *,
    state: str | None = None,
    parts: bool = True,
    widespread: bool | None = None,
    **given: str | None,
) -> Conditions:
    """Return the conditions of a filter; where it is about connections, `_is_about` has the last word."""
    found = [alerts.c[name] == value for name, value in given.items() if value is not None]
    if state is not None:
        found.append(func.lower(alerts.c.state) == func.lower(state))
    if not parts:
        found.append(alerts.c.part_of.is_(None))
    if widespread is not None:
        found.append(alerts.c.widespread.is_(widespread))
    if connection is not None:
        found.append(await _may_be_about(tx, connection))
    return found


async def _may_be_about(tx: AsyncConnection, glob: str) -> ColumnElement[bool]:
    """Return the condition of alerts about a connection that matches, and maybe of some about several."""
    names = type_coerce(alerts.c.names, Text)
    several = or_(names.is_(None), names.like(f"%{like(glob)}%", escape="\\"))
    return or_(await named(tx, alerts.c.connection, glob), and_(alerts.c.connection.is_(None), several))


def _is_about(body: AlertBody, glob: str | None) -> bool:
    return glob is None or any(fnmatchcase(name, glob) for name in body.connections)


async def _newest(
    tx: AsyncConnection,
    wanted: Conditions,
    status: Status | None,
    since: datetime | None,
    before: tuple[datetime, str] | None,
    many: int,
) -> list[Row[Any]]:
    asked = select(alerts.c.id).where(*wanted).order_by(*_NEWEST).limit(many)
    if before is not None:
        at, last = before
        asked = asked.where(tuple_(alerts.c.started_at, alerts.c.id) < tuple_(literal(at, UtcDateTime), last))
    each = []
    for one in Status if status is None else (status,):
        its = asked.where(alerts.c.status == one)
        if since is not None and one is Status.RESOLVED:
            its = its.where(alerts.c.resolved_at >= since)
        each.append(select(its.subquery().c.id))
    these = select(alerts.c.body, alerts.c.started_at, alerts.c.id).where(alerts.c.id.in_(union_all(*each)))
    return list(await tx.execute(these.order_by(*_NEWEST).limit(many)))


async def alerts_like(
    tx: AsyncConnection, *, connection: str | None, state: str | None, most: int
) -> Sequence[str] | None:
    """Return the ids of the alerts that a filter lets through, and maybe some more; None: there are many."""
    wanted = await _wanted(tx, connection, state=state)
    wanted.append(alerts.c.status.in_(Status))  # which leads the index
    ids = (await tx.scalars(select(alerts.c.id).where(*wanted).limit(most + 1))).all()
    return ids if len(ids) <= most else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """The firing alerts, without the parts of others.

    `counts` are by severity. `worst` holds the worst of each severity, and those about connections or
    receivers. `severities` are the worst by the name of the connection that they are about.
    """

    counts: Mapping[Severity, int] = field(default_factory=dict)
    worst: Sequence[AlertBody] = ()
    severities: Mapping[str, Severity] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many fire."""
        return sum(self.counts.values())


async def firing_alerts(tx: AsyncConnection, *, worst: int) -> Firing:
    """Return the firing alerts; `worst`: how many of each severity."""
    wanted = _firing()
    counts = await _by_severity(tx, wanted)
    bodies: list[AlertBody] = []
    for severity in counts:
        if len(bodies) < worst:
            bodies += await _worst(tx, severity, wanted, worst)
    bodies += await _failing(tx, wanted)
    about = [(Severity(row.severity), row.names.split(_BETWEEN)) for row in await tx.execute(_ABOUT)]
    about += [(body.severity, body.connections) for body in bodies]
    severities: dict[str, Severity] = {}
    for severity, names in sorted(about, key=lambda each: each[0].rank):
        severities |= dict.fromkeys(names, severity)
    return Firing(counts=counts, worst=bodies, severities=severities)


_BETWEEN = "\n"
"""Between names, in which only printable characters are."""
# A row for each severity: reading thousands takes far longer than finding them.
_ABOUT = (
    select(alerts.c.severity, func.aggregate_strings(alerts.c.connection, _BETWEEN).label("names"))
    .where(alerts.c.resolved_at.is_(None), alerts.c.connection.is_not(None))
    .group_by(alerts.c.severity)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Those firing alerts of a filter that may be on a page, once they are in order.

    `total` is how many it lets through in all, `above` how many come before all of `bodies`.
    """

    total: int
    above: int
    bodies: Sequence[AlertBody]


async def ranked(
    tx: AsyncConnection,
    *,
    start: int,
    many: int,
    connection: str | None = None,
    part_of: str | None = None,
    **given: Any,
) -> Rank:
    """Return the firing alerts among which those at `start` and behind are; filters as above.

    Parts of widespread alerts are among them only if asked for with `part_of`.

    They go by severity, then by how many numbers they are about, the newest first. How many numbers an alert
    about connections or receivers concerns is for the caller to say, so these are always among them.
    """
    wanted = [*await _wanted(tx, connection, **given), *_firing(part_of)]
    failing = [body for body in await _failing(tx, wanted) if _is_about(body, connection)]
    counts = await _by_severity(tx, [*wanted, alerts.c.numbers.is_not(None)])
    above = offset = max(start - len(failing), 0)
    bodies: list[AlertBody] = []
    for severity, there in counts.items():
        lacking = many + len(failing) - len(bodies)
        if offset < there and lacking > 0:
            bodies += await _worst(tx, severity, wanted, lacking, offset=offset)
        offset = max(offset - there, 0)
    return Rank(total=sum(counts.values()) + len(failing), above=above, bodies=[*bodies, *failing])


def _firing(part_of: str | None = None) -> Conditions:
    """Return the conditions of firing alerts that are part of none, or of this one."""
    return [alerts.c.resolved_at.is_(None), alerts.c.part_of == part_of]


_NEWEST = (alerts.c.started_at.desc(), alerts.c.id.desc())


async def _by_severity(tx: AsyncConnection, wanted: Conditions) -> dict[Severity, int]:
    """Return how many alerts fire, the worst severity first."""
    asked = select(alerts.c.severity, func.count().label("many")).where(*wanted)
    rows = [(Severity(row.severity), row.many) for row in await tx.execute(asked.group_by(alerts.c.severity))]
    return dict(sorted(rows, key=lambda row: -row[0].rank))


async def _worst(
    tx: AsyncConnection, severity: Severity, wanted: Conditions, many: int, *, offset: int = 0
) -> list[AlertBody]:
    """Return the alerts of a severity about most numbers, the newest first."""
    these = [*wanted, alerts.c.severity == severity, alerts.c.numbers.is_not(None)]
    return await _bodies(tx, these, [alerts.c.numbers.desc(), *_NEWEST], many, offset=offset)


async def _failing(tx: AsyncConnection, wanted: Conditions) -> list[AlertBody]:
    """Return the alerts about connections or receivers."""
    # The severities are those that there are: they lead the index.
    these = [*wanted, alerts.c.severity.in_(Severity), alerts.c.numbers.is_(None)]
    return await _bodies(tx, these, _NEWEST, _FAILURES)


async def _bodies(
    tx: AsyncConnection, wanted: Conditions, order: Sequence[Any], many: int, *, offset: int = 0
) -> list[AlertBody]:
    these = select(alerts.c.id).where(*wanted).order_by(*order).limit(many).offset(offset)
    asked = select(alerts.c.body).where(alerts.c.id.in_(these)).order_by(*order)
    return [decode_body(row.body) for row in await tx.execute(asked)]
