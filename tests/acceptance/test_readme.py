"""The README does what it says: its commands run, its TOML loads, its names exist."""

import asyncio
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.cli.catalog import CATALOG
from monitor.config import load_config
from monitor.drift.alert import Kind
from monitor.simulator import build_world
from tests.acceptance.daemon import to_toml
from tests.acceptance.scene import Provider, RunDaemon, RunProvider, settings
from tests.servers.process import Process, wait_until
from tests.servers.webhook import WebhookSink

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ").removeprefix("VOICELINK_API_KEY=rg_live_your_key ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
OURS = [command for command in COMMANDS if command.startswith("voicelink-monitor ")]


def test_readme_has_the_two_commands() -> None:
    """The main job and the tests, as users are promised."""
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/voicelink-monitor demo" in COMMANDS
    assert "tests/run" in COMMANDS


@pytest.mark.parametrize("text", TOML, ids=range(len(TOML)))
def test_readme_toml_loads(text: str, tmp_path: Path) -> None:
    """Every config in it is a whole one that can be used."""
    for name in ("acme", "pagerduty", "slack", "webhook"):
        (tmp_path / name).write_text("https://hooks.example.com/x" if name == "slack" else "whsec_c2VjcmV0")
    file = tmp_path / "config.toml"
    file.write_text(text.replace("/run/secrets", str(tmp_path)))
    assert load_config(file, {}).accounts


def test_readme_shows_a_message_as_it_is() -> None:
    """The message in it is one that the monitor writes."""
    golden = (ROOT / "tests/golden/text/drift_opened_6.txt").read_text().rstrip()
    assert f"```text\n{golden}\n```" in README


def test_readme_names_every_command_kind_and_receiver() -> None:
    """Nothing that exists goes unmentioned."""
    for entry in CATALOG:
        assert re.search(rf"`{entry.name}[ `\[]", README), entry.name
    for kind in Kind:
        assert f"| `{kind.value}` |" in README, kind
    for name in ("log", "alertmanager", "pagerduty", "slack", "webhook", "apprise"):
        assert re.search(rf"\| `{name}`( \(always on\))? \|", README), name


async def test_readme_names_exactly_the_metrics_that_are_exported(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """A metric that is renamed, dropped or added without a word here fails."""
    api = await provider(build_world(1, 10))
    daemon = run_daemon(settings(api, metrics={"numbers": True}))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    text = (await daemon.get("/metrics")).text
    families = set(re.findall(r"^# TYPE (voicelink_\w+)", text, re.MULTILINE))
    table = README[README.index("## Metrics") : README.index("## Run it for real")]
    named = set(re.findall(r"`(voicelink_\w+)`", table))
    # Both appear when there is something to show only.
    assert named - families <= {"voicelink_monitor_oldest_pending_delivery_timestamp_seconds"}
    assert families - named <= {"voicelink_monitor_number_series_dropped"}
    await daemon.stop()


@pytest.fixture
async def place(provider: RunProvider, tmp_path: Path) -> AsyncIterator[tuple[Path, Provider]]:
    """A folder with a config that names what the README names, before a provider that has it."""
    world = build_world(1, 10)
    api = await provider(world)
    async with WebhookSink() as hook:
        (tmp_path / "config.toml").write_text(to_toml(settings(api, hook)))
        yield tmp_path, api


@pytest.mark.parametrize("command", OURS)
async def test_readme_command_runs(command: str, place: tuple[Path, Provider]) -> None:
    """Each of our commands in it works as it stands; the daemon runs until it is told to end."""
    folder, _ = place
    argv = [sys.executable, "-m", "monitor", *shlex.split(command)[1:]]
    if argv[3] == "run":
        process = Process(argv=argv, log_file=folder / "out.log", cwd=folder)
        await process.start()
        try:
            await wait_until(lambda: "daemon.started" in process.output, what="the daemon")
            process.signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            await process.kill()
        return
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_readme_main_job_runs_on_a_clean_copy(tmp_path: Path) -> None:
    """Virtual environment, install, demo: the first thing a newcomer types."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "monitor", copy / "monitor", ignore=shutil.ignore_patterns("__pycache__"))
    [main_job] = [command for command in COMMANDS if command.endswith("voicelink-monitor demo")]
    command = main_job.replace("pip install .", "pip install --quiet .") + " --port 0 --duration 3s"
    done = subprocess.run(
        ["bash", "-c", command], cwd=copy, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Status page" in done.stdout
