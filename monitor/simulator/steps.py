"""The vocabulary of scenarios: each step is a small value that knows how to change the world.

A step's keys are the fields of its class; `at` (a duration since the start) and `say` (what a person is told)
go with every step.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from monitor.simulator.inventory import Forced, Inventory, SimulatedNumber
from monitor.simulator.outages import (
    ClearFaults,
    InjectFault,
    RestoreKey,
    RevokeKey,
    SetRateLimit,
    Suspend,
    Unsuspend,
)
from monitor.simulator.problem import ScenarioError, did_you_mean, seconds
from monitor.simulator.shape import ConnectionShape, explain, grow
from monitor.simulator.step import Positive, ScenarioStep
from monitor.simulator.world import SimulatedConnection, World, key_of


class Say(ScenarioStep, frozen=True, kw_only=True, tag="say"):
    """Changes nothing; `say` tells people where the story is."""


class BotStep(ScenarioStep, frozen=True, kw_only=True):
    """A step about one bot; `connection` is needed only if several have that bot."""

    bot: int
    connection: str | None = None

    def set_active(self, world: World, *, active: bool) -> None:
        """Switch the bot."""
        world.holding_bot(self.bot, self.connection).edit().bots[self.bot].active = active


class DeactivateBot(BotStep, frozen=True, kw_only=True, tag="deactivate_bot"):
    """The bot stops answering: its client's numbers are NO_BOT unless the client has another."""

    def _apply(self, world: World) -> None:
        self.set_active(world, active=False)


class ActivateBot(BotStep, frozen=True, kw_only=True, tag="activate_bot"):
    """The bot answers again."""

    def _apply(self, world: World) -> None:
        self.set_active(world, active=True)


class NumberStep(ScenarioStep, frozen=True, kw_only=True):
    """A step about one `number`, a list of `numbers`, or a connection's first so many (`numbers = 6`)."""

    number: str | None = None
    numbers: Positive | list[str] | None = None
    connection: str | None = None

    def _apply(self, world: World) -> None:
        for connection, key in list(self.chosen(world)):
            inventory = connection.edit()
            self._edit(inventory, inventory.numbers[key])

    def _edit(self, inventory: Inventory, number: SimulatedNumber) -> None:  # noqa: ARG002 - for those who need it
        """Change one of the chosen numbers, or what surrounds it."""
        self._change(number)

    def _change(self, number: SimulatedNumber) -> None:
        """Change nothing but one of the chosen numbers."""

    def chosen(self, world: World) -> Iterator[tuple[SimulatedConnection, str]]:
        """Return the numbers that are meant, each with its connection."""
        if isinstance(self.numbers, int) and self.number is None:
            connection = world.connection(self.connection)
            yield from ((connection, key) for key in connection.keys(self.numbers))
            return
        for each in self.named():
            yield world.holding_number(each, self.connection), key_of(each)

    def named(self) -> list[str]:
        """Return the numbers that are named one by one.

        Raises:
            ScenarioError: The step says none, or both `number` and `numbers`.
        """
        if isinstance(self.numbers, list) and self.number is None:
            return self.numbers
        if self.number is not None and self.numbers is None:
            return [self.number]
        raise ScenarioError(["say either `number` or `numbers`"])


class RemoveRouting(NumberStep, frozen=True, kw_only=True, tag="remove_routing"):
    """Calls lead nowhere: ROUTING_MISSING."""

    def _change(self, number: SimulatedNumber) -> None:
        number.routed = False


class RestoreRouting(NumberStep, frozen=True, kw_only=True, tag="restore_routing"):
    """Calls are routed again."""

    def _change(self, number: SimulatedNumber) -> None:
        number.routed = True


class UnassignAgent(NumberStep, frozen=True, kw_only=True, tag="unassign_agent"):
    """The local phone number has no agent: NO_VOCOBASE_AGENT."""

    def _change(self, number: SimulatedNumber) -> None:
        number.agent_id = None


class AssignAgent(NumberStep, frozen=True, kw_only=True, tag="assign_agent"):
    """The local phone number has this agent; without one, its client's."""

    agent: str | None = None

    def _change(self, number: SimulatedNumber) -> None:
        number.agent_id = self.agent or f"agent_{number.client_id}"


class Expire(NumberStep, frozen=True, kw_only=True, tag="expire"):
    """The DID expires; its state stays what it was."""

    def _change(self, number: SimulatedNumber) -> None:
        number.expired = True


class Renew(NumberStep, frozen=True, kw_only=True, tag="renew"):
    """The DID is renewed."""

    def _change(self, number: SimulatedNumber) -> None:
        number.expired = False


class RemoveNumber(NumberStep, frozen=True, kw_only=True, tag="remove_number"):
    """The number is gone from the answer."""

    def _edit(self, inventory: Inventory, number: SimulatedNumber) -> None:
        inventory.removed[number.key] = inventory.numbers.pop(number.key)


class MoveNumber(NumberStep, frozen=True, kw_only=True, tag="move_number"):
    """The number is reconfigured: another `client`, `bot` or `agent`, made if there is none."""

    client: int | None = None
    bot: int | None = None
    agent: str | None = None

    def _edit(self, inventory: Inventory, number: SimulatedNumber) -> None:
        if self.client is None and self.bot is None and self.agent is None:
            raise ScenarioError(["say where to: `client`, `bot` or `agent`"])
        number.client_id = number.client_id if self.client is None else self.client
        number.bot_id = number.bot_id if self.bot is None else self.bot
        number.agent_id = number.agent_id if self.agent is None else self.agent
        inventory.ensure(number.client_id, number.bot_id)


