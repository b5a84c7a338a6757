"""The web side of the real daemon: TLS, passwords, and what can be asked of it."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import trustme

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.servers.process import wait_until

LOGIN = ("ops", "correct horse")


class Secured:
    """A daemon with TLS and a user, and a client that knows both."""

    def __init__(self, daemon: Daemon, config: dict[str, Any], ca: trustme.CA) -> None:
        self.daemon, self.config, self.ca = daemon, config, ca
        self.client = httpx.AsyncClient(timeout=60, trust_env=False)

    def renew(self) -> None:
        """Put another certificate into the files."""
        issued = self.ca.issue_cert("localhost", "127.0.0.1")
        Path(self.config["web"]["tls_cert_file"]).write_bytes(issued.cert_chain_pems[0].bytes())
        Path(self.config["web"]["tls_key_file"]).write_bytes(issued.private_key_pem.bytes())

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        await self.daemon.launch()
        page = (await self.daemon.wait_for("daemon.started"))[0]["page"]
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        self.client = httpx.AsyncClient(
            timeout=60, base_url=page, verify=context, auth=LOGIN, trust_env=False
        )

        async def ready() -> bool:
            return (await self.client.get("/-/ready", auth=None)).is_success

        await wait_until(ready, what="readiness")


@pytest.fixture
async def secured(run_daemon: RunDaemon, provider: RunProvider, tmp_path: Path) -> AsyncIterator[Secured]:
    """Run a daemon that lets nobody in without a password, over TLS alone."""
    api = await provider(build_world(1, 10))
    web = {
        "enable_lifecycle": True,
        "tls_cert_file": str(tmp_path / "tls.crt"),
        "tls_key_file": str(tmp_path / "tls.key"),
        "basic_auth_users": {LOGIN[0]: bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(4)).decode()},
    }
    config = settings(api, web=web, schedule={"interval": "1h"})
    site = Secured(run_daemon(config), config, trustme.CA())
    site.renew()
    await site.start()
    yield site
    await site.client.aclose()


async def test_daemon_asks_for_the_password_over_tls(secured: Secured) -> None:
    """Nothing but the probes answers without; with it, page and metrics do."""
    for path in ("/", "/metrics", "/api/v1/status", "/api/v1/numbers"):
        assert (await secured.client.get(path, auth=None)).status_code == 401
        assert (await secured.client.get(path)).status_code == 200
    await secured.daemon.stop()
    assert LOGIN[1] not in secured.daemon.output


async def test_daemon_reloads_and_syncs_when_asked(secured: Secured) -> None:
    """A reload takes over new settings, a bad one says why; a sync reads the provider once more."""
    [account] = secured.config["accounts"]
    name = account["connections"][0]["name"]
    assert (await secured.client.post("/-/reload")).text == "ok\n"
    [line] = secured.daemon.events("config.reloaded")
    assert line["changed_at_next_start"] == []
    [did] = await secured.daemon.wait_for("action.performed")
    assert (did["action"], did["user"], did["address"], did["target"]) == (
        "reload",
        LOGIN[0],
        "127.0.0.1",
        "config",
    )

    before = len(secured.daemon.events("sync.completed"))

    async def begun() -> bool:
        answer = await secured.client.post(f"/api/v1/connections/{name}/sync")
        assert answer.status_code in (202, 409)  # it may be at work for a moment, by its own schedule
        return answer.status_code == 202

    await wait_until(begun, what="a sync")
    await secured.daemon.wait_for("sync.completed", count=before + 1)
    listed = (await secured.client.get("/api/v1/numbers")).json()
    assert len(listed["items"]) == 10

    secured.daemon.configure("[web]\nlissen = 'x'\n")
    refused = await secured.client.post("/-/reload")
    assert (refused.status_code, "web.lissen" in refused.text) == (400, True)
    secured.config["web"]["enable_lifecycle"] = False
    secured.daemon.configure(secured.config)
    assert (await secured.client.post("/-/reload")).status_code == 200
    assert (await secured.client.post("/-/reload")).status_code == 403
    await secured.daemon.stop()


async def test_daemon_takes_over_a_renewed_certificate(secured: Secured) -> None:
    """Within seconds, without a restart."""
    secured.renew()
    await secured.daemon.wait_for("tls.reloaded")
    assert (await secured.client.get("/api/v1/status")).status_code == 200
    await secured.daemon.stop()
