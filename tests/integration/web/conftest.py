"""Fixtures of the tests of the web side."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.database import Database
from tests.integration.web.site import Site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return a web side that is not serving yet, with an empty store."""
    async with Database(f"sqlite:///{tmp_path}/store.db") as database:
        await database.migrate()
        yield Site(database=database)
