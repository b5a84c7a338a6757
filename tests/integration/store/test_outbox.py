"""The outbox: order, leases, replacement and receivers."""

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import select

from monitor.drift.alert import AlertChange, Notice, Severity, decode_body
from monitor.drift.snapshot import ChangeKind
from monitor.errors import Refusal
from monitor.notify.delivery import Dead, Failed, Result, Sent
from monitor.notify.routing import Route
from monitor.store.database import Database
from monitor.store.deliveries import add_deliveries
from monitor.store.outbox import StoredOutbox, backlogs, free_delivery_leases, receiver_rows
from monitor.store.receivers import know_receivers, routes_now
from monitor.store.tables import deliveries
from tests.fakes.alerts import BODY
from tests.fakes.clock import START, FakeClock
from tests.fakes.stored import recorded_everywhere

MINUTE = timedelta(minutes=1)
OPENED, UPDATED, RESOLVED = Notice.OPENED, Notice.UPDATED, Notice.RESOLVED
LEASE_S = 30.0


async def tell(
    database: Database, *notices: Notice, alert: str = "a1", to: str = "hook", at: datetime = START
) -> None:
    """Queue messages about an alert, each in a transaction of its own."""
    for notice in notices:
        async with database.write() as tx:
            body = msgspec.structs.replace(BODY, alert_id=alert, change=notice, version=len(notices))
            await add_deliveries(tx, body, [(to, notice)], at)


async def rows(database: Database, status: str | None = None) -> list[tuple[str, str]]:
    """Return alert and change of every row, oldest first."""
    async with database.read() as tx:
        found = await tx.execute(select(deliveries).order_by(deliveries.c.seq))
        return [(row.alert_id, row.change) for row in found if status in (None, row.status)]


async def leased(outbox: StoredOutbox, receiver: str = "hook") -> list[tuple[str, Notice]]:
    """Lease what is due; return alert and change of each."""
    return [
        (delivery.alert_id, delivery.change)
        for delivery in (await outbox.lease_due(receiver, limit=10, lease_s=LEASE_S)).deliveries
    ]


async def test_messages_of_an_alert_are_leased_in_order(database: Database) -> None:
    """Only the oldest of an alert is handed out, though it waits for its next try; other alerts go on."""
    clock = FakeClock()
    outbox = StoredOutbox(database, clock)
    await tell(database, OPENED, RESOLVED)
    await tell(database, OPENED, alert="a2")
    first, other = (await outbox.lease_due("hook", limit=10, lease_s=LEASE_S)).deliveries
    assert (first.change, first.superseded, other.superseded) == (OPENED, True, False)
    failed = Failed(
        delivery=first, at=START, next_try_at=START + MINUTE, refusal=Refusal.RETRY, error="refused"
    )
    await outbox.settle([failed, Sent(delivery=other, at=START, answer="ok")])
    assert await leased(outbox) == []
    assert await outbox.next_due_at("hook") == START + MINUTE
    await clock.advance(60)
    (again,) = (await outbox.lease_due("hook", limit=10, lease_s=LEASE_S)).deliveries
    assert (again.id, again.attempts, again.first_failed_at) == (first.id, 1, START)
    await outbox.settle([Sent(delivery=again, at=clock.now(), answer="ok")])
    assert await leased(outbox) == [("a1", RESOLVED)]


async def test_leased_message_stays_with_its_holder_until_the_lease_ends(database: Database) -> None:
    """A crash re-sends one message, the same, once its lease is over; a start of the only daemon at once."""
    clock = FakeClock()
    outbox = StoredOutbox(database, clock)
    await tell(database, OPENED)
    assert await leased(outbox) == [("a1", OPENED)]
    assert await leased(outbox) == []
    assert await outbox.next_due_at("hook") == START + timedelta(seconds=LEASE_S)
    await clock.advance(LEASE_S)
    assert await leased(outbox) == [("a1", OPENED)]
    async with database.write() as tx:
        await free_delivery_leases(tx)
    assert await leased(outbox) == [("a1", OPENED)]


async def test_message_is_kept_without_its_body_once_delivered(database: Database) -> None:
    """No one reads it again; what is refused keeps its own, to be sent again."""
    outbox = StoredOutbox(database, FakeClock())
    await tell(database, OPENED)
    await tell(database, OPENED, alert="a2")
    sent, dead = (await outbox.lease_due("hook", limit=10, lease_s=LEASE_S)).deliveries
    refused = Dead(delivery=dead, at=START, error="400 Bad Request", answered=True)
    await outbox.settle([Sent(delivery=sent, at=START, answer="ok"), refused])
    async with database.read() as tx:
        found = await tx.execute(select(deliveries.c.alert_id, deliveries.c.body))
        assert {row.alert_id: row.body for row in found} == {"a1": None, "a2": dead.body}


