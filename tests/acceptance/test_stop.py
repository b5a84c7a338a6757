"""SIGTERM and SIGINT end the daemon in good order, whatever it is waiting for."""

import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from monitor.simulator import build_world
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, told_ends
from tests.servers.process import answers, free_port, wait_until
from tests.servers.webhook import Answer, WebhookSink
from tests.servers.wire import Wire

_STOPS_WITHIN_S = 10
"""As long as `docker stop` waits before it kills."""

_UNRESOLVED = "hangs.test"
_RESOLVER = f"""
import os, pathlib, socket, time

def resolve(host, *rest, real=socket.getaddrinfo, **options):
    if host == "{_UNRESOLVED}":
        pathlib.Path(os.environ["RESOLVING"]).touch()
        time.sleep(600)
    return real(host, *rest, **options)

socket.getaddrinfo = resolve
"""
"""Makes Python wait for one name as for a name server that is gone: in a call that holds up its thread."""


MINIMAL: dict[str, Any] = {
    "web": {"listen": "127.0.0.1:0"},
    "accounts": [{"name": "acme", "api_key": "rg_live_stop"}],
}


def unresolving(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment in which a name does not resolve, and the file that appears when it is tried."""
    (folder / "python").mkdir()
    (folder / "python" / "sitecustomize.py").write_text(_RESOLVER)
    tried = folder / "resolving"
    return {"PYTHONPATH": str(folder / "python"), "RESOLVING": str(tried)}, tried


@asynccontextmanager
async def suspendable(url: str) -> AsyncIterator[tuple[str, Wire]]:
    """Give a PostgreSQL URL behind which the server can be made to hang, and what does that."""
    parsed = make_url(url)
    assert parsed.port is not None
    async with Wire(parsed.port) as wire:
        yield parsed.set(port=wire.port).render_as_string(hide_password=False), wire


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_stop_amid_slow_work_ends_in_time_and_loses_nothing(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, number: signal.Signals
) -> None:
    """With the API and the webhook hanging it exits 0 in time; the next start goes on where it was."""
    api = await provider(build_world(2, 10))
    given = settings(api, webhook_sink, api={"timeout": "60s"})
    given["receivers"][0]["timeout"] = "60s"
    webhook_sink.script(lambda _: Answer(delay_s=60))
    daemon = run_daemon(given)
    api.do("remove_routing", numbers=2, connection="conn-0001")
    await daemon.start()
    await webhook_sink.wait_for(1)
    api.do("fault", delay="60s")
    asked = len(api.simulator.requests)
    await wait_until(lambda: len(api.simulator.requests) >= asked + 2, what="two requests that hang")

    daemon.process.signal(number)
    assert await daemon.process.wait_in_time(_STOPS_WITHIN_S) == 0
    assert daemon.lines()[-1]["event"] == "daemon.stopped"
    assert not daemon.stderr

    api.do("clear_faults")
    webhook_sink.script(())
    api.do("restore_routing", numbers=2, connection="conn-0001")
    await daemon.start()
    [story] = await told_ends(webhook_sink, 1)
    assert changes(story) == ["opened", "resolved"]
    opened = [request.body for request in webhook_sink.requests][:2]
    assert opened[0] == opened[1]
    await daemon.stop()


async def test_stop_with_everything_hanging_ends_in_time(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, tmp_path: Path
) -> None:
    """Provider, receiver, name server, locked store, half a request, full log: it exits 0 all the same."""
    await _hang_everything(run_daemon, provider, webhook_sink, tmp_path, None)


async def test_stop_with_a_suspended_postgresql_ends_in_time(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, tmp_path: Path, postgres: str
) -> None:
    """So it does when the database takes every connection and answers nothing."""
    await _hang_everything(run_daemon, provider, webhook_sink, tmp_path, postgres)


async def _hang_everything(
    run_daemon: RunDaemon,
    provider: RunProvider,
    webhook_sink: WebhookSink,
    folder: Path,
    postgres: str | None,
) -> None:
    api = await provider(build_world(20, 10))
    environ, resolving = unresolving(folder)
    async with AsyncExitStack() as stack:
        given = settings(api, webhook_sink, api={"timeout": "60s"})
        if postgres is not None:
            url, wire = await stack.enter_async_context(suspendable(postgres))
            given["store"] = {"url": url}
        unresolved = {"name": "unresolved", "type": "webhook", "url": f"http://{_UNRESOLVED}/"}
        given["receivers"] = [each | {"timeout": "60s"} for each in [*given["receivers"], unresolved]]
        webhook_sink.script(lambda _: Answer(delay_s=60))
        given["web"] = {"listen": f"127.0.0.1:{free_port()}"}
        os.mkfifo(folder / "log")
        log = os.open(folder / "log", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, log)
        daemon = run_daemon(given, redirect=f">{folder / 'log'}", env=environ)
        daemon.page = f"http://{given['web']['listen']}"
        api.do("remove_routing", numbers=2, connection="conn-0001")
        await daemon.launch()
        await wait_until(lambda: answers(f"{daemon.page}/-/ready"), what="readiness")
        await webhook_sink.wait_for(1)
        await wait_until(resolving.exists, what="the name to be looked up")
        api.do("fault", delay="60s")
        asked = len(api.simulator.requests)
        await wait_until(lambda: len(api.simulator.requests) >= asked + 10, what="requests that hang")
        half = stack.enter_context(socket.create_connection(("127.0.0.1", int(daemon.page.split(":")[2]))))
        half.sendall(b"POST /api/v1/silences HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        if postgres is not None:
            wire.flows.clear()
        else:
            store = stack.enter_context(closing(sqlite3.connect(daemon.folder / "store.db", timeout=60)))
            store.execute("BEGIN IMMEDIATE")
        daemon.process.signal(signal.SIGTERM)
        daemon.process.signal(signal.SIGTERM)
        assert await daemon.process.wait_in_time(_STOPS_WITHIN_S) == 0
        assert not daemon.stderr


async def test_stop_early_in_the_start_is_not_lost(run_daemon: RunDaemon, tmp_path: Path) -> None:
    """SIGTERM ends with 0 a daemon whose main thread still waits for a name to be resolved."""
    environ, resolving = unresolving(tmp_path)
    daemon = run_daemon(MINIMAL | {"web": {"listen": f"{_UNRESOLVED}:0"}}, env=environ)
    await daemon.launch()
    await wait_until(resolving.exists, what="the name to be looked up")
    daemon.process.signal(signal.SIGTERM)
    assert await daemon.process.wait_in_time(_STOPS_WITHIN_S) == 0
    assert not daemon.stderr


async def test_stop_while_the_store_is_opened_ends_in_time(run_daemon: RunDaemon, postgres: str) -> None:
    """So does one that waits for its database, as in a migration; it says that it has stopped."""
    async with suspendable(postgres) as (url, wire):
        wire.flows.clear()
        daemon = run_daemon(MINIMAL | {"store": {"url": url}})
        await daemon.launch()
        await wait_until(lambda: wire.accepted, what="the daemon to ask its database")
        daemon.process.signal(signal.SIGTERM)
        assert await daemon.process.wait_in_time(_STOPS_WITHIN_S) == 0
        assert not daemon.stderr
