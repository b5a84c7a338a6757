"""The image installs what pyproject.toml pins, by hash, from nowhere in particular, and says what that is."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests import bill

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "deploy/image/requirements.txt"
BUILD = ROOT / "deploy/image/build.txt"
DIRECT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?==(?P<version>[\w.]+)")


def project() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lines: list[str]) -> set[tuple[str, str]]:
    """Return names and versions of requirements, all of which must be exact."""
    found = [DIRECT.fullmatch(line) for line in lines]
    assert all(found), (
        f"not pinned exactly: {[line for line, pin in zip(lines, found, strict=True) if not pin]}"
    )
    return {(pin["name"].lower(), pin["version"]) for pin in found if pin}


def locked(path: Path) -> dict[tuple[str, str], list[str]]:
    """Return a lock file: the hashes by name and version."""
    hashes: dict[tuple[str, str], list[str]] = {}
    current: list[str] = []
    for line in path.read_text().splitlines():
        if pin := DIRECT.match(line):
            current = hashes.setdefault((pin["name"], pin["version"]), [])
        elif found := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})( \\)?", line):
            current.append(found[1])
        else:
            assert not line.strip() or line.lstrip().startswith("#"), f"{path.name}: unexpected {line!r}"
    return hashes


def test_lock_holds_every_pin_of_the_program() -> None:
    """A version changed in pyproject.toml without deploy/image/lock having run is found here."""
    table = project()["project"]
    extras = table["optional-dependencies"]
    wanted = pins([*table["dependencies"], *extras["postgres"], *extras["apprise"]])
    assert wanted <= locked(REQUIREMENTS).keys()


def test_lock_holds_the_build_backend() -> None:
    """What builds the wheel is locked too."""
    assert pins(project()["build-system"]["requires"]) <= locked(BUILD).keys()


@pytest.mark.parametrize("path", [REQUIREMENTS, BUILD], ids=lambda path: path.name)
def test_lock_has_hashes_for_all_and_names_no_index(path: Path) -> None:
    """Every package has its hashes; where packages come from is the builder's own setting."""
    assert all(locked(path).values())
    assert "://" not in path.read_text()


def test_lock_is_what_is_installed() -> None:
    """Nothing that the program brings is missing in the lock, nothing more is in it, and all was tested."""
    oldest = {"python_version": "3.11", "python_full_version": "3.11.0"}
    assert bill.closure(oldest).keys() - {bill.PROGRAM} == {name for name, _ in locked(REQUIREMENTS)}
    assert {(name, version) for name, version, _ in bill.bundled()} <= locked(REQUIREMENTS).keys()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_lock_is_enough_elsewhere(python: str, machine: str) -> None:
    """A newer Python or another machine needs nothing that the lock lacks."""
    there = {"python_version": python, "python_full_version": f"{python}.1", "platform_machine": machine}
    assert bill.closure(there).keys() - {bill.PROGRAM} <= {name for name, _ in locked(REQUIREMENTS)}


def test_readme_says_how_to_install_what_is_locked() -> None:
    """The way by hash names every lock file, and then resolves nothing more; the base image is today's."""
    readme = (ROOT / "README.md").read_text()
    by_hash = next(line for line in readme.splitlines() if "--require-hashes" in line)
    assert set(re.findall(r"-r (\S+)", by_hash)) == {
        str(path.relative_to(ROOT)) for path in (BUILD, REQUIREMENTS)
    }
    assert "pip install --no-deps --no-build-isolation ." in readme
    [image] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"PYTHON_IMAGE={image}@sha256:" in readme


def test_licenses_are_listed_for_all_that_is_bundled() -> None:
    """A package that is new, or whose licence is new or unknown, is looked at before it is shipped."""
    assert [name for name, _, license_name in bill.bundled() if not license_name] == []
    assert bill.LICENSES.read_text() == bill.licenses(), "run python -m tests.bill and look at what changed"


def test_sbom_is_valid_and_complete() -> None:
    """The document is CycloneDX by its schema, lists what the lock does, and says what needs what."""
    document = bill.sbom()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    found = json.loads(document)
    listed = {(each["name"], each["version"]) for each in found["components"]}
    assert listed == {(name, version) for name, version, _ in bill.bundled()}
    assert all(each["licenses"] for each in found["components"])
    needs = {each["ref"].split("==")[0]: each.get("dependsOn", []) for each in found["dependencies"]}
    assert needs.keys() == bill.closure().keys()
    assert any(each.startswith("starlette==") for each in needs["fastapi"])


def test_ci_makes_the_sbom_where_git_does_not_see_it() -> None:
    """It belongs to a build, not to the sources."""
    assert "tests.bill --sbom dist/sbom.cdx.json" in (ROOT / ".ci/run").read_text()
    assert "/dist/" in (ROOT / ".gitignore").read_text().splitlines()
