"""`check-config` and `run` judge alike: what a start stumbles over is told before, all at once."""

import asyncio
import io
import json
import os
import signal
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.cli.main import run as run_command
from monitor.config import find_config_file, load_config, process_environment
from monitor.daemon.app import run_daemon
from monitor.daemon.preconditions import examine
from monitor.daemon.signals import Signals
from monitor.errors import MonitorError, StartError
from monitor.http.client import Network
from monitor.store.file import DaemonLock, require_file
from monitor.store.migrations import COPYING
from monitor.store.obstacle import obstacle
from monitor.web.server import bind, check_address
from tests.servers.process import free_port, wait_until
from tests.servers.require import require_root
from tests.unit.config.test_mistakes import toml

# Apprise imports `imghdr` where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Place:
    """A folder with a config that a daemon could start with, to be spoilt.

    `values` are the config's; `write` puts them into its file.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.file = folder / "config.toml"
        self.key = self.put("acme", "rg_live_0123456789")
        self.ca = trustme.CA()
        issued = self.ca.issue_cert("localhost")
        self.chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode()
        self.cert = self.put("tls.crt", self.chain)
        self.tls_key = self.put("tls.key", issued.private_key_pem.bytes().decode())
        self.ca_file = self.put("ca.pem", self.ca.cert_pem.bytes().decode())
        self.values: dict[str, Any] = {
            "api": {"base_url": "http://127.0.0.1:1/api", "ca_file": self.ca_file},
            "accounts": [{"name": "acme", "api_key_file": self.key}],
            "receivers": [
                {"name": "hook", "type": "webhook", "url": "https://h.example.com", "ca_file": self.ca_file},
                {"name": "other", "type": "apprise", "url": "json://h.example.com/s3cret"},
            ],
            "store": {"url": f"sqlite:///{folder}/store.db"},
            "web": {"listen": "127.0.0.1:0", "tls_cert_file": self.cert, "tls_key_file": self.tls_key},
        }

    def put(self, name: str, content: str) -> str:
        """Write a file for its owner alone, and return its path."""
        file = self.folder / name
        file.write_text(content)
        file.chmod(0o600)
        return str(file)

    def write(self) -> None:
        """Write the config."""
        self.put("config.toml", toml(self.values))


Spoil = Callable[[Place], object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a place in which nothing is wrong yet."""
    for variable in [each for each in os.environ if "PROXY" in each.upper() or each.startswith("SSL_CERT")]:
        monkeypatch.delenv(variable)
    return Place(tmp_path, monkeypatch)


def checked(place: Place) -> tuple[int, dict[str, Any], str]:
    """Run `check-config --format json`; return its exit code, what it printed, and its messages."""
    out, err = io.StringIO(), io.StringIO()
    code = run_command(["--config", str(place.file), "check-config", "--format", "json"], out, err)
    assert out.getvalue(), err.getvalue()
    return code, json.loads(out.getvalue()), err.getvalue()


async def started(place: Place) -> str | None:
    """Start a daemon and stop it again, without examining anything before; return why it would not."""
    stop = asyncio.Event()
    try:
        config = load_config(place.file)
        network = Network(process_environment())
        await run_daemon(
            config, network=network, stop=stop, on_ready=lambda _: stop.set(), log_stream=io.StringIO()
        )
    except MonitorError as exc:
        return str(exc)
    return None


def store_with(place: Place, revision: str) -> None:
    """Make a store of that revision."""
    with closing(sqlite3.connect(place.folder / "store.db")) as store:
        store.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        store.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        store.commit()


def other_programs_store(place: Place) -> None:
    """Put another program's database there."""
    with closing(sqlite3.connect(place.folder / "store.db")) as store:
        store.execute("CREATE TABLE hosts (name TEXT)")


def postgres_without_driver(place: Place) -> None:
    """Choose PostgreSQL, whose driver is not there."""
    place.values["store"]["url"] = "postgresql://u:s3cret@127.0.0.1:1/d"
    place.patch.setitem(sys.modules, "psycopg", None)


def pipe(place: Place) -> str:
    """Return the path of a pipe that nobody writes to."""
    path = place.folder / "pipe"
    os.mkfifo(path)
    return str(path)


