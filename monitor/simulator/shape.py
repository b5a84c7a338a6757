"""How a scenario file writes down the world, and how the world grows from it."""

import re
from itertools import pairwise
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from monitor.simulator.faults import FaultKind
from monitor.simulator.inventory import MAX_NUMBERS, Block, Ids, Recipe
from monitor.simulator.world import (
    ListForm,
    ScenarioError,
    SimulatedAccount,
    SimulatedConnection,
    World,
    did_you_mean,
    key_of,
    seconds,
)

_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]+)`")

_CHOICE = re.compile(r"Invalid enum value '(?P<word>\w+)'")


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are errors."""


class BlockShape(Shape, frozen=True, kw_only=True):
    """Numbers in a row that share client, bot and agent; what is not said is made up."""

    numbers: Annotated[int, msgspec.Meta(ge=1)]
    client: int | None = None
    bot: int | None = None
    agent: str | None = None
    first: str | None = None


class ConnectionShape(Shape, frozen=True, kw_only=True):
    """One connection: either `numbers`, spread over `bots` of `clients`, or `blocks`."""

    name: str
    id: str | None = None
    numbers: int = 0
    clients: int = 1
    bots: int | None = None
    blocks: list[BlockShape] = []
    available: int = 0
    active: bool = True
    provider: str = "voicelink"


class AccountShape(Shape, frozen=True, kw_only=True):
    """One API key and its connections."""

    name: str
    key: str
    suspended: bool = False
    connections: list[ConnectionShape] = []


class ScenarioShape(Shape, frozen=True, kw_only=True):
    """The whole file. `length` is how long one round of a repeated story takes."""

    rate_limit: Annotated[int, msgspec.Meta(ge=0)] = 60
    rate_window: str | float = "60s"
    connections_form: ListForm = "object"
    gzip: bool = False
    repeat: bool = False
    length: str | float | None = None
    accounts: list[AccountShape]
    steps: list[dict[str, Any]] = []


_TABLES: dict[str, type[msgspec.Struct]] = {
    "accounts": AccountShape,
    "connections": ConnectionShape,
    "blocks": BlockShape,
}


def explain(exc: msgspec.ValidationError, root: type[msgspec.Struct]) -> str:
    """Return a validation error in a scenario's words: what, where, and the key that was probably meant."""
    message, _, path = str(exc).partition(" - at `$")
    where = path.rstrip("`").lstrip(".")
    words = re.findall(r"[a-z_]+", where)
    table = _TABLES.get(words[-1], root) if words else root
    unknown = _UNKNOWN.search(message)
    if unknown is not None:
        known = [field.encode_name for field in msgspec.structs.fields(table)]
        message = f"there is no key `{unknown['field']}`{did_you_mean(unknown['field'], known)}"
    choice = _CHOICE.search(message)
    if choice is not None:
        message = f'there is no kind "{choice["word"]}"{did_you_mean(choice["word"], FaultKind)}'
    message = message.replace("Object missing required field", "it lacks the key")
    return f"{where}: {message}" if where else message


def parse_shape(data: dict[str, Any]) -> ScenarioShape:
    """Return the file's tables, checked.

    Raises:
        ScenarioError: A key is unknown or missing, or its value of another type.
    """
    try:
        return msgspec.convert(data, ScenarioShape)
    except msgspec.ValidationError as exc:
        raise ScenarioError([explain(exc, ScenarioShape)]) from exc


def build(shape: ScenarioShape) -> World:
    """Return a new world of this shape.

    Raises:
        ScenarioError: Two accounts, keys or connections are the same, or a connection's counts make no sense.
    """
    rate_window_s = seconds(shape.rate_window)
    if rate_window_s <= 0:
        raise ScenarioError(["`rate_window` must be more than 0"])
    world = World(
        rate_limit=shape.rate_limit,
        rate_window_s=rate_window_s,
        connections_form=shape.connections_form,
        gzip=shape.gzip,
    )
    for account_shape in shape.accounts:
        account = SimulatedAccount(
            name=account_shape.name, key=account_shape.key, suspended=account_shape.suspended
        )
        for connection_shape in account_shape.connections:
            account.add(grow(connection_shape, world.next_ids()))
        world.accounts.append(account)
    _refuse_twins(world)
    return world


