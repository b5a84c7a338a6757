"""The index of numbers: the same as the snapshots, and it finds a number however it is written."""

import random
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.drift.rules import Ignore
from monitor.drift.snapshot import Number
from monitor.store.codec import Codec
from monitor.store.connections import begin_watching, load_records, stop_watching
from monitor.store.database import Database
from monitor.store.inventory import find, like, matching, take_stock
from monitor.store.queries import numbers
from monitor.store.retention import prune
from monitor.store.tables import inventory
from tests.fakes.stored import MINUTE, NOW, SECOND, Story, begin, number, recorded, watch

ACME, OTHER = "918011223344", "918055663344"


async def stock(tx: AsyncConnection) -> dict[tuple[str, str], Any]:
    """Return the index: by connection and key, since when the number is gone."""
    rows = await tx.execute(select(inventory))
    return {(row.identity, row.key): row.gone_at for row in rows}


async def enter(database: Database, identity: str, *keys: str) -> None:
    """Let a connection have these numbers."""
    async with database.write() as tx:
        await take_stock(tx, identity, [number(key) for key in keys], (), NOW)


async def found(database: Database, asked: str) -> list[tuple[str, str]]:
    """Return where a number is found."""
    async with database.read() as tx:
        return [(place.key, place.identity) for place in await find(tx, asked)]


@pytest.mark.parametrize("seed", range(3))
async def test_index_is_what_the_snapshots_hold_after_any_step(
    database: Database, codec: Codec, seed: int
) -> None:
    """Numbers come, go, break, return and are written otherwise: the index holds the applied ones, always."""
    rng = random.Random(seed)
    await begin(database, "a")
    story = Story(database)
    for _ in range(25):
        keys = rng.sample(range(1, 9), rng.randint(1, 8))
        numbers = [number(f"91800000000{each}", *rng.choice([(), (), ("NO_BOT",)])) for each in keys]
        if rng.random() < 0.2:
            numbers[0] = Number(
                key=numbers[0].key, phone_number=f"0{numbers[0].key[2:]}", state="READY", drifting=False
            )
        await story.sync(*numbers)
        async with database.read() as tx:
            snapshot = (await load_records(tx, "a", codec)).snapshot
            assert snapshot is not None
            rows = list(await tx.execute(select(inventory)))
        there = {row.key: row.phone_number for row in rows if row.gone_at is None}
        assert there == {key: each.phone_number for key, each in snapshot.numbers.items()}
        assert all(row.tail == row.key[::-1] for row in rows)
        assert all(NOW <= row.gone_at <= story.at for row in rows if row.gone_at is not None)


async def test_numbers_of_a_connection_that_is_no_longer_watched_are_gone(database: Database) -> None:
    """They are still found, until their history goes; those of other connections stay."""
    await enter(database, "a", ACME, OTHER)
    await enter(database, "b", ACME)
    async with database.write() as tx:
        await stop_watching(tx, ["a"], NOW)
        assert await stock(tx) == {("a", ACME): NOW, ("a", OTHER): NOW, ("b", ACME): None}
        await prune(tx, NOW)
        assert len(await stock(tx)) == 3
        await prune(tx, NOW + SECOND)
        assert await stock(tx) == {("b", ACME): None}


async def test_number_that_comes_back_is_there_again(database: Database) -> None:
    """One row for each connection and key, whatever happened to it."""
    await enter(database, "a", ACME)
    async with database.write() as tx:
        await take_stock(tx, "a", (), [ACME], NOW + MINUTE)
    assert await found(database, ACME) == [(ACME, "a")]
    await enter(database, "a", ACME)
    async with database.read() as tx:
        assert await stock(tx) == {("a", ACME): None}


async def test_number_is_found_however_it_is_written(database: Database) -> None:
    """With its country or without, with whatever people put between digits, or by its last digits."""
    await enter(database, "a", ACME, OTHER, "123456")
    for asked in (
        ACME,
        f"+{ACME}",
        f"00{ACME}",
        f"011 {ACME}",
        "+91 (0)80 1122 3344",
        "+91 80 1122 3344",
        "+91-80-1122-3344",
        "(080) 1122 3344",
        "tel:+91\u00a080\u20111122\u20113344",
        "8011223344",
        "1122 3344",
        "223344",
    ):
        assert await found(database, asked) == [(ACME, "a")], asked


async def test_last_digits_find_all_that_end_so(database: Database) -> None:
    """Several numbers, by key; and one number in all connections that have it."""
    await enter(database, "b", ACME)
    await enter(database, "a", ACME, OTHER, "44")
    assert await found(database, "3344") == [(ACME, "a"), (ACME, "b"), (OTHER, "a")]
    assert await found(database, ACME) == [(ACME, "a"), (ACME, "b")]


async def test_whole_number_comes_before_longer_ones_that_end_so(database: Database) -> None:
    """A short code is found by itself, not with everything that ends like it."""
    await enter(database, "a", "3344", ACME)
    assert await found(database, "3344") == [("3344", "a")]


async def test_what_no_number_ends_with_finds_nothing(database: Database) -> None:
    """Nothing is guessed: fewer than four digits find only a number that is no longer."""
    await enter(database, "a", ACME)
    for asked in ("", "+", "abc", "3344ab", "344", "9999999", "44", "%", "0000"):
        assert await found(database, asked) == [], asked


async def test_glob_matches_however_the_provider_writes_the_number(database: Database) -> None:
    """By its digits, with or without a plus, and as it is written; a rule's and a silence's too."""
    written = Number(key=ACME, phone_number="+91 80112-23344", state="READY", drifting=False)
    async with database.write() as tx:
        await take_stock(tx, "a", [written], (), NOW)
        for glob, matches in {f"+{ACME}": True, "+9180112*": True, "+91 80112*": True, "+80*": False}.items():
            assert await matching(tx, glob, most=9) == ({"a": {ACME}} if matches else {}), glob
            assert Ignore(number=glob).covers(written, NOW) is matches, glob


