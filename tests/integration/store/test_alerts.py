"""What is stored of an alert while its receivers are not told yet, in both databases."""

from monitor.drift.alert import Notice, decode_body
from monitor.store.database import Database
from tests.fakes.stored import MINUTE, NOW, Story, begin, number


async def test_changes_between_two_updates_are_stored_and_not_sent(database: Database) -> None:
    """The record follows every sync; its version and the messages wait for the update."""
    await begin(database, "a")
    story = Story(database)
    steady = [number(str(index)) for index in range(10, 20)]
    await story.sync(number("1", "NO_BOT"), number("2"), number("3"), *steady)
    opened = await story.stored()

    await story.sync(number("1", "NO_BOT"), number("2", "NO_BOT"), number("3"), *steady)
    joined = await story.stored()
    body = decode_body(joined.body)
    assert (joined.id, joined.version, joined.updated_at) == (opened.id, 1, NOW + MINUTE)
    assert (body.numbers_total, body.numbers_added, body.numbers_ended) == (2, 1, 0)
    assert body.summary.endswith(": 2 numbers NO_BOT")

    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2", "NO_BOT"), number("3"), *steady)
    moved = decode_body((await story.stored()).body)
    assert {each.key: each.issues for each in moved.numbers} == {"1": ["NO_BOT", "EXPIRED"], "2": ["NO_BOT"]}

    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2"), number("3"), *steady)
    left = decode_body((await story.stored()).body)
    assert (left.numbers_total, left.numbers_added, left.numbers_ended) == (1, 1, 1)
    assert await story.over() == {"1": None, "2": "recovered"}
    assert await story.sent() == [Notice.OPENED]

    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2"), number("3"), *steady)
    await story.sync(number("1", "NO_BOT", "EXPIRED"), number("2"), number("3"), *steady)
    updated = await story.stored()
    assert (updated.version, await story.sent()) == (2, [Notice.OPENED, Notice.UPDATED])
    assert decode_body(updated.body).numbers_ended == 1

    await story.sync(number("1"), number("2"), number("3"), *steady)
    done = await story.stored()
    assert (done.status, done.resolution, done.resolved_at) == ("resolved", "recovered", NOW + 6 * MINUTE)
    assert decode_body(done.body).numbers_added == 0
    assert await story.over() == {"1": "recovered", "2": "recovered"}
    assert await story.sent() == [Notice.OPENED, Notice.UPDATED, Notice.RESOLVED]
