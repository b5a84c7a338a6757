"""Which connections a key has: what the provider lists, joined with what is known (pure).

A connection that the provider no longer lists stays watched and is an alert, for `FORGOTTEN_AFTER`: it may
have been removed on purpose, or not. A discovery that fails changes nothing.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b

DISCOVERY_INTERVAL = timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(hours=24)

_NAME_LENGTH = 100
_UNFIT = re.compile(r"[/*?\[\]\x00]+")
"""Globs and paths hold names; what means something there must not be in one."""
_KEY_LIKE = re.compile(r"rg_[A-Za-z0-9]+_\S*")
_SHORTEST_MARK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A connection of an account as the store knows it."""

    id: str
    name: str
    vanished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An active connection as the provider lists it now."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """A connection to watch. `vanished`: the provider no longer lists it."""

    id: str
    name: str
    vanished: bool


def discover(
    known: Iterable[Known], listed: Sequence[Listed] | None, *, taken: Collection[str], now: datetime
) -> list[Discovered]:
    """Return the connections of one account to watch, ordered by id.

    Args:
        known: What the store has of the account, explicitly configured ones left out.
        listed: What the provider lists, explicitly configured ones left out; None if it did not answer yet.
        taken: Names that other connections have.
        now: The current instant.
    """
    before = {connection.id: connection for connection in known}
    names = {connection.id: connection.name for connection in before.values()}
    if listed is None:
        found = {identity: before[identity].vanished_at is not None for identity in before}
    else:
        names |= {connection.id: connection.name for connection in listed}
        found = {connection.id: False for connection in listed}
        found |= {
            connection.id: True
            for connection in before.values()
            if connection.id not in found
            and (connection.vanished_at is None or now < connection.vanished_at + FORGOTTEN_AFTER)
        }
    used = set(taken)
    discovered = []
    for identity in sorted(found):
        name = unique_name(names[identity], identity, used)
        used.add(name)
        discovered.append(Discovered(id=identity, name=name, vanished=found[identity]))
    return discovered


def unique_name(name: str, identity: str, used: Collection[str]) -> str:
    """Return a name that is fit for labels, addresses and globs, and that no other connection has.

    It is the provider's name wherever that serves; else as much of the id is added as tells it apart. A name
    that looks like an API key becomes the id: names are shown everywhere.
    """
    by_id = _fit(_KEY_LIKE.sub("-", identity)) or "connection"
    fit = by_id if _KEY_LIKE.search(name) else _fit(name) or by_id
    marks = [by_id[:length] for length in range(_SHORTEST_MARK, len(by_id) + 1)]
    marks += (
        blake2b(f"{identity} {each}".encode(), digest_size=8).hexdigest() for each in range(len(used) + 1)
    )
    candidates = [fit, *(f"{fit[: _NAME_LENGTH - len(mark) - 3].strip()} ({mark})".strip() for mark in marks)]
    return next(candidate for candidate in candidates if candidate not in used)


def _fit(text: str) -> str:
    printable = "".join(each if each.isprintable() else "\0" for each in text)
    return _UNFIT.sub("-", printable).strip()[:_NAME_LENGTH].strip()


def stretched(interval: timedelta, connections: int, requests_per_minute: float) -> timedelta:
    """Return the interval, or the shortest one that the budget allows for this many connections."""
    if connections == 0:
        return interval
    shortest = timedelta(minutes=connections / max(requests_per_minute, 1.0))
    return max(interval, shortest)
