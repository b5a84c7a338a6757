"""The daemon in this process."""

from contextlib import closing
from pathlib import Path

import httpx
import pytest
from apscheduler.events import EVENT_JOB_EXECUTED

from monitor.config import Config
from monitor.daemon.app import Daemon
from monitor.daemon.build import build
from monitor.sync.schedule import TICK
from monitor.web.server import bind
from tests.fakes.log import FakeLog
from tests.servers.process import wait_until


def settings(tmp_path: Path, **web: object) -> Config:
    """Return a config."""
    return Config.model_validate(
        {
            "api": {"base_url": "http://127.0.0.1:1/"},
            "accounts": [{"name": "a", "api_key": "rg_live_1"}],
            "store": {"url": f"sqlite:///{tmp_path}/store.db"},
            "web": web,
        }
    )


@pytest.mark.parametrize(
    ("listen", "reached", "allowed", "answered"),
    [
        ("127.0.0.1", "127.0.0.1", [], {"localhost", "127.0.0.1"}),
        ("localhost", "127.0.0.1", [], {"localhost", "127.0.0.1"}),
        ("127.0.0.2", "127.0.0.2", [], {"localhost", "127.0.0.2"}),
        ("::1", "::1", [], {"localhost", "[::1]"}),
        ("127.0.0.1", "127.0.0.1", ["monitor"], {"localhost", "127.0.0.1", "monitor"}),
        ("127.0.0.1", "127.0.0.1", ["*"], None),
        ("0.0.0.0", "127.0.0.1", [], None),
        ("0.0.0.0", "127.0.0.2", ["monitor"], {"localhost", "127.0.0.2", "monitor"}),
        ("0.0.0.0", "127.0.0.1", ["*"], None),
        ("::", "::1", ["monitor"], {"localhost", "[::1]", "monitor"}),
        ("::", "127.0.0.1", ["monitor"], {"localhost", "127.0.0.1", "monitor"}),
    ],
)
async def test_daemon_answers_hosts_by_its_listener(
    tmp_path: Path, listen: str, reached: str, allowed: list[str], answered: set[str] | None
) -> None:
    """On a loopback address its own names alone, elsewhere any unless there is a list; the address always."""
    hosts = {
        "localhost",
        "127.0.0.1",
        "127.0.0.2",
        "[::1]",
        "monitor",
        "localhost.evil",
        "evil.example",
    }
    config = settings(
        tmp_path, listen=f"[{listen}]:0" if ":" in listen else f"{listen}:0", allowed_hosts=allowed
    )
    with closing(bind(listen, 0)) as sock:
        port = sock.getsockname()[1]
        url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
        async with (
            Daemon(build(config, sock=sock, log=FakeLog().logger)).running(),
            httpx.AsyncClient(timeout=60, base_url=url, trust_env=False) as client,
        ):
            found = {
                host
                for host in hosts
                if (await client.get("/", headers={"host": f"{host}:{port}"})).status_code == 200
            }
    assert found == (hosts if answered is None else answered)


async def test_reload_that_is_asked_for_during_the_start_follows_it(tmp_path: Path) -> None:
    """A SIGHUP may come at any time: it waits until there is something to reload."""
    config = settings(tmp_path, listen="127.0.0.1:0")
    log = FakeLog()
    with closing(bind("127.0.0.1", 0)) as sock:
        daemon = Daemon(build(config, sock=sock, reread=lambda: config, log=log.logger))
        daemon.reload_soon()
        async with daemon.running():
            await wait_until(lambda: log.of("action.performed"), what="the reload")
    assert log.of("config.reloaded")
    [did] = log.of("action.performed")
    assert (did["action"], did["user"], did["address"], did["target"]) == ("reload", None, "signal", "config")


async def test_monitor_with_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    """Its jobs look first: none waits for a writer only to find out that there is nothing to write."""
    config = Config.model_validate(
        {
            "api": {"base_url": "http://127.0.0.1:1/"},
            "schedule": {"interval": "1h"},
            "accounts": [{"name": "a", "api_key": "rg_live_1"}],
            "receivers": [{"name": "hook", "type": "webhook", "url": "http://x/", "repeat_interval": "1h"}],
            "store": {"url": f"sqlite:///{tmp_path}/store.db"},
            "web": {"listen": "127.0.0.1:0"},
        }
    )
    with closing(bind("127.0.0.1", 0)) as sock:
        parts = build(config, sock=sock, log=FakeLog().logger)
        async with Daemon(parts).running():
            parts.scheduler.pause_job(TICK)
            jobs = {job.id: job for job in parts.scheduler.get_jobs()}
            del jobs[TICK], jobs["deleting what is past its retention"]
            ran: set[str] = set()
            parts.scheduler.add_listener(lambda event: ran.add(event.job_id), EVENT_JOB_EXECUTED)
            before = parts.database.writes
            for job in jobs.values():
                job.modify(next_run_time=parts.clock.now())
            await wait_until(lambda: ran >= jobs.keys(), what="every job to run")
            assert parts.database.writes == before
