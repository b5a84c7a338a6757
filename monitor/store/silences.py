"""Silences in the store: set and ended by people, read by every step, taken up by the log."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, case, delete, insert, literal, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import Kind, Status
from monitor.drift.alerts import new_id
from monitor.drift.rules import Ignore, Silence
from monitor.drift.silences import (
    Fit,
    NewSilence,
    SilencePlan,
    concerns,
    has_issue,
    in_trouble,
    in_words,
    notes,
    planned,
)
from monitor.drift.snapshot import Counts
from monitor.errors import Invalid, Refused, UnknownName
from monitor.store.actions import Action, ActionRecord, Actor, add_action
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.inventory import connections_with
from monitor.store.paging import LIMIT, Instant, Page, Text, cursor_of, page_of, parts_of
from monitor.store.rows import QuietNotice, SilenceRow
from monitor.store.tables import (
    UtcDateTime,
    alerts,
    connections,
    episodes,
    from_row,
    silenced,
    silences,
    snapshots,
)

_ID_LENGTH = 10
_ANY = "*"

Keys = Mapping[str, Collection[str]]
"""Keys of numbers by the identity of their connection."""


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


@dataclass(frozen=True, slots=True)
class ActiveSilences:
    """Every silence that has not ended, and the keys of those that are about certain numbers."""

    silences: Sequence[Silence]
    keys: Mapping[str, Keys]

    def of(self, whose: ConnectionName) -> tuple[Silence, ...]:
        """Return those that concern a connection; where they are about certain numbers, with its keys."""
        found = []
        for silence in self.silences:
            if silence.id not in self.keys:
                if silence.applies_to(whose.name):
                    found.append(silence)
            elif keys := self.keys[silence.id].get(whose.identity):
                found.append(dataclasses.replace(silence, keys=frozenset(keys)))
        return tuple(found)


async def active_silences(tx: AsyncConnection) -> ActiveSilences:
    """Return all silences that have not ended."""
    return _active(await tx.execute(_ACTIVE))


async def silences_of(tx: AsyncConnection, identity: str) -> tuple[Silence, ...]:
    """Return the silences that concern a connection."""
    rows = list(await tx.execute(_ACTIVE_OF, {"which": identity}))
    if not rows:
        return ()
    return _active(rows).of(ConnectionName(identity=identity, name=rows[0].name or "", account=""))


async def set_silence(
    database: Database, codec: Codec, asked: NewSilence, by: Actor, now: datetime, *, logged: bool
) -> Asked:
    """Set the silence that a person asks for; the policy of the connections that it is about runs at once.

    Raises:
        Invalid: It cannot be set like this.
        UnknownName: There is no such alert.
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
        UnknownName: There is no such alert.
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
    row = _row(found, now)
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


async def leave(tx: AsyncConnection, identity: str, done: Sequence[tuple[str, str]]) -> None:
    """Take numbers of a connection out of silences: each is the id of a silence, and a number's key."""
    if done:
        gone = tuple_(silenced.c.silence_id, silenced.c.key).in_(done)
        await tx.execute(delete(silenced).where(silenced.c.identity == identity, gone))


async def silence_rows(
    tx: AsyncConnection,
    codec: Codec,
    now: datetime,
    *,
    ended: bool = False,
    silence_id: str | None = None,
    limit: int = LIMIT,
    after: str | None = None,
) -> Page[SilenceRow]:
    """Return the silences that are active, the latest first.

    Args:
        tx: A reading transaction.
        codec: Unpacks the snapshots.
        now: The current instant.
        ended: Also those that have ended.
        silence_id: Only the silence with this id.
        limit: The most rows to return.
        after: The `next` of the previous page.

    Raises:
        BadCursor: `after` is not a valid cursor.
    """
    asked = select(silences).order_by(silences.c.created_at.desc(), silences.c.id.desc()).limit(limit + 1)
    if not ended:
        asked = asked.where(silences.c.ended_at.is_(None))
        asked = asked.where(or_(silences.c.until.is_(None), silences.c.until > now))
    if silence_id is not None:
        asked = asked.where(silences.c.id == silence_id)
    if after is not None:
        at, last = parts_of(after, tuple[Instant, Text])
        asked = asked.where(
            tuple_(silences.c.created_at, silences.c.id) < tuple_(literal(at, UtcDateTime), last)
        )
    page = page_of(
        [_row(row, now) for row in await tx.execute(asked)],
        limit,
        lambda row: cursor_of(row.created_at, row.id),
    )
    active = await active_silences(tx)
    shown = {row.id for row in page.rows if row.ended_at is None}
    rules = {silence.id: silence for silence in active.silences if silence.id in shown}
    active = ActiveSilences(list(rules.values()), active.keys)
    fits = await _measure(tx, codec, (), active, now, counting=True)
    rows = [
        dataclasses.replace(row, numbers=fits[row.id].quiet, notes=notes(rules[row.id], fits[row.id], now))
        if row.id in rules
        else row
        for row in page.rows
    ]
    return Page(rows=rows, next=page.next)


