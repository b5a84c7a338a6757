"""Fixtures of real servers; see tests/servers for what they can do."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings
from sqlalchemy.dialects import sqlite

from monitor.store.database import Database
from tests.servers.chromium import require_chromium
from tests.servers.postgres import PostgresServer, run_postgres
from tests.servers.process import give_ports_back, running
from tests.servers.prometheus import Alertmanager, Config, Prometheus
from tests.servers.webhook import WebhookSink

_LONGEST_FIRST = ("world", "acceptance", "integration", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: the next one goes to whichever process is free."""
    root = Path(__file__).parent
    items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.relative_to(root).parts[0]))


# A shell has what it runs in the background ignore this, and so would whatever a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine alone.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _no_instant_is_text() -> Iterator[None]:
    """Refuse instants without the store's type: SQLite would take a text as later than all integers."""

    def refuse(*_: object) -> None:
        raise TypeError("an instant is bound as text: give it the type of the store's instants")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite.DATETIME, "bind_processor", lambda *_: refuse)
        yield


@pytest.fixture(autouse=True)
def _ports_end_with_the_test() -> Iterator[None]:
    """Give back the ports that the test has reserved."""
    yield
    give_ports_back()


class StartPrometheus(Protocol):
    """Starts a Prometheus with a configuration and the files it names."""

    async def __call__(self, config: Config, files: Mapping[str, Config] | None = None) -> Prometheus:
        """Return it, ready."""
        ...


StartAlertmanager = Callable[[Config], Awaitable[Alertmanager]]
"""Starts an Alertmanager with a configuration."""


@pytest.fixture
async def prometheus(tmp_path: Path) -> AsyncIterator[StartPrometheus]:
    """Start Prometheus servers that end with the test."""
    async with AsyncExitStack() as stack:
        started = 0

        async def start(config: Config, files: Mapping[str, Config] | None = None) -> Prometheus:
            nonlocal started
            started += 1
            server = Prometheus.prepare(tmp_path / f"prometheus-{started}", config, files)
            await stack.enter_async_context(running(server))
            return server

        yield start


@pytest.fixture
async def alertmanager(tmp_path: Path) -> AsyncIterator[StartAlertmanager]:
    """Start Alertmanagers that end with the test."""
    async with AsyncExitStack() as stack:
        started = 0

        async def start(config: Config) -> Alertmanager:
            nonlocal started
            started += 1
            server = Alertmanager.prepare(tmp_path / f"alertmanager-{started}", config)
            await stack.enter_async_context(running(server))
            return server

        yield start


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run one PostgreSQL for all tests."""
    with run_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """Return the URL of an empty database of the test's own."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


def _migrate(url: str) -> None:
    async def migrate() -> None:
        async with Database(url) as database:
            await database.migrate()

    # In a thread, as it may be an asynchronous fixture that asks for it.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrate()).result()


@pytest.fixture(scope="session")
def sqlite_schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with this program's schema, to be copied: making it anew takes long."""
    file = tmp_path_factory.mktemp("schema") / "store.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_store(sqlite_schema: Path, tmp_path: Path) -> str:
    """Return the URL of a file of the test's own with this program's schema."""
    return f"sqlite:///{shutil.copy(sqlite_schema, tmp_path / 'store.db')}"


@pytest.fixture
def postgresql_store(postgres_server: PostgresServer) -> Iterator[str]:
    """Return the URL of a database of the test's own with this program's schema."""
    name = postgres_server.create_database(postgres_server.template("schema", _migrate))
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
async def webhook_sink() -> AsyncIterator[WebhookSink]:
    """Return an open sink that answers 200 until it is given a script."""
    async with WebhookSink() as sink:
        yield sink


@pytest.fixture
def chromium() -> Path:
    """Return the path of the installed Chromium."""
    return require_chromium()
