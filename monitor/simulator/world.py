"""The world behind the double: accounts with keys, and their connections. No IO, no clock."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from monitor.errors import ConfigError, nearest
from monitor.simulator.faults import Faults
from monitor.simulator.inventory import Ids, Inventory, Recipe

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
ListForm = Literal["object", "list"]
"""How the list of connections is wrapped: in `data.connections`, or `data` itself."""


class ScenarioError(ConfigError):
    """A scenario, or a step of one, that cannot be played; names the file, the step and what to do."""

    def located(self, where: str, source: str | None = None) -> "ScenarioError":
        """Return the same problems, said of a place like `steps[3] (deactivate_bot)`."""
        return ScenarioError([f"{where}: {problem}" for problem in self.problems], source or self.source)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)` for the known word that looks most like this one, else nothing."""
    close = nearest(word, known)
    return f' (did you mean "{close}"?)' if close else ""


def seconds(value: str | float) -> float:
    """Return the seconds of a duration like `"500ms" "8s" "1m"`, or of a bare number of seconds.

    Raises:
        ScenarioError: It is none.
    """
    if not isinstance(value, str):
        return float(value)
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ScenarioError([f'"{value}" is not a duration; write it like "500ms", "8s" or "1m"'])
    return float(match[1]) * _SECONDS[match[2]]


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedConnection:
    """One VoiceLink connection; its inventory is generated from the recipe until a step changes it."""

    name: str
    id: str
    recipe: Recipe
    provider: str = "voicelink"
    active: bool = True
    is_default: bool = False
    warnings: list[str] = field(default_factory=list)
    version: int = 0
    _inventory: Inventory | None = None

    def view(self) -> Inventory:
        """Return the inventory to read; what is changed in it may be lost."""
        return self._inventory if self._inventory is not None else self.recipe.build()

    def edit(self) -> Inventory:
        """Return the inventory to change; the next answer is rendered anew."""
        self.version += 1
        if self._inventory is None:
            self._inventory = self.recipe.build()
        return self._inventory

    def keys(self, limit: int) -> list[str]:
        """Return the keys of the first `limit` numbers."""
        if self._inventory is None:
            return self.recipe.keys(limit)
        return list(self._inventory.numbers)[:limit]


@dataclass(slots=True, kw_only=True)
class SimulatedAccount:
    """One API key and what it may see."""

    name: str
    key: str
    revoked: bool = False
    suspended: bool = False
    connections: list[SimulatedConnection] = field(default_factory=list)
    removed: list[SimulatedConnection] = field(default_factory=list)

    def add(self, connection: SimulatedConnection) -> None:
        """Add a connection; the first one is the default."""
        connection.is_default = not self.connections
        self.connections.append(connection)

    def active(self) -> list[SimulatedConnection]:
        """Return the connections that a sync may mean."""
        return [each for each in self.connections if each.active and each.provider == "voicelink"]


@dataclass(slots=True, kw_only=True)
class World:
    """All accounts, and how the API in front of them behaves.

    `rate_limit` is requests per window and key, 0 for none; `gzip` compresses for those who ask.
    """

    accounts: list[SimulatedAccount] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    rate_limit: int = 60
    rate_window_s: float = 60.0
    connections_form: ListForm = "object"
    gzip: bool = False
    now_s: float = 0.0
    """The monotonic clock's seconds, as whoever drives the world last said."""
    made: int = 0
    """Connections generated so far: the next one's ids begin behind theirs."""

    def next_ids(self) -> Ids:
        """Return the ids for one more generated connection."""
        self.made += 1
        return Ids(self.made - 1)

    def connections(self) -> Iterator[SimulatedConnection]:
        """Return all connections of all accounts."""
        return (connection for account in self.accounts for connection in account.connections)

    def account(self, name: str | None = None) -> SimulatedAccount:
        """Return an account by its name; without a name, the only one.

        Raises:
            ScenarioError: There is none of that name, or no name and several accounts.
        """
        if name is None and len(self.accounts) == 1:
            return self.accounts[0]
        for account in self.accounts:
            if account.name == name:
                return account
        raise _unknown("account", name, [each.name for each in self.accounts])

    def connection(self, name: str | None = None) -> SimulatedConnection:
        """Return a connection by its name or id; without a name, the only one.

        Raises:
            ScenarioError: There is none of that name, or no name and several connections.
        """
        known = list(self.connections())
        if name is None and len(known) == 1:
            return known[0]
        for connection in known:
            if name in (connection.name, connection.id):
                return connection
        raise _unknown("connection", name, [each.name for each in known])

    def holding_bot(self, bot_id: int, connection: str | None = None) -> SimulatedConnection:
        """Return the connection that has a bot.

        Raises:
            ScenarioError: None has it, or several have and none was named.
        """
        where = self._among(connection)
        found = [each for each in where if bot_id in each.view().bots]
        if len(found) == 1:
            return found[0]
        if not found:
            known = sorted({bot for each in where[:10] for bot in each.view().bots})[:10]
            raise ScenarioError(
                [f"there is no bot {bot_id}; bots are {', '.join(map(str, known)) or 'none'}"]
            )
        raise ScenarioError([f"bot {bot_id} is in several connections: choose one with `connection`"])

    def holding_number(self, phone_number: str, connection: str | None = None) -> SimulatedConnection:
        """Return the connection that has a number.

        Raises:
            ScenarioError: None has it.
        """
        key = key_of(phone_number)
        for each in self._among(connection):
            if key in each.view().numbers:
                return each
        where = f'connection "{connection}"' if connection else "any connection"
        raise ScenarioError([f"`number` is not a number of {where}"])

    def _among(self, connection: str | None) -> list[SimulatedConnection]:
        return list(self.connections()) if connection is None else [self.connection(connection)]


def key_of(phone_number: str) -> str:
    """Return the digits of a number."""
    return "".join(filter(str.isdigit, phone_number))


def _unknown(kind: str, name: str | None, known: Iterable[str]) -> ScenarioError:
    names = list(known)
    if name is None:
        return ScenarioError([f"there are {len(names)} {kind}s: choose one with `{kind}`"])
    return ScenarioError([f'no {kind} is called "{name}"{did_you_mean(name, names)}'])
