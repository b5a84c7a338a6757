"""Moving to PostgreSQL with what is open, as a user does it."""

import json
import sys

from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, told_ends
from tests.servers.process import Process
from tests.servers.webhook import WebhookSink


async def copy(daemon: Daemon, url: str) -> tuple[int, str]:
    """Run the command with the daemon's config; return its exit code and what it said."""
    process = Process(
        argv=[
            *(sys.executable, "-m", "monitor", "--config", daemon.config_file),
            *("store", "copy", "--to", url, "--format", "json"),
        ],
        log_file=daemon.folder / "copy.out",
        error_file=daemon.folder / "copy.err",
        cwd=daemon.folder,
    )
    await process.start()
    return await process.wait(), (daemon.folder / "copy.err").read_text()


async def test_alerts_go_on_under_their_ids_in_the_copy(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, postgres: str
) -> None:
    """An alert that opened on SQLite is resolved on PostgreSQL, told once each, and nothing pages again."""
    api = await provider(build_world(2, 10))
    settled = settings(api, webhook_sink)
    daemon = run_daemon(settled)
    api.do("remove_routing", numbers=3, connection="conn-0001")
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened", kind="drift")
    await webhook_sink.wait_for(1)

    code, said = await copy(daemon, postgres)
    assert code == 2
    assert "in use by another daemon" in said

    await daemon.stop()
    code, said = await copy(daemon, postgres)
    assert code == 0, said
    tables = json.loads((daemon.folder / "copy.out").read_text())
    assert {each["table"]: each["rows"] for each in tables}["connections"] == 2
    code, said = await copy(daemon, postgres)
    assert code == 2
    assert "already holds a store" in said

    daemon.configure(settled | {"store": {"url": postgres}})
    await daemon.start()
    await daemon.until_firing({"drift": 1})
    api.do("restore_routing", numbers=3, connection="conn-0001")
    [story] = await told_ends(webhook_sink, 1)
    assert story[0]["alert_id"] == story[-1]["alert_id"] == opened["alert_id"]
    assert changes(story).count("opened") == 1
    await daemon.stop()
