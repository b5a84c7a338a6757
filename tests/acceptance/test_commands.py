"""The real command against a real simulator: what people type, and what they get."""

import array
import asyncio
import contextlib
import fcntl
import io
import json
import os
import pty
import pwd
import re
import signal
import sys
import termios
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitor import __version__
from monitor.cli.main import run
from monitor.simulator import Simulator, build_world
from tests.servers.process import Process, answers, free_port, running, wait_until
from tests.servers.webhook import Answer, WebhookSink

COMMAND = Path(sys.executable).with_name("voicelink-monitor")
KEY = "rg_live_account_1"
NAMES = ("conn-0001", "conn-0002")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return json.loads(self.out)


@dataclass(kw_only=True)
class Desk:
    """A folder with a config for the simulator, and the command to be run there."""

    folder: Path
    simulator: Simulator
    port: int

    @property
    def env(self) -> dict[str, str]:
        """The environment: nothing that the machine's own may hold."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder)}

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [str(COMMAND), *arguments]

    async def run(self, *arguments: str, **env: str) -> Ran:
        """Run a command to its end; whatever it does, there is no traceback."""
        process = await asyncio.create_subprocess_exec(
            *self.argv(*arguments),
            cwd=self.folder,
            env=self.env | env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in out + err
        assert KEY.encode() not in out + err
        return Ran(code=process.returncode or 0, out=out.decode(), err=err.decode())

    async def run_here(self, *arguments: str) -> Ran:
        """Run a command in this process: to start one of its own takes most of its time."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder):
            code = await asyncio.to_thread(run, arguments, out, err)
        return Ran(code=code, out=out.getvalue(), err=err.getvalue())

    def process(self, *arguments: str) -> Process:
        """Return a command that goes on until it is ended."""
        return Process(
            argv=self.argv(*arguments),
            log_file=self.folder / f"{arguments[0]}.log",
            error_file=self.folder / f"{arguments[0]}.err",
            env=self.env,
            cwd=self.folder,
        )

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Process]:
        """Run the daemon, ready."""
        process = self.process("run")
        process.ready_url = f"http://127.0.0.1:{self.port}/-/ready"
        async with running(process):
            yield process

    async def until(self, *arguments: str) -> list[Any]:
        """Return the rows that a command lists as JSON, once there are some."""

        async def rows() -> list[Any]:
            ran = await self.run(*arguments, "--format", "json")
            assert ran.code == 0, ran.err
            found: list[Any] = ran.data
            return found

        found: list[Any] = await wait_until(rows, what=" ".join(arguments))
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Return a desk in front of two connections of ten numbers."""
    simulator = Simulator(build_world(2, 10))
    async with simulator.serve() as url:
        port = free_port()
        ids = [simulator.world.connection(name).id for name in NAMES]
        connections = "".join(
            f'[[accounts.connections]]\nname = "{name}"\nid = "{id_}"\n'
            for name, id_ in zip(NAMES, ids, strict=True)
        )
        (tmp_path / "config.toml").write_text(f"""
