"""Strangers at the web port, and a process without descriptors: syncs go on, and no one else is blamed."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink

FLOOD = 1200
BLAMED = ("sync.failed", "delivery.failed", "delivery.dead", "alert.opened", "store.failed")


class Flood:
    """Connections to a port that are opened again whenever they are closed; every other one drips headers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[socket.socket] = []
        self.opened = 0

    def pour(self) -> None:
        """Drip a byte into each that is open, and open those that are missing."""
        kept = []
        for place, sock in enumerate(self._open):
            try:
                if place % 2:
                    sock.send(b"x")
                sock.recv(1)
            except BlockingIOError:
                kept.append(sock)
                continue
            except OSError:
                pass
            sock.close()
        self._open = kept
        while len(self._open) < FLOOD:
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", self._port))
            self._open.append(sock)
            self.opened += 1

    def close(self) -> None:
        """Leave."""
        for sock in self._open:
            sock.close()


async def syncs(daemon: Daemon) -> float:
    """Return how many syncs ended well."""
    found = await daemon.metrics()
    return sum(
        value
        for (name, labels), value in found.items()
        if name == "voicelink_syncs_total" and ("outcome", "ok") in labels
    )


@pytest.mark.parametrize("open_files", [256, 1024])
async def test_flood_of_connections_stops_nothing(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, open_files: int
) -> None:
    """With more idle and dripping connections than descriptors, syncs, probes and scrapes go on, quietly."""
    api = await provider(build_world(2, 10))
    daemon = run_daemon(settings(api, webhook_sink, log={"level": "info"}), open_files=open_files)
    await daemon.start()
    flood = Flood(int(daemon.page.rsplit(":", 1)[1]))
    before, written = await syncs(daemon), len(daemon.output)
    with contextlib.closing(flood):

        async def goes_on() -> bool:
            flood.pour()
            assert (await daemon.get("/-/healthy")).text == "ok\n"
            assert await daemon.ready()
            shown = await daemon.value("voicelink_monitor_web_connections")
            rejected = await daemon.value("voicelink_monitor_web_connections_rejected_total")
            assert shown is not None
            assert shown <= min(200, open_files)
            return (rejected or 0) > FLOOD - 200 and await syncs(daemon) >= before + 2

        await wait_until(goes_on, what="syncs during the flood")
    assert flood.opened >= FLOOD
    await wait_until(lambda: ended(daemon), what="the end of the flood")
    assert await syncs(daemon) > before
    assert len(daemon.output) - written < 2000
    assert daemon.events(*BLAMED) == []
    warned = str(daemon.events("config.warnings"))
    assert warned.count("web.max_connections") == (open_files == 256)
    assert await daemon.value("voicelink_monitor_internal_errors_total") == 0
    await daemon.stop()


async def ended(daemon: Daemon) -> bool:
    """Return whether only the test itself is connected."""
    return await daemon.value("voicelink_monitor_web_connections") == 1


@contextlib.contextmanager
def starved(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """Give what lets the daemon open nothing more, until the end; what it has open stays."""
    pid = daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def starve() -> None:
        used = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
        lowest_free = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, limits[1]))

    try:
        yield starve
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


async def test_process_without_descriptors_blames_no_one(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """Nothing it cannot ask counts as a failure of whom it would have asked; all of it recovers by itself."""
    api = await provider(build_world(2, 10))
    given = settings(api, webhook_sink, log={"level": "info"}, drift={"failing_after": 2})
    daemon = run_daemon(given)
    await daemon.start()
    api.do("remove_routing", numbers=2, connection="conn-0001")
    await webhook_sink.wait_for(1)
    async with httpx.AsyncClient(timeout=60, base_url=daemon.page, trust_env=False) as client:
        assert (await client.get("/-/ready")).is_success
        with starved(daemon) as starve:
            written = len(daemon.output)
            starve()
            await api.down()
            await api.up()

            async def not_ready() -> bool:
                starve()  # what it closes must not be of use again
                return (await client.get("/-/ready")).text == "out of file descriptors\n"

            await wait_until(not_ready, what="a reason")
            await asyncio.sleep(2)
            assert len(daemon.output) - written < 2000
            assert (await client.get("/-/healthy")).text == "ok\n"
            exhausted = daemon.events("resources.exhausted")
            assert [line["error"] for line in exhausted] == ["out of file descriptors"]
        text = (await client.get("/metrics")).text
        assert 'outcome="network"' not in text
        assert "voicelink_monitor_internal_errors_total 0" not in text
    before = await syncs(daemon)
    api.do("restore_routing", numbers=2, connection="conn-0001")

    async def going_on() -> bool:
        return await syncs(daemon) > before

    await wait_until(going_on, what="a sync")
    await daemon.wait_for("alert.resolved", kind="drift")
    assert {line["kind"] for line in daemon.events("alert.opened")} == {"drift"}
    assert daemon.events("sync.failed", "delivery.dead", "store.failed") == []
    await daemon.stop()
