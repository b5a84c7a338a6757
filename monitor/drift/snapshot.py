"""Holds what one sync found, normalised: numbers by key, and the counts that the gauges show.

A number is *drifting* when the answer's `drift[]` lists it or its readiness has issues, or when it would be
ready but its DID is expired (state and issue `EXPIRED`). Else it is *ready*, whatever its state is called:
the vocabulary of states is open.

There are many numbers, so they and what they hold stay outside the garbage collector (`gc=False`): values
like these form no cycles.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

EXPIRED = "EXPIRED"

INVENTORY_KINDS = ("clients", "dids", "available_dids", "bots", "routing", "local_phone_numbers")


class ActionItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the provider says to do about one issue."""

    code: str
    label: str


class Dependencies(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a number depends on. Ids as the provider writes them; None where the answer says there is none.

    `*_active` is False if the answer says that it is switched off, True for any other status. `unknown` names
    what the answer does not say: fields, and `inbound` or `outbound` for that side of the routing target.
    """

    client_id: int | str | None = None
    bot_id: int | str | None = None
    routing_target: str | None = None
    agent_id: int | str | None = None
    bot_active: bool | None = None
    routing_active: bool | None = None
    number_active: bool | None = None
    unknown: tuple[str, ...] = ()

    @property
    def name_keys(self) -> tuple[str, str, str]:
        """Where `Snapshot.names` may have the names of client, bot and agent."""
        return f"client:{self.client_id}", f"bot:{self.bot_id}", f"agent:{self.agent_id}"

    def or_else(self, before: "Dependencies | None") -> "Dependencies":
        """Return these dependencies, with those of `before` where they are gone or not known now."""
        if before is None or self == before:
            return self
        now = self.filled(before) if self.unknown else self
        gone = {
            name: was
            for name in _DEPENDENCIES
            if getattr(now, name) is None and (was := getattr(before, name)) is not None
        }
        return msgspec.structs.replace(now, **gone) if gone else now

    def filled(self, before: "Dependencies") -> "Dependencies":
        """Return these dependencies, with what the answer does not say as it was before."""
        # The old status says nothing of another bot, or of a routing that has come back.
        fresh = {
            "bot_active": "bot_id" not in self.unknown and self.bot_id != before.bot_id,
            "routing_active": before.routing_target is None,
        }
        says = [name for name in self.unknown if name not in before.unknown and not fresh.get(name)]
        filled = {name: getattr(before, name) for name in says if name not in _SIDES}
        if not _SIDES.isdisjoint(says):
            was = _sides(before.routing_target)
            sides = _sides(self.routing_target) | {side: was[side] for side in says if side in was}
            filled["routing_target"] = _target(sides) or self.routing_target
        unknown = tuple(name for name in self.unknown if name not in says)
        return msgspec.structs.replace(self, **filled, unknown=unknown)

    def differing(self, before: "Dependencies") -> tuple[str, ...]:
        """Return the names of the fields that both know and that differ."""
        return tuple(name for name in _DEPENDENCIES if self._differs(before, name))

    def lost(self, before: "Dependencies") -> tuple[str, ...]:
        """Return the names of what is gone or switched off: bot, agent, routing, or a side of its target."""
        return tuple(
            name
            for name in self.differing(before)
            if name != "client_id" and (_is_gone(getattr(self, name)) or self._lost_side(before, name))
        )

    def gaining(self, now: "Dependencies") -> "Dependencies":
        """Return these dependencies, with what is there or switched on now and was not."""
        gains = {
            name: there
            for name in _DEPENDENCIES
            if _is_gone(getattr(self, name)) and not _is_gone(there := getattr(now, name))
        }
        was, sides = _sides(self.routing_target), _sides(now.routing_target)
        if was and not sides.keys() <= was.keys() | {"routing"}:
            gains["routing_target"] = _target(sides | was)
        grown = msgspec.structs.replace(self, **gains) if gains else self
        return grown.filled(now) if grown.unknown else grown

    def _differs(self, before: "Dependencies", name: str) -> bool:
        was, now = getattr(before, name), getattr(self, name)
        if was == now or name in before.unknown or name in self.unknown:
            return False
        if name.endswith("_active"):
            return was is not None and now is not None
        unknown = _SIDES.intersection(before.unknown + self.unknown)
        if name != "routing_target" or not unknown or was is None or now is None:
            return True
        old, new = _sides(was), _sides(now)
        return any(old.get(side) != new.get(side) for side in _SIDES - unknown)

    def _lost_side(self, before: "Dependencies", name: str) -> bool:
        if name != "routing_target":
            return False
        left = _sides(self.routing_target).keys() | set(self.unknown)
        return any(side not in left for side in _sides(before.routing_target) if side in _SIDES)


_DEPENDENCIES = Dependencies.__struct_fields__[:-1]
_SIDES = frozenset({"inbound", "outbound"})


def _sides(target: str | None) -> dict[str, str]:
    """Return a routing target by its sides: `{"inbound": "bot:93", "outbound": "sip:7"}`."""
    return {side: where for side, _, where in (part.partition(":") for part in (target or "").split())}


def _target(sides: Mapping[str, str]) -> str:
    return " ".join(f"{side}:{sides[side]}" for side in ("inbound", "outbound") if side in sides)


def _is_gone(value: object) -> bool:
    return value is None or value is False


class Number(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One phone number as one sync saw it.

    `issues` and `action_items` keep the provider's order. `key` is digits only, `phone_number` as the
    provider writes it (E.164).
    """

    key: str
    phone_number: str
    state: str
    drifting: bool
    issues: tuple[str, ...] = ()
    action_items: tuple[ActionItem, ...] = ()
    did_id: int | str | None = None
    dependencies: Dependencies = Dependencies()


class Missing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A number that answers with unreadable entries lack: in how many in a row, and since when."""

    count: int
    since: datetime


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """One readable answer, normalised.

    `unknown` are the keys that the answer lacks while it holds unreadable entries: they count as neither seen
    nor removed, and their numbers are carried over from the snapshot before. `names` are what the answer
    calls clients, bots and agents: `{"client:415": "Acme Sales", "bot:93": "Greeter"}`.
    """

    numbers: dict[str, Number]
    inventory: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    skipped: int = 0
    unknown: dict[str, Missing] = {}
    names: dict[str, str] = {}


class Counts(msgspec.Struct, frozen=True):
    """What the gauges of one connection show; states and issues once seen stay for a while, as 0.

    `ignored` are drifting numbers that a rule or silence keeps quiet, by state. `folded` counts the states
    and issues that have no count of their own, see `vocabulary`.
    """

    states: dict[str, int] = {}
    drifting: dict[str, int] = {}
    issues: dict[str, int] = {}
    inventory: dict[str, int] = {}
    warnings: int = 0
    skipped: int = 0
    ignored: dict[str, int] = {}
    folded: int = 0

    @property
    def total(self) -> int:
        """All numbers of the snapshot."""
        return sum(self.states.values())

    @property
    def total_drifting(self) -> int:
        """The drifting ones among them."""
        return sum(self.drifting.values())

    @property
    def total_ready(self) -> int:
        """The others."""
        return self.total - self.total_drifting

    @property
    def total_ignored(self) -> int:
        """The drifting ones that a rule or silence keeps quiet."""
        return sum(self.ignored.values())


class ChangeKind(StrEnum):
    """The kinds of difference between two snapshots; also the `change` label."""

    APPEARED = "appeared"
    CHANGED = "changed"
    RESOLVED = "resolved"
    ADDED = "added"
    REMOVED = "removed"
    RECONFIGURED = "reconfigured"


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One difference: `after` is None for a removed number, `before` for an added one."""

    kind: ChangeKind
    key: str
    before: Number | None
    after: Number | None

    @property
    def number(self) -> Number:
        """The number as it is now; as it was, if it is gone."""
        number = self.after or self.before
        if number is None:
            raise ValueError("a change has at least one side")
        return number

    @property
    def lost(self) -> tuple[str, ...]:
        """The dependencies that the number lost, or had switched off."""
        if self.before is None or self.after is None:
            return ()
        return self.after.dependencies.lost(self.before.dependencies)
