"""`test-alert` against local doubles of the other sides."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.daemon import to_toml
from tests.acceptance.scene import WEBHOOK_SECRET, event
from tests.servers.process import free_port
from tests.servers.webhook import WebhookSink

ACCOUNT = [{"name": "acme", "api_key": "rg_live_test"}]


def send(folder: Path, receivers: list[dict[str, Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these receivers."""
    config = folder / "config.toml"
    config.write_text(to_toml({"accounts": ACCOUNT, "receivers": receivers}))
    return subprocess.run(
        [sys.executable, "-m", "monitor", "--config", config, "test-alert", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=60,
    )


async def run(folder: Path, receivers: list[dict[str, Any]], *arguments: str) -> tuple[int, str, str]:
    """Run the command while this loop serves; return exit code, stdout, stderr."""
    done = await asyncio.to_thread(send, folder, receivers, *arguments)
    return done.returncode, done.stdout, done.stderr


def hook(name: str, url: str) -> dict[str, Any]:
    """Return a webhook receiver."""
    return {"name": name, "type": "webhook", "url": url, "secret": WEBHOOK_SECRET, "min_severity": "critical"}


async def test_test_alert_sends_opened_and_resolved_and_says_what_was_answered(
    tmp_path: Path, webhook_sink: WebhookSink
) -> None:
    """It goes through whatever the filters say, signed, and names itself a test."""
    code, out, _ = await run(tmp_path, [hook("hook", webhook_sink.url)], "--format", "json")
    assert code == 0
    [trial] = json.loads(out)
    assert trial["delivered"]
    assert "200" in trial["answers"][0]
    told = [event(request)["data"] for request in webhook_sink.requests]
    assert [alert["change"] for alert in told] == ["opened", "resolved"]
    assert {alert["kind"] for alert in told} == {"test"}
    assert "test" in told[0]["summary"]
    assert not (tmp_path / "voicelink-monitor.db").exists()


async def test_test_alert_says_which_receiver_refused_and_why(tmp_path: Path) -> None:
    """One that refuses and one that is away: exit 3, both named; the one that works is delivered."""
    async with WebhookSink(lambda _: 401) as refusing, WebhookSink() as working:
        receivers = [
            hook("refusing", refusing.url),
            hook("away", f"http://127.0.0.1:{free_port()}/"),
            hook("working", working.url),
        ]
        code, out, _ = await run(tmp_path, receivers, "--format", "json")
    assert code == 3
    found = {trial["receiver"]: trial for trial in json.loads(out)}
    assert "401" in found["refusing"]["error"]
    assert found["away"]["error"]
    assert [name for name, trial in found.items() if trial["delivered"]] == ["working"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(("--receiver", "hok"), 2, "did you mean hook"), (("--receiver", "hook"), 0, "delivered")],
    ids=["unknown", "named"],
)
async def test_test_alert_of_one_receiver(
    tmp_path: Path, webhook_sink: WebhookSink, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """A name picks one; a wrong name is an error that names the nearest."""
    found, out, err = await run(tmp_path, [hook("hook", webhook_sink.url)], *arguments)
    assert found == code
    assert words in out + err
