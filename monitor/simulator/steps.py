"""The vocabulary of scenarios: each step is a small value that knows how to change the world.

A step's keys are the fields of its class; `at` (a duration since the start) and `say` (what a person is told)
go with every step. Steps that only set one thing share a class, which has a table of their words.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from monitor.simulator.faults import Fault, FaultKind
from monitor.simulator.inventory import Inventory, Judged, SimulatedNumber
from monitor.simulator.shape import ConnectionShape, explain, grow
from monitor.simulator.world import ScenarioError, SimulatedConnection, World, did_you_mean, key_of, seconds

Positive = Annotated[int, msgspec.Meta(ge=1)]


class ScenarioStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all steps have; by itself it is the step `say`, which changes nothing."""

    do: str
    at: str | float = 0
    say: str | None = None

    @property
    def text(self) -> str:
        """The line that is shown when the step is taken."""
        return self.say or self.do.replace("_", " ")

    def apply(self, world: World) -> None:
        """Change the world.

        Raises:
            ScenarioError: The step names something that does not exist.
        """


class SwitchBot(ScenarioStep, frozen=True, kw_only=True):
    """The bot stops answering, or answers again; `connection` is needed only if several have that bot."""

    words: ClassVar = {"deactivate_bot": False, "activate_bot": True}

    bot: int
    connection: str | None = None

    def apply(self, world: World) -> None:
        """Switch the bot: without one, its client's numbers are NO_BOT."""
        inventory = world.holding_bot(self.bot, self.connection).edit()
        inventory.bots[self.bot].active = self.words[self.do]


class NumberStep(ScenarioStep, frozen=True, kw_only=True):
    """A step about one `number`, a list of `numbers`, or a connection's first ones (`numbers = 6`)."""

    number: str | None = None
    numbers: Positive | list[str] | None = None
    connection: str | None = None

    def apply(self, world: World) -> None:
        """Change each of the chosen numbers."""
        for connection, key in list(self._chosen(world)):
            inventory = connection.edit()
            self.change(inventory, inventory.numbers[key])

    def change(self, inventory: Inventory, number: SimulatedNumber) -> None:
        """Change one of the chosen numbers, or what surrounds it."""

    def _chosen(self, world: World) -> Iterator[tuple[SimulatedConnection, str]]:
        if (self.number is None) == (self.numbers is None):
            raise ScenarioError(["give either `number` or `numbers`"])
        if isinstance(self.numbers, int):
            connection = world.connection(self.connection)
            yield from ((connection, key) for key in connection.keys(self.numbers))
            return
        for each in self.numbers if isinstance(self.numbers, list) else [self.number or ""]:
            yield world.holding_number(each, self.connection), key_of(each)


class SetNumber(NumberStep, frozen=True, kw_only=True):
    """One thing about the number changes.

    Without routing it is ROUTING_MISSING, without agent NO_VOCOBASE_AGENT; the others change no state.
    `clear_state` ends `set_state`.
    """

    words: ClassVar[dict[str, tuple[str, Any]]] = {
        "remove_routing": ("routed", False),
        "restore_routing": ("routed", True),
        "remove_inbound": ("inbound", False),
        "restore_inbound": ("inbound", True),
        "switch_routing_off": ("routing_on", False),
        "switch_routing_on": ("routing_on", True),
        "switch_number_off": ("local_on", False),
        "switch_number_on": ("local_on", True),
        "unassign_agent": ("agent_id", None),
        "expire": ("expired", True),
        "renew": ("expired", False),
        "clear_state": ("forced", None),
    }

    def change(self, inventory: Inventory, number: SimulatedNumber) -> None:
        """Set it."""
        del inventory
        setattr(number, *self.words[self.do])


class AssignAgent(NumberStep, frozen=True, kw_only=True):
    """The local phone number has this agent; without one, its client's."""

    agent: str | None = None

    def change(self, inventory: Inventory, number: SimulatedNumber) -> None:
        """Assign the agent."""
        del inventory
        number.agent_id = self.agent or f"agent_{number.client_id}"


