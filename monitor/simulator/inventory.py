"""What one connection has: clients, bots, numbers; and the recipe that generates it.

A recipe is kept until a step changes the inventory, so that a thousand connections with a thousand
numbers each cost nothing but what was changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

MAX_NUMBERS = 100_000
"""Numbers a connection may have: the generated ids of the next one begin behind them."""

_MAX_GROUPS = 1_000


@dataclass(slots=True, kw_only=True)
class SimulatedBot:
    """A WebSocket bot; an inactive one answers no calls."""

    id: int
    client_id: int
    active: bool = True


class Judged(NamedTuple):
    """How one number stands; `listed`: `drift[]` has it."""

    state: str
    issues: tuple[str, ...]
    listed: bool


@dataclass(slots=True, kw_only=True)
class SimulatedNumber:
    """One phone number: its DID, and what it depends on."""

    key: str
    did_id: int
    client_id: int
    bot_id: int
    agent_id: str | None
    routed: bool = True
    inbound: bool = True
    """Its routing leads incoming calls somewhere."""
    routing_on: bool = True
    local_on: bool = True
    expired: bool = False
    forced: Judged | None = None
    """What a scenario puts on it, whatever it looks like."""


@dataclass(slots=True, kw_only=True)
class Inventory:
    """Everything of one connection, by id and key, in the order it is answered."""

    clients: dict[int, None] = field(default_factory=dict)
    bots: dict[int, SimulatedBot] = field(default_factory=dict)
    numbers: dict[str, SimulatedNumber] = field(default_factory=dict)
    removed: dict[str, SimulatedNumber] = field(default_factory=dict)
    available: int = 0
    """Purchased DIDs that are mapped to no client."""

    def active_bots(self) -> dict[int, SimulatedBot]:
        """Return the first active bot of each client that has one, by the client's id."""
        found: dict[int, SimulatedBot] = {}
        for bot in self.bots.values():
            if bot.active:
                found.setdefault(bot.client_id, bot)
        return found

    def ensure(self, client_id: int, bot_id: int) -> None:
        """Make sure that a client and a bot of it exist."""
        self.clients.setdefault(client_id)
        self.bots.setdefault(bot_id, SimulatedBot(id=bot_id, client_id=client_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Numbers in a row that share client, bot and agent.

    `first` is the first number's digits; they count up from there.
    """

    client_id: int
    bot_id: int
    agent_id: str
    first: int
    numbers: int

    def each_key(self) -> Iterator[str]:
        """Return the numbers' keys, one by one."""
        return (str(self.first + offset) for offset in range(self.numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make a connection's inventory; the same one each time."""

    first_did_id: int
    blocks: tuple[Block, ...] = ()
    available: int = 0

    def build(self) -> Inventory:
        """Return a new inventory."""
        made = Inventory(available=self.available)
        did_id = self.first_did_id
        for block in self.blocks:
            made.ensure(block.client_id, block.bot_id)
            for key in block.each_key():
                made.numbers[key] = SimulatedNumber(
                    key=key,
                    did_id=did_id,
                    client_id=block.client_id,
                    bot_id=block.bot_id,
                    agent_id=block.agent_id,
                )
                did_id += 1
        return made

    def keys(self, limit: int) -> list[str]:
        """Return the first `limit` keys without making the inventory."""
        return list(islice((key for block in self.blocks for key in block.each_key()), limit))


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids that generation hands out to the connection with this index; no two connections share one."""

    index: int

    @property
    def first_did(self) -> int:
        """The id of the connection's first DID."""
        return 1_000_000 + self.index * MAX_NUMBERS

    @property
    def first_number(self) -> int:
        """The digits of the connection's first number."""
        return 910_000_000_000 + self.index * MAX_NUMBERS

    def client(self, position: int) -> int:
        """Return the id of the connection's n-th client."""
        return 10_000 + self.index * _MAX_GROUPS + position

    def bot(self, position: int) -> int:
        """Return the id of the connection's n-th bot."""
        return 20_000_000 + self.index * _MAX_GROUPS + position
