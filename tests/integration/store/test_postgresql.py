"""A PostgreSQL reached in every way that its users know, and one that does not answer."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StartError, StoreUnavailable
from monitor.store.database import Database
from monitor.store.replicas import lock_fleet
from monitor.store.trouble import Trouble
from tests.servers.postgres import PostgresServer, run_pgbouncer
from tests.servers.process import free_port
from tests.servers.wire import Wire

LIMITS = text(
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout')"
)
USUAL = [("10s", "5s", "5s"), ("10s", "5s", "0")]
"""Of a transaction that writes; and of one that reads, which holds up no other and may take its time."""


async def limits(database: Database) -> list[tuple[str, ...]]:
    """Return the limits of a transaction that writes, and of one that reads."""
    found = []
    for transaction in (database.write, database.read):
        async with transaction() as tx:
            found.append(tuple((await tx.execute(LIMITS)).one()))
    return found


@pytest.mark.parametrize(
    "url",
    [
        "postgres://postgres@{here}/{name}",
        "postgresql://postgres@127.0.0.1:{nobody},{here}/{name}",
        "postgresql://postgres@{here}/{name}?prepare_threshold=0",
        "postgresql://postgres@{here}/{name}?prepare_threshold=none",
        "postgresql://postgres:p@s%:!$w@{here}/{name}",
        "postgresql:///{name}?host=127.0.0.1&port={port}&user=postgres",
        "postgresql://postgres@{here}/{name}?connect_timeout=3&tcp_user_timeout=9000&sslmode=disable",
        "postgresql://postgres@{here}/{name}?options=-c%20geqo=off",
    ],
)
async def test_url_works(url: str, postgres: str, postgres_server: PostgresServer) -> None:
    """What libpq and psycopg accept connects, migrates, reads and writes within limits."""
    name, port = postgres.rpartition("/")[2], postgres_server.port
    filled = url.format(here=f"127.0.0.1:{port}", port=port, name=name, nobody=free_port())
    async with Database(filled) as database:
        await database.migrate()
        await database.check()
        assert await limits(database) == USUAL


async def test_limits_are_those_of_the_url(postgres: str) -> None:
    """Seconds, as for connect_timeout."""
    async with Database(f"{postgres}?statement_timeout=60&lock_timeout=2") as database:
        assert await limits(database) == [("1min", "2s", "2s"), ("1min", "2s", "0")]


@pytest.mark.parametrize(("mode", "size"), [("session", 10), ("transaction", 2)])
async def test_pooler_works_as_it_is(
    mode: str, size: int, postgres: str, postgres_server: PostgresServer
) -> None:
    """Clients share connections: nothing is prepared for another one, and limits hold all the same."""
    with run_pgbouncer(postgres_server, mode, size=size) as port:
        url = postgres.replace(f":{postgres_server.port}/", f":{port}/")
        async with Database(url) as one, Database(url) as other:
            await one.migrate()
            for _ in range(10):
                await asyncio.gather(one.check(), other.check())
                assert await limits(one) == await limits(other) == USUAL
            async with Database(postgres) as direct, direct.read() as tx:
                assert (await tx.execute(text("SELECT count(*) FROM pg_prepared_statements"))).scalar() == 0


async def test_silent_database_is_given_up(postgres: str, postgres_server: PostgresServer) -> None:
    """One that hangs fails reads, writes and new connections in time, and is used again when it answers."""
    async with Wire(postgres_server.port) as wire:
        url = postgres.replace(f":{postgres_server.port}/", f":{wire.port}/")
        async with Database(f"{url}?statement_timeout=1&connect_timeout=2") as database:
            await database.migrate()
            await limits(database)
            wire.flows.clear()
            for _ in range(2):  # on an open connection, then on a new one
                for transaction in (database.read, database.write):
                    async with asyncio.timeout(6):
                        with pytest.raises(StoreUnavailable) as caught:
                            async with transaction() as tx:
                                await tx.execute(LIMITS)
                    assert caught.value.reason == Trouble.UNREACHABLE
            wire.flows.set()
            await limits(database)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [("SELECT pg_sleep(60)", Trouble.SLOW), ("LOCK TABLE acceptances", Trouble.BUSY)],
)
async def test_statement_that_waits_too_long_is_ended(postgres: str, statement: str, reason: Trouble) -> None:
    """The server ends it and says why; the connection is fit for use."""
    async with Database(f"{postgres}?statement_timeout=2&lock_timeout=1") as database:
        await database.migrate()
        async with Database(postgres) as other, other.write() as held:
            await held.execute(text("LOCK TABLE acceptances"))
            with pytest.raises(StoreUnavailable) as caught:
                async with database.write() as tx:
                    await tx.execute(text(statement))
        assert caught.value.reason == reason
        await database.check()


async def test_deadlocked_transactions_both_succeed(postgres: str) -> None:
    """The database gives one of them up; it runs again, and nothing is reported."""
    url = f"{postgres}?lock_timeout=60&statement_timeout=60"  # a busy machine takes its time to meet
    async with Database(url) as one, Database(url) as other:
        await one.migrate()
        async with one.write() as tx:
            await tx.execute(text("INSERT INTO fleet (id, version) VALUES (1, 0), (2, 0)"))
        met, tries = asyncio.Barrier(2), 0

        async def move(tx: AsyncConnection, ids: Sequence[int]) -> None:
            nonlocal tries
            tries += 1
            first = tries <= 2
            for each in ids:
                await tx.execute(text("UPDATE fleet SET version = version + 1 WHERE id = :id"), {"id": each})
                if first and each == ids[0]:
                    await met.wait()

        await asyncio.gather(
            one.transact(lambda tx: move(tx, (1, 2))), other.transact(lambda tx: move(tx, (2, 1)))
        )
        assert tries > 2  # the one that runs again may get in the other's way once more
        async with one.read() as tx:
            assert list((await tx.execute(text("SELECT version FROM fleet"))).scalars()) == [2, 2]


async def test_conflict_that_does_not_end_is_reported(postgres: str) -> None:
    """After some tries, with its reason; and any other error at once."""
    tried = []

    async def fail(tx: AsyncConnection, sql: str) -> None:
        tried.append(sql)
        await tx.execute(text(sql))

    conflict = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"
    for sql, reason, tries in ((conflict, Trouble.CONFLICT, 4), ("SELECT nothing", Trouble.OTHER, 1)):
        tried.clear()
        with pytest.raises(StoreUnavailable) as caught:
            async with Database(postgres) as database:
                await database.transact(partial(fail, sql=sql))
        assert (caught.value.reason, len(tried)) == (reason, tries)


END_THIS = "SELECT pg_terminate_backend(pg_backend_pid())"
END_AT_COMMIT = (
    (
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    ),
    (
        "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON pulse DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION die()"
    ),
)


async def test_transaction_whose_connection_breaks_runs_again(postgres: str) -> None:
    """Before its commit, it left nothing behind; of one that was to be committed no one knows that."""
    async with Database(postgres) as database, Database(postgres) as other:
        await database.migrate()
        tried = 0

        async def write(tx: AsyncConnection) -> None:
            nonlocal tried
            tried += 1
            await tx.execute(text("INSERT INTO pulse (id, at) VALUES (:id, now())"), {"id": tried})
            if tried == 1:
                await tx.execute(text(END_THIS))

        await database.transact(write)
        assert tried == 2
        async with other.write() as tx:
            for statement in END_AT_COMMIT:
                await tx.execute(text(statement))
        with pytest.raises(StoreUnavailable):
            await database.transact(write)
        assert tried == 3


async def test_transaction_of_a_suspended_process_keeps_others_waiting_for_seconds(postgres: str) -> None:
    """The server ends it, and it runs again once its process goes on."""
    async with Database(f"{postgres}?lock_timeout=1") as suspended, Database(postgres) as other:
        await other.migrate()
        tried = 0

        async def decide(tx: AsyncConnection) -> None:
            nonlocal tried
            tried += 1
            await lock_fleet(tx)
            if tried == 1:
                await other.transact(lock_fleet)
            await lock_fleet(tx)

        await suspended.transact(decide)
        assert tried == 2


SLOW = (
    (
        "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN ASSERT current_setting('idle_in_transaction_session_timeout') = '0';"
        " IF to_regclass('told') IS NOT NULL THEN PERFORM pg_sleep(3.5); END IF; END $$"
    ),
    "CREATE EVENT TRIGGER wait ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION wait()",
)
"""Makes the last table of the schema take longer to create than a statement may, and a server be silent."""


async def test_migration_may_take_as_long_as_it_needs(postgres: str) -> None:
    """Only other statements have a limit; afterwards these have it again."""
    async with Database(postgres) as other, other.write() as tx:
        for statement in SLOW:
            await tx.execute(text(statement))
    async with Database(f"{postgres}?statement_timeout=1") as database:
        await database.migrate()
        await database.check()
        assert await limits(database) == [("1s", "5s", "5s"), ("1s", "5s", "0")]


async def test_migration_does_not_wait_for_locks_for_ever(postgres: str) -> None:
    """It says who may have them: another replica that migrates, or a program that uses a table."""
    async with Database(postgres) as other, other.write() as tx:
        await tx.execute(text("SELECT pg_advisory_xact_lock(7466951)"))
        async with Database(f"{postgres}?lock_timeout=1") as database:
            with pytest.raises(StartError, match="another replica is upgrading it"):
                await database.migrate()
    async with Database(postgres) as database:
        await database.migrate()
