"""Faults of the provider's answers: their kinds, duration and scope."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """The kinds of fault a scenario may ask for."""

    STATUS = "status"
    """Any HTTP status, with the provider's error envelope."""
    DELAY = "delay"
    """The answer comes late."""
    DROP = "drop"
    """The connection is closed without an answer."""
    TRUNCATED = "truncated"
    """The connection is closed in the middle of the body."""
    STALL = "stall"
    """The second half of the body comes late."""
    GARBAGE = "garbage"
    """200, but not JSON."""
    REFUSED = "refused"
    """200, but `success` is false."""
    HUGE = "huge"
    """A body with `size_mib` MiB of filler."""
    BOMB = "bomb"
    """The same, compressed to next to nothing."""
    EMPTY = "empty"
    """Every part is an empty array."""
    PARTIAL = "partial"
    """Only a ratio of the numbers."""
    DUPLICATE = "duplicate"
    """Every number is there twice."""
    UNREADABLE = "unreadable"
    """The first `count` readiness entries are nonsense."""
    MISSING = "missing"
    """A part of `data` is not there."""
    SHUFFLE = "shuffle"
    """The same answer, in another order each time."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault.

    `account` and `connection_id` narrow it; `until` is an instant of the monotonic clock, in seconds, and
    `requests` how many more it hits: without either it lasts until it is cleared.
    """

    kind: FaultKind
    account: str | None = None
    connection_id: str | None = None
    until: float | None = None
    requests: int | None = None
    status: int = 503
    code: str | None = None
    retry_after: str | None = None
    location: str | None = None
    delay_s: float = 0.0
    ratio: float = 0.5
    size_mib: int = 65
    count: int = 1
    part: str = "readiness"

    def over(self, now: float) -> bool:
        """Return whether its time or its requests are used up."""
        return (self.until is not None and now >= self.until) or self.requests == 0

    def hits(self, account: str, connection_id: str | None) -> bool:
        """Return whether a request of this account, for this connection, is meant."""
        return self.account in (None, account) and self.connection_id in (None, connection_id)


Data = dict[str, Any]


def _partial(data: Data, ratio: float) -> Data:
    kept = {entry["key"] for entry in data["readiness"][: round(len(data["readiness"]) * ratio)]}
    by_part = {
        "dids": "did_number",
        "routing": "did_number",
        "local_phone_numbers": "phone_number",
        "readiness": "key",
        "drift": "key",
    }
    return {
        part: [entry for entry in entries if str(entry[by_part[part]]).lstrip("+") in kept]
        if part in by_part
        else entries
        for part, entries in data.items()
    }


def _unreadable(data: Data, count: int) -> Data:
    lost = {entry["key"] for entry in data["readiness"][:count]}
    nonsense: list[Any] = [{"key": None, "phone_number": None, "state": 7} for _ in lost]
    return {
        **data,
        "readiness": nonsense + data["readiness"][count:],
        "drift": [entry for entry in data["drift"] if entry["key"] not in lost],
    }


_ALTERATIONS: dict[FaultKind, Callable[[Data, Fault, random.Random], Data]] = {
    FaultKind.EMPTY: lambda data, _fault, _rng: {part: [] for part in data},
    FaultKind.PARTIAL: lambda data, fault, _rng: _partial(data, fault.ratio),
    FaultKind.DUPLICATE: lambda data, _fault, _rng: {part: each + each for part, each in data.items()},
    FaultKind.UNREADABLE: lambda data, fault, _rng: _unreadable(data, fault.count),
    FaultKind.MISSING: lambda data, fault, _rng: {key: data[key] for key in data if key != fault.part},
    FaultKind.SHUFFLE: lambda data, _fault, rng: {key: rng.sample(data[key], len(data[key])) for key in data},
}

CONTENT = frozenset(_ALTERATIONS)
"""Faults of what a sync's answer says, not of how it comes."""


def alter(data: Data, fault: Fault, rng: random.Random) -> Data:
    """Return a sync's `data` as this fault of its content leaves it; the given one may be used up."""
    return _ALTERATIONS[fault.kind](data, fault, rng)


@dataclass(slots=True)
class Faults:
    """The active faults, oldest first."""

    _faults: list[Fault] = field(default_factory=list)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def add(self, fault: Fault) -> None:
        """Activate a fault."""
        self._faults.append(fault)

    def clear(self, account: str | None = None, connection_id: str | None = None) -> None:
        """End the faults of that scope; without one, all."""
        everything = account is None and connection_id is None
        self._faults = [
            fault
            for fault in self._faults
            if not everything and (fault.account, fault.connection_id) != (account, connection_id)
        ]

    def take(
        self, account: str, connection_id: str | None, now: float, *, content: bool = False
    ) -> list[Fault]:
        """Return the faults that hit this request, and count it against them.

        `content` takes those of what an answer says, otherwise those of how it comes.
        """
        self._faults = [fault for fault in self._faults if not fault.over(now)]
        hit = [
            fault
            for fault in self._faults
            if fault.hits(account, connection_id) and (fault.kind in CONTENT) is content
        ]
        for fault in hit:
            if fault.requests is not None:
                fault.requests -= 1
        return hit
