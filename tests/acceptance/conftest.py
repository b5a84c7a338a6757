"""Fixtures of the acceptance tests: daemons, and the provider's double that they watch."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from monitor.simulator import Simulator, World, build_world
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import SECRETS, Provider, RunDaemon, RunProvider


@pytest.fixture
async def run_daemon(tmp_path: Path) -> AsyncIterator[RunDaemon]:
    """Make daemons that end with the test, and hold each to what all of them promise."""
    made: list[Daemon] = []

    def make(
        settings: dict[str, object],
        folder: Path | None = None,
        open_files: int | None = None,
        redirect: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Daemon:
        folder = folder or tmp_path / f"daemon-{len(made)}"
        made.append(Daemon(folder, settings, open_files=open_files, redirect=redirect, env=env))
        return made[-1]

    yield make
    for daemon in made:
        await daemon.kill()
    for daemon in made:
        daemon.check(SECRETS)


@pytest.fixture
async def provider() -> AsyncIterator[RunProvider]:
    """Serve doubles of the API that end with the test."""
    async with AsyncExitStack() as stack:

        async def serve(world: World | None = None) -> Provider:
            made = Provider(Simulator(world or build_world(1, 10)))
            await made.up()
            stack.push_async_callback(made.down)
            return made

        yield serve
