"""Sets and ends silences, as people ask for it: each request one transaction."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Kind, Status
from monitor.drift.alerts import new_id
from monitor.drift.rules import Ignore
from monitor.drift.silences import (
    NewSilence,
    SilencePlan,
    in_trouble,
    planned,
)
from monitor.errors import Invalid, Refused, UnknownName
from monitor.store.actions import Action, ActionRecord, Actor, add_action
from monitor.store.alerts import alert_named
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.rows import SilenceRow
from monitor.store.silences import Keys, silence_row
from monitor.store.tables import (
    alerts,
    connections,
    episodes,
    silenced,
    silences,
    snapshots,
)

_ID_LENGTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a silence is about when it is set: connections by identity, and their numbers, if not any.

    `alert`: the alert that it acts on, of a part the widespread one.
    """

    identities: frozenset[str]
    keys: Keys | None
    alert: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A silence as a person's request leaves it, and the record of the request."""

    silence: SilenceRow
    did: ActionRecord


async def set_silence(
    database: Database, codec: Codec, asked: NewSilence, by: Actor, now: datetime, *, logged: bool
) -> Asked:
    """Set the silence that a person asks for; the policy of the connections that it is about runs at once.

    Raises:
        Invalid: It cannot be set like this.
        UnknownName: No alert is called so, or several are.
        StoreUnavailable: The store is unavailable.
    """
    plan = planned(asked, now)
    async with database.read() as tx:
        aim = await _aimed(tx, plan, codec, now)

    async def write(tx: AsyncConnection) -> Asked:
        silence = await _add(tx, plan, aim, now)
        return await _recorded(tx, silence, by.did(Action.SILENCE, _target(silence)), now, logged=logged)

    return await database.transact(write)


async def stop_silence(
    database: Database, silence_id: str, by: Actor, now: datetime, *, name: str | None = None, logged: bool
) -> Asked:
    """End a silence; what it kept quiet and still drifts alerts anew.

    Args:
        database: The store.
        silence_id: Which one.
        by: Who asks for it.
        now: The current instant.
        name: Who is to be shown to have ended it, if not the user.
        logged: Whether a daemon's log has the action.

    Raises:
        UnknownName: There is no such silence.
        Refused: It has ended already.
        StoreUnavailable: The store is unavailable.
    """

    async def write(tx: AsyncConnection) -> Asked:
        silence = await _end(tx, silence_id, name or by.user, now)
        return await _recorded(tx, silence, by.did(Action.END_SILENCE, _target(silence)), now, logged=logged)

    return await database.transact(write)


async def _recorded(
    tx: AsyncConnection, silence: SilenceRow, did: ActionRecord, now: datetime, *, logged: bool
) -> Asked:
    await add_action(tx, did, now, logged=logged)
    return Asked(silence=silence, did=did)


def _target(silence: SilenceRow) -> str:
    return f"silence {silence.id} ({silence.matchers})"


async def _aimed(tx: AsyncConnection, plan: SilencePlan, codec: Codec, now: datetime) -> Aim:
    """Return what a silence would be about.

    Raises:
        UnknownName: No alert is called so, or several are.
        Invalid: The alert is over or not about numbers, or no number drifts that it would wait for.
    """
    named = {
        row.identity
        for row in await tx.execute(select(connections.c.identity, connections.c.name))
        if plan.rule.applies_to(row.name)
    }
    alert: str | None = None
    keys: Keys | None = None
    if plan.alert is not None:
        alert, keys = await _members(tx, plan.alert)
        named &= keys.keys()
    if plan.until_ready:
        drifting = await _drifting(tx, plan.rule, named, codec, now)
        keys = {
            identity: found if keys is None else found & frozenset(keys[identity])
            for identity, found in drifting.items()
        }
        if not any(keys.values()):
            raise Invalid(
                "no number that matches drifts now, so there is nothing to wait for; set a time instead",
                "until_ready",
            )
    if keys is not None:
        keys = {identity: keys[identity] for identity in named if keys.get(identity)}
        named &= keys.keys()
    return Aim(identities=frozenset(named), keys=keys, alert=alert)


