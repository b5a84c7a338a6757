"""The README does what it says: its commands run, its TOML loads, its names exist."""

import asyncio
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest
from fastapi.routing import iter_route_contexts

from monitor.cli.catalog import CATALOG
from monitor.config import ReceiverConfig, load_config
from monitor.config.environment import read_environment
from monitor.config.keys import leaves, tables
from monitor.config.settings import Config
from monitor.drift.alert import Kind
from monitor.metrics import Metrics
from monitor.simulator import build_world
from monitor.store.database import Database
from tests.acceptance.daemon import to_toml
from tests.acceptance.scene import Provider, RunProvider, settings
from tests.integration.web.site import Site
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
    (tmp_path / "voicelink-monitor").mkdir()
    for name in ("acme", "voicelink-monitor/voicelink-api-key", "pagerduty", "slack", "webhook"):
        (tmp_path / name).write_text("https://hooks.example.com/x" if name == "slack" else "whsec_c2VjcmV0")
    file = tmp_path / "config.toml"
    file.write_text(text.replace("/run/secrets", str(tmp_path)))
    assert load_config(file, {}).accounts


def test_readme_shows_a_message_as_it_is() -> None:
    """The message in it is one that the monitor writes."""
    golden = (ROOT / "tests/golden/text/drift_opened_6.txt").read_text().rstrip()
    assert f"```text\n{golden}\n```" in README


def section(title: str) -> str:
    """Return the text below a heading, up to the next one of its level or a higher one."""
    [hashes] = re.findall(rf"^(##+) {title}$", README, re.MULTILINE)
    _, _, rest = README.partition(f"\n{hashes} {title}\n")
    return re.split(rf"^#{{2,{len(hashes)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """Return what is in code marks in the first column of the tables."""
    return [
        name
        for cell in re.findall(r"^\|([^|]+)\|", text, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", cell)
    ]


def test_readme_contents_link_to_its_sections() -> None:
    """The table of contents has every section, in order, and no dead link."""
    headings = re.findall(r"^##+ (.+)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE)
    anchors = [heading.lower().replace(" ", "-") for heading in headings]
    contents = README[: README.index("\n## ")]
    assert re.findall(r"\]\(#([^)]+)\)", contents) == anchors
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= set(anchors)


def test_readme_links_to_files_that_exist() -> None:
    """Every file, folder and function of this repository that it names is there."""
    named = re.findall(r"`((?:deploy|monitor|tests|\.ci)/[\w./-]*)`", README)
    named += re.findall(r'src="([^"]+)"', README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    functions = re.findall(r"`(\w+)` of\s+`(monitor/[\w/]+\.py)`", README)
    assert functions
    assert [name for name, path in functions if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_readme_lists_exactly_the_commands() -> None:
    """A command that is added, renamed or dropped without a word here fails."""
    named = [re.sub(r" [\[A-Z-].*", "", cell) for cell in first_cells(section("Commands"))]
    assert sorted(named) == sorted(entry.name for entry in CATALOG)


def test_readme_lists_exactly_the_kinds_of_alerts() -> None:
    """Each kind says when it opens and ends."""
    assert sorted(first_cells(section("Alerts"))) == sorted(Kind)


def test_readme_lists_exactly_the_receivers() -> None:
    """Each type that the config takes, and the log, says what it gets."""
    types = [get_args(model.model_fields["type"].annotation)[0] for model in tables(ReceiverConfig)]
    assert len(types) > 1
    assert sorted(set(first_cells(section("Receivers"))) - {"type"}) == sorted(["log", *types])


def test_readme_lists_exactly_the_sections_of_the_config() -> None:
    """Each part of the config has a line that says what it is for."""
    assert [name.strip("[]") for name in first_cells(section("Configure"))] == list(Config.model_fields)


def test_readme_names_only_keys_that_exist() -> None:
    """A key like `drift.reconfigured`, or a variable, is one that the config has."""
    keys = {".".join(leaf.path) for leaf in leaves(Config)}
    named = re.findall(rf"`((?:{'|'.join(Config.model_fields)})\.[a-z_]+)\b", README)
    assert named
    events = {"log.dropped", "log.suppressed"}
    assert set(named) <= keys | events
    variables = dict.fromkeys(re.findall(r"`(VOICELINK_MONITOR_\w+__\w+)=", README), "30s")
    assert variables
    assert read_environment(variables).problems == []


async def test_readme_lists_exactly_the_metrics() -> None:
    """A metric that is added, renamed or dropped without a word here fails."""
    _, pieces = await Metrics(version="1").render(accept="")
    families = re.findall(r"^# TYPE (voicelink_\w+)", b"".join(pieces).decode(), re.MULTILINE)
    assert sorted(first_cells(section("Metrics"))) == sorted(families)


async def test_readme_lists_exactly_the_paths(tmp_path: Path) -> None:
    """A page or an endpoint that is added, renamed or dropped without a word here fails."""
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        site = Site(database=database)
        async with site.serve():
            routes = [
                (each.path, each.methods)
                for each in iter_route_contexts(site.app.routes)
                if each.path and each.methods
            ]
    shown = {path for path, methods in routes if "GET" in methods}
    done = {
        (method, path)
        for path, methods in routes
        for method in methods - {"GET", "HEAD"}
        if path.startswith(("/api/", "/-/"))
    }
    text = section("Page and API")
    assert sorted(first_cells(text)) == sorted(shown)
    assert set(re.findall(r"`(POST|DELETE) ([^`]+)`", text)) == done


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