def grow(shape: ConnectionShape, ids: Ids) -> SimulatedConnection:
    """Return a new connection of this shape.

    Raises:
        ScenarioError: Its counts make no sense.
    """
    try:
        blocks = _blocks(shape, ids)
    except ScenarioError as exc:
        raise exc.located(f'connection "{shape.name}"') from exc
    return SimulatedConnection(
        name=shape.name,
        # The same id for the same name.
        id=shape.id or str(uuid5(NAMESPACE_URL, f"voicelink-connection:{shape.name}")),
        recipe=Recipe(first_did_id=ids.first_did, blocks=blocks, available=shape.available),
        provider=shape.provider,
        active=shape.active,
    )


def _blocks(shape: ConnectionShape, ids: Ids) -> tuple[Block, ...]:
    bots = shape.clients if shape.bots is None else shape.bots
    total = sum(block.numbers for block in shape.blocks) if shape.blocks else shape.numbers
    if shape.blocks and shape.numbers:
        raise ScenarioError(["give either `numbers` or `blocks`"])
    if not 0 <= total <= MAX_NUMBERS:
        raise ScenarioError([f"it has {total} numbers; 0 to {MAX_NUMBERS} are possible"])
    given = shape.blocks
    if not given:
        if not 1 <= shape.clients <= bots:
            raise ScenarioError(
                ["every client needs a bot: `clients` is at least 1, `bots` at least `clients`"]
            )
        # The numbers evenly over bots, and the bots over clients.
        size, larger = divmod(shape.numbers, bots)
        given = [
            BlockShape(numbers=size + (position < larger), client=ids.client(position % shape.clients))
            for position in range(bots)
        ]
    blocks = []
    first = ids.first_number
    for position, block in enumerate(given):
        blocks.append(_block(block, ids, position, first))
        first = blocks[-1].first + block.numbers
    ordered = sorted(blocks, key=lambda block: block.first)
    if any(one.first + one.numbers > other.first for one, other in pairwise(ordered)):
        raise ScenarioError(["two blocks have a number in common: check `first`"])
    return tuple(blocks)


def _block(shape: BlockShape, ids: Ids, position: int, first: int) -> Block:
    if shape.first is not None and not key_of(shape.first):
        raise ScenarioError([f"blocks[{position}].first has no digits"])
    client = ids.client(position) if shape.client is None else shape.client
    return Block(
        client_id=client,
        bot_id=ids.bot(position) if shape.bot is None else shape.bot,
        agent_id=shape.agent or f"agent_{client}",
        first=first if shape.first is None else int(key_of(shape.first)),
        numbers=shape.numbers,
    )


def _refuse_twins(world: World) -> None:
    """Refuse what must be unique and is not; a key is never shown."""
    seen: set[tuple[str, str]] = set()
    named = [("account", "key", each.name, each.key) for each in world.accounts]
    named += [("connection", "id", each.name, each.id) for each in world.connections()]
    for kind, other, name, value in named:
        twins = {(kind, name), (other, value)}
        if twins & seen:
            raise ScenarioError([f'{kind} "{name}" has the name or {other} of another'])
        seen |= twins


def build_world(
    connections: int = 1,
    numbers: int = 100,
    *,
    accounts: int = 1,
    clients: int = 2,
    bots: int = 2,
    rate_limit: int = 0,
) -> World:
    """Return a generated world for tests and benchmarks.

    Connections are `conn-0001` …, spread over accounts `account-1` … with keys `rg_live_account_1` …;
    `numbers`, `clients` and `bots` are those of each connection.
    """
    world = World(rate_limit=rate_limit)
    world.accounts = [
        SimulatedAccount(name=f"account-{each}", key=f"rg_live_account_{each}")
        for each in range(1, accounts + 1)
    ]
    for position in range(connections):
        shape = ConnectionShape(name=f"conn-{position + 1:04d}", numbers=numbers, clients=clients, bots=bots)
        world.accounts[position % accounts].add(grow(shape, world.next_ids()))
    return world