async def quiet_notices(
    tx: AsyncConnection, codec: Codec, ignores: Sequence[Ignore], now: datetime
) -> list[QuietNotice]:
    """Return what to know about the ignore rules of the config and the silences; see `notes`."""
    active = await active_silences(tx)
    standing = [silence for silence in active.silences if silence.until is None or silence.until > now]
    fits = await _measure(tx, codec, ignores, active, now, counting=False)
    labelled: list[tuple[int | str, Ignore]] = [
        *enumerate(ignores),
        *((silence.id, silence) for silence in standing),
    ]
    alert_ids = {row.id: row.alert for row in await tx.execute(select(silences.c.id, silences.c.alert))}
    return [
        QuietNotice(
            id=label if isinstance(label, str) else None,
            matchers=in_words(rule, alert_ids.get(str(label))),
            reason=rule.reason,
            until=rule.until,
            note=note,
        )
        for label, rule in labelled
        for note in notes(rule, fits[label], now)
    ]


async def any_to_log(tx: AsyncConnection, now: datetime) -> bool:
    """Return whether a silence has begun or ended that no daemon has logged yet."""
    unlogged = or_(silences.c.start_logged.is_(False), _over(now), _END_UNLOGGED)
    return await tx.scalar(select(silences.c.id).where(unlogged).limit(1)) is not None


async def take_begun_and_ended(
    tx: AsyncConnection, now: datetime
) -> tuple[list[SilenceRow], list[SilenceRow]]:
    """Return the silences that have begun and ended since they were last taken, for this process to log."""
    ended_at = case((silences.c.until_ready.is_(True), now), else_=silences.c.until)
    await tx.execute(update(silences).where(_over(now)).values(ended_at=ended_at))
    begun = update(silences).where(silences.c.start_logged.is_(False)).values(start_logged=True)
    ended = update(silences).where(_END_UNLOGGED).values(end_logged=True)
    taken = [await tx.execute(each.returning(*silences.c)) for each in (begun, ended)]
    first, last = (
        sorted((_row(row, now) for row in rows), key=lambda row: (row.created_at, row.id)) for rows in taken
    )
    return first, last


def _over(now: datetime) -> Any:
    """Whether a silence has come to its end, and nobody has written it down yet."""
    its = select(silenced.c.key).where(silenced.c.silence_id == silences.c.id)
    done = or_(silences.c.until <= now, and_(silences.c.until_ready.is_(True), ~its.exists()))
    return and_(silences.c.ended_at.is_(None), done)


_END_UNLOGGED = and_(silences.c.ended_at.is_not(None), silences.c.end_logged.is_(False))

ANY_ACTIVE = select(silences.c.id).where(silences.c.ended_at.is_(None)).exists()
"""Whether there is any silence that has not ended."""

_RULE = ("id", "connection", "number", "state", "issue", "alert", "until", "until_ready", "reason", "by")
_STANDING = [silences.c[name] for name in _RULE]
_ORDER = (silences.c.created_at, silences.c.id, silenced.c.key)
_ACTIVE = (
    select(*_STANDING, silenced.c.identity, silenced.c.key)
    .outerjoin(silenced, silenced.c.silence_id == silences.c.id)
    .where(silences.c.ended_at.is_(None))
    .order_by(*_ORDER)
)
_ITS_NAME = select(connections.c.name).where(connections.c.identity == bindparam("which")).scalar_subquery()
_ACTIVE_OF = (
    select(*_STANDING, silenced.c.identity, silenced.c.key, _ITS_NAME.label("name"))
    .outerjoin(
        silenced, and_(silenced.c.silence_id == silences.c.id, silenced.c.identity == bindparam("which"))
    )
    .where(silences.c.ended_at.is_(None))
    .order_by(*_ORDER)
)


def _active(rows: Iterable[Any]) -> ActiveSilences:
    found: dict[str, Silence] = {}
    keys: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.id not in found:
            found[row.id] = Silence(
                id=row.id,
                connection=row.connection or "*",
                number=row.number or "*",
                state=row.state,
                issue=row.issue,
                until=row.until,
                until_ready=row.until_ready,
                reason=row.reason,
                by=row.by,
            )
            if row.alert is not None or row.until_ready:
                keys[row.id] = {}
        if row.key is not None:
            keys[row.id].setdefault(row.identity, []).append(row.key)
    return ActiveSilences(list(found.values()), keys)