class RemoveNumber(NumberStep, frozen=True, kw_only=True):
    """The number is gone from the answer."""

    def change(self, inventory: Inventory, number: SimulatedNumber) -> None:
        """Remove it."""
        inventory.removed[number.key] = inventory.numbers.pop(number.key)


class MoveNumber(NumberStep, frozen=True, kw_only=True):
    """The number is reconfigured: another `client`, `bot` or `agent`, made if there is none."""

    client: int | None = None
    bot: int | None = None
    agent: str | None = None

    def change(self, inventory: Inventory, number: SimulatedNumber) -> None:
        """Move it."""
        if self.client is None and self.bot is None and self.agent is None:
            raise ScenarioError(["give `client`, `bot` or `agent`"])
        number.client_id = number.client_id if self.client is None else self.client
        number.bot_id = number.bot_id if self.bot is None else self.bot
        number.agent_id = number.agent_id if self.agent is None else self.agent
        inventory.ensure(number.client_id, number.bot_id)


class SetState(NumberStep, frozen=True, kw_only=True):
    """The provider says this `state` with these `issues`, known or not, until `clear_state`.

    `listed` is whether `drift[]` has the number; unless given, it has if there are issues.
    """

    state: str
    issues: tuple[str, ...] = ()
    listed: bool | None = None

    def change(self, inventory: Inventory, number: SimulatedNumber) -> None:
        """Put the state on it."""
        del inventory
        listed = bool(self.issues) if self.listed is None else self.listed
        number.forced = Judged(self.state, self.issues, listed)


class AddNumber(ScenarioStep, frozen=True, kw_only=True):
    """A removed number returns as it was, or a new one comes: to the first client and bot unless given."""

    number: str
    connection: str | None = None
    client: int | None = None
    bot: int | None = None
    agent: str | None = None

    def apply(self, world: World) -> None:
        """Add it."""
        inventory = world.connection(self.connection).edit()
        key = key_of(self.number)
        if not key:
            raise ScenarioError(["`number` has no digits"])
        before = inventory.removed.pop(key, None)
        if key not in inventory.numbers:
            inventory.numbers[key] = before or self._made(inventory, key)

    def _made(self, inventory: Inventory, key: str) -> SimulatedNumber:
        client = self.client if self.client is not None else next(iter(inventory.clients), 1)
        owned = (bot.id for bot in inventory.bots.values() if bot.client_id == client)
        bot = self.bot if self.bot is not None else next(owned, client)
        inventory.ensure(client, bot)
        everything = (*inventory.numbers.values(), *inventory.removed.values())
        did_id = max((number.did_id for number in everything), default=0) + 1
        agent = self.agent or f"agent_{client}"
        return SimulatedNumber(key=key, did_id=did_id, client_id=client, bot_id=bot, agent_id=agent)


class SwitchConnection(ScenarioStep, frozen=True, kw_only=True):
    """The connection is listed as INACTIVE and its syncs are refused with 409, or it works again."""

    words: ClassVar = {"deactivate_connection": False, "activate_connection": True}

    connection: str | None = None

    def apply(self, world: World) -> None:
        """Switch the connection."""
        world.connection(self.connection).active = self.words[self.do]


class RemoveConnection(ScenarioStep, frozen=True, kw_only=True):
    """The connection is gone: 404."""

    connection: str | None = None

    def apply(self, world: World) -> None:
        """Remove it."""
        connection = world.connection(self.connection)
        account = next(each for each in world.accounts if connection in each.connections)
        account.connections.remove(connection)
        account.removed.append(connection)


class AddConnection(ScenarioStep, frozen=True, kw_only=True):
    """A removed connection returns as it was, or a new one comes; keys as under `accounts.connections`."""

    name: str
    account: str | None = None
    id: str | None = None
    numbers: int = 10
    clients: int = 1
    bots: int | None = None

    def apply(self, world: World) -> None:
        """Add it, unless there is one of its name."""
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


