"""How drift came and went, read from the recorded changes, in both databases."""

from monitor.drift.policy import Records
from monitor.drift.snapshot import Number
from monitor.store.changes import drift_moves
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from tests.fakes.stored import MINUTE, NOW, begin, claim_all, stepped, tell, work


def number(key: str, state: str) -> Number:
    """Return a number; it drifts unless it is READY."""
    issues = () if state == "READY" else (state,)
    return Number(key=key, phone_number=f"+{key}", state=state, drifting=bool(issues), issues=issues)


async def synced(database: Database, *answers: dict[str, str]) -> None:
    """Let one connection be synced once a minute, with these states by number."""
    await begin(database, "a")
    records, codec = Records(), Codec()
    for place, states in enumerate(answers):
        at = NOW + place * MINUTE
        claim = (await claim_all(database, at))["a"]
        done = stepped(records, claim, *(number(key, state) for key, state in states.items()), at=at)
        await Ledger(database, codec).keep(work(claim, done, at=at), tell())
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
        await Ledger(database, Codec()).keep(work(claim, done, at=at), tell())
        records = done.records
    async with database.read() as tx:
        found = await drift_moves(tx, "a", NOW)
    assert [(move.before, move.after) for move in found.moves] == [("LISTED", None), (None, "LISTED")]
