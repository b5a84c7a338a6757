"""How many wrong passwords are too many. Pure.

Three limits, since each protects something else:

- for a user from an address: the user's password. It locks out no one else, neither another user behind the
  same address nor the same user elsewhere.
- from an address: the processor, which every check keeps busy on purpose.
- for a user from everywhere: the password, when it is guessed from many addresses. As they must not lock the
  user out, it only slows all of them down.

A password counts once it has proved wrong. Those being checked are limited by how many there may be at once.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many wrong passwords in a row, then one every `pause_s` seconds."""

    burst: int
    pause_s: float


FOR_USER_FROM_ADDRESS = Limit(burst=5, pause_s=12.0)
FROM_ADDRESS = Limit(burst=30, pause_s=2.0)
FOR_USER = Limit(burst=100, pause_s=1.0)

AT_ONCE = 32
"""Checks that may run or wait: with hashes of the usual cost the last one takes seconds."""
AT_ONCE_FROM_ADDRESS = 16
"""Of these, how many may be of one address, so that it cannot fill the queue."""

_ALL = None
_BUSY_S = 1.0
_MOST_KEPT = 4_096
_STREAK_ENDS_AFTER_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """When to try again, and whether wrong passwords are the reason, or too many that are being checked."""

    seconds: float
    wrong: bool


class Attempts:
    """Counts what is checked and what was wrong, by address and user."""

    def __init__(self) -> None:
        self._for_user_from_address = _Wrong(FOR_USER_FROM_ADDRESS)
        self._from_address = _Wrong(FROM_ADDRESS)
        self._for_user = _Wrong(FOR_USER)
        self._running: Counter[object] = Counter()
        self._told: OrderedDict[str, float] = OrderedDict()

    def begin(self, address: str, user: bytes, now_s: float) -> Wait | None:
        """Let a check begin, which `end` ends; or return how long to wait.

        Args:
            address: Where it comes from.
            user: What stands for the name, short whatever was typed.
            now_s: Monotonic.
        """
        pair = (address, user)
        wait_s = max(
            # At most one of several passwords for a user is right: those being checked count as wrong here.
            self._for_user_from_address.wait_s(pair, now_s, more=self._running[pair]),
            self._from_address.wait_s(address, now_s),
            self._for_user.wait_s(user, now_s),
        )
        if wait_s > 0:
            return Wait(seconds=wait_s, wrong=True)
        if self._running[_ALL] >= AT_ONCE or self._running[address] >= AT_ONCE_FROM_ADDRESS:
            return Wait(seconds=_BUSY_S, wrong=False)
        self._running.update((pair, address, _ALL))
        return None

    def end(self, address: str, user: bytes, now_s: float, *, wrong: bool) -> None:
        """Count a check that is over."""
        pair = (address, user)
        self._running -= Counter((pair, address, _ALL))
        if wrong:
            self._for_user_from_address.add(pair, now_s)
            self._from_address.add(address, now_s)
            self._for_user.add(user, now_s)

    def is_news(self, address: str, now_s: float) -> bool:
        """Return whether a wrong password from this address begins a streak, after some time without any."""
        last_s = self._told.get(address)
        _keep(self._told, address, now_s)
        return last_s is None or now_s - last_s > _STREAK_ENDS_AFTER_S


class _Wrong:
    """Wrong passwords by a key, each as the instant at which all of them are forgotten."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._forgotten_at_s: OrderedDict[object, float] = OrderedDict()

    def wait_s(self, key: object, now_s: float, *, more: int = 0) -> float:
        """Return the seconds until one more may be tried; `more` count as wrong just now."""
        counted_s = max(self._forgotten_at_s.get(key, now_s) - now_s, 0.0)
        return counted_s + (more + 1 - self._limit.burst) * self._limit.pause_s

    def add(self, key: object, now_s: float) -> None:
        """Count one."""
        since_s = max(self._forgotten_at_s.get(key, now_s), now_s)
        _keep(self._forgotten_at_s, key, since_s + self._limit.pause_s)


def _keep(kept: OrderedDict[K, float], key: K, value: float) -> None:
    """Set a value, and forget the one that was set longest ago where there are too many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST_KEPT:
        kept.popitem(last=False)
