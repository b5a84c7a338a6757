"""Fixtures of the tests of the web side."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from monitor.store.database import Database
from tests.fakes.loop import AheadLoop
from tests.integration.web.site import Site


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Let tests pass the time that clients let the web port wait."""
    return {"ahead": AheadLoop}


@pytest.fixture
async def site(sqlite_store: str) -> AsyncIterator[Site]:
    """Return a web side that is not serving yet, with an empty store."""
    async with Database(sqlite_store) as database:
        yield Site(database=database)
