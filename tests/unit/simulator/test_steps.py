"""The vocabulary: what each step does to the answer."""

from typing import Any

import pytest

from monitor.simulator.answer import render
from monitor.simulator.shape import build, parse_shape
from monitor.simulator.steps import parse_step
from monitor.simulator.world import ScenarioError, World

NUMBER = "+918011223344"
OTHER = "+918011223345"


def small_world() -> World:
    """Return one connection `sales`: two numbers of client 415 and bot 93, one of client 416 and bot 94."""
    blocks = [
        {"numbers": 2, "client": 415, "bot": 93, "first": NUMBER},
        {"numbers": 1, "client": 416, "bot": 94},
    ]
    connection = {"name": "sales", "id": "c-1", "blocks": blocks}
    return build(parse_shape({"accounts": [{"name": "acme", "key": "k", "connections": [connection]}]}))


def play(*steps: dict[str, Any], world: World | None = None) -> World:
    """Return a world after these steps."""
    world = world or small_world()
    for step in steps:
        parse_step(step).apply(world)
    return world


def states(world: World) -> list[str]:
    """Return the states of all numbers, in the order of the answer."""
    return [entry["state"] for entry in render(world.connection("c-1"))["readiness"]]


READY = "READY"


@pytest.mark.parametrize(
    ("bad", "good", "broken"),
    [
        pytest.param(
            {"do": "deactivate_bot", "bot": 93},
            {"do": "activate_bot", "bot": 93},
            ["NO_BOT", "NO_BOT", READY],
            id="bot",
        ),
        pytest.param(
            {"do": "remove_routing", "number": NUMBER},
            {"do": "restore_routing", "number": NUMBER},
            ["ROUTING_MISSING", READY, READY],
            id="routing",
        ),
        pytest.param(
            {"do": "unassign_agent", "numbers": [NUMBER, OTHER]},
            {"do": "assign_agent", "numbers": 2, "connection": "sales"},
            ["NO_VOCOBASE_AGENT", "NO_VOCOBASE_AGENT", READY],
            id="agent",
        ),
        pytest.param(
            {"do": "remove_number", "number": NUMBER},
            {"do": "add_number", "number": NUMBER},
            [READY, READY],
            id="number",
        ),
        pytest.param(
            {"do": "set_state", "number": OTHER, "state": "KYC_PENDING", "issues": ["KYC"]},
            {"do": "clear_state", "number": OTHER},
            [READY, "KYC_PENDING", READY],
            id="any state",
        ),
    ],
)
def test_step_breaks_and_its_counterpart_heals(bad: Any, good: Any, broken: list[str]) -> None:
    """Each breaking step has one that undoes it."""
    world = play(bad)
    assert states(world) == broken
    assert states(play(good, world=world)) == [READY] * 3


def test_expire_and_renew_show_in_the_remote_did() -> None:
    """The flag comes and goes; the state does not move."""
    world = play({"do": "expire", "numbers": 1})
    assert [entry["is_expired"] for entry in render(world.connection())["dids"]] == [True, False, False]
    play({"do": "renew", "number": NUMBER}, world=world)
    assert not any(entry["is_expired"] for entry in render(world.connection())["dids"])


def test_move_number_reconfigures_without_drift() -> None:
    """Client, bot and agent change, and the number stays ready."""
    world = play({"do": "move_number", "number": NUMBER, "client": 500, "bot": 501, "agent": "x"})
    entry = render(world.connection())["readiness"][0]
    assert entry["remote_did"]["client_id"] == 500
    assert entry["routing"]["inbound_websocket_bot_id"] == 501
    assert (entry["local_phone_number"]["agent_id"], entry["state"]) == ("x", READY)


def test_add_number_brings_a_new_one() -> None:
    """A number that never was is ready at once, with a DID id of its own."""
    world = play({"do": "add_number", "number": "+15550100"})
    dids = [entry["did_id"] for entry in render(world.connection())["dids"]]
    assert states(world) == [READY] * 4
    assert len(set(dids)) == 4


def test_set_state_can_list_a_number_without_issues() -> None:
    """`listed` puts a number into drift[] whose readiness names no issue."""
    world = play({"do": "set_state", "number": NUMBER, "state": "ODD", "listed": True})
    (drift,) = render(world.connection())["drift"]
    assert drift["state"] == "ODD"


