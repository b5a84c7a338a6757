"""Silences from the request to the alerts: set in the store, obeyed by every step, ended on time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from monitor.daemon.actions import DaemonLifecycle
from monitor.drift.silences import NewSilence
from monitor.errors import Invalid, Refused, UnknownName
from monitor.store.actions import COMMAND, Actor
from monitor.store.alert_lists import alert_bodies
from monitor.store.journal import EntryKind, known_rules
from monitor.store.ledger import StepRecord
from monitor.store.queries import problems
from monitor.store.quiet import quiet_notices, silence_rows
from monitor.store.rows import SilenceRow
from monitor.store.silences import any_to_log
from monitor.store.silencing import set_silence, stop_silence
from monitor.store.tables import journal, silenced
from tests.fakes.log import FakeLog
from tests.fakes.rig import CountingLedger, Rig, rig

OPS = Actor(user="ops", address=COMMAND)
RULE: dict[str, Any] = {"for_": "2h", "reason": "known"}


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig of which three numbers are in a firing alert."""
    async with rig(tmp_path) as one:
        await one.configure("hook")
        await one.run()
        one.simulator.do("remove_routing", numbers=3)
        await one.run()
        await one.run()
        assert await one.alerts() == [("drift", "firing", None)]
        yield one


async def silence(made: Rig, **asked: Any) -> SilenceRow:
    """Set a silence, and let what it is about be looked at."""
    new = NewSilence(**(RULE | asked))
    done = await set_silence(made.database, made.codec, new, OPS, made.clock.now(), logged=True)
    await made.run(1)
    return done.silence


async def end(made: Rig, silence_id: str) -> None:
    """End a silence, and let what it was about be looked at."""
    await stop_silence(made.database, silence_id, OPS, made.clock.now(), logged=True)
    await made.run(1)


async def rows(made: Rig, **which: Any) -> list[SilenceRow]:
    """Return the silences as people see them."""
    async with made.database.read() as tx:
        return list((await silence_rows(tx, made.codec, made.clock.now(), **which)).rows)


async def alert_id(made: Rig) -> str:
    """Return the id of the latest alert."""
    async with made.database.read() as tx:
        return (await alert_bodies(tx)).rows[0].alert_id


async def statuses(made: Rig) -> list[str]:
    """Return the status of every number in trouble."""
    connections = made.active.state.watchlist.connections
    now = made.clock.now()
    async with made.database.read() as tx:
        page = await problems(tx, made.codec, lambda each: connections[each].rules(now), now)
    return [row.status.value for row in page.rows]


@pytest.mark.parametrize(
    "matchers",
    [
        {"connection": "account-*"},
        {"number": "+91*"},
        {"state": "routing_missing"},
        {"issue": "ROUTING_MISSING"},
        {"connection": "account-1", "state": "ROUTING_MISSING"},
    ],
)
async def test_silence_ends_the_alert_and_its_end_opens_another(made: Rig, matchers: dict[str, str]) -> None:
    """Receivers are told that it was silenced; without a sync, and whatever it matches by."""
    asked = len(made.simulator.requests)
    set_ = await silence(made, **matchers)
    assert await made.alerts() == [("drift", "resolved", "silenced")]
    assert await statuses(made) == ["silenced"] * 3
    counts = (await made.standing()).counts
    assert counts is not None
    assert counts.ignored == {"ROUTING_MISSING": 3}
    [row] = await rows(made)
    assert (row.id, row.numbers, row.notes, row.by) == (set_.id, 3, ["ends within a day"], None)
    await end(made, set_.id)
    assert await made.alerts() == [("drift", "resolved", "silenced"), ("drift", "firing", None)]
    assert len(made.simulator.requests) == asked
    assert [change for change, _ in await made.told("hook")] == ["opened", "resolved", "opened"]
    assert await rows(made) == []
    [row] = await rows(made, ended=True)
    assert row.ended_at is not None
    assert row.ended_by == "ops"


async def test_silence_that_ends_by_time_opens_what_still_drifts_though_the_api_is_down(made: Rig) -> None:
    """Nobody has to do anything; people see that it has ended."""
    await silence(made, state="ROUTING_MISSING", for_="1h")
    made.simulator.do("fault", kind="status", status=503)
    await made.run(3590)
    assert ("drift", "firing", None) not in await made.alerts()
    await made.run(10)
    assert ("drift", "firing", None) in await made.alerts()
    assert await rows(made) == []
    assert [row.ended_by for row in await rows(made, ended=True)] == [None]


