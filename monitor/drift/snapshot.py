"""Holds what one sync found, normalised: numbers by key, and the counts that the gauges show.

A number is *drifting* when the answer's `drift[]` lists it or its readiness has issues, or when it would be
ready but its DID is expired (state and issue `EXPIRED`). Else it is *ready*, whatever its state is called:
the vocabulary of states is open.

There are many numbers, so they and what they hold stay outside the garbage collector (`gc=False`): values
like these form no cycles.
"""

from collections import Counter
from enum import StrEnum

import msgspec

EXPIRED = "EXPIRED"

INVENTORY_KINDS = ("clients", "dids", "available_dids", "bots", "routing", "local_phone_numbers")


class ActionItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the provider says to do about one issue."""

    code: str
    label: str


class Dependencies(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a number depends on; None where the answer names nothing. Ids as the provider writes them."""

    client_id: int | str | None = None
    bot_id: int | str | None = None
    routing_target: str | None = None
    agent_id: int | str | None = None

    def or_else(self, before: "Dependencies | None") -> "Dependencies":
        """Return these dependencies, with those of `before` where they are gone now."""
        if before is None:
            return self
        return Dependencies(
            client_id=before.client_id if self.client_id is None else self.client_id,
            bot_id=before.bot_id if self.bot_id is None else self.bot_id,
            routing_target=self.routing_target or before.routing_target,
            agent_id=before.agent_id if self.agent_id is None else self.agent_id,
        )


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


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """One readable answer, normalised.

    `unknown` are keys that the answer lacked while it held unreadable entries: their numbers are carried
    over from the snapshot before, and count as neither seen nor removed.
    """

    numbers: dict[str, Number]
    inventory: dict[str, int] = {}
    warnings: tuple[str, ...] = ()
    skipped: int = 0
    unknown: frozenset[str] = frozenset()


class Counts(msgspec.Struct, frozen=True):
    """What the gauges of one connection show; states and issues once seen stay, as 0."""

    states: dict[str, int] = {}
    drifting: dict[str, int] = {}
    issues: dict[str, int] = {}
    inventory: dict[str, int] = {}
    warnings: int = 0
    skipped: int = 0
    ignored: int = 0

    @property
    def total(self) -> int:
        """All numbers of the snapshot."""
        return sum(self.states.values())

    @property
    def total_drifting(self) -> int:
        """The drifting ones among them."""
        return sum(self.drifting.values())


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


def count(snapshot: Snapshot, seen: Counts | None = None, *, ignored: int = 0) -> Counts:
    """Return the counts of a snapshot, with a zero for every state and issue that `seen` knew."""
    seen = seen or Counts()
    states = Counter(dict.fromkeys(seen.states, 0))
    drifting = Counter(dict.fromkeys(seen.drifting, 0))
    issues = Counter(dict.fromkeys(seen.issues, 0))
    for number in snapshot.numbers.values():
        states[number.state] += 1
        if number.drifting:
            drifting[number.state] += 1
            issues.update(number.issues)
    return Counts(
        states=dict(states),
        drifting=dict(drifting),
        issues=dict(issues),
        inventory=dict(snapshot.inventory),
        warnings=len(snapshot.warnings),
        skipped=snapshot.skipped,
        ignored=ignored,
    )