async def test_message_is_for_its_receiver_alone(database: Database) -> None:
    """No receiver is handed what is for another."""
    outbox = StoredOutbox(database, FakeClock())
    await tell(database, OPENED)
    assert await leased(outbox, "other") == []
    assert await outbox.next_due_at("other") is None


@pytest.mark.parametrize(
    ("notices", "left"),
    [
        ((OPENED, UPDATED, UPDATED), [OPENED, UPDATED]),
        ((OPENED, UPDATED, UPDATED, RESOLVED), [OPENED, UPDATED, RESOLVED]),
        ((OPENED, RESOLVED), [OPENED, RESOLVED]),
        ((OPENED, OPENED), [OPENED, OPENED]),
    ],
    ids=["updated", "not by resolved", "never opened", "not even by another opened"],
)
async def test_only_an_update_gives_way_to_a_newer_one(
    database: Database, notices: tuple[Notice, ...], left: list[Notice]
) -> None:
    """An `updated` that was never tried is replaced by the newer; `opened` and `resolved` never are."""
    for position, notice in enumerate(notices):
        await tell(database, notice, at=START + position * MINUTE)
    assert await rows(database) == [("a1", notice) for notice in left]


async def test_update_tells_the_changes_of_those_it_replaces(database: Database) -> None:
    """Newest first, up to the limit, and counts them all: the receiver has heard of none of them."""
    moved = [
        AlertChange(
            key=str(place),
            phone_number=f"+{place}",
            change=ChangeKind.APPEARED,
            previous_state="READY",
            state="NO_BOT",
            previous_issues=[],
            issues=["NO_BOT"],
            was={},
            is_={},
        )
        for place in range(6)
    ]
    for version, changes in enumerate(([0, 1], [2], [3, 4, 5]), 2):
        body = msgspec.structs.replace(
            BODY,
            change=UPDATED,
            version=version,
            changes=[moved[place] for place in changes],
            changes_total=len(changes) + 10,
            numbers_added=len(changes),
        )
        async with database.write() as tx:
            await add_deliveries(tx, body, [("hook", UPDATED), ("chat", UPDATED)], START, most_listed=5)
        if version == 2:  # chat is quicker
            (first,) = (
                await StoredOutbox(database, FakeClock()).lease_due("chat", limit=1, lease_s=LEASE_S)
            ).deliveries
            await StoredOutbox(database, FakeClock()).settle([Sent(delivery=first, at=START, answer="ok")])
    for receiver, keys, total, added in (("hook", "34520", 36, 6), ("chat", "3452", 24, 4)):
        (last,) = (
            await StoredOutbox(database, FakeClock()).lease_due(receiver, limit=9, lease_s=LEASE_S)
        ).deliveries
        told = decode_body(last.body)
        assert "".join(each.key for each in told.changes) == keys
        assert (told.version, told.changes_total, told.numbers_added) == (4, total, added)


@pytest.mark.parametrize("tried", [True, False], ids=["tried before", "under way"])
async def test_update_that_may_be_known_is_not_replaced(database: Database, tried: bool) -> None:
    """What the receiver may have seen keeps its id and body for the next try."""
    outbox = StoredOutbox(database, FakeClock())
    await tell(database, OPENED)
    (first,) = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    await outbox.settle([Sent(delivery=first, at=START, answer="ok")])
    await tell(database, UPDATED)
    (delivery,) = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    if tried:
        failed = Failed(
            delivery=delivery, at=START, next_try_at=START, refusal=Refusal.RETRY, error="no answer"
        )
        await outbox.settle([failed])
    await tell(database, UPDATED, at=START + MINUTE)
    assert await rows(database) == [("a1", OPENED), ("a1", UPDATED), ("a1", UPDATED)]


