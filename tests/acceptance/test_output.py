"""Standard output that is full, closed, unread or gone stops neither the daemon nor an alert on its way."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.servers.process import answers, free_port, wait_until

_PIPE_BYTES = 4096
"""The least that a pipe can hold."""


class Fifo:
    """A pipe with a name, so that it can lose its reader and get another one; it is read only when asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.open()

    def open(self) -> None:
        """Be its reader."""
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def fill(self) -> None:
        """Leave no room in it."""
        with self.path.open("wb", buffering=0) as writer:
            writer.write(b"\n" * _PIPE_BYTES)

    def close(self) -> None:
        """Leave it without a reader."""
        os.close(self._reader)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Give the lines that are read from now on, each whole and JSON."""
        lines: list[dict[str, Any]] = []
        os.set_blocking(self._reader, True)
        stream = os.fdopen(self._reader, "rb")
        reading = asyncio.create_task(asyncio.to_thread(_collect, stream, lines))
        try:
            yield lines
        finally:
            await reading
            stream.close()


def _collect(stream: Any, lines: list[dict[str, Any]]) -> None:
    lines.extend(json.loads(line) for line in stream)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    """Give a pipe that a daemon can write to."""
    made = Fifo(tmp_path / "fifo")
    yield made
    with contextlib.suppress(OSError):
        made.close()


async def _redirected(run_daemon: RunDaemon, given: dict[str, Any], redirect: str) -> Daemon:
    """Return a daemon that is ready, though its log cannot say so."""
    port = free_port()
    daemon = run_daemon(given | {"web": {"listen": f"127.0.0.1:{port}"}}, redirect=redirect)
    daemon.page = f"http://127.0.0.1:{port}"
    await daemon.launch()
    await wait_until(lambda: answers(f"{daemon.page}/-/ready"), what="readiness")
    return daemon


async def _dropped(daemon: Daemon) -> float:
    return await daemon.value("voicelink_monitor_log_lines_dropped_total") or 0.0


async def _delivered(daemon: Daemon) -> float | None:
    return await daemon.value("voicelink_monitor_deliveries_total", receiver="log", outcome="delivered")


async def test_log_that_nobody_reads_stops_nothing_and_loses_no_alert(
    run_daemon: RunDaemon, provider: RunProvider, fifo: Fifo
) -> None:
    """Syncs and reloads go on; read again, every line is whole, and each alert comes once, in order."""
    count = 6000
    api = await provider(build_world(1, count))
    daemon = await _redirected(run_daemon, settings(api), f">{fifo.path}")
    await daemon.until("voicelink_numbers", count, connection="conn-0001", state="READY")
    api.do("remove_routing", numbers=count, connection="conn-0001")
    await daemon.until_firing({"drift": 1})
    api.do("restore_routing", numbers=count, connection="conn-0001")
    await daemon.until_firing({})
    assert await _dropped(daemon) > 0
    await daemon.until("voicelink_monitor_deliveries_pending", 2, receiver="log")
    assert await _delivered(daemon) == 0
    synced = ("voicelink_sync_last_success_timestamp_seconds", {"connection": "conn-0001"})
    await _moves_on(daemon, *synced)
    daemon.process.signal(signal.SIGHUP)
    await _moves_on(daemon, "voicelink_monitor_config_last_reload_success_timestamp_seconds", {})

    async with fifo.read() as lines:
        await daemon.until("voicelink_monitor_deliveries_pending", 0, receiver="log")
        dropped = await _dropped(daemon)
        assert await daemon.process.stop() == 0
    alerts = [line for line in lines if line["event"].startswith("alert.")]
    assert [(line["event"], line["numbers_total"]) for line in alerts] == [
        ("alert.opened", count),
        ("alert.resolved", count),
    ]
    told = [line for line in lines if line["event"] == "log.dropped"]
    assert [line["lines"] for line in told] == [dropped]
    drifts = Counter(line["event"] for line in lines if line["event"].startswith("drift."))
    assert drifts["drift.appeared"] == count
    assert count - dropped <= drifts["drift.resolved"] < count


async def _moves_on(daemon: Daemon, name: str, labels: dict[str, str]) -> None:
    """Wait until a series has grown."""
    before = await daemon.value(name, **labels) or 0.0
    await wait_until(lambda: _over(daemon, name, before, **labels), what=f"a later {name}")


async def _over(daemon: Daemon, name: str, value: float, **labels: str) -> bool:
    return (await daemon.value(name, **labels) or 0.0) > value


async def test_stop_with_a_log_that_nobody_reads_leaves_the_alert_to_the_next_start(
    run_daemon: RunDaemon, provider: RunProvider, fifo: Fifo
) -> None:
    """SIGTERM ends it in time, and the next start, whose log is read, tells what was not told."""
    api = await provider()
    given = settings(api)
    fifo.fill()
    daemon = await _redirected(run_daemon, given, f">{fifo.path}")
    api.do("remove_routing", numbers=2, connection="conn-0001")
    await daemon.until("voicelink_monitor_deliveries_pending", 1, receiver="log")
    assert await daemon.process.stop() == 0
    daemon = run_daemon(given, daemon.folder)
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened")
    assert opened["numbers_total"] == 2
    await daemon.until("voicelink_monitor_deliveries_pending", 0, receiver="log")
    await daemon.stop()


@pytest.mark.parametrize("state", ["full", "closed", "gone"])
async def test_log_that_cannot_be_written_keeps_its_alerts_for_later(
    run_daemon: RunDaemon, provider: RunProvider, fifo: Fifo, state: str
) -> None:
    """No space, closed streams, no reader: the daemon works, and no alert counts as delivered to the log."""
    api = await provider()
    redirect = {"full": ">/dev/full", "closed": "<&- >&- 2>&-", "gone": f">{fifo.path}"}[state]
    daemon = await _redirected(run_daemon, settings(api), redirect)
    if state == "gone":
        fifo.close()
    api.do("remove_routing", numbers=2, connection="conn-0001")
    await daemon.until_firing({"drift": 1})
    retried = {"receiver": "log", "outcome": "retried"}
    await wait_until(lambda: _over(daemon, "voicelink_monitor_deliveries_total", 1, **retried), what="tries")
    await daemon.until("voicelink_monitor_deliveries_pending", 1, receiver="log")
    assert await _delivered(daemon) == 0
    assert await _dropped(daemon) > 0
    shown = [row["answer"] for row in (await daemon.get("/api/v1/deliveries")).json()["items"]]
    reason = {"full": "No space left on device", "closed": "Bad file descriptor", "gone": "Broken pipe"}
    assert shown == [f"the log could not be written: {reason[state]}"]
    if state == "closed":
        # Neither the store nor a socket took the place of a stream, where log lines would have gone into it.
        descriptors = Path(f"/proc/{daemon.process.pid}/fd")
        assert [(descriptors / each).readlink() for each in "012"] == [Path(os.devnull)] * 3
    assert await daemon.process.stop() == 0
    with contextlib.closing(sqlite3.connect(daemon.folder / "store.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
