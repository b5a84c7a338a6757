"""What Alertmanagers are kept level with, in both databases."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import delete, insert, select

from monitor.drift.alert import Acknowledgement, AlertBody, Kind, Resolution, encode_body
from monitor.drift.episodes import Ended, Track
from monitor.drift.failures import SCOPE
from monitor.drift.text import Wording
from monitor.errors import DeliveryError, Refusal
from monitor.http.address import Address
from monitor.http.redactor import Redactor
from monitor.notify.alertmanager import AlertmanagerReceiver, PosterParts, Posters, PostTarget
from monitor.notify.alertmanager.level import LabelMoves, LabelSet
from monitor.notify.routing import Route
from monitor.store.alerts import save_episodes
from monitor.store.codec import Codec
from monitor.store.connections import Watch, begin_watching
from monitor.store.database import Database
from monitor.store.level import _MARKER, StoredLevel
from monitor.store.outbox import ReceiverRow, backlogs, free_delivery_leases, receiver_rows
from monitor.store.receivers import know_receivers
from monitor.store.tables import alerts, posters
from monitor.store.tables import posted as label_sets
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.level import member
from tests.fakes.log import FakeLog
from tests.fakes.shortage import no_shortage
from tests.fakes.stored import recorded

CODEC = Codec()
MINUTE = timedelta(minutes=1)
ONE = PostTarget(receiver="am", url="http://am-1:9093")
TWO = PostTarget(receiver="am", url="http://am-2:9093")
SCOPE_OF_ACME = "id-acme"


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Return a store that knows one connection and the receivers `am` and `log`."""
    url = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    acme = Watch(
        identity=SCOPE_OF_ACME,
        name="acme-sales",
        account="acme",
        connection_id=None,
        first_due_at=START,
        next_due_at=START,
    )
    async with Database(url) as opened:
        await opened.migrate()
        async with opened.write() as tx:
            await begin_watching(tx, [acme], START)
            await know_receivers(tx, ["log", "am"], START)
        yield opened


def level_of(database: Database, clock: FakeClock | None = None, *, holder: str = "first") -> StoredLevel:
    """Return a process's view of the store."""
    return StoredLevel(database, CODEC, clock or FakeClock(), holder=holder)


async def begin(database: Database, *tracks: Track, scope: str = SCOPE_OF_ACME) -> None:
    """Commit episodes that began."""
    async with database.write() as tx:
        await save_episodes(tx, scope, opened=tracks, moved=(), ended=(), codec=CODEC)


async def end(database: Database, track: Track) -> None:
    """Commit that an episode ended."""
    ended = Ended(track=track, at=START + MINUTE, resolution=Resolution.RECOVERED)
    async with database.write() as tx:
        await save_episodes(tx, SCOPE_OF_ACME, opened=(), moved=(), ended=[ended], codec=CODEC)


async def waiting(database: Database) -> tuple[int, datetime | None]:
    """Return how many wait for the receiver, and since when."""
    async with database.read() as tx:
        (found,) = [each for each in await backlogs(tx) if each.receiver == "am"]
    return found.pending, found.oldest_at


async def health(database: Database) -> ReceiverRow:
    """Return how the receiver does."""
    async with database.read() as tx:
        return next(each for each in await receiver_rows(tx) if each.name == "am")


def posted(member_id: str = "e1", team: str = "voice") -> LabelSet:
    """Return a label set that was never accepted."""
    return LabelSet(member_id=member_id, labels={"alertname": "A", "team": team}, changed_at=START)


async def test_read_returns_open_episodes_with_the_names_of_their_connections(database: Database) -> None:
    """A number's episode belongs to its connection, a failure's to the one that fails."""
    drift = member(1).track
    failing = msgspec.structs.replace(member(2, kind=Kind.API_UNAVAILABLE).track, key=SCOPE_OF_ACME)
    receiver = member(3, kind=Kind.RECEIVER_FAILING).track
    await begin(database, drift)
    await begin(database, failing, receiver, scope=SCOPE)
    state = await level_of(database).read(ONE)
    assert {each.id: (each.kind, each.connection, each.account) for each in state.members.values()} == {
        "e1": (Kind.DRIFT, "acme-sales", "acme"),
        "e2": (Kind.API_UNAVAILABLE, "acme-sales", "acme"),
        "e3": (Kind.RECEIVER_FAILING, None, None),
    }
    assert state.members["e1"].track == drift
    assert state.members["e1"].opened_at == START


