"""What one connection's answers do to its numbers, from the API double to the alerts and gauges."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.drift.snapshot import Counts
from tests.fakes.rig import Rig, rig


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a configured rig of 200 numbers whose first sync is done."""
    async with rig(tmp_path, numbers=200) as one:
        await one.configure("hook")
        await one.run()
        yield one


def keys(made: Rig, many: int) -> list[str]:
    """Return the first numbers of the double's only connection."""
    return made.simulator.world.connection().keys(many)


async def counts(made: Rig) -> Counts:
    """Return the counts that are stored and shown."""
    stored = (await made.standing()).counts
    assert stored is not None
    assert made.announcer.views()[0].counts == stored
    return stored


# --- entries that cannot be read ---


async def test_number_that_is_gone_behind_an_unreadable_entry_is_removed_after_all(made: Rig) -> None:
    """One entry of every answer is unreadable: the drift ends, the removal alerts, the gauges follow."""
    gone = keys(made, 5)[4]
    made.simulator.do("remove_routing", number=gone)
    for _ in range(2):
        await made.run()
    made.simulator.do("fault", kind="unreadable", count=1)
    made.simulator.do("remove_number", number=gone)
    await made.run()
    assert await made.alerts() == [("drift", "firing", None)]
    assert (await counts(made)).states == {"READY": 199, "ROUTING_MISSING": 1}
    for _ in range(20):
        await made.run(15)
    assert sorted(await made.alerts()) == [
        ("drift", "resolved", "removed"),
        ("number_removed", "firing", None),
    ]
    assert (await counts(made)).states == {"READY": 198, "ROUTING_MISSING": 0}
    assert (await counts(made)).skipped == 1
    details = {track.detail for track in (await made.records()).tracks.values()}
    assert details == {"unreadable entries: 1"}


async def test_standing_skip_is_a_warning_once_and_comes_to_rest(made: Rig) -> None:
    """The same body again and again is counted until all is known; then it writes nothing more."""
    made.simulator.do("fault", kind="unreadable", count=1)
    for _ in range(15):
        await made.run(15)
    assert len(made.log.of("sync.skipped_entries")) == 1
    kept = made.ledger.kept
    for _ in range(5):
        await made.run()
    assert made.ledger.kept == kept
    assert len(made.log.of("sync.skipped_entries")) == 1
    made.simulator.do("clear_faults")
    await made.run()
    made.simulator.do("fault", kind="unreadable", count=1)
    for _ in range(3):
        await made.run()
    assert len(made.log.of("sync.skipped_entries")) == 2


async def test_number_hidden_for_less_than_an_interval_is_no_news(made: Rig) -> None:
    """An unreadable entry that comes and goes opens nothing."""
    for _ in range(4):
        made.simulator.do("fault", kind="unreadable", count=3)
        for _ in range(3):
            await made.run(15)
        made.simulator.do("clear_faults")
        await made.run(15)
    assert await made.alerts() == []
    assert (await counts(made)).states == {"READY": 200}


# --- implausible answers ---


async def test_quarter_that_is_missing_with_a_new_warning_is_held(made: Rig) -> None:
    """Fifty numbers that one odd answer lacks page no one; if it lasts, it is believed."""
    made.simulator.do("warn", warnings=["bots: page 3 of 4 failed"])
    made.simulator.do("fault", kind="partial", ratio=0.75)
    await made.run()
    for _ in range(2):
        await made.run(16)
    held = await made.standing()
    assert held.held == 3
    assert held.held_reason == (
        "50 of 200 numbers would go missing, in an answer with a new warning: bots: page 3 of 4 failed"
    )
    made.simulator.do("clear_faults")
    for _ in range(5):
        await made.run()
    assert await made.alerts() == []
    assert (await counts(made)).warnings == 1
    made.simulator.do("warn", warnings=["something else"])
    made.simulator.do("fault", kind="partial", ratio=0.75)
    for _ in range(10):
        await made.run(16)
    assert await made.alerts() == [("number_removed", "firing", None)]
    assert (await counts(made)).states == {"READY": 150}


async def test_drift_that_ends_with_a_new_warning_goes_on(made: Rig) -> None:
    """An answer that may be partial resolves nothing."""
    made.simulator.do("remove_routing", numbers=2)
    for _ in range(2):
        await made.run()
    made.simulator.do("restore_routing", numbers=2)
    made.simulator.do("warn", warnings=["routing: time-out"])
    await made.run()
    assert (await made.standing()).held == 1
    assert (await counts(made)).total_drifting == 2


