"""`silence add`, `silence list` and `silence end`, in a folder with a config and a store."""

import asyncio
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from monitor.cli.main import run
from monitor.drift.rules import Rules
from monitor.store.codec import Codec
from monitor.store.connections import Watch, begin_watching
from monitor.store.database import Database
from monitor.store.queries import action_rows
from monitor.store.tables import alerts, snapshots
from tests.fakes.clock import START
from tests.unit.drift.build import Watch as Watching
from tests.unit.drift.build import broken, fleet

ADD = ["silence", "add", "--reason", "known"]


@dataclass
class Desk:
    """A folder with a config and a store; `run` uses a command there."""

    folder: Path

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code of a command, and what it wrote to the two streams."""
        out, err = io.StringIO(), io.StringIO()
        code = run(["--config", str(self.folder / "config.toml"), *arguments], out, err)
        return code, out.getvalue(), err.getvalue()

    def json(self, *arguments: str) -> Any:
        """Return what a command that succeeds writes for machines."""
        code, out, err = self.run(*arguments, "--format", "json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a desk whose store has a connection with two drifting numbers, and an alert about failures."""
    url = f"sqlite:///{tmp_path}/store.db"
    (tmp_path / "config.toml").write_text(f"""
store.url = "{url}"
accounts = [{{name = "acme", api_key = "rg_live_k"}}]
[[ignore]]
connection = "other"
reason = "old"
[[ignore]]
state = "NO_BOT"
reason = "spare"
""")

    async def fill() -> None:
        watching = Watching(Rules(confirm_syncs=1))
        watching.sync(*fleet(10, broken(1), broken(2)))
        async with Database(url) as database:
            await database.migrate()
            async with database.write() as tx:
                watch = Watch(
                    identity="a",
                    name="acme",
                    account="acme",
                    connection_id=None,
                    first_due_at=START,
                    next_due_at=START,
                )
                await begin_watching(tx, [watch], START)
                blob = Codec().pack_records(watching.records)
                await tx.execute(insert(snapshots).values(identity="a", records=blob))
                failing = {"scope": "failures", "kind": "api_unavailable", "status": "firing", "version": 1}
                times = {"severity": "critical", "started_at": START, "updated_at": START, "body": b""}
                await tx.execute(insert(alerts).values(id="a1", **failing, **times))

    asyncio.run(fill())
    return Desk(tmp_path)


def test_silence_is_added_listed_and_ended(desk: Desk) -> None:
    """With who, why, until when, and how many numbers it keeps quiet; each request is recorded."""
    row = desk.json(*ADD, "--connection", "ac*", "--for", "2h", "--by", "asha")
    assert (row["connection"], row["reason"], row["by"], row["numbers"]) == ("ac*", "known", "asha", 2)
    assert desk.json("silence", "list") == [row]
    code, out, err = desk.run("silence", "list")
    assert (code, "connection ac*" in out, f"silence {row['id']} ends within a day" in err) == (0, True, True)
    ended = desk.json("silence", "end", row["id"], "--by", "bo")
    assert (ended["id"], ended["ended_by"]) == (row["id"], "bo")
    assert desk.json("silence", "list") == []
    assert [each["ended_by"] for each in desk.json("silence", "list", "--all")] == ["bo"]
    for unknown in (row["id"], "nothing"):
        code, out, err = desk.run("silence", "end", unknown)
        assert (code, out) == (1, "")
        assert unknown in err

    async def recorded() -> list[tuple[str, str]]:
        async with Database(f"sqlite:///{desk.folder}/store.db") as database, database.read() as tx:
            return [(each.action, each.address) for each in (await action_rows(tx)).rows]

    assert asyncio.run(recorded()) == [("end_silence", "command"), ("silence", "command")]


def test_list_says_which_rules_and_silences_match_nothing(desk: Desk) -> None:
    """Rules of the config, too; what is not there may come yet, so that the silence is set all the same."""
    code, out, err = desk.run(*ADD, "--number", "+1*", "--until-ready")
    assert (code, out) == (2, "")
    assert "nothing to wait for" in err
    code, _, err = desk.run(*ADD, "--connection", "nothing-*", "--for", "3d")
    assert (code, "matches no connections" in err) == (0, True)
    _, _, err = desk.run("silence", "list")
    assert "[[ignore]] connection other matches no connections" in err
    assert "[[ignore]] state" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--for", "2h"], 2, "--connection"),
        (["--state", "NO_BOT"], 2, "--until"),
        (["--state", "NO_BOT", "--for", "2h", "--until-ready"], 2, "--until-ready"),
        (["--state", "NO_BOT", "--for", "0s"], 2, "--for"),
        (["--state", "NO_BOT", "--until", "2020-01-01"], 2, "passed"),
        (["--state", "NO_BOT", "--until", "soon"], 2, "--until"),
        (["--state", "NO_BOT", "--for", "2h", "--reason", " "], 2, "--reason"),
        (["--alert", "a1", "--for", "2h"], 2, "acknowledge"),
        (["--alert", "nothing", "--for", "2h"], 1, "nothing"),
    ],
)
def test_silence_that_cannot_be_meant_is_refused(
    desk: Desk, arguments: list[str], code: int, said: str
) -> None:
    """The message names the option; nothing is set."""
    found, out, err = desk.run(*ADD, *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert desk.json("silence", "list", "--all") == []


def test_silence_needs_a_reason(desk: Desk) -> None:
    """Whoever finds it later must know why."""
    code, _, err = desk.run("silence", "add", "--state", "NO_BOT", "--for", "2h")
    assert (code, "--reason" in err) == (2, True)