def key_file_is_a_folder(place: Place) -> None:
    """Put a folder where the key should be, as Docker does for a file that it does not find."""
    Path(place.key).unlink()
    Path(place.key).mkdir()


def encrypted_key(place: Place) -> str:
    """Return a key that asks for a password."""
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(Path(place.tls_key).read_bytes(), None)
    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass"),
        ).decode()
    )


FAULTS: dict[str, tuple[Spoil, list[str]]] = {
    "store folder missing": (
        lambda place: place.values["store"].update(url=f"sqlite:///{place.folder}/nowhere/store.db"),
        ["store.url: ", "folder does not exist", "nowhere"],
    ),
    "store is a folder": (
        lambda place: (place.folder / "store.db").mkdir(),
        ["store.url: ", "unable to open", "store.db", "folder"],
    ),
    "store is a pipe": (
        lambda place: os.mkfifo(place.folder / "store.db"),
        ["store.url: ", "store.db", "not a regular file"],
    ),
    "secret is a pipe": (
        lambda place: place.values.update(heartbeat={"url_file": pipe(place)}),
        ["heartbeat.url_file: ", "is a pipe or a device"],
    ),
    "store is something else": (
        lambda place: place.put("store.db", "this is a letter, not a database; " * 100),
        ["store.url: ", "store.db", "not a database"],
    ),
    "store is a short text": (
        lambda place: place.put("store.db", "hello"),
        ["store.url: ", "store.db", "not a database"],
    ),
    "store of a newer version": (
        lambda place: store_with(place, "9999"),
        ["store.url: ", "newer version", "9999"],
    ),
    "store that is a part of a copy": (
        lambda place: store_with(place, COPYING),
        ["store.url: ", "incomplete copy"],
    ),
    "store of another program": (other_programs_store, ["store.url: ", "belongs to another program"]),
    "store in a file": (
        lambda place: place.values.update(
            store={"url_file": place.put("url", f"sqlite:///{place.folder}/nowhere/store.db")}
        ),
        ["store.url_file: ", "folder does not exist"],
    ),
    "postgres not installed": (
        postgres_without_driver,
        ["store.url: ", "pip install 'voicelink-drift-monitor[postgres]'"],
    ),
    "parameter that libpq does not take": (
        lambda place: place.values["store"].update(url="postgresql://u:s3cret@127.0.0.1:1/d?sslmode=none"),
        ["store.url: ", 'libpq does not accept the parameter "sslmode"'],
    ),
    "apprise not installed": (
        lambda place: place.patch.setitem(sys.modules, "apprise", None),
        ["receivers[1]: ", "other", "pip install 'voicelink-drift-monitor[apprise]'"],
    ),
    "apprise without such a service": (
        lambda place: place.values["receivers"][1].update(url="nosuch://s3cret"),
        ["receivers[1]: ", "not one that Apprise supports"],
    ),
    "certificate is none": (
        lambda place: place.put("tls.crt", "hello"),
        ["web.tls_cert_file", "tls.crt", "PEM"],
    ),
    "key of another certificate": (
        lambda place: place.put("tls.key", place.ca.issue_cert("x").private_key_pem.bytes().decode()),
        ["web.tls_key_file", "tls.key", "does not match"],
    ),
    "encrypted key": (
        lambda place: place.put("tls.key", encrypted_key(place)),
        ["web.tls_key_file", "tls.key", "is encrypted"],
    ),
    "certificate missing": (
        lambda place: Path(place.cert).unlink(),
        ["web.tls_cert_file: ", "no such file"],
    ),
    "authorities of the API": (
        lambda place: place.values["api"].update(ca_file=place.put("bad.pem", "hello")),
        ["api.ca_file: ", "bad.pem"],
    ),
    "authorities of a receiver": (
        lambda place: place.values["receivers"][0].update(ca_file=place.put("bad.pem", "hello")),
        ["receivers[0].ca_file: ", "bad.pem"],
    ),
    "authorities of apprise": (
        lambda place: place.values["receivers"][1].update(ca_file=place.put("bad.pem", "hello")),
        ["receivers[1].ca_file: ", "bad.pem"],
    ),
    "authorities of the heartbeat": (
        lambda place: place.values.update(
            heartbeat={"url": "https://h.example.com/s3cret", "ca_file": place.put("bad.pem", "hello")}
        ),
        ["heartbeat.ca_file: ", "bad.pem"],
    ),
    "key file missing": (lambda place: Path(place.key).unlink(), ["accounts[0].api_key_file: ", "acme"]),
    "key file empty": (
        lambda place: place.put("acme", "\n"),
        ["accounts[0].api_key_file: ", "acme", "empty"],
    ),
    "key file is a folder": (
        key_file_is_a_folder,
        ["accounts[0].api_key_file: ", "acme"],
    ),
    "proxy": (
        lambda place: place.patch.setenv("HTTPS_PROXY", "socks5://s3cret@h:1080"),
        ["HTTPS_PROXY: "],
    ),
    "no proxy": (lambda place: place.patch.setenv("NO_PROXY", "10.0.0.0/99"), ["NO_PROXY: "]),
    "authorities of the system": (
        lambda place: place.patch.setenv("SSL_CERT_FILE", "/nonexistent.pem"),
        ["SSL_CERT_FILE: "],
    ),
    "address of another host": (
        lambda place: place.values["web"].update(listen="192.0.2.1:8790"),
        ["web.listen: ", "192.0.2.1:8790", "cannot assign"],
    ),
    "unknown host": (
        lambda place: place.values["web"].update(listen="no-such-host.invalid:8790"),
        ["web.listen: ", "no-such-host.invalid:8790"],
    ),
    "unknown key": (
        lambda place: place.values["web"].update(lissten="x"),
        ["web.lissten: ", "did you mean listen?"],
    ),
}
"""What can be wrong, and what must be said about it."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_prevents_a_start_is_told_before(place: Place, fault: str) -> None:
    """Exit 2 from `check-config` exactly where a daemon would not start, with key and file, and no secret."""
    spoil, said = FAULTS[fault]
    spoil(place)
    place.write()
    code, found, err = await asyncio.to_thread(checked, place)
    assert await started(place) is not None
    assert code == 2
    [problem] = found["problems"]
    for words in said:
        assert words.casefold() in problem.casefold()
    assert problem in err
    assert "s3cret" not in err
    assert "this is a bug" not in err


def test_every_problem_is_told_at_once(place: Place) -> None:
    """Who has a mistake in each section reads of all of them, and fixes them in one go."""
    spoilt = ["store folder missing", "apprise not installed", "encrypted key", "authorities of the API"]
    spoilt += ["proxy", "authorities of the system", "address of another host", "key file missing"]
    for fault in spoilt:
        FAULTS[fault][0](place)
    place.write()
    code, found, _ = checked(place)
    assert code == 2
    assert len(found["problems"]) == len(spoilt)
    for fault in spoilt:
        first = FAULTS[fault][1][0]
        assert [problem for problem in found["problems"] if first in problem], fault


def taken(place: Place) -> object:
    """Give the port to another process, so to say."""
    sock = socket.create_server(("127.0.0.1", 0))
    place.values["web"]["listen"] = f"127.0.0.1:{sock.getsockname()[1]}"
    return sock


FINE: dict[str, Spoil] = {
    "as it is": lambda place: place,
    "store of this version": lambda place: asyncio.run(started(place)),
    "empty file for the store": lambda place: place.put("store.db", ""),
    "host by name": lambda place: place.values["web"].update(listen="localhost:0"),
}


@pytest.mark.parametrize("case", FINE)
def test_what_a_daemon_starts_with_is_fine(place: Place, case: str) -> None:
    """Exit 0 where a daemon does start; nothing is left behind, and nothing is warned about."""
    place.write()
    FINE[case](place)
    place.write()
    before = {file: file.stat().st_mtime_ns for file in place.folder.iterdir()}
    code, found, err = checked(place)
    assert (code, found["problems"], found["warnings"], err) == (0, [], [], "")
    assert {file: file.stat().st_mtime_ns for file in place.folder.iterdir()} == before
    assert asyncio.run(started(place)) is None


def test_running_daemon_does_not_spoil_the_check(place: Place) -> None:
    """The port in use and the open store are no problems: they may be those of the daemon itself."""
    place.write()

    async def check_beside() -> tuple[int, dict[str, Any], str]:
        stop, ready = asyncio.Event(), asyncio.Event()
        daemon = asyncio.create_task(
            run_daemon(
                load_config(place.file), stop=stop, on_ready=lambda _: ready.set(), log_stream=io.StringIO()
            )
        )
        await ready.wait()
        try:
            return await asyncio.to_thread(checked, place)
        finally:
            stop.set()
            await daemon

    place.values["web"]["listen"] = f"127.0.0.1:{free_port()}"
    place.write()
    code, found, _ = asyncio.run(check_beside())
    assert (code, found["problems"]) == (0, [])


def issue(place: Place, days: float) -> None:
    """Renew the certificate for so many days from now."""
    issued = place.ca.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=days))
    place.put("tls.crt", b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode())
    place.put("tls.key", issued.private_key_pem.bytes().decode())


@pytest.mark.parametrize(("days", "said"), [(-1, "has expired"), (7, "expires soon"), (30, None)])
def test_certificate_that_ends_is_a_warning(place: Place, days: float, said: str | None) -> None:
    """A daemon starts with it, and its clients will not like it."""
    issue(place, days)
    place.write()
    code, found, err = checked(place)
    assert code == 0
    assert [said in warning for warning in found["warnings"]] == ([True] if said else [])
    assert err.count("warning") == len(found["warnings"])


def test_warnings_are_logged_once(place: Place) -> None:
    """The start logs them; a reload logs only what is new."""
    place.values["web"]["listen"] = "0.0.0.0:0"
    place.write()
    stream = io.StringIO()

    async def reload_twice() -> None:
        stop, ready, signals = asyncio.Event(), asyncio.Event(), Signals()
        config = examine(place.file).valid()
        daemon = asyncio.create_task(
            run_daemon(
                config,
                reread=lambda: examine(place.file).valid(),
                signals=signals,
                stop=stop,
                on_ready=lambda _: ready.set(),
                log_stream=stream,
            )
        )
        await ready.wait()
        for _ in range(2):
            await _reloaded(stream, signals)
        issue(place, 1)
        await _reloaded(stream, signals)
        stop.set()
        await daemon

    asyncio.run(reload_twice())
    told = [line["warnings"] for line in _lines(stream) if line["event"] == "config.warnings"]
    assert [[warning.split(": ")[0] for warning in each] for each in told] == [
        ["web.listen"],
        ["web.tls_cert_file"],
    ]


def test_secret_that_is_spoilt_while_running_is_told_once(place: Place) -> None:
    """The daemon goes on with the secret that it has, and says why it does not take the new one."""
    place.write()
    stream = io.StringIO()

    async def spoil() -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        config = load_config(place.file)
        daemon = asyncio.create_task(
            run_daemon(config, stop=stop, on_ready=lambda _: ready.set(), log_stream=stream)
        )
        await ready.wait()
        place.put("acme", '"rg_live_9876543210"')
        try:
            await wait_until(lambda: "secret.rejected" in stream.getvalue(), what="the secret")
        finally:
            stop.set()
            await daemon
        assert config.accounts[0].secret.reveal() == "rg_live_0123456789"

    asyncio.run(spoil())
    [line] = [line for line in _lines(stream) if line["event"] == "secret.rejected"]
    assert line["file"] == place.key
    assert "in quotes" in line["error"]
    assert "9876543210" not in stream.getvalue()


async def _reloaded(stream: io.StringIO, signals: Signals) -> None:
    def times() -> int:
        return len([line for line in _lines(stream) if line["event"] == "config.reloaded"])

    before = times()
    signals.received(signal.SIGHUP)
    await wait_until(lambda: times() > before, what="the reload")


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_bad_reload_keeps_the_old_config(place: Place) -> None:
    """What would prevent the next start is refused at a reload, with every problem; the daemon goes on."""
    place.write()
    stream = io.StringIO()

    async def reload() -> None:
        stop, ready, signals = asyncio.Event(), asyncio.Event(), Signals()
        daemon = asyncio.create_task(
            run_daemon(
                load_config(place.file),
                reread=lambda: examine(place.file).valid(),
                signals=signals,
                stop=stop,
                on_ready=lambda _: ready.set(),
                log_stream=stream,
            )
        )
        await ready.wait()
        FAULTS["authorities of the API"][0](place)
        FAULTS["store folder missing"][0](place)
        place.write()
        signals.received(signal.SIGHUP)
        try:
            await wait_until(lambda: "config.rejected" in stream.getvalue(), what="the reload")
        finally:
            stop.set()
            await daemon

    asyncio.run(reload())
    [line] = [line for line in _lines(stream) if line["event"] == "config.rejected"]
    assert "api.ca_file: " in line["error"]
    assert "store.url: " in line["error"]
    assert _lines(stream)[-1]["event"] == "daemon.stopped"


def test_environment_alone_is_judged_alike(tmp_path: Path) -> None:
    """Without a file, a problem names the variable that set the key."""
    environ = {
        "VOICELINK_API_KEY": "rg_live_1",
        "VOICELINK_MONITOR_STORE__URL": f"sqlite:///{tmp_path}/nowhere/store.db",
        "VOICELINK_MONITOR_WEB__LISTEN": "192.0.2.1:0",
    }
    listen, store = sorted(examine(None, environ).problems, reverse=True)
    assert store.startswith(
        "store.url (from VOICELINK_MONITOR_STORE__URL): the store's folder does not exist"
    )
    assert listen.startswith("web.listen (from VOICELINK_MONITOR_WEB__LISTEN): cannot listen on 192.0.2.1:0")


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Give a folder that others may enter, and be a user without rights meanwhile."""
    require_root("become another user")
    examine(None, {"VOICELINK_API_KEY": "rg_live_1"})  # imports what the other user may not read
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "store.db").touch()
        (Path(folder) / "private").mkdir(mode=0o700)
        (Path(folder) / "private" / "ca.pem").touch()
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_store_of_another_user_is_told() -> None:
    """The folder must be writable too, as SQLite and the lock have files there."""
    with as_nobody() as folder:
        problem = obstacle(folder / "store.db")
    assert problem == (
        f"cannot write to the store: {folder} belongs to user 0, this process is user 65534: give it to this "
        "user, or run as the user that owns it"
    )