async def test_numbers_are_listed_by_a_glob_in_any_form(database: Database) -> None:
    """With spaces and separators, as silences take them."""
    await begin(database, "a")
    await Story(database).sync(number(ACME), number(OTHER))
    async with database.read() as tx:
        for glob in (f"+91 {ACME[2:6]}-{ACME[6:]}", f"{ACME[:4]} {ACME[4:8]}*"):
            assert [row.key for row in (await numbers(tx, Codec(), number=glob)).rows] == [ACME], glob


async def listed(database: Database, **filters: Any) -> tuple[list[str], int]:
    """Return the keys that a filter lets through, and how many times snapshots were read for them."""
    async with database.read() as tx:
        with recorded(tx) as statements:
            page = await numbers(tx, Codec(), **filters)
    return [row.key for row in page.rows], sum("FROM snapshots" in text for text, _ in statements)


async def test_snapshots_are_read_only_where_counts_say_that_numbers_match(database: Database) -> None:
    """Whatever was synced last: a state or issue that no number has, drift where all are ready, and so on."""
    await begin(database, "a")
    story = Story(database)
    await story.sync(number(ACME), number(OTHER))
    assert await listed(database, state="no_bot") == ([], 0)
    assert await listed(database, drifting=True) == ([], 0)
    assert await listed(database, state="ready", drifting=False) == ([ACME, OTHER], 1)
    await story.sync(number(ACME, "ROUTING_MISSING", "NO_BOT"), number(OTHER, "ROUTING_MISSING"))
    assert await listed(database, state="no_bot") == ([ACME], 1)
    assert await listed(database, drifting=True) == ([ACME, OTHER], 1)
    assert await listed(database, drifting=False) == ([], 0)
    assert await listed(database, state="READY") == ([], 0)
    await story.sync(number(ACME), number(OTHER))
    assert await listed(database, state="no_bot") == ([], 0)


async def test_states_that_are_counted_as_others_are_found(database: Database) -> None:
    """Beyond the states that a connection tells apart, its numbers have to be looked through."""
    await begin(database, "a")
    many = [number(f"91{each:010}", f"STATE_{each:02}") for each in range(60)]
    await Story(database).sync(*many)
    for each in many:
        assert await listed(database, state=each.state.lower()) == ([each.key], 1)


async def test_glob_that_many_numbers_match_is_answered_from_the_first_snapshots(database: Database) -> None:
    """It lists the same numbers as one that few match."""
    await begin(database, "a")
    await Story(database).sync(*(number(f"91{each:010}") for each in range(1_200)))
    assert await listed(database, number="91*", limit=2) == (["910000000000", "910000000001"], 1)
    assert await listed(database, number="*7", limit=2) == (["910000000007", "910000000017"], 1)
    many, _ = await listed(database, number="+91*[1-9]", limit=2_000)
    assert many == [f"91{each:010}" for each in range(1_200) if each % 10]


async def test_glob_matches_number_or_key(database: Database) -> None:
    """As an ignore rule's does; what is gone matches no more."""
    await enter(database, "a", ACME, OTHER, "918000000001")
    globs = {
        "+9180*": {ACME, OTHER},
        "9180*": {ACME, OTHER},
        "*3344": {ACME, OTHER},
        "+91801122334?": {ACME},
        "*[12]23344": {ACME},
        ACME: {ACME},
        "+9181*": set(),
        "*%*": set(),
        "*": {ACME, OTHER},
    }
    async with database.write() as tx:
        await take_stock(tx, "a", (), ["918000000001"], NOW)
        for glob, keys in globs.items():
            assert await matching(tx, glob, most=9) == ({"a": keys} if keys else {}), glob


def test_pattern_of_a_glob_takes_nothing_literally_that_sql_does_not() -> None:
    """What LIKE would take for a wildcard is escaped, and sets let anything through."""
    assert like("a_b%c\\*?") == "a\\_b\\%c\\\\%_"
    assert like("*[ab]c") == "%%"


async def test_finding_one_of_many_reads_by_index(database: Database) -> None:
    """Among 20,000 numbers a search, whole or by last digits, goes through none of the others."""
    async with database.write() as tx:
        rows = [
            {"key": key, "identity": f"c{index // 10}", "phone_number": f"+{key}", "tail": key[::-1]}
            for index in range(20_000)
            for key in [f"9180{index * 4_999:08d}"]
        ]
        await tx.execute(insert(inventory), rows)
    async with database.write() as tx:
        await tx.execute(text("ANALYZE inventory"))
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    async with database.read() as tx:
        with recorded(tx) as statements:
            assert await find(tx, rows[7]["key"])
            assert await find(tx, rows[7]["key"][-8:])
        plans = [
            str((await tx.exec_driver_sql(explain + statement, values)).all())
            for statement, values in statements
        ]
    assert all("inventory_tail" in plan or "pkey" in plan or "autoindex" in plan for plan in plans), plans
    assert not any("SCAN inventory'" in plan or "Seq Scan" in plan for plan in plans), plans


async def test_begin_watching_again_leaves_what_is_gone(database: Database) -> None:
    """A connection that comes back has no numbers until its first answer."""
    await enter(database, "a", ACME)
    async with database.write() as tx:
        await stop_watching(tx, ["a"], NOW)
        await begin_watching(tx, [watch("a")], NOW)
        assert await stock(tx) == {("a", ACME): NOW}
