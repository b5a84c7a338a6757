"""What the cycle loads of a connection, and keeps."""

from monitor.drift.policy import Records
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.ledger import Ledger
from tests.fakes.stored import MINUTE, NOW, Counting, begin, claim_all, number, stepped, work

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
    for turn in range(3):
        assert (await _change(database, ledger, turn)).keys() == set(FLEET)
    assert codec.unpacked == 0


async def test_ledger_loads_what_another_process_stored(database: Database) -> None:
    """What a replica remembers counts for as long as it is what the store holds."""
    ours, theirs = (Ledger(database, Codec()) for _ in range(2))
    await begin(database, "a")
    await _change(database, ours, 0)
    kept = await _change(database, theirs, 1)
    claim = (await claim_all(database, NOW + 2 * MINUTE))["a"]
    assert (await ours.load(claim)).records == (await theirs.load(claim)).records == kept["a"]
