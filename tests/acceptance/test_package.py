"""The wheel and the sdist that `python -m build` makes, from a checkout as people have them."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor import __version__
from tests.acceptance.test_readme import COMMANDS

ROOT = Path(__file__).parents[2]
STEM = f"voicelink_drift_monitor-{__version__}"
WHEEL, SDIST = f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz"
SOURCES = ("monitor", "deploy", "tests/unit/test_version.py")
FILES = ("pyproject.toml", "README.md", "config.example.toml", ".gitignore")
LITTER = (
    ".venv/lib/site.py",
    "build/lib/old.py",
    "config.toml",
    "deploy/compose/secrets/voicelink-api-key",
    "monitor/__pycache__/old.cpython-311.pyc",
    "voicelink-monitor.db",
)
"""What lies in a checkout that somebody works and runs in."""

SHIPPED = {
    f"monitor/{path.relative_to(ROOT / 'monitor')}"
    for path in (ROOT / "monitor").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


def checkout(folder: Path, *, litter: bool) -> Path:
    """Return a copy of the sources."""
    for name in SOURCES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in LITTER if litter else ():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("rg_live_litter")
    return folder


def build(folder: Path, *options: str, umask: int = 0o022) -> Path:
    """Build from a checkout and return the folder of what came out."""
    command = [sys.executable, "-m", "build", "--no-isolation", *options]
    env = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        command, cwd=folder, env=env, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist, and the wheel from it."""
    return build(checkout(tmp_path_factory.mktemp("first"), litter=False))


def names(package: Path) -> Iterator[str]:
    """Yield the names of the files in a package."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            yield from wheel.namelist()
    else:
        with tarfile.open(package) as sdist:
            yield from (name.removeprefix(f"{STEM}/") for name in sdist.getnames())


def test_package_has_what_the_program_needs_and_nothing_else(built: Path) -> None:
    """Pages, runbooks, migrations and scenarios are in it; tests and what serves to deploy are not."""
    info = f"{STEM}.dist-info/"
    wheel, sdist = set(names(built / WHEEL)), set(names(built / SDIST))
    assert {name for name in wheel if not name.startswith(info)} == SHIPPED
    more = {
        "README.md",
        "config.example.toml",
        "deploy/CHANGELOG.md",
        "pyproject.toml",
        ".gitignore",
        "PKG-INFO",
    }
    assert sdist == SHIPPED | more


def test_package_is_the_same_bytes_whoever_builds_it(built: Path, tmp_path: Path) -> None:
    """Elsewhere, later, with another umask, among litter, and the wheel without the sdist between."""
    again = checkout(tmp_path, litter=True)
    for path in [again, *again.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    sdist = build(again, "--sdist", umask=0o077) / SDIST
    wheel = build(again, "--wheel", umask=0o077) / WHEEL
    assert sdist.read_bytes() == (built / SDIST).read_bytes()
    assert wheel.read_bytes() == (built / WHEEL).read_bytes()


def test_package_runs_the_demo_in_a_clean_environment(built: Path, tmp_path: Path) -> None:
    """What a newcomer types works in the sdist: environment, install, demo; the wheel needs no sources."""
    with tarfile.open(built / SDIST) as sdist:
        sdist.extractall(tmp_path, filter="data")
    source, demo = tmp_path / STEM, "voicelink-monitor demo --port 0 --duration 3s"
    [main_job] = [command for command in COMMANDS if command.endswith("voicelink-monitor demo")]
    main_job = main_job.replace("pip install", "pip install --quiet").replace("voicelink-monitor demo", demo)
    wheel = f"{source}/.venv/bin/pip install --quiet --force-reinstall --no-deps {built / WHEEL}"
    for folder, command in ((source, main_job), (tmp_path, f"{wheel} && {source}/.venv/bin/{demo}")):
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Status page" in done.stdout