class RenameConnection(ScenarioStep, frozen=True, kw_only=True):
    """The connection gets another name; its id stays."""

    connection: str
    to: str

    def apply(self, world: World) -> None:
        """Rename it."""
        world.connection(self.connection).name = self.to


class Warn(ScenarioStep, frozen=True, kw_only=True):
    """The answer carries these `warnings`; an empty list ends them."""

    warnings: list[str]
    connection: str | None = None

    def apply(self, world: World) -> None:
        """Set the warnings."""
        connection = world.connection(self.connection)
        connection.warnings = list(self.warnings)
        connection.version += 1


class SwitchAccount(ScenarioStep, frozen=True, kw_only=True):
    """The account's key is refused with 401 (revoked) or 403 (suspended), or works again."""

    words: ClassVar[dict[str, tuple[str, bool]]] = {
        "revoke_key": ("revoked", True),
        "restore_key": ("revoked", False),
        "suspend": ("suspended", True),
        "unsuspend": ("suspended", False),
    }

    account: str | None = None

    def apply(self, world: World) -> None:
        """Switch the account."""
        setattr(world.account(self.account), *self.words[self.do])


class SetRateLimit(ScenarioStep, frozen=True, kw_only=True):
    """Maximum number of requests for each key and window; 0 for no limit."""

    limit: Annotated[int, msgspec.Meta(ge=0)]

    def apply(self, world: World) -> None:
        """Set the limit."""
        world.rate_limit = self.limit


class InjectFault(ScenarioStep, frozen=True, kw_only=True):
    """The API answers wrongly, for a time (`for`), some `requests`, or until `clear_faults`.

    `status = 503` and `delay = "2s"` need no `kind`.
    """

    kind: FaultKind | None = None
    account: str | None = None
    connection: str | None = None
    lasts: str | float | None = msgspec.field(name="for", default=None)
    requests: Positive | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    code: str | None = None
    retry_after: str | int | None = None
    location: str | None = None
    delay: str | float = 0
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    size_mib: Positive = 65
    count: Positive = 1
    part: str = "readiness"

    def apply(self, world: World) -> None:
        """Put the fault in the way."""
        kind = self.kind or (FaultKind.STATUS if self.status is not None else None)
        kind = kind or (FaultKind.DELAY if self.delay else None)
        if kind is None:
            raise ScenarioError([f"give `status`, `delay` or `kind`; kinds are {', '.join(FaultKind)}"])
        same = ("requests", "code", "location", "ratio", "size_mib", "count", "part")
        fault = Fault(
            kind=kind,
            account=None if self.account is None else world.account(self.account).name,
            connection_id=None if self.connection is None else world.connection(self.connection).id,
            until=None if self.lasts is None else world.now_s + seconds(self.lasts),
            status=self.status or 503,
            retry_after=None if self.retry_after is None else str(self.retry_after),
            delay_s=seconds(self.delay),
            **{key: getattr(self, key) for key in same},
        )
        world.faults.add(fault)


class ClearFaults(ScenarioStep, frozen=True, kw_only=True):
    """The faults of an account or a connection end; without one, all."""

    account: str | None = None
    connection: str | None = None

    def apply(self, world: World) -> None:
        """End them."""
        connection_id = None if self.connection is None else world.connection(self.connection).id
        world.faults.clear(self.account, connection_id)


VOCABULARY: Mapping[str, type[ScenarioStep]] = {
    "say": ScenarioStep,
    **dict.fromkeys(SwitchBot.words, SwitchBot),
    **dict.fromkeys(SetNumber.words, SetNumber),
    "assign_agent": AssignAgent,
    "remove_number": RemoveNumber,
    "add_number": AddNumber,
    "move_number": MoveNumber,
    "set_state": SetState,
    **dict.fromkeys(SwitchConnection.words, SwitchConnection),
    "remove_connection": RemoveConnection,
    "add_connection": AddConnection,
    "rename_connection": RenameConnection,
    "warn": Warn,
    **dict.fromkeys(SwitchAccount.words, SwitchAccount),
    "rate_limit": SetRateLimit,
    "fault": InjectFault,
    "clear_faults": ClearFaults,
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
