"""The runbooks: a page for each alert there is, found by the link that its alert carries."""

import re
from pathlib import Path

import pytest

from monitor.drift.alert import Kind
from tests.integration.deploy.shipped import DEPLOY, RULE_FILES, RUNBOOK_URL, RUNBOOKS, alert_names

PAGES = sorted(RUNBOOKS.glob("*/README.md"))


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """One folder for each kind and each rule, so that a link to the folder opens the page."""
    assert {page.parent.name for page in PAGES} == set(Kind) | alert_names(*RULE_FILES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_page_says_what_to_look_at_what_to_mend_and_when_it_is_over(page: Path) -> None:
    """A page that is opened at night has the same parts in the same places."""
    text = page.read_text()
    assert text.startswith(f"# {page.parent.name}: ")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Look", "Mend", "It is over when"]


@pytest.mark.parametrize("page", [RUNBOOKS / "README.md", *PAGES], ids=lambda page: page.parent.name)
def test_page_links_to_what_exists(page: Path) -> None:
    """No link of a page is dead, and the list of pages has all of them."""
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).is_file()]
    if page.parent == RUNBOOKS:
        assert {(page.parent / link).resolve() for link in links} == set(PAGES)


@pytest.mark.parametrize("config", ["compose/config.toml", "kubernetes/base/config.toml"])
def test_shipped_configs_link_to_the_runbooks(config: str) -> None:
    """An alert of a shipped deployment leads to its page."""
    assert f'runbook_base_url = "{RUNBOOK_URL}"' in (DEPLOY / config).read_text()