def test_warn_fills_the_warnings() -> None:
    """The texts are answered as they are."""
    world = play({"do": "warn", "warnings": ["one", "two"]})
    assert render(world.connection())["warnings"] == ["one", "two"]


def test_connection_steps_change_the_list() -> None:
    """Connections can be switched off, removed, brought back as they were, renamed and added."""
    world = play({"do": "deactivate_bot", "bot": 93}, {"do": "deactivate_connection"})
    assert not world.connection("sales").active
    play({"do": "activate_connection"}, {"do": "remove_connection"}, world=world)
    assert list(world.connections()) == []
    play({"do": "add_connection", "name": "sales"}, {"do": "add_connection", "name": "new"}, world=world)
    assert states(world)[0] == "NO_BOT"
    play({"do": "rename_connection", "connection": "sales", "to": "vertrieb"}, world=world)
    assert [connection.name for connection in world.connections()] == ["vertrieb", "new"]
    assert len(world.connection("new").view().numbers) == 10


@pytest.mark.parametrize(
    ("do", "undo", "flag"), [("revoke_key", "restore_key", "revoked"), ("suspend", "unsuspend", "suspended")]
)
def test_account_steps_set_and_clear(do: str, undo: str, flag: str) -> None:
    """A key is revoked or an account suspended until the counterpart."""
    world = play({"do": do})
    assert getattr(world.account(), flag)
    assert not getattr(play({"do": undo}, world=world).account(), flag)


def test_fault_for_a_time_ends_then() -> None:
    """`for` counts from the moment of the step."""
    world = small_world()
    world.now_s = 100.0
    play({"do": "fault", "status": 503, "for": "8s"}, world=world)
    assert world.faults.take("acme", "c-1", 107.9)
    assert not world.faults.take("acme", "c-1", 108.0)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        pytest.param({}, "`do` is missing", id="no do"),
        pytest.param({"do": "deactivate_bto"}, 'did you mean "deactivate_bot"?', id="misspelt word"),
        pytest.param(
            {"do": "expire", "numbr": "1"}, 'no key `numbr` (did you mean "number"?)', id="misspelt key"
        ),
        pytest.param({"do": "deactivate_bot"}, "lacks the key `bot`", id="missing key"),
        pytest.param({"do": "deactivate_bot", "bot": "x"}, "bot: Expected `int`", id="wrong type"),
        pytest.param({"do": "deactivate_bot", "bot": 92}, "bots are 93, 94", id="unknown bot"),
        pytest.param({"do": "expire"}, "either `number` or `numbers`", id="no number"),
        pytest.param({"do": "expire", "number": "1", "numbers": 2}, "either `number` or", id="two ways"),
        pytest.param({"do": "expire", "numbers": -1}, "numbers: Expected `int` >= 1", id="negative"),
        pytest.param({"do": "expire", "number": "+4"}, "not a number of any connection", id="unknown number"),
        pytest.param({"do": "move_number", "number": NUMBER}, "give `client`, `bot`", id="move nowhere"),
        pytest.param({"do": "add_number", "number": "x"}, "no digits", id="no digits"),
        pytest.param({"do": "warn", "connection": "sale", "warnings": []}, 'mean "sales"?', id="connection"),
        pytest.param({"do": "suspend", "account": "acm"}, 'did you mean "acme"?', id="account"),
        pytest.param({"do": "fault"}, "give `status`, `delay` or `kind`", id="fault of no kind"),
        pytest.param({"do": "fault", "kind": "dropp"}, 'did you mean "drop"?', id="unknown kind"),
        pytest.param({"do": "fault", "status": 500, "for": "ten"}, "is not a duration", id="duration"),
    ],
)
def test_wrong_step_says_what_is_wrong(step: dict[str, Any], says: str) -> None:
    """The message names the key or the word, and the nearest right one."""
    with pytest.raises(ScenarioError) as caught:
        play(step)
    assert says in str(caught.value)


def test_error_never_shows_a_phone_number() -> None:
    """Phone numbers are personal: not even a wrong one is repeated."""
    with pytest.raises(ScenarioError) as caught:
        play({"do": "expire", "number": "+4915550100"})
    assert "555" not in str(caught.value)


def test_every_word_says_something_to_a_person() -> None:
    """A step without `say` is told by its word."""
    assert parse_step({"do": "deactivate_bot", "bot": 93}).text == "deactivate bot"
    assert parse_step({"do": "say", "say": "Here we go."}).text == "Here we go."
