"""Secrets go nowhere, whoever quotes them: a canary in every secret key, and a look at every output."""

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import bcrypt
import httpx
import pytest
from pydantic import BaseModel

from monitor.cli.main import run
from monitor.config import Config, load_config
from monitor.config.keys import bare, item, tables
from monitor.http.address import Address
from monitor.secret import Secret
from tests.acceptance.daemon import Daemon, to_toml
from tests.fakes.quoting import BASE64, FORMS
from tests.servers.process import wait_until
from tests.servers.webhook import Answer, Received, WebhookSink

# The library imports `imghdr` where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

CANARY = "c4n4ry"
"""In every secret, where it hurts."""
PASSWORD = "a password of a person"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
NUMBER = {"key": "918011223344", "phone_number": "+918011223344", "state": "NO_BOT", "action": "assign a bot"}
REFUSING = ("basic", "bearer", "named", "pager", "chat", "hook")
"""Receivers that answer 404, and quote what they were sent."""


class Gossip:
    """Answers every request by quoting it, in every form."""

    def __call__(self, request: Received) -> Answer:
        """Answer as the provider, a receiver or a watchdog, by the path."""
        forms = [*FORMS.values(), *BASE64.values()]
        secret = sorted({piece for piece in pieces(request) if CANARY in piece}, key=len)
        said = "Cannot serve " + " ".join(form(piece) for piece in secret for form in forms)
        if "/voicelink/sync" not in request.path:
            return Answer(status=404, body=said.encode())
        key = request.headers["authorization"]
        if "refused" in key:
            error = {"code": key, "message": said}
            return Answer(status=403, body=json.dumps({"success": False, "error": error}).encode())
        data = {
            "readiness": [],
            "drift": [NUMBER],
            "warnings": [f"seen {key}", key],
            "clients": [{"id": 1, "name": key}],
        }
        return Answer(body=json.dumps({"success": True, "data": data}).encode())


def pieces(request: Received) -> Iterator[str]:
    """Yield what a request tells: address, headers, and what its body calls a key."""
    url = urlsplit(request.path)
    yield from (request.path, url.path, unquote(url.path), *url.path.split("/"))
    yield from (value for _, value in parse_qsl(url.query))
    for name, value in request.headers.items():
        if name.lower() in ("authorization", "x-token"):
            yield from (value, value.partition(" ")[2])
            if value.startswith("Basic "):
                yield from base64.b64decode(value[6:]).decode().split(":")
    if b'"routing_key"' in request.body:
        yield json.loads(request.body)["routing_key"]


def settings(gossip: str, witness: str, folder: Path, *, files: bool) -> dict[str, Any]:
    """Return a config with a secret under every key that takes one, as values or in files."""

    def secret(key: str, *values: str) -> dict[str, Any]:
        if not files:
            return {key: list(values) if key == "secrets" else values[0]}
        file = folder / f"secret-{abs(hash(values))}"
        file.write_text("\n".join(values))
        return {f"{key}_file": str(file)}

    named = gossip.replace("://", f"://{CANARY}-user:{CANARY}%2Fp%40ss@")
    signing = base64.b64encode(f"{CANARY} signs all messages".encode()).decode()
    before = base64.b64encode(f"{CANARY} signed them before".encode()).decode()
    receivers: list[dict[str, Any]] = [
        {"name": "witness", "type": "webhook", "url": f"{witness}/"},
        {
            "name": "basic",
            "type": "alertmanager",
            "urls": [f"{gossip}/am/1"],
            "basic_auth": {"username": "ops", **secret("password", f"{CANARY}-b4sic")},
        },
        {
            "name": "bearer",
            "type": "alertmanager",
            "urls": [f"{gossip}/am/2"],
            **secret("bearer_token", f"{CANARY}-b34rer"),
        },
        {"name": "named", "type": "alertmanager", "urls": [f"{named}/am/3"]},
        {
            "name": "pager",
            "type": "pagerduty",
            "url": f"{named}/pd",
            **secret("routing_key", f"{CANARY}-r0uting"),
        },
        {
            "name": "chat",
            "type": "slack",
            **secret("url", f"{gossip}/services/T0/{CANARY}/{CANARY}Sl4ckT0ken12"),
        },
        {
            "name": "hook",
            "type": "webhook",
            **secret("url", f"{named}/hooks/{CANARY}-w0rd/x?token={CANARY}%26t0ken&plain={CANARY}"),
            **secret("secret", f"whsec_{signing}"),
            "headers": {"X-Token": f"Key {CANARY}-h34der"},
        },
        {
            "name": "rotating",
            "type": "webhook",
            **secret("url", f"{named}/hooks/{CANARY}-r0tating"),
            **secret("secrets", f"whsec_{signing}", f"whsec_{before}"),
        },
        {
            "name": "other",
            "type": "apprise",
            **secret("url", f"{named.replace('http://', 'json://')}/apprise/{CANARY}-4pprise"),
        },
    ]
    return {
        "api": {"base_url": f"{gossip}/api/v2"},
        "schedule": {"interval": "1s"},
        "drift": {"confirm_syncs": 1, "failing_after": 1},
        "alerts": {"update_interval": "0s"},
        "accounts": [
            {
                "name": "good",
                "requests_per_minute": 6000,
                **secret("api_key", f"rg_live_{CANARY}_good_0123456789"),
            },
            {
                "name": "bad",
                "requests_per_minute": 6000,
                **secret("api_key", f"odd&key_{CANARY}_refused_012"),
            },
        ],
        "receivers": receivers,
        "heartbeat": secret("url", f"{named}/ping/{CANARY}-h34rt?key={CANARY}be4t"),
        "store": {"url": f"sqlite:///{folder}/store.db"},
        "web": {
            "listen": "127.0.0.1:0",
            "basic_auth_users": {"ann": HASH, "bob": f"$2b$04${CANARY}{'a' * (53 - len(CANARY))}"},
        },
        "log": {"level": "debug"},
    }