[api]
base_url = "{url}"
[schedule]
interval = "1s"
recheck_interval = "100ms"
[drift]
keep_firing_for = "0s"
[alerts]
update_interval = "0s"
[web]
listen = "127.0.0.1:{port}"
[[accounts]]
name = "acme"
api_key = "{KEY}"
requests_per_minute = 6000
{connections}""")
        yield Desk(folder=tmp_path, simulator=simulator, port=port)


def remove_routing(desk: Desk) -> str:
    """Break the first number of the first connection, and return it."""
    number = desk.simulator.world.connection(NAMES[0]).keys(1)[0]
    desk.simulator.do("remove_routing", number=number)
    return number


async def test_version(desk: Desk) -> None:
    """It says the version, as the command and as the module."""
    assert await desk.run("--version") == Ran(code=0, out=f"{__version__}\n", err="")


async def test_sync_of_ready_numbers_exits_0(desk: Desk) -> None:
    """Everything is ready: 0, and a row for each connection; nothing was written anywhere."""
    ran = await desk.run("sync")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[:4] for line in ran.out.splitlines() if line.startswith("conn-")] == [
        [name, "10", "10", "0"] for name in NAMES
    ]
    assert [path.name for path in desk.folder.iterdir()] == ["config.toml"]
    assert desk.simulator.writes == 0


async def test_sync_of_a_drift_exits_1(desk: Desk) -> None:
    """A drifting number is listed with what to do; JSON is alone on standard output."""
    number = remove_routing(desk)
    ran = await desk.run("sync")
    assert ran.code == 1
    assert "ROUTING_MISSING" in ran.out
    listed = await desk.run("sync", "--format", "json")
    assert (listed.code, listed.err) == (1, "")
    first, second = listed.data
    assert (first["connection"], first["outcome"], first["numbers"], first["ready"]) == (
        NAMES[0],
        "ok",
        10,
        9,
    )
    assert [(each["key"], each["state"]) for each in first["drifting"]] == [(number, "ROUTING_MISSING")]
    assert second["drifting"] == []


async def test_sync_of_some_connections_asks_for_no_other(desk: Desk) -> None:
    """Named connections alone are checked."""
    remove_routing(desk)
    ran = await desk.run("sync", NAMES[1])
    assert ran.code == 0
    assert len(desk.simulator.requests) == 1


async def test_sync_that_cannot_check_exits_3(desk: Desk) -> None:
    """One connection that cannot be checked beats a drift of another; the reason is told."""
    remove_routing(desk)
    desk.simulator.do("deactivate_connection", connection=NAMES[1])
    ran = await desk.run("sync", "--format", "json")
    assert ran.code == 3
    assert [look["outcome"] for look in ran.data] == ["ok", "rejected"]
    assert "error: conn-0002: " in (await desk.run("sync")).err


async def test_sync_of_an_unknown_connection_exits_2(desk: Desk) -> None:
    """The nearest name is told, and nobody is asked."""
    ran = await desk.run("sync", "conn-001")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"error: no connection is called conn-001; did you mean conn-000[12]\?\n", ran.err)
    assert desk.simulator.requests == []


async def test_sync_discovers_connections(desk: Desk) -> None:
    """An account with `discover` is asked for its connections first; one can be named."""
    config = desk.folder / "config.toml"
    text = config.read_text().partition("[[accounts.connections]]")[0]
    config.write_text(f"{text}discover = true\n")
    ran = await desk.run("sync", "--format", "json")
    assert (ran.code, [look["connection"] for look in ran.data]) == (0, list(NAMES))
    assert len((await desk.run("sync", NAMES[0], "--format", "json")).data) == 1
    desk.simulator.do("revoke_key", account="account-1")
    refused = await desk.run("sync", "--format", "json")
    assert (refused.code, [look["outcome"] for look in refused.data]) == (3, ["unauthorized"])


async def test_sync_shows_ignored_numbers_and_does_not_count_them(desk: Desk) -> None:
    """What an [[ignore]] rule silences is marked."""
    number = remove_routing(desk)
    config = desk.folder / "config.toml"
    config.write_text(f'{config.read_text()}\n[[ignore]]\nnumber = "+{number}"\nreason = "spare"\n')
    ran = await desk.run("sync")
    assert ran.code == 0
    assert "ignored" in ran.out


async def test_config_errors_exit_2_without_values(desk: Desk) -> None:
    """A misspelt key is told with the nearest one; the key's value is nowhere."""
    config = desk.folder / "config.toml"
    config.write_text(config.read_text().replace("api_key", "api_kye"))
    for command in ("run", "sync", "check-config", "connections", "drift"):
        ran = await desk.run(command)
        assert (ran.code, ran.out) == (2, ""), command
        assert "did you mean api_key?" in ran.err