async def test_silence_of_an_alert_is_about_its_members_then(made: Rig) -> None:
    """A number that drifts later alerts, in an alert of its own."""
    set_ = await silence(made, alert=await alert_id(made))
    assert (set_.alert, [row.numbers for row in await rows(made)]) == (await alert_id(made), [3])
    made.simulator.do("remove_routing", numbers=4)
    await made.run()
    await made.run()
    assert await made.alerts() == [("drift", "resolved", "silenced"), ("drift", "firing", None)]
    assert sorted(await statuses(made)) == ["alerting"] + ["silenced"] * 3


async def test_silence_until_ready_lets_each_number_go_when_it_is_ready(made: Rig) -> None:
    """One that breaks again alerts; the silence is over when the last one is ready."""
    await silence(made, connection="*", for_=None, until_ready=True)
    assert await made.alerts() == [("drift", "resolved", "silenced")]
    made.simulator.do("restore_routing", numbers=2)
    await made.run()
    await made.run(16)
    async with made.database.read() as tx:
        assert len(list(await tx.execute(select(silenced)))) == 1
    made.simulator.do("remove_routing", numbers=2)
    await made.run()
    await made.run(16)
    assert await made.alerts() == [("drift", "resolved", "silenced"), ("drift", "firing", None)]
    assert sorted(await statuses(made)) == ["alerting", "alerting", "silenced"]


async def test_removal_of_a_number_that_a_silence_waited_for_alerts(made: Rig) -> None:
    """The wait is over when it is gone, and that it is gone is something else."""
    await silence(made, connection="*", for_=None, until_ready=True)
    keys = [row.key for row in (await _problems(made))]
    made.simulator.do("remove_number", number=keys[0])
    await made.run()
    await made.run(16)
    assert ("number_removed", "firing", None) in await made.alerts()


async def _problems(made: Rig) -> list[Any]:
    connections = made.active.state.watchlist.connections
    now = made.clock.now()
    async with made.database.read() as tx:
        page = await problems(tx, made.codec, lambda each: connections[each].rules(now), now)
    return list(page.rows)


async def test_ready_numbers_leave_nothing_to_wait_for(made: Rig) -> None:
    """A silence that would end at once is not set."""
    with pytest.raises(Invalid, match="nothing to wait for"):
        await silence(made, connection="other-*", for_=None, until_ready=True)
    with pytest.raises(Invalid, match="nothing to wait for"):
        await silence(made, state="EXPIRED", for_=None, until_ready=True)


async def test_alert_that_is_unknown_over_or_not_about_numbers_cannot_be_silenced(made: Rig) -> None:
    """Each says what to do instead."""
    with pytest.raises(UnknownName):
        await silence(made, alert="nothing")
    over = await alert_id(made)
    await end(made, (await silence(made, alert=over)).id)
    with pytest.raises(Invalid, match="has ended"):
        await silence(made, alert=over)
    made.simulator.do("fault", kind="status", status=503)
    for _ in range(3):
        await made.run()
    failing = await alert_id(made)
    with pytest.raises(Invalid, match="acknowledge"):
        await silence(made, alert=failing)
    assert await rows(made) == []


async def test_silence_ends_once(made: Rig) -> None:
    """A second end is refused, as is that of a silence that never was."""
    set_ = await silence(made, connection="*")
    await end(made, set_.id)
    with pytest.raises(Refused):
        await end(made, set_.id)
    with pytest.raises(UnknownName):
        await end(made, "nothing")


async def test_silence_of_what_is_not_there_is_set_and_says_so(made: Rig) -> None:
    """It may come yet."""
    await silence(made, connection="other-*", for_="3d")
    await silence(made, number="+1*", for_="3d")
    assert [row.notes for row in await rows(made)] == [["matches no numbers now"], ["matches no connections"]]
    async with made.database.read() as tx:
        said = await quiet_notices(tx, made.codec, (), made.clock.now())
    assert {(each.matchers, each.note) for each in said} == {
        ("number +1*", "matches no numbers now"),
        ("connection other-*", "matches no connections"),
    }


async def test_unchanged_answers_under_a_silence_write_nothing(made: Rig) -> None:
    """A silence costs a sync nothing: the store is neither read nor written for it."""
    await silence(made, connection="*")
    await made.run()
    loaded, kept = made.ledger.loaded, made.ledger.kept
    for _ in range(3):
        await made.run()
    assert (made.ledger.loaded, made.ledger.kept) == (loaded, kept)