@pytest.mark.parametrize("port", [0, 80, 8790])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.1", "localhost"])
def test_address_is_judged_as_the_start_judges_it(host: str, port: int) -> None:
    """An address, and a port that needs a privilege, are refused beforehand in the words of the start."""
    with as_nobody():
        refused = [_refusal(bind, host, port), _refusal(check_address, host, port)]
    assert refused[0] == refused[1] or "in use" in (refused[0] or "")


def _refusal(take: Callable[[str, int], socket.socket | None], host: str, port: int) -> str | None:
    try:
        taken = take(host, port)
    except MonitorError as exc:
        return str(exc)
    if taken is not None:
        taken.close()
    return None


def test_file_that_cannot_be_reached_is_told() -> None:
    """A folder that may not be entered is a problem with its reason, no bug."""
    with as_nobody() as folder:
        private = f"{folder}/private/ca.pem"
        environ = {"VOICELINK_API_KEY_FILE": private, "VOICELINK_MONITOR_API__CA_FILE": private}
        problems = examine(None, environ).problems
        unreachable = obstacle(folder / "private" / "store.db")
        found = find_config_file({}, folder / "private")
    assert len([problem for problem in problems if "Permission denied" in problem]) == 2
    assert unreachable is not None
    assert "private" in unreachable
    assert found == folder / "private" / "config.toml"
    with as_nobody() as folder:
        for opening in (require_file, DaemonLock):
            with pytest.raises(
                StartError, match=f"Permission denied; {folder}/private belongs to user 0, this"
            ):
                opening(folder / "private" / "store.db")


def test_name_that_is_too_long_is_told(place: Place) -> None:
    """Of any file: no start, a reason, and no bug."""
    long = 300 * "a"
    place.values["api"]["ca_file"] = place.values["web"]["tls_cert_file"] = long
    place.values["accounts"][0]["api_key_file"] = long
    place.values["store"]["url"] = f"sqlite:///{place.folder}/{long}"
    place.write()
    problems = sorted(examine(place.file).problems)
    assert [problem.split(": ")[0] for problem in problems] == [
        "accounts[0].api_key_file",
        "api.ca_file",
        "store.url",
        "web.tls_cert_file",
    ]
    assert [problem.endswith("File name too long") for problem in problems] == [False, True, True, True]