async def test_environment_alone_is_enough(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without any file, the key in the environment makes a config."""
    desk.folder = tmp_path_factory.mktemp("empty")
    ran = await desk.run("check-config", "--format", "json", VOICELINK_API_KEY=KEY)
    assert (ran.code, ran.data["file"], ran.data["accounts"][0]["name"]) == (0, None, "default")
    assert (await desk.run("sync")).code == 2


async def test_check_config_probes(desk: Desk) -> None:
    """It says what is configured, secrets starred; a probe that fails exits 3."""
    ran = await desk.run("check-config", "--probe")
    assert (ran.code, ran.err) == (0, "")
    assert "every 1s" in ran.out
    assert "120 of 6000" in ran.out
    shown = await desk.run("check-config", "--format", "json")
    assert shown.data["config"]["accounts"][0]["api_key"] == "**********"
    desk.simulator.do("revoke_key", account="account-1")
    failed = await desk.run("check-config", "--probe", "--format", "json")
    assert (failed.code, [look["outcome"] for look in failed.data["probe"]]) == (3, ["unauthorized"] * 2)


async def test_without_a_store_commands_say_so(desk: Desk) -> None:
    """Connections are listed as configured; everything else has nothing to read, and makes no store."""
    listed = await desk.run("connections", "--format", "json")
    assert (listed.code, [row["name"] for row in listed.data]) == (0, list(NAMES))
    asking = (["accept", NAMES[0]], ["number", "+918011223344"], ["explain", "+918011223344"])
    for command in (["drift"], ["changes"], ["alerts"], ["deliveries"], *asking):
        ran = await desk.run_here(*command)
        assert (ran.code, ran.out) == (2, ""), command
        assert "the daemon creates it when it first starts" in ran.err
    assert [path.name for path in desk.folder.iterdir()] == ["config.toml"]


async def test_check_config_tells_what_a_reload_then_does(desk: Desk) -> None:
    """With a daemon on the store: which alert would end, and the daemon's own reload ends it just so."""
    number, config = remove_routing(desk), desk.folder / "config.toml"
    asked = ("check-config", "--against-store")
    missing = await desk.run(*asked, "--format", "json")
    assert (missing.code, missing.out) == (2, "")
    assert "the daemon creates it when it first starts" in missing.err
    async with desk.daemon() as daemon:
        [alert] = await desk.until("alerts", "--status", "firing")
        same = await desk.run_here(*asked)
        assert (same.code, same.err) == (0, "")
        assert "Nothing that is open would end or change, and nothing would open." in same.out
        assert NAMES[0] in same.out  # what the config means is shown, too
        config.write_text(f'{config.read_text()}\n[[ignore]]\nnumber = "+{number}"\nreason = "spare"\n')
        would = (await desk.run_here(*asked, "--format", "json")).data
        assert [(each["alert_id"], each["reason"]) for each in would["ends"]] == [
            (alert["alert_id"], "ignored")
        ]
        assert (would["opens"], would["changes"], would["silences_numbers"]) == ([], [], 1)
        told = await desk.run_here(*asked)
        assert "It would make 1 drifting number quiet." in told.out
        assert "1 alert would end:" in told.out
        assert alert["alert_id"] in told.out
        assert (await desk.run("reload", str(daemon.pid))).code == 0
        [ended] = await desk.until("alerts", "--status", "resolved")
        assert (ended["alert_id"], ended["resolution"]) == (alert["alert_id"], "ignored")


NOTHING = {
    f"drift --connection {NAMES[1]}": f'no numbers in trouble for connections matching "{NAMES[1]}"',
    "drift --status ending": 'no numbers in trouble with status "ending"',
    "changes --since 2999-01-01": "no changes since 2999-01-01 00:00:00Z",
    f"changes --connection {NAMES[0]} --change removed": 'no changes of kind "removed"',
    "alerts --connection zzz": 'no connection matches "zzz"',
    "alerts --state GONE --connection z": 'no connection matches "z"\nno alerts with state or issue "GONE"',
    "alerts --status firing --state GONE": 'no alerts with state or issue "GONE"',
    "deliveries --receiver lag": "no receiver is called lag; did you mean log?",
    "deliveries --status dead": 'no deliveries with status "dead"',
    "connections --connection zzz": 'no connection matches "zzz"',
}
"""Filters that match nothing while one number drifts, and which part the command blames."""


async def test_the_store_is_shown_while_the_daemon_runs(desk: Desk) -> None:
    """All commands tell the same story; SIGTERM ends the daemon with 0."""
    number = remove_routing(desk)
    async with desk.daemon() as daemon:
        [alert] = await desk.until("alerts", "--status", "firing")
        [drift] = await desk.until("drift", "--status", "alerting", "--state", "routing_missing")
        assert (drift["key"], drift["alert_id"]) == (number, alert["alert_id"])
        assert alert["connection"] == NAMES[0]
        [change] = await desk.until("changes", "--connection", "*1", "--change", "appeared", "--since", "1h")
        assert (change["key"], change["state"]) == (number, "ROUTING_MISSING")
        [delivery] = await desk.until("deliveries", "--receiver", "log", "--status", "delivered")
        assert delivery["alert_id"] == alert["alert_id"]
        rows = await desk.until("connections")
        assert [(row["name"], row["numbers"], row["drifting"]) for row in rows] == [
            (NAMES[0], 10, 1),
            (NAMES[1], 10, 0),
        ]
        detail = (await desk.run("number", "+" + number, "--format", "json")).data
        assert (detail["state"], detail["alerts"]) == ("ROUTING_MISSING", [alert["alert_id"]])
        for asked in (["+91", number[2:6], number[6:]], [alert["alert_id"]], [alert["alert_id"][:8]]):
            explained = await desk.run_here("explain", *asked, "--format", "json")
            assert (explained.code, explained.data["verdict"], explained.err) == (0, "pages", ""), asked
            assert any(line.startswith("log told at ") for line in explained.data["sentences"])
        for command in ("drift", "alerts", "changes", "deliveries", "connections", f"number {number}"):
            table = await desk.run_here(*command.split())
            assert (table.code, table.err) == (0, "")
            assert NAMES[0] in table.out
        for arguments, said in NOTHING.items():
            ran = await desk.run_here(*arguments.split())
            assert (ran.code, ran.out, ran.err) == (0, "", f"{said}\n"), arguments
        for command in ("number", "explain"):
            nothing = await desk.run_here(command, "99999999", "--format", "json")
            assert (nothing.code, nothing.out) == (1, "")
            assert "no number is, or ends with, 99999999" in nothing.err
        assert (await desk.run_here("number", "12")).code == 2
        assert "no alert has this id" in (await desk.run_here("explain", "ffff")).err
        empty = await desk.run_here("alerts", "--connection", "zzz", "--format", "json")
        assert (empty.code, empty.data, empty.err) == (0, [], 'no connection matches "zzz"\n')
        assert (await desk.run("healthcheck")) == Ran(code=0, out="healthy\n", err="")
        assert await daemon.stop() == 0
    assert (await desk.run("healthcheck")).code == 1
    assert "Traceback" not in daemon.output


async def test_accept_ends_the_alert_of_a_removed_number(desk: Desk) -> None:
    """A removed number, written as people do, is accepted; the daemon ends its alert with that word.

    Its log says who has accepted it.
    """
    async with desk.daemon() as daemon:
        await desk.until("connections", "--connection", NAMES[0])
        await wait_until(lambda: len(desk.simulator.requests) >= 4, what="first syncs")
        number = desk.simulator.world.connection(NAMES[0]).keys(1)[0]
        refused = await desk.run("accept", NAMES[0])
        assert (refused.code, refused.out) == (2, "")
        desk.simulator.do("remove_number", number=number)
        await desk.until("alerts", "--status", "firing", "--kind", "number_removed")
        other = await desk.run("accept", NAMES[0], "+12025550100")
        assert (other.code, other.err.splitlines()[1:]) == (
            2,
            [f"could be accepted: +{number} (number_removed)"],
        )
        spoken = f"+{number[:2]} {number[2:6]}-{number[6:]}"
        taken = await desk.run("accept", NAMES[0], spoken, "--format", "json")
        assert taken.code == 0
        assert taken.data == [{"key": number, "phone_number": f"+{number}", "kind": "number_removed"}]
        [alert] = await desk.until("alerts", "--status", "resolved", "--kind", "number_removed")
        await wait_until(lambda: "action.performed" in daemon.output, what="the line of the acceptance")
    [did] = [json.loads(line) for line in daemon.output.splitlines() if "action.performed" in line]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert {name: did[name] for name in ("action", "user", "address", "target")} == {
        "action": "accept",
        "user": user,
        "address": "command",
        "target": f"{NAMES[0]}: +{number}",
    }
    assert did.keys() == {"timestamp", "level", "event", "action", "user", "address", "target"}
    assert alert["resolution"] == "accepted"
    nobody = await desk.run("accept", "conn-0003")
    assert (nobody.code, "did you mean" in nobody.err) == (2, True)


async def test_dead_deliveries_are_sent_again(desk: Desk, webhook_sink: WebhookSink) -> None:
    """A refused message is dead until somebody asks; then it goes out, once."""
    webhook_sink.script([Answer(status=400)])
    config = desk.folder / "config.toml"
    receiver = f'[[receivers]]\nname = "hook"\ntype = "webhook"\nurl = "{webhook_sink.url}"\n'
    config.write_text(f"{config.read_text()}\n{receiver}")
    remove_routing(desk)
    async with desk.daemon():
        [dead] = await desk.until("deliveries", "--status", "dead")
        unknown = await desk.run("deliveries", "--retry", "nobody")
        assert (unknown.code, unknown.err) == (1, "error: nobody: no delivery has this id\n")
        retried = await desk.run("deliveries", "--retry", "all", "--format", "json")
        assert (retried.code, retried.data) == (0, {"retried": [dead["id"]], "refused": {}})
        [sent] = await desk.until("deliveries", "--receiver", "hook", "--status", "delivered")
    assert sent["id"] == dead["id"]
    first, second = await webhook_sink.wait_for(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_receiver_that_was_mended_is_tried_at_once_and_hears_who_sees_to_it(
    desk: Desk, webhook_sink: WebhookSink
) -> None:
    """After a 410 it is left alone until a user asks, and says so; then the alert is acknowledged."""
    webhook_sink.script([Answer(status=410)])
    config = desk.folder / "config.toml"
    receiver = f'[[receivers]]\nname = "hook"\ntype = "webhook"\nurl = "{webhook_sink.url}"\n'
    config.write_text(f"{config.read_text()}\n{receiver}")
    remove_routing(desk)
    async with desk.daemon() as daemon:
        await webhook_sink.wait_for(1)
        unknown = await desk.run("deliveries", "--retry-now", "hok")
        assert (unknown.code, unknown.err) == (2, "error: no receiver is called hok; did you mean hook?\n")
        [waiting] = await desk.until("deliveries", "--receiver", "hook", "--status", "pending")
        assert waiting["gone_since"] is not None
        listed = await desk.run("deliveries", "--receiver", "hook")
        assert "is not tried before a reload or voicelink-monitor deliveries --retry-now hook" in listed.err
        tried = await desk.run("deliveries", "--retry-now", "hook")
        assert (tried.code, tried.out) == (0, "tried now: 1 message for hook\n")
        idle = await desk.run("deliveries", "--retry-now", "log")
        assert (idle.code, idle.out, idle.err) == (0, "nothing waits for log\n", "")
        opened = json.loads((await webhook_sink.wait_for(2))[1].body)["data"]
        alert_id = opened["alert_id"]
        for asked in ([alert_id[:9], "--note", "rolling back", "--by", "asha"], [alert_id]):
            done = await desk.run("ack", *asked)
            assert done.code == 0
        assert done.out.startswith("already acknowledged by asha since 20")
        assert (await desk.run("ack", "zzz")).code == 1
        told = json.loads((await webhook_sink.wait_for(3))[2].body)
        assert (told["type"], told["data"]["acknowledged"]["note"]) == (
            "voicelink.alert.acknowledged",
            "rolling back",
        )
        await wait_until(lambda: "alert.acknowledged" in daemon.output, what="the line of it")
    assert len(webhook_sink.requests) == 3


async def test_dead_deliveries_are_dismissed(desk: Desk, webhook_sink: WebhookSink) -> None:
    """They are closed, one or all, and never sent."""
    webhook_sink.script([Answer(status=400)])
    config = desk.folder / "config.toml"
    receiver = f'[[receivers]]\nname = "hook"\ntype = "webhook"\nurl = "{webhook_sink.url}"\n'
    config.write_text(f"{config.read_text()}\n{receiver}")
    remove_routing(desk)
    async with desk.daemon():
        [dead] = await desk.until("deliveries", "--status", "dead")
        both = await desk.run("deliveries", "--retry", "all", "--dismiss", "all")
        assert (both.code, "cannot be combined with --retry" in both.err) == (2, True)
        unknown = await desk.run("deliveries", "--dismiss", "nobody")
        assert (unknown.code, unknown.err) == (1, "error: nobody: no delivery has this id\n")
        done = await desk.run("deliveries", "--dismiss", dead["id"], "--format", "json")
        assert (done.code, done.data) == (0, {"dismissed": [dead["id"]], "refused": {}})
        assert (await desk.run("deliveries", "--dismiss", "all")).out == "dismissed: 0\n"
        [closed] = await desk.until("deliveries", "--receiver", "hook", "--status", "closed")
    assert closed["id"] == dead["id"]
    assert len(webhook_sink.requests) == 1


async def test_a_second_daemon_is_refused(desk: Desk) -> None:
    """One store, one daemon: the second says why, and exits 2."""
    async with desk.daemon():
        ran = await desk.run("run", VOICELINK_MONITOR_WEB__LISTEN="127.0.0.1:0")
    assert ran.code == 2
    assert "in use by another daemon" in ran.err


async def test_simulate_prints_a_config_that_works(desk: Desk) -> None:
    """What it prints can be pasted; Ctrl-C ends it with 0."""
    double = desk.process("simulate", "--port", "0")
    async with running(double):
        await wait_until(lambda: "Ctrl-C" in double.output, what="its words")
        pasted = "\n".join(line.strip() for line in double.output.splitlines() if line.startswith("    "))
        (desk.folder / "pasted.toml").write_text(pasted)
        ran = await desk.run("--config", "pasted.toml", "sync", "--format", "json")
        assert (ran.code, [look["connection"] for look in ran.data]) == (0, ["acme-sales"])
        double.signal(signal.SIGINT)
        assert await double.wait() == 0


async def test_simulate_says_what_is_wrong_with_a_scenario(desk: Desk) -> None:
    """A step that does not exist is named, in its file."""
    (desk.folder / "bad.toml").write_text(
        '[[accounts]]\nname = "a"\nkey = "rg_live_a"\n[[steps]]\ndo = "fly"\n'
    )
    ran = await desk.run("simulate", "--scenario", "bad.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: bad.toml: ")


async def test_demo_tells_its_story_and_leaves_nothing(desk: Desk) -> None:
    """The page's address comes first and answers; the first alert is told; Ctrl-C ends it with 0."""
    (desk.folder / "config.toml").unlink()
    show = desk.process("demo", "--port", "0")
    async with running(show):
        await wait_until(lambda: "metrics" in show.output, what="the page")
        page = re.findall(r"http://127\.0\.0\.1:\d+/", show.output)[0]
        assert await answers(page)
        assert await answers(f"{page}metrics")
        await wait_until(
            lambda: "alert opened, critical: acme-sales: 6 numbers" in show.output, what="an alert"
        )
        show.signal(signal.SIGINT)
        assert await show.wait() == 0
    told = show.output
    assert told.index("Status page") < told.index("provider")
    assert "Traceback" not in told + (desk.folder / "demo.err").read_text()
    assert sorted(path.name for path in desk.folder.iterdir()) == ["demo.err", "demo.log"]


async def test_demo_ends_by_itself(desk: Desk) -> None:
    """After its duration it is over, with 0, and says where to look next."""
    ran = await desk.run("demo", "--port", "0", "--duration", "100ms")
    assert (ran.code, ran.err) == (0, "")
    assert "README.md" in ran.out


async def test_demo_at_a_taken_port_exits_2(desk: Desk, webhook_sink: WebhookSink) -> None:
    """A port that was asked for is not exchanged for another."""
    port = re.search(r":(\d+)", webhook_sink.url)
    assert port is not None
    ran = await desk.run("demo", "--port", port[1])
    assert ran.code == 2
    assert f"cannot listen on 127.0.0.1:{port[1]}" in ran.err


async def test_interrupted_sync_is_quiet(desk: Desk) -> None:
    """Ctrl-C while the provider hangs: 130, and not a word."""
    desk.simulator.do("fault", delay="30s")
    looking = desk.process("sync")
    async with running(looking):
        await wait_until(lambda: desk.simulator.requests, what="the request")
        looking.signal(signal.SIGINT)
        assert await looking.wait() == 130
    assert looking.output == ""
    assert (desk.folder / "sync.err").read_text() == ""


async def _ran(desk: Desk, arguments: Sequence[str], redirect: str) -> tuple[int, str]:
    """Return the exit code of a command with redirected streams, and what it says on its standard error."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$@" {redirect}', "sh", *desk.argv(*arguments)),
        cwd=desk.folder,
        env=desk.env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert out == b""
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_commands_say_that_their_result_found_no_space(desk: Desk) -> None:
    """Whatever they have to say: a code that means nothing else, and one line."""
    commands = ("check-config", "sync", "connections", "alerts", "test-alert")
    async with desk.daemon():
        for arguments in (["--version"], ["--help"], *([each, "--format", "json"] for each in commands)):
            said = await _ran(desk, arguments, ">/dev/full")
            expected = "error: standard output could not be written: No space left on device\n"
            assert said == (74, expected), arguments


async def test_commands_work_with_closed_streams(desk: Desk) -> None:
    """Their exit code is the same as ever, and nothing is said about it."""
    remove_routing(desk)
    for arguments, code in (
        (["--version"], 0),
        (["sync"], 1),
        (["sync", "--format", "json"], 1),
        (["drift"], 2),
    ):
        assert await _ran(desk, arguments, "<&- >&- 2>&-") == (code, ""), arguments
    assert await _ran(desk, ["sync"], ">&-") == (1, "")


async def test_commands_are_quiet_when_their_reader_goes_away(desk: Desk) -> None:
    """As with `| head -1`: not a word, and the shell's code for a broken pipe."""
    for arguments in (["--help"], ["sync"], ["demo", "--port", "0"]):
        reading, writing = os.pipe()
        os.close(reading)
        process = await _begin(desk, *arguments, stdout=writing)
        os.close(writing)
        _, err = await process.communicate()
        assert (process.returncode, err) == (141, b""), arguments


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe that holds no more than it must."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    yield reading, writing
    os.close(reading)
    os.close(writing)


_PIPE_BYTES = 4096


@pytest.mark.parametrize(("command", "path"), [("demo", "-/ready"), ("simulate", "_sim/stats")])
async def test_commands_that_run_on_end_when_told_though_nobody_reads(
    desk: Desk, pipe: tuple[int, int], command: str, path: str
) -> None:
    """A full pipe on standard output holds up neither their work nor SIGTERM."""
    os.write(pipe[1], b"." * _PIPE_BYTES)
    port = free_port()
    process = await _begin(desk, command, "--port", str(port), stdout=pipe[1])
    await wait_until(lambda: answers(f"http://127.0.0.1:{port}/{path}"), what="an answer")
    process.terminate()
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_command_that_waits_for_its_reader_can_be_interrupted(
    desk: Desk, pipe: tuple[int, int]
) -> None:
    """Ctrl-C ends it also when there is more to say than the pipe holds."""
    process = await _begin(desk, "config-schema", stdout=pipe[1])
    held = array.array("i", [0])

    def is_full() -> bool:
        fcntl.ioctl(pipe[0], termios.FIONREAD, held)
        return held[0] >= _PIPE_BYTES

    await wait_until(is_full, what="a full pipe")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def _begin(desk: Desk, *arguments: str, stdout: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *desk.argv(*arguments),
        cwd=desk.folder,
        env=desk.env,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_messages_that_nobody_reads_hold_up_no_command(desk: Desk, pipe: tuple[int, int]) -> None:
    """A full pipe on standard error costs a command two seconds, and not its exit code."""
    os.write(pipe[1], b"." * _PIPE_BYTES)
    process = await asyncio.create_subprocess_exec(
        *desk.argv("sync", "conn-001"), cwd=desk.folder, env=desk.env, stderr=pipe[1]
    )
    assert await process.wait() == 2


@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)], ids=["terminal", "NO_COLOR"]
)
async def test_colours_are_for_terminals_that_want_them(
    desk: Desk, env: dict[str, str], coloured: bool
) -> None:
    """On a terminal `ok` is green, unless NO_COLOR says otherwise."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *desk.argv("sync", NAMES[0]),
        cwd=desk.folder,
        env=desk.env | {"TERM": "xterm-256color"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    assert await process.wait() == 0
    shown = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    assert NAMES[0] in shown
    assert ("\x1b[32m" in shown) is coloured
