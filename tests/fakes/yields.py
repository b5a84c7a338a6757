"""How often a coroutine yields to the event loop of its own accord."""

from collections.abc import Coroutine, Generator
from typing import Any


class Yields:
    """Awaits a coroutine and counts the turns that it gives to others, not those while it waits.

    Those would be as many as the machine has time for, whatever the coroutine does.
    """

    def __init__(self, inner: Coroutine[Any, Any, object]) -> None:
        """Wrap `inner`, which nobody else awaits."""
        self._inner = inner
        self.many = 0

    def __await__(self) -> Generator[Any]:
        """Pass on what the coroutine waits for: a future, or nothing but its next turn."""
        for wait in self._inner.__await__():
            self.many += wait is None
            yield wait