def _row(row: Row[Any], now: datetime) -> SilenceRow:
    """Return a silence as people see it: one whose time is up has ended, though nobody wrote it down yet."""
    is_over = row.ended_at is None and row.until is not None and row.until <= now
    return from_row(SilenceRow, row, ended_at=row.until if is_over else row.ended_at, numbers=0, notes=[])


async def _members(tx: AsyncConnection, alert_id: str) -> tuple[str, dict[str, set[str]]]:
    """Return the alert that is meant, and the keys of its members now; of a part, all those of the whole."""
    columns = alerts.c.id, alerts.c.kind, alerts.c.status, alerts.c.part_of
    alert = (await tx.execute(select(*columns).where(alerts.c.id == alert_id))).first()
    if alert is None:
        raise UnknownName("no alert has this id")
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


async def _measure(
    tx: AsyncConnection,
    codec: Codec,
    ignores: Sequence[Ignore],
    active: ActiveSilences,
    now: datetime,
    *,
    counting: bool,
) -> dict[int | str, Fit]:
    """Return what rules, by their place, and silences, by their id, match now.

    Unless `counting`, snapshots are read only where the counts of a connection do not show that one matches.
    """
    fits: dict[int | str, Fit] = {place: Fit() for place in range(len(ignores))}
    fits |= {silence.id: Fit() for silence in active.silences}
    if not fits:
        return fits
    globs = {rule.number for rule in (*ignores, *active.silences)} - {_ANY}
    having = {glob: await connections_with(tx, glob) for glob in sorted(globs)}
    rules_of: dict[str, list[tuple[int | str, Ignore]]] = {}
    columns = connections.c.identity, connections.c.name, connections.c.account, connections.c.counts
    for row in await tx.execute(select(*columns).order_by(connections.c.name)):
        whose = from_row(ConnectionName, row)
        counts = codec.unpack_counts(row.counts) if row.counts is not None else Counts()
        rules: list[tuple[int | str, Ignore]] = [
            (place, rule) for place, rule in enumerate(ignores) if rule.applies_to(whose.name)
        ]
        rules += [(silence.id, silence) for silence in active.of(whose)]
        for label, rule in rules:
            fits[label].connections = True
            with_number = whose.identity in having.get(rule.number, ())
            fits[label].matches |= _matches_already(rule, counts, with_number=with_number)
        rules_of[whose.identity] = rules
    for identity, rules in rules_of.items():
        wanted = [(fits[label], rule) for label, rule in rules if counting or not fits[label].matches]
        if not wanted:
            continue
        blob = await tx.scalar(select(snapshots.c.records).where(snapshots.c.identity == identity))
        if blob is None:
            continue
        _look_at_problems(blob, wanted, codec, now)
        left = [(fit, rule) for fit, rule in wanted if not fit.matches]
        left = [(fit, rule) for fit, rule in left if identity in having.get(rule.number, {identity})]
        if left:
            _look_at_numbers(blob, left, codec, now)
    return fits


def _matches_already(rule: Ignore, counts: Counts, *, with_number: bool) -> bool:
    """Whether a rule matches some number of a connection as its counts and the index of numbers show it.

    `with_number`: the connection has a number that the rule's glob may match.
    """
    if isinstance(rule, Silence) and rule.keys is not None:
        return False
    if rule.number != _ANY:
        return with_number and "[" not in rule.number and not (rule.state or rule.issue)
    if rule.state and rule.issue:
        return False
    if rule.state:
        return _any_of(rule.state, counts.states)
    return _any_of(rule.issue, counts.issues) if rule.issue else counts.total > 0


def _any_of(name: str, counted: Mapping[str, int]) -> bool:
    return any(many and each.casefold() == name.casefold() for each, many in counted.items())


def _look_at_problems(blob: bytes, wanted: Sequence[tuple[Fit, Ignore]], codec: Codec, now: datetime) -> None:
    """Add the numbers in trouble that rules match, those that were removed among them."""
    tracks = codec.unpack_tracks(blob).values()
    for fit, rule in wanted:
        quiet = {track.key for track in tracks if concerns(rule, track, now)}
        fit.quiet += len(quiet)
        fit.matches |= bool(quiet)


def _look_at_numbers(blob: bytes, wanted: Sequence[tuple[Fit, Ignore]], codec: Codec, now: datetime) -> None:
    """Add whether rules match some number, ready or not."""
    for raw in codec.unpack_numbers(blob).values():
        number = codec.unpack_number(raw)
        for fit, rule in wanted:
            fit.matches |= rule.covers(number, now) and (rule.issue is None or has_issue(rule.issue, number))
