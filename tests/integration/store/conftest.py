"""One suite for every database: SQLite in a file, and PostgreSQL where it is installed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store.codec import Codec
from monitor.store.database import Database
from tests.fakes.post import Post
from tests.fakes.stored import begin, tell


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database; for `database`, of one with the schema."""
    if "database" in request.fixturenames:
        made: str = request.getfixturevalue(f"{request.param}_store")
        return made
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    found: str = request.getfixturevalue("postgres")
    return found


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Return a database with this program's schema."""
    async with Database(url) as opened:
        yield opened


@pytest.fixture
def codec() -> Codec:
    """Return a codec."""
    return Codec()


@pytest.fixture
async def post(database: Database) -> Post:
    """Return a receiver with nothing to tell it yet."""
    await begin(database, "a")
    made = Post(database)
    await made.configure(*tell("hook"))
    return made
