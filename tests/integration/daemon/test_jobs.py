"""Jobs on a real scheduler: whatever happens in one, it runs again at its time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.clock import SystemClock
from monitor.daemon.jobs import JobRunner
from monitor.errors import StoreUnavailable
from tests.fakes.announcer import announcer_on
from tests.fakes.log import FakeLog


def failing(error: Exception, times: int, done: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """Return a job that raises so many times, then sets `done`."""
    left = [error] * times

    async def job() -> None:
        if left:
            raise left.pop()
        done.set()

    return job


@pytest.mark.parametrize(
    ("error", "event"),
    [(StoreUnavailable("it is away"), "store.failed"), (ZeroDivisionError("a bug"), "internal.error")],
    ids=["the store is away", "a bug"],
)
async def test_job_that_fails_is_logged_by_its_name_and_runs_again(error: Exception, event: str) -> None:
    """Neither a store that is away nor a bug ends a job; a store that stays away is logged once a minute."""
    log, scheduler, done = FakeLog(), AsyncIOScheduler(timezone="UTC"), asyncio.Event()
    announcer, clock = announcer_on(log), SystemClock()
    runner = JobRunner(scheduler, clock, clock, announcer)
    runner.every(timedelta(milliseconds=10), "tidying up", failing(error, 2, done), at_once=True)
    scheduler.start()
    await asyncio.wait_for(done.wait(), timeout=30)
    scheduler.shutdown(wait=False)
    times = 1 if event == "store.failed" else 2
    assert [(line["event"], line["doing"]) for line in log.lines] == [(event, "tidying up")] * times