async def put_alert(database: Database, body: AlertBody, **values: Any) -> None:
    """Commit a firing alert."""
    values |= {"scope": SCOPE_OF_ACME, "kind": "drift", "status": "firing", "severity": "warning"}
    values |= {"version": 1, "started_at": START, "updated_at": START, "part_of": body.part_of}
    async with database.write() as tx:
        await tx.execute(delete(alerts).where(alerts.c.id == body.alert_id))
        await tx.execute(insert(alerts).values(id=body.alert_id, body=encode_body(body), **values))


async def test_read_knows_who_has_taken_on_what_people_are_told_of(database: Database) -> None:
    """Of a part, that is the widespread alert."""
    known = Acknowledgement(by="asha", at=BODY.started_at, note=None)
    await begin(database, member(1).track)
    await put_alert(database, msgspec.structs.replace(BODY, part_of="w1"))
    await put_alert(database, msgspec.structs.replace(BODY, alert_id="w1", widespread=True))
    assert (await level_of(database).read(ONE)).members["e1"].acknowledged is None
    body = msgspec.structs.replace(BODY, alert_id="w1", widespread=True, acknowledged=known)
    await put_alert(database, body)
    assert (await level_of(database).read(ONE)).members["e1"].acknowledged == known
    await put_alert(database, msgspec.structs.replace(BODY, acknowledged=known))
    assert (await level_of(database).read(ONE)).members["e1"].acknowledged == known


async def test_read_knows_what_the_numbers_of_an_alert_share(database: Database) -> None:
    """The likely cause comes from the alert; a single number is alone, and shares nothing with itself."""
    await begin(database, member(1).track)
    for many, alone in ((2, False), (1, True)):
        await put_alert(database, msgspec.structs.replace(BODY, numbers_total=many))
        state = await level_of(database).read(ONE)
        read = state.members["e1"]
        assert (read.common, read.alone) == ({"client_id": 415}, alone)


async def test_write_is_read_again_by_that_url_alone(database: Database) -> None:
    """What was posted to one URL says nothing of another; an ended episode stays while it was posted."""
    level, track = level_of(database), member(1).track
    await begin(database, track)
    await level.write(ONE, LabelMoves(begun=[posted(), posted(team="calls")]))
    await end(database, track)
    over = replace(posted(), ended_at=START + MINUTE)
    await level.write(ONE, LabelMoves(changed=[over], gone=[posted(team="calls")]))
    state = await level.read(ONE)
    assert list(state.sets) == [over]
    assert state.members["e1"].resolution is Resolution.RECOVERED
    assert (await level.read(TWO)).members == {}


async def test_accepted_empties_the_backlog_and_forgets_old_ends(database: Database) -> None:
    """What a URL has not accepted is pending; an end is forgotten 15 minutes after it was accepted."""
    level = level_of(database)
    await begin(database, member(1).track)
    await level.write(ONE, LabelMoves(begun=[posted()]))
    await level.write(TWO, LabelMoves(begun=[posted()]))
    assert await waiting(database) == (2, START)
    await level.accepted(ONE, read_at=START, at=START + MINUTE)
    assert (await waiting(database))[0] == 1
    over = replace(posted(), ended_at=START, changed_at=START + 2 * MINUTE)
    await level.write(ONE, LabelMoves(changed=[over]))
    await level.accepted(ONE, read_at=START + MINUTE, at=START + 2 * MINUTE)
    assert (await waiting(database))[0] == 2
    for minutes, left in ((3, 1), (17, 1), (18, 0)):
        await level.accepted(ONE, read_at=START + 2 * MINUTE, at=START + minutes * MINUTE)
        assert len((await level.read(ONE)).sets) == left


