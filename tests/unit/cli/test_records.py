"""Lists of the store as CSV: all rows, on standard output alone."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from monitor.cli.main import USAGE, build_group, run
from monitor.drift.alert import encode_body
from monitor.drift.snapshot import Change, ChangeKind, Number
from monitor.store.changes import add_changes
from monitor.store.database import Database
from monitor.store.tables import alerts
from tests.fakes.alerts import BODY
from tests.fakes.history import History
from tests.fakes.stored import NOW, begin, named
from tests.unit.drift.build import ready

MANY = 1_100


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a config whose store has more changes than are read at once, and an alert."""
    url = f"sqlite:///{tmp_path / 'store.db'}"

    async def fill() -> None:
        async with Database(url) as database:
            await database.migrate()
            await begin(database, "acme-sales")
            async with database.write() as tx:
                await add_changes(tx, named("acme-sales"), 1, [change(place) for place in range(MANY)], NOW)
                times = {"started_at": NOW, "updated_at": NOW, "version": 1}
                row = {"id": "a1", "scope": "a", "kind": "drift", "severity": "critical", "status": "firing"}
                await tx.execute(insert(alerts).values(row | times | {"body": encode_body(BODY)}))

    asyncio.run(fill())
    path = tmp_path / "config.toml"
    path.write_text(
        f'store.url = "{url}"\naccounts = [{{ name = "acme", api_key = "rg_live_secret_key" }}]\n'
    )
    return path


def change(place: int) -> Change:
    """Return a change; one in a hundred is a removal of a number whose state would run in a spreadsheet."""
    one = Number(key=f"9180{place:08}", phone_number=f"+9180{place:08}", state="=1+1", drifting=False)
    if place % 100 == 0:
        return Change(ChangeKind.REMOVED, one.key, one, None)
    return Change(ChangeKind.ADDED, one.key, None, one)


def written(config: Path, *arguments: str) -> tuple[list[dict[str, str]], str]:
    """Return the rows on standard output, and what is on standard error."""
    out, err = io.StringIO(newline=""), io.StringIO()
    assert run(("-c", str(config), *arguments, "--format", "csv"), out, err, build_group) == 0, err.getvalue()
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline=""), strict=True)), err.getvalue()


def test_all_rows_are_written(config: Path) -> None:
    """Not the first hundred as in a table; newest first, with texts that a spreadsheet does not run."""
    rows, err = written(config, "changes")
    assert [row["key"] for row in rows] == [f"9180{place:08}" for place in reversed(range(MANY))]
    assert rows[0]["phone_number"] == f"+9180{MANY - 1:08}"
    assert {row["state"] or row["previous_state"] for row in rows} == {"'=1+1"}
    assert err == ""


def test_filters_and_limit_hold(config: Path) -> None:
    """As for a table."""
    assert len(written(config, "changes", "--change", "removed")[0]) == MANY // 100
    assert len(written(config, "changes", "--limit", "1050")[0]) == 1050
    rows, err = written(config, "changes", "--connection", "zzz")
    assert (rows, err) == ([], 'no connection matches "zzz"\n')


def test_alerts_are_written_in_short(config: Path) -> None:
    """What they are about, since when, and whether they have ended."""
    [row] = written(config, "alerts")[0]
    assert (row["alert_id"], row["connections"], row["duration_s"]) == ("a1", "acme-sales", "")
    assert row["first_step"] == "Assign a bot."


NOON = "2026-03-01T12:00:00Z"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--from", NOON, "--to", NOON), MANY),
        (("--to", "2026-03-01T11:59"), 0),
        (("--from", "2026-03-01T12:01", "--to", "2026-03-02"), 0),
    ],
)
def test_changes_are_bounded_by_two_instants(config: Path, arguments: tuple[str, ...], found: int) -> None:
    """Both are among those listed."""
    assert len(written(config, "changes", *arguments)[0]) == found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--from", NOON, "--to", "2026-03-01"),
            "this ends before it begins: 2026-03-01T12:00:00.000Z is after",
        ),
        (("--to", "noon"), "--to: use a duration"),
    ],
)
def test_instants_that_make_no_sense_together_are_refused(
    config: Path, arguments: tuple[str, ...], words: str
) -> None:
    """It says what is wrong with them."""
    out, err = io.StringIO(), io.StringIO()
    assert run(("-c", str(config), "changes", *arguments), out, err, build_group) == USAGE
    assert words in err.getvalue()


