"""How drift came and went, read from the recorded changes, in both databases."""

import random
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import pytest

from monitor.drift.policy import Records
from monitor.drift.snapshot import Change, ChangeKind, Number
from monitor.errors import LeaseLost
from monitor.store.changes import add_changes, drift_moves
from monitor.store.codec import Codec
from monitor.store.connections import ConnectionName
from monitor.store.database import Database
from monitor.store.history import change_rows, happenings
from monitor.store.ledger import Ledger
from tests.fakes.stored import (
    MINUTE,
    NOW,
    begin,
    claim_all,
    recorded_everywhere,
    stepped,
    work,
)


def number(key: str, state: str) -> Number:
    """Return a number; it drifts unless it is READY."""
    issues = () if state == "READY" else (state,)
    return Number(key=key, phone_number=f"+{key}", state=state, drifting=bool(issues), issues=issues)


async def synced(database: Database, *answers: dict[str, str]) -> None:
    """Let one connection be synced once a minute, with these states by number."""
    await begin(database, "a")
    records, ledger = Records(), Ledger(database, Codec())
    for place, states in enumerate(answers):
        at = NOW + place * MINUTE
        claim = (await claim_all(database, at))["a"]
        done = stepped(records, claim, *(number(key, state) for key, state in states.items()), at=at)
        await ledger.keep(work(claim, done, at=at))
        records = done.records


ANSWERS = (
    {"1": "NO_BOT", "2": "NO_BOT", "3": "READY", "4": "READY"},
    {"1": "READY", "2": "EXPIRED", "3": "READY", "4": "READY"},
    {"1": "READY", "5": "NO_BOT", "4": "READY"},
)


async def test_moves_are_counted_by_sync_and_states(database: Database) -> None:
    """What drifted at the start, who got well, changed, went and came; who was ready counts not."""
    await synced(database, *ANSWERS)
    async with database.read() as tx:
        found = await drift_moves(tx, "a", NOW)
        others = await drift_moves(tx, "b", NOW)
    moves = [(move.at, move.before, move.after, move.numbers) for move in found.moves]
    assert set(moves) == {
        (NOW + 2 * MINUTE, "EXPIRED", None, 1),
        (NOW + 2 * MINUTE, None, "NO_BOT", 1),
        (NOW + MINUTE, "NO_BOT", None, 1),
        (NOW + MINUTE, "NO_BOT", "EXPIRED", 1),
        (NOW, None, "NO_BOT", 2),
    }
    assert [move.at for move in found.moves] == sorted((move.at for move in found.moves), reverse=True)
    assert found.since == NOW
    assert others.moves == []


async def test_moves_before_an_instant_are_left_out(database: Database) -> None:
    """A history of the last minutes reads no more than these."""
    await synced(database, *ANSWERS)
    async with database.read() as tx:
        found = await drift_moves(tx, "a", NOW + 2 * MINUTE)
    assert {(move.before, move.after) for move in found.moves} == {(None, "NO_BOT"), ("EXPIRED", None)}


async def test_history_of_a_flapping_connection_begins_later(database: Database) -> None:
    """With too many changes to read, it says from when on it is complete, and tells nothing of before."""
    await synced(database, *ANSWERS)
    async with database.read() as tx:
        found = await drift_moves(tx, "a", NOW, limit=4)
    assert found.since == NOW + MINUTE
    assert {move.at for move in found.moves} == {NOW + 2 * MINUTE}


async def test_removed_number_was_drifting_even_without_an_issue(database: Database) -> None:
    """One that the provider only lists as drifting has none."""
    await begin(database, "a")
    records = Records()
    listed = Number(key="1", phone_number="+1", state="LISTED", drifting=True)
    for place, numbers in enumerate(([listed, number("2", "READY")], [number("2", "READY")])):
        at = NOW + place * MINUTE
        claim = (await claim_all(database, at))["a"]
        done = stepped(records, claim, *numbers, at=at)
        await Ledger(database, Codec()).keep(work(claim, done, at=at))
        records = done.records
    async with database.read() as tx:
        found = await drift_moves(tx, "a", NOW)
    assert [(move.before, move.after) for move in found.moves] == [("LISTED", None), (None, "LISTED")]