@pytest.mark.parametrize("certain", [True, False])
async def test_renamed_connection_is_silenced_by_its_new_name(made: Rig, *, certain: bool) -> None:
    """A glob goes by names, as that of an ignore rule does; certain numbers are followed."""
    await silence(made, **({"alert": await alert_id(made)} if certain else {"connection": "account-*"}))
    account = {"name": "account-1", "api_key": "rg_live_account_1", "requests_per_minute": 6000}
    await made.configure("hook", accounts=[account | {"connections": [{"name": "renamed"}]}])
    await made.run(1)
    assert (await made.standing()).name == "renamed"
    opened = [] if certain else [("drift", "firing", None)]
    assert await made.alerts() == [("drift", "resolved", "silenced"), *opened]


async def test_silence_goes_with_the_connection_that_is_no_longer_watched(made: Rig) -> None:
    """What it was waiting for is gone with it."""
    await silence(made, connection="*", for_=None, until_ready=True)
    other = {"name": "account-2", "api_key": "rg_live_account_2", "requests_per_minute": 6000}
    await made.configure("hook", accounts=[other])
    async with made.database.read() as tx:
        assert (await tx.execute(select(silenced))).all() == []


async def test_what_silences_do_is_logged_once(made: Rig) -> None:
    """Where a command set one, or its time was up, a daemon says so: one of them, once."""
    log = FakeLog()
    lifecycle = DaemonLifecycle(
        reload_config=cast("Any", None),
        started=asyncio.Event(),
        syncs=cast("Any", None),
        is_watched=cast("Any", None),
        wake_receivers=lambda: None,
        test_receiver=cast("Any", None),
        database=made.database,
        codec=made.codec,
        store_failed=cast("Any", None),
        clock=made.clock,
        log=log.logger,
    )
    ends = await silence(made, state="ROUTING_MISSING", for_="1h", by="asha")
    waits = await silence(made, connection="*", for_=None, until_ready=True)
    for _ in range(2):
        await lifecycle.log_commands()
    assert [(line["event"], line["silence_id"]) for line in log.lines] == [
        ("silence.started", ends.id),
        ("silence.started", waits.id),
    ]
    assert (log.lines[0]["by"], log.lines[0]["until"][-1]) == ("asha", "Z")
    made.simulator.do("restore_routing", numbers=3)
    await made.run()
    await made.run(16)
    await made.run(3600)
    async with made.database.read() as tx:
        assert await any_to_log(tx, made.clock.now())
    for _ in range(2):
        await lifecycle.log_commands()
    async with made.database.read() as tx:
        assert not await any_to_log(tx, made.clock.now())
    ended = {line["silence_id"]: line["ended_by"] for line in log.lines if line["event"] == "silence.ended"}
    assert ended == {ends.id: None, waits.id: None}
    assert len(log.lines) == 4
    assert {row.id: row.ended_at == ends.until for row in await rows(made, ended=True)}[ends.id]


class Overtaken(CountingLedger):
    """A ledger that lets somebody else act just before a step is kept."""

    act: Callable[[], Awaitable[object]] | None = None

    async def keep(self, record: StepRecord) -> None:
        """Let them act, once, and keep."""
        act, self.act = self.act, None
        if act is not None:
            await act()
        await super().keep(record)


async def test_silence_set_while_an_answer_is_judged_is_heeded(tmp_path: Path) -> None:
    """What it is about opens no alert any more, though the step had been made before."""
    async with rig(tmp_path) as one:
        ledger = one.ledger = one.cycle.ledger = Overtaken(one.database, one.codec)
        await one.configure("hook")
        await one.run()
        one.simulator.do("remove_routing", numbers=3)
        await one.run()
        kept = ledger.kept
        new = NewSilence(connection="*", **RULE)
        ledger.act = lambda: set_silence(one.database, one.codec, new, OPS, one.clock.now(), logged=True)
        await one.run()
        assert ledger.kept > kept + 1
        assert await one.alerts() == []
        assert await statuses(one) == ["silenced"] * 3


async def test_silence_set_while_an_answer_is_held_is_in_the_journal(tmp_path: Path) -> None:
    """A replay goes by the rules of then, also where nothing is applied."""
    async with rig(tmp_path) as one:
        ledger = one.ledger = one.cycle.ledger = Overtaken(one.database, one.codec)
        await one.configure("hook")
        await one.run()
        one.simulator.do("remove_routing", numbers=3)
        await one.run()
        one.simulator.do("fault", kind="empty")
        new = NewSilence(connection="*", **RULE)
        ledger.act = lambda: set_silence(one.database, one.codec, new, OPS, one.clock.now(), logged=True)
        await one.run()
        async with one.database.read() as tx:
            held = await tx.scalar(select(journal.c.ruleset).where(journal.c.kind == EntryKind.HELD))
            rules = (await known_rules(tx))[held or 0].rules
        assert rules is not None
        assert [silence.reason for silence in rules.silences] == ["known"]
