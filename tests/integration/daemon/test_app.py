"""The daemon in this process."""

from contextlib import closing
from pathlib import Path

from monitor.config import Config
from monitor.daemon.app import Daemon
from monitor.daemon.build import build
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
