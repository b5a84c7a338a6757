"""The runbooks: one for every alert, at the link that its alert carries."""

import re
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
import typer

import monitor
from monitor.cli.catalog import CATALOG, GROUPS, Entry
from monitor.config.keys import leaves
from monitor.config.load import read_config
from monitor.config.settings import Config
from monitor.daemon.watchlist import wording_of
from monitor.drift.alert import Kind
from monitor.metrics import Metrics
from monitor.web.pages.runbooks import runbooks
from tests.fakes.clock import START
from tests.integration.deploy.shipped import DEPLOY, RULE_FILES, RUNBOOK_URL, RUNBOOKS, alert_names

PAGES = sorted(RUNBOOKS.glob("*/README.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """One folder for each kind and each rule, so that a link to the folder opens the page."""
    assert {page.parent.name for page in PAGES} == set(Kind) | alert_names(*RULE_FILES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_page_says_what_to_check_how_to_fix_it_and_when_it_resolves(page: Path) -> None:
    """The same parts in the same places, and numbered first steps; how to keep it quiet, where one can."""
    text = page.read_text()
    assert text.startswith(f"# {page.parent.name}: ")
    assert "## Check first\n\n1. " in text
    quiet = ["Keep it quiet"] if page.parent.name in set(Kind) - {Kind.TEST} else []
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert titles == ["Check first", "Fix", *quiet, "Resolves when"]


@pytest.mark.parametrize("page", [RUNBOOKS / "README.md", *PAGES], ids=lambda page: page.parent.name)
def test_page_links_to_what_exists(page: Path) -> None:
    """No link of a page is dead, and the list of pages has all of them."""
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).is_file()]
    if page.parent == RUNBOOKS:
        assert {(page.parent / link).resolve() for link in links} == set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_page_is_the_one_that_the_monitor_carries(page: Path) -> None:
    """What the repository shows is what `/runbooks` shows: edit one, and copy it over the other."""
    carried = files("monitor.web") / "runbooks" / f"{page.parent.name}.md"
    assert carried.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_monitor_carries_no_other_page() -> None:
    """A runbook that is deleted here is deleted there."""
    assert set(runbooks()) == {page.parent.name for page in PAGES}


@pytest.mark.parametrize(
    ("config", "base"),
    [
        ("compose/monitor/config.toml", "http://127.0.0.1:8790/runbooks"),
        ("kubernetes/base/config.toml", RUNBOOK_URL),
    ],
)
def test_shipped_configs_link_to_the_runbooks(config: str, base: str) -> None:
    """An alert of a shipped deployment leads to its page: the monitor's own, where its address is known."""
    loaded = read_config(DEPLOY / config, {}, now=START).config  # but for its secrets, which are not here
    assert loaded is not None
    assert wording_of(loaded).runbook_base_url == base


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_page_names_commands_that_exist(page: Path) -> None:
    """On-call can type every command of a runbook as it stands there, options and all."""
    for written in re.findall(r"`voicelink-monitor ([^`]+)`", page.read_text()):
        words = written.split()
        name = " ".join(words[:2]) if words[0] in GROUPS else words[0]
        assert name in COMMANDS, written
        assert {word for word in words if word.startswith("--")} <= options_of(COMMANDS[name]), written


COMMANDS = {entry.name: entry for entry in CATALOG}


def options_of(entry: Entry) -> set[str]:
    """Return the options of a command."""
    module, _, name = entry.target.partition(":")
    app = typer.Typer()
    app.command()(getattr(import_module(f"monitor.cli.{module}"), name))
    return {option for parameter in typer.main.get_command(app).params for option in parameter.opts}


async def test_pages_name_metrics_that_exist() -> None:
    """No runbook sends on-call to a metric that has another name."""
    _, pieces = await Metrics(version="1").render(accept="")
    exported = set(re.findall(r"^# TYPE (\w+)", b"".join(pieces).decode(), re.MULTILINE))
    assert set(re.findall(r"`(voicelink_\w+)", TEXT)) <= exported


def test_pages_name_keys_and_events_that_exist() -> None:
    """No runbook sends on-call to a config key or a log event that has another name."""
    keys = {".".join(leaf.path) for leaf in leaves(Config)}
    source = "\n".join(file.read_text() for file in Path(monitor.__path__[0]).rglob("*.py"))
    events = set(re.findall(r'"([a-z]+\.[a-z_]+)"', source))
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)", TEXT)) <= keys | events
