"""The story: taken as time passes, asked for or not."""

import asyncio

from monitor.simulator import Simulator, parse_scenario
from tests.fakes.clock import FakeClock

STORY = """
[[accounts]]
name = "acme"
key = "rg_live_x"
[[accounts.connections]]
name = "sales"
numbers = 2
[[steps]]
at = "10s"
do = "unassign_agent"
numbers = 1
say = "One."
[[steps]]
at = "30s"
do = "assign_agent"
numbers = 1
say = "Two."
"""


async def test_steps_are_told_at_their_time_without_any_request() -> None:
    """Nobody needs to ask for a step to happen; the runner returns after the last one."""
    clock, said = FakeClock(), list[str]()
    simulator = Simulator(parse_scenario(STORY), clock=clock, on_step=said.append)
    running = asyncio.create_task(simulator.control.run())
    await clock.advance(9.9)
    assert said == []
    await clock.advance(0.1)
    assert said == ["One."]
    await clock.advance(20)
    assert said == ["One.", "Two."]
    await running


async def test_repeated_story_goes_on_until_cancelled() -> None:
    """With `repeat` the runner begins again."""
    clock, said = FakeClock(), list[str]()
    repeated = parse_scenario('repeat = true\nlength = "40s"\n' + STORY)
    running = asyncio.create_task(Simulator(repeated, clock=clock, on_step=said.append).control.run())
    await clock.advance(75)
    assert said == ["One.", "Two.", "One.", "Two."]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_step_by_hand_takes_effect_at_once() -> None:
    """`do` takes a word with keys, or a mapping."""
    simulator = Simulator(parse_scenario(STORY), clock=FakeClock())
    simulator.do("suspend")
    assert simulator.world.account().suspended
    simulator.do({"do": "unsuspend"})
    assert not simulator.world.account().suspended


async def test_step_that_lost_its_object_is_skipped_and_told() -> None:
    """What a step from outside took away does not stop the story."""
    clock, said = FakeClock(), list[str]()
    simulator = Simulator(parse_scenario(STORY), clock=clock, on_step=said.append)
    running = asyncio.create_task(simulator.control.run())
    await clock.advance(5)
    simulator.do("remove_connection")
    await clock.advance(30)
    assert said[1].startswith("skipped unassign_agent: there are 0 connections")
    await running