class SetState(NumberStep, frozen=True, kw_only=True, tag="set_state"):
    """The provider says this `state` with these `issues`, known or not, until `clear_state`.

    `listed` is whether `drift[]` has the number; unless said, it has if there are issues.
    """

    state: str
    issues: tuple[str, ...] = ()
    listed: bool | None = None

    def _change(self, number: SimulatedNumber) -> None:
        listed = bool(self.issues) if self.listed is None else self.listed
        number.forced = Forced(state=self.state, issues=self.issues, listed=listed)


class ClearState(NumberStep, frozen=True, kw_only=True, tag="clear_state"):
    """The number's state is what it looks like again."""

    def _change(self, number: SimulatedNumber) -> None:
        number.forced = None


class AddNumber(ScenarioStep, frozen=True, kw_only=True, tag="add_number"):
    """A removed number returns as it was, or a new one comes: to the first client and bot unless said."""

    number: str
    connection: str | None = None
    client: int | None = None
    bot: int | None = None
    agent: str | None = None

    def _apply(self, world: World) -> None:
        inventory = world.connection(self.connection).edit()
        key = key_of(self.number)
        if not key:
            raise ScenarioError(["`number` has no digits"])
        before = inventory.removed.pop(key, None)
        inventory.numbers.setdefault(key, before or self._made(inventory, key))

    def _made(self, inventory: Inventory, key: str) -> SimulatedNumber:
        client = self.client if self.client is not None else next(iter(inventory.clients), 1)
        owned = (bot.id for bot in inventory.bots.values() if bot.client_id == client)
        bot = self.bot if self.bot is not None else next(owned, client)
        inventory.ensure(client, bot)
        everything = (*inventory.numbers.values(), *inventory.removed.values())
        did_id = max((number.did_id for number in everything), default=0) + 1
        agent = self.agent or f"agent_{client}"
        return SimulatedNumber(key=key, did_id=did_id, client_id=client, bot_id=bot, agent_id=agent)


class ConnectionStep(ScenarioStep, frozen=True, kw_only=True):
    """A step about one connection, by name or id."""

    connection: str | None = None


class DeactivateConnection(ConnectionStep, frozen=True, kw_only=True, tag="deactivate_connection"):
    """The connection is listed as INACTIVE, and its syncs are refused with 409."""

    def _apply(self, world: World) -> None:
        world.connection(self.connection).active = False


class ActivateConnection(ConnectionStep, frozen=True, kw_only=True, tag="activate_connection"):
    """The connection works again."""

    def _apply(self, world: World) -> None:
        world.connection(self.connection).active = True


class RemoveConnection(ConnectionStep, frozen=True, kw_only=True, tag="remove_connection"):
    """The connection is gone: 404."""

    def _apply(self, world: World) -> None:
        connection = world.connection(self.connection)
        account = world.owner(connection)
        account.connections.remove(connection)
        account.removed.append(connection)


class AddConnection(ScenarioStep, frozen=True, kw_only=True, tag="add_connection"):
    """A removed connection returns as it was, or a new one comes; keys as under `accounts.connections`."""

    name: str
    account: str | None = None
    id: str | None = None
    numbers: int = 10
    clients: int = 1
    bots: int | None = None

    def _apply(self, world: World) -> None:
        account = world.account(self.account)
        if any(each.name == self.name for each in world.connections()):
            return
        for gone in account.removed:
            if gone.name == self.name:
                account.removed.remove(gone)
                account.connections.append(gone)
                return
        shape = ConnectionShape(
            name=self.name, id=self.id, numbers=self.numbers, clients=self.clients, bots=self.bots
        )
        account.add(grow(shape, world.next_ids()))


class Rename(ScenarioStep, frozen=True, kw_only=True, tag="rename_connection"):
    """The connection gets another name; its id stays."""

    connection: str
    to: str

    def _apply(self, world: World) -> None:
        world.connection(self.connection).name = self.to


class Warn(ConnectionStep, frozen=True, kw_only=True, tag="warn"):
    """The answer carries these `warnings`; an empty list ends them."""

    warnings: list[str]

    def _apply(self, world: World) -> None:
        connection = world.connection(self.connection)
        connection.warnings = list(self.warnings)
        connection.touch()


AnyStep = (
    Say
    | DeactivateBot
    | ActivateBot
    | RemoveRouting
    | RestoreRouting
    | UnassignAgent
    | AssignAgent
    | Expire
    | Renew
    | RemoveNumber
    | AddNumber
    | MoveNumber
    | SetState
    | ClearState
    | DeactivateConnection
    | ActivateConnection
    | RemoveConnection
    | AddConnection
    | Rename
    | Warn
    | RevokeKey
    | RestoreKey
    | Suspend
    | Unsuspend
    | SetRateLimit
    | InjectFault
    | ClearFaults
)

VOCABULARY: Mapping[str, type[ScenarioStep]] = {
    str(each.__struct_config__.tag): each for each in get_args(AnyStep)
}
"""Every word that `do` may be, and its step."""


def parse_step(data: Mapping[str, Any]) -> ScenarioStep:
    """Return the step that a table of a scenario, or a request to the simulator, describes.

    Raises:
        ScenarioError: An unknown word, an unknown key, a missing one, a value of the wrong type.
    """
    do = data.get("do")
    if not isinstance(do, str):
        raise ScenarioError(['`do` is missing; it says what happens, like do = "deactivate_bot"'])
    if do not in VOCABULARY:
        raise ScenarioError([f'no step is called "{do}"{did_you_mean(do, VOCABULARY)}'])
    kind = VOCABULARY[do]
    try:
        step = msgspec.convert(dict(data), kind)
        seconds(step.at)
    except msgspec.ValidationError as exc:
        raise ScenarioError([explain(exc, kind)]) from exc
    return step
