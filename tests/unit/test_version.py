"""The version stands in one place; what must repeat it agrees, and the changelog begins with it."""

import re
import tomllib
from pathlib import Path

import pytest

from monitor import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = ROOT / "deploy/CHANGELOG.md"
REPEATS = re.compile(r'(?:voicelink-drift-monitor:|newTag: *|appVersion: *|"version": )"?(\d+\.\d+\.\d+)')
"""A tag of the image, an overlay's, a chart's, and the one in the API's examples."""


def test_version_is_the_same_wherever_it_is_repeated() -> None:
    """Images, manifests, charts and examples carry it, those included that someone adds."""
    places = [ROOT / "README.md", ROOT / "Dockerfile", ROOT / "monitor/web/api/examples.json"]
    places += [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".png"]
    found = {path: REPEATS.findall(path.read_text()) for path in places}
    repeated = {path.name: versions for path, versions in found.items() if versions}
    assert repeated.keys() >= {"compose.yaml", "kustomization.yaml", "Chart.yaml", "examples.json"}
    assert {version for versions in repeated.values() for version in versions} == {__version__}


def test_changelog_begins_with_the_version_and_goes_back_in_time() -> None:
    """Each version has a date, newest first; what is not released yet may stand above them."""
    heads = re.findall(r"^## (.*)$", CHANGELOG.read_text(), re.MULTILINE)
    heads = heads[heads[:1] == ["[Unreleased]"] :]
    parsed = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d{2}-\d{2})", head) for head in heads]
    assert all(parsed), heads
    versions = [tuple(int(part) for part in found.groups()[:3]) for found in parsed if found]
    assert ".".join(map(str, versions[0])) == __version__
    assert versions == sorted(set(versions), reverse=True)
    dates = [found[4] for found in parsed if found]
    assert dates == sorted(dates, reverse=True)
    kinds = set(re.findall(r"^### (.*)$", CHANGELOG.read_text(), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_build_backend_of_the_tests_is_that_of_the_project() -> None:
    """Packages are built in the tests by what builds them elsewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [backend] = project["build-system"]["requires"]
    assert backend in project["project"]["optional-dependencies"]["dev"]


@pytest.mark.parametrize("path", ["README.md", "pyproject.toml"])
def test_changelog_is_where_people_are_sent(path: str) -> None:
    """The README and the package's page lead to it."""
    assert str(CHANGELOG.relative_to(ROOT)) in (ROOT / path).read_text()
