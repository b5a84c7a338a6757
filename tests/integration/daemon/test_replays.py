"""Replays of a real store, each in a process of its own, on the lowest priority."""

import asyncio
import io
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.cli.main import run
from monitor.clock import SystemClock
from monitor.config import Config, load_config
from monitor.config.keys import leaves
from monitor.daemon.replays import ReplayRunner
from monitor.errors import Busy, ConfigError, NoHistory, Refused
from monitor.replay.report import Verdict
from monitor.simulator import Simulator, build_world
from monitor.store.actions import Actor
from monitor.store.database import Database
from monitor.web.replays import RULES, Wanted
from tests.acceptance.daemon import to_toml
from tests.fakes.clock import START
from tests.fakes.log import FakeLog
from tests.fakes.rig import Rig
from tests.servers.process import wait_until

README = Path(__file__).parents[3] / "README.md"
OPS = Actor(user="ops", address="127.0.0.1")
WANTED = Wanted(since=START - timedelta(days=1))
CONFIG = '[drift]\nconfirm_syncs = {confirm}\n[[accounts]]\nname = "account-1"\napi_key = "rg_live_s3cret"\n'


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a store in which an alert about three numbers fires."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres")
    async with Database(url) as database:
        await database.migrate()
        made = Rig(database, Simulator(build_world(1, 10)))
        await made.configure("hook")
        await made.run()
        made.simulator.do("remove_routing", numbers=3)
        await made.run()
        await made.run()
        assert await made.alerts() == [("drift", "firing", None)]
        await made.active.close()
    return url


def runner(url: str, folder: Path, log: FakeLog | None = None, **given: float) -> ReplayRunner:
    """Return what a daemon would have with this store, and a config of another one."""
    file = folder / "config.toml"
    file.write_text(CONFIG.format(confirm=2))
    config = load_config(file, {})
    log = log or FakeLog()
    return ReplayRunner(
        config=lambda: config, store_url=lambda: url, clock=SystemClock(), log=log.logger, **given
    )


async def verdicts(made: ReplayRunner, wanted: Wanted) -> list[Verdict]:
    """Return what became of each alert."""
    return [alert.verdict for alert in (await made.replay(wanted, OPS)).alerts]


async def test_history_comes_to_what_happened_and_other_rules_to_something_else(
    url: str, tmp_path: Path
) -> None:
    """By the rules of then, by single other ones, by another config; on both kinds of store."""
    made = runner(url, tmp_path)
    found = await made.replay(WANTED, OPS)
    assert [alert.verdict for alert in found.alerts] == [Verdict.SAME]
    assert (found.messages["hook"].recorded, found.messages["hook"].replayed, found.strayed) == (1, 1, 0)
    patient = Wanted(since=WANTED.since, rules={"drift.confirm_syncs": "50"})
    assert await verdicts(made, patient) == [Verdict.GONE]
    posted = Wanted(since=WANTED.since, config=CONFIG.format(confirm=50).encode())
    assert await verdicts(made, posted) == [Verdict.GONE]
    assert await verdicts(made, Wanted(since=WANTED.since, connection="other-*")) == []


async def test_readme_shows_a_replay_as_it_is(tmp_path: Path) -> None:
    """A short drift pages no more, a long one later: as the command writes it."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    accounts = [{"name": "acme", "api_key": "rg_live_account_1", "connections": [{"name": "acme-sales"}]}]
    async with Database(url) as database:
        await database.migrate()
        made = Rig(database, Simulator(build_world(1, 10)))
        await made.configure("hook", accounts=accounts)

        async def minutes(many: int) -> None:
            for _ in range(4 * many):
                await made.run(15.0)

        await minutes(2)
        made.simulator.do("remove_routing", numbers=1)
        await minutes(1)
        made.simulator.do("restore_routing", numbers=1)
        await minutes(12)
        made.simulator.do("unassign_agent", numbers=4)
        await minutes(20)
        await made.active.close()
    hook = {"name": "hook", "type": "webhook", "url": "http://x"}
    given = {"drift": {"confirm_syncs": 6}, "store": {"url": url}, "accounts": accounts, "receivers": [hook]}
    (tmp_path / "new.toml").write_text(to_toml(given))
    out, err = io.StringIO(), io.StringIO()
    asked = ["replay", "--config", str(tmp_path / "new.toml"), "--since", "2026-03-01"]
    assert await asyncio.to_thread(run, asked, out, err) == 0, err.getvalue()
    shown = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    assert (
        f"$ voicelink-monitor replay --config new.toml --since 2026-03-01\n{shown}\n```" in README.read_text()
    )


@pytest.fixture
async def store(tmp_path: Path) -> str:
    """Return the URL of a store without history."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    async with Database(url) as database:
        await database.migrate()
    return url


