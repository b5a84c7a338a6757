"""What stands in the environment of a process for other programs: honoured, or named, never a bug of ours."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor.simulator import Simulator, build_world
from tests.acceptance.daemon import to_toml
from tests.acceptance.scene import Provider, settings
from tests.servers.process import Process, free_port, running, wait_until
from tests.servers.proxy import running_proxy
from tests.servers.require import require, require_root
from tests.servers.tls import issued
from tests.servers.webhook import WebhookSink

COMMAND = str(Path(sys.executable).with_name("voicelink-monitor"))
SECRET = "pr0xy-s3cr3t"
DEAD = f"http://user:{SECRET}@127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command left."""

    code: int
    err: str


Run = Callable[..., Awaitable[Ran]]
"""Runs a command line, with these variables and no others."""


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Serve a double of the API whose ten numbers are well."""
    made = Provider(Simulator(build_world(1, 10)))
    await made.up()
    yield made
    await made.down()


@pytest.fixture
def run(tmp_path: Path, provider: Provider, webhook_sink: WebhookSink) -> Run:
    """Return what runs commands with a config for the provider and one receiver."""
    (tmp_path / "config.toml").write_text(to_toml(settings(provider, webhook_sink)))

    async def run(*argv: str, env: Mapping[str, str]) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in out + err
        assert SECRET.encode() not in out + err
        return Ran(code=process.returncode or 0, err=err.decode())

    return run


HARMLESS: dict[str, dict[str, str]] = {
    "nothing": {},
    "an IPv6 network": {"HTTP_PROXY": DEAD, "NO_PROXY": "fd07::/64,127.0.0.1"},
    "loopback in every writing": {"HTTP_PROXY": DEAD, "NO_PROXY": "localhost,::1,[::1],127.0.0.1"},
    "an IPv4 network": {"ALL_PROXY": DEAD, "no_proxy": " 10.0.0.0/8, 127.0.0.0/8, "},
    "no proxy at all": {"http_proxy": DEAD, "NO_PROXY": "*"},
    "only networks": {"NO_PROXY": "fd07::/64"},
    "empty ones": {"HTTP_PROXY": "", "HTTPS_PROXY": "", "ALL_PROXY": "", "NO_PROXY": "", "SSL_CERT_FILE": ""},
    "a key log": {"SSLKEYLOGFILE": "/nonexistent/keys"},
    "what others read": {
        "REQUESTS_CA_BUNDLE": "/nonexistent.pem",
        "CURL_CA_BUNDLE": "/nonexistent.pem",
        "NETRC": "/nonexistent",
        "FTP_PROXY": "socks5://127.0.0.1:9",
        "WEB_CONCURRENCY": "s3veral",
    },
}


@pytest.mark.parametrize("env", HARMLESS.values(), ids=HARMLESS)
async def test_environment_that_can_be_used_is(run: Run, env: dict[str, str]) -> None:
    """The provider is reached as the variables say."""
    ran = await run(COMMAND, "sync", env=env)
    assert (ran.code, ran.err) == (0, "")


async def test_daemon_runs_with_all_of_them(
    provider: Provider, webhook_sink: WebhookSink, tmp_path: Path
) -> None:
    """It starts, syncs and stops as ever."""
    listen = f"127.0.0.1:{free_port()}"
    (tmp_path / "config.toml").write_text(to_toml(settings(provider, webhook_sink, web={"listen": listen})))
    env = {name: value for variables in HARMLESS.values() for name, value in variables.items() if value}
    daemon = Process(
        argv=[COMMAND, "run"],
        log_file=tmp_path / "stdout.log",
        error_file=tmp_path / "stderr.log",
        ready_url=f"http://{listen}/-/ready",
        env={"PATH": os.environ["PATH"], **env},
        cwd=tmp_path,
    )
    async with running(daemon):
        await wait_until(lambda: provider.simulator.requests, what="a sync")
        assert await daemon.stop() == 0
    assert (tmp_path / "stderr.log").read_text() == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", f"socks://u:{SECRET}@127.0.0.1:9"),
        ("all_proxy", f"socks5://u:{SECRET}@127.0.0.1:9"),
        ("HTTPS_PROXY", f"http://u:{SECRET}@"),
        ("http_proxy", f"http://u:{SECRET}@127.0.0.1:99999"),
        ("NO_PROXY", f"localhost,{SECRET}/64"),
        ("SSL_CERT_FILE", "/nonexistent.pem"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ],
)
async def test_environment_that_cannot_be_used_is_named(run: Run, variable: str, value: str) -> None:
    """Exit 2, in one line on stderr, without the value."""
    ran = await run(COMMAND, "run", env={variable: value})
    assert ran.code == 2
    [line] = ran.err.splitlines()
    assert line.startswith(f"error: {variable}: ")


@pytest.mark.parametrize("command", ["check-config", "check-config --probe", "sync", "test-alert"])
async def test_commands_refuse_what_the_daemon_refuses(run: Run, command: str) -> None:
    """All that reach out, and the one that says beforehand whether it would work."""
    ran = await run(COMMAND, *command.split(), env={"ALL_PROXY": "socks5://127.0.0.1:9"})
    assert ran.code == 2
    assert ran.err.startswith("error: ALL_PROXY: ")


@pytest.mark.parametrize("command", ["deliveries", "healthcheck", "--help"])
async def test_commands_that_reach_nobody_do_not_care(run: Run, command: str) -> None:
    """A look into the store, and the question to the daemon of this machine, use no proxy."""
    ran = await run(COMMAND, command, env={"ALL_PROXY": "socks5://127.0.0.1:9"})
    assert "ALL_PROXY" not in ran.err


async def test_daemon_asks_through_the_proxy(run: Run, provider: Provider, webhook_sink: WebhookSink) -> None:
    """Provider and receivers alike."""
    async with running_proxy() as proxy:
        for command in ("sync", "test-alert"):
            ran = await run(COMMAND, command, env={"HTTP_PROXY": f"http://user:{SECRET}@{proxy.address}"})
            assert ran.code == 0, ran.err
        assert {asked.target.split("/")[2] for asked in proxy.asked} == {
            provider.url.split("/")[2],
            webhook_sink.url.split("/")[2],
        }
        assert all(asked.authorization for asked in proxy.asked)


IN_A_SYSTEM_OF_ITS_OWN = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def system_store() -> tuple[Path, str]:
    """Return the folder of the system's certificates, and the name of the file in it that holds them all."""
    usual = ssl.get_default_verify_paths()
    return Path(usual.openssl_capath).resolve(), Path(usual.openssl_cafile).resolve().name


@pytest.mark.parametrize("trusted", [True, False], ids=["in its store", "with an empty store"])
async def test_system_certificates_are_trusted(
    run: Run, provider: Provider, tmp_path: Path, trusted: bool
) -> None:
    """With no variable set: what the system trusts is trusted, and nothing else; an empty store is told.

    The folder of the system's certificates is another one for the command, in a mount namespace of its own.
    """
    require_root("give a process another store of certificates")
    tls, store = issued(tmp_path), tmp_path / "certs"
    store.mkdir()
    folder, name = system_store()
    if trusted:
        (store / name).write_bytes(tls.ca_file.read_bytes())
    argv = [str(require("unshare")), "--mount", "--propagation", "private"]
    argv += ["sh", "-c", IN_A_SYSTEM_OF_ITS_OWN, "sh", str(store), str(folder)]
    async with WebhookSink(tls=tls.context) as sink:
        (tmp_path / "config.toml").write_text(to_toml(settings(provider, sink)))
        ran = await run(*argv, COMMAND, "test-alert", env={})
        assert ran.code == (0 if trusted else 3), ran.err
        assert ("certifi" in ran.err) is not trusted
        assert bool(sink.requests) is trusted
