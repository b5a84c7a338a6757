"""What happens to the store while the daemon runs: it is said, nothing is lost, and the daemon goes on."""

import io
import sqlite3
from contextlib import closing
from pathlib import Path

from monitor.cli.main import run
from monitor.simulator import build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import RunDaemon, RunProvider, changes, settings, told_ends
from tests.servers.disk import fill_up, tmpfs
from tests.servers.process import wait_until
from tests.servers.webhook import WebhookSink

LOOK_S = 30.0
"""The store's file is looked at every 10 s; failing writes matter after 15 s."""


async def not_ready(daemon: Daemon, words: str) -> None:
    """Wait until the daemon is not ready for this reason, and see that it says so everywhere."""

    async def said() -> bool:
        answer = await daemon.get("/-/ready")
        return answer.status_code == 503 and words in answer.text

    await wait_until(said, timeout_s=LOOK_S, what=f"not ready: {words}")
    assert (await daemon.get("/-/healthy")).is_success
    assert words in (await daemon.get("/")).text
    assert words in (await daemon.get("/api/v1/status")).json()["not_ready"]
    reason = words.rpartition(": ")[2]
    assert any(reason in line["error"] for line in daemon.events("store.failed"))
    assert (await daemon.value("voicelink_monitor_store_errors_total") or 0) > 0


async def ready(daemon: Daemon) -> None:
    """Wait until the daemon is ready again."""
    await wait_until(daemon.ready, timeout_s=LOOK_S, what="readiness")


async def test_store_that_is_moved_away_and_back_loses_nothing(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """While it is away nothing is told and no heartbeat is sent; once it is back, what broke is told."""
    api = await provider(build_world(1, 10))
    daemon = run_daemon(settings(api, webhook_sink))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    store = daemon.folder / "store.db"
    store.rename(daemon.folder / "moved.db")
    await not_ready(daemon, "the store file was removed while running")
    api.do("remove_routing", numbers=3)
    out, err = io.StringIO(), io.StringIO()
    assert run(["healthcheck", "--url", f"{daemon.page}/-/healthy"], out, err) == 0
    assert "healthy, but not ready: the store is unavailable: the store file was removed" in out.getvalue()
    with closing(sqlite3.connect(daemon.folder / "moved.db")) as moved:
        assert moved.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert not webhook_sink.requests
    (daemon.folder / "moved.db").rename(store)
    await ready(daemon)
    await daemon.wait_for("store.recovered")
    [opened] = await daemon.wait_for("alert.opened")
    assert opened["numbers_total"] == 3
    api.do("restore_routing", numbers=3)
    [story] = await told_ends(webhook_sink, 1)
    assert [changes(story)[0], changes(story)[-1]] == ["opened", "resolved"]
    await daemon.stop()


async def test_store_that_is_replaced_is_left_alone_until_a_restart(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink
) -> None:
    """A backup is put in its place: it is used after a restart, and not touched before."""
    api = await provider(build_world(1, 10))
    daemon = run_daemon(settings(api, webhook_sink))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    store, backup = daemon.folder / "store.db", daemon.folder / "backup.db"
    with closing(sqlite3.connect(store)) as live, closing(sqlite3.connect(backup)) as copy:
        live.backup(copy)
    content = backup.read_bytes()
    backup.rename(store)
    await not_ready(daemon, "the store file was replaced while running: restart the monitor")
    assert store.read_bytes() == content
    await daemon.stop()
    assert store.read_bytes() == content
    await daemon.start()
    api.do("remove_routing", numbers=3)
    await daemon.wait_for("alert.opened")
    await daemon.stop()


async def test_full_disk_is_borne_and_nothing_is_lost(
    run_daemon: RunDaemon, provider: RunProvider, webhook_sink: WebhookSink, tmp_path: Path
) -> None:
    """The reason is said; with space again, what broke meanwhile is told, and nothing else."""
    api = await provider(build_world(1, 10))
    folder = tmp_path / "small"
    with tmpfs(folder, "size=4M"):
        daemon = run_daemon(settings(api, webhook_sink, store={"url": f"sqlite:///{folder}/store.db"}))
        await daemon.start()
        await daemon.until("voicelink_up", 1, connection="conn-0001")
        with closing(sqlite3.connect(folder / "store.db", timeout=30)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # there is room in it for a while
        fill_up(folder / "ballast")
        api.do("remove_routing", numbers=3)
        await not_ready(daemon, "no snapshot could be kept for 15 s: the disk is full")
        assert not webhook_sink.requests
        lines = daemon.events("store.failed")
        assert len(lines) == len({(line["doing"], line["error"]) for line in lines}), "said over and over"
        (folder / "ballast").unlink()
        await ready(daemon)
        [opened] = await daemon.wait_for("alert.opened")
        assert opened["numbers_total"] == 3
        api.do("restore_routing", numbers=3)
        [story] = await told_ends(webhook_sink, 1)
        await daemon.stop()
        assert changes(story)[0] == "opened"
        assert changes(story)[-1] == "resolved"


async def test_store_that_another_program_locks_is_waited_for(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """A shell that holds a transaction open is named as the reason; once it ends, all is well."""
    api = await provider(build_world(1, 10))
    daemon = run_daemon(settings(api))
    await daemon.start()
    with closing(sqlite3.connect(daemon.folder / "store.db", timeout=30, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        await not_ready(daemon, "no snapshot could be kept for 15 s: another program keeps it locked")
        shell.execute("ROLLBACK")
        await ready(daemon)
    await daemon.stop()


async def test_second_daemon_on_a_link_to_the_store_is_refused(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """By a symbolic link or a hard link, it is the same store."""
    given = settings(await provider())
    first = run_daemon(given)
    await first.start()
    store = first.folder / "store.db"
    for link in ("symbolic", "hard"):
        path = first.folder / f"{link}.db"
        if link == "hard":
            path.hardlink_to(store)
        else:
            path.symlink_to(store)
        second = run_daemon(given | {"store": {"url": f"sqlite:///{path}"}})
        assert "in use by another daemon" in await second.refused()
    assert await first.ready()
    await first.stop()