async def _add(tx: AsyncConnection, plan: SilencePlan, aim: Aim, now: datetime) -> SilenceRow:
    """Set a silence; the policy of the connections that it is about runs at once."""
    row = {
        **{name: getattr(plan, name) for name in ("connection", "number", "state", "issue")},
        "alert": aim.alert,
        **{name: getattr(plan, name) for name in ("until", "until_ready", "reason", "by")},
        "created_at": now,
    }
    row["id"] = new_id("silence", *(str(value) for value in row.values()))[:_ID_LENGTH]
    await tx.execute(insert(silences).values(**row))
    keys = [
        {"silence_id": row["id"], "identity": identity, "key": key}
        for identity, found in sorted((aim.keys or {}).items())
        for key in sorted(found)
    ]
    if keys:
        await tx.execute(insert(silenced), keys)
    await _look_again(tx, aim.identities, now)
    return SilenceRow(**row, ended_at=None, ended_by=None)


async def _end(tx: AsyncConnection, silence_id: str, by: str | None, now: datetime) -> SilenceRow:
    """End a silence; what it kept quiet and still drifts alerts anew.

    Raises:
        UnknownName: There is no such silence.
        Refused: It has ended already.
    """
    found = (await tx.execute(select(silences).where(silences.c.id == silence_id))).first()
    if found is None:
        raise UnknownName("no silence has this id")
    row = silence_row(found, now)
    if row.ended_at is not None:
        raise Refused("this silence has ended already")
    this = silences.c.id == silence_id, silences.c.ended_at.is_(None)
    await tx.execute(update(silences).where(*this).values(ended_at=now, ended_by=by))
    if row.alert is not None or row.until_ready:
        its = select(silenced.c.identity).where(silenced.c.silence_id == silence_id).distinct()
        concerned = set((await tx.execute(its)).scalars())
    else:
        rule = Ignore(connection=row.connection or "*")
        names = await tx.execute(select(connections.c.identity, connections.c.name))
        concerned = {each.identity for each in names if rule.applies_to(each.name)}
    await _look_again(tx, concerned, now)
    return dataclasses.replace(row, ended_at=now, ended_by=by)


async def _members(tx: AsyncConnection, asked: str) -> tuple[str, dict[str, set[str]]]:
    """Return the alert that is meant, and the keys of its members now; of a part, all those of the whole."""
    columns = alerts.c.id, alerts.c.kind, alerts.c.status, alerts.c.part_of
    meant = alerts.c.id == await alert_named(tx, asked)
    alert = (await tx.execute(select(*columns).where(meant))).one()
    if not Kind(alert.kind).about_numbers:
        raise Invalid(
            "this alert is not about numbers, which is all that silences cover: acknowledge it", "alert"
        )
    if alert.status != Status.FIRING:
        raise Invalid("this alert has ended: it has no members to silence", "alert")
    whole = alert.part_of or alert.id
    parts = select(alerts.c.id).where(or_(alerts.c.id == whole, alerts.c.part_of == whole))
    members = select(episodes.c.scope, episodes.c.key).where(
        episodes.c.alert_id.in_(parts), episodes.c.ended_at.is_(None)
    )
    keys: dict[str, set[str]] = {}
    for row in await tx.execute(members):
        keys.setdefault(row.scope, set()).add(row.key)
    return whole, keys


async def _drifting(
    tx: AsyncConnection, rule: Ignore, identities: Collection[str], codec: Codec, now: datetime
) -> dict[str, frozenset[str]]:
    """Return the keys of the numbers that drift now and that a rule matches, by connection."""
    found = {}
    for identity in sorted(identities):
        blob = await tx.scalar(select(snapshots.c.records).where(snapshots.c.identity == identity))
        if blob is not None:
            found[identity] = in_trouble(rule, codec.unpack_tracks(blob), now)
    return found


async def _look_again(tx: AsyncConnection, identities: Collection[str], now: datetime) -> None:
    """Make the policy of these connections due; without records there is nothing to look at."""
    # In the order of identity, in which every transaction locks them.
    which = [{"which": identity, "at": now} for identity in sorted(identities)]
    if which:
        await tx.execute(_WAKE, which)


_WAKE = (
    update(connections)
    .where(
        connections.c.identity == bindparam("which"),
        select(snapshots.c.identity).where(snapshots.c.identity == bindparam("which")).exists(),
    )
    .values(wakes_at=bindparam("at"))
)
