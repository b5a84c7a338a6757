"""What a test needs of the machine: there, or the test skips by name, or (CI=true) fails."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_SBIN = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"


def find(*names: str) -> Path | None:
    """Return the first of these commands that is installed."""
    path = f"{os.environ.get('PATH', '')}:{_SBIN}"
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return Path(found)
    return None


def find_postgresql(name: str) -> Path | None:
    """Return a command of the newest installed PostgreSQL; Debian keeps its server's out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for folder in reversed(versions):
        if (folder / name).is_file():
            return folder / name
    return find(name)


def lacking(what: str) -> NoReturn:
    """Skip the test because the machine lacks `what`; with CI=true, where nothing may be missing, fail it."""
    message = f"needs {what}: run tests/run as root or with sudo to install it"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require(*names: str) -> Path:
    """Return the path of a command, under whichever of its names it is installed."""
    found = find(*names)
    if found is None:
        lacking(names[0])
    return found


def require_postgresql(name: str) -> Path:
    """Return the path of one of PostgreSQL's commands."""
    found = find_postgresql(name)
    if found is None:
        lacking(f"postgresql ({name})")
    return found


def require_root(why: str) -> None:
    """Skip (or fail) a test that only root can run."""
    if os.geteuid() != 0:
        lacking(f"root, to {why}")
