"""What the user sees when the daemon cannot start."""

import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import API_KEY, RunDaemon, RunProvider, settings
from tests.servers.disk import tmpfs

Spoil = Callable[[Daemon, dict[str, Any]], None]


def _broken_toml(daemon: Daemon, _: dict[str, Any]) -> None:
    daemon.configure(f'[[accounts]]\nname = "acme\napi_key = "{API_KEY}"\n')


def _unknown_key(daemon: Daemon, given: dict[str, Any]) -> None:
    [account] = given["accounts"]
    daemon.configure(given | {"accounts": [account | {"api_kye": API_KEY}]})


def _wrong_unit(daemon: Daemon, given: dict[str, Any]) -> None:
    daemon.configure(given | {"schedule": {"interval": "5 parsecs"}})


def _no_secret_file(daemon: Daemon, given: dict[str, Any]) -> None:
    daemon.configure(given | {"accounts": [{"name": "acme", "api_key_file": "missing"}]})


def _no_config(daemon: Daemon, _: dict[str, Any]) -> None:
    daemon.config_file.unlink()


def _no_database(daemon: Daemon, _: dict[str, Any]) -> None:
    (daemon.folder / "store.db").write_text("this is a letter, not a database; " * 100)


def _no_folder(daemon: Daemon, given: dict[str, Any]) -> None:
    daemon.configure(given | {"store": {"url": "sqlite:///nowhere/store.db"}})


def _store_is_a_folder(daemon: Daemon, _: dict[str, Any]) -> None:
    (daemon.folder / "store.db").mkdir()


def _budget(daemon: Daemon, given: dict[str, Any]) -> None:
    daemon.configure(given | {"accounts": [{"name": "acme", "api_key": API_KEY, "requests_per_minute": 30}]})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_broken_toml, ["config.toml", "line 2", "not valid TOML"], id="broken TOML"),
        pytest.param(
            _unknown_key, ["config.toml", "accounts[0].api_kye", "did you mean api_key?"], id="unknown key"
        ),
        pytest.param(_wrong_unit, ["config.toml", "schedule.interval", "15s"], id="wrong unit"),
        pytest.param(_no_secret_file, ["accounts[0].api_key_file", "no such secret file"], id="secret file"),
        pytest.param(_no_config, ["config.toml", "No such file"], id="no config file"),
        pytest.param(_budget, ["requests_per_minute", "60", "30"], id="budget"),
        pytest.param(_no_database, ["store", "not a database"], id="store is something else"),
        pytest.param(_store_is_a_folder, ["store", "unable to open"], id="store is a folder"),
        pytest.param(_no_folder, ["store", "nowhere", "folder does not exist"], id="no folder for the store"),
    ],
)
async def test_start_that_cannot_be_is_refused_in_one_line(
    run_daemon: RunDaemon, provider: RunProvider, spoil: Spoil, said: list[str]
) -> None:
    """One line on stderr says what is wrong and where; exit 2, nothing on stdout, no traceback."""
    given = settings(await provider())
    daemon = run_daemon(given)
    spoil(daemon, given)
    assert_one_line(daemon, await daemon.refused(), *said)


def assert_one_line(daemon: Daemon, stderr: str, *said: str) -> None:
    """See that the user is told all of this in one line, and nothing else."""
    assert len(stderr.strip().splitlines()) == 1, stderr
    for words in said:
        assert words.casefold() in stderr.casefold()
    assert API_KEY not in stderr
    assert not daemon.events("daemon.started")


async def test_store_of_a_newer_version_is_refused(run_daemon: RunDaemon, provider: RunProvider) -> None:
    """A daemon that was downgraded leaves the store alone and says which way out there is."""
    daemon = run_daemon(settings(await provider()))
    await daemon.start()
    await daemon.stop()
    with closing(sqlite3.connect(daemon.folder / "store.db")) as store:
        store.execute("UPDATE alembic_version SET version_num = '9999'")
        store.commit()
    stderr = await daemon.refused()
    assert len(stderr.strip().splitlines()) == 1
    assert "newer version" in stderr
    assert "9999" in stderr


async def test_second_daemon_on_a_store_is_refused(run_daemon: RunDaemon, provider: RunProvider) -> None:
    """The one that runs goes on; the other says why it does not."""
    given = settings(await provider())
    first = run_daemon(given)
    await first.start()
    second = run_daemon(given | {"store": {"url": f"sqlite:///{first.folder / 'store.db'}"}})
    assert_one_line(second, await second.refused(), "in use by another daemon", "store.url")
    assert await first.ready()


async def test_taken_port_is_refused(run_daemon: RunDaemon, provider: RunProvider) -> None:
    """The line names the address and the key to change."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = run_daemon(settings(await provider(), web={"listen": address}))
        assert_one_line(daemon, await daemon.refused(), address, "in use", "web.listen")


async def test_unwritable_store_folder_is_refused(
    run_daemon: RunDaemon, provider: RunProvider, tmp_path: Path
) -> None:
    """A store on a read-only file system is refused with the reason."""
    folder = tmp_path / "read-only"
    with tmpfs(folder, "size=1M,ro"):
        daemon = run_daemon(settings(await provider(), store={"url": f"sqlite:///{folder}/store.db"}))
        assert_one_line(daemon, await daemon.refused(), "store", "read-only")