def keys_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield every key of the config that may hold a secret."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, item(field.annotation)]
        if any(bare(kind) in (Secret, Address) for kind in kinds):
            yield f"{path}{name}"
        for kind in kinds:
            for table in tables(kind):
                kind_name = table.__name__.removesuffix("Config").lower()
                yield from keys_of(
                    table, f"{path}{name}.{kind_name}." if len(tables(kind)) > 1 else f"{path}{name}."
                )


def used_in(config: BaseModel, path: str = "") -> Iterator[str]:
    """Yield every key under which a config holds a secret."""
    for name, value in config:
        values = (
            [value]
            if not isinstance(value, (tuple, dict))
            else list(value.values() if isinstance(value, dict) else value)
        )
        for each in values:
            if isinstance(each, Secret) or (isinstance(each, Address) and each.authorization is not None):
                yield f"{path}{name}"
            if isinstance(each, BaseModel):
                union = name == "receivers"
                kind = type(each).__name__.removesuffix("Config").lower()
                yield from used_in(each, f"{path}{name}.{kind}." if union else f"{path}{name}.")


def leaks(text: str) -> list[str]:
    """Return where a canary is in a text, in any form."""
    found = [at for form in FORMS.values() if (at := text.casefold().find(form(CANARY).casefold())) >= 0]
    for word in re.finditer(r"[A-Za-z0-9+/_-]{8,}", text):
        code = word[0].replace("-", "+").replace("_", "/")
        parts = [code[at : at + (len(code) - at) // 4 * 4] for at in range(4)]
        found += [word.start() for part in parts if CANARY.encode() in base64.b64decode(part)]
    return [text[max(0, at - 200) : at + 60] for at in found]


def test_every_secret_key_has_its_canary(tmp_path: Path) -> None:
    """A new key that holds a secret belongs into the config above. The database has a test of its own."""
    used: set[str] = set()
    for files in (False, True):
        given = settings("http://127.0.0.1:1", "http://127.0.0.1:2", tmp_path, files=files)
        (tmp_path / "config.toml").write_text(to_toml(given))
        used |= set(used_in(load_config(tmp_path / "config.toml", {})))
    assert used | {"store.url", "store.url_file"} == set(keys_of(Config))


@pytest.mark.parametrize("files", [False, True], ids=["values", "files"])
async def test_no_output_shows_a_secret(tmp_path: Path, files: bool) -> None:
    """Log, page, API, metrics, store, commands and what other receivers get, while everybody gossips."""
    async with WebhookSink(Gossip()) as gossip, WebhookSink() as witness:
        daemon = Daemon(tmp_path / "daemon", settings(gossip.url, witness.url, tmp_path, files=files))
        try:
            await daemon.start()
            await wait_until(
                lambda: _failing(witness) >= set(REFUSING), what=f"all to fail: {_failing(witness)}"
            )
            await daemon.wait_for("heartbeat.failed")
            await daemon.wait_for("delivery.failed", receiver="other")
            shown = await _pages(daemon)
            shown |= await asyncio.to_thread(_commands, daemon.config_file)
            await daemon.stop()
        finally:
            await daemon.kill()
    for place, request in enumerate(witness.requests):
        shown[f"message {place}"] = request.body.decode()
    shown |= _stored(tmp_path)
    shown |= {"stdout": daemon.output, "stderr": daemon.stderr}
    assert {place: leaks(text) for place, text in shown.items() if leaks(text) or HASH in text} == {}
    assert "Cannot serve ***" in daemon.output


def _stored(folder: Path) -> dict[str, str]:
    return {file.name: file.read_bytes().decode("latin-1") for file in folder.glob("store.db*")}


def _failing(witness: WebhookSink) -> set[str]:
    bodies = [request.json()["data"] for request in witness.requests]
    return {body["state"] for body in bodies if body["kind"] == "receiver_failing"}


async def _pages(daemon: Daemon) -> dict[str, str]:
    api = (
        "status",
        "connections",
        "connections/good",
        "numbers",
        "changes",
        "alerts",
        "deliveries",
        "openapi.json",
    )
    paths = [
        "/",
        "/alerts",
        "/changes",
        "/connections/good",
        "/connections/bad",
        "/metrics",
        "/-/ready",
        "/none",
    ]
    async with httpx.AsyncClient(
        timeout=60, base_url=daemon.page, auth=("ann", PASSWORD), trust_env=False
    ) as client:
        shown = {
            path: (await client.get(path)).text for path in [*paths, *(f"/api/v1/{name}" for name in api)]
        }
    assert "account_rejected" in shown["/api/v1/alerts"]
    return shown


def _commands(config_file: Path) -> Mapping[str, str]:
    shown = {}
    for line in (
        "check-config",
        "check-config --format json",
        "check-config --against-store",
        "check-config --against-store --format json",
        "config-schema",
        "connections --format json",
        "drift --format json",
        "alerts --format json",
        "changes --format json",
        "deliveries --format json",
        "sync --format json",
        "test-alert --format json",
        "test-alert",
    ):
        out, err = io.StringIO(), io.StringIO()
        code = run(["--config", str(config_file), *line.split()], out, err)
        assert code in (0, 1, 3), err.getvalue()
        shown[line] = out.getvalue() + err.getvalue()
    return shown