async def test_problems_of_a_config_name_keys_and_no_value_goes_anywhere(store: str, tmp_path: Path) -> None:
    """Neither into the answer nor into the log; what this process adds to the environment is not named."""
    log = FakeLog()
    made = runner(store, tmp_path, log)
    bad = CONFIG.format(confirm=0) + 'api_kye = "rg_live_s3cret"\n[store]\nurl = "sqlite:///elsewhere.db"\n'
    with pytest.raises(ConfigError) as refused:
        await made.replay(Wanted(since=START, config=bad.encode()), OPS)
    assert refused.value.problems == [
        "drift.confirm_syncs: must be at least 1",
        "accounts[0].api_kye: unknown key; did you mean api_key?",
    ]
    with pytest.raises(ConfigError) as refused:
        await made.replay(Wanted(since=START, rules={"drift.confirm_syncs": "rg_live_s3cret"}), OPS)
    assert refused.value.problems == ["drift.confirm_syncs: expected a whole number, like 30"]
    assert "s3cret" not in str(log.lines)
    assert [line["user"] for line in log.of("replay.ended")] == ["ops", "ops"]


async def test_config_is_not_needed_where_the_environment_has_all(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon without a file replays, too; and whatever a posted config says, it is the daemon's store."""
    monkeypatch.setenv("VOICELINK_API_KEY", "rg_live_key")
    config: Config = load_config(None)
    made = ReplayRunner(
        config=lambda: config, store_url=lambda: store, clock=SystemClock(), log=FakeLog().logger
    )
    elsewhere = f'[store]\nurl = "sqlite:///{tmp_path / "none.db"}"\n'.encode()
    for wanted in (
        WANTED,
        Wanted(since=START, rules={"drift.confirm_syncs": "3"}),
        Wanted(since=START, config=elsewhere),
    ):
        with pytest.raises(NoHistory):
            await made.replay(wanted, OPS)


async def test_config_that_is_broken_on_disk_is_said(store: str, tmp_path: Path) -> None:
    """The daemon goes on with its old one; a replay cannot."""
    made = runner(store, tmp_path)
    (tmp_path / "config.toml").write_text("drift = 1\n")
    with pytest.raises(Refused, match="drift: expected a table"):
        await made.replay(WANTED, OPS)


def first_to_go(pid: int) -> bool:
    """Return whether a process is ended before others when memory is short."""
    return Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


async def test_replay_is_one_at_a_time_steps_back_and_ends_with_its_client(
    store: str, tmp_path: Path
) -> None:
    """Its process has the lowest priority and goes first when memory is short; it is killed, not awaited."""
    made = runner(store, tmp_path)
    task = asyncio.create_task(made.replay(WANTED, OPS))
    await wait_until(lambda: made._process is not None, what="a process")
    process = made._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    assert first_to_go(process.pid)
    with pytest.raises(Busy):
        await made.replay(WANTED, OPS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(NoHistory):
        await made.replay(WANTED, OPS)


async def test_replay_ends_with_the_daemon(store: str, tmp_path: Path) -> None:
    """Whoever waits for it is told."""
    made = runner(store, tmp_path)
    task = asyncio.create_task(made.replay(WANTED, OPS))
    await wait_until(lambda: made._process is not None, what="a process")
    await made.close()
    with pytest.raises(Refused):
        await task


async def test_replay_that_takes_too_long_is_given_up(store: str, tmp_path: Path) -> None:
    """Nothing is left of it."""
    made = runner(store, tmp_path, limit_s=0.01)
    with pytest.raises(Refused, match="ask for a shorter time"):
        await made.replay(WANTED, OPS)
    assert made._process is None


def test_single_rules_are_keys_of_the_config(tmp_path: Path) -> None:
    """Each has a value in the active config."""
    assert set(RULES) <= {".".join(leaf.path) for leaf in leaves(Config)}
    assert set(runner("", tmp_path).values()) == set(RULES)
