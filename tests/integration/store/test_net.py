"""The net difference between two instants, by what was recorded in between."""

import asyncio
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.drift.diff import diff
from monitor.drift.moves import depended
from monitor.drift.snapshot import Change, Dependencies, Number, Snapshot
from monitor.errors import Refused
from monitor.store.codec import Codec
from monitor.store.database import Database
from monitor.store.net import NetPage, net_rows
from monitor.store.retention import prune
from monitor.store.rows import ChangeRow
from tests.fakes.history import MINUTE, History
from tests.fakes.stored import NOW, recorded
from tests.unit.drift.build import broken, ready

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LOOKS: tuple[Callable[[int], Number] | None, ...] = (
    None,
    ready,
    lambda index: ready(index, state="ACTIVE"),
    lambda index: ready(index, dependencies=Dependencies(415, 94)),
    lambda index: ready(index, dependencies=Dependencies(415, 93, bot_active=False)),
    lambda index: ready(index, dependencies=Dependencies(415, 94, unknown=("bot_active",))),
    lambda index: ready(index, dependencies=Dependencies(415, None, unknown=("bot_id",))),
    broken,
    lambda index: broken(index, dependencies=Dependencies(416, 94)),
    lambda index: broken(index, "NO_BOT", ("EXPIRED", "NO_BOT")),
    lambda index: broken(index, "NO_BOT", ("NO_BOT", "EXPIRED")),
)
"""How a number may look in an answer; the first: it is not in it."""
NUMBERS = range(1, 4)
WATCHED = len(NUMBERS)
Event = tuple[str, tuple[int, ...], int]
"""What happens, how each number looks then, and how many hours later."""


class Lived(History):
    """A connection that knows what differs between any two instants."""

    async def happen(self, event: Event) -> None:
        """Let it happen."""
        what, looks, hours = event
        self.at += timedelta(hours=hours)
        if what == "restart":
            self.restart()
        if what == "end":
            await self.end()
            self.at += MINUTE
            await self.begin()
        seen = (LOOKS[look] for look in looks)
        found = [look(index) for index, look in zip(NUMBERS, seen, strict=True) if look is not None]
        if found:
            await self.sync(*found, skipped=int(what == "skip"))

    def at_instant(self, at: datetime) -> Snapshot | None:
        """Return how it was at an instant."""
        return [snapshot for when, snapshot in self.were if when <= at][-1]

    def net(self, since: datetime, until: datetime) -> tuple[list[dict[str, Any]], int]:
        """Return the rows that there should be between two instants, and how many numbers came back."""
        before, after = self.at_instant(since), self.at_instant(until)
        if after is None:
            return [], 0
        if before is None:
            since, before = next(each for each in self.were if each[0] > since and each[1] is not None)
        found = [next(alike) for _, alike in groupby(diff(before, after), lambda change: change.key)]
        moved = {change.key for at, change in self.changes if since < at <= until}
        return [shown(change) for change in found], len(moved - {change.key for change in found})


def shown(change: Change) -> dict[str, Any]:
    """Return what a row says of a change."""
    before, after = change.before, change.after
    was, now = depended(change)
    return {
        "change": change.kind,
        "key": change.key,
        "state": after.state if after else None,
        "previous_state": before.state if before else None,
        "issues": list(after.issues) if after else [],
        "previous_issues": list(before.issues) if before else [],
        "depended_on": was,
        "depends_on": now,
        "did_id": change.number.did_id,
        "client_id": change.number.dependencies.client_id,
    }


def said(row: ChangeRow) -> dict[str, Any]:
    """Return the same of a row."""
    names = ("change", "key", "state", "previous_state", "issues", "previous_issues")
    return {name: getattr(row, name) for name in (*names, "depended_on", "depends_on", "did_id", "client_id")}


async def pages(database: Database, limit: int = 2, **asked: Any) -> list[NetPage]:
    """Return all pages of an answer."""
    found: list[NetPage] = []
    async with database.read() as tx:
        while not found or found[-1].next is not None:
            after = found[-1].next if found else None
            found.append(await net_rows(tx, Codec(), **asked, limit=limit, after=after))
    return found


