"""Replicas that get in each other's way, statement by statement, and what must hold whatever the order."""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.drift.alert import AlertBody, Notice, Status
from monitor.store.tables import CLOSED, alerts, connections, deliveries, episodes, inventory, snapshots
from tests.fakes.members import CONFIGS, NUMBERS, SPACING_S, Do, Stage, stage_of

EXAMPLES = int(os.environ.get("INTERLEAVINGS", "20"))
"""How many are tried; set it to thousands for a long look."""
MOST = 3
STATEMENTS = 30
"""So long goes one replica on at most, before it is the turn of another one that the plan names."""
CONNECTIONS = ("a", "b", "c")


@dataclass(frozen=True)
class Plan:
    """What each replica does, how wrong their clocks are, and in which order they go on."""

    ahead_s: tuple[int, ...]
    works: tuple[tuple[Do, ...], ...]
    order: tuple[tuple[int, int], ...]
    """Who, for how many statements."""

    def turns(self) -> Iterator[int]:
        """Yield whose turn it is."""
        for who, statements in self.order:
            yield from [who] * statements


def _does() -> st.SearchStrategy[Do]:
    numbers = st.tuples(st.sampled_from(CONNECTIONS), st.sampled_from(NUMBERS))
    sync = st.just(Do("sync"))
    return st.one_of(
        sync,
        sync,
        st.builds(Do, st.just("turn"), numbers),
        st.just(Do("deliver")),
        st.just(Do("refuse")),
        st.just(Do("report")),
        st.builds(Do, st.just("reload"), st.sampled_from(range(len(CONFIGS)))),
        st.builds(Do, st.just("passes"), st.sampled_from((5, 20, 130))),
        st.just(Do("look")),
        st.builds(Do, st.just("take"), st.integers(1, 3)),
        st.builds(Do, st.just("dies"), st.integers(0, 30)),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a plan for two or three replicas."""
    many = draw(st.integers(2, MOST))
    ahead_s = tuple(draw(st.sampled_from((0, -1, 1))) for _ in range(many))
    works = tuple(tuple(draw(st.lists(_does(), min_size=2, max_size=8))) for _ in range(many))
    spell = st.tuples(st.integers(0, many - 1), st.integers(1, STATEMENTS))
    return Plan(ahead_s, works, tuple(draw(st.lists(spell, min_size=3, max_size=20))))


@pytest.mark.timeout(900)  # to shrink what fails
def test_replicas_agree_in_whatever_order_their_statements_run(postgres: str) -> None:
    """Nothing is doubled, lost or left open, whoever was stopped or killed where, and whatever it wanted."""
    with asyncio.Runner() as runner:
        opening = stage_of(postgres, MOST)
        stage = runner.run(opening.__aenter__())
        try:

            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(plan=plans())
            def hold(plan: Plan) -> None:
                runner.run(_play(stage, plan))

            hold()
        finally:
            runner.run(opening.__aexit__(None, None, None))


async def _play(stage: Stage, plan: Plan) -> None:
    await stage.play(plan.works, plan.ahead_s, plan.turns())
    await _is_sound(stage)
    await stage.calm()
    await _is_sound(stage)
    await _is_settled(stage)


async def _is_sound(stage: Stage) -> None:
    """What holds at any instant."""
    watched = {row.identity: row for row in await stage.rows(connections)}
    open_ = [row for row in await stage.rows(episodes) if row.ended_at is None]
    doubled = [each for each, many in Counter((row.kind, row.key) for row in open_).items() if many > 1]
    assert not doubled, "two open episodes"
    assert {row.scope for row in open_} <= watched.keys(), "an open episode without a connection"

    firing = {row.id: row for row in await stage.rows(alerts) if row.status == Status.FIRING}
    alone = {row.id for row in firing.values() if not row.widespread}
    assert {row.alert_id for row in open_} == alone, "an alert without its episodes, or the other way round"
    spread = {row.part_of for row in firing.values() if row.part_of is not None}
    assert spread <= firing.keys(), "a part of what is over"

    listed: dict[str, set[str]] = defaultdict(set)
    for row in await stage.rows(inventory):
        if row.gone_at is None:
            listed[row.identity].add(row.key)
    for row in await stage.rows(snapshots):
        records = stage.codec.unpack_records(row.records)
        numbers = records.snapshot.numbers if records.snapshot is not None else {}
        drifting = sum(number.drifting for number in numbers.values())
        counts = stage.codec.unpack_counts(watched[row.identity].counts)
        assert (counts.total, counts.total_drifting) == (len(numbers), drifting), "counts of other records"
        assert listed.pop(row.identity) == numbers.keys(), "an inventory of other records"
        known = {track.episode.id for track in records.tracks.values() if track.episode is not None}
        assert known == {each.id for each in open_ if each.scope == row.identity}, "episodes of other records"
    assert not listed, "an inventory of what is not watched"

    for row in await stage.rows(deliveries):
        unsent = row.status == CLOSED and row.answer is None and row.receiver == "hook"
        assert not unsent, "a message of a wanted receiver was closed"
    ends_at = None
    for begins_at, count in sorted(stage.slots):
        assert ends_at is None or begins_at >= ends_at, "slots beyond the budget"
        ends_at = begins_at + timedelta(seconds=count * SPACING_S)


async def _is_settled(stage: Stage) -> None:
    """What holds once all have had time: everybody knows what is so, and nothing else."""
    wanted = {identity for member in stage.members for identity in member.config.connections}
    assert {row.identity for row in await stage.rows(connections)} == wanted
    broken = {f"{identity}{key}" for identity, key in stage.broken if identity in wanted}
    open_ = {row.key for row in await stage.rows(episodes) if row.ended_at is None}
    assert open_ == broken, "not what the provider says"
    for receiver in {name for member in stage.members for name in member.config.receivers}:
        assert _known_to(receiver, stage) == broken, f"not what {receiver} believes"


def _known_to(receiver: str, stage: Stage) -> set[str]:
    """Return the numbers that a receiver believes to drift, by messages in an order that makes sense."""
    told: dict[str, list[AlertBody]] = defaultdict(list)
    seen: dict[str, AlertBody] = {}
    for name, body in stage.taken[receiver]:
        if name in seen:
            assert body == seen[name], "a message came with another body"
            assert told[body.alert_id][-1] == body, "a message came again after a newer one"
        else:
            seen[name] = body
            told[body.alert_id].append(body)
    knows: set[str] = set()
    for alert_id, bodies in told.items():
        changes = [body.change for body in bodies]
        assert changes[0] is Notice.OPENED, f"{alert_id} begins with {changes[0]}"
        assert Notice.OPENED not in changes[1:], f"{alert_id} is opened twice"
        assert Notice.RESOLVED not in changes[:-1], f"{alert_id} goes on after its end"
        if changes[-1] is not Notice.RESOLVED:
            knows |= {each.key for each in bodies[-1].numbers}
    return knows