def shown(config: Path, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Return the rows in JSON, and what is on standard error."""
    out, err = io.StringIO(), io.StringIO()
    assert run(("-c", str(config), *arguments, "--format", "json"), out, err, build_group) == 0, (
        err.getvalue()
    )
    return json.loads(out.getvalue()), err.getvalue()


@pytest.fixture
def lived(tmp_path: Path) -> Path:
    """Return a config whose store has a connection with a history: one number is bad, two were."""
    url = f"sqlite:///{tmp_path / 'store.db'}"

    async def fill() -> None:
        async with Database(url) as database:
            await database.migrate()
            await History(database).tell()

    asyncio.run(fill())
    path = tmp_path / "config.toml"
    path.write_text(
        f'store.url = "{url}"\naccounts = [{{ name = "acme", api_key = "rg_live_secret_key" }}]\n'
    )
    return path


def test_net_lists_each_number_once(lived: Path) -> None:
    """In every form, with how many came back to what they were on standard error, whatever the limit."""
    rows, err = shown(lived, "changes", "--net", "--from", NOON)
    assert [(row["key"], row["previous_state"], row["state"]) for row in rows] == [
        (ready(0).key, "READY", "NO_BOT")
    ]
    assert err == "2 numbers changed in between and are again as they were\n"
    written_rows, err = written(lived, "changes", "--net", "--from", NOON)
    assert [row["key"] for row in written_rows] == [ready(0).key]
    assert err == "2 numbers changed in between and are again as they were\n"
    _, err = shown(lived, "changes", "--net", "--from", NOON, "--to", "2026-03-01T12:01", "--limit", "1")
    assert err == "showing the first 1: raise --limit or add filters\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--from", NOON, "--to", NOON), 0, "no number differs between 2026-03-01 12:00:00Z and"),
        (("--from", NOON, "--change", "removed"), 0, 'no changes of kind "removed"'),
        (("--from", "2026-03-01"), USAGE, "begin then"),
        ((), USAGE, "--net: needs --from"),
    ],
)
def test_net_says_why_it_lists_nothing(
    lived: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Nothing differs, a filter matches nothing, or the history does not reach so far."""
    out, err = io.StringIO(), io.StringIO()
    assert run(("-c", str(lived), "changes", "--net", *arguments), out, err, build_group) == code
    assert words in err.getvalue()


def test_commands_about_the_store_do_without_secrets(lived: Path) -> None:
    """They may be there for the daemon alone, as those that systemd passes on; the provider needs them."""
    text = lived.read_text()
    lived.write_text(text.replace('api_key = "', 'api_key_file = "/run/credentials/none/'))
    rows, said = shown(lived, "drift")
    assert ([row["phone_number"] for row in rows], "secret" in said) == ([f"+{ready(0).key}"], False)
    out, err = io.StringIO(), io.StringIO()
    assert run(("-c", str(lived), "sync"), out, err, build_group) == USAGE
    assert "accounts[0].api_key_file: secret file" in err.getvalue()


def test_replay_says_which_connections_are_unknown(lived: Path) -> None:
    """Instead of no alerts alone, which looks as if nothing had paged."""
    out, err = io.StringIO(), io.StringIO()
    asked = ("replay", "--since", NOON, "--connection")
    assert run(("-c", str(lived), *asked, "nosuch"), out, err, build_group) == 0
    assert err.getvalue() == 'no connection matches "nosuch"\n'
    assert run(("-c", str(lived), *asked, "name *"), out, err, build_group) == 0
    assert err.getvalue() == 'no connection matches "nosuch"\n'
