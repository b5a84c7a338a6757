"""What systemd hears of a daemon that it runs, over a real socket; and the reload that fails if refused."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.servers.process import wait_until


class Systemd:
    """The receiving end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        self.told: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.setblocking(False)
        # The kernel keeps no more than a few datagrams.
        asyncio.get_running_loop().add_reader(self._sock, self._hear)

    def _hear(self) -> None:
        self.told += self._sock.recv(65536).decode().split("\n")

    def close(self) -> None:
        """Hear nothing more."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def heard(self, *wanted: str) -> bool:
        """Return whether these fields were told in this order since this was last so; forget them."""
        at = 0
        for field in wanted:
            found = [place for place in range(at, len(self.told)) if self.told[place].startswith(field)]
            if not found:
                return False
            at = found[0] + 1
        del self.told[:at]
        return True


@pytest.fixture
async def systemd(tmp_path: Path) -> AsyncIterator[Systemd]:
    """Return it, listening."""
    made = Systemd(tmp_path / "notify")
    yield made
    made.close()


async def reload(daemon: Daemon) -> tuple[int | None, str]:
    """Run the command that the unit reloads with; return its exit code and what it says of errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "reload", str(daemon.process.pid)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert bool(out) != bool(err)
    return process.returncode, err.decode()


async def test_daemon_tells_systemd_how_it_is(
    run_daemon: RunDaemon, provider: RunProvider, systemd: Systemd
) -> None:
    """Ready, alive, reloading and ready again whatever came of it, stopping; the command tells them apart."""
    config = settings(await provider())
    daemon = run_daemon(config, env=systemd.env)
    await daemon.start()
    await wait_until(lambda: systemd.heard("EXTEND_TIMEOUT_USEC=", "READY=1", "STATUS=ready"), what="READY")
    await wait_until(lambda: systemd.heard("WATCHDOG=1", "WATCHDOG=1"), what="signs of life")

    daemon.configure(config | {"instance": "other"})
    assert await reload(daemon) == (0, "")
    await wait_until(lambda: systemd.heard("RELOADING=1", "MONOTONIC_USEC=", "READY=1"), what="the reload")
    assert daemon.events("config.reloaded")

    daemon.configure(config | {"shedule": {}})
    code, said = await reload(daemon)
    assert (code, "shedule" in said) == (2, True)
    refused = ("RELOADING=1", "READY=1", "STATUS=the config was refused")
    await wait_until(lambda: systemd.heard(*refused), what="the refusal")
    await daemon.stop()
    await wait_until(lambda: systemd.heard("STOPPING=1"), what="the stop")


async def test_reload_of_another_process_leaves_it_alone() -> None:
    """A wrong process id would end what does not expect the signal: only a daemon is sent it."""
    other = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        reload = [sys.executable, "-m", "monitor", "reload", str(other.pid)]
        process = await asyncio.create_subprocess_exec(*reload, stderr=asyncio.subprocess.PIPE)
        _, err = await process.communicate()
        assert (process.returncode, "not signalled" in err.decode()) == (2, True)
        assert other.returncode is None
    finally:
        other.terminate()
        assert await other.wait() == -signal.SIGTERM


async def test_reload_of_no_daemon_fails(tmp_path: Path) -> None:
    """A process id that nothing has is told, and signalled by no one."""
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "monitor", "reload", str(gone.pid)),
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    _, err = await process.communicate()
    assert (process.returncode, os.strerror(3) in err.decode()) == (2, True)
