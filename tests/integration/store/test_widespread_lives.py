"""What holds of widespread alerts whatever happens to their connections, checked against plain counting."""

import asyncio
import shutil
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from monitor.drift.alert import AlertBody, Notice, Severity, decode_body
from monitor.drift.widespread import REFRESH, Spread
from monitor.notify.routing import Route
from monitor.store.database import Database
from monitor.store.tables import alerts, episodes
from tests.fakes.fleet import BAD, GOOD, WORSE, Fleet
from tests.fakes.stored import MINUTE, SECOND

NAMES = ("c0", "c1", "c2", "c3", "c4")
LOOKS = (GOOD, BAD, WORSE, ("NO_BOT", "NO_ROUTE"))
ROUTES = (
    Route(receiver="all"),
    Route(receiver="one", connections=("name of c4",)),
    Route(receiver="critical", min_severity=Severity.CRITICAL),
    Route(receiver="opens", send_resolved=False),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from((timedelta(0), SECOND, MINUTE, 3 * MINUTE, 6 * MINUTE)),
        st.sampled_from(NAMES),
        st.tuples(st.sampled_from(LOOKS), st.sampled_from(LOOKS)),
    ),
    min_size=4,
    max_size=16,
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an empty store."""
    file = tmp_path_factory.mktemp("store") / "empty.db"

    async def migrate() -> None:
        async with Database(f"sqlite:///{file}") as database:
            await database.migrate()

    asyncio.run(migrate())
    return file


@settings(max_examples=10)
@given(events=EVENTS, alone=st.integers(1, 2))
def test_whatever_happens_is_told_once(
    empty: Path, events: list[tuple[timedelta, str, tuple[tuple[str, ...], ...]]], alone: int
) -> None:
    """No number is lost or counted twice, no update comes too early, and whoever was told hears the end."""
    file = empty.with_name("life.db")
    shutil.copy(empty, file)

    async def live() -> dict[str, list[tuple[datetime, AlertBody]]]:
        async with Database(f"sqlite:///{file}") as database:
            fleet = Fleet(database, *ROUTES, spread=Spread(connections=alone))
            for after, name, found in events:
                await fleet.wait(after)
                await fleet.sync(name, found=found)
                await check_books(fleet)
            await fleet.wait(MINUTE)
            await fleet.sync(*NAMES, found=(GOOD, GOOD))
            await fleet.wait(MINUTE)
            assert {row.status for row in await fleet.rows()} <= {"resolved"}
            assert all(row.tells_at is None for row in await fleet.rows())
            return fleet.told

    for receiver, told in asyncio.run(live()).items():
        assert all(body.part_of is None for _, body in told)
        for alert_id in {body.alert_id for _, body in told if body.widespread}:
            check_messages(receiver, [(at, body) for at, body in told if body.alert_id == alert_id])


async def check_books(fleet: Fleet) -> None:
    """Check every body against the episodes of its parts, once it has had the time to follow them."""
    await fleet.wait(REFRESH)
    async with fleet.database.read() as tx:
        for row in [row for row in await fleet.rows() if row.widespread and row.status == "firing"]:
            body = decode_body(row.body)
            parts = select(alerts.c.id).where(alerts.c.part_of == row.id)
            members = await tx.execute(
                select(episodes.c.key, episodes.c.scope)
                .where(episodes.c.alert_id.in_(parts), episodes.c.ended_at.is_(None))
                .order_by(episodes.c.key)
            )
            found = list(members)
            assert body.numbers_total == len(found)
            assert sorted(number.key for number in body.numbers) == [each.key for each in found]
            assert body.connections == sorted({f"name of {each.scope}" for each in found})


def check_messages(receiver: str, sent: list[tuple[datetime, AlertBody]]) -> None:
    """Check one receiver's messages about one alert."""
    bodies = [body for _, body in sent]
    said = [body.change for body in bodies]
    assert (said[0], said.count(Notice.OPENED)) == (Notice.OPENED, 1)
    ends = 0 if receiver == "opens" else 1
    assert said.count(Notice.RESOLVED) == ends
    assert Notice.RESOLVED not in said[:-1]
    versions = [body.version for body in bodies]
    assert versions == sorted(set(versions))
    updates = [(at, body) for at, body in sent if body.change is Notice.UPDATED]
    for (earlier, before), (later, after) in pairwise(updates):
        assert later - earlier >= 5 * MINUTE or after.severity.rank > before.severity.rank
    if receiver == "all":
        for before, after in pairwise(bodies):
            left = 0 if after.change is Notice.RESOLVED else after.numbers_total
            assert before.numbers_total + after.numbers_added - after.numbers_ended == left
