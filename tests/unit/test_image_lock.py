"""The image installs what pyproject.toml pins, by hash, from nowhere in particular."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

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
