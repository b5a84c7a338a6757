"""What would have paged, asked of the running daemon: the same as of the command, and no burden to it."""

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.scene import SECRETS, RunDaemon, RunProvider, settings, told_ends
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink

REPLAY = "/api/v1/replay"


def children(pid: int) -> str:
    """Return the processes that a process has started, from whatever thread."""
    found = ""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += file.read_text()
    return found


async def test_daemon_answers_as_the_command_does(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """By the rules of then and by a config that it is sent, of which nothing stays; a stop ends a replay."""
    api = await provider()
    config = settings(api, webhook_sink, web={"enable_lifecycle": True})
    daemon = run_daemon(config)
    await daemon.start()
    api.do("remove_routing", numbers=3)
    await daemon.until_firing({"drift": 1})
    api.do("restore_routing", numbers=3)
    await told_ends(webhook_sink, 1)
    await daemon.until_firing({})

    argv = [sys.executable, "-m", "monitor", "replay", "--format", "json"]
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=daemon.folder, capture_output=True, text=True, check=True, timeout=120
    )
    async with httpx.AsyncClient(base_url=daemon.page, timeout=120, trust_env=False) as client:
        found: dict[str, Any] = (await client.get(REPLAY)).json()
        assert [alert["verdict"] for alert in found["alerts"]] == ["same"]
        assert found["strayed"] == 0
        assert found | {"until": ""} == json.loads(done.stdout) | {"until": ""}
        text = daemon.config_file.read_text().replace('"0s"', '"10m"')
        answer = await client.post(REPLAY, content=text, headers={"content-type": "application/toml"})
        assert [alert["resolution"] for alert in answer.json()["alerts"]] == [None]
        bad = text + '\n[nothing]\nkey = "p4th-t0ken"\n'
        refused = await client.post(REPLAY, content=bad, headers={"content-type": "text/plain"})
        assert refused.status_code == 400
        [problem] = refused.json()["problems"]
        assert problem.startswith("nothing: unknown key")
        daemon.shown += [answer.text, refused.text]
        waiting = asyncio.create_task(client.get(REPLAY))
        await wait_until(lambda: children(daemon.process.pid), what="a replay")
        await daemon.stop()
        assert (await waiting).status_code == 409
    assert len(daemon.events("replay.ended")) == 4
    daemon.check(SECRETS)