async def test_trouble_of_one_url_is_the_receivers_until_it_is_over(database: Database) -> None:
    """One member of a cluster that is down is not hidden by the others that are well."""
    level = level_of(database)
    for target in (ONE, TWO):
        assert await level.hold(target, lease_s=60)
    await level.failed(ONE, DeliveryError(Refusal.RETRY, "connection refused"), START)
    await level.failed(TWO, DeliveryError(Refusal.FAILING, "401 Unauthorized"), START + MINUTE)
    found = await health(database)
    assert (found.troubled_since, found.refused) == (START, True)
    assert found.error == f"{ONE.url}: connection refused"
    await level.accepted(ONE, read_at=START, at=START + MINUTE)
    found = await health(database)
    assert (found.troubled_since, found.error) == (START + MINUTE, f"{TWO.url}: 401 Unauthorized")
    await level.accepted(TWO, read_at=START, at=START + 2 * MINUTE)
    found = await health(database)
    assert (found.troubled_since, found.refused, found.error) == (None, False, None)
    assert found.delivered_at == START + 2 * MINUTE


async def test_posts_refused_in_a_row_are_counted_by_url(database: Database) -> None:
    """The receiver has as many as its worst URL; no answer leaves the count alone, a success ends it."""
    level = level_of(database)
    busy = DeliveryError(Refusal.RETRY, "503 Service Unavailable", answered=True)
    down = DeliveryError(Refusal.RETRY, "connection refused")
    for target in (ONE, TWO):
        assert await level.hold(target, lease_s=60)
    counted = []
    for target, error in ((ONE, busy), (TWO, busy), (ONE, down), (ONE, busy), (ONE, busy), (ONE, busy)):
        await level.failed(target, error, START)
        counted.append((await health(database)).refused_in_row)
    assert counted == [1, 1, 1, 2, 3, 3]
    await level.accepted(ONE, read_at=START, at=START + MINUTE)
    assert (await health(database)).refused_in_row == 1
    await level.accepted(TWO, read_at=START, at=START + MINUTE)
    assert (await health(database)).refused_in_row == 0


async def test_lease_lets_one_process_post_until_it_is_gone(database: Database) -> None:
    """Another one takes over when the lease ran out, was given back, or the daemon alone starts again."""
    clock = FakeClock()
    first, second = level_of(database, clock), level_of(database, clock, holder="second")
    assert await first.hold(ONE, lease_s=60)
    assert await first.hold(ONE, lease_s=60)
    assert not await second.hold(ONE, lease_s=60)
    assert await second.hold(TWO, lease_s=60)
    await clock.advance(61)
    assert await second.hold(ONE, lease_s=60)
    await first.release(ONE)
    assert not await first.hold(ONE, lease_s=60)
    await second.release(ONE)
    assert await first.hold(ONE, lease_s=60)
    async with database.write() as tx:
        await free_delivery_leases(tx)
    assert await second.hold(ONE, lease_s=60)


async def test_marker_changes_when_an_episode_opens_or_ends_or_is_acknowledged(database: Database) -> None:
    """A replica sees what another one committed without reading it all."""
    level, track = level_of(database), member(1).track
    seen = [await level.marker()]
    await begin(database, track)
    seen.append(await level.marker())
    assert await level.marker() == seen[-1]
    await end(database, track)
    seen.append(await level.marker())
    for acknowledged_at in (None, START, START + MINUTE, None):
        await put_alert(database, BODY, acknowledged_at=acknowledged_at)
        seen.append(await level.marker())
    assert len(set(map(str, seen))) == 5
    assert seen[-1] == seen[2] == seen[3]


