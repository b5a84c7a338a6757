"""One look at connections: what it finds, what it says of failures, how many at once."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.cli.look import Look, LookTarget, find_targets, look, look_at_all
from monitor.config import Config, load_config
from monitor.drift.rules import Ignore, Rules
from monitor.errors import ConfigError, MonitorError, Outcome, OutOfResources, Resource, SyncError
from monitor.secret import Secret
from monitor.voicelink.budget import AccountBudget
from monitor.voicelink.client import SyncAnswer
from monitor.voicelink.connections import RemoteConnection
from tests.fakes.clock import START, FakeClock

CLOCK = FakeClock()


class FakeClient:
    """Answers by connection id: a body, or an error; waits at `gate` if there is one."""

    def __init__(self, *, gate: asyncio.Event | None = None, **answers: bytes | MonitorError) -> None:
        self.answers = answers
        self.gate = gate
        self.asking = 0
        self.most = 0
        self.listed = 0

    async def sync(self, *, key: str, connection_id: str | None, budget: AccountBudget) -> SyncAnswer:
        """Answer as told."""
        self.asking += 1
        self.most = max(self.most, self.asking)
        if self.gate is not None:
            await self.gate.wait()
        self.asking -= 1
        found = self.answers[connection_id or ""]
        if isinstance(found, MonitorError):
            raise found
        return SyncAnswer(sent=found, key="", duration_s=0.25)

    async def list_connections(self, *, key: str, budget: AccountBudget) -> list[RemoteConnection]:
        """Return one active connection and one that is not."""
        self.listed += 1
        return [
            RemoteConnection(id="a", name="A", active=True),
            RemoteConnection(id="b", name="B", active=False),
        ]


def body(*drifting: tuple[str, str]) -> bytes:
    """Return an answer about two ready numbers and these, by key and state."""
    entries: list[Any] = [{"key": key, "phone_number": f"+{key}", "state": "READY"} for key in ("91", "92")]
    broken = [
        {
            "key": key,
            "phone_number": f"+{key}",
            "state": state,
            "issues": [state],
            "action_items": [{"code": state, "label": f"Mend {state}"}],
        }
        for key, state in drifting
    ]
    parts = (
        "clients",
        "dids",
        "available_dids",
        "bots",
        "routing",
        "local_phone_numbers",
        "drift",
        "warnings",
    )
    data: dict[str, Any] = {
        **{part: [] for part in parts},
        "readiness": [*entries, *broken],
        "warnings": ["slow"],
    }
    data["warnings"] = ["slow"]
    return msgspec.json.encode({"success": True, "data": data})


def target(name: str, rules: Rules | None = None) -> LookTarget:
    """Return a connection whose id is its name."""
    return LookTarget(
        name=name,
        account="acme",
        connection_id=name,
        key=Secret("rg_live_x"),
        budget=AccountBudget(requests_per_minute=60, clock=CLOCK, on_wait=lambda _: None),
        rules=rules or Rules(),
    )


async def test_look_lists_what_drifts_with_what_to_do() -> None:
    """Drifting numbers come by key, with their first action; ready ones are counted."""
    found = await look(target("a"), FakeClient(a=body(("99", "NO_BOT"), ("98", "X"))), CLOCK)
    assert (found.outcome, found.numbers, found.duration_s, found.warnings) == (
        Outcome.OK,
        4,
        0.25,
        ("slow",),
    )
    assert [(each.key, each.state, each.action) for each in found.drifting] == [
        ("98", "X", "Mend X"),
        ("99", "NO_BOT", "Mend NO_BOT"),
    ]


async def test_look_marks_the_ignored() -> None:
    """An ignored number is shown, and does not alarm; a rule that is over counts no more."""
    rules = Rules(ignores=(Ignore(number="98"), Ignore(number="99", until=START - timedelta(days=1))))
    found = await look(target("a", rules), FakeClient(a=body(("98", "X"), ("99", "X"))), CLOCK)
    assert [each.ignored for each in found.drifting] == [True, False]
    assert found.alarming == 1


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (SyncError(Outcome.FORBIDDEN, "the account is suspended"), Outcome.FORBIDDEN),
        (b"<html>", Outcome.INVALID_RESPONSE),
    ],
    ids=["refused", "unreadable"],
)
async def test_look_tells_a_failure(answer: bytes | SyncError, outcome: Outcome) -> None:
    """A failure is an answer too: with its outcome and its words, without numbers."""
    found = await look(target("a"), FakeClient(a=answer), CLOCK)
    assert (found.outcome, found.checked, found.numbers) == (outcome, False, 0)
    assert found.error


async def test_look_that_lacks_resources_has_no_outcome() -> None:
    """What this process could not ask is no answer of the provider."""
    found = await look(target("a"), FakeClient(a=OutOfResources(Resource.DESCRIPTORS)), CLOCK)
    assert (found.outcome, found.checked, found.error) == (None, False, "out of file descriptors")


async def test_look_at_all_keeps_the_order_and_the_limit() -> None:
    """No more than so many at once; each is told when done; one failure takes nobody along."""
    gate = asyncio.Event()
    answers: dict[str, bytes | SyncError] = {name: body() for name in "abcd"}
    answers["b"] = SyncError(Outcome.TIMEOUT, "no answer")
    client = FakeClient(gate=gate, **answers)
    told: list[Look] = []
    looking = asyncio.create_task(
        look_at_all([target(name) for name in "abcd"], client, CLOCK, at_once=3, on_done=told.append)
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert client.most == 3
    gate.set()
    found = await looking
    assert [(each.connection, each.checked) for each in found] == [
        ("a", True),
        ("b", False),
        ("c", True),
        ("d", True),
    ]
    assert sorted(each.connection for each in told) == list("abcd")
    assert client.most == 3


OWN_ID = "9b7f1c44-c87f-4f0c-9124-3c802a9c1a20"


def discovering(folder: Path) -> Config:
    """Return a config of one account that discovers its connections, and has one configured."""
    file = folder / "config.toml"
    file.write_text(
        '[[accounts]]\nname = "acme"\napi_key = "rg_live_x"\ndiscover = true\n'
        f'[[accounts.connections]]\nname = "own"\nid = "{OWN_ID}"\n'
    )
    return load_config(file, {})


async def test_find_leaves_inactive_connections_out(tmp_path: Path) -> None:
    """Configured connections come first, then active ones that the provider lists."""
    targets, failed = await find_targets(discovering(tmp_path), FakeClient(), CLOCK)
    assert [(each.name, each.connection_id) for each in targets] == [("own", OWN_ID), ("A", "a")]
    assert failed == []


async def test_find_by_name_asks_the_provider_only_if_it_must(tmp_path: Path) -> None:
    """A configured name needs no list; a discovered one is picked from it; an unknown one is an error."""
    config, client = discovering(tmp_path), FakeClient()
    assert [each.name for each in (await find_targets(config, client, CLOCK, ["own"]))[0]] == ["own"]
    assert client.listed == 0
    assert [each.name for each in (await find_targets(config, client, CLOCK, ["A"]))[0]] == ["A"]
    assert client.listed == 1
    with pytest.raises(ConfigError, match="no connection is called B; "):
        await find_targets(config, client, CLOCK, ["B"])
