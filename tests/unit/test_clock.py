"""Since when a process has been running, whatever becomes of its clocks."""

from datetime import timedelta

import pytest

from monitor.clock import Uptime
from tests.fakes.clock import START, FakeClock

HOUR_S = 3600.0


async def run(clock: FakeClock, uptime: Uptime, seconds: int) -> None:
    """Let the process run."""
    for _ in range(seconds):
        await clock.advance(1)
        uptime.look()


async def test_process_has_been_running_since_it_started() -> None:
    """Time that passes, and small corrections of the clock, change nothing."""
    clock = FakeClock()
    uptime = Uptime(clock)
    for correction_s in (-4, 3, 0):
        await run(clock, uptime, 30)
        clock.jump(correction_s)
    await run(clock, uptime, 30)
    assert (uptime.since, uptime.since_s, uptime.set_backs) == (START, 1_000, 0)


@pytest.mark.parametrize(
    ("passed_s", "jump_s"),
    [(60, 0), (0, 60), (60, -60), (HOUR_S, HOUR_S), (11, 0)],
    ids=["stopped", "suspended", "stopped and set back", "stopped and set ahead", "hardly stopped"],
)
async def test_process_that_was_stopped_has_been_running_since_it_woke(
    passed_s: float, jump_s: float
) -> None:
    """Either clock tells: the monotonic one stands still while a machine is suspended."""
    clock = FakeClock()
    uptime = Uptime(clock)
    await run(clock, uptime, 5)
    await clock.advance(passed_s)
    clock.jump(jump_s)
    uptime.look()
    assert (uptime.since, uptime.since_s) == (clock.now(), clock.monotonic())
    woken_at = uptime.since
    await run(clock, uptime, 30)
    assert uptime.since == woken_at


async def test_clock_that_is_set_back_makes_no_process_younger() -> None:
    """What it has been running for stays, and each set-back counts once."""
    clock = FakeClock()
    uptime = Uptime(clock)
    await run(clock, uptime, 30)
    for times in (1, 2):
        clock.jump(-HOUR_S)
        await run(clock, uptime, 30)
        assert uptime.set_backs == times
        assert clock.now() - uptime.since == timedelta(seconds=30 + 30 * times)
