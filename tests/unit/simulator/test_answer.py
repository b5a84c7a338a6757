"""What the double answers about an inventory."""

from typing import Any

import pytest

from monitor.simulator.answer import LABELS, Bodies, envelope, render
from monitor.simulator.shape import build_world


def judged(**wrong: Any) -> dict[str, Any]:
    """Return the readiness entry and the drift list of a lone number in this condition."""
    world = build_world(connections=1, numbers=1, clients=1, bots=1)
    inventory = world.connection().edit()
    (number,) = inventory.numbers.values()
    (bot,) = inventory.bots.values()
    bot.active = wrong.pop("bot", True)
    for name, value in wrong.items():
        setattr(number, name, value)
    data = render(world.connection())
    return {**data["readiness"][0], "listed": data["drift"]}


@pytest.mark.parametrize(
    ("wrong", "issues"),
    [
        pytest.param({}, [], id="ready"),
        pytest.param({"bot": False}, ["NO_BOT"], id="bot inactive"),
        pytest.param({"routed": False}, ["ROUTING_MISSING"], id="no routing"),
        pytest.param({"agent_id": None}, ["NO_VOCOBASE_AGENT"], id="no agent"),
        pytest.param(
            {"bot": False, "routed": False, "agent_id": None},
            ["NO_BOT", "ROUTING_MISSING", "NO_VOCOBASE_AGENT"],
            id="all, in the documented order",
        ),
    ],
)
def test_number_shows_issues_in_order(wrong: dict[str, Any], issues: list[str]) -> None:
    """The state is the first issue, else READY; actions and drift follow the issues."""
    entry = judged(**wrong)
    assert entry["issues"] == issues
    assert entry["state"] == (issues[0] if issues else "READY")
    assert entry["actions"] == [LABELS[code] for code in issues]
    assert entry["action_items"] == [{"code": code, "label": LABELS[code]} for code in issues]
    assert [listed["action"] for listed in entry["listed"]] == entry["actions"][:1]


def test_expired_number_stays_ready() -> None:
    """Expiry shows in `remote_did` alone: the provider documents no state for it."""
    entry = judged(expired=True)
    assert (entry["state"], entry["remote_did"]["is_expired"], entry["listed"]) == ("READY", True, [])


def test_second_bot_of_the_client_keeps_its_numbers_ready() -> None:
    """NO_BOT is about the client: another active bot of it is enough, and is the one that is shown."""
    connection = build_world(numbers=4, clients=1, bots=2).connection()
    first, second = connection.edit().bots.values()
    first.active = False
    data = render(connection)
    assert data["drift"] == []
    assert {entry["bot"]["id"] for entry in data["readiness"]} == {second.id}


def test_answer_has_the_shape_of_the_reference_page() -> None:
    """Every part, and every field of an entry, is there under its documented name."""
    connection = build_world(numbers=1, clients=1, bots=1).connection()
    inventory = connection.edit()
    inventory.bots[next(iter(inventory.bots))].active = False
    data = render(connection)
    assert list(data) == [
        *("clients", "dids", "available_dids", "bots", "routing", "local_phone_numbers"),
        *("readiness", "drift", "warnings"),
    ]
    assert set(data["dids"][0]) == {
        *("id", "did_id", "did_number", "phone_number", "client_id", "status", "is_expired", "raw")
    }
    assert set(data["readiness"][0]) == {
        *("key", "phone_number", "state", "issues", "remote_did", "local_phone_number", "routing", "bot"),
        *("actions", "action_items"),
    }
    assert set(data["drift"][0]) == {"key", "phone_number", "state", "action", "did_id", "client_id"}
    assert data["readiness"][0]["bot"] is None
    assert data["readiness"][0]["routing"]["inbound_websocket_bot_id"] == next(iter(inventory.bots))


def test_answer_has_a_real_size() -> None:
    """About 1.9 kB a number, so that benchmarks measure what production sees."""
    body = envelope(render(build_world(numbers=100).connection()))
    assert 1_750 < len(body) / 100 < 2_050


def test_bodies_are_the_same_object_until_something_changes() -> None:
    """An unchanged connection costs a lookup; a change shows at once."""
    connection = build_world(numbers=5).connection()
    bodies = Bodies()
    before = bodies.of(connection)
    assert bodies.of(connection) is before
    next(iter(connection.edit().numbers.values())).agent_id = None
    assert b'"issues":["NO_VOCOBASE_AGENT"]' in bodies.of(connection)


def test_bodies_beyond_the_budget_come_back_unharmed() -> None:
    """What is kept compressed is answered byte for byte as before."""
    world = build_world(connections=3, numbers=20)
    bodies, reference = Bodies(budget_bytes=50_000), Bodies()
    for connection in [*world.connections(), *world.connections()]:
        assert bodies.of(connection) == reference.of(connection)


def test_bodies_forget_a_connection_that_another_replaced() -> None:
    """A new connection under an old id is rendered anew."""
    old, new = build_world(numbers=1).connection(), build_world(numbers=2).connection()
    bodies = Bodies()
    assert old.id == new.id
    assert len(bodies.of(new)) != len(bodies.of(old))


def test_numbers_differ_between_connections() -> None:
    """No two generated connections share a number, a DID, a client or a bot."""
    world = build_world(connections=3, numbers=4)
    answers = [render(connection) for connection in world.connections()]
    for part, name in [("dids", "did_id"), ("dids", "did_number"), ("clients", "id"), ("bots", "id")]:
        values = [entry[name] for data in answers for entry in data[part]]
        assert len(values) == len(set(values)), (part, name)
