"""When the service manager hears what; a real socket is in place of systemd."""

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from monitor.daemon.service import ServiceManager
from tests.fakes.clock import FakeClock


class Work:
    """A daemon that is as the test says."""

    reason: str | None = None
    stands_still: str | None = None

    def not_ready(self) -> str | None:
        """Return why it is not ready."""
        return self.reason

    def stuck(self) -> str | None:
        """Return what stands still."""
        return self.stands_still


@pytest.fixture
def notify() -> Iterator[socket.socket]:
    """Return a socket in the abstract namespace, where systemd may listen too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0voicelink-test-{os.getpid()}")
        sock.settimeout(0)
        yield sock


async def turned(notify: socket.socket, work: Work, **environ: str) -> list[str]:
    """Return what one look at a daemon tells."""
    manager = ServiceManager({"NOTIFY_SOCKET": f"@voicelink-test-{os.getpid()}", **environ}, FakeClock())
    watch = asyncio.create_task(manager.watch(work))
    await asyncio.sleep(0)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    told = []
    try:
        while True:
            told += notify.recv(65536).decode().split("\n")
    except BlockingIOError:
        return told


async def test_watchdog_hears_of_a_daemon_whose_store_is_away(notify: socket.socket) -> None:
    """Not ready, but working: a restart would not help, and it is given time."""
    work = Work()
    work.reason = "the store is unavailable"
    told = await turned(notify, work, WATCHDOG_USEC="60000000")
    assert told == ["EXTEND_TIMEOUT_USEC=30000000", "WATCHDOG=1", "STATUS=the store is unavailable"]


async def test_watchdog_hears_nothing_of_a_daemon_that_stands_still(notify: socket.socket) -> None:
    """Its loop turns, but its schedule does not."""
    work = Work()
    work.stands_still = work.reason = "the schedule has not run"
    assert "WATCHDOG=1" not in await turned(notify, work, WATCHDOG_USEC="60000000")


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}])
async def test_watchdog_of_another_process_is_left_alone(
    notify: socket.socket, environ: dict[str, str]
) -> None:
    """None is asked for, or one for a process that this is not."""
    assert await turned(notify, Work(), **environ) == ["READY=1", "STATUS=ready"]


async def test_status_is_one_line(notify: socket.socket) -> None:
    """What stands on further lines of it would be fields of its own."""
    work = Work()
    work.reason = "bad\nREADY=1"
    assert "STATUS=bad; READY=1" in await turned(notify, work)
