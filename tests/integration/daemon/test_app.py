"""The daemon in this process."""

from contextlib import closing
from pathlib import Path

from apscheduler.events import EVENT_JOB_EXECUTED

from monitor.config import Config
from monitor.daemon.app import Daemon
from monitor.daemon.build import build
from monitor.sync.schedule import TICK
from monitor.web.server import bind
from tests.fakes.log import FakeLog
from tests.servers.process import wait_until


async def test_reload_that_is_asked_for_during_the_start_follows_it(tmp_path: Path) -> None:
    """A SIGHUP may come at any time: it waits until there is something to reload."""
    config = Config.model_validate(
        {
            "api": {"base_url": "http://127.0.0.1:1/"},
            "accounts": [{"name": "a", "api_key": "rg_live_1"}],
            "store": {"url": f"sqlite:///{tmp_path}/store.db"},
            "web": {"listen": "127.0.0.1:0"},
        }
    )
    log = FakeLog()
    with closing(bind("127.0.0.1", 0)) as sock:
        daemon = Daemon(build(config, sock=sock, reread=lambda: config, log=log.logger))
        daemon.reload_soon()
        async with daemon.running():
            await wait_until(lambda: log.of("config.reloaded"), what="the reload")


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
