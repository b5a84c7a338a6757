"""A real PostgreSQL for the whole test run, with a fresh database for each test that asks for one."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers.process import free_port, tied
from tests.servers.require import lacking, require, require_postgresql

_SUPERUSER = "postgres"
_START_S = 90.0
_POLL_S = 0.02


@dataclass(kw_only=True)
class PostgresServer:
    """The running server.

    Args:
        port: Where it listens, on 127.0.0.1; every client is trusted.
        argv: The server's command, staying in the foreground.
        folder: Where it runs and writes its log.
    """

    port: int
    argv: Sequence[str]
    folder: Path
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _numbers: Iterator[int] = field(default_factory=count, init=False)
    _templates: set[str] = field(default_factory=set, init=False)

    def url(self, database: str) -> str:
        """Return the URL of a database, as `store.url` takes it."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers; what was committed before is there again."""
        log = self.folder / "log"
        with log.open("ab") as output:
            self._running = subprocess.Popen(self.argv, cwd=self.folder, stdout=output, stderr=output)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._running.poll() is None, f"PostgreSQL ended: {log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer: {log.read_text()[-2000:]}"
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Take it away at once, as a crash would; nothing if it is stopped."""
        if self._running is not None:
            self._running.send_signal(signal.SIGQUIT)
            self._running.wait()
            self._running = None

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def create_database(self, template: str = "template1") -> str:
        """Return the name of a new database, a copy of `template`."""
        name = f"test_{next(self._numbers)}"
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def template(self, name: str, prepare: Callable[[str], None]) -> str:
        """Return a template that `prepare` (given its URL) has filled, once in the run; copies are quick.

        `prepare` must leave no connection open: PostgreSQL refuses to copy a database that is in use.
        """
        if name not in self._templates:
            self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            prepare(self.url(name))
            self._templates.add(name)
        return name


def _as_postgres(folder: Path) -> list[str]:
    """Return the prefix that runs a command as a user PostgreSQL accepts, and let that user own `folder`."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        lacking("the user postgres (PostgreSQL does not run as root)")
    os.chown(folder, user.pw_uid, user.pw_gid)
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}")
    return [str(require("setpriv")), *ids, "--clear-groups", "--reset-env"]


@contextmanager
def run_postgres(*options: str) -> Iterator[PostgresServer]:
    """Run a server with these settings (`name=value`) in a temporary folder; both are gone afterwards."""
    # Not below pytest's own folders: those let nobody but the user of the test run in.
    folder = Path(tempfile.mkdtemp(prefix="voicelink-postgres-"))
    try:
        prefix = _as_postgres(folder)
        data, port = folder / "data", free_port()
        initdb = [*prefix, str(require_postgresql("initdb")), "-D", str(data), "-U", _SUPERUSER]
        initdb += ["-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        argv = [*prefix, *tied([require_postgresql("postgres"), "-D", data, "-p", str(port), "-F"])]
        argv += ["-c", "listen_addresses=127.0.0.1", "-k", str(folder)]
        argv += [part for option in options for part in ("-c", option)]
        server = PostgresServer(port=port, argv=argv, folder=folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def run_pgbouncer(server: PostgresServer, mode: str, *, size: int) -> Iterator[int]:
    """Run a pooler with so many connections in front of a server; give its port."""
    folder = Path(tempfile.mkdtemp(prefix="voicelink-pgbouncer-"))
    try:
        port, config = free_port(), folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = user={_SUPERUSER} host=127.0.0.1 port={server.port}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n"
            f"auth_type=any\npool_mode={mode}\ndefault_pool_size={size}\n"
        )
        argv = [*_as_postgres(folder), *tied([require("pgbouncer"), "-q", config])]
        with (
            (folder / "log").open("ab") as output,
            subprocess.Popen(argv, stdout=output, stderr=output) as run,
        ):
            try:
                deadline = time.monotonic() + _START_S
                while not _listens(port):
                    assert run.poll() is None, f"PgBouncer ended: {(folder / 'log').read_text()[-2000:]}"
                    assert time.monotonic() < deadline, "PgBouncer does not listen"
                    time.sleep(_POLL_S)
                yield port
            finally:
                run.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