async def test_settling_twice_changes_nothing(database: Database) -> None:
    """After a commit whose answer was lost the same results come again."""
    outbox = StoredOutbox(database, FakeClock())
    await tell(database, OPENED)
    (delivery,) = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    failed = Failed(delivery=delivery, at=START, next_try_at=START, refusal=Refusal.RETRY, error="refused")
    await outbox.settle([failed])
    (again,) = (await outbox.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    await outbox.settle([failed])
    async with database.read() as tx:
        row = (await tx.execute(select(deliveries))).one()
    assert (row.attempts, row.lease_until) == (1, START + timedelta(seconds=LEASE_S)), "it is under way again"
    await outbox.settle([Sent(delivery=again, at=START, answer="ok")])
    await outbox.settle([Dead(delivery=again, at=START, error="late")])
    assert await rows(database, "delivered") == [("a1", OPENED)]


async def test_receivers_that_are_new_and_gone(database: Database) -> None:
    """New ones are named once; what waits for one that is gone is closed, what it got stays."""
    async with database.write() as tx:
        assert await know_receivers(tx, ["log", "hook"], START) == ["log", "hook"]
    await tell(database, OPENED)
    await tell(database, OPENED, to="log")
    async with database.write() as tx:
        assert await know_receivers(tx, ["log", "pd"], START) == ["pd"]
        assert [backlog.receiver for backlog in await backlogs(tx)] == ["log", "pd"]
    assert len(await rows(database, "closed")) == len(await rows(database, "pending")) == 1


async def test_filters_of_receivers_are_those_of_the_config_that_decides(database: Database) -> None:
    """A new config's come into force; the same ones again, or an older config's, change nothing."""
    narrow = Route(receiver="hook", min_severity=Severity.CRITICAL, connections=("acme-*",))
    wide = Route(receiver="hook", send_resolved=False)

    async def known(route: Route, *, decides: bool = True) -> list[Route]:
        async with database.write() as tx:
            await know_receivers(tx, ["hook", "am"], START, routes=[route], decides=decides)
            return await routes_now(tx)

    assert await known(narrow) == [narrow]
    with recorded_everywhere() as statements:
        assert await known(narrow) == [narrow]
    assert not [each for each in statements if each.startswith(("UPDATE receivers", "INSERT"))]
    assert await known(wide, decides=False) == [narrow]
    assert await known(wide) == [wide]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
@pytest.mark.parametrize(
    ("story", "troubled", "refused", "in_row"),
    [
        ("sent", False, False, 0),
        ("down", True, False, 0),
        ("busy", True, False, 1),
        ("gone", True, True, 1),
        ("dead", False, False, 1),
        ("dead dead", False, False, 2),
        ("dead dead dead", True, False, 3),
        ("dead busy dead", True, False, 3),
        ("dead down dead", True, False, 2),
        ("gone down", True, False, 1),
        ("dead dead sent dead", False, False, 1),
        ("gone sent busy", True, False, 1),
        ("gone dead dead sent", False, False, 0),
    ],
)
async def test_receiver_row_says_how_it_does(
    database: Database, *, story: str, troubled: bool, refused: bool, in_row: int, together: bool
) -> None:
    """Trouble begins with a failure, or the third message refused in a row, and ends with a success.

    Refusals are counted over all alerts; one that does not answer at all neither adds to them nor ends them.
    """
    ends = story.split()
    outbox = StoredOutbox(database, FakeClock())
    async with database.write() as tx:
        await know_receivers(tx, ["hook"], START)
    for position in range(len(ends)):
        await tell(database, OPENED, alert=f"a{position}")
    leased = (await outbox.lease_due("hook", limit=10, lease_s=LEASE_S)).deliveries
    results: list[Result] = []
    for end, delivery in zip(ends, leased, strict=True):
        match end:
            case "sent":
                results.append(Sent(delivery=delivery, at=START, answer="ok"))
            case "dead":
                results.append(Dead(delivery=delivery, at=START, error="bad", answered=True))
            case _:
                refusal = Refusal.FAILING if end == "gone" else Refusal.RETRY
                failed = Failed(
                    delivery=delivery, at=START, next_try_at=START + MINUTE, refusal=refusal, error=end
                )
                results.append(replace(failed, answered=end != "down"))
    for batch in [results] if together else [[result] for result in results]:
        await outbox.settle(batch)
    async with database.read() as tx:
        (backlog,), (receiver,) = await backlogs(tx), await receiver_rows(tx)
    assert (receiver.troubled_since is not None, receiver.refused, receiver.refused_in_row) == (
        troubled,
        refused,
        in_row,
    )
    assert (receiver.error is not None) == troubled
    waiting = len(ends) - ends.count("dead") - ends.count("sent")
    assert (backlog.pending, backlog.dead) == (waiting, ends.count("dead"))
    assert backlog.oldest_at == (START if waiting else None)


async def test_failure_of_what_another_replica_has_delivered_says_nothing_of_the_receiver(
    database: Database,
) -> None:
    """A replica that was paused finds its request broken: the message is out, and the receiver is well."""
    clock = FakeClock()
    paused, other = StoredOutbox(database, clock, holder="a"), StoredOutbox(database, clock, holder="b")
    async with database.write() as tx:
        await know_receivers(tx, ["hook"], START)
    await tell(database, OPENED)
    [held] = (await paused.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    await clock.advance(LEASE_S)
    [again] = (await other.lease_due("hook", limit=1, lease_s=LEASE_S)).deliveries
    await other.settle([Sent(delivery=again, at=clock.now(), answer="ok")])
    late = Failed(
        delivery=held,
        at=clock.now(),
        next_try_at=clock.now() + MINUTE,
        refusal=Refusal.RETRY,
        error="connection reset",
    )
    await paused.settle([late])
    async with database.read() as tx:
        (receiver,) = await receiver_rows(tx)
    assert (receiver.troubled_since, receiver.error) == (None, None)