def crowded(seed: int) -> list[tuple[str, datetime, Change]]:
    """Return changes of a few connections and kinds, many of them found at the same instant."""
    rng = random.Random(seed)
    states = ("READY", "NO_BOT", "EXPIRED")
    found = []
    for place in range(150):
        key, at = str(place), NOW + rng.randrange(40) * MINUTE
        before, after = (number(key, rng.choice(states)) for _ in range(2))
        kind = rng.choice((ChangeKind.CHANGED, ChangeKind.RECONFIGURED, ChangeKind.APPEARED))
        found.append((rng.choice(("acme", "beta", "beta-2")), at, Change(kind, key, before, after)))
    return sorted(found, key=lambda each: each[1])


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"connection": "beta*"},
    {"connection": "acme"},
    {"connection": "nobody"},
    {"state": "no_bot"},
    {"state": "nothing"},
    {"change": "appeared"},
    {"since": NOW + 20 * MINUTE},
    {"since": NOW + 10 * MINUTE, "until": NOW + 20 * MINUTE},
    {"state": "expired", "until": NOW + 20 * MINUTE},
    {"connection": "*e*", "state": "expired", "change": "changed", "since": NOW + 5 * MINUTE},
)


def matches(name: str, at: datetime, change: Change, wanted: dict[str, Any]) -> bool:
    """Return whether a change is one that a filter lets through."""
    sides = [side for side in (change.before, change.after) if side is not None]
    words = {word.casefold() for side in sides for word in (side.state, *side.issues)}
    return (
        fnmatchcase(name, wanted.get("connection", "*"))
        and ("state" not in wanted or wanted["state"] in words)
        and wanted.get("change", change.kind) == change.kind
        and wanted.get("since", at) <= at <= wanted.get("until", at)
    )


@pytest.mark.parametrize("seed", range(3))
async def test_pages_of_changes_hold_what_a_look_at_all_of_them_finds(database: Database, seed: int) -> None:
    """Whatever the filter and the size of the pages, and however many were found at the same instant."""
    recorded = crowded(seed)
    async with database.write() as tx:
        for epoch, (name, at, change) in enumerate(recorded):
            whose = ConnectionName(identity=f"id of {name}", name=name, account="acme")
            await add_changes(tx, whose, epoch, [change], at)
    async with database.read() as tx:
        for wanted in FILTERS:
            expected = [
                change.key for name, at, change in reversed(recorded) if matches(name, at, change, wanted)
            ]
            for limit in (1, 7, 1000):
                page = await change_rows(tx, **wanted, limit=limit)
                found, pages = list(page.rows), 1
                while page.next is not None:
                    page = await change_rows(tx, **wanted, limit=limit, after=page.next)
                    found += page.rows
                    pages += 1
                assert [row.key for row in found] == expected
                assert pages == max(-(-len(expected) // limit), 1)
                happened = (happening := await happenings(tx, **wanted, limit=limit)).rows
                while happening.next is not None:
                    happening = await happenings(tx, **wanted, limit=limit, after=happening.next)
                    happened += happening.rows
                assert sum(each.many for each in happened) == len(expected)
                assert {key for each in happened for key, _ in each.members} == set(expected)


async def test_pattern_is_written_once_a_day(database: Database) -> None:
    """However often a number comes and goes, a sync writes only its changes."""
    ready, broken = {"1": "READY"}, {"1": "NO_BOT"}
    with recorded_everywhere() as statements:
        await synced(database, ready, broken, ready, broken, ready, broken)
    assert len([said for said in statements if said.startswith("INSERT INTO changes")]) == 5
    # It broke, and got well.
    assert len([said for said in statements if said.startswith("INSERT INTO patterns")]) == 2


async def test_pattern_of_a_sync_that_was_not_kept_is_written_by_the_next(database: Database) -> None:
    """Else its changes would be of no pattern, and on no page."""
    await begin(database, "a")
    claim = (await claim_all(database))["a"]
    done = stepped(Records(), claim, number("1", "NO_BOT"))
    ledger = Ledger(database, Codec())
    with pytest.raises(LeaseLost):
        await ledger.keep(work(replace(claim, epoch=claim.epoch + 1), done))
    await ledger.keep(work(claim, done))
    async with database.read() as tx:
        assert len((await change_rows(tx)).rows) == len(done.changes) > 0