async def test_three_empty_answers_within_half_a_minute_are_not_believed(made: Rig) -> None:
    """A hold lasts an interval at least: nobody is told, and all is as before when the numbers are back."""
    made.simulator.do("fault", kind="empty")
    await made.run()
    for _ in range(2):
        await made.run(15)
    assert (await made.standing()).held == 3
    assert (await counts(made)).total == 200
    made.simulator.do("clear_faults")
    for _ in range(5):
        await made.run()
    assert await made.alerts() == []
    assert (await made.standing()).held == 0


# --- states ---


async def test_sixty_states_are_fifty_alerts_and_fifty_series(made: Rig) -> None:
    """The rest are one alert and one series, and the log says so once; the numbers keep their states."""
    for index, key in enumerate(keys(made, 60)):
        made.simulator.do("set_state", number=key, state=f"TEXT {index}", issues=[f"CODE {index}"])
    for _ in range(3):
        await made.run()
    shown = await counts(made)
    assert (len(shown.states), len(shown.issues), shown.folded) == (51, 51, 21)
    assert (shown.states["READY"], shown.states["OTHER"], shown.issues["OTHER"]) == (140, 11, 10)
    groups = Counter(alert.group for alert in (await made.records()).alerts)
    assert (len(groups), groups["OTHER"]) == (50, 1)
    snapshot = (await made.records()).snapshot
    assert snapshot is not None
    assert len({number.state for number in snapshot.numbers.values()}) == 61
    assert [line["folded"] for line in made.log.of("states.folded")] == [21]


async def test_state_that_no_number_has_leaves_the_gauges_after_a_day(made: Rig) -> None:
    """Though the answer never changes again, and the API may be down."""
    made.simulator.do("remove_routing", numbers=2)
    await made.run()
    made.simulator.do("restore_routing", numbers=2)
    await made.run()
    assert (await counts(made)).states == {"READY": 200, "ROUTING_MISSING": 0}
    made.simulator.do("fault", kind="status", status=503)
    await made.run(86_000)
    assert (await counts(made)).states == {"READY": 200, "ROUTING_MISSING": 0}
    await made.run(500)
    shown = await counts(made)
    assert (shown.states, shown.drifting, shown.issues) == ({"READY": 200}, {}, {})


# --- what ready numbers depend on ---


@pytest.mark.parametrize(
    ("do", "undo"),
    [
        ("switch_routing_off", "switch_routing_on"),
        ("switch_number_off", "switch_number_on"),
        ("remove_inbound", "restore_inbound"),
    ],
)
async def test_ready_number_that_loses_something_alerts_until_it_is_back(
    made: Rig, do: str, undo: str
) -> None:
    """By default, though the provider calls it ready all the time."""
    made.simulator.do(do, numbers=3)
    for _ in range(2):
        await made.run()
    assert await made.alerts() == [("reconfigured", "firing", None)]
    assert (await counts(made)).total_drifting == 0
    made.simulator.do(undo, numbers=3)
    for _ in range(2):
        await made.run()
    await made.run(600)
    assert await made.alerts() == [("reconfigured", "resolved", "recovered")]


@pytest.mark.parametrize(
    ("reconfigured", "kinds"), [("lost", []), ("alert", ["reconfigured"]), ("record", [])]
)
async def test_number_that_moves_alerts_only_where_any_change_does(
    made: Rig, reconfigured: str, kinds: list[str]
) -> None:
    """From one bot to another is a change, and no loss; it is recorded whatever the setting."""
    await made.configure("hook", drift__reconfigured=reconfigured)
    made.simulator.do("move_number", numbers=3, bot=77)
    for _ in range(3):
        await made.run()
    assert [kind for kind, _, _ in await made.alerts()] == kinds
    assert len(made.log.of("number.reconfigured")) == 3


async def test_names_are_kept_for_as_long_as_someone_may_be_told(made: Rig) -> None:
    """A number's agent is gone: what it depended on still has a name."""
    await made.run()
    snapshot = (await made.records()).snapshot
    assert snapshot is not None
    assert {name.partition(":")[0] for name in snapshot.names} == {"client", "bot"}
    connection = made.simulator.world.connection()
    bot = next(iter(connection.view().bots.values()))
    inventory = connection.edit()
    del inventory.bots[bot.id]
    for _ in range(3):
        await made.run(60)
    kept = (await made.records()).snapshot
    assert kept is not None
    assert kept.names[f"bot:{bot.id}"] == snapshot.names[f"bot:{bot.id}"]
