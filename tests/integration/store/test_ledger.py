"""What the cycle loads of a connection, and keeps."""

from dataclasses import replace

import pytest

from monitor.drift.policy import Records
from monitor.drift.silences import NewSilence
from monitor.errors import Outcome, Outdated
from monitor.store.actions import COMMAND, Actor
from monitor.store.claims import flush
from monitor.store.codec import Codec
from monitor.store.connections import stop_watching
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from monitor.store.requests import accept
from monitor.store.silencing import set_silence
from tests.fakes.stored import (
    MINUTE,
    NOW,
    Counting,
    begin,
    claim_all,
    fresh,
    look_again,
    number,
    recorded_everywhere,
    stepped,
    work,
)

FLEET = [f"c{place}" for place in range(30)]


async def _change(database: Database, ledger: Ledger, turn: int) -> dict[str, Records]:
    """Sync every connection, whose number is broken in every other turn; return what is stored then."""
    at, kept = NOW + turn * MINUTE, {}
    for identity, claim in (await claim_all(database, at)).items():
        stored = await ledger.load(claim)
        issues = ("NO_BOT",) if turn % 2 else ()
        done = stepped(stored.records, claim, number("1", *issues), at=at)
        await ledger.keep(work(claim, done, at=at))
        kept[identity] = done.records
    return kept


async def test_ledger_unpacks_nothing_that_it_stored(database: Database) -> None:
    """A fleet that changes again and again is not decoded again and again."""
    codec = Counting()
    ledger = Ledger(database, codec)
    await begin(database, *FLEET)
    for turn in range(4):
        assert (await _change(database, ledger, turn)).keys() == set(FLEET)
    assert codec.unpacked == len(FLEET)


async def test_ledger_asks_nothing_where_no_one_else_was(database: Database) -> None:
    """A connection that changed in its last sync costs no statement to load; made due, it does."""
    ledger = Ledger(database, Codec())
    await begin(database, "a")
    await _change(database, ledger, 0)
    kept = await _change(database, ledger, 1)
    asked = []
    for at in (NOW + 2 * MINUTE, NOW + 3 * MINUTE):
        claim = (await claim_all(database, at))["a"]
        with recorded_everywhere() as statements:
            stored = await ledger.load(claim)
        asked.append(len(statements) > 0)
        assert (stored.records, stored.remembered) == (kept["a"], not asked[-1])
        assert not (await ledger.load(replace(claim, policy_due=True))).remembered
        done = stepped(stored.records, claim, number("1", "NO_BOT"), at=at)
        await ledger.keep(work(claim, done, at=at))
        async with database.write() as tx:
            await look_again(tx, at)
    assert asked == [False, True]


async def test_ledger_keeps_no_step_that_a_silence_came_before(database: Database) -> None:
    """What was remembered did not have it; loaded anew, it is there."""
    ledger = Ledger(database, Codec())
    await begin(database, "a")
    for turn in (0, 2):
        await _change(database, ledger, turn)
    claim = (await claim_all(database, NOW + 3 * MINUTE))["a"]
    stored = await ledger.load(claim)
    assert stored.remembered
    asked = NewSilence(connection="*", for_="1h", reason="known")
    await set_silence(database, Codec(), asked, Actor(user="ops", address=COMMAND), NOW, logged=True)
    done = stepped(stored.records, claim, number("1", "NO_BOT"), at=NOW + 3 * MINUTE)
    with pytest.raises(Outdated):
        await ledger.keep(replace(work(claim, done, at=NOW + 3 * MINUTE), as_claimed=stored.remembered))
    again = await ledger.load(claim)
    assert (again.records, again.remembered, len(again.silences)) == (stored.records, False, 1)
    await ledger.keep(work(claim, done, at=NOW + 3 * MINUTE))
    woken = (await claim_all(database, NOW + 3 * MINUTE))["a"]
    assert woken.policy_due
    stored = await ledger.load(woken)
    assert len(stored.silences) == 1
    await ledger.keep(work(woken, stepped(stored.records, woken, at=NOW + 3 * MINUTE), at=NOW + 3 * MINUTE))
    later = (await claim_all(database, NOW + 4 * MINUTE))["a"]
    assert not later.policy_due
    assert len((await ledger.load(later)).silences) == 1


async def test_ledger_loads_a_silence_of_what_had_no_records(database: Database) -> None:
    """Nothing is made due by one that is set during a first sync; the next one heeds it all the same."""
    ledger = Ledger(database, Codec())
    await begin(database, "a")
    claim = (await claim_all(database, NOW))["a"]
    stored = await ledger.load(claim)
    asked = NewSilence(connection="*", for_="1h", reason="known")
    await set_silence(database, Codec(), asked, Actor(user="ops", address=COMMAND), NOW, logged=True)
    await ledger.keep(work(claim, stepped(stored.records, claim, number("1"))))
    again = (await claim_all(database, NOW + MINUTE))["a"]
    assert len((await ledger.load(again)).silences) == 1


async def test_ledger_loads_what_was_asked_for_by_a_clock_that_is_ahead(database: Database) -> None:
    """The policy is not due yet, but a silence and an acceptance are heeded by the next sync all the same."""
    ledger, ahead = Ledger(database, Codec()), NOW + 10 * MINUTE
    await begin(database, "a")
    for turn in range(3):
        await _change(database, ledger, turn)
    asked = NewSilence(connection="*", for_="1h", reason="known")
    await set_silence(database, Codec(), asked, Actor(user="ops", address=COMMAND), ahead, logged=True)
    async with database.write() as tx:
        await accept(tx, "a", None, ahead)
    at = NOW + 3 * MINUTE
    claim = (await claim_all(database, at))["a"]
    assert not claim.policy_due
    stored = await ledger.load(claim)
    assert (stored.remembered, len(stored.silences), stored.accept_all) == (False, 1, True)
    await ledger.keep(work(claim, stepped(stored.records, claim, number("1"), at=at), at=at))
    again = (await claim_all(database, at + MINUTE))["a"]
    assert len((await ledger.load(again)).silences) == 1


async def test_ledger_forgets_what_a_connection_was_before_it_left_the_config(database: Database) -> None:
    """Watched again, it counts its epochs anew: none of them is taken for one of before."""
    ledger = Ledger(database, Codec())
    await begin(database, "a")
    for turn in range(2):
        await _change(database, ledger, turn)
    async with database.write() as tx:
        await stop_watching(tx, ["a"], NOW + 2 * MINUTE)
    at = NOW + 3 * MINUTE
    await begin(database, "a", due_at=at, now=at)
    for _ in range(2):
        failed = fresh((await claim_all(database, at))["a"], at=at, outcome=Outcome.TIMEOUT, digest=None)
        async with database.write() as tx:
            await flush(tx, [failed])
        at += MINUTE
    claim = (await claim_all(database, at))["a"]
    stored = await ledger.load(claim)
    assert (claim.epoch, stored.remembered, stored.records) == (3, False, Records())


async def test_ledger_loads_what_another_process_stored(database: Database) -> None:
    """What a replica remembers counts for as long as it is what the store holds."""
    ours, theirs = (Ledger(database, Codec()) for _ in range(2))
    await begin(database, "a")
    await _change(database, ours, 0)
    kept = await _change(database, theirs, 1)
    claim = (await claim_all(database, NOW + 2 * MINUTE))["a"]
    assert (await ours.load(claim)).records == (await theirs.load(claim)).records == kept["a"]
