"""Everything known about one number: its state, what it depends on, what keeps it quiet, its history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.alert import GONE, Kind, Resolution
from monitor.drift.episodes import Track
from monitor.drift.explain import Explanation, Verdict, explain_number
from monitor.drift.facts import NumberFacts, PastEpisode, Quiet, quieted_by
from monitor.drift.foresight import tracks_of
from monitor.drift.policy import Records
from monitor.drift.snapshot import ChangeKind, Dependencies
from monitor.store.changes import RECORDED, WITH_PATTERN, change_row
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionState, connection_states, load_records
from monitor.store.explanations import Grounds, alert_facts, failing_tracks, syncs_of, terms_of
from monitor.store.inventory import Place, find
from monitor.store.rows import ChangeRow
from monitor.store.tables import changes, episodes, from_row, patterns

_MOST_CHANGES = 100
_MOST_ALERTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Something that a number depends on, and what the answer calls it; both null where there is none."""

    id: int | str | None
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BotOf:
    """The bot of a number; `active` is null where the answer does not say."""

    id: int | str | None
    name: str | None
    active: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingOf:
    """Where calls of a number go, like `inbound:bot:93`; `active` is null where the answer does not say."""

    target: str | None
    active: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DependsOn:
    """What a number depends on, by name. `number_active`: whether the local number is switched on."""

    client: Named
    bot: BotOf
    routing: RoutingOf
    agent: Named
    number_active: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberDetail:
    """Everything known about one number.

    `connection` is one that has it, a drifting one if there is one, and `also_in` are the others. `since`: it
    has been in its state since then, as far as history is kept. `silenced_by` is what keeps an alert from
    opening now. `alerts` and `timeline` are newest first, over all connections.
    """

    key: str
    phone_number: str
    connection: str
    also_in: list[str]
    account: str
    state: str
    issues: list[str]
    drifting: bool
    since: datetime | None
    depends_on: DependsOn
    silenced_by: Quiet | None
    alerts: list[str]
    timeline: list[ChangeRow]
    verdict: Verdict
    next_at: datetime | None
    explanation: list[str]

    @property
    def explained(self) -> Explanation:
        """The explanation by itself."""
        return Explanation(
            subject=self.phone_number,
            verdict=self.verdict,
            sentences=tuple(self.explanation),
            next_at=self.next_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One of several numbers that end with the digits; `connection` is null once it is not watched."""

    key: str
    phone_number: str
    connection: str | None
    gone_at: datetime | None


async def number_named(
    tx: AsyncConnection, codec: Codec, text: str, grounds: Grounds, now: datetime
) -> NumberDetail | list[Match]:
    """Return what is known about a number.

    Args:
        tx: A reading transaction.
        codec: Unpacks snapshots.
        text: The number, or its last digits, however they are written.
        grounds: What the config says.
        now: The current instant.

    Returns:
        The number; several if so many end with these digits, none if there is no such number.
    """
    places = await find(tx, text)
    states = await connection_states(tx, {place.identity for place in places}, codec)
    if len({place.key for place in places}) != 1:
        return [_match(place, states.get(place.identity)) for place in places]
    failing = await failing_tracks(tx, codec)
    known = [
        await _look_up(tx, codec, place, states.get(place.identity), grounds, failing) for place in places
    ]
    first, *others = sorted(known, key=lambda each: _order(each, now))
    return await _detail(tx, first, others, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A number in one of the connections that have, or had it."""

    identity: str
    account: str
    facts: NumberFacts

    @property
    def drifting(self) -> bool:
        """Whether it drifts there, as far as is known."""
        return self.facts.number is not None and self.facts.number.drifting


def _order(known: _Known, now: datetime) -> tuple[bool, int, str]:
    """Return where a connection stands among those that have the number: where it drifts, it comes first."""
    verdict = explain_number(known.facts, now).verdict
    return not known.drifting, list(Verdict).index(verdict), known.facts.connection


async def _look_up(
    tx: AsyncConnection,
    codec: Codec,
    place: Place,
    state: ConnectionState | None,
    grounds: Grounds,
    failing: Mapping[str, Track],
) -> _Known:
    records = await load_records(tx, place.identity, codec) if state is not None else Records()
    name, account = (state.name, state.account) if state is not None else await _former(tx, place.identity)
    ids = {track.episode.alert_id for track in tracks_of(records, place.key) if track.episode is not None}
    facts = NumberFacts(
        key=place.key,
        phone_number=place.phone_number,
        connection=name,
        records=records,
        syncs=syncs_of(state, failing) if state is not None else None,
        terms=await terms_of(tx, state, grounds) if state is not None else None,
        since=place.gone_at or await _since(tx, place, state),
        gone_at=place.gone_at,
        alerts=await alert_facts(tx, sorted(ids), grounds),
        past=await _past(tx, place),
    )
    return _Known(identity=place.identity, account=account, facts=facts)


async def _former(tx: AsyncConnection, identity: str) -> tuple[str, str]:
    """Return the name and account that a connection had while it was watched, as far as its history says."""
    asked = select(patterns.c.connection, patterns.c.account).where(patterns.c.identity == identity)
    row = (await tx.execute(asked.order_by(patterns.c.used_at.desc()).limit(1))).first()
    return (row.connection, row.account) if row is not None else (identity, "")


async def _since(tx: AsyncConnection, place: Place, state: ConnectionState | None) -> datetime | None:
    """Return when a number came into its state; unless recorded, when its connection was first watched."""
    moved = or_(
        patterns.c.change.in_((ChangeKind.APPEARED, ChangeKind.RESOLVED, ChangeKind.ADDED)),
        (patterns.c.change == ChangeKind.CHANGED) & (patterns.c.state != patterns.c.previous_state),
    )
    here = changes.c.key == place.key, patterns.c.identity == place.identity
    asked = select(changes.c.at).select_from(WITH_PATTERN).where(*here, moved)
    found: datetime | None = await tx.scalar(asked.order_by(changes.c.id.desc()).limit(1))
    return found or (state.watched_since if state is not None else None)


async def _past(tx: AsyncConnection, place: Place) -> PastEpisode | None:
    """Return the last episode of a number that has ended."""
    here = episodes.c.key == place.key, episodes.c.scope == place.identity
    newest = select(episodes).where(*here, episodes.c.ended_at.is_not(None))
    row = (await tx.execute(newest.order_by(episodes.c.ended_at.desc()).limit(1))).first()
    if row is None:
        return None
    return from_row(PastEpisode, row, kind=Kind(row.kind), resolution=Resolution(row.resolution))


async def _detail(
    tx: AsyncConnection, first: _Known, others: Sequence[_Known], now: datetime
) -> NumberDetail:
    facts, number = first.facts, first.facts.number
    explained = explain_number(facts, now)
    there = [each for each in others if each.facts.number is not None]
    also = [
        f"It is also on {each.facts.connection}, where it is {each.facts.number.state}."
        for each in there
        if each.facts.number is not None
    ]
    timeline = select(*RECORDED).select_from(WITH_PATTERN).where(changes.c.key == facts.key)
    rows = await tx.execute(timeline.order_by(changes.c.id.desc()).limit(_MOST_CHANGES))
    return NumberDetail(
        key=facts.key,
        phone_number=facts.phone_number,
        connection=facts.connection,
        also_in=[each.facts.connection for each in there],
        account=first.account,
        state=number.state if number is not None else GONE,
        issues=list(number.issues) if number is not None else [],
        drifting=number is not None and number.drifting,
        since=facts.since,
        depends_on=_depends_on(facts),
        silenced_by=quieted_by(facts, now),
        alerts=await _alerts(tx, facts.key, [each.identity for each in (first, *others)]),
        timeline=[change_row(row) for row in rows],
        verdict=explained.verdict,
        next_at=explained.next_at,
        explanation=[*explained.sentences, *also],
    )


async def _alerts(tx: AsyncConnection, key: str, identities: Sequence[str]) -> list[str]:
    """Return the ids of a number's alerts, newest first."""
    here = episodes.c.key == key, episodes.c.scope.in_(identities)
    asked = select(episodes.c.alert_id).where(*here)
    rows = await tx.execute(asked.order_by(episodes.c.opened_at.desc()).limit(_MOST_ALERTS))
    return list(dict.fromkeys(row.alert_id for row in rows))


def _depends_on(facts: NumberFacts) -> DependsOn:
    """Return what a number depends on; of one that is gone, what it depended on as far as is remembered."""
    names = facts.records.snapshot.names if facts.records.snapshot is not None else {}
    shown = facts.number or next((track.number for track in facts.tracks if track.number is not None), None)
    on = shown.dependencies if shown is not None else Dependencies()
    client, bot, agent = (names.get(key) for key in on.name_keys)
    return DependsOn(
        client=Named(id=on.client_id, name=client),
        bot=BotOf(id=on.bot_id, name=bot, active=on.bot_active),
        routing=RoutingOf(target=on.routing_target, active=on.routing_active),
        agent=Named(id=on.agent_id, name=agent),
        number_active=on.number_active,
    )


def _match(place: Place, state: ConnectionState | None) -> Match:
    return Match(
        key=place.key,
        phone_number=place.phone_number,
        connection=state.name if state is not None else None,
        gone_at=place.gone_at,
    )
