"""Scenario files: read, checked, told in order."""

from itertools import takewhile
from pathlib import Path

import pytest

from monitor.simulator.answer import render
from monitor.simulator.scenario import Scenario, load_scenario, parse_scenario, shipped_scenario, story
from monitor.simulator.shape import build_world
from monitor.simulator.world import ScenarioError, seconds

HEAD = """
[[accounts]]
name = "acme"
key = "rg_live_secret"
[[accounts.connections]]
name = "sales"
numbers = 9
clients = 2
bots = 3
"""


def steps_of(scenario: Scenario, until_s: float) -> list[str]:
    """Return the words of the steps up to that time."""
    return [step.do for _, step in takewhile(lambda at: at[0] <= until_s, story(scenario))]


def test_numbers_are_spread_over_bots_and_clients() -> None:
    """Nine numbers over three bots of two clients: three each, the third bot the first client's."""
    data = render(parse_scenario(HEAD).world().connection())
    targets = [entry["inbound_websocket_bot_id"] for entry in data["routing"]]
    assert [targets.count(bot["id"]) for bot in data["bots"]] == [3, 3, 3]
    owners = [bot["client_id"] for bot in data["bots"]]
    assert (len(data["clients"]), owners[0] == owners[2]) == (2, True)


def test_steps_come_in_the_order_of_their_time() -> None:
    """The order in the file does not matter; nothing comes early, nothing twice."""
    scenario = parse_scenario(
        HEAD + '[[steps]]\nat = "2m"\ndo = "suspend"\n[[steps]]\nat = 5\ndo = "revoke_key"\n'
    )
    assert steps_of(scenario, 4.9) == []
    assert steps_of(scenario, 5) == ["revoke_key"]
    assert steps_of(scenario, 1e6) == ["revoke_key", "suspend"]


def test_repeated_story_begins_again_after_its_length() -> None:
    """With `repeat`, round after round; each `length` long."""
    text = 'repeat = true\nlength = "10s"\n' + HEAD + '[[steps]]\nat = "4s"\ndo = "say"\n'
    assert len(steps_of(parse_scenario(text), 24)) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("accounts = [", "it is not TOML", id="no toml"),
        pytest.param("a = " + "9" * 5000, "it is not TOML: a value is out of bounds", id="huge"),
        pytest.param("a = " + "[" * 5000, "it is not TOML: a value is out of bounds", id="deep"),
        pytest.param("", "it lacks the key `accounts`", id="no accounts"),
        pytest.param(HEAD + "numbrs = 3", "accounts[0].connections[0]: there is no key `numbrs`", id="key"),
        pytest.param(HEAD + "numbrs = 3", 'did you mean "numbers"?', id="nearest key"),
        pytest.param(HEAD + HEAD, 'account "acme" has the name or key of another', id="account twice"),
        pytest.param(
            HEAD + '[[accounts.connections]]\nname = "sales"', 'connection "sales" has the name', id="twin"
        ),
        pytest.param(HEAD + "blocks = [{numbers = 1}]", "either `numbers` or `blocks`", id="both"),
        pytest.param(HEAD.replace("bots = 3", "bots = 1"), "every client needs a bot", id="few bots"),
        pytest.param(HEAD.replace("numbers = 9", "numbers = 1000000"), "0 to 100000", id="too many"),
        pytest.param(
            HEAD + '[[steps]]\ndo = "say"\n[[steps]]\ndo = "sya"', "steps[2] (sya): no step is", id="word"
        ),
        pytest.param(
            HEAD + '[[steps]]\ndo = "deactivate_bot"\nbot = 7',
            "steps[1] (deactivate_bot): there is no bot",
            id="bot",
        ),
        pytest.param(
            HEAD + '[[steps]]\nat = "soon"\ndo = "say"', 'steps[1] (say): "soon" is not a dur', id="at"
        ),
        pytest.param('rate_window = "0s"\n' + HEAD, "`rate_window` must be more", id="window"),
        pytest.param(
            HEAD.replace(
                "numbers = 9", 'blocks = [{numbers = 2, first = "+15"}, {numbers = 1, first = "+16"}]'
            ),
            "two blocks have a number in common",
            id="overlap",
        ),
        pytest.param("repeat = true\n" + HEAD, "needs a `length`", id="repeat without length"),
        pytest.param(
            "length = 1\n" + HEAD + '[[steps]]\nat = 2\ndo = "say"', "shorter than the story", id="length"
        ),
    ],
)
def test_wrong_scenario_says_what_and_where(text: str, says: str) -> None:
    """The message names the file, the place, and what to do; never a key."""
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "my.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("my.toml: ")
    assert "rg_live" not in str(caught.value)


def test_repeated_story_that_cannot_repeat_is_refused() -> None:
    """A number removed once and never added back is not there in the second round."""
    blocks = HEAD.replace("numbers = 9", 'blocks = [{ numbers = 2, first = "+15550100" }]')
    text = (
        'repeat = true\nlength = "9s"\n' + blocks + '[[steps]]\ndo = "remove_number"\nnumber = "+15550100"\n'
    )
    with pytest.raises(ScenarioError, match="not a number of any connection"):
        parse_scenario(text)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error has the path and the system's reason."""
    with pytest.raises(ScenarioError, match=r"gone\.toml: .*No such file"):
        load_scenario(tmp_path / "gone.toml")


def test_file_is_read(tmp_path: Path) -> None:
    """A scenario of one's own is loaded from its path."""
    file = tmp_path / "own.toml"
    file.write_text(HEAD)
    assert load_scenario(file).world().connection().name == "sales"


def test_unknown_shipped_scenario_names_the_nearest() -> None:
    """A misspelt name gets the right one back."""
    with pytest.raises(ScenarioError, match='did you mean "demo"'):
        shipped_scenario("dmeo")


def test_demo_breaks_fewer_numbers_than_the_guard_holds() -> None:
    """Bot 93 takes exactly six numbers with it: enough to see, not enough to be implausible (50%)."""
    scenario = shipped_scenario("demo")
    world = scenario.world()
    drifting = []
    for _, step in story(scenario):
        step.apply(world)
        drifting.append([len(render(connection)["drift"]) for connection in world.connections()])
    assert drifting == [[0, 0], [6, 0], [6, 1], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0]]
    assert len(world.connection("acme-sales").view().numbers) >= 20


def test_demo_tells_every_step_in_plain_words() -> None:
    """Each step has its own sentence."""
    scenario = shipped_scenario("demo")
    assert all(step.say and step.say.endswith(".") for step in scenario.steps)
    assert scenario.length_s == 60


def test_quiet_stays_quiet() -> None:
    """The quiet scenario has no steps and no drift."""
    scenario = shipped_scenario("quiet")
    assert scenario.steps == ()
    assert render(scenario.world().connection())["drift"] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [("500ms", 0.5), ("8s", 8.0), ("1m", 60.0), ("2h", 7200.0), (3, 3.0), ("1.5s", 1.5)],
)
def test_duration_is_read(value: str | float, expected: float) -> None:
    """Units from milliseconds to hours; a bare number is seconds."""
    assert seconds(value) == expected


def test_large_world_is_made_lazily() -> None:
    """A thousand connections name their numbers without any being made."""
    world = build_world(connections=1000, numbers=1000, accounts=3)
    assert sum(1 for _ in world.connections()) == 1000
    assert len({world.connection(f"conn-{n:04d}").keys(1)[0] for n in range(1, 1001)}) == 1000
    assert [len(account.connections) for account in world.accounts] == [334, 333, 333]