async def test_only_what_moved_is_read_anew(database: Database) -> None:
    """Of thousands that are open, nearly all are as they were at the last post."""
    level = level_of(database)
    tracks = [member(each).track for each in (1, 2)]
    await begin(database, *tracks)
    await put_alert(database, BODY)
    await level.write(ONE, LabelMoves(begun=[posted("e1"), posted("e2")]))
    first = await level.read(ONE)
    again = await level.read(ONE)
    assert all(again.members[name] is each for name, each in first.members.items())
    assert all(one is other for one, other in zip(first.sets, again.sets, strict=True))
    await end(database, tracks[1])
    moved = await level.read(ONE)
    assert [name for name, each in moved.members.items() if each is not first.members[name]] == ["e2"]
    assert moved.members["e2"].ended_at == START + MINUTE
    await put_alert(database, msgspec.structs.replace(BODY, first_step="Call someone."))
    told = (await level.read(ONE)).members["e1"]
    assert (told.first_step, told.first_action) == ("Call someone.", "Assign a bot")
    assert await level_of(database).read(ONE) == await level.read(ONE)


async def test_marker_reads_no_rows_of_what_is_open(tmp_path: Path) -> None:
    """It is read every few seconds: entries of small indexes are counted."""
    async with Database(f"sqlite:///{tmp_path}/s.db") as database:
        await database.migrate()
        async with database.read() as tx:
            with recorded(tx) as statements:
                await tx.execute(_MARKER)
            ((statement, values),) = statements
            rows = await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plan = [str(row.detail) for row in rows]
    reads = [step for step in plan if step.startswith(("SCAN", "SEARCH")) and "CONSTANT ROW" not in step]
    assert reads
    assert all("COVERING INDEX" in step for step in reads), plan


async def test_url_or_receiver_that_is_configured_no_more_is_forgotten(database: Database) -> None:
    """What waits for it waits no longer; its trouble is over when another URL has accepted a post."""
    level = level_of(database)
    gone = PostTarget(receiver="gone", url=ONE.url)
    await begin(database, member(1).track)
    for target in (ONE, TWO, gone):
        assert await level.hold(target, lease_s=60)
        await level.write(target, LabelMoves(begun=[posted()]))
    await level.failed(TWO, DeliveryError(Refusal.RETRY, "connection refused"), START)
    await level.forget_others("am", [ONE.url])
    assert [len((await level.read(target)).sets) for target in (ONE, TWO, gone)] == [1, 0, 0]
    found = await health(database)
    assert ((await waiting(database))[0], found.troubled_since) == (1, START)
    await level.accepted(ONE, read_at=START - MINUTE, at=START + MINUTE)
    found = await health(database)
    assert ((await waiting(database))[0], found.troubled_since) == (1, None)
    assert found.delivered_at == START + MINUTE


async def test_reload_without_a_url_removes_its_rows(database: Database) -> None:
    """A poster of the new config cleans up after the old one, on its own."""
    clock = FakeClock(turns=300)
    await begin(database, member(1).track)
    for target in (ONE, TWO):
        assert await level_of(database, clock).hold(target, lease_s=60)
        await level_of(database, clock).write(target, LabelMoves(begun=[posted()]))
        await level_of(database, clock).release(target)
    told = asyncio.Event()

    def take(_: httpx.Request) -> httpx.Response:
        told.set()
        return httpx.Response(200)

    receivers = Posters()
    receivers.replace(
        [
            AlertmanagerReceiver(
                urls=[Address(ONE.url)],
                route=Route(receiver="am"),
                wording=Wording(),
                resend_interval_s=60,
                expire_after=30 * MINUTE,
                timeout_s=10,
                login=None,
                parts=PosterParts(
                    redactor=Redactor(),
                    level=level_of(database, clock),
                    http=httpx.AsyncClient(transport=httpx.MockTransport(take)),
                    clock=clock,
                    rng=random.Random(0),
                    metrics=Uncounted(),
                    log=FakeLog().logger,
                    shortage=no_shortage(),
                ),
            )
        ]
    )
    running = asyncio.create_task(receivers.run())
    await asyncio.wait_for(told.wait(), 20)
    await receivers.close(5)
    await running
    async with database.read() as tx:
        for table in (label_sets, posters):
            assert set(await tx.scalars(select(table.c.url))) == {ONE.url}


class Uncounted:
    """Metrics that no one reads."""

    def delivery(self, receiver: str, outcome: str) -> None:
        """Count nothing."""

    def store_error(self) -> None:
        """Count nothing."""