async def holds(history: Lived) -> None:
    """Check every pair of instants: those of answers, and between them."""
    answered = [at for at, snapshot in history.were if snapshot is not None]
    instants = [answered[0], *(at + MINUTE / 2 for at in answered)]
    for since, until in product(instants, instants):
        if since <= until:
            found = await pages(history.database, since=since, until=until)
            rows, returned = history.net(since, until)
            assert [said(row) for page in found for row in page.rows] == rows, (since, until)
            assert sum(page.returned for page in found) == returned, (since, until)


looks = st.tuples(*[st.integers(0, len(LOOKS) - 1)] * WATCHED)
events = st.tuples(st.sampled_from(["sync", "sync", "skip", "restart", "end"]), looks, st.integers(1, 13))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty store, to be copied."""
    path = tmp_path_factory.mktemp("template") / "store.db"

    async def migrate() -> None:
        async with Database(f"sqlite:///{path}") as database:
            await database.migrate()

    asyncio.run(migrate())
    return path


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(events, min_size=1, max_size=6))
def test_net_is_the_difference_of_two_snapshots(story: list[Event], template: Path, tmp_path: Path) -> None:
    """Whatever was recorded in between, for every two instants: kinds, states and what numbers depend on."""

    async def live() -> None:
        shutil.copy(template, tmp_path / "store.db")
        async with Database(f"sqlite:///{tmp_path / 'store.db'}") as database:
            history = Lived(database)
            await history.begin()
            await history.sync(*map(ready, NUMBERS))
            for event in story:
                await history.happen(event)
            await holds(history)

    asyncio.run(live())


@pytest.mark.parametrize("seed", range(2))
async def test_net_is_the_same_on_every_database(database: Database, seed: int) -> None:
    """A few stories on each."""
    rng = random.Random(seed)
    history = Lived(database)
    await history.begin()
    await history.sync(*map(ready, NUMBERS))
    for _ in range(5):
        seen = tuple(rng.randrange(len(LOOKS)) for _ in NUMBERS)
        await history.happen((rng.choice(["sync", "skip", "restart", "end"]), seen, rng.randrange(1, 13)))
    await holds(history)


async def told(database: Database, **asked: Any) -> NetPage:
    """Return the one page of an answer."""
    [page] = await pages(database, limit=100, **asked)
    return page


async def test_net_says_how_many_numbers_are_as_they_were(database: Database) -> None:
    """They are not listed, however often they changed."""
    history = History(database)
    await history.begin()
    for numbers in ([ready(1), ready(2)], [broken(1), ready(2)], [ready(1), broken(2)]):
        await history.sync(*numbers)
        history.at += MINUTE
    page = await told(database, since=NOW, until=history.at)
    [row] = page.rows
    assert (row.key, row.change, row.previous_state, row.state) == (
        ready(2).key,
        "appeared",
        "READY",
        "NO_BOT",
    )
    assert (row.at, row.sync_id, page.returned, page.notes) == (NOW + 2 * MINUTE, "a/3", 1, [])


async def test_new_number_that_drifts_is_found_as_added_and_as_appeared(database: Database) -> None:
    """It is one row, by whichever of the two is asked for; a state is found at either end."""
    history = History(database)
    await history.begin()
    await history.sync(ready(1), broken(2, "EXPIRED"))
    history.at += MINUTE
    await history.sync(broken(1), ready(2), broken(3))
    for filters, found in (
        ({}, ["appeared", "resolved", "added"]),
        ({"change": "appeared"}, ["appeared", "appeared"]),
        ({"change": "added"}, ["added"]),
        ({"state": "expired"}, ["resolved"]),
        ({"state": "NO_BOT", "connection": "name*"}, ["appeared", "added"]),
        ({"connection": "other"}, []),
    ):
        page = await told(database, since=NOW, until=history.at, **filters)
        assert [row.change for row in page.rows] == found


async def test_connection_is_compared_with_its_first_answer_if_it_was_not_watched_before(
    database: Database,
) -> None:
    """What it had by then is no change; one that is no longer watched is left out. Both are named."""
    first, second, gone = History(database, "a"), History(database, "b"), History(database, "c")
    for history in (first, gone):
        await history.begin()
        await history.sync(broken(1))
        history.at += HOUR
    second.at += HOUR
    await second.begin()
    await second.sync(ready(1), broken(2))
    second.at += MINUTE
    await second.sync(broken(1), broken(2))
    await gone.end()
    page = await told(database, since=NOW + MINUTE, until=NOW + 2 * HOUR)
    assert [(row.connection, row.key, row.change) for row in page.rows] == [
        ("name of b", ready(1).key, "appeared")
    ]
    assert [note.rpartition(": ")[2] for note in page.notes] == ["name of b", "name of c"]


async def test_net_from_before_what_is_kept_is_refused(database: Database) -> None:
    """It says from when on it is known, and that is so: before the first answer, and after a deletion."""
    history = History(database)
    await history.begin()
    for day in range(5):
        history.at = NOW + day * DAY
        await history.sync(ready(1, dependencies=Dependencies(415, day)))
    asked = {"until": NOW + 9 * DAY, "connection": "name*"}
    assert await refused(database, since=NOW - MINUTE, **asked) == "2026-03-01T12:00:01.000Z"
    async with database.write() as tx:
        assert await prune(tx, NOW + 2 * DAY)
    for since in (NOW, NOW + 2 * DAY - MINUTE):
        assert await refused(database, since=since, **asked) == "2026-03-03T12:00:01.000Z"
    page = await told(database, since=NOW + 2 * DAY + timedelta(seconds=1), **asked)
    assert [(row.change, row.moved) for row in page.rows] == [("reconfigured", "moved from bot 2 to bot 4")]


async def test_net_of_what_had_no_answer_yet_is_refused(database: Database) -> None:
    """That no number differs is not known: not without a connection, and not of one that never answered."""
    asked = {"since": NOW, "until": NOW + DAY}
    for name in (None, "new", "old"):
        if name is not None:
            await History(database, name).begin()
        with pytest.raises(Refused, match="nothing is known yet"):
            await told(database, **asked)
    await History(database, "old").sync(ready(1))
    with pytest.raises(Refused, match="nothing is known yet"):
        await told(database, **asked, connection="*new")
    for glob in (None, "*old", "nosuch"):
        assert not (await told(database, **asked, connection=glob)).rows


async def refused(database: Database, **asked: Any) -> str:
    """Return the instant that a refusal names."""
    with pytest.raises(Refused, match="begin then") as caught:
        await told(database, **asked)
    [at] = [word for word in str(caught.value).split() if word.startswith("2026")]
    return at


async def test_net_costs_as_many_statements_however_much_happened(database: Database) -> None:
    """Nor however many connections are as they were. Too many changes are not looked through for a page."""
    for place in range(5):
        quiet = History(database, f"quiet {place}")
        await quiet.begin()
        await quiet.sync(broken(1))
    history = History(database)
    await history.begin()
    await history.sync(ready(1), ready(2))
    asked: list[int] = []
    for times in (1, 20):
        for _ in range(times):
            history.at += MINUTE
            await history.sync(broken(1), ready(2))
            history.at += MINUTE
            await history.sync(ready(1), broken(2))
        async with database.read() as tx:
            with recorded(tx) as statements:
                page = await net_rows(tx, Codec(), since=NOW, until=history.at)
        asked.append(len(statements))
        assert (len(page.rows), page.returned) == (1, 1)
    assert asked[0] == asked[1] <= 14
    async with database.read() as tx:
        with pytest.raises(Refused, match="more than 80 changes"):
            await net_rows(tx, Codec(), since=NOW, until=history.at, most=80)
        assert len((await net_rows(tx, Codec(), since=NOW, until=history.at, most=None)).rows) == 1
