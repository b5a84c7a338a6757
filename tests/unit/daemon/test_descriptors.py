"""How the descriptors of a process are shared out."""

import subprocess
import sys

import pytest

from monitor.config import Config, load_config
from monitor.daemon.descriptors import descriptor_warning, web_connections


def config(*, wanted: int = 200, syncs: int = 32, receivers: int = 0) -> Config:
    """Return a config that wants so much."""
    hooks = [f'{{"name": "r{n}", "type": "webhook", "url": "https://x.test/{n}"}}' for n in range(receivers)]
    return load_config(
        None,
        {
            "VOICELINK_API_KEY": "rg_live_1",
            "VOICELINK_MONITOR_WEB__MAX_CONNECTIONS": str(wanted),
            "VOICELINK_MONITOR_SCHEDULE__MAX_CONCURRENT_SYNCS": str(syncs),
            "VOICELINK_MONITOR_RECEIVERS": f"[{', '.join(hooks)}]",
        },
    )


@pytest.mark.parametrize(
    ("limit", "settings", "possible"),
    [
        pytest.param(65_536, {}, 200, id="plenty"),
        pytest.param(1024, {}, 200, id="usual"),
        pytest.param(1024, {"wanted": 1000}, 864, id="more than there are"),
        pytest.param(256, {}, 96, id="few"),
        pytest.param(256, {"receivers": 3}, 72, id="few, for receivers too"),
        pytest.param(256, {"syncs": 300}, 8, id="fewer than the syncs need"),
        pytest.param(64, {"wanted": 4}, 4, id="hardly any, and no more are wanted"),
    ],
)
def test_web_port_gets_what_the_others_leave(limit: int, settings: dict[str, int], possible: int) -> None:
    """Syncs, receivers and the store come first; a few connections are always let in."""
    assert web_connections(config(**settings), limit) == possible


def test_warning_names_the_numbers_and_what_to_do() -> None:
    """Once, where the configured number is out of reach; else nothing is said."""
    assert descriptor_warning(config(), 1024) is None
    assert descriptor_warning(config(), 256) == (
        "web.max_connections is 200, but a limit of 256 open files leaves only 96 beside syncs, deliveries "
        "and the store; raise the limit (ulimit -n, LimitNOFILE=)"
    )


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        pytest.param("ulimit -Sn 256; ulimit -Hn 4096", 4096, id="up to the hard one"),
        pytest.param("ulimit -n 256", 256, id="which may be the same"),
    ],
)
def test_soft_limit_is_raised(limits: str, reached: int) -> None:
    """The usual soft limit is low for the sake of old programs; the hard one is what may be had."""
    program = "from monitor.daemon.descriptors import *; raise_limit(); print(open_files())"
    shell = ["bash", "-c", f'{limits}; exec "$@"', "-", sys.executable, "-c", program]
    assert subprocess.run(shell, check=True, capture_output=True, text=True).stdout == f"{reached}\n"
